"""Features on a common scale, and their reduction to a few: standardisation, principal components, directions."""

from typing import NamedTuple

import numpy as np

MIN_WIDTH = 1e-3  # of a feature: one that is all but constant says nothing, however it is scaled


class Projection(NamedTuple):
    """Principal components of standardised features: (x - centre) / width, turned; float32."""

    centre: np.ndarray  # (d,)
    width: np.ndarray  # (d,)
    components: np.ndarray  # (k, d), orthonormal
    explained: np.ndarray  # (k,) share of the variance, falling

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Features (n, d) -> float32 (n, k)."""
        return ((features - self.centre) / self.width).astype(np.float32) @ self.components.T


class Moments:
    """Mean and standard deviation of features (n, d) that come part by part.

    Parts are merged by the update of Chan, Golub & LeVeque (1983, doi:10.1080/00031305.1983.10483115), which is exact
    where a difference of large sums is not.
    """

    def __init__(self):
        self.count, self._mean, self._squares = 0, 0.0, 0.0

    def add(self, features: np.ndarray) -> None:
        """More rows."""
        n = len(features)
        if not n:
            return
        values = features.astype(np.float64)
        mean = values.mean(axis=0)
        apart, total = mean - self._mean, self.count + n
        self._squares = self._squares + np.square(values - mean).sum(axis=0) + apart**2 * (self.count * n / total)
        self._mean, self.count = self._mean + apart * (n / total), total

    def scale(self) -> tuple[np.ndarray, np.ndarray]:
        """(centre, width) float32 (d,) each; the width is no less than MIN_WIDTH. ValueError without any row."""
        if not self.count:
            raise ValueError("expected features of one galaxy at least; received none")
        width = np.sqrt(self._squares / self.count)
        return np.float32(self._mean), np.maximum(width, MIN_WIDTH).astype(np.float32)


def directions(standard: np.ndarray) -> np.ndarray:
    """Rows (n, d) scaled to length 1; a row of zeros stays one."""
    return standard / np.maximum(np.linalg.norm(standard, axis=1, keepdims=True), 1e-12)
