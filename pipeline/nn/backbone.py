"""The graph of a backbone, the same wherever its weights come from, and copies of it.

A layer's output depends on its configuration and weights only, so that any copy with the same weights is the same
network.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from pipeline.nn import efficientnet_lite
from pipeline.plans.backbones import BACKBONES


@keras.saving.register_keras_serializable("galaxy")
class Normalization(keras.layers.Normalization):
    """Keras's layer, reading its weights at each call: same configuration, same weights, same place in files.

    Keras's own divides by tensors that were made of its weights when it was built or read from a file: `set_weights`
    does not renew them, and a function that was traced before keeps the old ones whatever is loaded.
    """

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """(inputs - mean) / deviation."""
        mean, variance = map(self._of_channels, self._statistics())
        deviation = ops.maximum(ops.sqrt(variance), keras.config.epsilon())
        return (ops.cast(inputs, self.compute_dtype) - mean) / deviation

    def _statistics(self) -> tuple[Any, Any]:
        if self.input_mean is None:
            return self.adapt_mean, self.adapt_variance
        return np.array(self.input_mean, np.float32), np.array(self.input_variance, np.float32)

    def _of_channels(self, values: Any) -> keras.KerasTensor:
        return ops.cast(ops.reshape(values, self._broadcast_shape), self.compute_dtype)


def keras_application(name: str, size: int, weights: str | None) -> keras.Model:
    """The backbone without its top for (size, size, 3) inputs as keras.applications makes it of `weights`."""
    constructor = getattr(keras.applications, BACKBONES[name].constructor)
    # under Keras's own name: EfficientNetV2 and ConvNeXt look their blocks and files up by it
    return constructor(include_top=False, weights=weights, input_shape=(size, size, 3))


def construct(name: str, size: int) -> keras.Model:
    """The backbone without its top for (size, size, 3) inputs, of random weights: the graph that ImageNet's are for."""
    if BACKBONES[name].package:
        return efficientnet_lite.build(name, size)
    made, gain = keras_application(name, size, None), BACKBONES[name].gain
    if gain is None:
        return made

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> keras.KerasTensor:
        values = layer(*args, **kwargs)
        if isinstance(layer, Normalization):
            return keras.layers.Rescaling(list(gain), name="second_rescaling")(values)
        return values

    return keras.models.clone_model(made, clone_function=copy_layer, call_function=call)


def pretrained(name: str, size: int) -> keras.Model:
    """The same with the ImageNet weights that Keras keeps or downloads; Keras's exception where it can do neither."""
    of_imagenet = keras_application(name, size, "imagenet")
    if BACKBONES[name].gain is None:
        return of_imagenet
    made = construct(name, size)
    made.set_weights(of_imagenet.get_weights())
    return made


def copy_layer(layer: keras.layers.Layer, **changes: Any) -> keras.layers.Layer:
    """A new layer of the same configuration but for `changes`, with weights of its own."""
    kind = Normalization if isinstance(layer, keras.layers.Normalization) else type(layer)
    return kind.from_config(layer.get_config() | changes)


def copy_weights(
    source: keras.Model, target: keras.Model, changed: Mapping[str, list[np.ndarray] | None] | None = None
) -> None:
    """Give each layer of a copy the weights of its namesake, or what `changed` has for its name; None: it has none."""
    changed = changed or {}
    for layer in source.layers:
        weights = changed[layer.name] if layer.name in changed else layer.get_weights()
        if weights:
            target.get_layer(layer.name).set_weights(weights)
