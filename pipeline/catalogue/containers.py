"""Containers of images: folder, zip, tar; listed once, read by any thread."""

import os
import posixpath
import tarfile
import weakref
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from pipeline.catalogue import image_files, image_names
from pipeline.competition import source_files
from pipeline.errors import DamagedImage, UserError


class Container(Protocol):
    """Images of one place: `listed` are (normalised name, handle); `skipped` counts other files by suffix."""

    listed: list[tuple[str, Any]]
    skipped: Counter[str]

    def read(self, handle: Any) -> bytes:
        """The bytes of one image; DamagedImage where it is not whole."""

    def stamp(self, handle: Any) -> int:
        """64 bits that change with the image, made without reading it."""

    def size(self, handle: Any) -> int:
        """Bytes of the image."""


class Folder:
    """A folder and all folders below; links are followed."""

    def __init__(self, path: Path):
        self.path, self.skipped, self.archives = path, Counter(), []
        self.listed = []
        for name in sorted(_walk(path)):
            tidy = image_names.tidy(name)
            if tidy.lower().endswith(image_names.ARCHIVES) and not source_files.is_system_file(tidy):
                self.archives.append((tidy, path / name))
            elif is_image(tidy, self.skipped):
                self.listed.append((tidy, name))

    def read(self, name: str) -> bytes:
        """See Container."""
        return image_files.read(self.path / name)

    def stamp(self, name: str) -> int:
        """See Container."""
        return image_files.stamp(self.path / name)

    def size(self, name: str) -> int:
        """See Container."""
        return (self.path / name).stat().st_size


def _walk(path: Path) -> Iterator[str]:
    """Every file, by its path from the folder; a link to a folder that is being walked is not followed again."""
    seen = set()
    for folder, inner, names in os.walk(path, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        yield from (os.path.relpath(os.path.join(folder, name), path) for name in names)


class Zip:
    """A zip, read in place."""

    def __init__(self, path: Path):
        self._file, self.skipped = open(path, "rb"), Counter()  # noqa: SIM115 (held as long as its images are asked for)
        weakref.finalize(self, self._file.close)
        self._stat = os.fstat(self._file.fileno())  # of what is read here, whatever takes its place
        members = source_files.list_zip(self._file, path)
        self.listed = [(image_names.tidy(m.name), m) for m in members if is_image(m.name, self.skipped)]

    def read(self, member: source_files.Member) -> bytes:
        """See Container; checked."""
        image_files.check_size(member.size)
        return source_files.read_member(self._file.fileno(), member)

    def stamp(self, member: source_files.Member) -> int:
        """See Container."""
        return image_files.stamp_of(self._stat, member.name)

    def size(self, member: source_files.Member) -> int:
        """See Container."""
        return member.size


class Tar:
    """An uncompressed tar, read in place; links within it are followed."""

    def __init__(self, path: Path):
        self._file, self.skipped = open(path, "rb"), Counter()  # noqa: SIM115 (held as long as its images are asked for)
        weakref.finalize(self, self._file.close)
        self._stat = os.fstat(self._file.fileno())  # of what is read here, whatever takes its place
        try:
            with tarfile.open(fileobj=self._file, mode="r:") as archive:
                members = [member for member in archive if not member.isdir()]
                _check_end(self._file, archive.offset)
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            raise UserError(
                f"{path} is not a whole tar file ({error}): expected an uncompressed one; unpack or download it again"
            ) from None
        if outside := [m.name for m in members if ".." in m.name.split("/")]:
            raise UserError(f"{path}: {len(outside)} names point outside the archive (such as {outside[0]})")
        plain = [member for member in members if member.isreg() and not member.issparse()]
        places = {image_names.tidy(member.name).lstrip("/"): (member.offset_data, member.size) for member in plain}
        self.listed = []
        for member in members:
            name = image_names.tidy(member.name).lstrip("/")
            if is_image(name, self.skipped):
                own = (member.offset_data, member.size) if member.isreg() and not member.issparse() else None
                self.listed.append((name, own or places.get(_target(member))))

    def read(self, place: tuple[int, int] | None) -> bytes:
        """See Container."""
        if place is None:
            raise DamagedImage("is no plain file of its tar, nor a link to one")
        offset, size = place
        image_files.check_size(size)
        data = os.pread(self._file.fileno(), size, offset)
        if len(data) < size:
            raise DamagedImage("is cut short by the end of its tar")
        return data

    def stamp(self, place: tuple[int, int] | None) -> int:
        """See Container."""
        return image_files.stamp_of(self._stat, place)

    def size(self, place: tuple[int, int] | None) -> int:
        """See Container."""
        return place[1] if place else 0


def _check_end(file: BinaryIO, offset: int) -> None:
    """ReadError where the list of members did not end with the archive: readers stop at damage and say nothing."""
    file.seek(offset)
    if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise tarfile.ReadError(f"no end where its members end, after {offset:,} bytes")
    while rest := file.read(1 << 20):
        if rest.strip(tarfile.NUL):
            raise tarfile.ReadError("another archive follows in it, of which readers would see nothing")


def _target(member: tarfile.TarInfo) -> str:
    """What a link points to; hard links tell it from the top, others from their own folder."""
    inside = "" if member.islnk() else posixpath.dirname(member.name)
    return image_names.tidy(posixpath.normpath(posixpath.join(inside, member.linkname)))


def is_image(name: str, skipped: Counter[str]) -> bool:
    """Whether it is the name of an image; other names are counted in `skipped` by lower-case suffix."""
    if source_files.is_system_file(name):
        skipped["hidden"] += 1
    elif not image_names.suffix_of(name):
        skipped[posixpath.splitext(name)[1].lower() or "without suffix"] += 1
    else:
        return True
    return False
