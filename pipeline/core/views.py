"""Views of a galaxy, in training and at test time, as (2, 3) affine matrices.

A view maps output to input coordinates, both in units of half the output's side about the centre: input = A @
output + t. Pixel i of a side of n has the coordinate (2 i + 1) / n - 1. An output smaller than the stored image
keeps the pixel scale: it is the central crop.
"""

import numpy as np
from scipy import ndimage


def affine(
    rotation: np.ndarray | float,
    zoom: np.ndarray | float = 1.0,
    shift_x: np.ndarray | float = 0.0,
    shift_y: np.ndarray | float = 0.0,
    flip: np.ndarray | bool = False,
) -> np.ndarray:
    """Views (n, 2, 3) float32: mirror left-right, rotate by degrees anticlockwise, magnify by `zoom`, then shift.

    Shifts move the galaxy right and down, in units of half the side. Arguments broadcast to (n,).
    """
    angle, zoom, dx, dy, flip = np.broadcast_arrays(
        *(np.atleast_1d(np.asarray(a, float)) for a in (np.deg2rad(rotation), zoom, shift_x, shift_y, flip))
    )
    cos, sin, mirror = np.cos(angle) / zoom, np.sin(angle) / zoom, np.where(flip > 0, -1.0, 1.0)
    # a point of the output was, before: unshifted, shrunk, rotated back (y points down), mirrored
    linear = np.stack([np.stack([mirror * cos, mirror * -sin], -1), np.stack([sin, cos], -1)], -2)
    offset = -np.einsum("nij,nj->ni", linear, np.stack([dx, dy], -1))
    return np.concatenate([linear, offset[..., None]], -1).astype(np.float32)


def dihedral(quarter_turns: int, flip: bool) -> np.ndarray:
    """One of the eight views (1, 2, 3) that move pixels onto pixels: mirror left-right, then quarter turns."""
    return np.rint(affine(90.0 * quarter_turns, flip=flip)).astype(np.float32)


def inverse(matrix: np.ndarray) -> np.ndarray:
    """The views (n, 2, 3) that undo views (n, 2, 3)."""
    linear = np.linalg.inv(matrix[:, :, :2].astype(float))
    offset = -np.einsum("nij,nj->ni", linear, matrix[:, :, 2])
    return np.concatenate([linear, offset[..., None]], -1).astype(np.float32)


def _dihedral8() -> np.ndarray:
    return np.concatenate([dihedral(turns, flip) for flip in (False, True) for turns in range(4)])


def _rotations16() -> np.ndarray:
    return np.concatenate([affine(45.0 * np.arange(8), flip=flip) for flip in (False, True)])


def _zooms() -> np.ndarray:
    turns = np.concatenate([np.arange(4), np.arange(4)]) * 90.0
    mirror = np.repeat([False, True], 4)
    return np.concatenate([affine(turns, zoom, flip=mirror) for zoom in (1.0, 0.9, 1.1)])


NAMED = {
    "single": lambda: dihedral(0, False),
    "flips4": lambda: np.concatenate([dihedral(t, f) for f in (False, True) for t in (0, 2)]),
    "dihedral8": _dihedral8,
    "rotations16": _rotations16,
    "dihedral8-zoom3": _zooms,
}


def named(name: str) -> np.ndarray:
    """The set of views (v, 2, 3) of that name, the identity first. ValueError naming the sets that there are."""
    if name not in NAMED:
        raise ValueError(f"expected one of {', '.join(NAMED)}, received {name!r}")
    return NAMED[name]()


def random(
    rng: np.random.Generator, n: int, *, rotation: float, zoom: float, shift: float, flip: bool
) -> np.ndarray:
    """Random views (n, 2, 3): rotation within ± degrees, log-uniform zoom in [1/zoom, zoom], shift within ± `shift`.

    Shifts are in units of half the side; `flip` mirrors one in two.
    """
    return affine(
        rng.uniform(-rotation, rotation, n),
        np.exp(rng.uniform(-np.log(zoom), np.log(zoom), n)),
        rng.uniform(-shift, shift, n),
        rng.uniform(-shift, shift, n),
        rng.random(n) < (0.5 if flip else 0.0),
    )


def apply(images: np.ndarray, matrices: np.ndarray, size: int | None = None) -> np.ndarray:
    """Images (n, s, s, c) seen through views (n, 2, 3): float32 (n, size, size, c), bilinear, edges repeated."""
    stored = images.shape[1]
    size = size or stored
    axis = (2 * np.arange(size) + 1) / size - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")
    grid = np.stack([x, y, np.ones_like(x)])  # (3, size, size)
    result = np.empty((len(images), size, size, images.shape[3]), np.float32)
    for image, matrix, out in zip(images, matrices, result, strict=True):
        where = np.tensordot(matrix.astype(float), grid, 1) * size / 2 + (stored - 1) / 2
        for channel in range(images.shape[3]):
            out[..., channel] = ndimage.map_coordinates(
                image[..., channel].astype(float), where[::-1], order=1, mode="nearest"
            )
    return result
