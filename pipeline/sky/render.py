"""One galaxy -> its light in three bands, before the telescope sees it.

The canvas is the survey's own pixel grid (FRAME / sampling on a side), in units of the sky's noise per pixel;
its last axis is red, green, blue = SDSS i, r, g. Coordinates are frame pixels from the centre.
"""

import numpy as np

from pipeline.sky import oddities, profiles
from pipeline.sky.camera import photograph
from pipeline.sky.disc import disc
from pipeline.sky.galaxy import FRAME, Galaxy
from pipeline.sky.starlight import Grid, clumps, knots, soften, tint


def render(galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    """The picture of a galaxy: (424, 424, 3) uint8, RGB."""
    return photograph(light(galaxy, rng), galaxy, rng)


def light(galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    """The galaxy's own light, (side, side, 3) float32 in units of the sky's noise per survey pixel."""
    side = round(FRAME / galaxy.sampling)
    canvas = np.zeros((side, side, 3), np.float32)
    if galaxy.kind == "star":
        return canvas  # the camera draws it
    x, y, box = _grid(side, (4 if galaxy.kind == "disc" else 5) * galaxy.half_light)
    if galaxy.oddity in ("disturbed", "merger"):
        x, y = oddities.disturb(x, y, galaxy, rng)
    draw = {"elliptical": _elliptical, "disc": disc, "irregular": _irregular}[galaxy.kind]
    picture = draw(profiles.rotate(x, y, galaxy.angle), galaxy, rng)
    if galaxy.oddity in oddities.ADDED_LIGHT:
        picture = picture + oddities.ADDED_LIGHT[galaxy.oddity]((x, y), galaxy, rng)
    area = 2 * np.pi * galaxy.half_light**2 * max(galaxy.apparent_axis_ratio, 0.3)
    canvas[box, box] = picture * np.float32(galaxy.brightness * area)
    return canvas


def _elliptical(grid: Grid, galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    q = galaxy.axis_ratio
    radius = soften(profiles.elliptical_radius(*grid, q), galaxy)
    return tint(profiles.sersic(radius, galaxy.half_light, galaxy.sersic, q), galaxy.redness)


def _irregular(grid: Grid, galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    """A faint off-centre disc under a handful of bright young clumps."""
    q, size = galaxy.axis_ratio, galaxy.half_light
    dx, dy = rng.normal(0, 0.25 * size, 2).astype(np.float32)
    base = profiles.sersic(profiles.elliptical_radius(grid[0] - dx, grid[1] - dy, q), size, 1.0, q)
    base *= knots(base.shape, galaxy, rng)
    return tint(0.5 * base, 0.5 * galaxy.redness + 0.2) + 0.5 * clumps(grid, galaxy, rng)


def _grid(side: int, reach: float) -> tuple[np.ndarray, np.ndarray, slice]:
    """Frame-pixel coordinates of the central box that reaches `reach` pixels out, and the box's slice."""
    sampling = FRAME / side
    axis = (np.arange(side, dtype=np.float32) - (side - 1) / 2) * np.float32(sampling)
    margin = max(int(side / 2 - reach / sampling), 0)
    box = slice(margin, side - margin)
    x, y = np.meshgrid(axis[box], axis[box])
    return x, y, box
