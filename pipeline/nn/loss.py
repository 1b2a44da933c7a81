"""Loss functions: squared error, binary cross-entropy, or the multinomial likelihood of the votes."""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from pipeline.core.labels import Schema

MIN_FRACTION = 1e-7  # a fraction whose logarithm is taken


Loss = Callable[[keras.KerasTensor, keras.KerasTensor], keras.KerasTensor]


def get_loss(name: str, schema: Schema) -> str | Loss:
    """The loss of this name in a plan, for Keras's `compile`."""
    if name == "votes":
        return lambda truth, predicted: multinomial_votes(schema, truth, predicted)
    return {"mse": "mean_squared_error", "bce": "binary_crossentropy"}[name]


def multinomial_votes(schema: Schema, truth: keras.KerasTensor, predicted: keras.KerasTensor) -> keras.KerasTensor:
    """Minus the log-likelihood of each galaxy's votes, a volunteer's, over c: (n, c) fractions twice -> (n,).

    At each question that volunteers reached they chose by the predicted conditional fractions: a multinomial for
    each, weighted by the votes it got (the limit of Walmsley et al. 2022, MNRAS 509, 3966, eq. 2, for a Dirichlet
    without spread). `predicted` must obey the tree, as the output of `head.DecisionTree` does.
    """
    predicted = ops.clip(predicted, MIN_FRACTION, 1.0)
    everyone = ops.ones_like(predicted[:, :1])
    reached = ops.take(ops.concatenate([predicted, everyone], axis=-1), _parents(schema), axis=-1)
    return -ops.mean(truth * (ops.log(predicted) - ops.log(reached)), axis=-1)


def _parents(schema: Schema) -> np.ndarray:
    """For each column that of the answer which leads to its question; one past the last where everyone is asked."""
    found = np.empty(len(schema.columns), np.int32)
    for columns, parent in zip(schema.slices, schema.parents, strict=True):
        found[columns] = len(schema.columns) if parent is None else parent
    return found
