"""Change detection of images: changed ones are classified again, unreadable ones are retried.

Two numbers an image, uint64 (n, 2): a stamp made without reading it, 0 where the image could not be used and is always
checked again, and a digest of its bytes, 0 where it could not be read.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.catalogue import image_files, images
from pipeline.core import machine
from pipeline.errors import DamagedImage
from pipeline.store.records import atomic

MAX_REQUESTS = 16  # at once
STAMP, DIGEST = 0, 1


def threads_for(source: images.Source) -> int:
    """How many images of a source are read at once."""
    return MAX_REQUESTS if isinstance(source, images.Addresses) else machine.cores()


def save(path: Path, seen: np.ndarray) -> None:
    """As a .npy file, whole or not at all."""
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.save(file, seen)


class Changes(NamedTuple):
    """Changes of the images of some rows."""

    changed: np.ndarray  # rows (k,) whose image can be read and has changed, or could not be read before
    seen: np.ndarray  # with stamps as they are now, where the bytes are what they were


class ChangeDetector:
    """Compares images with their recorded stamps and digests, and counts changes."""

    def __init__(self, where: str | None):
        self._where, self._source = where, None
        self.changed: list[str] = []  # names of images with other bytes
        self.readable: list[str] = []  # that could not be read before
        self.missing = 0  # images that are gone

    def compare(self, names: list[str], seen: np.ndarray) -> Changes:
        """Only images with another stamp, or that could not be used, are read; missing ones keep their predictions."""
        if self._source is None:
            self._source = images.open_source(self._where)
            self._threads = threads_for(self._source)
            self._pool = ThreadPoolExecutor(self._threads)
        stamps = self._stamps(names)
        asked = np.flatnonzero((seen[:, STAMP] != stamps) | (seen[:, STAMP] == 0))
        digests = np.fromiter(self._pool.map(self._digest, (names[i] for i in asked)), np.uint64, len(asked))
        before = seen[asked, DIGEST]
        self.missing += int(((digests == 0) & (before != 0) & (seen[asked, STAMP] != 0)).sum())
        differ = (digests != 0) & (digests != before)
        for i in asked[differ]:
            (self.changed if seen[i, STAMP] else self.readable).append(names[i])
        same = asked[(digests == before) & (seen[asked, STAMP] != 0)]
        now = seen.copy()
        now[same, STAMP] = stamps[same]
        return Changes(asked[differ], now)

    def _stamps(self, names: list[str]) -> np.ndarray:
        """A share of the names for each thread: a stamp takes less time than to hand over a name."""
        shares = [names[i :: self._threads] for i in range(self._threads)]
        made = np.empty(len(names), np.uint64)
        for i, stamps in enumerate(self._pool.map(lambda share: [self._source.stamp(name) for name in share], shares)):
            made[i :: self._threads] = stamps
        return made

    def _digest(self, name: str) -> int:
        try:
            return image_files.digest_of(self._source.read(name))
        except DamagedImage:
            return 0

    def summary(self) -> list[str]:
        """Sentences on what was found."""
        found = {
            "whose image has changed: classified again": self.changed,
            "whose image could not be used before: tried again": self.readable,
        }
        lines = [f"{_count(len(names))}, such as {names[0]}, {what}" for what, names in found.items() if names]
        keep = "keeps its answer" if self.missing == 1 else "keep their answers"
        return lines + [f"{_count(self.missing)} whose image is gone {keep}"] * (self.missing > 0)


def _count(n: int) -> str:
    return "1 galaxy" if n == 1 else f"{n:,} galaxies"
