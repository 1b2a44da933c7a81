"""All stages of a plan, one after the other, in one process.

reads   the competition's files or your own in --input DIR (remembered for this plan), else synthetic galaxies, else
        input/
writes  output/<plan>: every artifact that is missing; submissions, leaderboard and report.html at the end

    ./run.sh [PLAN] [--input DIR] [--download] [--output DIR] [--weights BACKBONE=FILE ...] [--force STAGE]
        [--run NAME] [--max-hours H] [--workers N] [--resume-from DIR] [--yes]
"""

import argparse
import importlib
import time
from collections.abc import Callable
from pathlib import Path

from pipeline import cli
from pipeline.competition import download
from pipeline.competition.source_files import INPUT
from pipeline.core import flag_types
from pipeline.errors import Damaged
from pipeline.store import dependencies, staleness
from pipeline.store.dependencies import Unit
from pipeline.store.unit import refuse_changed

OF_RUNS, OF_ENSEMBLES = ("train", "predict", "insight"), ("ensemble", "submit")  # stages, by what their --run names


def arguments() -> argparse.ArgumentParser:
    """The flags of a whole run; each stage gets those that are its own."""
    parser = cli.Parser(prog="./run.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", nargs="?", default="demo", help="a shipped plan or the path of a TOML file; demo")
    parser.add_argument("--input", metavar="DIR", help="folder of the files; remembered for this plan")
    parser.add_argument("--download", action="store_true", help="fetch them first, by your Kaggle account")
    parser.add_argument("--output", metavar="DIR", help="where plans keep their artifacts")
    parser.add_argument(
        "--weights", action="append", default=[], metavar="BACKBONE=FILE", help="first weights; repeatable"
    )
    parser.add_argument(
        "--run", metavar="NAME", help="train only this run, or the runs of this ensemble, and submit that"
    )
    parser.add_argument("--force", choices=dependencies.STAGES, metavar="STAGE", help="rebuild what this stage makes")
    parser.add_argument("--yes", action="store_true", help="agree beforehand to what would be asked")
    parser.add_argument(
        "--max-hours", type=flag_types.amount, metavar="H", help="stop in time, between epochs (exit code 3)"
    )
    parser.add_argument(
        "--workers",
        type=flag_types.count,
        metavar="N",
        help="folds that are trained at a time, each on a GPU of its own",
    )
    parser.add_argument("--resume-from", metavar="DIR", help="start from the output of an earlier session")
    return parser  # fmt: skip


def calls(stage: str, options: argparse.Namespace, until: float | None, runs: list[str] | None) -> list[list[str]]:
    """The flags of each call of a stage: one, or one for each of the `runs`."""
    flags = flags_of(stage, options, until)
    if stage in OF_RUNS and runs is not None:
        return [[*flags, "--run", run] for run in runs]
    return [flags + (["--run", options.run] if stage in OF_ENSEMBLES and options.run else [])]


def flags_of(stage: str, options: argparse.Namespace, until: float | None) -> list[str]:
    """The flags of a stage."""
    flags = ["--plan", options.plan, "--yes"]  # what is asked was asked before the first stage
    flags += ["--output", options.output] if options.output else []
    flags += [f"--until={until}"] if until is not None else []
    flags += ["--force"] if options.force == stage else []
    if stage == "inputs":
        flags += ["--run", options.run] if options.run else []
        flags += ["--input", options.input] if options.input else []
        flags += ["--resume-from", options.resume_from] if options.resume_from else []
        flags += [word for item in options.weights for word in ("--weights", item)]
    if stage == "train" and options.workers:
        flags += ["--workers", str(options.workers)]
    return flags


def ask(options: argparse.Namespace) -> list[str] | None:
    """Say what work the run discards, by --force or since its sources are other ones; ask where that is much.

    Returns the runs that --run asks for; None: all.
    """
    where = ["--output", options.output] if options.output else []
    request = cli.parse(cli.parser(None), ["--plan", options.plan, *where])
    runs = None if options.run is None else request.plan.runs_for(options.run)

    def selected(unit: Unit) -> bool:
        if runs is None or unit.stage not in (*OF_RUNS, *OF_ENSEMBLES):
            return True
        return unit.run in runs if unit.stage in OF_RUNS else unit.run == options.run

    if not (options.weights or options.resume_from or options.force == "inputs"):  # by which stage 0 changes what holds
        require_unchanged(request, options.force, selected)

    def rebuilt(unit: Unit) -> bool:
        other = unit.state()[0] == "outdated" or staleness.starts_over(unit)
        return selected(unit) and (unit.stage == options.force or other)

    lost = staleness.discarded(staleness.everything(request.plan, request.store), rebuilt)
    first = [unit.artifact for unit in lost if unit.stage == options.force or not options.force]
    if options.force or staleness.needs_agreement(lost):
        cli.agree_to_discard(lost, first, options)
    return runs


def require_unchanged(request: cli.Request, forced: str | None, selected: Callable[[Unit], bool]) -> None:
    """UserError for what a stage would refuse, before those that come first have worked for hours."""
    for stage in dependencies.STAGES:
        if stage != forced:
            try:
                units = list(dependencies.units_of(stage, request.plan, request.store))
            except Damaged:  # of what all its units share, as the stage itself will say
                continue
            refuse_changed(filter(selected, units), request.store.command)


def main(argv: list[str] | None = None) -> None:
    """Run the stages."""
    options = arguments().parse_args(argv)
    runs = ask(options)  # mistakes in the plan are reported before any download
    until = None if options.max_hours is None else time.time() + 3600 * options.max_hours
    if options.download:
        download.fetch_missing(Path(options.input) if options.input else INPUT)
    for stage in dependencies.STAGES:
        main_of_stage = importlib.import_module(f"pipeline.stages.{stage}").main
        for flags in calls(stage, options, until, runs):
            main_of_stage(flags)
