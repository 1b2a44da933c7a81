"""Speed of a backbone from a small image: seconds for a pixel, in seconds, where timing real steps would take minutes.

Convolutions cost what their input has of pixels, so that a few calls at 64 pixels tell what a larger image costs. The
calls are not compiled; what that costs a call is taken off by comparing two sizes of batches.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pipeline.nn.backbone import construct

SIDE, BATCH, CALLS = 64, 8, 2  # pixels; images; calls after the first


class Probe(NamedTuple):
    """What a backbone costs."""

    per_pixel: float  # seconds of a forward pass for a pixel of an image
    build: float  # seconds to make it, of random weights
    layers: int
    params: int
    features: int  # channels of its last layer


def measure(backbone: str) -> Probe:
    """Time a backbone of pipeline/plans/backbones.py in float32."""
    started = time.monotonic()
    model = construct(backbone, SIDE)
    build = time.monotonic() - started
    images = np.random.default_rng(0).random((BATCH, SIDE, SIDE, 3), np.float32)
    one, many = (_fastest(lambda n=n: model(images[:n], training=False)) for n in (1, BATCH))
    marginal = (many - one) / (BATCH - 1)
    per_image = marginal if marginal > 0 else many / BATCH
    return Probe(per_image / SIDE**2, build, len(model.layers), model.count_params(), model.output_shape[-1])


def _fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest of a few calls, which other programs held up least; the first is not counted."""
    work()
    took = []
    for _ in range(CALLS):
        started = time.monotonic()
        work()
        took.append(time.monotonic() - started)
    return min(took)
