"""The competition's files as they are downloaded: found, listed and read in place, never unpacked."""

import io
import os
import struct
import weakref
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.competition import cutout
from pipeline.competition.image_set import ImageSet
from pipeline.errors import DamagedImage, UserError
from pipeline.plans.crops import Crop

INPUT = Path(__file__).parents[2] / "input"
SLUG = "galaxy-zoo-the-galaxy-challenge"
DATA_PAGE = f"https://www.kaggle.com/c/{SLUG}/data"
HOW_TO_GET = f"download it from {DATA_PAGE}, or give its folder by --input DIR; plan `demo` needs no files"
FILE_NAMES = {  # in order of preference: the corrected release before the original
    "labels": ("training_solutions_rev1", "training_solutions"),
    "train": ("images_training_rev1", "images_training", "images_train_rev1", "images_train"),
    "test": ("images_test_rev1", "images_test"),
    "sample": ("all_zeros_benchmark", "all_ones_benchmark", "central_pixel_benchmark", "sample_submission"),
}
MAX_BYTES = 1 << 26  # bytes of one image; the competition's have 20 KB
USUAL_NAME_BYTES = 96  # bytes of a name and its extra fields: one read brings them and the data
JPEG = (".jpg", ".jpeg")
LOCAL_HEADER = 30  # bytes before the name of a zip member


@dataclass(frozen=True)
class Files:
    """Where the competition's four files lie: each a zip, a folder or (labels, sample) a csv."""

    labels: Path
    train: Path
    test: Path
    sample: Path

    def signature(self) -> dict[str, list] | None:
        """Name, size and modification time of every file; None where one is a folder, whose time says nothing."""
        paths = {field.name: getattr(self, field.name) for field in fields(self)}
        if any(path.is_dir() for path in paths.values()):
            return None
        stats = {kind: path.stat() for kind, path in paths.items()}
        return {kind: [paths[kind].name, stat.st_size, stat.st_mtime_ns] for kind, stat in stats.items()}


def find(folder: Path) -> Files:
    """The competition's files in `folder`, or in the folder of the competition's name within it.

    Each is a zip or its unpacked content, in any letter case. UserError lists all missing files and how to get them.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = f"{folder} is a file" if folder.is_file() else f"there is no folder {folder}"
        raise UserError(f"{what}: expected a folder with the competition's files; {HOW_TO_GET}")
    found: dict[str, Path] = {}
    for place in (folder, folder / SLUG):
        if place.is_dir():
            entries = {entry.name.lower(): entry for entry in sorted(place.iterdir(), reverse=True)}
            found = {kind: path for kind in FILE_NAMES if (path := _pick(entries, kind))} | found
    if missing := [kind for kind in FILE_NAMES if kind not in found]:
        names = "; ".join(f"{kind}: {' or '.join(FILE_NAMES[kind])}" for kind in missing)
        bundle = folder / f"{SLUG}.zip"
        hint = f"unpack {bundle} there (`unzip {bundle} -d {folder}`), or " if bundle.is_file() else ""
        raise UserError(
            f"{folder} lacks {len(missing)} of the competition's 4 files, zip or folder ({names}): {hint}{HOW_TO_GET}"
        )
    return Files(**found)


def _pick(entries: dict[str, Path], kind: str) -> Path | None:
    """The file of that kind among the entries of a folder (by lower-case name)."""
    suffixes = (".zip", "") if kind in ("train", "test") else (".zip", ".csv", "")
    for name in FILE_NAMES[kind]:
        for suffix in suffixes:
            path = entries.get(name + suffix)
            if path and (path.is_dir() if suffix == "" else path.exists()):
                return path
    return None


class Member(NamedTuple):
    """One image: its name, size in bytes and, in a zip, where its bytes are and what they should be."""

    name: str
    size: int
    crc: int | None = None
    offset: int = 0
    packed: int = 0
    method: int = zipfile.ZIP_STORED


class Images(ImageSet):
    """The images <GalaxyID>.jpg of a zip (read in place) or of a folder.

    `ids` are int64. `problems` are sentences on names that are no GalaxyID or are repeated.
    Raises UserError for a damaged zip, or one with names that point outside it.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self._file = None if self.path.is_dir() else open(self.path, "rb")  # noqa: SIM115 (held until close)
        if self._file:
            weakref.finalize(self, self._file.close)
        members = list_zip(self._file, self.path) if self._file else _list_folder(self.path)
        members = [
            member for member in members if member.name.lower().endswith(JPEG) and not is_system_file(member.name)
        ]
        self._members, self.problems = _by_id(members, self.path.name)
        self.ids = np.array(sorted(self._members), dtype=np.int64)

    def close(self) -> None:
        """See ImageSet."""
        if self._file:
            self._file.close()

    def read(self, galaxy_id: int) -> bytes:
        """See ImageSet: a JPEG."""
        member = self._members[int(galaxy_id)]
        if max(member.size, member.packed) > MAX_BYTES:
            raise DamagedImage(f"has {max(member.size, member.packed):,} bytes, far more than an image of one galaxy")
        if self._file is None:
            try:
                return (self.path / member.name).read_bytes()
            except OSError as error:
                raise DamagedImage(f"cannot be read ({error.strerror})") from None
        return read_member(self._file.fileno(), member)

    @staticmethod
    def cut(data: bytes, crops: Sequence[Crop], targets: Sequence[np.ndarray]) -> None:
        """See ImageSet."""
        cutout.cut(data, crops, targets)

    def sizes(self) -> Iterator[tuple[int, int, int | None]]:
        """See ImageSet; a folder has no checksums."""
        return ((galaxy_id, member.size, member.crc) for galaxy_id, member in self._members.items())

    def _lines(self) -> Iterator[str]:
        return (f"{_file_name(m.name)} {m.size} {m.crc}" for m in self._members.values())


def list_zip(file: io.BufferedReader, path: Path) -> list[Member]:
    """The files in a zip; UserError where it is broken, encrypted or points outside itself."""
    infos = zip_members(file, path)
    if locked := [info.filename for info in infos if info.flag_bits & 1]:
        raise UserError(f"{path}: {len(locked):,} members are encrypted (such as {locked[0]}); expected none to be")
    return [Member(i.filename, i.file_size, i.CRC, i.header_offset, i.compress_size, i.compress_type) for i in infos]


def zip_members(file: io.BufferedReader, path: Path) -> list[zipfile.ZipInfo]:
    """The files in a zip; UserError where it is broken or points outside itself."""
    try:
        infos = zipfile.ZipFile(file).infolist()
        if not all(0 <= info.header_offset < os.fstat(file.fileno()).st_size for info in infos):
            raise zipfile.BadZipFile("Some members would lie outside it")
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise UserError(f"{path} is not a whole zip file ({error}): download it again") from None
    for info in infos:
        info.filename = normalise_name(info.filename)
    names = [info.filename for info in infos]
    if outside := [n for n in names if n.startswith("/") or ".." in n.split("/") or n[1:2] == ":"]:
        raise UserError(f"{path}: {len(outside)} names point outside the archive (such as {outside[0]}); do not use it")
    return [info for info in infos if not info.filename.endswith("/")]


def _list_folder(path: Path) -> list[Member]:
    """The files of a folder and of the folders in it."""
    members = []
    for entry in os.scandir(path):
        inner = os.scandir(entry.path) if entry.is_dir() else [entry]
        for file in inner:
            name = file.name if file is entry else f"{entry.name}/{file.name}"
            if file.is_file():
                members.append(Member(name, file.stat().st_size))
    return sorted(members)


def _file_name(name: str) -> str:
    """The last part of a path; pathlib takes ten times as long, which matters for 141,553 images."""
    return name.rpartition("/")[2]


def normalise_name(name: str) -> str:
    """The name of a member with forward slashes and without "./", whatever program packed it."""
    return "/".join(part for part in name.replace("\\", "/").split("/") if part != ".")


def is_system_file(name: str) -> bool:
    """Whether it is a hidden file or one that macOS adds."""
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def parse_galaxy_id(text: str) -> int | None:
    """Text -> GalaxyID; None where it is none, or not in canonical form (0104 for 104)."""
    plain = text.isascii() and text.isdecimal() and len(text) <= 18
    return int(text) if plain and text == str(int(text)) else None


def _by_id(members: list[Member], where: str) -> tuple[dict[int, Member], list[str]]:
    """(the first image of every GalaxyID, sentences on the others)."""
    known: dict[int, Member] = {}
    invalid, repeated = [], []
    for member in members:
        stem = _file_name(member.name).rpartition(".")[0]
        galaxy = parse_galaxy_id(stem)
        if galaxy is None:
            invalid.append(member.name)
        elif galaxy in known:
            repeated.append(member.name)
        else:
            known[galaxy] = member
    problems = [
        (invalid, "images whose name is no GalaxyID"),
        (repeated, "images of a GalaxyID that is there already"),
    ]
    return known, [f"{where}: {len(n):,} {what} (such as {', '.join(n[:3])})" for n, what in problems if n]


def read_member(descriptor: int, member: Member) -> bytes:
    """The bytes of a zip member; DamagedImage where they are damaged. Thread-safe, since pread has no position."""
    block = os.pread(descriptor, LOCAL_HEADER + USUAL_NAME_BYTES + member.packed, member.offset)
    if block[:4] != b"PK\3\4" or len(block) < LOCAL_HEADER:
        raise DamagedImage("is not where its zip says it is")
    begins = LOCAL_HEADER + sum(struct.unpack("<HH", block[26:LOCAL_HEADER]))  # the name and extra fields
    data = block[begins : begins + member.packed]
    if len(data) < member.packed:  # an unusually long name
        data = os.pread(descriptor, member.packed, member.offset + begins)
    if member.method == zipfile.ZIP_DEFLATED:
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, member.size + 1)
        except zlib.error as error:
            raise DamagedImage(f"does not unpack ({error})") from None
    elif member.method != zipfile.ZIP_STORED:
        raise DamagedImage(f"is packed by method {member.method}; expected stored or deflated")
    if len(data) != member.size or zlib.crc32(data) != member.crc:
        raise DamagedImage("does not agree with the checksum in its zip")
    return data
