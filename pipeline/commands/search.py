"""Hyper-parameter search for one run, scored out of fold, with a confidence interval of the gain.

reads   crops/<crop>/train.npy, inputs/labels.parquet, the plan's [search]; runs/<run>/features.npy where it is there
writes  search/<run>/journal.log (every trial), trials.csv, best.toml (a plan), compared.csv, search.json

Trials are drawn by Optuna's tree-structured Parzen estimator (Bergstra et al. 2011), the unchanged run being the
first; each is scored fold by fold, and pruned where it is unpromising. The folds are the search's own, assigned by
another seed than the plan's, so that the leaderboard stays unbiased. At the end the best and the unchanged run are
retrained on fresh folds: their difference there is the result, and the excess of the gain during selection is reported
as optimism. Killed, it resumes; several processes share the trials. The search space, and the number of galaxies where
all would take too long, are in the plan's [search]. Scores are the RMSE of fractions, of classes that of probabilities.

    ./run.sh search --plan P --run R --trials N [--hours H] [--workers N] [--engine local|ray] [--force]
"""

import argparse
import json
import logging
import shlex
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from pipeline import cli
from pipeline.core import stats
from pipeline.core.durations import duration
from pipeline.errors import Damaged, UserError
from pipeline.execution import engines, locks
from pipeline.plans.layers import PLANS, plan_path
from pipeline.plans.run import Run
from pipeline.store.artifacts import Store
from pipeline.store.dependencies import Unit
from pipeline.store.records import Artifact, atomic
from pipeline.tuning import study, variants
from pipeline.tuning.study import SEED_OFFSET, Trials, importance, table

log = logging.getLogger(__name__)


def trials_of(request: cli.Request) -> Trials:
    """The trials that a command line asks for."""
    options = request.options
    return Trials(request.plan, request.store, options.run, n_trials=options.trials, hours=options.hours)


class OneTrial:
    """A worker that makes one trial at a time."""

    def __init__(self, flags: list[str]):
        self.trials = trials_of(cli.parse(arguments(), flags, select=("run",)))

    def __call__(self, number: int) -> bool:
        """Whether there was one to make."""
        return self.trials.run_one()


def run_trials(trials: Trials, options: argparse.Namespace, flags: list[str]) -> None:
    """Run all missing trials, in this process or by workers, with a progress bar."""
    n_finished = len(trials.finished())
    with tqdm(total=trials.n_trials, initial=n_finished, desc=f"search {trials.run.name}", unit="trial") as bar:
        if engines.in_this_process(options):
            while trials.run_one():
                _update_bar(trials, bar)
            return
        tasks = range(max(0, trials.n_trials - n_finished))
        for _ in engines.each(partial(OneTrial, flags), tasks, engine=options.engine, workers=options.workers,
                              gpus=trials.plan.gpus):  # fmt: skip
            _update_bar(trials, bar)


def _update_bar(trials: Trials, bar: tqdm) -> None:
    bar.n = len(trials.finished())
    scores = [trial.value for trial in trials.completed()]
    bar.set_postfix_str(f"best {min(scores):.4f}" if scores else "", refresh=True)


def compare(trials: Trials, best: Run) -> tuple[pd.DataFrame, dict]:
    """(RMSE of the best and the unchanged run on each of the fresh folds, their difference and its interval)."""
    rows, errors = [], {"best": [], "before": []}
    seeds = [trials.plan.seed + 2 * SEED_OFFSET + i for i in range(trials.search.repeats)]
    for seed in tqdm(seeds, desc="fresh folds", unit="seed", leave=False):
        for name, run in (("best", best), ("before", trials.run)):
            errors[name].append(trials.evaluator.errors(run, seed))
            rows.append({"seed": seed, "run": name, "rmse": float(np.sqrt(np.nanmean(errors[name][-1])))})
    answered = np.isfinite(errors["best"]).any(axis=0)
    squared = {name: np.nanmean(np.stack(found)[:, answered], axis=0) for name, found in errors.items()}
    difference, low, high = stats.paired_difference(squared["best"], squared["before"])
    found = {f"fresh_{name}": float(np.sqrt(of_all.mean())) for name, of_all in squared.items()}
    found |= {"difference": difference}
    return pd.DataFrame(rows), found | {"low": low, "high": high, "verdict": stats.verdict(low, high)}


def best_plan(trials: Trials, plan: str, settings: dict, found: dict) -> str:
    """A plan that extends this one by the settings found, with the evidence as comments."""
    base = plan if plan_path(plan).parent == PLANS else str(plan_path(plan).resolve())
    of = " of the probabilities" if trials.store.schema().describes_classes else ""
    lines = [
        f"# {trials.plan.name} with what {found['trials']} trials found for its run {trials.run.name}"
        f"{': nothing better than that run as it stands' if found['verdict'] == 'the same' else ''}.",
        f"# On {trials.search.repeats} x {trials.plan.folds} fresh folds: RMSE{of} {found['fresh_best']:.5f}, before "
        f"{found['fresh_before']:.5f}; {found['difference']:+.5f} ({found['low']:+.5f} to {found['high']:+.5f}): "
        f"{found['verdict']}.",
        f"extends = {json.dumps(base)}",
        f"name = {json.dumps(f'{trials.plan.name}-{trials.run.name}-best'[:64])}",
        "",
        "[[runs]]",
        f"name = {json.dumps(trials.run.name)}",
    ]
    kept = {key: value for key, value in settings.items() if value != variants.get_setting(trials.run, key)}
    return "\n".join([*lines, *(f"{key} = {json.dumps(value)}" for key, value in kept.items())]) + "\n"


def finish(trials: Trials, options: argparse.Namespace) -> None:
    """Compare, and write what was found."""
    frame = table(trials)
    complete = frame.dropna(subset=["rmse"])
    if complete.empty:
        raise UserError(f"none of {len(frame)} trials reached a score: widen [search.space], or lower learning rates")
    row = complete.loc[complete["rmse"].idxmin()]
    settings = next(t.user_attrs["settings"] for t in trials.completed() if t.number == row["number"])
    compared, found = compare(trials, variants.with_settings(trials.run, settings))
    found |= {"trials": len(frame), "best": float(row["rmse"]), "before": None, "optimism": None, "luck": None}
    for first in complete[complete["first"]].to_dict("records"):  # none where the unchanged run lies outside the space
        found |= {"before": first["rmse"], "luck": study.selection_bias(trials, first["number"])}
        found["optimism"] = first["rmse"] - found["best"] - (found["fresh_before"] - found["fresh_best"])
    unit = trials.unit
    unit.artifact.begin()
    texts = (frame.to_csv(index=False), best_plan(trials, options.plan, settings, found), compared.to_csv(index=False))
    for path, text in zip(unit.artifact.files, texts, strict=True):
        with atomic(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    unit.finish(**found, settings=settings, importance=importance(trials), seconds=float(frame["seconds"].sum()))


def forget(request: cli.Request, folder: Path) -> None:
    """Delete all trials; UserError where there are some and the user does not agree."""
    if (folder / "journal.log").exists() and not request.options.yes:
        try:
            frame = table(trials_of(request))
            what = f"{len(frame)} trials ({duration(frame['seconds'].sum() if len(frame) else 0.0)} of work)"
        except Damaged as error:
            what = f"a damaged journal ({error})"
        cli.require_agreement(f"--force discards search/{request.options.run}: {what}")
    shutil.rmtree(folder, ignore_errors=True)


def agree_to_replace(unit: Unit, *, yes: bool) -> None:
    """Say what result of another plan, or of other galaxies, is replaced; UserError where the user does not agree."""
    state, why = unit.state()
    if state not in ("changed", "outdated"):
        return
    found = unit.artifact.required()
    work = f"{found['trials']} trials ({duration(found['seconds'])} of work)"
    text = f"the result of {work} is replaced: {'; '.join(why[:3])}"
    if not yes:
        cli.require_agreement(text)
    log.info("%-10s %s", "search", text)


def arguments() -> argparse.ArgumentParser:
    """The flags of the search."""
    parser = cli.parser(__doc__)
    parser.add_argument("--trials", type=int, required=True, help="total number, earlier ones included")
    parser.add_argument("--hours", type=float, help="begin no trial after that")
    engines.add_flags(parser, "processes, each of which makes one trial at a time")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Command line of the search."""
    request = cli.parse(arguments(), argv, select=("run",))
    options = request.options
    if options.trials < 1:
        raise UserError(f"--trials {options.trials}: expected a number above 0")
    if options.hours is not None and not options.hours > 0:
        raise UserError(f"--hours {options.hours:g}: expected a number above 0")
    unit = study.unit(request.plan, request.store, options.run)
    if options.force:
        forget(request, unit.artifact.record_path.parent)
    agree_to_replace(unit, yes=options.yes)
    if not is_done(unit, options.trials):
        request.require([unit])
        trials = trials_of(request)
        trials.enqueue_unchanged()
        flags = ["--plan", str(plan_path(options.plan).resolve()), "--output", str(options.output.resolve())]
        flags += ["--run", options.run, "--trials", str(options.trials)]
        run_trials(trials, options, flags + ([f"--hours={options.hours}"] if options.hours else []))
        _log_progress(trials)
        with locks.holding(trials.folder / ".compare.lock", wait=True):
            if not is_done(unit, len(trials.finished())):  # another process has perhaps done it meanwhile
                finish(trials, options)
    _log_result(unit.artifact.record(), options.run)
    print("\n".join(advice(unit.artifact, request)))


def advice(found: Artifact, request: cli.Request) -> list[str]:
    """What to do with what was found."""
    verdict, run = found.required()["verdict"], request.options.run
    if found.required()["low"] == found.required()["high"] == 0:
        return [f"no trial was better than {run} as it stands, which is the best plan: nothing is to be run"]
    best = f"best plan  {found.files[1]}"
    if verdict == "better":
        return [best, f"run it by  {run_command(found.files[1], request.store)}"]
    return [f"fresh folds do not show the best trial to be better than {run} as it stands: {verdict}", best]


def _log_progress(trials: Trials) -> None:
    done = len(trials.finished())
    if done < trials.n_trials:
        log.warning(
            "%-10s the time is up after %d of %d trials: the same command resumes", "search", done, trials.n_trials
        )
    log.info("%-10s %d trials are done; now the best and the unchanged run, on fresh folds", "search", done)


def is_done(unit: Unit, trials: int) -> bool:
    """Whether so many trials were made (the time may have been up before), and compared."""
    complete = unit.state()[0] == "complete" and not unit.artifact.checksum_mismatches()
    return complete and unit.artifact.fact("trials", int) >= trials


def _log_result(found: dict, run: str) -> None:
    log.info(
        "search     %s: %.5f on fresh folds, %.5f unchanged: %+.5f (%+.5f to %+.5f), %s", run, found["fresh_best"],
        found["fresh_before"], found["difference"], found["low"], found["high"], found["verdict"]
    )  # fmt: skip
    if found["optimism"] is not None:
        log.info("           gain during selection %.5f: optimism %+.5f",
                 found["before"] - found["best"], found["optimism"])  # fmt: skip


def run_command(plan: Path, store: Store) -> str:
    """The command that makes all of a plan from the same files and weights."""
    words = ["./run.sh", str(plan)]
    folder = store.inputs().fact("folder", str)
    words += [*store.flags[2:], *([] if folder == "sky" else ["--input", folder])]
    for backbone, weights in store.load_weights_list().items():
        words += ["--weights", f"{backbone}={weights['path']}"]
    return shlex.join(words)
