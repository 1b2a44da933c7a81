"""Stellar populations with a colour, and the texture of star formation.

A `Grid` is a pair of (h, w) coordinate arrays in frame pixels; light is (h, w, 3), red to blue = SDSS i, r, g.
"""

import cv2
import numpy as np

from pipeline.sky import profiles
from pipeline.sky.galaxy import Galaxy

OLD = np.array([1.40, 1.05, 0.55], np.float32)  # i, r, g of an old, red population
YOUNG = np.array([0.82, 0.96, 1.24], np.float32)  # and of young, blue stars

Grid = tuple[np.ndarray, np.ndarray]


def colour(redness: float) -> np.ndarray:
    """(3,) relative light in i, r, g of a population between young (0) and old (1)."""
    return YOUNG + np.float32(redness) * (OLD - YOUNG)


def tint(flux: np.ndarray, redness: float) -> np.ndarray:
    """Light (h, w) of one population -> (h, w, 3)."""
    return cv2.merge([flux * band for band in colour(redness)])  # several times faster than broadcasting


def soften(radius: np.ndarray, galaxy: Galaxy) -> np.ndarray:
    """Radius that stays off the cusp of a Sersic law, which a pixel averages over and a sample would miss."""
    return np.hypot(radius, np.float32(0.4 * galaxy.sampling))


def knots(shape: tuple[int, ...], galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    """Patchiness with mean 1: exponentiated noise, about 5 frame pixels a patch, stronger in bluer discs."""
    width = max(5 / galaxy.sampling, 0.8)
    patches = cv2.GaussianBlur(rng.standard_normal(shape, dtype=np.float32), (0, 0), width)
    sigma = np.float32(0.55 - 0.4 * galaxy.redness)
    patches *= np.float32(2 * np.sqrt(np.pi) * width) * sigma  # blurring left 1 / (2 sqrt(pi) width) of it
    return np.exp(patches - sigma**2 / 2)


def clumps(grid: Grid, galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    """Four to eight round clumps of young stars, scattered over the galaxy, that share unit light."""
    size, light = galaxy.half_light, np.zeros((*grid[0].shape, 3), np.float32)
    for share in rng.dirichlet(np.full(rng.integers(4, 9), 1.5)):
        dx, dy = rng.normal(0, 0.6 * size, 2).astype(np.float32)
        radius = np.hypot(grid[0] - dx, grid[1] - dy * np.float32(galaxy.apparent_axis_ratio))
        clump = profiles.sersic(radius, rng.uniform(0.12, 0.35) * size, 0.7)
        light += tint(np.float32(share) * clump, rng.uniform(0, 0.5))
    return light
