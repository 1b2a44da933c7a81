"""Shards of a catalogue: a few thousand galaxies each, classified and written whole or not at all."""

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.catalogue import columns, images, pixels, tables
from pipeline.classifier import Classifier
from pipeline.config import Crop
from pipeline.core import machine
from pipeline.errors import DamagedImage
from pipeline.records import Artifact, atomic

BLOCK = 1 << 26  # bytes of the crops that are held at once, and as many again that are being read
FETCHING = 16  # addresses that are asked at once


class Shard(NamedTuple):
    """Some rows of a catalogue, and where what is said of them goes."""

    galaxies: pd.DataFrame  # id, image, and ra, dec, pixel_scale, radius where the catalogue has them
    artifact: Artifact
    spec: dict[str, Any]
    made_from: dict[str, str | None]


def digest_of(galaxies: pd.DataFrame) -> str:
    """sha256 of rows of a catalogue."""
    hashes = pd.util.hash_pandas_object(galaxies.astype({"id": str}), index=False).to_numpy()
    kind = "text" if isinstance(galaxies["id"].iloc[0], str) else "integer"  # ids 7 and "7" make other tables
    return hashlib.sha256(" ".join([kind, *galaxies.columns]).encode() + hashes.tobytes()).hexdigest()


class Worker:
    """An ensemble and a source of images, held by one process, that makes shards."""

    def __init__(self, ensemble: Path, view_set: str | None, where: str | None):
        self.classifier = Classifier(ensemble, view_set)
        self.source = images.open_source(where)
        threads = FETCHING if isinstance(self.source, images.Addresses) else machine.cores()
        self._readers, self._next = ThreadPoolExecutor(threads), ThreadPoolExecutor(1)

    def __call__(self, shard: Shard) -> dict[str, int]:
        """Make one shard; how many galaxies it has and how many of them could not be read."""
        started = time.monotonic()
        shard.artifact.begin()
        parts, reasons, caveats = [], [], []
        for crops, said, doubts in self._blocks(shard.galaxies):
            answers = self.classifier.answer(crops)
            read = np.array([not reason for reason in said])[:, None]
            parts.append([np.where(read, values, np.nan).astype(np.float32) for values in answers])
            reasons += said
            caveats += doubts
        joint, spread = (np.concatenate(values) for values in zip(*parts, strict=True))
        with atomic(shard.artifact.files[0]) as path:
            tables.write(iter([columns.table(shard.galaxies, joint, spread, reasons, caveats)]), path)
        told = {"galaxies": len(reasons), "unread": sum(map(bool, reasons))}
        shard.artifact.finish(shard.spec, shard.made_from, **told, seconds=time.monotonic() - started)
        return told

    def _blocks(self, galaxies: pd.DataFrame) -> Iterator[tuple[dict[Crop, np.ndarray], list[str], list[str]]]:
        """Crops, reasons and caveats, block after block; the next is read while this one is looked at."""
        rows = max(1, BLOCK // sum(3 * crop.size**2 for crop in self.classifier.crops))
        blocks = [galaxies.iloc[i : i + rows] for i in range(0, len(galaxies), rows)]
        following = self._next.submit(self._read, blocks[0])
        for block in [*blocks[1:], None]:
            ready = following.result()
            if block is not None:
                following = self._next.submit(self._read, block)
            yield ready

    def _read(self, galaxies: pd.DataFrame) -> tuple[dict[Crop, np.ndarray], list[str], list[str]]:
        """The crops of every galaxy, why its image cannot be used (then it is black), why it should not be trusted."""
        wanted = self.classifier.crops
        made = {crop: np.zeros((len(galaxies), crop.size, crop.size, 3), np.uint8) for crop in wanted}

        def read(i: int, name: str, frame: float | None) -> tuple[str, str]:
            try:
                return "", pixels.cut(self.source.read(name), wanted, [made[crop][i] for crop in wanted], frame)
            except DamagedImage as error:
                for crop in wanted:
                    made[crop][i] = 0
                return str(error), ""

        frames = _frames(galaxies)
        told = list(self._readers.map(read, range(len(galaxies)), galaxies["image"], frames))
        return made, [reason for reason, _ in told], [caveat for _, caveat in told]


def _frames(galaxies: pd.DataFrame) -> list[float | None]:
    """Pixels of each image that make the side of a training image; None: all of them."""
    if "pixel_scale" not in galaxies:
        return [None] * len(galaxies)
    return (pixels.FRAME * galaxies["radius"].astype(float) / galaxies["pixel_scale"].astype(float)).tolist()
