"""Views of a galaxy, for training and test-time augmentation (TTA), as affine matrices; the sets of TTA views.

A view is (2, 3), [A | t], and maps OUTPUT to INPUT coordinates, input = A @ output + t, both (x right, y down) in
units of half the output's side about the centre. Pixel i of n lies at (2 i + 1) / n - 1, so a view knows no size.
The galaxy is turned, zoomed, mirrored, then shifted. Matrices are float32 and may be stacked: (..., 2, 3).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import map_coordinates


def affine(
    rotation_degrees: ArrayLike = 0.0,
    zoom: ArrayLike = 1.0,
    shift_x: ArrayLike = 0.0,
    shift_y: ArrayLike = 0.0,
    flip: ArrayLike = False,
) -> np.ndarray:
    """Views (n, 2, 3) of n galaxies; arguments (n,) or one for all (all of them scalars: n = 1).

    Rotation is counter-clockwise as displayed; zoom > 1 magnifies; shifts, right and down, in units of the half
    side; flip mirrors left and right. ValueError for a zoom that is not positive.
    """
    if not np.all(np.asarray(zoom) > 0):
        raise ValueError(f"expected zoom > 0; received {zoom}")
    arguments = np.broadcast_arrays(*map(np.atleast_1d, (rotation_degrees, zoom, shift_x, shift_y, flip)))
    rotation, zoom, shift_x, shift_y, flip = (values.astype(np.float64) for values in arguments)
    turn = np.radians(rotation)
    cosine, sine = np.round(np.cos(turn), 12) / zoom, np.round(np.sin(turn), 12) / zoom  # quarter turns are exact
    mirror = 1 - 2 * flip
    a = np.stack([np.stack([mirror * cosine, -sine], -1), np.stack([mirror * sine, cosine], -1)], -2)  # (n, 2, 2)
    t = -a @ np.stack([shift_x, shift_y], -1)[..., None]
    return np.concatenate([a, t], axis=-1).astype(np.float32) + np.float32(0)  # no negative zeros


def dihedral(quarter_turns: ArrayLike, flip: ArrayLike = False) -> np.ndarray:
    """Views (n, 2, 3), exact: np.rot90(image, quarter_turns), then np.fliplr where flip."""
    return affine(90.0 * np.asarray(quarter_turns), flip=flip)


def inverse(matrix: np.ndarray) -> np.ndarray:
    """Views (..., 2, 3) that undo views (..., 2, 3). LinAlgError where a view cannot be undone."""
    a = np.linalg.inv(matrix[..., :2].astype(np.float64))
    return np.concatenate([a, -a @ matrix[..., 2:]], axis=-1).astype(np.float32)


def compose(first: np.ndarray, then: np.ndarray) -> np.ndarray:
    """One view for two: looking through `first`, and at that through `then`; (..., 2, 3) each, broadcast."""
    a = first[..., :2].astype(np.float64)
    return np.concatenate([a @ then[..., :2], a @ then[..., 2:] + first[..., 2:]], axis=-1).astype(np.float32)


def _every(rotations: tuple[float, ...], zooms: tuple[float, ...] = (1.0,)) -> np.ndarray:
    """All combinations of zooms, rotations in degrees and mirroring, in that order of variation, slowest first."""
    zoom, rotation, flip = np.meshgrid(zooms, rotations, (False, True), indexing="ij")
    return affine(rotation.ravel(), zoom.ravel(), flip=flip.ravel())


_QUARTERS = (0.0, 90.0, 180.0, 270.0)
_SETS: dict[str, Callable[[], np.ndarray]] = {
    "single": lambda: affine(),
    "flips4": lambda: _every((0.0, 180.0)),
    "dihedral8": lambda: _every(_QUARTERS),
    "rotations16": lambda: _every(tuple(45.0 * turn for turn in range(8))),
    "rotations32": lambda: _every(tuple(22.5 * turn for turn in range(16))),
    "dihedral8-zoom3": lambda: _every(_QUARTERS, (1.0, 0.9, 1.1)),
}
VIEW_SETS = tuple(_SETS)


def view_set(name: str) -> np.ndarray:
    """The view set (v, 2, 3) of that name, the identity first. ValueError names the allowed ones.

    "flips4" mirrors left-right and up-down; "dihedral8" adds quarter turns; "rotations16" adds those of
    45 degrees, "rotations32" those of 22.5; "dihedral8-zoom3" is "dihedral8" at zooms 1, 0.9 and 1.1.
    """
    if name not in _SETS:
        raise ValueError(f"expected a view set, one of {', '.join(VIEW_SETS)}; received {name!r}")
    return _SETS[name]()


def view_set_name(text: str) -> str:
    """The name of a view set, given that name or the number of its views. ValueError lists the allowed ones."""
    counts = {str(len(build())): name for name, build in _SETS.items()}
    if text not in (*counts, *VIEW_SETS):
        raise ValueError(
            f"expected a view set, one of {', '.join(VIEW_SETS)}, or {', '.join(counts)}; received {text!r}"
        )
    return counts.get(text, text)


def random(rng: np.random.Generator, n: int, *, rotation: float, zoom: float, shift: float, flip: bool) -> np.ndarray:
    """n random views (n, 2, 3) for training (Dieleman et al. 2015, MNRAS 450, 1441, section 7.2).

    Rotation uniform within +-`rotation` degrees (180: any), zoom log-uniform in [1/zoom, zoom], shift in x and y
    uniform within +-`shift` half sides, mirrored every other time if `flip`. ValueError for zoom < 1.
    """
    if zoom < 1:
        raise ValueError(f"expected the largest zoom, >= 1; received {zoom}")
    turned, zoomed, right, down = rng.uniform(-1, 1, (4, n))
    mirrored = (rng.random(n) < 0.5) & flip
    return affine(rotation * turned, zoom**zoomed, shift * right, shift * down, mirrored)


def apply(images: np.ndarray, matrices: np.ndarray, size: int | None = None) -> np.ndarray:
    """Images (n, s, s, c) warped by views (n, 2, 3): float32 (n, size, size, c); size None: s.

    Bilinear, edge pixels repeated. A size below s keeps the pixel scale: the identity shows the central crop, and
    the margin is there to be turned and shifted into view. Slow and plain: the oracle of the Keras layer.
    """
    stored = images.shape[1]
    size = stored if size is None else size
    if images.ndim != 4 or images.shape[2] != stored or np.shape(matrices) != (len(images), 2, 3):
        raise ValueError(
            f"expected images (n, s, s, c) and views (n, 2, 3); received {images.shape} and {np.shape(matrices)}"
        )
    axis = np.arange(size) - (size - 1) / 2  # in pixels, so that dihedral views meet pixels exactly
    grid = np.stack([*np.meshgrid(axis, axis), np.full((size, size), size / 2)])  # (3, size, size): x, y, 1 half side
    warped = np.empty((len(images), size, size, images.shape[3]), np.float32)
    for image, matrix, view in zip(images, np.asarray(matrices, np.float64), warped, strict=True):
        x, y = np.tensordot(matrix, grid, axes=1) + (stored - 1) / 2
        for channel in range(images.shape[3]):
            pixels = image[:, :, channel].astype(np.float64)
            view[:, :, channel] = map_coordinates(pixels, (y, x), order=1, mode="nearest")
    return warped
