"""The bytes of one image, whatever its format and side -> the crops that networks look at."""

import io
import struct
from collections.abc import Sequence

import cv2
import numpy as np

from pipeline import cutout
from pipeline.config import Crop
from pipeline.core.stretch import stretch
from pipeline.errors import DamagedImage

PNG, FITS = b"\x89PNG\r\n\x1a\n", b"SIMPLE  ="
FRAME = 0.02 * cutout.SIDE  # side of a training image in Petrosian 90 % radii (Willett et al. 2013, section 2.2)


def cut(data: bytes, crops: Sequence[Crop], targets: Sequence[np.ndarray], frame: float | None = None) -> None:
    """Write the crops of a JPEG, PNG or FITS image into `targets`, uint8 (size, size, 3) RGB each.

    `frame` is how many of its pixels make the side of a training image; None: the whole of it does, as in the
    competition's files. Then a square JPEG is cut as those are, to the bit. DamagedImage where it cannot be used.
    """
    if frame is None and data[:2] == b"\xff\xd8" and len(set(cutout.jpeg_shape(data))) == 1:
        cutout.cut(data, crops, targets)
        return
    if frame is not None and not 0 < frame < 1e6:
        raise DamagedImage("has no usable radius or pixel scale in the catalogue")
    image = decode(data)
    side = min(image.shape[:2])
    frame = side if frame is None else frame
    for crop, target in zip(crops, targets, strict=True):
        region = max(1, round(crop.region * frame / cutout.SIDE))
        if region > side:
            raise DamagedImage(f"shows {side} pixels, and {region} are needed around the galaxy")
        target[...] = cutout.resize(cutout.centre(image, region), crop.size)


def decode(data: bytes) -> np.ndarray:
    """Pixels uint8 (h, w, 3) RGB; DamagedImage for what is no whole image of a plausible size."""
    if data[:9] == FITS:
        return of_fits(data)
    if data[:8] == PNG:
        width, height = struct.unpack(">II", data[16:24]) if len(data) > 24 else (0, 0)
    else:
        height, width = cutout.jpeg_shape(data)
    _check_sides(height, width)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise DamagedImage("cannot be decoded")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def of_fits(data: bytes) -> np.ndarray:
    """The first image of a FITS file, one band or three from blue to red, stretched to look like a training image.

    Sky and noise of each band are measured at the border; light in units of that noise goes through the same stretch
    that draws the synthetic galaxies. North is up, as on a screen.
    """
    from astropy.io import fits

    try:
        with fits.open(io.BytesIO(data), memmap=False) as hdus:
            shown = next((hdu for hdu in hdus if hdu.is_image and hdu.header.get("NAXIS") in (2, 3)), None)
            if shown is None:
                raise DamagedImage("is a FITS file without an image of one or three bands")
            _check_sides(shown.header["NAXIS2"], shown.header["NAXIS1"])
            light = np.asarray(shown.data, np.float32)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DamagedImage(f"is no whole FITS file ({' '.join(str(error).split())[:80]})") from None
    if light.ndim == 2:
        light = light[None]
    if len(light) not in (1, 3):
        raise DamagedImage(f"is a FITS file of {len(light)} bands; expected one or three")
    bands = [_in_units_of_noise(np.nan_to_num(band, posinf=0, neginf=0)) for band in light[::-1, ::-1]]
    return stretch(np.dstack(bands * (3 // len(bands))))


def _in_units_of_noise(band: np.ndarray) -> np.ndarray:
    edge = max(1, min(band.shape) // 10)
    border = np.concatenate(
        [band[:edge].ravel(), band[-edge:].ravel(), band[:, :edge].ravel(), band[:, -edge:].ravel()]
    )
    sky = np.median(border)
    noise = 1.4826 * np.median(np.abs(border - sky))
    if not noise > 0:
        raise DamagedImage("has no noise at its border, by which its light could be scaled")
    return (band - sky) / noise


def _check_sides(height: int, width: int) -> None:
    least, most = cutout.SIDES
    if not (least <= height <= most and least <= width <= most):
        raise DamagedImage(f"has {width} x {height} pixels; expected {least} to {most} a side")
