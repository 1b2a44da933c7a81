"""The head: pooled features of a backbone -> vote fractions."""

from functools import reduce

import keras
import numpy as np
from keras import ops
from sklearn import linear_model

from pipeline.core import tree
from pipeline.core.labels import Schema
from pipeline.core.metrics import filled
from pipeline.nn import class_start
from pipeline.plans.run import Run


@keras.saving.register_keras_serializable("galaxy")
class DecisionTree(keras.layers.Layer):
    """(n, c) logits -> (n, c) vote fractions on which every sum of a schema's tree holds.

    Softmax over each question's answers gives the conditional fractions; times the parents' fraction they are
    the joint ones. The same as `core.tree.normalise` of the exponentials (Dieleman et al. 2015, MNRAS 450, 1441,
    section 5.4, with softmax for the normalised rectifier).
    """

    def __init__(self, schema: Schema, **kwargs):
        super().__init__(**kwargs)
        self.schema = schema

    def call(self, logits: keras.KerasTensor) -> keras.KerasTensor:
        """See the class."""
        answers = {}  # first column of a question -> its answers, and so for every column
        column = {}
        for columns, parents in tree.in_tree_order(self.schema):
            fractions = ops.softmax(logits[:, columns], axis=-1)
            if parents:
                fractions = fractions * reduce(ops.add, (column[parent] for parent in parents))
            answers[columns.start] = fractions
            column |= {columns.start + i: fractions[:, i : i + 1] for i in range(columns.stop - columns.start)}
        return ops.concatenate([answers[columns.start] for columns in self.schema.slices], axis=-1)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """As the input."""
        return input_shape


def build_head(run: Run, schema: Schema, n_features: int) -> keras.Model:
    """Standardise, dropout, an optional hidden layer, c answers: a model of (n, n_features) -> (n, c) float32.

    The standardisation is set from the training features (`standardise`) and is the identity until then.
    """
    inputs = keras.Input((n_features,), name="features")
    x = Standardise(name="standardise")(inputs)
    if run.hidden:
        x = keras.layers.Dropout(run.dropout, name="dropout_hidden")(x)
        x = keras.layers.Dense(run.hidden, activation="relu", name="hidden")(x)
    x = keras.layers.Dropout(run.dropout, name="dropout")(x)
    if run.head == "tree":
        logits = keras.layers.Dense(len(schema.columns), name="answers")(x)
        outputs = DecisionTree(schema, dtype="float32", name="tree")(logits)
    else:
        outputs = keras.layers.Dense(len(schema.columns), activation="sigmoid", dtype="float32", name="answers")(x)
    return keras.Model(inputs, outputs, name="head")


MIN_DEVIATION = 1e-3  # least divisor of a feature, as a share of the largest deviation
RIDGE_SAMPLE = 2000  # galaxies on which the ridge penalty is selected
HALF_A_VOTE = 0.0125  # of the about 40 that an answer gets: how near to 0 and 1 a logit may be taken


def start_at_mean(head: keras.Model, mean: np.ndarray) -> None:
    """Set the biases so that an untrained head answers the mean vote fractions (c,), not one half everywhere."""
    head.get_layer("answers").bias.assign(_logits(head, mean[None])[0])


Start = tuple[np.ndarray, np.ndarray, float]  # kernel (d, c), bias (c,), penalty


def start_at_regression(
    head: keras.Model, features: np.ndarray, labels: np.ndarray, known: Start | None = None
) -> Start | None:
    """Start the head at the regression of the labels on the standardised features, and return it.

    features (n, d), labels (n, c), NaN where unknown. A convex problem needs no gradient steps to get near its
    solution: they only refine it, and fine-tuning then starts from a head that fits (Kumar et al. 2022,
    arXiv:2202.10054). For fractions it is ridge regression of their logits, its penalty chosen by efficient
    leave-one-out on `RIDGE_SAMPLE` of the galaxies where there are more; for classes see `class_start`. `known` is what
    an earlier call returned for the same features and labels.
    With a hidden layer only features are standardised and biases set, and None is returned.
    """
    standardise, answers = head.get_layer("standardise"), head.get_layer("answers")
    standardise.fit(features)
    if answers.kernel.shape[0] != features.shape[1]:
        start_at_mean(head, filled(labels).mean(axis=0))
        return None
    if known is None:
        standard, joined = standardise.transform(features), _joined(head)
        if joined and joined.schema.describes_classes:
            known = class_start.solve(joined.schema, standard, labels)
        else:
            known = _ridge(standard, _logits(head, filled(labels)))
    answers.kernel.assign(known[0])
    answers.bias.assign(known[1])
    return known


def _ridge(features: np.ndarray, targets: np.ndarray) -> Start:
    """Ridge regression of targets (n, c) on features (n, d). The penalty does not hang on n, its choice costs n^3."""
    some = np.sort(np.random.default_rng(0).permutation(len(features))[:RIDGE_SAMPLE])
    fitted = linear_model.RidgeCV(np.logspace(0, 6, 13)).fit(features[some], targets[some])
    penalty = float(fitted.alpha_)
    if len(some) < len(features):
        fitted = linear_model.Ridge(penalty).fit(features, targets)
    return fitted.coef_.T, fitted.intercept_, penalty


def _joined(head: keras.Model) -> DecisionTree | None:
    return next((layer for layer in head.layers if isinstance(layer, DecisionTree)), None)


def _logits(head: keras.Model, fractions: np.ndarray) -> np.ndarray:
    """What the last dense layer must say for the head to answer these vote fractions (n, c)."""
    if joined := _joined(head):
        return np.log(np.maximum(tree.to_conditional(joined.schema, fractions), HALF_A_VOTE))
    inside = np.clip(fractions, HALF_A_VOTE, 1 - HALF_A_VOTE)
    return np.log(inside / (1 - inside))


@keras.saving.register_keras_serializable("galaxy")
class Standardise(keras.layers.Layer):
    """Features minus their mean, over their standard deviation: constants that `fit` sets, kept with the weights."""

    def build(self, input_shape: tuple) -> None:
        """Two constants a feature."""
        self.mean = self.add_weight(shape=input_shape[1:], initializer="zeros", trainable=False, name="mean")
        self.scale = self.add_weight(shape=input_shape[1:], initializer="ones", trainable=False, name="scale")

    def fit(self, features: np.ndarray) -> None:
        """Set mean and scale from features (n, d); the scale of (nearly) constant features is limited."""
        deviation = features.std(axis=0)
        self.mean.assign(features.mean(axis=0))
        self.scale.assign(1 / np.maximum(deviation, MIN_DEVIATION * deviation.max() + 1e-12))

    def transform(self, features: np.ndarray) -> np.ndarray:
        """Standardised features (n, d) as an array."""
        return (features - ops.convert_to_numpy(self.mean)) * ops.convert_to_numpy(self.scale)

    def call(self, features: keras.KerasTensor) -> keras.KerasTensor:
        """Standardised features."""
        return (features - ops.cast(self.mean, features.dtype)) * ops.cast(self.scale, features.dtype)
