"""The bytes of a FITS image -> its bands, blue to red, from planes of a cube or from extensions."""

import io
import re
from typing import Any, NamedTuple

import numpy as np

from pipeline.competition import cutout
from pipeline.errors import DamagedImage

NANOMETRES = {
    "fuv": 153, "nuv": 231, "u": 355, "b": 445, "blue": 446, "g": 475, "v": 551, "green": 552, "r": 620, "red": 621,
    "i": 760, "z": 890, "y": 1000, "j": 1250, "h": 1650, "k": 2200, "ks": 2201,
}  # fmt: skip
SURVEY_NAMES = re.compile("sdss|decam|des|ps1|hsc|band")  # which some write in one word with the letter of the band
TRAINING = ("g", "r", "i")  # the bands of the competition's pictures
NAMES = ("FILTER", "BAND", "FILTNAM", "EXTNAME")
LISTS = ("BANDS", "FILTERS", "FILTER", "BAND", "COLORS", "CTYPE3")
SCIENCE = {"sci", "science", "image", "primary", "data"}
NOT_SCIENCE = re.compile(  # what is no image of the sky
    "(^|[^a-z0-9])(mask|flag|dq|qual|var|iv|inv|wht|weight|err|sigma|noise|rms|ctx|con|exp|psf|bkg|back|sky|model|res)"
)
COUNTS = re.compile(rb"(?:NAXIS|TFIELDS) *= *([0-9]+)")  # what astropy counts through, however long it takes
COMPRESSION = re.compile(rb"'(?:BLOCKSIZE|BYTEPIX) *'")
VALID_COMPRESSION = re.compile(
    rb"ZNAME(\d) *= '(?:BLOCKSIZE' [^=]{,80}ZVAL\1 *= *(?:16|32)|BYTEPIX *' [^=]{,80}ZVAL\1 *= *[1248]) "
)
NEGATIVE = re.compile(rb"(?:NAXIS[0-9]*|PCOUNT|GCOUNT) *= *-")  # so that it reads the same part again
MAGIC = b"SIMPLE  ="  # how every FITS file begins
STEPS = ("CD1_1", "CD1_2", "CDELT1")  # cards of a WCS that tell the size of a pixel
MAX_COUNT = 999  # which is the standard's limit of both
MAX_PLANES = 16  # planes of a cube that are looked at


class Bands(NamedTuple):
    """One image, or three of the same sky."""

    light: np.ndarray  # float32 (1 or 3, h, w), blue to red, first row south; NaN where there are no data
    grey_levels: bool  # 0 to 255 as on a screen, of an 8-bit picture; else light
    caveat: str = ""


def read(data: bytes) -> Bands:
    """The bands of a FITS file; DamagedImage where it is not whole, or it cannot be told which they are.

    They are the planes of a cube (the last axis may be the colours) or one image an extension. Their order is what the
    header says; where that is silent, from blue to red.
    """
    from astropy.io import fits

    _require_sane_headers(data)
    try:
        with fits.open(io.BytesIO(data), memmap=False, uint=False) as hdus:
            return _bands(_images(hdus))
    except DamagedImage:
        raise
    except Exception as error:  # astropy has as many kinds as a header has cards
        raise DamagedImage(f"is no whole FITS file ({' '.join(str(error).split())[:80]})") from None


def pixel_sides(data: bytes) -> tuple[float, float] | None:
    """Arcseconds along the sides of a pixel, by the celestial coordinates (WCS) in the header of a FITS image.

    None where it tells none, or is no such image.
    """
    if not data.startswith(MAGIC):
        return None
    header = _first_header(data)
    try:
        sides = None if header is None else _sides(header)
    except Exception:  # astropy has as many kinds as a header has cards: it tells nothing
        return None
    return sides if sides and all(0 < side < np.inf for side in sides) else None


def _first_header(data: bytes) -> Any:
    """Of the first image of the sky; None where there is none."""
    from astropy.io import fits

    _require_sane_headers(data)
    try:
        with fits.open(io.BytesIO(data), memmap=False, uint=False) as hdus:
            return next((hdu.header for hdu in _images(hdus)), None)
    except Exception:  # which reading the image tells
        return None


def _sides(header: Any) -> tuple[float, float] | None:
    from astropy import wcs

    if not any(key in header for key in STEPS):  # which would count as one degree
        return None
    sky = wcs.WCS(header, fix=False)  # whose fixes are warnings
    return (
        tuple(float(side) for side in 3600 * wcs.utils.proj_plane_pixel_scales(sky.celestial))
        if sky.has_celestial
        else None
    )


def _images(hdus: Any) -> list[Any]:
    return [hdu for hdu in hdus if hdu.is_image and _axes(hdu) in (2, 3) and not _is_beside(hdu)]


def _require_sane_headers(data: bytes) -> None:
    """DamagedImage where a header would keep astropy busy without end, or crash its decompression."""
    if any(int(count) > MAX_COUNT for count in COUNTS.findall(data)) or NEGATIVE.search(data):
        raise DamagedImage("is no whole FITS file (its header counts axes, columns or pixels as there cannot be)")
    if len(COMPRESSION.findall(data)) != len(VALID_COMPRESSION.findall(data)):
        raise DamagedImage("is no whole FITS file (its header describes no compression that there is)")


def _bands(hdus: list[Any]) -> Bands:
    if not hdus:
        raise DamagedImage("is a FITS file without an image of one or three bands")
    first = hdus[0]
    alike = [hdu for hdu in hdus if hdu.shape == first.shape]
    if _axes(first) == 3:
        return _of_cube(first)
    if len(alike) > 1 and any(_band(hdu) is None for hdu in alike):
        science = [hdu for hdu in alike if str(hdu.header.get("EXTNAME", "")).strip().lower() in SCIENCE]
        if len(science) != 1:
            raise DamagedImage(
                f"has {len(alike)} images of one size and does not say of which bands (by FILTER, BAND or EXTNAME)"
            )
        alike = science
    bands = [_band(hdu) for hdu in alike]
    order = _order(bands) if len(alike) > 1 else [0]
    if order is None:
        raise DamagedImage(f"has images of the bands {', '.join(bands)}; expected one, three, or g, r, i among them")
    planes, pictures = zip(*(_plane(hdu) for hdu in alike[:MAX_PLANES]), strict=True)
    return _checked(np.stack([planes[i] for i in order]), all(pictures))


def _of_cube(hdu: Any) -> Bands:
    header = hdu.header.copy()
    cube, picture = _plane(hdu)
    last = cube.shape[2] == 3 and cube.shape[0] != 3
    if last:
        cube = np.moveaxis(cube, 2, 0)
    order, caveat = _order(_listed(header, len(cube))) or _along_the_spectrum(header, len(cube)), ""
    if order is None:
        if len(cube) not in (1, 3):
            raise DamagedImage(f"is a FITS file of {len(cube)} bands; expected one or three, or names of bands")
        if picture and not last:
            raise DamagedImage("is an 8-bit picture whose header does not name its colours: give it as a JPEG or PNG")
        order = [2, 1, 0] if picture else range(len(cube))  # a picture's colours are red, green, blue
        caveat = "has its bands in an axis of which its header says nothing: taken from blue to red" if last else ""
        caveat = "" if picture else caveat
    return _checked(cube[list(order)], picture, caveat)


def _plane(hdu: Any) -> tuple[np.ndarray, bool]:
    """(data float32 without axes of length 1, whether they are 8-bit grey levels)."""
    *planes, height, width = sorted(length for length in hdu.shape if length > 1)
    cutout.check_sides(height, width)
    if planes and planes[0] > MAX_PLANES:
        raise DamagedImage(f"is a FITS file of {planes[0]} bands; expected one or three")
    picture = hdu.header["BITPIX"] == 8 and hdu.header.get("BSCALE", 1) == 1 and not hdu.header.get("BZERO", 0)
    with np.errstate(over="ignore", invalid="ignore"):
        made = np.squeeze(np.asarray(hdu.data, np.float32))
    if sorted(made.shape) != [*planes, height, width]:
        raise DamagedImage("is no whole FITS file (its data are not of the size that its header tells)")
    return made, picture


def _checked(light: np.ndarray, picture: bool, caveat: str = "") -> Bands:
    if not picture and (_like_a_picture(light) or _like_a_picture(255 * np.clip(light, -1, 2))):
        raise DamagedImage("holds the grey levels of a picture, not light: give it as a JPEG or PNG, or as 8-bit FITS")
    return Bands(np.ascontiguousarray(light, np.float32), picture, caveat)


def _like_a_picture(levels: np.ndarray) -> bool:
    """Whether these are whole numbers from 0 to at most 255, and to 128 at least."""
    known = levels[np.isfinite(levels)]
    if not known.size or known.min() < 0 or not 127.5 < known.max() < 255.5:
        return False
    return bool(np.abs(known - np.rint(known)).max() < 1e-3)


def _axes(hdu: Any) -> int:
    return sum(length > 1 for length in hdu.shape)


def _is_beside(hdu: Any) -> bool:
    return bool(NOT_SCIENCE.search(str(hdu.header.get("EXTNAME", "")).strip().lower()))


def _band(hdu: Any) -> str | None:
    """The band that a header names, or None."""
    return next((band for key in NAMES if (band := _named(hdu.header.get(key)))), None)


def _named(text: Any) -> str | None:
    """The one band in the name of a filter, such as 'r' in 'r DECam SDSS c0002 6415.0'; None where there is none."""
    words = {SURVEY_NAMES.sub("", word) for word in re.split("[^a-z0-9]+", str(text or "").lower())}
    found = [word for word in words if word in NANOMETRES]
    return found[0] if len(found) == 1 else None


def _listed(header: Any, count: int) -> list[str | None]:
    """The bands of a cube's planes: BAND0, BAND1, ... or FILTER1, ..., or all in one card ('grz', 'g,r,z', 'RGB')."""
    for key in ("BAND", "FILTER"):
        for start in (0, 1):
            names = [_named(header.get(f"{key}{i}")) for i in range(start, start + count)]
            if all(names):
                return names
    for key in LISTS:
        text = str(header.get(key, "")).strip().lower()
        for words in (re.split("[^a-z0-9]+", text), list(text)):
            names = [_named(word) for word in words]
            if len(names) == count and all(names):
                return names
    return [None] * count


def _along_the_spectrum(header: Any, count: int) -> list[int] | None:
    """The order of three planes along an axis of wavelength or frequency; None where there is none."""
    kind, step = str(header.get("CTYPE3", ""))[:4], header.get("CDELT3", header.get("CD3_3"))
    if count != 3 or kind not in ("WAVE", "AWAV", "FREQ", "ENER") or not isinstance(step, (int, float)):
        return None
    return [0, 1, 2] if (step > 0) == (kind in ("WAVE", "AWAV")) else [2, 1, 0]


def _order(bands: list[str | None]) -> list[int] | None:
    """Which of these bands are taken, blue to red: one, three, or g, r and i among more; None where they are others."""
    if None in bands or len(set(bands)) < len(bands):
        return None
    if len(bands) > 3 and all(band in bands for band in TRAINING):
        return [bands.index(band) for band in TRAINING]
    if len(bands) not in (1, 3):
        return None
    return sorted(range(len(bands)), key=lambda i: NANOMETRES[bands[i]])
