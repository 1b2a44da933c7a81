"""Which pixels of an image are the galaxy, which are other sources, and which are background."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

SIDE = 96  # images of at least twice this side are averaged down to less than twice it: more changes little


class Segmented(NamedTuple):
    """A chunk of images, segmented into galaxy, other sources and background."""

    colour: np.ndarray  # (c, s, s, 3) flux
    grey: np.ndarray  # stack, mean flux of the colours
    mask: np.ndarray  # stack, bool: the galaxy's pixels
    sources: np.ndarray  # stack, bool: all pixels that stand out of the noise
    noise: np.ndarray  # (c,) standard deviation of the grey background
    peak: np.ndarray  # (c, 2) row and column of the galaxy's brightest spot


def downsample(images: np.ndarray) -> np.ndarray:
    """Images (n, s, s, 3) with blocks of pixels averaged where s is at least 2 * SIDE: float32 (n, t, t, 3)."""
    block = max(1, images.shape[1] // SIDE)
    side = images.shape[1] // block
    first = (images.shape[1] - side * block) // 2
    kept = images[:, first : first + side * block, first : first + side * block]
    corners = np.ndindex(block, block)
    return sum(kept[:, y::block, x::block].astype(np.float32) for y, x in corners) / np.float32(block**2)


def segment(images: np.ndarray) -> Segmented:
    """Images (c, s, s, 3) float32 less their background (median of the border), and the galaxy: the central source.

    A source is what stands, slightly smoothed, 3 standard deviations, 2 grey levels and 5 % of the peak above the
    background. Where nothing does, a small central disc takes the galaxy's place.
    """
    side = images.shape[1]
    width = max(1, side // 16)
    inside = slice(width, side - width)
    border = np.ones((side, side), bool)
    border[inside, inside] = False
    colour = images - np.median(images[:, border], axis=1)[:, None, None]
    grey = colour.mean(axis=3)
    noise = 1.4826 * np.median(np.abs(grey[:, border]), axis=1)
    smooth = ndimage.gaussian_filter(grey, (0, side / 64, side / 64), truncate=3)
    quarter = slice(3 * side // 8, side - 3 * side // 8)
    centre = smooth[:, quarter, quarter].reshape(len(grey), -1)
    peak = np.stack(np.divmod(centre.argmax(axis=1), quarter.stop - quarter.start), axis=1) + quarter.start
    least = np.maximum(np.maximum(3 * noise, 2), 0.05 * centre.max(axis=1))
    sources = smooth > least[:, None, None]
    connected = np.zeros((3, 3, 3), int)
    connected[1] = ndimage.generate_binary_structure(2, 1)  # within an image, not across the stack
    labels, _ = ndimage.label(sources, connected)
    own = labels[np.arange(len(labels)), peak[:, 0], peak[:, 1]]
    from_centre = np.arange(side) - (side - 1) / 2
    disc = np.hypot(from_centre[:, None], from_centre) <= side / 16 + 1
    mask = np.where((own > 0)[:, None, None], labels == own[:, None, None], disc)
    return Segmented(colour, grey, mask, sources, noise, peak)
