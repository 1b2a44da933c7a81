"""The bytes of one image of any format and size -> the networks' crops."""

import io
import zlib
from collections.abc import Sequence
from gzip import GzipFile

import numpy as np

from pipeline.catalogue import fits_image, fits_to_rgb, png
from pipeline.competition import cutout
from pipeline.errors import DamagedImage
from pipeline.plans.crops import IMAGE_SIDE, Crop

JPEG, PNG, FITS, GZIP = b"\xff\xd8", b"\x89PNG\r\n\x1a\n", fits_image.MAGIC, b"\x1f\x8b"
OTHERS = {b"GIF8": "a GIF", b"RIFF": "a WebP", b"II*\0": "a TIFF", b"MM\0*": "a TIFF", b"<": "a web page"}
MAX_BYTES = 1 << 28  # bytes of an unpacked image
BEYOND = "are needed around the galaxy"  # ends the reason of an image that shows too little
OBLONG = 1.05  # times as long as wide: no square that lost a row
# Grey levels, and a share of pixels, that none of 9,750 images of the competition comes near: their brightest pixel
# has 92 or more, their centre is never more than 0 darker than their border, 0.2 % of their pixels are white at most.
DARK, INVERTED, WHITE = 48, 8, 0.02


def cut(data: bytes, crops: Sequence[Crop], targets: Sequence[np.ndarray], frame: float | None = None) -> str:
    """Write the crops of a JPEG, PNG or FITS image into `targets`, uint8 (size, size, 3) RGB each.

    `frame` is how many of its pixels make the side of a training image; None: the whole of it does, as in the
    competition's files. Then a square JPEG is cut as those are, to the bit. Returns why an answer should not be
    trusted as others are, or "". DamagedImage where the image cannot be used.
    """
    caveat = _write(data, crops, targets, frame)
    widest = max(range(len(crops)), key=lambda i: crops[i].pixels(IMAGE_SIDE))
    return "; ".join(filter(None, (caveat, suspicious_range(targets[widest]))))


def _write(data: bytes, crops: Sequence[Crop], targets: Sequence[np.ndarray], frame: float | None) -> str:
    if frame is None and data[:2] == JPEG and len(set(cutout.jpeg_shape(data))) == 1:
        cutout.cut(data, crops, targets)
        return ""
    if frame is not None and not 0 < frame < 1e6:
        raise DamagedImage("has no usable radius or pixel scale in the catalogue")
    image, caveat = decode(data, frame)
    side, longer = sorted(image.shape[:2])
    if frame is None and longer > OBLONG * side:
        shape = f"is {image.shape[1]} x {image.shape[0]} pixels, of which the central square was taken"
        caveat = "; ".join(filter(None, (caveat, shape)))
    frame = side if frame is None else frame
    for crop, target in zip(crops, targets, strict=True):
        region = crop.pixels(frame)
        if region > side:
            raise DamagedImage(f"shows {side} pixels, and {region} {BEYOND}")
        target[...] = cutout.resize(cutout.central_crop(image, region), crop.size)
    return caveat


def decode(data: bytes, frame: float | None = None) -> tuple[np.ndarray, str]:
    """(pixels uint8 (h, w, 3) RGB, caveat or ""); DamagedImage for what is no whole image of a plausible size.

    `frame` as in `cut`.
    """
    if data[:2] == GZIP:
        data = _unpacked(data)
    if data[:2] == JPEG:
        return cutout.decode(data, half=False).copy(), ""  # out of the space that the next decode writes over
    if data[:8] == PNG:
        return png.decode(data)
    if data[:9] == FITS:
        return fits_to_rgb.to_rgb(fits_image.read(data), frame)
    other = next((name for magic, name in OTHERS.items() if data.lstrip()[:4].startswith(magic)), None)
    raise DamagedImage(f"is {other}; expected a JPEG, PNG or FITS image" if other else "is no JPEG, PNG or FITS image")


def suspicious_range(image: np.ndarray) -> str:
    """Caveat on an image uint8 (size, size, 3) whose range is outside the competition's, or ""; DamagedImage for none.

    Out-of-distribution images get predictions too, which look like any others.
    """
    if image.min() == image.max():
        raise DamagedImage("shows one and the same grey everywhere, and no galaxy")
    grey = image.max(axis=2)
    border, middle = fits_to_rgb.border_mask(grey.shape), cutout.central_crop(grey, max(1, len(grey) // 4))
    if np.median(grey[border]) > np.median(middle) + INVERTED:
        return "is darker at its centre than at its border, like a negative"
    if grey.max() < DARK:
        return f"is nearly black: its brightest pixel has {grey.max()} of 255"
    white = (image.min(axis=2) >= 250).mean()
    return f"is white in {white:.0%} of its pixels, like an overexposure" if white > WHITE else ""


def _unpacked(data: bytes) -> bytes:
    try:
        with GzipFile(fileobj=io.BytesIO(data)) as file:
            whole = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DamagedImage(f"does not unpack ({error})") from None
    if len(whole) > MAX_BYTES:
        raise DamagedImage(f"unpacks to more than {MAX_BYTES:,} bytes, far more than an image of one galaxy")
    return whole
