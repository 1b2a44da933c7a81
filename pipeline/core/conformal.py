"""Split conformal prediction: intervals around vote fractions, and sets of answers, that hold a stated share.

Galaxies that no network was trained on calibrate what is said of new ones: of n residuals the ceil((n + 1) level)-th
smallest holds at least `level` of those of exchangeable galaxies, whatever their distribution. Residuals are divided by
a spread, so that intervals are wide where errors are large (Lei et al. 2018, JASA 113, 1094, section 5.2), and ranked
among galaxies of like predictions, so that the share holds there too (Mondrian: Vovk, Gammerman & Shafer 2005,
Algorithmic Learning in a Random World, section 4.5).

Shapes are (n, c) for the c columns of a schema, (n, q) for its questions; the truth is NaN where it is not known.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize

from pipeline.core import tree
from pipeline.core.labels import Schema

GROUPS = 10  # of galaxies by their prediction, at most
MIN_GROUP = 200  # galaxies in a group; fewer in all are one group, whose residuals are not divided by a spread
LEAST_SPREAD = 1e-4


class Column(NamedTuple):
    """What the residuals of one column say."""

    terms: np.ndarray  # (3,) weights of 1, p (1 - p) and the variance between runs in the squared spread
    edges: np.ndarray  # (g - 1,) predictions between the groups, ascending; each belongs to the group below
    factors: np.ndarray  # (g,) by which the spread is multiplied; infinite where too few galaxies are known


def run_variance(stack: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Variance (n, c) between the predictions (runs, n, c) of runs that have these shares (runs,) of a blend."""
    stack = stack.astype(np.float64)
    mean = np.tensordot(share, stack, 1)
    return np.maximum(np.tensordot(share, np.square(stack), 1) - np.square(mean), 0)


def calibrate(truth: np.ndarray, predicted: np.ndarray, variance: np.ndarray, level: float) -> tuple[Column, ...]:
    """Calibration of each column by predictions that no network was trained on; `variance` between runs, (n, c).

    Fewer than level / (1 - level) known values calibrate nothing: intervals are then 0 to 1.
    ValueError for a level that is not between 0 and 1, and shapes that differ.
    """
    if not 0 < level < 1 or not truth.shape == predicted.shape == variance.shape:
        shapes = (truth.shape, predicted.shape, variance.shape)
        raise ValueError(f"expected a level between 0 and 1 and equal shapes; received {level}, {shapes}")
    columns = zip(truth.T, predicted.T, variance.T, strict=True)
    return tuple(_column(*(np.asarray(values, np.float64) for values in column), level) for column in columns)


def intervals(
    columns: Sequence[Column], predicted: np.ndarray, variance: np.ndarray, averaged: np.ndarray | float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends (n, c) about predictions, within 0 to 1; NaN where a prediction is.

    `averaged`: where predictions are the mean of several, each such as those that calibrated, the variance (n, c)
    between these. The squared error of a mean is less than the mean of their squared errors by just this variance
    (Krogh & Vedelsby 1995, NIPS 7, 231), so the squared spread is, too.
    """
    made, variance = np.asarray(predicted, np.float64), np.asarray(variance, np.float64)
    averaged = np.broadcast_to(np.asarray(averaged, np.float64), made.shape)
    halves = [
        one.factors[np.searchsorted(one.edges, p)] * _less(_spread(one.terms, p, v), gained)
        for one, p, v, gained in zip(columns, made.T, variance.T, averaged.T, strict=True)
    ]
    half = np.stack(halves, axis=1)
    return np.clip(made - half, 0, 1), np.clip(made + half, 0, 1)


def held_out_intervals(
    truth: np.ndarray, predicted: np.ndarray, variance: np.ndarray, fold: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Ends (n, c) of which those of each fold, (n,), are calibrated on the galaxies of the other folds alone."""
    ends = np.empty((2, *predicted.shape))
    for one in np.unique(fold):
        own = fold == one
        columns = calibrate(truth[~own], predicted[~own], variance[~own], level)
        ends[:, own] = intervals(columns, predicted[own], variance[own])
    return ends[0], ends[1]


def calibrate_sets(schema: Schema, truth: np.ndarray, predicted: np.ndarray, level: float) -> np.ndarray:
    """For each question the probability (q,) from which on an answer is in its set; truth of classes, (n, c).

    Sadinle, Lei & Wasserman 2019 (JASA 114, 223): of all sets that hold the true answer that often, the smallest ones.
    """
    true, made = (tree.to_conditional(schema, np.asarray(values, np.float64)) for values in (truth, predicted))
    least = []
    for columns in schema.slices:
        asked = np.nan_to_num(true[:, columns]).max(axis=1) > 0.5
        least.append(1 - _quantile(1 - (true[asked, columns] * made[asked, columns]).sum(axis=1), level))
    return np.array(least)


def in_sets(schema: Schema, predicted: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Which answers are in the set of their question, bool (n, c); the likeliest always is."""
    made, found = tree.to_conditional(schema, np.asarray(predicted, np.float64)), np.zeros(predicted.shape, bool)
    for columns, needed in zip(schema.slices, least, strict=True):
        of_question = made[:, columns]
        found[:, columns] = of_question >= np.minimum(needed, of_question.max(axis=1, keepdims=True))
    return found


def held_out_sets(
    schema: Schema, truth: np.ndarray, predicted: np.ndarray, fold: np.ndarray, level: float
) -> np.ndarray:
    """Sets, bool (n, c), of which those of each fold are calibrated on the galaxies of the other folds alone."""
    found = np.zeros(predicted.shape, bool)
    for one in np.unique(fold):
        own = fold == one
        found[own] = in_sets(schema, predicted[own], calibrate_sets(schema, truth[~own], predicted[~own], level))
    return found


def _column(truth: np.ndarray, predicted: np.ndarray, variance: np.ndarray, level: float) -> Column:
    known = np.isfinite(truth)
    truth, predicted, variance = truth[known], predicted[known], variance[known]
    residuals = np.abs(truth - predicted)
    groups = min(GROUPS, len(truth) // MIN_GROUP)
    if groups < 2:
        terms, edges = np.array([np.square(residuals).mean() if len(truth) else 1.0, 0.0, 0.0]), np.empty(0)
    else:
        terms, _ = optimize.nnls(_terms(predicted, variance), np.square(residuals))
        edges = np.unique(np.quantile(predicted, np.arange(1, groups) / groups))
        edges = edges[edges < predicted.max()]  # or the last group were empty
    ranked, group = residuals / _spread(terms, predicted, variance), np.searchsorted(edges, predicted)
    return Column(terms, edges, np.array([_quantile(ranked[group == i], level) for i in range(len(edges) + 1)]))


def _terms(predicted: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return np.stack([np.ones_like(predicted), predicted * (1 - predicted), variance], axis=1)


def _spread(terms: np.ndarray, predicted: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(_terms(predicted, variance) @ terms, LEAST_SPREAD**2))


def _less(spread: np.ndarray, gained: np.ndarray) -> np.ndarray:
    """The spread without the variance that averaging has taken off, but half of it at least."""
    return np.sqrt(np.maximum(np.square(spread) - gained, np.square(spread) / 4))


def _quantile(scores: np.ndarray, level: float) -> float:
    """What at least `level` of further scores do not exceed; infinite where these are too few to tell."""
    rank = int(np.ceil((len(scores) + 1) * level - 1e-9))
    return float(np.partition(scores, rank - 1)[rank - 1]) if rank <= len(scores) else np.inf
