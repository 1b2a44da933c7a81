"""Classes of galaxies, derived from vote fractions by a schema's rules, and scores of their prediction.

`truth` and `predicted` are (n, c) vote fractions in the columns of a schema, the truth NaN where it is not known. The
class of a galaxy is an index into `Schema.classes`, -1 where it has none.
"""

import numpy as np

from pipeline.core import ranking_metrics
from pipeline.core.labels import Schema


def true_class(schema: Schema, truth: np.ndarray) -> np.ndarray:
    """Class of each galaxy with clear votes; -1 where no rule is met, or several are: int64 (n,).

    In Galaxy Zoo 2 (thresholds of Willett et al. 2013, MNRAS 435, 2835, as used by Zhu et al. 2019, Ap&SS 364, 55)
    several rules are met, where the sums of the tree hold, only in an exact tie of two roundness answers at 0.5 of the
    votes: a smooth class needs Class1.1 >= 0.5 and the others Class1.2 >= 0.602, together more than 1.
    """
    _check_columns(schema, truth)
    rules = [one.least for one in schema.classes]
    meets = [np.all([truth[:, schema.index[c]] >= least for c, least in rule], axis=0) for rule in rules]
    met = np.stack(meets, axis=1)
    return np.where(met.sum(axis=1) == 1, met.argmax(axis=1), -1)


def predicted_class(schema: Schema, predicted: np.ndarray) -> np.ndarray:
    """Predicted class of each galaxy, clear or not: the largest of the classes' own columns, int64 (n,)."""
    _check_columns(schema, predicted)
    return predicted[:, schema.class_columns].argmax(axis=1)


def right(schema: Schema, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Whether the predicted class is right, of each galaxy that has a class: bool (m,)."""
    if truth.shape != predicted.shape:
        raise ValueError(f"expected predictions of the truth's shape {truth.shape}; received {predicted.shape}")
    true = true_class(schema, truth)
    known = true >= 0
    return predicted_class(schema, predicted)[known] == true[known]


def accuracy(schema: Schema, truth: np.ndarray, predicted: np.ndarray) -> float:
    """Share of the galaxies of a class whose predicted one is right; NaN where there are none."""
    found = right(schema, truth, predicted)
    return float(found.mean()) if len(found) else float("nan")


def confusion(truth_class: np.ndarray, predicted_class: np.ndarray, n: int) -> np.ndarray:
    """Counts (n, n) of galaxies by true class (row) and predicted class (column); true class -1 is left out.

    Both int (galaxies,). Raises ValueError for unequal lengths or classes that are not in 0 .. n - 1.
    """
    truth_class, predicted_class = np.asarray(truth_class), np.asarray(predicted_class)
    if truth_class.shape != predicted_class.shape:
        raise ValueError(f"expected as many predictions as classes; received {predicted_class.shape}")
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


def summary(schema: Schema, truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Accuracy, balanced accuracy (mean recall), mean F1 and mean average precision over the classes that occur."""
    true = true_class(schema, truth)
    counts = confusion(true, predicted_class(schema, predicted), len(schema.classes))
    _, recall, f1 = precision_recall_f1(counts)
    known, there = true >= 0, counts.sum(axis=1) > 0
    columns = predicted[:, schema.class_columns][known]
    areas = [ranking_metrics.average_precision(columns[:, i], true[known] == i) for i in np.flatnonzero(there)]
    return {
        "accuracy": accuracy(schema, truth, predicted),
        "balanced_accuracy": _mean(recall[there]),
        "f1": _mean(f1[there]),
        "average_precision": _mean(np.array(areas)),
    }


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _check_columns(schema: Schema, fractions: np.ndarray) -> None:
    if fractions.ndim != 2 or fractions.shape[1] != len(schema.columns):
        raise ValueError(f"expected vote fractions of shape (n, {len(schema.columns)}); received {fractions.shape}")
