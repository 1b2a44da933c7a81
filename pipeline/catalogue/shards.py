"""Shards of a catalogue: a few thousand galaxies each, classified and written atomically."""

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.catalogue import framing, image_files, image_stamps, images, pixels, writers
from pipeline.errors import DamagedImage
from pipeline.models.training_galaxies import UNLIKE
from pipeline.plans.crops import Crop
from pipeline.store.records import Artifact, atomic

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_BYTES = 1 << 26  # bytes of the crops that are held at once, and as many again that are being read


class Shard(NamedTuple):
    """Some rows of a catalogue, and where what is said of them goes."""

    galaxies: pd.DataFrame  # id, image, and ra, dec, pixel_scale, radius where the catalogue has them
    artifact: Artifact  # of the table and of what was read of the images
    spec: dict[str, Any]
    made_from: dict[str, str | None]
    schema: "pa.Schema"
    rows: np.ndarray | None = None  # those to classify again, the others being up to date; None: all


class Block(NamedTuple):
    """The images of some galaxies as crops."""

    crops: dict[Crop, np.ndarray]  # black where `reasons` says why an image cannot be used
    reasons: list[str]
    caveats: list[str]  # why an answer should not be trusted as others are
    seen: np.ndarray  # uint64 (n, 2)


def rows_digest(galaxies: pd.DataFrame) -> str:
    """sha256 of rows of a catalogue."""
    hashes = pd.util.hash_pandas_object(galaxies.astype({"id": str}), index=False).to_numpy()
    kind = "text" if isinstance(galaxies["id"].iloc[0], str) else "integer"  # ids 7 and "7" make other tables
    return hashlib.sha256(" ".join([kind, *galaxies.columns]).encode() + hashes.tobytes()).hexdigest()


def counts_of(made: "pa.Table", *, compared: bool) -> dict[str, int]:
    """Numbers of galaxies, of those that could not be read and, where they were `compared`, of those unlike others."""
    counts = {"galaxies": len(made), "unread": sum(map(bool, made.column("reason").to_pylist()))}
    return counts | (
        {"unlike": sum(UNLIKE in (text or "") for text in made.column("caveat").to_pylist())} if compared else {}
    )


class Worker:
    """A source of images, held by one process, that makes shards; subclasses say of what crops and what rows."""

    crops: list[Crop]  # those of an image that are looked at
    compares = False  # whether rows tell which galaxies look unlike those trained on

    def _open(self, where: "str | images.Source | None") -> None:
        self.source = images.open_source(where) if where is None or isinstance(where, str) else where
        self._readers, self._next = ThreadPoolExecutor(image_stamps.threads_for(self.source)), ThreadPoolExecutor(1)

    def __call__(self, shard: Shard) -> dict[str, int]:
        """Make one shard; how many galaxies it has and how many of them could not be read."""
        started = time.monotonic()
        shard.artifact.begin()
        part, seen_path = shard.artifact.files
        galaxies = shard.galaxies if shard.rows is None else shard.galaxies.iloc[shard.rows]
        made, read = self._answered(galaxies, shard.schema)
        if shard.rows is not None:
            made, read = _merged(shard, made, read)
        with atomic(part) as path:
            writers.write_parquet(iter([made]), shard.schema, path)
        image_stamps.save(seen_path, read)
        counts = counts_of(made, compared=self.compares)
        shard.artifact.finish(shard.spec, shard.made_from, **counts, seconds=time.monotonic() - started)
        return counts

    def _answered(self, galaxies: pd.DataFrame, schema: "pa.Schema") -> tuple["pa.Table", np.ndarray]:
        """(rows of the table, what was read of the images uint64 (n, 2))."""
        raise NotImplementedError

    def _blocks(self, galaxies: pd.DataFrame) -> Iterator[Block]:
        """Block after block; the next is read while this one is looked at."""
        rows = max(1, BLOCK_BYTES // sum(3 * crop.size**2 for crop in self.crops))
        blocks = [galaxies.iloc[i : i + rows] for i in range(0, len(galaxies), rows)]
        following = self._next.submit(self._read, blocks[0])
        for block in [*blocks[1:], None]:
            ready = following.result()
            if block is not None:
                following = self._next.submit(self._read, block)
            yield ready

    def _read(self, galaxies: pd.DataFrame) -> Block:
        crops = self.crops
        made = {crop: np.zeros((len(galaxies), crop.size, crop.size, 3), np.uint8) for crop in crops}

        def read(i: int, name: str, radius: float | None, scale: float) -> tuple[str, str, int, int]:
            digest, stamp = 0, self.source.stamp(name)  # before it is read: what changes meanwhile is another one
            try:
                data = self.source.read(name)
                digest = image_files.digest_of(data)
                frame, doubt = (None, "") if radius is None else framing.pixels_of_frame(data, radius, scale)
                caveat = pixels.cut(data, crops, [made[crop][i] for crop in crops], frame)
            except DamagedImage as error:
                for crop in crops:
                    made[crop][i] = 0
                return str(error), "", 0, digest
            return "", "; ".join(filter(None, (doubt, caveat))), stamp, digest

        found = list(self._readers.map(read, range(len(galaxies)), galaxies["image"], *_angles(galaxies)))
        reasons, caveats, stamps, digests = map(list, zip(*found, strict=True))
        return Block(made, reasons, caveats, np.array([stamps, digests], np.uint64).T)


def _merged(shard: Shard, made: "pa.Table", read: np.ndarray) -> tuple["pa.Table", np.ndarray]:
    """A shard as it is on disk, with some of its rows replaced."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    part, seen_path = shard.artifact.files
    old, known = pq.read_table(part, schema=shard.schema), np.load(seen_path)
    order = np.arange(len(old))
    order[shard.rows] = len(old) + np.arange(len(made))
    known[shard.rows] = read
    return pa.concat_tables([old, made]).take(order).combine_chunks(), known


def _angles(galaxies: pd.DataFrame) -> tuple[list[float | None], list[float]]:
    """(radii, None where the catalogue has no such column: images are taken whole; pixel scales, NaN likewise)."""
    if "radius" not in galaxies:
        return [None] * len(galaxies), [np.nan] * len(galaxies)
    scales = galaxies.get("pixel_scale", pd.Series(np.nan, galaxies.index))
    return galaxies["radius"].astype(float).tolist(), scales.astype(float).tolist()
