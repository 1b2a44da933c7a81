"""Files in place of Keras's ImageNet weights: their layout, with statistics and factors as training leaves them."""

from pathlib import Path

import h5py
import keras
import numpy as np

from pipeline.nn import backbone, network
from pipeline.plans.backbones import BACKBONES
from pipeline.plans.run import Run

FACTORS = {
    "gamma": lambda rng, old: rng.uniform(0.6, 1.4, old.shape),  # also ConvNeXt's LayerScale, nearly 0 at first
    "beta": lambda rng, old: rng.normal(0, 0.1, old.shape),
    "bias": lambda rng, old: rng.normal(0, 0.1, old.shape),
    "mean": lambda rng, old: np.array([0.485, 0.456, 0.406]),
    "variance": lambda rng, old: np.array([0.229, 0.224, 0.225]) ** 2,
    "count": lambda rng, old: old + 7,
}
STATISTICS = {
    "moving_mean": lambda rng, old: old + rng.normal(0, 0.05, old.shape) * old.std(),
    "moving_variance": lambda rng, old: (old + old.mean() / 4) * rng.uniform(0.7, 1.1, old.shape),
}


def images(n: int, size: int) -> np.ndarray:
    """Spots and stripes: uint8 (n, size, size, 3)."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:size, :size] / size - 0.5
    angle, width = rng.uniform(0, np.pi, (n, 1, 1)), rng.uniform(0.05, 0.4, (n, 1, 1))
    along = x * np.cos(angle) + y * np.sin(angle)
    light = np.exp(-(x**2 + y**2) / width**2) * (1.2 + np.sin(8 * along / width))
    return np.clip(100 * light[..., None] * rng.uniform(0.5, 1.2, (n, 1, 1, 3)), 0, 255).astype(np.uint8)


def weights(name: str, size: int) -> list[np.ndarray]:
    """Weights of a backbone without its top, as its training could have left them."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(11)
    keras.config.set_dtype_policy("float32")
    made, run = backbone.construct(name, size), Run(name="x", backbone=name, crop="c", fine_tune={"epochs": 1})
    _draw(made, FACTORS)
    network.calibrate(made, network._features(made, run, size, size), images(64, size))
    _draw(made, STATISTICS)
    return made.get_weights()


def _draw(model: keras.Model, drawn: dict) -> None:
    rng = np.random.default_rng(5)
    for variable in model.weights:
        if draw := drawn.get(variable.name):
            variable.assign(draw(rng, np.asarray(variable)))


def keras_file(name: str, size: int, path: Path) -> Path:
    """They in Keras's layout of such files, under `path`."""
    from keras.src.legacy.saving import legacy_h5_format

    values = weights(name, size)
    plain = backbone.construct(name, size) if BACKBONES[name].package else backbone.keras_application(name, size, None)
    plain.set_weights(values)
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, plain)
    return path
