"""How sure a predicted class is: the share that its column has of the classes' columns, made to hold by a temperature.

`of_classes` is (n, k), what each of k classes' columns has; `true` (n,) the class by the labels, -1 where not clear.
"""

import numpy as np
from scipy import optimize, special

LEAST = 1e-6  # of a class whose logarithm is taken
RANGE = (0.05, 20.0)  # of temperatures
BINS = 10
FEWEST = 50  # galaxies of a clear class that tell a temperature: of a few that are all right it would be 0


def fit_temperature(of_classes: np.ndarray, true: np.ndarray) -> float:
    """The temperature whose `confidence` predicts the clear classes best (log loss); NaN where few are clear.

    Guo et al. 2017 (ICML, arXiv:1706.04599): one number, which changes no class, and cannot fit noise.
    """
    logs, true = _logarithms(of_classes)[true >= 0], true[true >= 0]
    if len(true) < FEWEST:
        return float("nan")

    def loss(log_temperature: float) -> float:
        shares = special.log_softmax(logs / np.exp(log_temperature), axis=1)
        return -shares[np.arange(len(true)), true].mean()

    found = optimize.minimize_scalar(loss, bounds=np.log(RANGE), method="bounded")
    return float(np.exp(found.x))


def confidence(of_classes: np.ndarray, temperature: float) -> np.ndarray:
    """Probability (n,) that the leading class is right; of temperature 1 its plain share. NaN where that is unknown."""
    return special.softmax(_logarithms(of_classes) / temperature, axis=1).max(axis=1)


def held_out_confidence(of_classes: np.ndarray, true: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Confidence (n,), of each fold, (n,), by the temperature of the galaxies of the other folds alone."""
    made = np.empty(len(true))
    for one in np.unique(fold):
        own = fold == one
        made[own] = confidence(of_classes[own], fit_temperature(of_classes[~own], true[~own]))
    return made


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Mean distance of the share that is right from the confidence, over BINS equal bins of it; both (n,).

    Naeini et al. 2015 (AAAI 29, 2901). NaN where there are no galaxies.
    """
    if not len(right):
        return float("nan")
    bins = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    sums = np.bincount(bins, weights=right - confidence, minlength=BINS)
    return float(np.abs(sums).sum() / len(right))


def _logarithms(of_classes: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(np.asarray(of_classes, np.float64), LEAST))
