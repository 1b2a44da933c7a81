"""Forward passes: test-time views folded into the batch and averaged, of answers or of features."""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from pipeline.errors import TrainingFailed
from pipeline.nn.data import viewed_batches

BLOCK = 1024  # features at once
MAX_FEATURE = 1e6  # largest plausible feature: networks that fit their input stay below 1,000


def predict_views(
    model: keras.Model,
    images: np.ndarray,
    seen: np.ndarray,
    batch_size: int,
    progress: Callable[[int], object] = lambda n: None,
    *,
    squares: bool = False,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Mean over views (v, 2, 3) of the model's outputs for images uint8 (n, s, s, 3): float32 (n, outputs).

    With `squares` also the mean of their squares, float64. `progress` gets the number of images of each step.
    """
    result = np.empty((len(images), model.output_shape[-1]), np.float32)
    square = np.empty(result.shape) if squares else None
    done = 0
    for batch in viewed_batches(images, seen, batch_size):
        values = np.asarray(model.predict_on_batch(batch), np.float32).reshape(-1, len(seen), result.shape[-1])
        take = min(len(values), len(images) - done)
        result[done : done + take] = values[:take].mean(axis=1)
        if squares:
            square[done : done + take] = np.square(values[:take], dtype=np.float64).mean(axis=1)
        done += take
        progress(take)
    return (result, square) if squares else result


def predict_eagerly(model: keras.Model, images: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """The same of a few images at once, without the time and memory that tracing the model takes."""
    (batch,) = viewed_batches(images, seen, len(images) * len(seen))
    values = ops.convert_to_numpy(ops.cast(model(batch, training=False), "float32"))
    return values.reshape(len(images), len(seen), -1).mean(axis=1)


def predict_head(head: keras.Model, features: np.ndarray) -> np.ndarray:
    """Vote fractions float32 (n, c) from pooled features (n, d)."""
    made = np.empty((len(features), head.output_shape[-1]), np.float32)
    for i in range(0, len(features), BLOCK):
        made[i : i + BLOCK] = head.predict_on_batch(features[i : i + BLOCK])
    return made


def require_plausible(made: np.ndarray, run: str) -> np.ndarray:
    """The features or answers (n, d) of a run's network as they are; TrainingFailed where they cannot be used."""
    size = np.abs(made).max(axis=1, initial=0) if len(made) else np.zeros(0)
    unsound = ~(size <= MAX_FEATURE)  # NaN among them
    if unsound.any():
        largest = f"up to {size[np.isfinite(size)].max(initial=0):.2g}" if np.isfinite(size).all() else "not finite"
        raise TrainingFailed(
            f"run {run}: what its network makes of {unsound.sum():,} of {len(made):,} galaxies is {largest}: weights "
            f"or normalisation statistics do not fit the input (such as those of a network that takes 0-1 for one that "
            f'takes 0-255), or half precision overflows; give its own weights by --weights, or precision = "float32"'
        )
    return made
