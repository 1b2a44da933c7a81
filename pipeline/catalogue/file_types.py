"""File types by content (magic bytes): names of downloads are often wrong."""

import bz2
import gzip
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pipeline.errors import UserError

HEAD_BYTES = 4096  # bytes that are looked at
DECOMPRESSORS: dict[bytes, Callable[[Path], BinaryIO]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
MAGIC = {  # how a file begins -> its kind
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
    b"SIMPLE  =": "fits",
    b"PK\3\4": "zip",
    b"PK\5\6": "zip",
    b"\x89HDF": "HDF5",
    b"\xff\xd8\xff": "image",
    b"\x89PNG": "image",
    b"RIFF": "image",
    b"GIF8": "image",
    b"II*\0": "image",
    b"MM\0*": "image",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"%PDF": "PDF",
    b"\xd0\xcf\x11\xe0": "spreadsheet",
}
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
UTF_8_MARK = b"\xef\xbb\xbf"


class Content(NamedTuple):
    """What a file holds, and whether it is compressed."""

    kind: str  # parquet, arrow, fits, votable, text, zip, tar; else a word for what cannot be used here
    packed: bool


def content_of(path: Path) -> Content:
    """What the file holds; UserError where it is not there, is empty or does not unpack."""
    if not path.is_file():
        raise UserError(f"there is no file or folder {path}")
    try:
        with open(path, "rb") as file:
            start = file.read(HEAD_BYTES)
        packed = any(start.startswith(mark) for mark in DECOMPRESSORS)
        if packed:
            with unpacked(path) as file:
                start = file.read(HEAD_BYTES)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise UserError(f"{path} cannot be read ({error})") from None
    if not start.strip():
        raise UserError(f"{path} is empty")
    return Content(_kind(path, start), packed)


def unpacked(path: Path) -> BinaryIO:
    """The file for reading, decompressed on the way where it is gzip, bzip2 or xz."""
    with open(path, "rb") as file:
        start = file.read(8)
    opened = next((opened for mark, opened in DECOMPRESSORS.items() if start.startswith(mark)), None)
    return opened(path) if opened else open(path, "rb")


def _kind(path: Path, start: bytes) -> str:
    kind = next((kind for begin, kind in MAGIC.items() if start.startswith(begin)), None)
    if kind == "zip":
        return "spreadsheet" if _is_spreadsheet(path) else kind
    if kind is not None:
        return kind
    if start[257:262] == b"ustar" or (b"\0" in start and _is_tar(path)):
        return "tar"
    if start.startswith(UTF_16):
        return "text"
    if b"\0" in start:
        return "binary"
    return _marked_up(start.removeprefix(UTF_8_MARK).lstrip())


def _marked_up(text: bytes) -> str:
    if text[:1] != b"<":
        return "text"
    return "votable" if b"VOTABLE" in text else "web page" if b"<html" in text.lower() else "XML"


def _is_tar(path: Path) -> bool:
    try:
        return tarfile.is_tarfile(path)
    except (OSError, EOFError):
        return False


def _is_spreadsheet(path: Path) -> bool:
    try:
        names = zipfile.ZipFile(path).namelist()
    except (zipfile.BadZipFile, NotImplementedError, OSError):
        return False
    return "[Content_Types].xml" in names or names[:1] == ["mimetype"]
