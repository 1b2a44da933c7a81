"""What the commands that go through a catalogue share: their flags, and the making of shards by the engines."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence

from tqdm import tqdm

from pipeline.catalogue import column_names, shards
from pipeline.catalogue.galaxies import Galaxies
from pipeline.catalogue.target import ShardPlan
from pipeline.execution import engines


def add_catalogue_flags(parser: ArgumentParser) -> None:
    """The catalogue and how it is read."""
    parser.add_argument("catalogue", help="a table or its address, or a folder, zip or tar of images")
    parser.add_argument("--images", help="folder, zip, tar or address of a catalogue's images")
    for what in column_names.NAMES:
        parser.add_argument(
            column_names.column_flag(what), metavar="NAME", help=f"column of {what}, where it has no usual name"
        )
    parser.add_argument("--table", metavar="NAME", help="table of a file of several, by name or number")
    parser.add_argument("--whole-images", action="store_true", help="crop no image by radius and pixel_scale")


def galaxies_of(options: Namespace, keep: Sequence[str] = ()) -> Galaxies:
    """The galaxies that the flags name; UserError as of `Galaxies`."""
    chosen = {what: name for what in column_names.NAMES if (name := getattr(options, f"{what}_column"))}
    return Galaxies(options.catalogue, options.images, chosen, options.whole_images, keep=keep, table=options.table)


def make(
    plan: ShardPlan, make_worker: Callable[[], shards.Worker], options: Namespace, count: int, command: str
) -> None:
    """All missing or outdated shards, with a progress bar."""
    with tqdm(total=count, desc=command, unit="galaxy") as bar:

        def to_do() -> Iterator[shards.Shard]:
            for shard in plan.missing(force=options.force):
                if isinstance(shard, int):
                    bar.update(shard)
                else:
                    yield shard

        for counts in engines.each(make_worker, to_do(), engine=options.engine, workers=options.workers):
            bar.update(counts["galaxies"])


def summary(facts: dict) -> str:
    """How many galaxies a table has, and how many could not be read."""
    unread = facts["unread"]
    why = f", of which {unread:,} could not be read (the column reason says why)" if unread else ""
    return f"{facts['galaxies']:,} galaxies{why}"
