"""Sources of a catalogue's images: folder, zips, tars or URLs; read by name, thread-safe."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from pipeline.catalogue import file_types, image_files
from pipeline.catalogue.addresses import Addresses
from pipeline.catalogue.containers import Container, Folder, Tar, Zip
from pipeline.catalogue.image_names import SUFFIXES, Index
from pipeline.errors import DamagedImage, UserError


class Source(Protocol):
    """Images by name."""

    def read(self, name: str) -> bytes:
        """The bytes of one image; DamagedImage where it is not there or not whole."""

    def stamp(self, name: str) -> int:
        """64 bits that change with the image, made without reading it; 0 where it is not there."""

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


def place_of(where: str | None, name: str) -> str:
    """Where an image of that name is looked for, to be told."""
    if not name:
        return where or "nowhere"
    return Addresses(where).address(name) if where is None or "://" in where else f"{name} in {where}"


def _archive(path: Path) -> Container:
    """The zip or tar at a path, told by its content."""
    kind, packed = file_types.content_of(path)
    if kind == "tar" and packed:
        raise UserError(f"{path} is a compressed tar; expected an uncompressed one, read in place: decompress it first")
    if kind in ("zip", "tar"):
        return {"zip": Zip, "tar": Tar}[kind](path)
    if path.suffix.lower() in (".zip", ".tar"):
        raise UserError(f"{path} is not a whole {path.suffix[1:].lower()} file but {kind}: download it again")
    raise UserError(f"{path} is {kind}, not a folder, zip or tar of images")


class Collection:
    """Images of one or more folders and archives, found by the rule of `image_names`."""

    def __init__(self, containers: list[tuple[str, Container]]):
        """Each with what stands before its names here."""
        self._places: dict[str, tuple[Container, Any]] = {}
        self._copies: Counter[str] = Counter()  # of names that stand there more than once, beside the first
        for before, container in containers:
            for name, handle in container.listed:
                self._copies.update([before + name] if before + name in self._places else [])
                self._places[before + name] = (container, handle)
        self._index = Index(self._places)
        self.skipped: Counter[str] = sum((container.skipped for _, container in containers), Counter())

    def read(self, name: str) -> bytes:
        """See Source."""
        container, handle = self._places[self.find(name)]
        return image_files.decompressed(container.read(handle))

    def stamp(self, name: str) -> int:
        """See Source."""
        try:
            container, handle = self._places[self._index.find(name)]
        except DamagedImage:
            return 0
        return container.stamp(handle)

    def find(self, name: str) -> str:
        """The image that a name or id means; DamagedImage where there is none, or several."""
        found = self._index.find(name)
        if found in self._copies:
            raise DamagedImage(f"has {self._copies[found] + 1} images of one name, {found}")
        return found

    def size(self, name: str) -> int:
        """Bytes of the image of that very name."""
        container, handle = self._places[name]
        return container.size(handle)

    def names(self) -> Iterator[str]:
        """See Source."""
        return iter(self._places)

    def repeated(self) -> list[str]:
        """Names that stand in an archive more than once."""
        return list(self._copies)


__all__ = ["SUFFIXES", "Addresses", "Collection", "Source", "open_source"]
