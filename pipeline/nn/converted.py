"""Weights of PyTorch's world in Keras's networks."""

from collections.abc import Iterator
from pathlib import Path

import keras

from pipeline.checkpoints import convnext, files, lite
from pipeline.errors import UserError

KNOWN = dict.fromkeys(convnext.SIZES, convnext.weights) | dict.fromkeys(lite.SCALES, lite.weights)


def load(network: keras.Model, backbone: str, path: Path) -> None:
    """Fill a network without its top from a file of safetensors or torch.save; UserError where it holds another."""
    tensors = files.read(path)
    try:
        values = KNOWN[backbone](tensors, backbone)
    except UserError as error:
        raise UserError(f"{path} does not hold the weights of {backbone}: {error}") from None
    found = {_bare(layer, network): layer for layer in _layers(network) if layer.weights}
    for name, layer in found.items():
        layer.set_weights(values.pop(name))
    assert not values, f"weights without a layer: {sorted(values)}"


def _layers(network: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer


def _bare(layer: keras.layers.Layer, network: keras.Model) -> str:
    """A layer's name without its network's; ConvNeXt's last normalisation has none of its own."""
    return "norm" if layer.name.startswith("layer_normalization") else layer.name.removeprefix(f"{network.name}_")
