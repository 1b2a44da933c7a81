"""How often what an ensemble states holds: intervals, sets and confidence on galaxies that calibrated nothing."""

from typing import NamedTuple

import numpy as np

from pipeline.core import classes, confidence, conformal
from pipeline.core.labels import Schema
from pipeline.store.calibration import OutOfFold

BOUND = 0.02  # difference from the stated share that is none


class Coverage(NamedTuple):
    """Of each galaxy, its answers, calibrated on the galaxies of the other folds alone."""

    level: float  # stated
    held: np.ndarray  # (n, c), of classes (n, q): 1 where the truth lies within, 0 where not, NaN where not known
    size: np.ndarray  # the same shape: widths of intervals, of classes the numbers of answers in a set; NaN likewise
    places: tuple[slice, ...]  # of each question, its columns of these

    @property
    def overall(self) -> float:
        """The share that holds."""
        return float(np.nanmean(self.held))

    @property
    def by_question(self) -> np.ndarray:
        """The same for each question, (q,); NaN where nothing is known."""
        return np.array([_mean(self.held[:, columns]) for columns in self.places])

    @property
    def typical(self) -> float:
        """The mean size."""
        return float(np.nanmean(self.size))


class Confidence(NamedTuple):
    """Of the galaxies whose derived class is clear, (n,): how sure the class is, and whether it is right."""

    share: np.ndarray  # of the leading class among all
    calibrated: np.ndarray  # by the temperature of the galaxies of the other folds alone
    right: np.ndarray

    @property
    def errors(self) -> tuple[float, float]:
        """Expected calibration error before and after."""
        made = (self.share, self.calibrated)
        return tuple(confidence.expected_calibration_error(one, self.right) for one in made)


def measure(schema: Schema, oof: OutOfFold, level: float) -> Coverage:
    """Coverage of intervals; of classes, of sets."""
    truth, predicted = oof.truth, oof.predicted
    if schema.describes_classes:
        found = conformal.held_out_sets(schema, truth, predicted, oof.fold, level)
        return _of_sets(schema, truth, found, level)
    low, high = conformal.held_out_intervals(truth, predicted, oof.variance, oof.fold, level)
    unknown = np.isnan(truth)
    held = np.where(unknown, np.nan, (low <= truth) & (truth <= high))
    return Coverage(level, held, np.where(unknown, np.nan, high - low), schema.slices)


def _of_sets(schema: Schema, truth: np.ndarray, found: np.ndarray, level: float) -> Coverage:
    right = np.nan_to_num(truth) > 0.5
    asked = np.stack([right[:, columns].any(axis=1) for columns in schema.slices], axis=1)
    hits = np.stack([(right & found)[:, columns].any(axis=1) for columns in schema.slices], axis=1)
    sizes = np.stack([found[:, columns].sum(axis=1) for columns in schema.slices], axis=1)
    places = tuple(slice(i, i + 1) for i in range(len(schema.slices)))
    return Coverage(level, np.where(asked, hits, np.nan), np.where(asked, sizes, np.nan), places)


def measure_confidence(schema: Schema, oof: OutOfFold) -> Confidence | None:
    """The confidence of the derived class; None where the schema derives none, or that of few galaxies is clear."""
    if not schema.own_classes:
        return None
    true, columns = classes.true_class(schema, oof.truth), oof.predicted[:, schema.class_columns]
    made = confidence.held_out_confidence(columns, true, oof.fold)
    clear = (true >= 0) & np.isfinite(made)
    if not clear.any():
        return None
    right = classes.predicted_class(schema, oof.predicted) == true
    return Confidence(confidence.confidence(columns, 1)[clear], made[clear], right[clear])


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
