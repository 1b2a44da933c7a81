"""The same function in fewer or faster layers: normalisations folded, convolutions of a group per channel depthwise.

In inference mode BatchNormalization is one factor and one shift per channel, which a convolution takes into its kernel
and its bias: a third of the passes over the maps is saved (Jacob et al. 2018, arXiv:1712.05877, section 3.2). Where
fine-tuning leaves the statistics as they are, it starts from the folded network and trains that; where it trains them,
prediction has a folded twin. ConvNeXt's convolutions, as Keras builds them, take a CPU seven times as long as depthwise
ones (tests/benchmarks/LOG.md).
"""

from typing import Any

import keras
import numpy as np

from pipeline.nn.backbone import copy_layer, copy_weights

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)


def clone_without_normalisation(backbone: keras.Model) -> keras.Model:
    """The same layers, each foldable normalisation an identity; weights are still to be set by `set_folded_weights`.

    The backbone itself where there is nothing to fold, and no convolution to be a depthwise one.
    """
    norms = _foldable(backbone)
    if not norms and not any(map(_is_per_channel, backbone.layers)):
        return backbone
    convolutions = {convolution.name for convolution in norms.values()}

    def new(layer: keras.layers.Layer) -> keras.layers.Layer:
        if layer.name in norms:
            return keras.layers.Identity(name=layer.name)
        more = {"use_bias": True} if layer.name in convolutions else {}
        return _depthwise(layer, **more) if _is_per_channel(layer) else copy_layer(layer, **more)

    def call(layer: keras.layers.Layer, *args, **kwargs):
        return layer(*args) if isinstance(layer, keras.layers.Identity) else layer(*args, **kwargs)  # a mask, else

    return keras.models.clone_model(backbone, clone_function=new, call_function=call)


def folded(backbone: keras.Model) -> keras.Model:
    """A backbone that answers the same without normalisations; itself where `clone_without_normalisation` says so."""
    made = clone_without_normalisation(backbone)
    set_folded_weights(made, backbone)
    return made


def set_folded_weights(folded: keras.Model, backbone: keras.Model) -> None:
    """Give a clone the weights that make it answer as the backbone does in inference mode."""
    if folded is backbone:
        return
    changed: dict[str, list[np.ndarray] | None] = {}
    for name, convolution in _foldable(backbone).items():
        changed |= {name: None, convolution.name: _folded(convolution, backbone.get_layer(name))}
    for layer in filter(_is_per_channel, backbone.layers):
        kernel, *bias = changed.get(layer.name) or layer.get_weights()
        changed[layer.name] = [kernel.transpose(0, 1, 3, 2), *bias]
    copy_weights(backbone, folded, changed)


def _is_per_channel(layer: keras.layers.Layer) -> bool:
    """Whether a convolution has a group, and a filter, per channel."""
    grouped = isinstance(layer, keras.layers.Conv2D) and layer.groups > 1
    return grouped and layer.groups == layer.filters and layer.kernel.shape[-2] == 1  # channels of a group


def _depthwise(layer: keras.layers.Conv2D, **changes: Any) -> keras.layers.DepthwiseConv2D:
    """A depthwise convolution in place of one of a group per channel."""
    keys = ("name", "kernel_size", "strides", "padding", "dilation_rate", "use_bias", "activation", "dtype")
    config = layer.get_config()
    return keras.layers.DepthwiseConv2D(**{key: config[key] for key in keys} | changes)


def _foldable(backbone: keras.Model) -> dict[str, keras.layers.Layer]:
    """Name of a normalisation -> the linear convolution that feeds it and nothing else."""
    found, asked_for = {}, {id(tensor) for tensor in backbone.outputs}
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            before = layer.input._keras_history.operation
            linear = isinstance(before, CONVOLUTIONS) and before.activation is keras.activations.linear
            if linear and len(before._outbound_nodes) == 1 and id(before.output) not in asked_for:
                found[layer.name] = before
    return found


def _folded(convolution: keras.layers.Layer, norm: keras.layers.BatchNormalization) -> list[np.ndarray]:
    kernel, *bias = convolution.get_weights()
    *scale_and_shift, mean, variance = norm.get_weights()
    factor = (scale_and_shift.pop(0) if norm.scale else 1.0) / np.sqrt(variance + norm.epsilon)
    shift = (scale_and_shift.pop() if norm.center else 0.0) + ((bias[0] if bias else 0.0) - mean) * factor
    if isinstance(convolution, keras.layers.DepthwiseConv2D):  # kernel (h, w, channels, multiplier)
        return [kernel * factor.reshape(kernel.shape[2:]), shift]
    return [kernel * factor, shift]
