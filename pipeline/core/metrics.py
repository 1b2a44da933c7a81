"""Metrics of predicted vote fractions: RMSE (the competition's score), vote noise, classification, calibration.

`truth` and `predicted` are (n, 37) vote fractions with columns in the order of `tree.COLUMNS`. Sums are made in
float64 whatever the arrays hold. Every function raises ValueError where the two shapes do not fit.
"""

from typing import NamedTuple

import numpy as np

from pipeline.core.tree import COLUMNS, INDEX, SLICES, reached

CLEAN_SAMPLE = {  # class -> its conditions (column, least vote fraction); the last column is the class's own
    "completely round smooth": (("Class1.1", 0.469), ("Class7.1", 0.50)),
    "in-between smooth": (("Class1.1", 0.469), ("Class7.2", 0.50)),
    "cigar-shaped smooth": (("Class1.1", 0.469), ("Class7.3", 0.50)),
    "edge-on": (("Class1.2", 0.430), ("Class2.1", 0.602)),
    "spiral": (("Class1.2", 0.430), ("Class2.2", 0.715), ("Class4.1", 0.619)),
}
FIVE_CLASSES = tuple(CLEAN_SAMPLE)
VOLUNTEERS = 44  # who saw a galaxy of Galaxy Zoo 2, on average (Willett et al. 2013, section 2)


class Calibration(NamedTuple):
    """Per bin of predicted vote fraction, each (bins,): NaN means and count 0 where no galaxy fell."""

    predicted: np.ndarray
    observed: np.ndarray
    count: np.ndarray


def rmse(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Root mean squared error over all rows and columns: the competition's score. NaN where there are no rows."""
    return float(np.sqrt(_mean(_squared_error(truth, predicted), axis=None)))


def rmse_per_question(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """RMSE over all rows and the columns of each question: float64 (11,)."""
    per_answer = _mean(_squared_error(truth, predicted), axis=0)
    return np.sqrt([per_answer[columns].mean() for columns in SLICES])


def rmse_per_answer(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """RMSE over all rows of each column: float64 (37,)."""
    return np.sqrt(_mean(_squared_error(truth, predicted), axis=0))


def vote_noise(truth: np.ndarray, volunteers: int = VOLUNTEERS) -> float:
    """The RMSE of perfect predictions: what is left because each galaxy was seen by so many people and no more.

    A column's votes are binomial, of `volunteers` tries: the fraction p found has the variance that p (1 - p) /
    (volunteers - 1) estimates without bias. Joint fractions count all volunteers, so the tree needs no more than
    that. Volunteers were weighted by their consistency, which this leaves out. NaN where there are no rows.
    """
    _check_columns(truth)
    values = np.asarray(truth, np.float64)
    return float(np.sqrt(_mean(values * (1 - values), axis=None) / (volunteers - 1)))


def squared_error_per_galaxy(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Mean squared error over the 37 columns of each row: float64 (n,); the root of its mean is `rmse`."""
    return _squared_error(truth, predicted).mean(axis=1)


def five_class(truth: np.ndarray) -> np.ndarray:
    """Class of each galaxy in the clean sample, an index into `FIVE_CLASSES`; -1 outside the sample: int64 (n,).

    Thresholds of Willett et al. (2013, MNRAS 435, 2835) as used by Zhu et al. (2019, Ap&SS 364, 55), on the stored
    fractions. A galaxy that meets several rules is not clean and gets -1. Where the sums of the tree hold that is
    only an exact tie, two roundness answers at 0.5 of the votes each: a smooth class needs Class1.1 >= 0.5 and the
    others Class1.2 >= 0.602, together more than 1.
    """
    _check_columns(truth)
    rules = CLEAN_SAMPLE.values()
    meets = np.stack([np.all([truth[:, INDEX[c]] >= least for c, least in rule], axis=0) for rule in rules], axis=1)
    return np.where(meets.sum(axis=1) == 1, meets.argmax(axis=1), -1)


def class_columns() -> np.ndarray:
    """The column that scores each of the five classes: int64 (5,)."""
    return np.array([INDEX[rule[-1][0]] for rule in CLEAN_SAMPLE.values()])


def five_class_predicted(predicted: np.ndarray) -> np.ndarray:
    """Predicted class of each galaxy, clean or not: the largest of the five classes' columns, int64 (n,)."""
    _check_columns(predicted)
    return predicted[:, class_columns()].argmax(axis=1)


def accuracy5(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Share of the clean sample whose predicted class is right; NaN where the sample is empty."""
    _check_same(truth, predicted)
    classes = five_class(truth)
    clean = classes >= 0
    return float(_mean(five_class_predicted(predicted)[clean] == classes[clean], axis=None))


def confusion(truth_class: np.ndarray, predicted_class: np.ndarray, n: int) -> np.ndarray:
    """Counts (n, n) of galaxies by true class (row) and predicted class (column); true class -1 is left out.

    Both int (galaxies,). Raises ValueError for unequal lengths or classes that are not in 0 .. n - 1.
    """
    truth_class, predicted_class = np.asarray(truth_class), np.asarray(predicted_class)
    _check_same(truth_class, predicted_class)
    known = truth_class != -1
    pairs = np.stack([truth_class[known], predicted_class[known]])
    if pairs.size and not 0 <= pairs.min() <= pairs.max() < n:
        raise ValueError(f"expected classes 0 to {n - 1}; received {pairs.min()} to {pairs.max()}")
    return np.bincount(pairs[0] * n + pairs[1], minlength=n * n).reshape(n, n)


def precision_recall_f1(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and their harmonic mean of each class, float64 (n,), from `confusion`'s counts (n, n).

    NaN where nothing was predicted as the class (precision), or nothing is of it (recall).
    """
    right = np.diag(counts).astype(np.float64)
    predicted, true = counts.sum(axis=0), counts.sum(axis=1)
    precision = np.where(predicted > 0, right / np.maximum(predicted, 1), np.nan)
    recall = np.where(true > 0, right / np.maximum(true, 1), np.nan)
    return precision, recall, np.where(predicted + true > 0, 2 * right / np.maximum(predicted + true, 1), np.nan)


def leading_answer_accuracy(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Per question, how often the answer with most votes is also the one predicted highest: float64 (11,).

    Among galaxies of which at least half of the volunteers reached the question; NaN where there are none.
    """
    _check_same(truth, predicted)
    _check_columns(truth)
    asked = reached(truth) >= 0.5  # (n, 11)
    right = [truth[:, columns].argmax(axis=1) == predicted[:, columns].argmax(axis=1) for columns in SLICES]
    return np.array([_mean(hit[rows], axis=None) for hit, rows in zip(right, asked.T, strict=True)])


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
    """Squared differences, float64 (n, 37)."""
    _check_same(truth, predicted)
    _check_columns(truth)
    return np.square(np.subtract(predicted, truth, dtype=np.float64))


def _mean(values: np.ndarray, axis: int | None) -> np.ndarray:
    """Mean that is NaN, without a warning, where there is nothing to average."""
    return values.mean(axis=axis) if len(values) else np.full(values.shape[1:] if axis == 0 else (), np.nan)


def _check_same(truth: np.ndarray, predicted: np.ndarray) -> None:
    if np.shape(truth) != np.shape(predicted):
        raise ValueError(f"expected predictions of the truth's shape {np.shape(truth)}; received {np.shape(predicted)}")


def _check_columns(fractions: np.ndarray) -> None:
    if fractions.ndim != 2 or fractions.shape[1] != len(COLUMNS):
        raise ValueError(f"expected vote fractions of shape (n, {len(COLUMNS)}); received {fractions.shape}")
