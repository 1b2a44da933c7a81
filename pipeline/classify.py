"""Classify galaxies that nobody has voted on, by an ensemble that was trained here.

reads   a catalogue (.parquet, .csv, .fits, .vot) and its images, or a folder, zip or tar of images; OUTPUT/PLAN
writes  TABLE (.parquet, .csv, .fits, .vot), or a folder of Parquet shards where it has no such suffix

Images are JPEG, PNG or FITS, of any size, in a folder, zip, tar or at addresses; an image shows what those of the
competition show (8.5 Petrosian 90 % radii), unless the catalogue has columns radius and pixel_scale. What cannot be
read is a row with its reason. Shards are written whole or not at all: the same command goes on where it was stopped.

    python -m pipeline.classify CATALOGUE --ensemble OUTPUT/PLAN/ensembles/final --to TABLE [--images DIR|ZIP|TAR|URL]
        [--id-column NAME] [--image-column NAME] [--whole-images] [--views 8] [--engine local|ray] [--workers N]
        [--force]
"""

import argparse
import logging
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path

from tqdm import tqdm

from pipeline import cli, engines
from pipeline.artifacts import Store
from pipeline.catalogue import columns, meaning, shards
from pipeline.catalogue.galaxies import Galaxies
from pipeline.catalogue.shards import Shard
from pipeline.catalogue.target import Target, join, missing
from pipeline.classifier import Classifier, view_set_of
from pipeline.core import views

log = logging.getLogger(__name__)
BYTES = 600  # that a galaxy takes in the shards and again in the table


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    made = cli.Parser(
        prog="./run.sh classify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("catalogue", type=Path, help="a table, or a folder, zip or tar of images")
    made.add_argument("--ensemble", type=Path, required=True, help="folder OUTPUT/PLAN/ensembles/NAME")
    made.add_argument("--to", type=Path, required=True, help="the table to write, or a folder for Parquet shards")
    made.add_argument("--images", help="folder, zip, tar or address of a catalogue's images")
    for what in meaning.NAMES:
        made.add_argument(meaning.flag(what), metavar="NAME", help=f"column of {what}, where it has no usual name")
    made.add_argument("--whole-images", action="store_true", help="crop no image by radius and pixel_scale")
    made.add_argument("--views", help=f"views averaged per galaxy: {', '.join(views.NAMES)}, or how many; as trained")
    engines.add_flags(made, "processes that hold the ensemble")
    made.add_argument("--force", action="store_true", help="make anew what is there already")
    return made.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    options = parse(argv)
    view_set = view_set_of(options.views)
    ensemble = Classifier(options.ensemble, view_set)
    chosen = {what: name for what in meaning.NAMES if (name := getattr(options, f"{what}_column"))}
    galaxies = Galaxies(options.catalogue, options.images, chosen, options.whole_images)
    target = Target(options.to)
    digests, count = galaxies.survey()
    spec = {"version": columns.VERSION, "views": view_set, "images": galaxies.where}
    wanted = [{"spec": spec, "made_from": {"ensemble": ensemble.digest, "rows": digest}} for digest in digests]
    whole = {
        "spec": spec,
        "made_from": {"ensemble": ensemble.digest, "rows": sha256(" ".join(digests).encode()).hexdigest()},
    }
    if target.is_whole(whole, force=options.force):
        log.info("classify   %s is complete: %s galaxies", target.path, f"{count:,}")
        return
    Store(target.folder).require_space(BYTES * count * (1 + target.joined), "the answers")
    make_worker = partial(shards.Worker, options.ensemble, view_set, galaxies.where)
    with tqdm(total=count, desc="classify", unit="galaxy") as bar:

        def to_do() -> Iterator[Shard]:
            for shard in missing(galaxies, target, wanted, options.force):
                if isinstance(shard, int):
                    bar.update(shard)
                else:
                    yield shard

        for told in engines.each(make_worker, to_do(), engine=options.engine, workers=options.workers):
            bar.update(told["galaxies"])
    unread = sum(target.shard(i).record()["unread"] for i in range(len(wanted)))
    if target.joined:
        join(target, len(wanted), whole)
    log.info(
        "classify   %s: %s galaxies, of which %s could not be read%s",
        target.path,
        f"{count:,}",
        f"{unread:,}",
        " (the column reason says why)" if unread else "",
    )


if __name__ == "__main__":
    cli.start(main)
