"""Where the images of a catalogue lie: a folder, zips, tars, or addresses; read by name, at any thread's request."""

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from pipeline import competition
from pipeline.catalogue import files
from pipeline.catalogue.addresses import Addresses
from pipeline.errors import DamagedImage, UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".fits", ".fit")


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
        shards = sorted(path.glob("*.tar"))
        return Archives([Tar(shard) for shard in shards]) if shards else Folder(path)
    if not path.is_file():
        raise UserError(f"there are no images at {path}: give a folder, a zip, a tar or an address by --images")
    return Archives([Tar(path) if path.suffix == ".tar" else Zip(path)])


class Folder:
    """Images of a folder and all folders below."""

    def __init__(self, path: Path):
        self.path = path

    def read(self, name: str) -> bytes:
        """See Source."""
        found = _first(self.path / name)
        if not found.absolute().is_relative_to(self.path.absolute()) or ".." in Path(name).parts:
            raise DamagedImage("has a name that points outside the folder of images")
        return files.read(found)

    def stamp(self, name: str) -> int:
        """See Source."""
        return files.stamp(_first(self.path / name))

    def names(self) -> Iterator[str]:
        """See Source."""
        for folder, inner, names in os.walk(self.path):
            inner.sort()
            for name in sorted(names):
                if _is_image(name):
                    yield os.path.relpath(os.path.join(folder, name), self.path)


class Archives:
    """Images of several zips or tars, by name, or by name without its folders and suffix."""

    def __init__(self, archives: list):
        self._where = {name: archive for archive in archives for name in archive.members}
        self._short = {Path(name).stem: name for name in self._where}

    def read(self, name: str) -> bytes:
        """See Source."""
        known = self._known(name)
        if known is None:
            raise DamagedImage("is not among the images")
        return self._where[known].read(known)

    def stamp(self, name: str) -> int:
        """See Source."""
        known = self._known(name)
        return 0 if known is None else self._where[known].stamp(known)

    def _known(self, name: str) -> str | None:
        return name if name in self._where else self._short.get(Path(name).stem)

    def names(self) -> Iterator[str]:
        """See Source."""
        return iter(self._where)


class Zip:
    """The images of a zip, read in place."""

    def __init__(self, path: Path):
        self._file = open(path, "rb")  # noqa: SIM115 (held as long as its images are asked for)
        self._stat = os.fstat(self._file.fileno())  # of what is read here, whatever takes its place
        listed = competition.list_zip(self._file, path, SUFFIXES)
        self.members = {member.name: member for member in listed}

    def read(self, name: str) -> bytes:
        """The bytes of one member, checked."""
        member = self.members[name]
        files.small_enough(member.size)
        return competition.read_member(self._file.fileno(), member)

    def stamp(self, name: str) -> int:
        """See Source."""
        return files.stamp_of(self._stat, name)


class Tar:
    """The images of an uncompressed tar, read in place."""

    def __init__(self, path: Path):
        self._file = open(path, "rb")  # noqa: SIM115 (held as long as its images are asked for)
        self._stat = os.fstat(self._file.fileno())  # of what is read here, whatever takes its place
        try:
            with tarfile.open(fileobj=self._file, mode="r:") as archive:
                found = [(m.name, m.offset_data, m.size) for m in archive if m.isreg() and _is_image(m.name)]
        except (tarfile.TarError, OSError) as error:
            raise UserError(f"{path} is not a whole tar file ({error}): expected an uncompressed one") from None
        self.members = {name: (offset, size) for name, offset, size in found}

    def read(self, name: str) -> bytes:
        """The bytes of one member."""
        offset, size = self.members[name]
        files.small_enough(size)
        data = os.pread(self._file.fileno(), size, offset)
        if len(data) < size:
            raise DamagedImage("is cut short by the end of its tar")
        return data

    def stamp(self, name: str) -> int:
        """See Source."""
        return files.stamp_of(self._stat, name)


def _first(path: Path) -> Path:
    """The path, or the first file that has an image's suffix added; the path itself where none is there."""
    return next((p for p in (path, *(path.with_name(path.name + s) for s in SUFFIXES)) if p.is_file()), path)


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not competition.is_litter(name)
