"""Disc galaxies: bulge, disc, bar, arms and dust, from above or from the side.

Coordinates run along and across the major axis; light sums to about 1 over the sky.
"""

import cv2
import numpy as np

from pipeline.sky import profiles
from pipeline.sky.galaxy import Galaxy
from pipeline.sky.starlight import Grid, knots, soften, tint

DUST = np.array([0.7, 1.0, 1.35], np.float32)  # optical depth in i, r, g relative to r


def disc(grid: Grid, galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    """A disc galaxy on (along, across) coordinates: (h, w, 3) light."""
    draw = _from_the_side if galaxy.edge_on else _from_above
    picture = (1 - galaxy.bulge) * draw(grid, galaxy, rng) + galaxy.bulge * _bulge(grid, galaxy)
    return picture * _dust_lane(grid, galaxy) if galaxy.edge_on else picture


def _bulge(grid: Grid, galaxy: Galaxy) -> np.ndarray:
    """Old, round unless the galaxy is edge-on and boxy; larger the more light it holds."""
    size = galaxy.half_light * (0.18 + 0.35 * galaxy.bulge)
    boxy = galaxy.edge_on and galaxy.boxy
    q = 0.65 if boxy else 0.85 if galaxy.edge_on else 0.5 + 0.5 * galaxy.apparent_axis_ratio
    radius = soften(profiles.elliptical_radius(*grid, q, boxiness=4.0 if boxy else 2.0), galaxy)
    index = 1.0 if boxy else galaxy.sersic
    return tint(profiles.sersic(radius, size * (1.5 if boxy else 1), index, q), 0.75 + 0.25 * galaxy.redness)


def _from_above(grid: Grid, galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    """Exponential disc with bar, arms and star-forming knots, in the disc's own plane."""
    along, across = grid
    q = galaxy.apparent_axis_ratio
    across = across / np.float32(q)
    radius, azimuth = np.hypot(along, across), np.arctan2(across, along)
    smooth = profiles.sersic(radius, galaxy.half_light, 1.0, q)
    in_arms, in_bar = np.float32(galaxy.arm_contrast), np.float32(galaxy.bar)
    picture = tint((1 - in_bar) * (1 - in_arms) * smooth, galaxy.redness)
    if galaxy.arms:
        young = smooth * _arm_pattern(radius, azimuth, galaxy, rng)
        picture += tint((1 - in_bar) * in_arms * young, 0.3 * galaxy.redness)
    if galaxy.bar:
        length, shape = 0.95 * galaxy.half_light, 0.26
        flux = profiles.bar(*profiles.rotate(along, across, galaxy.bar_angle), length, shape) / np.float32(q)
        picture += tint(in_bar * flux, 0.5 + 0.5 * galaxy.redness)
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
    pattern = pattern * knots(radius.shape, galaxy, rng)
    return 1 + (pattern - 1) * profiles.ramp(radius, 0.5 * start, 1.1 * start)


def _from_the_side(grid: Grid, galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    scale, thickness = _edge_on_size(galaxy)
    return tint(profiles.edge_on_disc(*grid, scale, thickness), galaxy.redness)


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
