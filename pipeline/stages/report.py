"""Stage 9 of 9: the leaderboard and the report.

reads   baselines/<name>/oof.parquet, runs/<run>/fold<k>/{valid.parquet,history.csv,run.json,predictions.json},
        ensembles/<name>/{oof.parquet,ensemble.json}, crops/<crop>/<split>.json, inputs/labels.parquet, folds.csv
writes  leaderboard.csv, leaderboard.md, report.html (one file, no network), report.json; report/<figure>.{svg,csv}

All scores are out of fold. What is missing is left out and named, as long as a run is complete. Prints the leaderboard
and the paths of submissions and report, also when nothing was to do.

    ./run.sh report --plan demo [--force]
    ./run.sh report --compare output/FIRST output/SECOND     what improved or got worse, and where
"""

import argparse
import logging
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import cli
from pipeline.plans.config import Plan
from pipeline.report import comparison, leaderboard, leaderboard_text
from pipeline.store import dependencies, staleness
from pipeline.store.artifacts import Store
from pipeline.store.records import atomic

if TYPE_CHECKING:
    from pipeline.report.figure import Figure

log = logging.getLogger(__name__)


def build(unit: dependencies.Unit, plan: Plan, store: Store) -> None:
    """Score everything and write the three files."""
    from pipeline.report.page import render

    started = time.monotonic()
    board = leaderboard.score_all(plan, store)
    frame = board.frame()
    page = render(plan, store, board)
    unit.artifact.begin()
    texts = (frame.to_csv(index=False), leaderboard_text.to_markdown(frame), page.html)
    for path, text in zip(unit.artifact.files, texts, strict=True):
        with atomic(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    save_figures(store.root / "report", page.figures)
    best = board.entries[0]
    unit.finish(best=best.name, **{best.decides.name: best.score}, seconds=time.monotonic() - started)
    log.info("%-10s %d entries on %s galaxies", "report", len(board.entries), f"{len(board.truth):,}")


def save_figures(folder: Path, figures: "Iterable[Figure]") -> None:
    """Every figure as <name>.svg and what it shows as <name>.csv; those of an earlier report are deleted."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for figure in figures:
        (folder / f"{figure.name}.svg").write_text(figure.file(), encoding="utf-8")
        figure.numbers.to_csv(folder / f"{figure.name}.csv", index=False)


def show(plan: Plan, store: Store) -> str:
    """The leaderboard, and the paths of submissions and report: printed at the end of a run."""
    table = leaderboard_text.to_text(leaderboard.read(store.report().verified("leaderboard.csv")))
    lines, walk = [table, ""], staleness.Walk()
    for unit in dependencies.all_units(plan, store):
        state, _ = walk.state(unit)
        if unit.stage == "submit" and unit.artifact.record():
            old = "" if state == "complete" else f"  OUTDATED: {store.command('status')} says why"
            lines.append(f"submission {unit.artifact.files[0]}{old}")
    return "\n".join([*lines, f"report     {store.report().files[2]}"])


def arguments() -> argparse.ArgumentParser:
    """The flags of this stage."""
    parser = cli.parser(__doc__)
    _add_compare(parser)
    return parser


def _add_compare(parser: argparse.ArgumentParser) -> None:
    what = "two output folders of plans, such as output/laptop output/laptop-best; needs no --plan"
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("FIRST", "SECOND"), help=what)


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    given = sys.argv[1:] if argv is None else argv
    if any(word.partition("=")[0] == "--compare" for word in given):  # needs no plan
        parser = cli.Parser(description=comparison.__doc__)
        _add_compare(parser)
        if any(word.partition("=")[0] in ("--plan", "--output") for word in given):
            parser.error("--compare takes the plans from the two folders: leave --plan and --output out")
        print("\n".join(comparison.comparison_lines(*parser.parse_args(given).compare)))
        return
    request = cli.parse(arguments(), argv).without_failed_runs().of_what_exists()
    for missing in request.plan.missing:
        log.warning("%-10s not in it, since it is missing: %s", "report", missing)
    for unit in request.to_do(dependencies.report(request.plan, request.store)):
        build(unit, request.plan, request.store)
    request.warn_of_stale("report")
    print(show(request.plan, request.store))
