"""Classify galaxies that nobody has voted on, by an ensemble that was trained here.

reads   a catalogue (.parquet, .csv, .fits, .vot) and its images, or a folder, zip or tar of images; OUTPUT/PLAN
writes  TABLE (.parquet, .csv, .fits, .vot), or a folder of Parquet shards where it has no such suffix

Images are JPEG, PNG or FITS, of any size, in a folder, zip, tar or at addresses; an image shows what those of the
competition show (8.5 Petrosian 90 % radii), unless the catalogue has columns radius and pixel_scale. What cannot be
read is a row with its reason. Shards are written whole or not at all: the same command goes on where it was stopped.

    python -m pipeline.classify CATALOGUE --ensemble OUTPUT/PLAN/ensembles/final --to TABLE [--images DIR|ZIP|TAR|URL]
        [--views 8] [--engine local|ray] [--workers N] [--id-column NAME] [--image-column NAME] [--force]
"""

import argparse
import logging
import shutil
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from pipeline import cli, engines
from pipeline.artifacts import Store
from pipeline.catalogue import columns, images, shards, tables
from pipeline.catalogue.shards import Shard
from pipeline.classifier import Classifier
from pipeline.core import views
from pipeline.errors import UserError
from pipeline.records import Artifact, atomic

log = logging.getLogger(__name__)
ROWS = 2048  # of a shard
BYTES = 600  # that a galaxy takes in the shards and again in the table


class Galaxies:
    """The rows to classify, in batches: a catalogue's, or one for every image of a folder or archive."""

    def __init__(self, options: argparse.Namespace):
        self.path, self.where = options.catalogue.expanduser(), options.images
        self.chosen = {"id": options.id_column, "image": options.image_column}
        self.chosen = {meaning: name for meaning, name in self.chosen.items() if name is not None}
        self.is_table = self.path.suffix.lower() in tables.KINDS and not self.path.is_dir()
        if not self.is_table:
            if self.where or self.chosen:
                raise UserError(f"{self.path} is not a table: --images, --id-column and --image-column go with one")
            self.where = str(self.path)
            self.names = list(images.open_source(self.where).names())
            if not self.names:
                raise UserError(f"{self.path} holds no images ({', '.join(images.SUFFIXES)})")
        elif self.where and "://" not in self.where:
            images.open_source(self.where)  # says what is wrong with it before anything is made

    def batches(self) -> Iterator[pd.DataFrame]:
        """Frames of up to ROWS galaxies with columns id, image and what else the catalogue tells of them."""
        if not self.is_table:
            for i in range(0, len(self.names), ROWS):
                names = self.names[i : i + ROWS]
                yield pd.DataFrame({"id": [Path(name).stem for name in names], "image": names})
            return
        for frame in tables.batches(self.path, ROWS, self.chosen):
            if "image" not in frame:
                if self.where is None:
                    raise UserError(
                        f"{self.path} has no column of images (--image-column): say where they lie, --images"
                    )
                frame = frame.assign(image=frame["id"].astype(str))
            elif self.where is None:
                frame = frame.assign(image=[_beside(self.path, str(name)) for name in frame["image"]])
            if ("pixel_scale" in frame) != ("radius" in frame):
                raise UserError(
                    f"{self.path}: to crop by angle takes two columns, radius (Petrosian 90 %) and pixel_scale, both "
                    f"in arcseconds; it has one of them"
                )
            yield frame.assign(image=frame["image"].astype(str))


def _beside(catalogue: Path, name: str) -> str:
    """A path that a catalogue tells, from its own folder; an address as it is."""
    return name if "://" in name else str(catalogue.parent / name)


class Target:
    """The table to write, and the folder of its shards."""

    def __init__(self, path: Path):
        self.path = path.expanduser().absolute()
        self.joined = self.path.suffix.lower() in tables.KINDS
        self.folder = self.path.with_name(self.path.name + ".parts") if self.joined else self.path
        self.table = Artifact(self.path.with_name(self.path.name + ".json"), (self.path,))
        if self.path.is_dir() == self.joined and self.path.exists():
            raise UserError(f"--to {self.path}: {'a folder' if self.joined else 'a file'} of that name is there")

    def shard(self, i: int) -> Artifact:
        """Shard i. Readers of folders of Parquet files pass over what begins with an underscore."""
        return Artifact(self.folder / "_records" / f"part-{i:05d}.json", (self.folder / f"part-{i:05d}.parquet",))

    def is_whole(self, record: dict) -> bool:
        """Whether the table is there as the record says."""
        found = self.table.record()
        return bool(found) and {key: found[key] for key in record} == record and not self.table.damage()


def survey(galaxies: Galaxies) -> tuple[list[str], int]:
    """(digest of every batch, number of galaxies): a first pass, so that what is wrong is said before work begins."""
    digests, count = [], 0
    for batch in galaxies.batches():
        digests.append(shards.digest_of(batch))
        count += len(batch)
    if not count:
        raise UserError(f"{galaxies.path} holds no galaxies")
    return digests, count


def missing(galaxies: Galaxies, target: Target, wanted: list[dict], force: bool) -> Iterator[Shard | int]:
    """Every shard that is not there yet; of those that are, how many galaxies they hold."""
    strange = (
        f"{target.folder} holds shards of another catalogue, ensemble or other views: choose another --to, or give"
    )
    beyond = [p for p in target.folder.glob("_records/part-*.json") if int(p.stem.split("-")[1]) >= len(wanted)]
    if beyond and not force:
        raise strange
    for path in beyond:
        path.unlink()
        (target.folder / f"{path.stem}.parquet").unlink(missing_ok=True)
    for i, (batch, record) in enumerate(zip(galaxies.batches(), wanted, strict=True)):
        shard = Shard(batch, target.shard(i), **record)
        found = shard.artifact.record()
        same = found and {key: found[key] for key in record} == record
        if same and not shard.artifact.damage() and not force:
            yield len(batch)
        elif found and not same and not force:
            raise strange
        else:
            yield shard


def join(target: Target, count: int, record: dict) -> None:
    """One table of all shards; then the shards go."""
    parts = [target.shard(i) for i in range(count)]
    target.table.begin()
    with atomic(target.path) as path:
        tables.write((pd.read_parquet(part.files[0]) for part in parts), path)
    facts = {key: sum(part.record()[key] for part in parts) for key in ("galaxies", "unread", "seconds")}
    target.table.finish(**record, **facts)
    shutil.rmtree(target.folder)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line; UserError for what cannot be."""
    made = argparse.ArgumentParser(
        prog="./run.sh classify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("catalogue", type=Path, help="a table, or a folder, zip or tar of images")
    made.add_argument("--ensemble", type=Path, required=True, help="folder OUTPUT/PLAN/ensembles/NAME")
    made.add_argument("--to", type=Path, required=True, help="the table to write, or a folder for Parquet shards")
    made.add_argument("--images", help="folder, zip, tar or address of a catalogue's images")
    made.add_argument("--id-column", help="column of ids, where it has no usual name")
    made.add_argument("--image-column", help="column of paths or addresses of images, where it has no usual name")
    made.add_argument("--views", help=f"views averaged per galaxy: {', '.join(views.NAMES)}, or how many; as trained")
    made.add_argument("--engine", choices=engines.NAMES, default="local", help="here, or on a Ray cluster")
    made.add_argument("--workers", type=int, default=1, help="processes that hold the ensemble")
    made.add_argument("--force", action="store_true", help="make anew what is there already")
    options = made.parse_args(argv)
    if options.workers < 1:
        raise UserError(f"--workers {options.workers}: expected 1 or more")
    return options


def view_set_of(asked: str | None) -> str | None:
    """The name of the view set; UserError where there is none such."""
    try:
        return None if asked is None else views.by_name_or_count(asked)
    except ValueError as error:
        raise UserError(f"--views: {error}") from None


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    options = parse(argv)
    view_set = view_set_of(options.views)
    ensemble = Classifier(options.ensemble, view_set)
    galaxies, target = Galaxies(options), Target(options.to)
    digests, count = survey(galaxies)
    spec = {"version": columns.VERSION, "views": view_set, "images": galaxies.where}
    wanted = [{"spec": spec, "made_from": {"ensemble": ensemble.digest, "rows": digest}} for digest in digests]
    whole = {
        "spec": spec,
        "made_from": {"ensemble": ensemble.digest, "rows": sha256(" ".join(digests).encode()).hexdigest()},
    }
    if target.joined and not options.force and target.is_whole(whole):
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
