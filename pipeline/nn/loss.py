"""What training makes small: squared error, binary cross-entropy, or the surprise at the volunteers' votes."""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from pipeline.core import tree

MIN_FRACTION = 1e-7  # a fraction whose logarithm is taken


def get_loss(name: str) -> str | Callable[[keras.KerasTensor, keras.KerasTensor], keras.KerasTensor]:
    """The loss that a plan calls by this name, as Keras takes it."""
    return {"mse": "mean_squared_error", "bce": "binary_crossentropy", "votes": multinomial_votes}[name]


def multinomial_votes(truth: keras.KerasTensor, said: keras.KerasTensor) -> keras.KerasTensor:
    """Minus the log-likelihood of each galaxy's votes, a volunteer's, over 37: (n, 37) fractions twice -> (n,).

    At each question that volunteers reached they chose by the predicted conditional fractions: a multinomial for
    each, weighted by the votes it got (the limit of Walmsley et al. 2022, MNRAS 509, 3966, eq. 2, for a Dirichlet
    without spread). `said` must obey the tree, as `head.DecisionTree` makes it.
    """
    said = ops.clip(said, MIN_FRACTION, 1.0)
    everyone = ops.ones_like(said[:, :1])
    asked = ops.take(ops.concatenate([said, everyone], axis=-1), _parents(), axis=-1)
    return -ops.mean(truth * (ops.log(said) - ops.log(asked)), axis=-1)


def _parents() -> np.ndarray:
    """For each column that of the answer which leads to its question; one past the last where everyone is asked."""
    found = np.empty(len(tree.COLUMNS), np.int32)
    for columns, parent in zip(tree.SLICES, tree.PARENTS, strict=True):
        found[columns] = len(tree.COLUMNS) if parent is None else parent
    return found
