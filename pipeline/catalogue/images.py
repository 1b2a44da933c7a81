"""Where the images of a catalogue lie: a folder, zips, tars, or addresses; read by name, at any thread's request."""

import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from pipeline.catalogue import content
from pipeline.catalogue.containers import LARGEST, Container, Folder, Tar, Zip, small_enough
from pipeline.catalogue.naming import SUFFIXES, Index
from pipeline.errors import DamagedImage, UserError

SECONDS = 30  # that an address may take to answer


class Source(Protocol):
    """Images by name."""

    def read(self, name: str) -> bytes:
        """The bytes of one image; DamagedImage where it is not there or not whole."""

    def names(self) -> Iterator[str]:
        """Every image there is; UserError where that cannot be listed."""


def open_source(where: str | None) -> Source:
    """The source at a path or address; None: the names are whole paths or addresses. UserError where it is none."""
    if where is None or "://" in where:
        return Addresses(where)
    path = Path(where).expanduser()
    if path.is_dir():
        folder = Folder(path)
        return Collection([("", folder), *((f"{name}/", _archive(inner)) for name, inner in folder.archives)])
    if not path.is_file():
        raise UserError(f"there are no images at {path}: give a folder, a zip, a tar or an address by --images")
    return Collection([("", _archive(path))])


def _archive(path: Path) -> Container:
    """The zip or tar at a path, told by its content."""
    kind, packed = content.of(path)
    if kind == "tar" and packed:
        raise UserError(f"{path} is a compressed tar; expected an uncompressed one, read in place: decompress it first")
    if kind in ("zip", "tar"):
        return {"zip": Zip, "tar": Tar}[kind](path)
    if path.suffix.lower() in (".zip", ".tar"):
        raise UserError(f"{path} is not a whole {path.suffix[1:].lower()} file but {kind}: download it again")
    raise UserError(f"{path} is {kind}, not a folder, zip or tar of images")


class Collection:
    """Images of one or more folders and archives, found by the rule of `naming`."""

    def __init__(self, containers: list[tuple[str, Container]]):
        """Each with what stands before its names here."""
        self._places: dict[str, tuple[Container, Any]] = {}
        self._copies: Counter[str] = Counter()  # of names that stand there more than once, beside the first
        for before, container in containers:
            for name, handle in container.listed:
                self._copies.update([before + name] if before + name in self._places else [])
                self._places[before + name] = (container, handle)
        self._index = Index(self._places)
        self.passed: Counter[str] = sum((container.passed for _, container in containers), Counter())

    def read(self, name: str) -> bytes:
        """See Source."""
        found = self._index.find(name)
        if found in self._copies:
            raise DamagedImage(f"has {self._copies[found] + 1} images of one name, {found}")
        container, handle = self._places[found]
        return unpacked(container.read(handle))

    def names(self) -> Iterator[str]:
        """See Source."""
        return iter(self._places)

    def repeated(self) -> list[str]:
        """Names that stand in an archive more than once."""
        return list(self._copies)


class Addresses:
    """Images at addresses (http, s3, …) or paths, through fsspec; names are put behind `base` where there is one."""

    def __init__(self, base: str | None):
        self.base = base

    def read(self, name: str) -> bytes:
        """See Source."""
        import fsspec

        if not name:
            raise DamagedImage("has no image in the catalogue")
        address = name if self.base is None else f"{self.base.rstrip('/')}/{name.lstrip('/')}"
        try:
            with fsspec.open(address, "rb") as file:
                data = file.read(LARGEST + 1)
        except Exception as error:  # every file system has its own
            raise DamagedImage(f"cannot be fetched ({type(error).__name__}: {str(error)[:80]})") from None
        small_enough(len(data))
        return unpacked(data)

    def names(self) -> Iterator[str]:
        """See Source."""
        raise UserError("images at addresses cannot be listed: give a catalogue with their ids or addresses")


def unpacked(data: bytes) -> bytes:
    """An image as it is, or out of its gzip; DamagedImage where that is broken or holds too much."""
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        gunzip = zlib.decompressobj(wbits=31)
        image = gunzip.decompress(data, LARGEST + 1)
    except zlib.error as error:
        raise DamagedImage(f"does not unpack ({error})") from None
    small_enough(len(image))
    if not gunzip.eof:
        raise DamagedImage("is cut short (a gzip without its end)")
    return image


__all__ = ["SUFFIXES", "Addresses", "Collection", "Source", "open_source"]
