"""Classify unlabelled galaxies by a trained ensemble.

reads   a catalogue (.parquet, .csv, .fits, .vot; a path or an address) and its images, or a folder, zip or tar of
        images; OUTPUT/PLAN
writes  TABLE (.parquet, .csv, .fits, .vot), or a folder of Parquet shards where it has no such suffix

Images are JPEG, PNG or FITS, of any size, in a folder, zip, tar or at addresses; images are framed as those of
the competition (8.5 Petrosian 90 % radii), unless the catalogue has a column radius and, unless FITS images tell it
themselves (WCS), pixel_scale. An unreadable image is a row with its reason; where there are no others, exit code 2 and
no table. Shards are written atomically: the same command resumes after an interruption, retries
unreadable images and rebuilds shards whose images changed. Images at addresses that were read are assumed unchanged.
What looks unlike the galaxies trained on has a caveat; log and record say how many these are.

    ./run.sh classify CATALOGUE --ensemble OUTPUT/PLAN/ensembles/final --to TABLE [--images DIR|ZIP|TAR|URL]
        [--id-column NAME] [--image-column NAME] [--table NAME] [--keep COLUMN,…] [--whole-images] [--views 8]
        [--engine local|ray] [--workers N] [--force [--yes]]
"""

import argparse
import logging
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path

from tqdm import tqdm

from pipeline import cli, program
from pipeline.catalogue import column_names, columns, descriptions, shards, unread, writers
from pipeline.catalogue.galaxies import Galaxies
from pipeline.catalogue.target import ShardPlan, Target
from pipeline.core import views
from pipeline.execution import engines
from pipeline.models.classifier import Classifier, view_set_of
from pipeline.models.training_galaxies import log_unlike
from pipeline.store import staleness
from pipeline.store.artifacts import Store
from pipeline.store.environment import environment

log = logging.getLogger(__name__)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(
        prog="./run.sh classify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("catalogue", help="a table or its address, or a folder, zip or tar of images")
    parser.add_argument("--ensemble", type=Path, required=True, help="folder OUTPUT/PLAN/ensembles/NAME")
    parser.add_argument("--to", type=Path, required=True, help="the table to write, or a folder for Parquet shards")
    parser.add_argument("--images", help="folder, zip, tar or address of a catalogue's images")
    for what in column_names.NAMES:
        parser.add_argument(
            column_names.column_flag(what), metavar="NAME", help=f"column of {what}, where it has no usual name"
        )
    parser.add_argument("--table", metavar="NAME", help="table of a file of several, by name or number")
    parser.add_argument(
        "--keep", metavar="COLUMN,…", type=_names, action="extend", default=[], help="columns that go into the answers"
    )
    parser.add_argument("--whole-images", action="store_true", help="crop no image by radius and pixel_scale")
    parser.add_argument(
        "--views", help=f"views averaged per galaxy: {', '.join(views.VIEW_SETS)}, or how many; as trained"
    )
    engines.add_flags(parser, "processes that each load the ensemble")
    parser.add_argument("--force", action="store_true", help="rebuild what exists")
    parser.add_argument("--yes", action="store_true", help="agree beforehand to what would be asked")
    return parser.parse_args(argv)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    options = parse(argv)
    view_set = view_set_of(options.views)
    target = Target(options.to)
    program.writes_to(target.path.parent)
    ensemble = Classifier(options.ensemble, view_set)
    ensemble.log_caveats("classify")
    chosen = {what: name for what in column_names.NAMES if (name := getattr(options, f"{what}_column"))}
    galaxies = Galaxies(
        options.catalogue, options.images, chosen, options.whole_images, keep=options.keep, table=options.table
    )
    digests, count, schema = galaxies.survey(ensemble.schema, target.kind or "parquet")
    writers.check_size(target.kind, schema, count)
    spec = {"version": columns.VERSION, "views": view_set, "images": galaxies.where, "id": str(schema.field("id").type)}
    spec |= {"keep": options.keep} if options.keep else {}
    log.info("classify   pixel scales: %s", galaxies.scales())
    schema = descriptions.described(schema, ensemble.schema, header(ensemble, view_set, galaxies))

    def expected_record(rows: str) -> dict[str, dict]:
        return {"spec": spec, "made_from": {"ensemble": ensemble.digest, "rows": rows}}

    whole = expected_record(sha256(" ".join(digests).encode()).hexdigest())
    plan = ShardPlan(galaxies, target, [expected_record(rows) for rows in digests], schema)
    with target.held():
        if options.force:
            agree_to_discard(target, yes=options.yes)
        if target.is_whole(whole, force=options.force) and plan.is_current():
            facts = target.table.record()
            log.info("classify   %s is complete: %s", target.path, _summary(facts))
        else:
            each = writers.ON_DISK["parquet"] + writers.ON_DISK.get(target.kind, 0)
            Store(target.folder).require_space(each * count, "the answers")
            make(plan, partial(shards.Worker, options.ensemble, view_set, galaxies.where), options, count)
            unread.refuse_all_unread(plan)
            facts = plan.facts()
            if target.joined:
                plan.join(whole)
            log.info("classify   %s: %s", target.path, _summary(facts))
    if "unlike" in facts:
        log_unlike("classify", facts["unlike"], facts["galaxies"])
    for sentence in plan.detector.summary():
        log.info("           %s", sentence)


def agree_to_discard(target: Target, *, yes: bool) -> None:
    """Say what --force discards; UserError where that is much and the user does not agree."""
    seconds, what = target.discarded()
    if yes or seconds <= staleness.FREE:
        if what:
            log.info("classify   rebuilding discards %s", what)
    else:
        cli.require_agreement(f"rebuilding discards {what}")


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


def make(plan: ShardPlan, make_worker: Callable[[], shards.Worker], options: argparse.Namespace, count: int) -> None:
    """All missing or outdated shards, with a progress bar."""
    with tqdm(total=count, desc="classify", unit="galaxy") as bar:

        def to_do() -> Iterator[shards.Shard]:
            for shard in plan.missing(force=options.force):
                if isinstance(shard, int):
                    bar.update(shard)
                else:
                    yield shard

        for counts in engines.each(make_worker, to_do(), engine=options.engine, workers=options.workers):
            bar.update(counts["galaxies"])


def _summary(facts: dict) -> str:
    unread = facts["unread"]
    why = f", of which {unread:,} could not be read (the column reason says why)" if unread else ""
    return f"{facts['galaxies']:,} galaxies{why}"
