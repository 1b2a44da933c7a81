"""Whether a galaxy looks like those that a network was trained on: distance of its features to the nearest of them."""

import numpy as np

from pipeline.core import neighbours

LEAST_WIDTH = 0.1
SHARE = 0.01  # of held-out galaxies, which are like those trained on, that count as unlike them


def scale(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean, width), (d,) each, by which features are standardised that come from galaxies (m, d).

    The width is the standard deviation, of a feature that hardly varies among these LEAST_WIDTH of the median: else
    whatever varies it elsewhere would outweigh all others.
    """
    width = features.std(axis=0)
    return features.mean(axis=0), np.maximum(width, max(LEAST_WIDTH * float(np.median(width)), 1e-3))


def nearest(features: np.ndarray, trained_on: np.ndarray) -> np.ndarray:
    """Euclidean distance (n,) of features (n, d) to the nearest of those trained on (m, d)."""
    return neighbours.mean_distance(features, trained_on, np.full(len(features), -1), k=1)


def largest_distance(features: np.ndarray, held_out: np.ndarray) -> float:
    """The distance from the nearest of the others that all but SHARE of the held-out galaxies keep within.

    features (n, d), held_out bool (n,). Where all or none are held out, nothing can be told: infinity.
    """
    if held_out.all() or not held_out.any():
        return np.inf
    return float(np.quantile(nearest(features[held_out], features[~held_out]), 1 - SHARE, method="higher"))
