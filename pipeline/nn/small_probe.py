"""Speed of a backbone from a small image: seconds for a pixel, in seconds, where timing real steps would take minutes.

Convolutions cost what their input has of pixels, so that a few calls at 128 pixels tell what a larger image costs: on
two cores EfficientNetV2-S at 224 pixels made 54 images/s where these told 43. From 64 pixels they would tell 20, and
without compilation 3: small maps and calls of single layers leave the processor idle, as do few images a GPU.
"""

import math
import time
from typing import NamedTuple

import keras
import numpy as np
from keras import tree

from pipeline.nn import runtime
from pipeline.nn.backbone import construct
from pipeline.nn.folding import clone_without_normalisation
from pipeline.nn.network import MIN_SIDE, last_layer_per_resolution

SIDE, CALLS = 128, 3  # pixels; calls after the first
BATCH, GPU_BATCH = 8, 128  # images a call


class Level(NamedTuple):
    """A backbone's layers down to one resolution."""

    scale: float  # side of its maps, as a share of the image's
    params: int  # of all layers up to its last
    channels: int  # of that


class Probe(NamedTuple):
    """What a backbone costs."""

    per_pixel: float  # seconds of a forward pass for a pixel of an image
    activations: float  # numbers that its layers make of a pixel of an image
    build: float  # seconds to make it, of random weights
    compile: float  # seconds of its first call, in which XLA compiles it where there is a GPU
    layers: int
    levels: tuple[Level, ...]  # from the finest resolution down; the last is the whole backbone

    def kept(self, pooling: str, size: int) -> tuple[int, int]:
        """(parameters, pooled features) of a network for images of that size: `network.pool` leaves out small maps."""
        if pooling != "multi":
            return self.levels[-1].params, self.levels[-1].channels
        kept = [level for level in self.levels if level.scale * size >= MIN_SIDE]
        return kept[-1].params, 3 * sum(level.channels for level in kept)


def measure(backbone: str) -> Probe:
    """Time a backbone of pipeline/plans/backbones.py in the precision that is the best here."""
    started = time.monotonic()
    keras.config.set_dtype_policy(runtime.choose_precision("auto")[0])
    model = clone_without_normalisation(construct(backbone, SIDE))  # the layers that train and predict
    build = time.monotonic() - started
    first, later = _calls(model, GPU_BATCH if runtime.gpus() else BATCH)
    activations = sum(math.prod(tensor.shape[1:]) for layer in model.layers for tensor in tree.flatten(layer.output))
    return Probe(later / SIDE**2, activations / SIDE**2, build, first, len(model.layers), _levels(model))


def _levels(backbone: keras.Model) -> tuple[Level, ...]:
    ends = [layer.output for layer in last_layer_per_resolution(backbone)]
    params = [keras.Model(backbone.input, end).count_params() for end in ends]
    return tuple(Level(end.shape[1] / SIDE, n, end.shape[-1]) for end, n in zip(ends, params, strict=True))


def _calls(backbone: keras.Model, batch: int) -> tuple[float, float]:
    """(seconds of the first call, seconds an image of the fastest later one, which other programs held up least)."""
    model = keras.Model(backbone.input, keras.layers.GlobalAveragePooling2D()(backbone.output))  # little to copy back
    images = keras.ops.convert_to_tensor(np.random.default_rng(0).random((batch, SIDE, SIDE, 3), np.float32))
    took = []
    for _ in range(1 + CALLS):
        started = time.monotonic()
        model.predict_on_batch(images)
        took.append(time.monotonic() - started)
    return took[0], min(took[1:]) / batch
