"""Hand-made morphology features of a galaxy image, as used before convolutional networks: input of the baselines.

Images are (n, s, s, 3) uint8 RGB, the galaxy in the middle. In the competition's images red, green and blue are
the SDSS bands i, r and g (Lupton et al. 2004, PASP 116, 133), so green / blue stands for the colour g - r.
Concentration, asymmetry and clumpiness follow Conselice (2003, ApJS 147, 1), Gini and M20 Lotz, Primack & Madau
(2004, AJ 128, 163), simplified where an image of 8 bits per pixel and few pixels allows no more. Lengths are in
units of the image's side s, so crops of the same region at another size measure alike.

A stack below is (c, s, s) of the images of a chunk; fluxes are grey levels above the background.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from pipeline.core.segmentation import Segmented, downsample, segment

FEATURES = (
    "brightness",  # magnitudes of the summed grey flux per pixel of the image (larger is brighter)
    "surface_brightness",  # the same of the mean flux within r50
    "g_r_inner",  # colours in magnitudes, within r50 and beyond it; larger is redder
    "g_r_outer",
    "r_i_inner",
    "r_i_outer",
    "r50",  # radius of half the flux
    "extent",  # semi-major axis of the outline
    "axis_ratio",  # from second moments of the flux,
    "axis_ratio_inner",  # of the flux within r50,
    "axis_ratio_outline",  # and of the outline
    "fill",  # area of the outline over that of its ellipse: 1 for an ellipse
    "concentration",
    "asymmetry",
    "clumpiness",
    "gini",
    "m20",
    "bulge",  # share of the flux within a quarter of the outline
    "halo",  # and beyond 0.6 of it
    "bar",  # twofold pattern of the inner half, seen face-on
    "arms",  # twofold pattern of the outer half
    "lopsided",  # onefold pattern of the outer half
    "neighbours",  # flux of other sources in the image over the galaxy's
    "offset",  # of the brightest spot from the centre of the flux
)
PIXELS = 1 << 18  # of one chunk: bounds memory to some 30 MB, and most of it stays in the cache
EPSILON = 1e-6


class Ellipse(NamedTuple):
    """Second moments of weights, each (c,): centre in pixels, semi-axes a >= b of a uniform ellipse, angle of a."""

    y: np.ndarray
    x: np.ndarray
    a: np.ndarray
    b: np.ndarray
    angle: np.ndarray


def measure(images: np.ndarray) -> np.ndarray:
    """Features (n, f) float32 of images (n, s, s, 3) uint8, in the order of `FEATURES`; always finite.

    Chunk by chunk, so images may be memory-mapped: 1 ms an image of 64 pixels. ValueError for another shape.
    """
    if images.ndim != 4 or images.shape[1] != images.shape[2] or images.shape[3] != 3:
        raise ValueError(f"expected images of shape (n, s, s, 3); received {images.shape}")
    step = max(1, PIXELS // images.shape[1] ** 2)
    measured = np.empty((len(images), len(FEATURES)), np.float32)
    for start in range(0, len(images), step):
        chunk = images[start : start + step]
        found = _measure_chunk(segment(downsample(chunk)))
        measured[start : start + step] = np.stack([found[name] for name in FEATURES], axis=1)
    return np.nan_to_num(measured, nan=0.0, posinf=0.0, neginf=0.0)


def centre_colour(images: np.ndarray, side: int) -> np.ndarray:
    """Mean red, green and blue (n, 3) float32, 0-255, of the central side x side pixels of images (n, s, s, 3)."""
    first = (images.shape[1] - side) // 2
    return images[:, first : first + side, first : first + side].mean(axis=(1, 2), dtype=np.float32)


def ellipse(weights: np.ndarray) -> Ellipse:
    """Second moments of a stack of weights that are not negative."""
    side = weights.shape[1]
    axis = np.arange(side, dtype=np.float64)
    rows, columns = weights.sum(axis=2, dtype=np.float64), weights.sum(axis=1, dtype=np.float64)
    total = np.maximum(rows.sum(axis=1), EPSILON)
    y, x = rows @ axis / total, columns @ axis / total
    yy, xx = rows @ axis**2 / total - y**2, columns @ axis**2 / total - x**2
    xy = ((weights @ axis.astype(np.float32)) @ axis) / total - x * y
    yy, xx = np.maximum(yy, 1 / 12), np.maximum(xx, 1 / 12)  # a single pixel's own extent
    half, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    a, b = 2 * np.sqrt(half + spread), 2 * np.sqrt(np.maximum(half - spread, 1 / 24))
    return Ellipse(y, x, a, b, np.arctan2(2 * xy, xx - yy) / 2)


def growth_radii(flux: np.ndarray, radius: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
    """Radii in pixels (c, len(shares)) that hold these shares of each image's flux (both stacks), by annuli."""
    n, steps = len(flux), 2  # annuli in a pixel
    bins = int(radius.max() * steps) + 2
    where = (radius * steps).astype(np.int64) + 1 + (np.arange(n) * (bins + 1))[:, None, None]
    rings = np.bincount(where.ravel(), weights=flux.ravel(), minlength=n * (bins + 1)).reshape(n, bins + 1)
    grown = np.maximum.accumulate(rings.cumsum(axis=1), axis=1)
    grown /= np.maximum(grown[:, -1:], EPSILON)
    edges = np.arange(bins + 1) / steps
    return np.array([np.interp(shares, curve, edges) for curve in grown])


def asymmetry(galaxies: Segmented, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Share of the flux that a half turn does not map onto itself, about the best centre near (y, x): (c,).

    Conselice (2003), eq. 1: least of the centres half a pixel around, less what the noise alone would give.
    """
    grey, mask = galaxies.grey, galaxies.mask
    n, axis = np.arange(len(grey))[:, None, None], np.arange(grey.shape[1])
    double_y, double_x = np.rint(2 * y).astype(int), np.rint(2 * x).astype(int)
    padded = np.pad(grey, ((0, 0), (1, 1), (1, 1)))  # beyond the image: background
    best = np.full(len(grey), np.inf)
    for up in (-1, 0, 1):
        rows = np.clip((double_y + up)[:, None] - axis, -1, len(axis)) + 1
        for left in (-1, 0, 1):
            columns = np.clip((double_x + left)[:, None] - axis, -1, len(axis)) + 1
            turned = padded[n, rows[:, :, None], columns[:, None, :]]
            best = np.minimum(best, _sum(np.abs(grey - turned) * mask))
    by_noise = 2 / np.sqrt(np.pi) * galaxies.noise * mask.sum(axis=(1, 2))
    return (best - by_noise) / np.maximum(_sum(np.abs(grey) * mask), EPSILON)


def clumpiness(galaxies: Segmented, radius: np.ndarray, r50: np.ndarray) -> np.ndarray:
    """Share of the flux beyond r50 / 2 that stands out of the image smoothed over a tenth of its side: (c,).

    Conselice (2003), eq. 3, with one scale for all galaxies instead of a share of each one's radius.
    """
    grey = galaxies.grey
    width = max(3, round(grey.shape[1] / 10) | 1)
    outside = galaxies.mask & (radius > (r50 / 2)[:, None, None])
    clumps = np.maximum(grey - ndimage.uniform_filter(grey, (0, width, width)), 0)
    return _sum(clumps * outside) / np.maximum(_sum(np.abs(grey) * outside), EPSILON)


def gini_and_m20(flux: np.ndarray, mask: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How unequally the flux is spread over the galaxy's pixels, and how far out its brightest 20 % lies: (c,) each.

    Lotz et al. (2004), eqs. 6 and 8: Gini is 0 for equal pixels, 1 for all flux in one; M20 is a logarithm, low for
    a bright centre, high for bright spots far from it. `flux` is a stack, not negative, 0 outside the mask.
    """
    ranked = np.sort(flux.reshape(len(flux), -1), axis=1)[:, ::-1]  # brightest first, so the outside comes last
    grown = ranked.cumsum(axis=1, dtype=np.float64)
    total, pixels = np.maximum(grown[:, -1], EPSILON), mask.sum(axis=(1, 2))
    rank = np.arange(1, ranked.shape[1] + 1)
    gini = (total * (pixels + 1) - 2 * (ranked @ rank.astype(np.float64))) / np.maximum(total * (pixels - 1), EPSILON)
    last = (grown[:, :-1] < 0.2 * total[:, None]).sum(axis=1)  # the pixel at which a fifth of the flux is reached
    faintest = np.take_along_axis(ranked, last[:, None], axis=1)[:, :, None]
    moment = flux * radius**2
    m20 = np.log10(np.maximum(_sum(moment * (flux >= faintest)), EPSILON) / np.maximum(_sum(moment), EPSILON))
    return gini, np.maximum(m20, -4)


def pattern(flux: np.ndarray, u: np.ndarray, v: np.ndarray, fold: int) -> np.ndarray:
    """Strength 0 to 1 of the onefold or twofold (fold 1 or 2) pattern of a stack in face-on coordinates u, v: (c,)."""
    direction = u + 1j * v
    direction /= np.maximum(np.abs(direction), np.float32(EPSILON))
    return np.abs((flux * direction**fold).sum(axis=(1, 2))) / np.maximum(_sum(flux), EPSILON)


def _measure_chunk(galaxies: Segmented) -> dict[str, np.ndarray]:
    """Feature -> its values (c,)."""
    side, mask = galaxies.grey.shape[1], galaxies.mask
    flux = np.maximum(galaxies.grey, 0) * mask
    whole, outline = ellipse(flux), ellipse(mask.astype(np.float32))
    axis = np.arange(side, dtype=np.float32)
    dy = axis[:, None] - whole.y[:, None, None].astype(np.float32)
    dx = axis[None, :] - whole.x[:, None, None].astype(np.float32)
    radius = np.hypot(dy, dx)
    r20, r50, r80 = growth_radii(flux, radius, (0.2, 0.5, 0.8)).T
    inner = ellipse(flux * (radius <= np.maximum(r50, 1.5)[:, None, None]))
    gini, m20 = gini_and_m20(flux, mask, radius)
    found = _fluxes(galaxies, radius, r50) | _face_on(flux, dy, dx, outline)
    return found | {
        "r50": r50 / side,
        "extent": outline.a / side,
        "axis_ratio": whole.b / whole.a,
        "axis_ratio_inner": inner.b / inner.a,
        "axis_ratio_outline": outline.b / outline.a,
        "fill": mask.sum(axis=(1, 2)) / (np.pi * outline.a * outline.b),
        "concentration": 5 * np.log10(np.maximum(r80, 0.5) / np.maximum(r20, 0.5)),
        "asymmetry": asymmetry(galaxies, whole.y, whole.x),
        "clumpiness": clumpiness(galaxies, radius, r50),
        "gini": gini,
        "m20": m20,
        "neighbours": _sum(galaxies.grey * (galaxies.sources & ~mask)) / np.maximum(_sum(flux), 1),
        "offset": np.hypot(galaxies.peak[:, 0] - whole.y, galaxies.peak[:, 1] - whole.x) / side,
    }


def _fluxes(galaxies: Segmented, radius: np.ndarray, r50: np.ndarray) -> dict[str, np.ndarray]:
    """Brightness and colours, in magnitudes; a channel counts at least half a grey level a pixel."""
    mean = _sum(galaxies.grey * galaxies.mask) / galaxies.grey[0].size
    found = {"brightness": 2.5 * np.log10(np.maximum(mean, 1e-3))}
    within = radius <= np.maximum(r50, 1)[:, None, None]
    for name, pixels in (("inner", galaxies.mask & within), ("outer", galaxies.mask & ~within)):
        count = np.maximum(pixels.sum(axis=(1, 2)), 1)
        mean = np.einsum("nyxk,nyx->nk", galaxies.colour, pixels.astype(np.float32)) / count[:, None]
        i, r, g = np.maximum(mean, 0.5).T
        found |= {f"g_r_{name}": 2.5 * np.log10(r / g), f"r_i_{name}": 2.5 * np.log10(i / r)}
        if name == "inner":
            found["surface_brightness"] = 2.5 * np.log10((i + r + g) / 3)
    return found


def _face_on(flux: np.ndarray, dy: np.ndarray, dx: np.ndarray, outline: Ellipse) -> dict[str, np.ndarray]:
    """Shares and patterns in coordinates in which the outline is the unit circle."""
    cosine, sine, a, b = (
        value[:, None, None].astype(np.float32)
        for value in (np.cos(outline.angle), np.sin(outline.angle), outline.a, outline.b)
    )
    u, v = (cosine * dx + sine * dy) / a, (cosine * dy - sine * dx) / b
    rho, total = np.hypot(u, v), np.maximum(_sum(flux), EPSILON)
    inner, outer = flux * (rho <= 0.5), flux * (rho > 0.5)
    return {
        "bulge": _sum(flux * (rho <= 0.25)) / total,
        "halo": _sum(flux * (rho > 0.6)) / total,
        "bar": pattern(inner, u, v, 2),
        "arms": pattern(outer, u, v, 2),
        "lopsided": pattern(outer, u, v, 1),
    }


def _sum(stack: np.ndarray) -> np.ndarray:
    """Sum over the pixels of each image: (c,)."""
    return stack.sum(axis=(1, 2))
