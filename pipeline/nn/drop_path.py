"""Stochastic depth: residual blocks that are left out at random while training, the deeper the likelier.

Huang et al. 2016, arXiv:1603.09382. Whatever the rates, a network has the same weights and answers the same in use.
"""

import keras
import numpy as np

from pipeline.nn.backbone import copy_layer, copy_weights
from pipeline.plans.backbones import BACKBONES

EACH_IMAGE = (None, 1, 1, 1)  # shape of the noise: a block is left out for one image, kept for the next
PLACE = "_identity"  # where ConvNeXt, built without stochastic depth, has it: an activation that does nothing


def with_rate(backbone: keras.Model, name: str, rate: float) -> keras.Model:
    """A copy with the same weights whose last block is left out at that rate, those before in proportion."""
    rates = _rates(backbone, name, rate)

    def new(layer: keras.layers.Layer) -> keras.layers.Layer:
        if layer.name not in rates:
            return copy_layer(layer)
        # Keras's own StochasticDepth draws from a generator that no checkpoint resumes
        return keras.layers.Dropout(rates[layer.name], noise_shape=EACH_IMAGE, name=layer.name)

    made = keras.models.clone_model(backbone, clone_function=new)
    copy_weights(backbone, made)
    return made


def _rates(backbone: keras.Model, name: str, rate: float) -> dict[str, float]:
    """Name of the layer that leaves out a block -> its rate."""
    if BACKBONES[name].drop_path:
        built = {layer.name: layer.rate for layer in backbone.layers if isinstance(layer, keras.layers.Dropout)}
        last = max(built.values())  # Keras counts blocks unlike it numbers them, so not quite what it was asked for
        return {layer: of_layer * rate / last for layer, of_layer in built.items()}
    places = [layer.name for layer in backbone.layers if layer.name.endswith(PLACE)]
    return dict(zip(places, np.linspace(0, rate, len(places)).tolist(), strict=True))
