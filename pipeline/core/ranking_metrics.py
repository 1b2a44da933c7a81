"""Scores of a ranking, for rare things: how early in it they stand.

`scores` (n,) rank galaxies, the highest first; `positive` bool (n,) says which of them are wanted. Equal scores have no
order: what depends on one is the mean over all orders.
"""

import numpy as np


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under precision against recall, by steps; by chance it is the share of the wanted ones.

    Mean precision at the rank of each wanted galaxy; equal scores share a rank. NaN where nothing is wanted.
    ValueError for unequal lengths or scores that are NaN.
    """
    last, found = _by_group(scores, positive)
    if not found.size or not found[-1]:
        return float("nan")
    gained = np.diff(found, prepend=0)
    return float((gained * found / (last + 1)).sum() / found[-1])


def recall_at(scores: np.ndarray, positive: np.ndarray, n: int) -> float:
    """Share of the wanted galaxies among the first n of the ranking: what is found by whoever looks at n candidates.

    Of galaxies that tie at rank n, the share that the first n have room for. NaN where nothing is wanted. ValueError as
    of `average_precision`, and for n < 1.
    """
    if n < 1:
        raise ValueError(f"expected a number of candidates of at least 1; received {n}")
    last, found = _by_group(scores, positive)
    if not found.size or not found[-1]:
        return float("nan")
    return float(np.interp(n, np.append(0, last + 1), np.append(0, found)) / found[-1])


def _by_group(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rank from 0 of the last galaxy of each group of equal scores, wanted ones up to there), both int64 (groups,)."""
    scores, positive = np.asarray(scores), np.asarray(positive, bool)
    if scores.shape != positive.shape or scores.ndim != 1:
        raise ValueError(f"expected as many scores as galaxies; received {scores.shape} and {positive.shape}")
    if np.isnan(scores).any():
        raise ValueError("expected scores that are numbers; received NaN")
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True)[: len(scores)])
    return last, np.cumsum(positive[order])[last]
