"""Where the head of a network for classes starts: at the logistic regression of its answers on the features.

What ridge regression is for fractions: the solution of the convex part of the problem. Ridge regression of classes,
which are 0 or 1, is far too unsure of them, and a head that starts there spends its epochs on growing.

It is solved in the principal axes of the features, each scaled so that the loss is about as curved along all of them:
a tenth of the steps, and of the time, that scikit-learn's LogisticRegression takes with the features as they are.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax
from threadpoolctl import threadpool_limits

from pipeline.core.labels import Schema

PENALTIES = tuple(10.0 ** np.arange(4, -0.5, -0.5))  # factors of half the squared weights, beside the sum of losses
SAMPLE = 2000  # training galaxies that choose the penalty, where there are more
INNER_FOLDS = 3  # of them
ITERATIONS, GRADIENT = 200, 1e-3  # at most, largest that counts as none
CURVATURE = 0.15  # of the loss of one galaxy along a logit, p (1 - p)
ABSENT = np.log(1e-3)  # logit of an answer that no training galaxy has, below that of the others
Weights = tuple[np.ndarray, np.ndarray]  # kernel (r, k), bias (k,)


class Axes(NamedTuple):
    """Features along their principal axes."""

    basis: np.ndarray  # (d, r)
    values: np.ndarray  # (n, r)
    power: np.ndarray  # (r,) mean of their squares


def solve(schema: Schema, features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """(kernel (d, c), bias (c,), penalty) from standardised features (n, d) and labels (n, c), NaN where unknown.

    The penalty, one for all questions, has the smallest log loss on held-out ones of these galaxies.
    """
    with threadpool_limits(1):  # on a busy machine threads that wait for each other are a hundred times slower
        return _solved(schema, features.astype(np.float64), labels)


def _solved(schema: Schema, features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    axes = _axes(features)
    some = np.sort(np.random.default_rng(0).permutation(len(features))[:SAMPLE])
    sampled = axes._replace(values=axes.values[some])
    losses = sum(_losses(sampled, labels[some, columns], schema.balanced) for columns in schema.slices)
    penalty = PENALTIES[int(np.argmin(losses))]
    found = [_fitted(axes, labels[:, columns], penalty, schema.balanced) for columns in schema.slices]
    kernels, biases = zip(*found, strict=True)
    return axes.basis @ np.concatenate(kernels, axis=1), np.concatenate(biases), penalty


def _axes(features: np.ndarray) -> Axes:
    n, d = features.shape
    power, vectors = np.linalg.eigh(features.T @ features if d <= n else features @ features.T)
    power, vectors = power[there := power > 1e-10 * power[-1]], vectors[:, there]
    basis = vectors if d <= n else features.T @ (vectors / np.sqrt(power))
    return Axes(basis, features @ basis, power / n)


def _losses(axes: Axes, labels: np.ndarray, balanced: bool) -> np.ndarray:
    """Sum of the log losses of held-out galaxies at one question, labels (n, k), for each of PENALTIES."""
    total = np.zeros(len(PENALTIES))
    for held_out in _inner_folds(labels):
        rest, weights = axes._replace(values=axes.values[~held_out]), None
        for i, penalty in enumerate(PENALTIES):
            weights = _fitted(rest, labels[~held_out], penalty, balanced, weights)
            said = log_softmax(axes.values[held_out] @ weights[0] + weights[1], axis=1)
            total[i] -= np.sum(said * labels[held_out])
    return total


def _inner_folds(labels: np.ndarray) -> Iterator[np.ndarray]:
    """Which galaxies are held out, bool (n,), fold after fold: of each answer as many, and only where it is known."""
    rows = _known(labels)
    fold = np.full(len(labels), -1)
    fold[rows[np.argsort(labels[rows].argmax(axis=1), kind="stable")]] = np.arange(len(rows)) % INNER_FOLDS
    yield from (fold == i for i in range(INNER_FOLDS))


def _known(labels: np.ndarray) -> np.ndarray:
    """Rows of labels (n, k) that have an answer: it is known, and its question was put."""
    return np.flatnonzero(np.nan_to_num(labels).sum(axis=1) > 0)


def _fitted(axes: Axes, labels: np.ndarray, penalty: float, balanced: bool, start: Weights | None = None) -> Weights:
    """The regression of one question, labels (n, k); answers that no galaxy has are nearly excluded.

    `start` are weights to begin with, such as those of another penalty.
    """
    rows = _known(labels)
    counts = labels[rows].sum(axis=0)
    there = np.flatnonzero(counts)
    kernel, bias = np.zeros((axes.values.shape[1], len(counts))), np.full(len(counts), ABSENT)
    if len(there):
        begin = (start[0][:, there], start[1][there]) if start else (kernel[:, there], np.zeros(len(there)))
        share = len(rows) / (len(there) * counts[there]) if balanced else np.ones(len(there))
        known = axes._replace(values=axes.values[rows])
        kernel[:, there], bias[there] = _minimised(known, labels[rows][:, there] * share, penalty, begin)
        bias[np.setdiff1d(np.arange(len(counts)), there)] += bias[there].min()
    return kernel, bias


def _minimised(axes: Axes, targets: np.ndarray, penalty: float, start: Weights) -> Weights:
    """Weights that minimise the cross-entropy with targets (n, k), whose rows are one number each, and the penalty."""
    n, k = targets.shape
    scale = 1 / np.sqrt(np.append(CURVATURE * n * axes.power + penalty, CURVATURE * n))[:, None]  # the bias comes last
    values = np.column_stack([axes.values, np.ones(n)])
    penalties = np.append(np.full(len(axes.power), penalty), 0)[:, None]
    total = targets.sum(axis=1, keepdims=True)

    def loss(scaled: np.ndarray) -> tuple[float, np.ndarray]:
        weights = scaled.reshape(-1, k) * scale
        said = log_softmax(values @ weights, axis=1)
        slope = values.T @ (total * np.exp(said) - targets) + penalties * weights
        return 0.5 * np.sum(penalties * weights**2) - np.sum(targets * said), (slope * scale).ravel()

    first = (np.vstack(start) / scale).ravel()
    options = {"maxiter": ITERATIONS, "gtol": GRADIENT}
    weights = minimize(loss, first, jac=True, method="L-BFGS-B", options=options).x.reshape(-1, k) * scale
    return weights[:-1], weights[-1]
