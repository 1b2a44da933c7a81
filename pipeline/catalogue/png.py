"""The bytes of a PNG -> grey levels as on a screen."""

import struct
import zlib

import cv2
import numpy as np

from pipeline.competition import cutout
from pipeline.errors import DamagedImage

DEPTHS = (8, 10, 12, 14, 16)  # bits of a pixel that cameras and programs write into 16


def decode(data: bytes) -> tuple[np.ndarray, str]:
    """(pixels uint8 (h, w, 3) RGB, caveat or ""); DamagedImage where it is not whole.

    What is transparent shows the black behind it, whatever colour the file has there.
    """
    chunks = _chunks(data)
    header = chunks.get(b"IHDR", b"")
    if len(header) != 13:
        raise DamagedImage("is a PNG without its header")
    width, height, depth = struct.unpack(">IIB", header[:9])
    cutout.check_sides(height, width)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise DamagedImage("cannot be decoded")
    if image.ndim == 2:
        image = _with_transparent_grey(image, chunks.get(b"tRNS"), depth)
    image, caveat = _to_8_bits(_on_black(image))
    return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB if image.shape[2] == 1 else cv2.COLOR_BGR2RGB), caveat


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """What is in a PNG by its chunks' names; DamagedImage where the checksums say that it is not what was written.

    Decoders read on after many a damage, or return what they have of a file that is cut short.
    """
    found, at = {}, 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise DamagedImage("is damaged: it does not agree with the checksums in it")
        name = data[at + 4 : at + 8]
        if name == b"IEND":
            return found
        found[name] = data[at + 8 : end]
        at = end + 4
    raise DamagedImage("is cut short (a PNG without its end)")


def _with_transparent_grey(image: np.ndarray, transparent: bytes | None, depth: int) -> np.ndarray:
    """(h, w, 1), or (h, w, 4) where one grey level means transparent, which OpenCV does not look at."""
    if transparent is None or len(transparent) != 2:
        return image[..., None]
    level = int.from_bytes(transparent, "big") * (255 // ((1 << depth) - 1) if depth < 8 else 1)
    opaque = np.where(image == level, 0, np.iinfo(image.dtype).max).astype(image.dtype)
    return np.dstack([image, image, image, opaque])


def _on_black(image: np.ndarray) -> np.ndarray:
    """(h, w, 1 or 3) of (h, w, 1, 3, or 4 with opacity last)."""
    if image.shape[2] != 4:
        return image
    opacity = image[..., 3:].astype(np.float32) / np.iinfo(image.dtype).max
    return np.rint(image[..., :3] * opacity).astype(image.dtype)


def _to_8_bits(image: np.ndarray) -> tuple[np.ndarray, str]:
    """Grey levels, 255 the brightest there can be, of pixels of 8 or 16 bits.

    Where the brightest of 16-bit pixels leaves bits unused, as 12-bit data do, the smallest usual depth that holds it
    is taken: read as 16 bits, its brightest level would be below 64, and no galaxy of the competition's is so dark.
    """
    if image.dtype == np.uint8:
        return image, ""
    depth = next(bits for bits in DEPTHS if int(image.max()) < 1 << bits)
    caveat = f"has 16 bits a pixel and uses {depth} of them: read as {depth}-bit" if depth < 16 else ""
    return (image >> (depth - 8)).astype(np.uint8), caveat
