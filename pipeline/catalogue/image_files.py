"""Image files: their bytes, and a stamp that changes with the file, to detect changes without reading it."""

import hashlib
import os
import zlib
from pathlib import Path

from pipeline.errors import DamagedImage

MAX_BYTES = 1 << 26  # bytes of one image


def read(path: Path) -> bytes:
    """The bytes of a file; DamagedImage where it cannot be read."""
    try:
        return check_size(path.stat().st_size) and path.read_bytes()
    except (OSError, ValueError) as error:
        raise DamagedImage(f"cannot be read ({getattr(error, 'strerror', None) or error})") from None


def stamp(path: Path) -> int:
    """64 bits that change with the file; 0 where there is none."""
    try:
        return stamp_of(path.stat())
    except (OSError, ValueError):
        return 0


def stamp_of(stat: os.stat_result, *more: object) -> int:
    """64 bits of a file's size, times (ctime too, which no tool sets back) and of `more`. Never 0."""
    return digest_of(repr((stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, *more)).encode())


def digest_of(data: bytes) -> int:
    """64 bits of a digest; never 0."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") or 1


def check_size(size: int) -> bool:
    """True; DamagedImage for what is larger than any image of one galaxy."""
    if size > MAX_BYTES:
        raise DamagedImage(f"has {size:,} bytes, far more than an image of one galaxy")
    return True


def decompressed(data: bytes) -> bytes:
    """An image as it is, or out of its gzip; DamagedImage where that is broken or holds too much."""
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        gunzip = zlib.decompressobj(wbits=31)
        image = gunzip.decompress(data, MAX_BYTES + 1)
    except zlib.error as error:
        raise DamagedImage(f"does not unpack ({error})") from None
    check_size(len(image))
    if not gunzip.eof:
        raise DamagedImage("is cut short (a gzip without its end)")
    return image
