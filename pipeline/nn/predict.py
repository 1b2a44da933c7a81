"""Forward passes: test-time views folded into the batch and averaged, of answers or of features."""

from collections.abc import Callable

import keras
import numpy as np

from pipeline.nn.data import viewed_batches

BLOCK = 1024  # features at once


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
    result = np.empty((len(images), model.output_shape[-1]), np.float32)
    done = 0
    for batch in viewed_batches(images, seen, batch_size):
        values = np.asarray(model.predict_on_batch(batch), np.float32).reshape(-1, len(seen), result.shape[-1])
        values = values.mean(axis=1)
        take = min(len(values), len(images) - done)
        result[done : done + take] = values[:take]
        done += take
        progress(take)
    return result


def predict_head(head: keras.Model, features: np.ndarray) -> np.ndarray:
    """Vote fractions float32 (n, 37) from pooled features (n, d)."""
    blocks = [features[i : i + BLOCK] for i in range(0, len(features), BLOCK)]
    return np.concatenate([np.asarray(head.predict_on_batch(block), np.float32) for block in blocks])
