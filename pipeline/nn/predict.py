"""Forward passes: test-time views folded into the batch and averaged, of answers or of features."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from pipeline.errors import TrainingFailed
from pipeline.nn.data import viewed_batches

BLOCK = 1024  # features at once
MAX_FEATURE = 1e6  # largest plausible feature: networks that fit their input stay below 1,000


class OverViews(NamedTuple):
    """A model's outputs for n images, over all views of each."""

    mean: np.ndarray  # float32 (n, outputs)
    square: np.ndarray  # float64 (n, outputs), the mean of their squares
    first: np.ndarray  # float32 (n, outputs), those of the first view, which is the image as it is


def predict_views(
    model: keras.Model,
    images: np.ndarray,
    seen: np.ndarray,
    batch_size: int,
    progress: Callable[[int], object] = lambda n: None,
) -> np.ndarray:
    """Mean over views (v, 2, 3) of the model's outputs for images uint8 (n, s, s, 3): float32 (n, outputs).

    `progress` gets the number of images of each step.
    """
    result = np.empty((len(images), model.output_shape[-1]), np.float32)
    for rows, values in _outputs(model, images, seen, batch_size):
        result[rows] = values.mean(axis=1)
        progress(len(values))
    return result


def predict_over_views(
    model: keras.Model, images: np.ndarray, seen: np.ndarray, batch_size: int, progress: Callable[[int], object]
) -> OverViews:
    """What `predict_views` gives, and more of the same outputs."""
    shape = len(images), model.output_shape[-1]
    made = OverViews(np.empty(shape, np.float32), np.empty(shape), np.empty(shape, np.float32))
    for rows, values in _outputs(model, images, seen, batch_size):
        made.mean[rows] = values.mean(axis=1)
        made.square[rows] = np.square(values, dtype=np.float64).mean(axis=1)
        made.first[rows] = values[:, 0]
        progress(len(values))
    return made


def _outputs(
    model: keras.Model, images: np.ndarray, seen: np.ndarray, batch_size: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """(rows of the images, float32 (k, v, outputs) of them) of one batch after the other."""
    done = 0
    for batch in viewed_batches(images, seen, batch_size):
        values = np.asarray(model.predict_on_batch(batch), np.float32).reshape(-1, len(seen), model.output_shape[-1])
        rows = slice(done, min(done + len(values), len(images)))
        yield rows, values[: rows.stop - done]
        done = rows.stop


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
