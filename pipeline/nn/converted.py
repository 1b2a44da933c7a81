"""Weights of PyTorch's world in Keras's networks."""

from collections.abc import Iterator
from pathlib import Path

import keras

from pipeline.checkpoints import mapped


def load(network: keras.Model, backbone: str, path: Path) -> None:
    """Fill a network without its top from a file of safetensors or torch.save; UserError where it holds another."""
    values = mapped.read(path, backbone)
    found = {_bare(layer, network): layer for layer in _layers(network) if layer.weights}
    assert found.keys() == values.keys(), f"unlike layers: {sorted(found.keys() ^ values.keys())}"
    for name, layer in found.items():
        layer.set_weights(values[name])


def _layers(network: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer


def _bare(layer: keras.layers.Layer, network: keras.Model) -> str:
    """A layer's name without its network's; ConvNeXt's last normalisation has none of its own."""
    return "norm" if layer.name.startswith("layer_normalization") else layer.name.removeprefix(f"{network.name}_")
