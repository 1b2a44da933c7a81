"""One galaxy -> its light in three bands, before the telescope sees it.

The canvas is the survey's own pixel grid (FRAME / sampling on a side), in units of the sky's noise per pixel;
its last axis is red, green, blue = SDSS i, r, g. Coordinates are frame pixels from the centre.
"""

import cv2
import numpy as np

from pipeline.sky import profiles
from pipeline.sky.camera import photograph
from pipeline.sky.galaxy import FRAME, Galaxy

OLD = np.array([1.40, 1.05, 0.55], np.float32)  # i, r, g of an old, red population
YOUNG = np.array([0.82, 0.96, 1.24], np.float32)  # and of young, blue stars
DUST = np.array([0.7, 1.0, 1.35], np.float32)  # optical depth in i, r, g relative to r

Grid = tuple[np.ndarray, np.ndarray]


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
        x, y = _disturb(x, y, galaxy, rng)
    draw = {"elliptical": _elliptical, "disc": _disc, "irregular": _irregular}[galaxy.kind]
    picture = draw(profiles.rotate(x, y, galaxy.angle), galaxy, rng)
    if galaxy.oddity in ODD_LIGHT:
        picture = picture + ODD_LIGHT[galaxy.oddity]((x, y), galaxy, rng)
    area = 2 * np.pi * galaxy.half_light**2 * max(galaxy.apparent_axis_ratio, 0.3)
    canvas[box, box] = picture * np.float32(galaxy.brightness * area)
    return canvas


def colour(redness: float) -> np.ndarray:
    """(3,) relative light in i, r, g of a population between young (0) and old (1)."""
    return YOUNG + np.float32(redness) * (OLD - YOUNG)


def _grid(side: int, reach: float) -> tuple[np.ndarray, np.ndarray, slice]:
    """Frame-pixel coordinates of the central box that reaches `reach` pixels out, and the box's slice."""
    sampling = FRAME / side
    axis = (np.arange(side, dtype=np.float32) - (side - 1) / 2) * np.float32(sampling)
    margin = max(int(side / 2 - reach / sampling), 0)
    box = slice(margin, side - margin)
    x, y = np.meshgrid(axis[box], axis[box])
    return x, y, box


def _soften(radius: np.ndarray, galaxy: Galaxy) -> np.ndarray:
    """Radius that stays off the cusp of a Sersic law, which a pixel averages over and a sample would miss."""
    return np.hypot(radius, np.float32(0.4 * galaxy.sampling))


def _tint(flux: np.ndarray, redness: float) -> np.ndarray:
    """Light (h, w) of one population -> (h, w, 3)."""
    return cv2.merge([flux * band for band in colour(redness)])  # several times faster than broadcasting


# ---- the three kinds: (along, across) coordinates -> light that sums to about 1 over the plane ------------


def _elliptical(grid: Grid, galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    q = galaxy.axis_ratio
    radius = _soften(profiles.elliptical_radius(*grid, q), galaxy)
    return _tint(profiles.sersic(radius, galaxy.half_light, galaxy.sersic, q), galaxy.redness)


def _disc(grid: Grid, galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    draw = _disc_from_the_side if galaxy.edge_on else _disc_from_above
    picture = (1 - galaxy.bulge) * draw(grid, galaxy, rng) + galaxy.bulge * _bulge(grid, galaxy)
    return picture * _dust_lane(grid, galaxy) if galaxy.edge_on else picture


def _bulge(grid: Grid, galaxy: Galaxy) -> np.ndarray:
    """Old, round unless the galaxy is edge-on and boxy; larger the more light it holds."""
    size = galaxy.half_light * (0.18 + 0.35 * galaxy.bulge)
    boxy = galaxy.edge_on and galaxy.boxy
    q = 0.65 if boxy else 0.85 if galaxy.edge_on else 0.5 + 0.5 * galaxy.apparent_axis_ratio
    radius = _soften(profiles.elliptical_radius(*grid, q, boxiness=4.0 if boxy else 2.0), galaxy)
    index = 1.0 if boxy else galaxy.sersic
    return _tint(profiles.sersic(radius, size * (1.5 if boxy else 1), index, q), 0.75 + 0.25 * galaxy.redness)


def _disc_from_above(grid: Grid, galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    """Exponential disc with bar, arms and star-forming knots, in the disc's own plane."""
    along, across = grid
    q = galaxy.apparent_axis_ratio
    across = across / np.float32(q)
    radius, azimuth = np.hypot(along, across), np.arctan2(across, along)
    smooth = profiles.sersic(radius, galaxy.half_light, 1.0, q)
    in_arms, in_bar = np.float32(galaxy.arm_contrast), np.float32(galaxy.bar)
    picture = _tint((1 - in_bar) * (1 - in_arms) * smooth, galaxy.redness)
    if galaxy.arms:
        young = smooth * _arm_pattern(radius, azimuth, galaxy, rng)
        picture += _tint((1 - in_bar) * in_arms * young, 0.3 * galaxy.redness)
    if galaxy.bar:
        length, shape = 0.95 * galaxy.half_light, 0.26
        flux = profiles.bar(*profiles.rotate(along, across, galaxy.bar_angle), length, shape) / np.float32(q)
        picture += _tint(in_bar * flux, 0.5 + 0.5 * galaxy.redness)
    return picture


def _arm_pattern(radius: np.ndarray, azimuth: np.ndarray, galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    """Arms and their knots of young stars, mean about 1, fading to 1 inside the bar or the core."""
    start = galaxy.half_light * (0.85 if galaxy.bar else 0.4)
    phase = galaxy.arms * galaxy.bar_angle  # arms leave from the ends of the bar
    wobble = np.float32(0.25) * np.sin(azimuth + np.float32(rng.uniform(0, 2 * np.pi)))
    bent = azimuth + wobble * np.float32(2 / galaxy.arms)
    pattern = profiles.arms(radius, bent, number=galaxy.arms, pitch=galaxy.pitch, start=start, phase=-phase)
    if galaxy.flocculence > 0.15:
        pieces = sum(
            profiles.arms(radius, bent, number=m, pitch=galaxy.pitch, start=start, phase=rng.uniform(0, 6.3))
            for m in (3, 5, 8)
        )
        pattern = (1 - galaxy.flocculence) * pattern + galaxy.flocculence / 3 * pieces
    pattern = pattern * _knots(radius.shape, galaxy, rng)
    return 1 + (pattern - 1) * profiles.ramp(radius, 0.5 * start, 1.1 * start)


def _knots(shape: tuple[int, ...], galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    """Patchiness with mean 1: exponentiated noise, about 5 frame pixels a patch, stronger in bluer discs."""
    width = max(5 / galaxy.sampling, 0.8)
    patches = cv2.GaussianBlur(rng.standard_normal(shape, dtype=np.float32), (0, 0), width)
    sigma = np.float32(0.55 - 0.4 * galaxy.redness)
    patches *= np.float32(2 * np.sqrt(np.pi) * width) * sigma  # blurring left 1 / (2 sqrt(pi) width) of it
    return np.exp(patches - sigma**2 / 2)


def _disc_from_the_side(grid: Grid, galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    scale, thickness = _edge_on_size(galaxy)
    return _tint(profiles.edge_on_disc(*grid, scale, thickness), galaxy.redness)


def _edge_on_size(galaxy: Galaxy) -> tuple[float, float]:
    """Scale length and height of a disc from the side; the tilt that is left thickens it."""
    scale = galaxy.half_light / 1.678  # an exponential disc holds half its light in 1.678 scale lengths
    return scale, scale * np.hypot(1.2 * galaxy.axis_ratio, np.cos(np.radians(galaxy.inclination)))


def _dust_lane(grid: Grid, galaxy: Galaxy) -> np.ndarray:
    """Share of light in i, r, g that passes the dust in an edge-on disc's plane, bulge included."""
    scale, thickness = _edge_on_size(galaxy)
    strength = 1 + 2 * galaxy.oddity_strength if galaxy.oddity == "dust lane" else 0.25
    lane = np.exp(-((grid[1] / np.float32(0.3 * thickness + 0.3 * galaxy.sampling)) ** 2))
    depth = np.float32(strength) * lane * (1 - profiles.ramp(np.abs(grid[0]), 1.5 * scale, 3.5 * scale))
    return cv2.merge([np.exp(-depth * band) for band in DUST])


def _irregular(grid: Grid, galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    """A faint off-centre disc under a handful of bright young clumps."""
    q, size = galaxy.axis_ratio, galaxy.half_light
    dx, dy = rng.normal(0, 0.25 * size, 2).astype(np.float32)
    base = profiles.sersic(profiles.elliptical_radius(grid[0] - dx, grid[1] - dy, q), size, 1.0, q)
    base *= _knots(base.shape, galaxy, rng)
    return _tint(0.5 * base, 0.5 * galaxy.redness + 0.2) + 0.5 * _clumps(grid, galaxy, rng)


def _clumps(grid: Grid, galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    """Four to eight round clumps of young stars, scattered over the galaxy, that share unit light."""
    size, clumps = galaxy.half_light, np.zeros((*grid[0].shape, 3), np.float32)
    for share in rng.dirichlet(np.full(rng.integers(4, 9), 1.5)):
        dx, dy = rng.normal(0, 0.6 * size, 2).astype(np.float32)
        radius = np.hypot(grid[0] - dx, grid[1] - dy * np.float32(galaxy.apparent_axis_ratio))
        clump = profiles.sersic(radius, rng.uniform(0.12, 0.35) * size, 0.7)
        clumps += _tint(np.float32(share) * clump, rng.uniform(0, 0.5))
    return clumps


# ---- oddities: what is added to a galaxy, in the same units; (x, y) are sky coordinates -------------------


def _disturb(x: np.ndarray, y: np.ndarray, galaxy: Galaxy, rng: np.random.Generator) -> Grid:
    """Bend the coordinates, more the farther out: a lopsided, warped galaxy."""
    bend = 0.55 * galaxy.oddity_strength * (1.0 if galaxy.oddity == "disturbed" else 0.4)
    size = np.float32(galaxy.half_light)
    a, b = rng.uniform(0, 2 * np.pi, 2).astype(np.float32)
    far = np.float32(bend) * size * profiles.ramp(np.hypot(x, y), 0.3 * size, 2 * size)
    return x + far * np.sin(y / size + a), y + far * np.sin(x / size + b)


def _add_ring(grid: Grid, galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    radius = profiles.elliptical_radius(*profiles.rotate(*grid, galaxy.angle), galaxy.apparent_axis_ratio)
    at = rng.uniform(1.15, 1.6) * galaxy.half_light
    flux = profiles.ring(radius, at, 0.11 * at) / np.float32(galaxy.apparent_axis_ratio)
    return _tint(np.float32(0.5 * galaxy.oddity_strength) * flux, 0.6 * galaxy.redness)


def _add_arc(grid: Grid, galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    """A lensed blue arc and its counter-image."""
    radius, azimuth = np.hypot(*grid), np.arctan2(grid[1], grid[0])
    at, towards = rng.uniform(1.5, 2.0) * galaxy.half_light, np.float32(rng.uniform(0, 2 * np.pi))
    cos = np.cos(azimuth - towards)
    where = np.exp(6 * (cos - 1)) + np.float32(0.35) * np.exp(25 * (-cos - 1))
    flux = profiles.ring(radius, at, 0.07 * at) * where
    return _tint(np.float32(0.45 * galaxy.oddity_strength) * flux, 0.0)


def _add_tail(grid: Grid, galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    """One wide tidal tail: a loose one-armed spiral outside the galaxy, fading outwards."""
    size = galaxy.half_light
    radius, azimuth = np.hypot(*grid), np.arctan2(grid[1], grid[0])
    tail = profiles.arms(radius, azimuth, number=1, pitch=40, start=size, phase=rng.uniform(0, 2 * np.pi))
    flux = tail**2 * profiles.sersic(radius, 1.6 * size, 1.0) * profiles.ramp(radius, 0.8 * size, 1.6 * size)
    flux *= 1 - profiles.ramp(radius, 2.8 * size, 3.9 * size)
    return _tint(np.float32(0.45 * galaxy.oddity_strength) * flux, 0.7 * galaxy.redness)


def _add_companion(grid: Grid, galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    """The other galaxy of a merger, close and comparably bright, with a tail between them."""
    towards, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.9, 2.1) * galaxy.half_light
    x, y = grid[0] - np.float32(distance * np.cos(towards)), grid[1] - np.float32(distance * np.sin(towards))
    size, q = galaxy.half_light * rng.uniform(0.35, 0.8), rng.uniform(0.45, 1)
    radius = profiles.elliptical_radius(*profiles.rotate(x, y, rng.uniform(0, np.pi)), q)
    share = (0.25 + 0.5 * galaxy.oddity_strength) * (size / galaxy.half_light) ** 1.5
    flux = np.float32(share) * profiles.sersic(radius, size, rng.uniform(1, 3), q)
    return _tint(flux, rng.uniform(0.2, 1)) + 0.6 * _add_tail(grid, galaxy, rng)


def _add_clumps(grid: Grid, galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    """Clumps of young stars over a galaxy that is not otherwise irregular."""
    clumps = _clumps(profiles.rotate(*grid, galaxy.angle), galaxy, rng)
    return np.float32(0.5 * galaxy.oddity_strength) * clumps


def _add_neighbour(grid: Grid, galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    """Something strange on top, none of the named: a compact source of odd colour beside the core."""
    towards, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.6) * galaxy.half_light
    radius = np.hypot(grid[0] - distance * np.cos(towards), grid[1] - distance * np.sin(towards))
    spot = profiles.sersic(radius.astype(np.float32), 0.14 * galaxy.half_light, 0.7)
    return spot[..., None] * (rng.dirichlet((1, 1, 1)) * 0.3 * galaxy.oddity_strength).astype(np.float32)


ODD_LIGHT = {
    "ring": _add_ring,
    "lens or arc": _add_arc,
    "disturbed": _add_tail,
    "irregular": _add_clumps,
    "other": _add_neighbour,
    "merger": _add_companion,
}
