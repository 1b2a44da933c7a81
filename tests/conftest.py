"""One small network for all tests of pipeline.nn: building and tracing it is what takes time."""

from types import SimpleNamespace

import numpy as np
import pytest


@pytest.fixture(scope="session")
def tiny():
    """48 spots of light, their answers, and a MobileNetV2 of random weights that sees 32 of their 40 pixels."""
    from pipeline.config import Run
    from pipeline.core import tree
    from pipeline.nn import network

    run = Run(
        name="tiny",
        backbone="mobilenetv2",
        crop="wide",
        input_size=32,
        batch_size=16,
        dropout=0.3,
        precision="float32",
        head_phase={"epochs": 2, "learning_rate": 1e-3},
        fine_tune={"epochs": 2, "learning_rate": 2e-4, "from_layer": "block_16_project", "ema": 0.9},
    )
    rng = np.random.default_rng(0)
    bright, width = rng.uniform(40, 250, 48), rng.uniform(2, 9, 48)
    y, x = np.mgrid[:40, :40] - 19.5
    light = bright[:, None, None] * np.exp(-(x**2 + y**2) / (2 * width[:, None, None] ** 2))
    images = np.repeat(light[..., None], 3, axis=3).astype(np.uint8)
    answers = rng.uniform(0.48, 0.52, (48, 37))
    answers[:, 0] = 3 * (bright / 250) ** 2
    labels = tree.normalise(answers).astype(np.float32)
    built = network.build(run, stored=40, size=32, seed=1, sample=images, trained_as="float32")  # looks for no weights
    return SimpleNamespace(run=run, network=built, images=images, labels=labels)
