"""What the stages ask of the images of a plan, wherever they lie."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.plans.crops import Crop

Id = int | str


class ImageSet(ABC):
    """The images of some galaxies. Thread-safe; a context, at whose end archives are closed."""

    ids: np.ndarray  # (n,) int64 or text, ascending

    def __enter__(self) -> "ImageSet":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.ids)

    def close(self) -> None:  # noqa: B027 (not abstract: most need none)
        """Close archives that are held open."""

    @abstractmethod
    def read(self, galaxy: Id) -> bytes:
        """The bytes of an image; KeyError if absent, DamagedImage if damaged."""

    @staticmethod
    @abstractmethod
    def cut(data: bytes, crops: Sequence[Crop], targets: Sequence[np.ndarray]) -> None:
        """Write the crops of an image into `targets`; DamagedImage where it cannot be used."""

    @abstractmethod
    def sizes(self) -> Iterator[tuple[Id, int, int | None]]:
        """(id, bytes, checksum; None where there is none) of every image."""

    @abstractmethod
    def _lines(self) -> Iterator[str]:
        """A text for every image by which another is told; folder names do not matter."""

    def fingerprint(self) -> dict[str, int | str]:
        """Count, and digest over what the images are told by."""
        lines = sorted(self._lines())
        return {"count": len(lines), "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest()}
