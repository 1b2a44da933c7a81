"""What was read of each image, so that an image which is another one by now is known, and what failed is tried again.

Two numbers an image, uint64 (n, 2): a stamp made without reading it, 0 where it is to be looked at again in any case
(it could not be used), and a digest of its bytes, 0 where there were none.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.catalogue import image_files, images
from pipeline.core import machine
from pipeline.errors import DamagedImage
from pipeline.store.records import atomic

MAX_REQUESTS = 16  # addresses that are asked at once
STAMP, DIGEST = 0, 1


def threads_for(source: images.Source) -> int:
    """How many images of a source are read at once."""
    return MAX_REQUESTS if isinstance(source, images.Addresses) else machine.cores()


def save(path: Path, seen: np.ndarray) -> None:
    """As a .npy file, whole or not at all."""
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.save(file, seen)


class Changes(NamedTuple):
    """What became of the images of some rows."""

    changed: np.ndarray  # rows (k,) whose image can be read and is another than was read, or was not read
    seen: np.ndarray  # with stamps as they are now, where the bytes are what they were


class ChangeDetector:
    """Compares images with what was read of them, and counts what it finds."""

    def __init__(self, where: str | None):
        self._where, self._source = where, None
        self.others: list[str] = []  # names of images that are others by now
        self.mended: list[str] = []  # that could not be read before
        self.gone = 0  # that were read and are not there any more

    def compare(self, names: list[str], seen: np.ndarray) -> Changes:
        """Only what has another stamp, or could not be used, is read; what is gone keeps its answer."""
        if self._source is None:
            self._source = images.open_source(self._where)
            self._pool = ThreadPoolExecutor(threads_for(self._source))
        stamps = np.fromiter(self._pool.map(self._source.stamp, names), np.uint64, len(names))
        asked = np.flatnonzero((seen[:, STAMP] != stamps) | (seen[:, STAMP] == 0))
        digests = np.fromiter(self._pool.map(self._digest, (names[i] for i in asked)), np.uint64, len(asked))
        before = seen[asked, DIGEST]
        self.gone += int(((digests == 0) & (before != 0) & (seen[asked, STAMP] != 0)).sum())
        differ = (digests != 0) & (digests != before)
        for i in asked[differ]:
            (self.others if seen[i, STAMP] else self.mended).append(names[i])
        same = asked[(digests == before) & (seen[asked, STAMP] != 0)]
        now = seen.copy()
        now[same, STAMP] = stamps[same]
        return Changes(asked[differ], now)

    def _digest(self, name: str) -> int:
        try:
            return image_files.digest_of(self._source.read(name))
        except DamagedImage:
            return 0

    def summary(self) -> list[str]:
        """What was found, as sentences."""
        found = {
            "whose image was another one before: classified anew": self.others,
            "whose image could not be used before: tried again": self.mended,
        }
        lines = [f"{_count(len(names))}, such as {names[0]}, {what}" for what, names in found.items() if names]
        keep = "keeps its answer" if self.gone == 1 else "keep their answers"
        return lines + [f"{_count(self.gone)} whose image is gone by now {keep}"] * (self.gone > 0)


def _count(n: int) -> str:
    return "1 galaxy" if n == 1 else f"{n:,} galaxies"
