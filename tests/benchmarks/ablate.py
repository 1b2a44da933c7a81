"""Is one recipe better than another? The runs of a plan on the same fold, each against the plan's first run.

    python -m tests.benchmarks.ablate PLAN --input DIR [--weights BACKBONE=FILE] [--output DIR] [--fold K] [--runs A B]

Trains and predicts what is missing, then prints a Markdown row per run for ABLATIONS.md: held-out RMSE with the run's
views, the paired difference to the first run with its 95 % interval (bootstrap over galaxies), seconds of training.
"""

import argparse
from pathlib import Path

import pandas as pd

from pipeline import cli, program
from pipeline.core import stats
from pipeline.core.metrics import squared_error_per_galaxy
from pipeline.plans.config import load_plan
from pipeline.stages import crops, folds, inputs, predict, train
from pipeline.store.artifacts import Store
from pipeline.store.fractions import aligned_to, load_fractions
from tests.builders.galaxy_zoo_2 import GZ2


def errors(store: Store, run: str, held_out: list[int]) -> tuple[pd.Series, float]:
    """(squared error of each galaxy of the folds, seconds of training)."""
    made = pd.concat([load_fractions(store.predicted(run, fold).files[0], GZ2) for fold in held_out])
    truth = aligned_to(store.load_labels().loc[made.index], made.index, "labels")
    took = sum(store.trained(run, fold).record()["train_seconds"] for fold in held_out)
    return pd.Series(squared_error_per_galaxy(truth.to_numpy(), made.to_numpy()), made.index), took


def row(store: Store, run: str, first: str, held_out: list[int]) -> str:
    """One line of the table."""
    (mine, took), (base, _) = errors(store, run, held_out), errors(store, first, held_out)
    score = f"| {run} | {mine.mean() ** 0.5:.4f} |"
    if run == first:
        return f"{score} | | {took:.0f} |"
    difference, low, high = stats.paired_difference(mine.to_numpy(), base.loc[mine.index].to_numpy())
    return f"{score} {difference:+.4f} ({low:+.4f} to {high:+.4f}) | {stats.verdict(low, high)} | {took:.0f} |"


def main() -> None:
    """Train, predict, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan")
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--weights", action="append", default=[])
    parser.add_argument("--output", type=Path, default=cli.OUTPUT)
    parser.add_argument("--fold", type=int, nargs="+", default=[0])
    parser.add_argument("--runs", nargs="+")
    options = parser.parse_args()
    flags = ["--plan", options.plan, "--output", str(options.output)]
    weights = [part for one in options.weights for part in ("--weights", one)]
    inputs.main([*flags, "--input", str(options.input), *weights])
    folds.main(flags)
    crops.main(flags)
    plan = load_plan(options.plan)
    store = Store(options.output.resolve() / plan.name)
    names = options.runs or [run.name for run in plan.runs]
    print("| run | RMSE | difference to the first | verdict | seconds |\n|---|---|---|---|---|")
    for name in names:
        for fold in options.fold:
            for stage in (train, predict):
                stage.main([*flags, "--run", name, "--fold", str(fold)])
        print(row(store, name, names[0], options.fold), flush=True)


if __name__ == "__main__":
    program.start(main)
