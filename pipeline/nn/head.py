"""The head: pooled features of a backbone -> 37 vote fractions."""

import keras
import numpy as np
from keras import ops

from pipeline.config import Run
from pipeline.core import tree


@keras.saving.register_keras_serializable("galaxy")
class DecisionTree(keras.layers.Layer):
    """(n, 37) logits -> (n, 37) vote fractions on which every sum of the tree holds.

    Softmax over each question's answers gives the conditional fractions; times the parent's fraction they are
    the joint ones. The same as `core.tree.normalise` of the exponentials (Dieleman et al. 2015, MNRAS 450, 1441,
    section 5.4, with softmax for the normalised rectifier).
    """

    def call(self, logits: keras.KerasTensor) -> keras.KerasTensor:
        """See the class."""
        answers = {}
        for columns, parent in tree.in_tree_order():
            conditional = ops.softmax(logits[:, columns], axis=-1)
            if parent is not None:
                question = next(c for c in answers if c.start <= parent < c.stop)
                conditional = conditional * answers[question][:, parent - question.start, None]
            answers[columns] = conditional
        return ops.concatenate([answers[columns] for columns in tree.SLICES], axis=-1)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """As the input."""
        return input_shape


def build_head(run: Run, n_features: int) -> keras.Model:
    """Standardise, dropout, an optional hidden layer, 37 answers: a model of (n, n_features) -> (n, 37) float32.

    The standardisation is set from the training features (`standardise`) and is the identity until then.
    """
    inputs = keras.Input((n_features,), name="features")
    x = Standardise(name="standardise")(inputs)
    if run.hidden:
        x = keras.layers.Dropout(run.dropout, name="dropout_hidden")(x)
        x = keras.layers.Dense(run.hidden, activation="relu", name="hidden")(x)
    x = keras.layers.Dropout(run.dropout, name="dropout")(x)
    if run.head == "tree":
        outputs = DecisionTree(dtype="float32", name="tree")(keras.layers.Dense(len(tree.COLUMNS), name="answers")(x))
    else:
        outputs = keras.layers.Dense(len(tree.COLUMNS), activation="sigmoid", dtype="float32", name="answers")(x)
    return keras.Model(inputs, outputs, name="head")


def start_at(head: keras.Model, mean: np.ndarray) -> None:
    """Set the biases so that an untrained head answers the mean vote fractions (37,), not one half everywhere."""
    answers = head.get_layer("answers")
    if answers.activation is keras.activations.sigmoid:
        mean = np.clip(mean, 1e-3, 1 - 1e-3)
        answers.bias.assign(np.log(mean / (1 - mean)))
    else:
        answers.bias.assign(np.log(np.clip(tree.condition(mean[None])[0], 1e-3, 1)))


@keras.saving.register_keras_serializable("galaxy")
class Standardise(keras.layers.Layer):
    """Features minus their mean, over their standard deviation: constants that `set` fixes, kept with the weights."""

    def build(self, input_shape: tuple) -> None:
        """Two constants a feature."""
        self.mean = self.add_weight(shape=input_shape[1:], initializer="zeros", trainable=False, name="mean")
        self.scale = self.add_weight(shape=input_shape[1:], initializer="ones", trainable=False, name="scale")

    def set(self, features: keras.KerasTensor) -> None:
        """Take mean and standard deviation from features (n, d)."""
        deviation = features.std(axis=0)
        self.mean.assign(features.mean(axis=0))
        self.scale.assign(1 / (deviation + 1e-3 * deviation.max() + 1e-12))

    def call(self, features: keras.KerasTensor) -> keras.KerasTensor:
        """Standardised features."""
        return (features - ops.cast(self.mean, features.dtype)) * ops.cast(self.scale, features.dtype)
