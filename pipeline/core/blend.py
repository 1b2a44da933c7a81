"""Blend models by weights fitted on out-of-fold predictions (Breiman 1996, Stacked regressions, Mach. Learn. 24, 49).

`stack` is (M, n, c), M models' out-of-fold predictions of the same galaxies in the same order; `truth` (n, c).
Weights are (M,), or (M, q) with one column per question; they are not negative and sum to 1 over the models.
They minimise the squared error, of classes the Brier score, where the truth is known; methods are compared by the score
that decides.
Memory: besides the inputs, chunks of 4,096 galaxies in float64; cross-fitting copies the rows it fits on.
"""

from collections.abc import Callable

import numpy as np

from pipeline.core import metrics
from pipeline.core.labels import Schema
from pipeline.core.stats import paired_difference, verdict

CHUNK = 4096  # galaxies
RIDGE = 1e-10  # of the models' mean squared error: lets identical models share their weight, moves no other weight

Fit = Callable[[Schema, np.ndarray, np.ndarray], np.ndarray]


def mean_weights(n_models: int) -> np.ndarray:
    """The same weight for all: float64 (M,). ValueError for no models."""
    if n_models < 1:
        raise ValueError(f"expected at least one model; received {n_models}")
    return np.full(n_models, 1 / n_models)


def convex_weights(schema: Schema, stack: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The weights (M,), not negative and of sum 1, whose blend has the smallest RMSE on these rows.

    ValueError where shapes do not fit or a prediction is not finite.
    """
    return _minimise(_error_products(schema, stack, truth).sum(axis=0))


def convex_weights_per_question(schema: Schema, stack: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The same, (M, q), for each question's columns by themselves.

    Their blend no longer keeps the sums of the tree where children and parent are weighted differently.
    """
    return np.stack([_minimise(products) for products in _error_products(schema, stack, truth)], axis=1)


METHODS: dict[str, Fit] = {  # in order of simplicity
    "mean": lambda schema, stack, truth: mean_weights(len(stack)),
    "convex": convex_weights,
    "per-question": convex_weights_per_question,
}


def mix(schema: Schema, stack: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The blend of stack (M, n, c) by weights (M,) or (M, q): (n, c), summed in float64, in the stack's type."""
    _check_weights(schema, stack, weights)
    shares = per_column(schema, np.asarray(weights, np.float64))
    blended = np.zeros(stack.shape[1:])
    for predictions, weight in zip(stack, shares, strict=True):
        blended += weight * predictions
    return blended.astype(stack.dtype)


def cross_fitted(schema: Schema, stack: np.ndarray, truth: np.ndarray, folds: np.ndarray, fit: Fit) -> np.ndarray:
    """Blend (n, c) in which rows of each fold (n,) are mixed by the weights that `fit` finds on all others.

    Its RMSE is an unbiased score of the method: no row is used for its own weights. ValueError for fewer than 2 folds.
    """
    _check(schema, stack, truth)
    labels = np.unique(folds)
    if len(labels) < 2 or np.shape(folds) != truth.shape[:1]:
        raise ValueError(
            f"expected at least 2 folds over {len(truth)} rows; received {len(labels)} over {np.shape(folds)}"
        )
    blended = np.empty(truth.shape, stack.dtype)
    for fold in labels:
        own = folds == fold
        blended[own] = mix(schema, stack[:, own], fit(schema, stack[:, ~own], truth[~own]))
    return blended


def best_method(
    schema: Schema, stack: np.ndarray, truth: np.ndarray, folds: np.ndarray
) -> tuple[str, dict[str, float]]:
    """The method of `METHODS` to use, and the cross-fitted score of each that decides: (name, {name: score}).

    The simplest that is not beaten: a more complicated method is preferred only where the paired bootstrap over
    galaxies (95 %) shows a lower cross-fitted score. A fixed tolerance would not do: a difference that is noise among
    500 galaxies is significant among 60,000, and fitted weights that win by noise lose on the test set.
    """
    errors, score = {}, metrics.deciding(schema)
    for name, fit in METHODS.items():
        errors[name] = score.per_galaxy(schema, truth, cross_fitted(schema, stack, truth, folds, fit))
    choice, *others = METHODS
    for name in others:
        _, low, high = paired_difference(errors[name], errors[choice], finish=score.finish)
        choice = name if verdict(low, high) == "better" else choice
    return choice, {name: score.of(error) for name, error in errors.items()}


def _minimise(products: np.ndarray) -> np.ndarray:
    """The w >= 0 of sum 1 that minimises w' G w for products G (M, M) of the models' errors: float64 (M,).

    Exact, by one non-negative least squares: with G = R' R, min over u >= 0 of |R u|^2 + c (sum(u) - 1)^2 lies, for
    any c > 0, on the ray of the optimal w: for u = s w the best s leaves c q / (c + q), q = w' G w, which grows with q.
    """
    from scipy.optimize import nnls  # half a second, which a stage with nothing to do need not wait

    n_models = len(products)
    scale = np.trace(products) / n_models
    scaled = products / scale if scale > 0 else products
    root = np.linalg.cholesky(scaled + RIDGE * np.eye(n_models)).T
    target = np.append(np.zeros(n_models), 1.0)
    weights, _ = nnls(np.vstack([root, np.ones(n_models)]), target)
    return weights / weights.sum()


def _error_products(schema: Schema, stack: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Per question, the sums over rows and its columns of products of two models' errors: float64 (q, M, M)."""
    _check(schema, stack, truth)
    products = np.zeros((len(schema.slices), len(stack), len(stack)))
    for start in range(0, len(truth), CHUNK):
        rows = slice(start, start + CHUNK)
        errors = np.subtract(stack[:, rows], truth[rows], dtype=np.float64)
        errors[:, np.isnan(truth[rows])] = 0  # what nobody knows says nothing
        for total, columns in zip(products, schema.slices, strict=True):
            flat = errors[:, :, columns].reshape(len(stack), -1)
            total += flat @ flat.T
    if not np.isfinite(products).all():
        raise ValueError("expected finite predictions; received NaN or infinite values")
    return products


def per_column(schema: Schema, weights: np.ndarray) -> np.ndarray:
    """(M,) -> (M, 1), or (M, q) -> (M, c)."""
    if weights.ndim == 1:
        return weights[:, None]
    return np.repeat(weights, [columns.stop - columns.start for columns in schema.slices], axis=1)


def _check(schema: Schema, stack: np.ndarray, truth: np.ndarray) -> None:
    columns = len(schema.columns)
    if truth.ndim != 2 or truth.shape[1] != columns or stack.shape != (len(stack), *truth.shape) or not stack.size:
        raise ValueError(
            f"expected a stack (M, n, {columns}) and truth (n, {columns}), M and n at least 1; "
            f"received {stack.shape} and {truth.shape}"
        )


def _check_weights(schema: Schema, stack: np.ndarray, weights: np.ndarray) -> None:
    allowed = [(len(stack),), (len(stack), len(schema.slices))]
    if np.shape(weights) not in allowed:
        raise ValueError(f"expected weights of shape {allowed[0]} or {allowed[1]}; received {np.shape(weights)}")
