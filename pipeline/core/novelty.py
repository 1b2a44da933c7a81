"""Whether a galaxy looks like those that a network was trained on: distance of its features to the nearest of them."""

import numpy as np

SHARE = 0.01  # of held-out galaxies, which are like those trained on, that count as unlike them


def nearest(features: np.ndarray, trained_on: np.ndarray) -> np.ndarray:
    """Euclidean distance (n,) of features (n, d) to the nearest of those trained on (m, d)."""
    products = (features**2).sum(axis=1)[:, None] + (trained_on**2).sum(axis=1) - 2 * features @ trained_on.T
    return np.sqrt(np.maximum(products, 0).min(axis=1))


def largest_distance(features: np.ndarray, held_out: np.ndarray) -> float:
    """The distance from the nearest of the others that all but SHARE of the held-out galaxies keep within.

    features (n, d), held_out bool (n,). Where all or none are held out, nothing can be told: infinity.
    """
    if held_out.all() or not held_out.any():
        return np.inf
    return float(np.quantile(nearest(features[held_out], features[~held_out]), 1 - SHARE, method="higher"))
