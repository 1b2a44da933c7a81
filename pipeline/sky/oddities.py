"""Oddities: what is bent in, or added to, a galaxy that volunteers would call odd.

Coordinates are those of the sky; light is in units of the whole galaxy's.
"""

import numpy as np

from pipeline.sky import profiles
from pipeline.sky.galaxy import Galaxy
from pipeline.sky.starlight import Grid, clumps, tint


def disturb(x: np.ndarray, y: np.ndarray, galaxy: Galaxy, rng: np.random.Generator) -> Grid:
    """Bend the coordinates, more the farther out: a lopsided, warped galaxy."""
    bend = 0.55 * galaxy.oddity_strength * (1.0 if galaxy.oddity == "disturbed" else 0.4)
    size = np.float32(galaxy.half_light)
    a, b = rng.uniform(0, 2 * np.pi, 2).astype(np.float32)
    far = np.float32(bend) * size * profiles.ramp(np.hypot(x, y), 0.3 * size, 2 * size)
    return x + far * np.sin(y / size + a), y + far * np.sin(x / size + b)


def _ring(grid: Grid, galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    radius = profiles.elliptical_radius(*profiles.rotate(*grid, galaxy.angle), galaxy.apparent_axis_ratio)
    at = rng.uniform(1.15, 1.6) * galaxy.half_light
    flux = profiles.ring(radius, at, 0.11 * at) / np.float32(galaxy.apparent_axis_ratio)
    return tint(np.float32(0.65 * galaxy.oddity_strength) * flux, 0.6 * galaxy.redness)


def _arc(grid: Grid, galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    """A lensed blue arc and its counter-image."""
    radius, azimuth = np.hypot(*grid), np.arctan2(grid[1], grid[0])
    at, towards = rng.uniform(1.5, 2.0) * galaxy.half_light, np.float32(rng.uniform(0, 2 * np.pi))
    cos = np.cos(azimuth - towards)
    where = np.exp(6 * (cos - 1)) + np.float32(0.35) * np.exp(25 * (-cos - 1))
    flux = profiles.ring(radius, at, 0.07 * at) * where
    return tint(np.float32(0.7 * galaxy.oddity_strength) * flux, 0.0)


def _tail(grid: Grid, galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    """One wide tidal tail: a loose one-armed spiral outside the galaxy, fading outwards."""
    size = galaxy.half_light
    radius, azimuth = np.hypot(*grid), np.arctan2(grid[1], grid[0])
    tail = profiles.arms(radius, azimuth, number=1, pitch=40, start=size, phase=rng.uniform(0, 2 * np.pi))
    flux = tail**2 * profiles.sersic(radius, 1.6 * size, 1.0) * profiles.ramp(radius, 0.8 * size, 1.6 * size)
    flux *= 1 - profiles.ramp(radius, 2.8 * size, 3.9 * size)
    return tint(np.float32(0.6 * galaxy.oddity_strength) * flux, 0.7 * galaxy.redness)


def _companion(grid: Grid, galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    """The other galaxy of a merger, close and comparably bright, with a tail between them."""
    towards, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.9, 2.1) * galaxy.half_light
    x, y = grid[0] - np.float32(distance * np.cos(towards)), grid[1] - np.float32(distance * np.sin(towards))
    size, q = galaxy.half_light * rng.uniform(0.35, 0.8), rng.uniform(0.45, 1)
    radius = profiles.elliptical_radius(*profiles.rotate(x, y, rng.uniform(0, np.pi)), q)
    share = (0.25 + 0.5 * galaxy.oddity_strength) * (size / galaxy.half_light) ** 1.5
    flux = np.float32(share) * profiles.sersic(radius, size, rng.uniform(1, 3), q)
    return tint(flux, rng.uniform(0.2, 1)) + 0.6 * _tail(grid, galaxy, rng)


def _bursts(grid: Grid, galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    """Clumps of young stars over a galaxy that is not otherwise irregular."""
    return np.float32(0.7 * galaxy.oddity_strength) * clumps(profiles.rotate(*grid, galaxy.angle), galaxy, rng)


def _neighbour(grid: Grid, galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    """Something strange on top, none of the named: a compact source of odd colour beside the core."""
    towards, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.6) * galaxy.half_light
    x, y = grid[0] - np.float32(distance * np.cos(towards)), grid[1] - np.float32(distance * np.sin(towards))
    spot = profiles.sersic(np.hypot(x, y), 0.14 * galaxy.half_light, 0.7)
    return tint(np.float32(0.2 * galaxy.oddity_strength) * spot, rng.choice([-0.6, 1.6]))


ADDED_LIGHT = {
    "ring": _ring,
    "lens or arc": _arc,
    "disturbed": _tail,
    "irregular": _bursts,
    "other": _neighbour,
    "merger": _companion,
}
