"""Loss functions: squared error, binary cross-entropy, or the multinomial likelihood of the votes."""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from pipeline.core import tree

MIN_FRACTION = 1e-7  # a fraction whose logarithm is taken


def get_loss(name: str) -> str | Callable[[keras.KerasTensor, keras.KerasTensor], keras.KerasTensor]:
    """The loss of this name in a plan, for Keras's `compile`."""
    return {"mse": "mean_squared_error", "bce": "binary_crossentropy", "votes": multinomial_votes}[name]


def multinomial_votes(truth: keras.KerasTensor, predicted: keras.KerasTensor) -> keras.KerasTensor:
    """Minus the log-likelihood of each galaxy's votes, a volunteer's, over 37: (n, 37) fractions twice -> (n,).

    At each question that volunteers reached they chose by the predicted conditional fractions: a multinomial for
    each, weighted by the votes it got (the limit of Walmsley et al. 2022, MNRAS 509, 3966, eq. 2, for a Dirichlet
    without spread). `predicted` must obey the tree, as the output of `head.DecisionTree` does.
    """
    predicted = ops.clip(predicted, MIN_FRACTION, 1.0)
    everyone = ops.ones_like(predicted[:, :1])
    reached = ops.take(ops.concatenate([predicted, everyone], axis=-1), _parents(), axis=-1)
    return -ops.mean(truth * (ops.log(predicted) - ops.log(reached)), axis=-1)


def _parents() -> np.ndarray:
    """For each column that of the answer which leads to its question; one past the last where everyone is asked."""
    found = np.empty(len(tree.COLUMNS), np.int32)
    for columns, parent in zip(tree.SLICES, tree.PARENTS, strict=True):
        found[columns] = len(tree.COLUMNS) if parent is None else parent
    return found
