"""Speed of a backbone from a small image: seconds for a pixel, in seconds, where timing real steps would take minutes.

Convolutions cost what their input has of pixels, so that a few calls at 128 pixels tell what a larger image costs: on
two cores EfficientNetV2-S at 224 pixels made 54 images/s where these told 43. From 64 pixels they would tell 20, and
without compilation 3: small maps and calls of single layers leave the processor idle.
"""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
from keras import tree

from pipeline.nn.backbone import construct
from pipeline.nn.folding import clone_without_normalisation
from pipeline.nn.network import MIN_SIDE, last_layer_per_resolution

SIDE, BATCH, CALLS = 128, 8, 3  # pixels; images; calls after the first


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
    layers: int
    levels: tuple[Level, ...]  # from the finest resolution down; the last is the whole backbone

    def kept(self, pooling: str, size: int) -> tuple[int, int]:
        """(parameters, pooled features) of a network for images of that size: `network.pool` leaves out small maps."""
        if pooling != "multi":
            return self.levels[-1].params, self.levels[-1].channels
        kept = [level for level in self.levels if level.scale * size >= MIN_SIDE]
        return kept[-1].params, 3 * sum(level.channels for level in kept)


def measure(backbone: str) -> Probe:
    """Time a backbone of pipeline/plans/backbones.py in float32."""
    started = time.monotonic()
    model = clone_without_normalisation(construct(backbone, SIDE))  # the layers that train and predict
    build = time.monotonic() - started
    images = np.random.default_rng(0).random((BATCH, SIDE, SIDE, 3), np.float32)
    per_image = _fastest(lambda: model.predict_on_batch(images)) / BATCH
    activations = sum(math.prod(tensor.shape[1:]) for layer in model.layers for tensor in tree.flatten(layer.output))
    return Probe(per_image / SIDE**2, activations / SIDE**2, build, len(model.layers), _levels(model))


def _levels(backbone: keras.Model) -> tuple[Level, ...]:
    ends = [layer.output for layer in last_layer_per_resolution(backbone)]
    params = [keras.Model(backbone.input, end).count_params() for end in ends]
    return tuple(Level(end.shape[1] / SIDE, n, end.shape[-1]) for end, n in zip(ends, params, strict=True))


def _fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest of a few calls, which other programs held up least; the first is not counted."""
    work()
    took = []
    for _ in range(CALLS):
        started = time.monotonic()
        work()
        took.append(time.monotonic() - started)
    return min(took)
