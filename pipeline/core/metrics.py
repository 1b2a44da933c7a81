"""Scores of predicted vote fractions: RMSE (the competition's score), log loss, vote noise, calibration.

`truth` and `predicted` are (n, c) vote fractions in the columns of a schema. The truth may be NaN where an answer is
not known: such an answer counts nowhere. Sums are made in float64 whatever the arrays hold. Every function raises
ValueError where the two shapes do not fit.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pipeline.core import tree
from pipeline.core.labels import Schema

MIN_PROBABILITY = 1e-7  # of a class whose logarithm is taken


class Calibration(NamedTuple):
    """Per bin of predicted vote fraction, each (bins,): NaN means and count 0 where no galaxy fell."""

    predicted: np.ndarray
    observed: np.ndarray
    count: np.ndarray


def rmse(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Root mean squared error over all rows and columns: the competition's score. NaN where there are no rows."""
    return float(np.sqrt(_mean(_squared_error(truth, predicted), None, truth)))


def rmse_per_question(schema: Schema, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """RMSE over all rows and the columns of each question: float64 (q,)."""
    per_answer = _mean(_squared_error(truth, predicted), 0, truth)
    return np.sqrt([per_answer[columns].mean() for columns in schema.slices])


def rmse_per_answer(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """RMSE over all rows of each column: float64 (c,)."""
    return np.sqrt(_mean(_squared_error(truth, predicted), 0, truth))


def mean_answers(truth: np.ndarray) -> np.ndarray:
    """Mean over the rows where each column is known: (c,); 0 where none is."""
    return np.nan_to_num(_mean(truth, 0, truth)).astype(truth.dtype)


def filled(truth: np.ndarray) -> np.ndarray:
    """The truth (n, c) with the mean of its column in place of what is not known."""
    return np.where(np.isnan(truth), mean_answers(truth), truth) if np.isnan(truth).any() else truth


def vote_noise(truth: np.ndarray, volunteers: int) -> float:
    """The RMSE of perfect predictions: what is left because each galaxy was seen by so many people and no more.

    A column's votes are binomial, of `volunteers` tries: the fraction p found has the variance that p (1 - p) /
    (volunteers - 1) estimates without bias. Joint fractions count all volunteers, so the tree needs no more than
    that. Volunteers were weighted by their consistency, which this leaves out. NaN where there are no rows.
    """
    values = np.asarray(truth, np.float64)
    return float(np.sqrt(_mean(values * (1 - values), None, truth) / (volunteers - 1)))


def squared_error_per_galaxy(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Mean squared error over the known columns of each row: float64 (n,); the root of its mean is `rmse`."""
    return _mean(_squared_error(truth, predicted), 1, truth)


def log_loss_per_galaxy(schema: Schema, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Minus the logarithm of what was predicted for the true answers, the mean of the questions answered: (n,).

    Of conditional fractions, in nats; a question counts as far as it was reached. NaN where no answer is known.
    """
    _check_same(truth, predicted)
    true, made = (tree.to_conditional(schema, np.asarray(values, np.float64)) for values in (truth, predicted))
    lost = -np.nan_to_num(true) * np.log(np.clip(made, MIN_PROBABILITY, 1))  # NaN where a prediction is
    answered = np.stack([np.nan_to_num(true[:, columns]).sum(axis=1) > 0 for columns in schema.slices], axis=1)
    asked = answered.sum(axis=1)
    return np.where(asked > 0, lost.sum(axis=1) / np.maximum(asked, 1), np.nan)


class Score(NamedTuple):
    """The score that decides: of each galaxy, and of several from theirs. Smaller is better."""

    name: str  # in tables
    title: str  # in text
    article: str  # before the title
    per_galaxy: Callable[[Schema, np.ndarray, np.ndarray], np.ndarray]  # (schema, truth, predicted) -> (n,)
    finish: Callable[[np.ndarray], np.ndarray]  # of a mean over galaxies

    def of(self, losses: np.ndarray) -> float:
        """The score of galaxies from their own (n,)."""
        return float(self.finish(losses.mean()))


RMSE = Score("rmse", "RMSE", "an", lambda schema, truth, made: squared_error_per_galaxy(truth, made), np.sqrt)
LOG_LOSS = Score("log_loss", "log loss", "a", log_loss_per_galaxy, lambda mean: mean)


def deciding(schema: Schema) -> Score:
    """The score that decides between models: log loss of classes, RMSE of vote fractions."""
    return LOG_LOSS if schema.describes_classes else RMSE


def leading_answer_accuracy(schema: Schema, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Per question, how often the answer with most votes is also the one predicted highest: float64 (q,).

    Among galaxies of which at least half of the volunteers reached the question; NaN where there are none.
    """
    _check_same(truth, predicted)
    asked = mostly_asked(schema, truth)  # (n, q)
    right = [truth[:, columns].argmax(axis=1) == predicted[:, columns].argmax(axis=1) for columns in schema.slices]
    return np.array([_mean(hit[rows], axis=None) for hit, rows in zip(right, asked.T, strict=True)])


def mostly_asked(schema: Schema, truth: np.ndarray) -> np.ndarray:
    """Which questions at least half of a galaxy's volunteers reached, and answered: bool (n, q)."""
    known = np.stack([np.isfinite(truth[:, columns]).all(axis=1) for columns in schema.slices], axis=1)
    return (tree.reached(schema, truth) >= 0.5) & known


def calibration(truth: np.ndarray, predicted: np.ndarray, bins: int = 10) -> Calibration:
    """Mean predicted and mean observed vote fraction of one column (n,), in `bins` equal bins of the predicted one.

    The bins share [0, 1]; a prediction outside falls in the first or last. ValueError for bins < 1 and predictions
    that are not finite.
    """
    truth, predicted = np.asarray(truth, float), np.asarray(predicted, float)
    _check_same(truth, predicted)
    if bins < 1 or not np.isfinite(predicted).all():
        invalid = np.count_nonzero(~np.isfinite(predicted))
        raise ValueError(f"expected bins >= 1 and finite predictions; received bins={bins}, {invalid} not finite")
    where = np.clip((predicted * bins).astype(np.int64), 0, bins - 1)
    count = np.bincount(where, minlength=bins)
    divisor = np.where(count > 0, count, np.nan)
    means = [np.bincount(where, weights=values, minlength=bins) / divisor for values in (predicted, truth)]
    return Calibration(*means, count)


def _squared_error(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Squared differences, float64 (n, c)."""
    _check_same(truth, predicted)
    if truth.ndim != 2:
        raise ValueError(f"expected vote fractions of shape (n, c); received {truth.shape}")
    return np.square(np.subtract(predicted, truth, dtype=np.float64))


def _mean(values: np.ndarray, axis: int | None, truth: np.ndarray | None = None) -> np.ndarray:
    """Mean where the truth is known (None: everywhere); NaN, without a warning, where there is nothing to average."""
    if not len(values):
        return np.full((), np.nan) if axis is None else np.full(values.sum(axis=axis).shape, np.nan)
    if truth is None or not (unknown := np.isnan(truth)).any():
        return values.mean(axis=axis)
    count = (~unknown).sum(axis=axis)
    return np.where(count > 0, np.where(unknown, 0, values).sum(axis=axis) / np.maximum(count, 1), np.nan)


def _check_same(truth: np.ndarray, predicted: np.ndarray) -> None:
    if np.shape(truth) != np.shape(predicted):
        raise ValueError(f"expected predictions of the truth's shape {np.shape(truth)}; received {np.shape(predicted)}")
