"""Forward passes: test-time views folded into the batch, averaged; or features, once per view."""

from collections.abc import Callable

import keras
import numpy as np

from pipeline.nn.data import viewed_batches


def predict_views(
    model: keras.Model,
    images: np.ndarray,
    seen: np.ndarray,
    batch_size: int,
    progress: Callable[[int], object] = lambda n: None,
) -> np.ndarray:
    """Mean over views (v, 2, 3) of the model's outputs for images uint8 (n, s, s, 3): float32 (n, outputs).

    `progress` is told how many images each step finished.
    """
    return _forward(model, images, seen, batch_size, progress).mean(axis=1, dtype=np.float32)


def predict_features(model: keras.Model, images: np.ndarray, seen: np.ndarray, batch_size: int) -> np.ndarray:
    """Outputs for every view (v, 2, 3) of images uint8 (n, s, s, 3): float32 (v, n, outputs)."""
    return np.swapaxes(_forward(model, images, seen, batch_size, lambda n: None), 0, 1)


def _forward(
    model: keras.Model, images: np.ndarray, seen: np.ndarray, batch_size: int, progress: Callable[[int], object]
) -> np.ndarray:
    """Outputs (n, v, outputs)."""
    result = np.empty((len(images), len(seen), model.output_shape[-1]), np.float32)
    done = 0
    for batch in viewed_batches(images, seen, batch_size):
        values = np.asarray(model.predict_on_batch(batch), np.float32).reshape(-1, len(seen), result.shape[-1])
        take = min(len(values), len(images) - done)
        result[done : done + take] = values[:take]
        done += take
        progress(take)
    return result
