"""How many labels does it take? Scores against numbers of labels, their intervals, and what labels are worth.

Scores of one start are (sizes, repeats): row i is of sizes[i] labels, column r of the r-th draw of the nested subsets,
which all starts share.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize, special

from pipeline.core import classes, metrics, ranking_metrics
from pipeline.core.labels import Schema

RARE = 0.2  # share of the labelled galaxies below which one of two answers is a rare one that is looked for
ANCHOR = 200  # labels that are compared in words, where they were measured


class Measure(NamedTuple):
    """The score that curves are drawn of."""

    name: str  # as `scores` has it
    title: str
    larger_is_better: bool


class Worth(NamedTuple):
    """What a number of labels from one start is worth from another."""

    labels: float  # 0: fewer than the smallest size; inf: more than the largest
    low: float  # of the repeats by themselves
    high: float
    difference: tuple[float, float, float]  # of the scores at that number, and its interval; NaN of one repeat


def rare_answer(schema: Schema, fractions: np.ndarray) -> int | None:
    """Column of the answer that is looked for: the rarer of two classes, where few of galaxies (n, c) have it."""
    columns = schema.slices[0]
    if not schema.describes_classes or len(schema.questions) > 1 or columns.stop - columns.start != 2:
        return None
    share = np.nanmean(fractions[:, columns], axis=0)
    return columns.start + int(share.argmin()) if share.min() < RARE else None


def measure_of(schema: Schema, rare: int | None) -> Measure:
    """Average precision of a rare answer, accuracy of classes, RMSE of vote fractions."""
    if rare is not None:
        return Measure("average_precision", f"average precision of {schema.texts[schema.columns[rare]]!r}", True)
    if schema.describes_classes:
        return Measure("accuracy", "accuracy", True)
    return Measure("rmse", "RMSE", False)


def scores(schema: Schema, truth: np.ndarray, predicted: np.ndarray, rare: int | None) -> dict[str, float]:
    """All scores of predictions (n, c); the average precision is that of the rare answer where there is one."""
    decides = metrics.deciding(schema)
    found = {decides.name: decides.of(decides.per_galaxy(schema, truth, predicted))}
    found |= classes.summary(schema, truth, predicted) if schema.describes_classes else {}
    if rare is not None:
        known = np.isfinite(truth[:, rare])
        positive, probability = truth[known, rare] > 0.5, predicted[known, rare]
        found["average_precision"] = ranking_metrics.average_precision(probability, positive)
    return found


def interval(values: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mean, low, high) over the last axis, by Student's t; NaN ends of a single value."""
    values = np.asarray(values, np.float64)
    n, mean = values.shape[-1], values.mean(axis=-1)
    if n < 2:
        return mean, np.full(mean.shape, np.nan), np.full(mean.shape, np.nan)
    reach = special.stdtrit(n - 1, (1 + level) / 2) * values.std(axis=-1, ddof=1) / np.sqrt(n)
    return mean, mean - reach, mean + reach


def worth(sizes: np.ndarray, mine: np.ndarray, other: np.ndarray, at: int, larger_is_better: bool) -> Worth:
    """What sizes[at] labels of one start (sizes, repeats) are worth from the other: labels that reach the same score.

    Interpolated in the logarithm of the size, on the monotone curve nearest to the other's means (isotonic regression).
    Low and high are the extremes over the repeats, each by its own curves.
    """
    sign = 1 if larger_is_better else -1
    each = [_reached(sizes, sign * other[:, r], sign * mine[at, r]) for r in range(mine.shape[1])]
    labels = _reached(sizes, sign * other.mean(axis=1), sign * mine[at].mean())
    difference = tuple(float(value) for value in interval(mine[at] - other[at]))
    return Worth(labels, min(each), max(each), difference)


def _reached(sizes: np.ndarray, curve: np.ndarray, score: float) -> float:
    """The number of labels at which an increasing curve (sizes,) reaches a score; 0 or inf where that lies outside."""
    rising = optimize.isotonic_regression(curve).x
    if score < rising[0]:
        return 0.0
    if score > rising[-1]:
        return float("inf")
    after = int(np.searchsorted(rising, score, side="left"))
    if after == 0 or rising[after] == score:
        return float(sizes[after])
    share = (score - rising[after - 1]) / (rising[after] - rising[after - 1])
    low, high = np.log(sizes[after - 1]), np.log(sizes[after])
    return float(np.exp(low + share * (high - low)))


def told_apart(found: Worth) -> bool:
    """Whether the interval of the difference leaves out 0."""
    return found.difference[1] > 0 or found.difference[2] < 0


def anchor(sizes: list[int]) -> int:
    """Place of the size that is compared in words."""
    return sizes.index(ANCHOR) if ANCHOR in sizes else len(sizes) // 2
