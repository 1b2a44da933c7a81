"""The competition's files as they are downloaded: found, listed and read where they lie, never unpacked."""

import hashlib
import io
import logging
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline.core.tree import COLUMNS
from pipeline.errors import DamagedImage, UserError

log = logging.getLogger(__name__)
ID = "GalaxyID"
SLUG = "galaxy-zoo-the-galaxy-challenge"
PAGE = f"https://www.kaggle.com/c/{SLUG}/data"
WAYS_OUT = f"download it from {PAGE}, or name the folder that has it by --input DIR; the plan `demo` draws its own"
SPELLINGS = {  # the first that is there is taken: the corrected release before the first one
    "labels": ("training_solutions_rev1", "training_solutions"),
    "train": ("images_training_rev1", "images_training", "images_train_rev1", "images_train"),
    "test": ("images_test_rev1", "images_test"),
    "sample": ("all_zeros_benchmark", "all_ones_benchmark", "central_pixel_benchmark", "sample_submission"),
}
LARGEST = 1 << 26  # bytes of one image; the competition's have 20 KB
USUAL_NAME = 96  # bytes of a name and its extra fields: one read brings them and the data
LOCAL_HEADER = 30  # bytes before the name of a zip member


@dataclass(frozen=True)
class Files:
    """Where the competition's four files lie: each a zip, a folder or (labels, sample) a csv."""

    labels: Path
    train: Path
    test: Path
    sample: Path

    def signature(self) -> dict[str, list] | None:
        """Name, size and time of every file; None where one is a folder, which tells nothing of what is in it."""
        paths = {field.name: getattr(self, field.name) for field in fields(self)}
        if any(path.is_dir() for path in paths.values()):
            return None
        stats = {kind: path.stat() for kind, path in paths.items()}
        return {kind: [paths[kind].name, stat.st_size, stat.st_mtime_ns] for kind, stat in stats.items()}


def find(folder: Path) -> Files:
    """The competition's files in `folder`, or in the folder of the competition's name within it.

    Each is a zip or what it unpacks to, in any case. UserError names all that is missing and what mends it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder} with the competition's files: {WAYS_OUT}")
    found: dict[str, Path] = {}
    for place in (folder, folder / SLUG):
        if place.is_dir():
            entries = {entry.name.lower(): entry for entry in sorted(place.iterdir(), reverse=True)}
            found = {kind: path for kind in SPELLINGS if (path := _pick(entries, kind))} | found
    if missing := [kind for kind in SPELLINGS if kind not in found]:
        names = "; ".join(f"{kind}: {' or '.join(SPELLINGS[kind])}" for kind in missing)
        bundle = folder / f"{SLUG}.zip"
        hint = f"unpack {bundle} there (`unzip {bundle} -d {folder}`), or " if bundle.is_file() else ""
        raise UserError(
            f"{folder} lacks {len(missing)} of the competition's 4 files, zip or folder ({names}): {hint}{WAYS_OUT}"
        )
    return Files(**found)


def _pick(entries: dict[str, Path], kind: str) -> Path | None:
    """The file of that kind among the entries of a folder (by lower-case name)."""
    suffixes = (".zip", "") if kind in ("train", "test") else (".zip", ".csv", "")
    for name in SPELLINGS[kind]:
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


class Images:
    """The images <GalaxyID>.jpg of a zip (read in place) or of a folder, at any thread's request.

    `ids` are int64, ascending. `problems` are sentences on names that are no GalaxyID or stand there twice.
    Raises UserError for what is no whole zip, or has names that point outside it.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self._file = None if self.path.is_dir() else open(self.path, "rb")  # noqa: SIM115 (held until close)
        members = _list_zip(self._file, self.path) if self._file else _list_folder(self.path)
        self._members, self.problems = _by_id(members, self.path.name)
        self.ids = np.array(sorted(self._members), dtype=np.int64)

    def __enter__(self) -> "Images":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.ids)

    def close(self) -> None:
        """Let go of the zip file."""
        if self._file:
            self._file.close()

    def read(self, galaxy_id: int) -> bytes:
        """The JPEG of one galaxy. Threads may call it at once. KeyError if absent, DamagedImage if not whole."""
        member = self._members[int(galaxy_id)]
        if member.size > LARGEST:
            raise DamagedImage(f"has {member.size:,} bytes, far more than an image of one galaxy")
        if self._file is None:
            try:
                return (self.path / member.name).read_bytes()
            except OSError as error:
                raise DamagedImage(f"cannot be read ({error.strerror})") from None
        return _read_member(self._file.fileno(), member)

    def sizes(self) -> Iterator[tuple[int, int, int | None]]:
        """(GalaxyID, bytes, checksum; None in a folder) of every image."""
        return ((galaxy_id, member.size, member.crc) for galaxy_id, member in self._members.items())

    def fingerprint(self) -> dict[str, int | str]:
        """Count, and digest of every image's name, size and (in a zip) checksum; the folders above do not count."""
        lines = sorted(f"{_file_name(m.name)} {m.size} {m.crc}" for m in self._members.values())
        return {"count": len(lines), "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest()}


def _list_zip(file: io.BufferedReader, path: Path) -> list[Member]:
    infos = _infos(file, path)
    if locked := [info.filename for info in infos if info.flag_bits & 1]:
        raise UserError(f"{path}: {len(locked):,} members are encrypted (such as {locked[0]}); expected none to be")
    return [
        Member(i.filename, i.file_size, i.CRC, i.header_offset, i.compress_size, i.compress_type)
        for i in infos
        if _is_image(i.filename)
    ]


def _infos(file: io.BufferedReader, path: Path) -> list[zipfile.ZipInfo]:
    """The members of a zip that are the user's files; UserError where it is broken or points outside itself."""
    try:
        infos = zipfile.ZipFile(file).infolist()
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise UserError(f"{path} is not a whole zip file ({error}): download it again") from None
    names = [info.filename for info in infos]
    if outside := [n for n in names if n.startswith("/") or ".." in n.split("/") or n[1:2] == ":"]:
        raise UserError(f"{path}: {len(outside)} names point outside the archive (such as {outside[0]}); do not use it")
    return [info for info in infos if not info.is_dir() and not _is_litter(info.filename)]


def _list_folder(path: Path) -> list[Member]:
    """The images of a folder and of the folders in it."""
    members = []
    for entry in os.scandir(path):
        inner = os.scandir(entry.path) if entry.is_dir() else [entry]
        for file in inner:
            name = file.name if file is entry else f"{entry.name}/{file.name}"
            if _is_image(name) and not _is_litter(name) and file.is_file():
                members.append(Member(name, file.stat().st_size))
    return sorted(members)


def _file_name(name: str) -> str:
    """The last part of a path; pathlib takes ten times as long, which counts for 141,553 images."""
    return name.rpartition("/")[2]


def _is_image(name: str) -> bool:
    return name.lower().endswith((".jpg", ".jpeg"))


def _is_litter(name: str) -> bool:
    """What macOS and file managers leave behind."""
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def _by_id(members: list[Member], where: str) -> tuple[dict[int, Member], list[str]]:
    """(the first image of every GalaxyID, what is wrong with the others)."""
    known: dict[int, Member] = {}
    strange, twice = [], []
    for member in members:
        stem = _file_name(member.name).rpartition(".")[0]
        if not (stem.isascii() and stem.isdecimal() and len(stem) <= 18):
            strange.append(member.name)
        elif int(stem) in known:
            twice.append(member.name)
        else:
            known[int(stem)] = member
    problems = [
        (strange, "images whose name is no GalaxyID"),
        (twice, "images of a GalaxyID that stands there already"),
    ]
    return known, [f"{where}: {len(n):,} {what} (such as {', '.join(n[:3])})" for n, what in problems if n]


def _read_member(descriptor: int, member: Member) -> bytes:
    """The bytes of a zip member, checked; pread has no position, so threads do not disturb each other."""
    block = os.pread(descriptor, LOCAL_HEADER + USUAL_NAME + member.packed, member.offset)
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


def read_bytes(path: Path) -> bytes:
    """Content of a table: of a csv, or of the only csv in a zip or folder. UserError where there is not one."""
    path = Path(path)
    if path.is_dir():
        candidates = [p for p in sorted(path.iterdir()) if p.suffix.lower() == ".csv" and not _is_litter(p.name)]
        return _only(candidates, path).read_bytes()
    if path.suffix.lower() != ".zip":
        return path.read_bytes()
    with open(path, "rb") as file:
        info = _only([i for i in _infos(file, path) if i.filename.lower().endswith(".csv")], path)
        try:
            return zipfile.ZipFile(file).read(info)
        except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
            raise UserError(f"{path}: {info.filename} does not unpack ({error}): download it again") from None


def _only(candidates: list, path: Path):
    if len(candidates) != 1:
        raise UserError(f"{path}: expected one csv file in it, found {len(candidates)}")
    return candidates[0]


def read_labels(path: Path) -> pd.DataFrame:
    """Vote fractions (n, 37) float64, indexed by GalaxyID, as they stand in the file.

    A header in another order is mended by name. Values that are no numbers become NaN, ids that are no integers
    leave the index text: the caller judges. UserError where the file is no table of galaxies.
    """
    table = _read_table(path)
    labels = table.set_index(table.columns[0]).apply(pd.to_numeric, errors="coerce").astype(np.float64)
    labels.index = pd.Index(_as_ids(labels.index), name=ID)
    if tuple(labels.columns) != COLUMNS and sorted(labels.columns) == sorted(COLUMNS):
        log.info("%-10s the columns of %s stand in another order; taken by name", "inputs", Path(path).name)
        labels = labels[list(COLUMNS)]
    return labels


def read_sample(path: Path) -> tuple[list[str], np.ndarray]:
    """(header, ids int64 (n,)) of a sample submission in its own order; ids stay text where one is no integer."""
    table = _read_table(path)
    return list(table.columns), _as_ids(table.iloc[:, 0])


def _read_table(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(io.BytesIO(read_bytes(path)), converters={0: str.strip}, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a table of comma-separated values ({error}): download it again") from None
    if not isinstance(table.index, pd.RangeIndex):
        raise UserError(f"{path}: its rows have more fields than its header: download it again")
    table.columns = [str(column).strip() for column in table.columns]
    if table.columns[0].lower() != ID.lower():
        raise UserError(f"{path}: expected {ID} as the first column, received {table.columns[0]!r}")
    return table


def _as_ids(texts: pd.Index | pd.Series) -> np.ndarray:
    texts = np.asarray(texts, dtype=object)
    if all(text.isascii() and text.isdecimal() and len(text) <= 18 for text in texts):
        return texts.astype(np.int64)
    return texts
