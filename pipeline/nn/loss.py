"""Loss functions: squared error, binary cross-entropy, or the multinomial likelihood of the votes."""

from collections.abc import Callable
from functools import reduce

import keras
import numpy as np
from keras import ops

from pipeline.core.labels import Schema

MIN_FRACTION = 1e-7  # a fraction whose logarithm is taken


Loss = Callable[[keras.KerasTensor, keras.KerasTensor], keras.KerasTensor]


def get_loss(name: str, schema: Schema, *, masked: bool) -> str | Loss:
    """The loss of this name in a plan, for Keras's `compile`; `masked`: some answers are not known (NaN)."""
    if name == "votes":
        return lambda truth, predicted: multinomial_votes(schema, truth, predicted)
    if masked:
        return {"mse": masked_squared_error, "bce": masked_cross_entropy}[name]
    return {"mse": "mean_squared_error", "bce": "binary_crossentropy"}[name]


def masked_squared_error(truth: keras.KerasTensor, predicted: keras.KerasTensor) -> keras.KerasTensor:
    """Squared error of the known answers, over c: (n, c) fractions twice, the truth NaN where unknown -> (n,)."""
    known = ops.equal(truth, truth)
    return ops.mean(ops.where(known, ops.square(predicted - ops.where(known, truth, 0.0)), 0.0), axis=-1)


def masked_cross_entropy(truth: keras.KerasTensor, predicted: keras.KerasTensor) -> keras.KerasTensor:
    """Binary cross-entropy of the known answers, over c: as `masked_squared_error`."""
    known = ops.equal(truth, truth)
    of_each = ops.binary_crossentropy(ops.where(known, truth, 0.0), predicted)
    return ops.mean(ops.where(known, of_each, 0.0), axis=-1)


def multinomial_votes(schema: Schema, truth: keras.KerasTensor, predicted: keras.KerasTensor) -> keras.KerasTensor:
    """Minus the log-likelihood of each galaxy's votes, over c: truth (n, c), predicted fractions (n, c) -> (n,).

    The truth is vote fractions, as of one volunteer, or numbers of votes, 0 at questions that a galaxy says nothing of.

    At each question that volunteers reached they chose by the predicted conditional fractions: a multinomial for
    each, weighted by the votes it got (the limit of Walmsley et al. 2022, MNRAS 509, 3966, eq. 2, for a Dirichlet
    without spread). `predicted` must obey the tree, as the output of `head.DecisionTree` does.
    """
    predicted = ops.clip(predicted, MIN_FRACTION, 1.0)
    everyone = ops.ones_like(predicted[:, :1])
    known = ops.concatenate([predicted, everyone, ops.zeros_like(everyone)], axis=-1)
    reached = reduce(ops.add, (ops.take(known, columns, axis=-1) for columns in _parents(schema)))
    return -ops.mean(truth * (ops.log(predicted) - ops.log(reached)), axis=-1)


def _parents(schema: Schema) -> np.ndarray:
    """(k, c): for each column those of the up to k answers that lead to its question.

    In place of such a column c stands for everyone, where everyone is asked, and c + 1 for no one.
    """
    most = max(1, *map(len, schema.parents))
    found = np.full((most, len(schema.columns)), len(schema.columns) + 1, np.int32)
    for columns, parents in zip(schema.slices, schema.parents, strict=True):
        above = parents or (len(schema.columns),)
        found[: len(above), columns] = np.array(above)[:, None]
    return found
