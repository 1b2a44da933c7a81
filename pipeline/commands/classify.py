"""Classify unlabelled galaxies by a trained ensemble.

reads   a catalogue (.parquet, .csv, .fits, .vot; a path or an address; a folder of Parquet, such as HATS) and its
        images, or a folder, zip or tar of images; OUTPUT/PLAN
writes  TABLE (.parquet, .csv, .fits, .vot), or a folder of Parquet shards where it has no such suffix

Images are JPEG, PNG or FITS, 32 to 4,096 pixels a side, in a folder, zip, tar or at addresses; images are framed as
those of the competition (8.48 Petrosian 90 % radii), unless the catalogue has a column radius and, unless FITS images
tell it themselves (WCS), pixel_scale. An unreadable image is a row with its reason; where there are no others, exit
code 2 and no table. Shards are written atomically: the same command resumes after an interruption, retries unreadable
images and rebuilds shards whose images changed. Images at addresses that were read are assumed unchanged. What looks
unlike the galaxies trained on has a caveat; log and record say how many these are. --most-likely also writes the first
N galaxies by an answer or class, such as ring, beside the table: those to look at.

    ./run.sh classify CATALOGUE --ensemble OUTPUT/PLAN/ensembles/final --to TABLE [--images DIR|ZIP|TAR|URL]
        [--id-column NAME] [--image-column NAME] [--table NAME] [--keep COLUMN,…] [--whole-images] [--views 8]
        [--intervals [0.9]] [--most-likely ANSWER [--top N]] [--engine local|ray] [--workers N] [--force [--yes]]
"""

import argparse
import logging
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from pipeline import cli, program
from pipeline.catalogue import columns, descriptions, most_likely, stated, unread, work, writers
from pipeline.catalogue.classify_worker import ClassifyWorker
from pipeline.catalogue.galaxies import Galaxies
from pipeline.catalogue.target import ShardPlan, Target
from pipeline.core import flag_types, views
from pipeline.execution import engines
from pipeline.models import calibrated
from pipeline.models.classifier import Classifier, view_set_of
from pipeline.models.training_galaxies import log_unlike
from pipeline.store import calibration
from pipeline.store.artifacts import Store
from pipeline.store.environment import environment

log = logging.getLogger(__name__)
TOP = 1000  # galaxies that most likely have an answer


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(
        prog="./run.sh classify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ensemble", type=Path, required=True, help="folder OUTPUT/PLAN/ensembles/NAME")
    parser.add_argument("--to", type=Path, required=True, help="the table to write, or a folder for Parquet shards")
    work.add_catalogue_flags(parser)
    parser.add_argument(
        "--keep", metavar="COLUMN,…", type=_names, action="extend", default=[], help="columns that go into the answers"
    )
    parser.add_argument(
        "--views", help=f"views averaged per galaxy: {', '.join(views.VIEW_SETS)}, or how many; as trained"
    )
    parser.add_argument(
        "--intervals",
        nargs="?",
        const=calibration.LEVEL,
        type=flag_types.share,
        metavar="SHARE",
        help="add intervals that hold this share of the answers, 0.9 by default, and the class's calibrated confidence",
    )
    parser.add_argument("--most-likely", metavar="ANSWER", help="also the galaxies that most likely have it, in order")
    parser.add_argument("--top", type=flag_types.count, metavar="N", help=f"how many of these; {TOP:,}")
    engines.add_flags(parser, "processes that each load the ensemble")
    parser.add_argument("--force", action="store_true", help="rebuild what exists")
    parser.add_argument("--yes", action="store_true", help="agree beforehand to what would be asked")
    options = parser.parse_args(argv)
    cli.require_with(parser, options, top="most_likely")
    options.top = options.top or TOP
    return options


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


class Work(NamedTuple):
    """What a command has to make."""

    plan: ShardPlan
    whole: dict[str, dict]  # record of the joined table
    count: int  # galaxies
    needs: float  # bytes on the disk


def planned(
    options: argparse.Namespace,
    target: Target,
    ensemble: Classifier,
    view_set: str | None,
    holds: calibration.Calibration | None,
) -> Work:
    """The shards and the table, after a first pass over the catalogue; UserError tells what is wrong with that.

    `holds`: what intervals are calibrated by; None: without.
    """
    galaxies, level = work.galaxies_of(options, keep=options.keep), options.intervals
    more = stated.types(ensemble.schema) if holds else {}
    digests, count, schema = galaxies.survey(
        ensemble.schema, target.kind or "parquet", partial(columns.schema, stated=more)
    )
    wider = len(schema) / (len(schema) - len(more))
    writers.check_size(target.kind, schema, count, wider)
    spec = {"version": columns.VERSION, "views": view_set, "images": galaxies.where, "id": str(schema.field("id").type)}
    spec |= {"keep": options.keep} if options.keep else {}
    spec |= {"intervals": level} if holds else {}
    log.info("classify   pixel scales: %s", galaxies.scales())
    told = header(ensemble, view_set, galaxies) | (stated.described(holds) if holds else {})
    meanings = dict(stated.meanings(ensemble.schema, level)) if holds else {}
    schema = descriptions.described(schema, ensemble.schema, told, meanings)

    def expected_record(rows: str) -> dict[str, dict]:
        return {"spec": spec, "made_from": {"ensemble": ensemble.digest, "rows": rows}}

    whole = expected_record(sha256(" ".join(digests).encode()).hexdigest())
    plan = ShardPlan(galaxies, target, [expected_record(rows) for rows in digests], schema)
    each = writers.ON_DISK["parquet"] + writers.ON_DISK.get(target.kind, 0)
    return Work(plan, whole, count, each * count * wider)


def make(todo: Work, target: Target, options: argparse.Namespace, view_set: str | None) -> dict:
    """The shards and the table, where they are not there; returns the facts of them all."""
    if target.is_whole(todo.whole, force=options.force) and todo.plan.is_current():
        facts = target.table.record()
        log.info("classify   %s is complete: %s", target.path, work.summary(facts))
        return facts
    Store(target.folder).require_space(todo.needs, "the answers")
    where = todo.plan.galaxies.where
    make_worker = partial(ClassifyWorker, options.ensemble, view_set, where, options.intervals)
    work.make(todo.plan, make_worker, options, todo.count, "classify")
    unread.refuse_all_unread(todo.plan)
    facts = todo.plan.facts()
    if target.joined:
        todo.plan.join(todo.whole)
    log.info("classify   %s: %s", target.path, work.summary(facts))
    return facts


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    options = parse(argv)
    view_set = view_set_of(options.views)
    target = Target(options.to)
    program.writes_to(target.path.parent)
    ensemble = Classifier(options.ensemble, view_set)
    ensemble.log_caveats("classify")
    wanted = options.most_likely and most_likely.column_of(ensemble.schema, options.most_likely)
    holds = None if options.intervals is None else calibrated.of_classifier(ensemble, options.intervals)
    todo = planned(options, target, ensemble, view_set, holds)
    with target.held():
        if options.force:
            cli.agree_to_lose("classify", *target.discarded(), yes=options.yes)
        facts = make(todo, target, options, view_set)
        if wanted:
            write_likeliest(todo.plan, wanted, options)
    if "unlike" in facts:
        log_unlike("classify", facts["unlike"], facts["galaxies"] - facts["unread"], ensemble)
    for sentence in todo.plan.detector.summary():
        log.info("           %s", sentence)


def write_likeliest(plan: ShardPlan, column: str, options: argparse.Namespace) -> None:
    """The galaxies with the highest values of a column, in a table of their own."""
    path = most_likely.path_beside(plan.target.path, options.most_likely)
    written = most_likely.write(plan.tables(), column, options.top, path)
    log.info("classify   %s: the %s with the highest %s, the highest first", path, f"{written:,}", column)


def header(ensemble: Classifier, view_set: str | None, galaxies: Galaxies) -> dict[str, str]:
    """What the table says of itself, by the names of `descriptions.HEADER`."""
    return {
        "ensemble": ensemble.name,
        "enshash": ensemble.digest,
        "code": environment()["code"],
        "colvers": str(columns.VERSION),
        "views": view_set or "as trained",
        "imscale": galaxies.scales(),
        "caveats": " ".join(ensemble.caveats) or "none known",
    }
