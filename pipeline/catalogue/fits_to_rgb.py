"""FITS bands -> RGB like the competition's images: sky and noise from the border, asinh stretch, gaps filled."""

import cv2
import numpy as np

from pipeline.catalogue.fits_image import Bands
from pipeline.competition import cutout
from pipeline.core.stretch import stretch
from pipeline.errors import DamagedImage

CENTRE_SHARE = 0.3  # of a frame's side: where the galaxy is
MAX_MISSING = 0.1  # share of the centre that may lack data
MIN_SKY_SHARE = 0.2  # share of the border that must hold data
PATCH = 7  # pixels: noise does not make a patch of this side of one and the same value
BRIGHTEST = np.float32(1e6)  # units of the sky's noise; white long before
CLIPPED_SHARE = 0.25  # of the sky at its lowest value: its lower half is clipped, noise comes from the upper one
LOST_SHARE = 0.7  # of the sky at its lowest value: neither its level nor its noise can be measured


def to_rgb(bands: Bands, frame: float | None = None) -> tuple[np.ndarray, str]:
    """(pixels uint8 (h, w, 3) RGB, north up; caveat or ""): stretched to look like a training image.

    Sky and noise of each band are measured at the border, where it holds data; light in units of that noise goes
    through the same stretch that draws the synthetic galaxies. Pixels without data show the sky's level, those amid
    others the mean of their neighbours. `frame`: pixels to the side of a training image; None: all. DamagedImage
    where the galaxy itself, or too much of the sky, is missing.
    """
    light = bands.light[:, ::-1]
    good = np.isfinite(light).all(axis=0)
    if not good.any():
        raise DamagedImage("has no pixel that holds data")
    if bands.grey_levels:
        shown = np.dstack([np.where(good, band, 0).astype(np.uint8) for band in light[::-1]])
        return np.ascontiguousarray(np.broadcast_to(shown, (*good.shape, 3))), bands.caveat
    for band in light:
        good &= ~_padding(band)
    if not good.any():
        raise DamagedImage("has one and the same value everywhere")
    near = cv2.blur(good.astype(np.float32), (5, 5))
    _require_galaxy(good | (near > 0.5), frame or min(good.shape))
    scaled = [_filled(_in_units_of_noise(band, good), good, near) for band in light[::-1]]
    return stretch(np.dstack(scaled * (3 // len(scaled)))), "; ".join(filter(None, (bands.caveat, _lacking(good))))


def border_mask(shape: tuple[int, int]) -> np.ndarray:
    """bool (h, w): the outer tenth on each side, where an image of one galaxy shows the sky."""
    edge = max(1, min(shape) // 10)
    made = np.ones(shape, bool)
    made[edge:-edge, edge:-edge] = False
    return made


def _padding(band: np.ndarray) -> np.ndarray:
    """bool (h, w): where patches have one and the same value: what a survey's edge, or a mask, is filled with.

    It is low, or 0, or that of a corner: a saturated star is none. Nothing, where data are so coarse that most other
    pixels have that value too.
    """
    finite = np.isfinite(band)
    plain = np.where(finite, band, np.finfo(np.float32).min)
    kernel = np.ones((PATCH, PATCH), np.uint8)
    usual = [0, *plain[[0, 0, -1, -1], [0, -1, 0, -1]]]
    flat = cv2.erode(plain, kernel) == cv2.dilate(plain, kernel)
    flat &= (plain <= np.percentile(band[finite], 75)) | np.isin(plain, usual)
    made = cv2.dilate(flat.astype(np.uint8), kernel).astype(bool)
    coarse = made.any() and not made.all() and np.isin(plain[~made], np.unique(plain[flat])).mean() > LOST_SHARE
    return np.zeros_like(made) if coarse else made


def _require_galaxy(there: np.ndarray, frame: float) -> None:
    lacking = 1 - cutout.central_crop(there, max(1, round(CENTRE_SHARE * min(frame, *there.shape)))).mean()
    if lacking > MAX_MISSING:
        raise DamagedImage(f"has no data in {lacking:.0%} of its centre, where the galaxy is")


def _in_units_of_noise(band: np.ndarray, good: np.ndarray) -> np.ndarray:
    """The band with its sky at 0 and the noise of that at 1, measured where it is `good`."""
    border = border_mask(band.shape)
    sample = band[border & good]
    if len(sample) < MIN_SKY_SHARE * border.sum():
        raise DamagedImage(f"has data in {len(sample) / border.sum():.0%} of its border, too little to measure the sky")
    sky, lowest = np.median(sample), (sample == sample.min()).mean()
    deviations = sample[sample > sky] - sky if lowest > CLIPPED_SHARE else np.abs(sample - sky)
    noise = 1.4826 * np.median(deviations) if len(deviations) else 0
    if lowest > LOST_SHARE:
        raise DamagedImage(
            f"has one and the same value in {lowest:.0%} of its border, which hides the sky and its noise"
        )
    if not 0 < noise < np.inf:
        raise DamagedImage("has no noise at its border, by which its light could be scaled")
    with np.errstate(over="ignore"):
        return np.clip((band - sky) / np.float32(noise), -BRIGHTEST, BRIGHTEST)


def _filled(band: np.ndarray, good: np.ndarray, near: np.ndarray) -> np.ndarray:
    """The band with the sky's level where it is not good, and the mean of what is around in holes (`near` > 0.5)."""
    known = np.where(good, band, np.float32(0))
    around = cv2.blur(known, (5, 5)) / np.maximum(near, 0.5)
    return np.where(good | (near <= 0.5), known, around)


def _lacking(good: np.ndarray) -> str:
    share = 1 - good.mean()
    return f"has no data in {share:.0%} of its pixels" if share >= 0.01 else ""
