"""The affine warp layer, for training augmentation and test-time views alike: (2, 3) matrices of `core.views`."""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops


def warp(images: keras.KerasTensor, matrices: keras.KerasTensor, size: int) -> keras.KerasTensor:
    """Warp images (n, s, s, c) by views (n, 2, 3): float32 (n, size, size, c), bilinear, edges repeated.

    A view maps output to input coordinates in units of half the output's side, so a crop stored larger than the
    network's input keeps its pixel scale and lends its margin to rotations and shifts. The oracle is
    `core.views.apply`.
    """
    stored = images.shape[1]
    axis = (2 * np.arange(size, dtype=np.float32) + 1) / size - 1
    x, y = np.meshgrid(axis, axis)
    grid = np.stack([x.ravel(), y.ravel(), np.ones(size * size, np.float32)])  # (3, pixels)
    where = ops.matmul(ops.cast(matrices, "float32"), grid) * (size / 2) + (stored - 1) / 2  # (n, 2, pixels)
    where = ops.clip(where, 0, stored - 1)
    low = ops.minimum(ops.floor(where), stored - 2)
    right, down = ops.split((where - low)[..., None], 2, axis=1)  # weights of the far neighbours
    right, down = right[:, 0], down[:, 0]  # (n, pixels, 1)
    low = ops.cast(low, "int32")
    count = ops.shape(images)[0]
    first = ops.arange(count, dtype="int32")[:, None] * (stored * stored) + low[:, 1] * stored + low[:, 0]
    flat = ops.reshape(images, (-1, images.shape[-1]))

    def pixel(offset: int) -> keras.KerasTensor:
        return ops.cast(ops.take(flat, first + offset, axis=0), "float32")

    top = pixel(0) * (1 - right) + pixel(1) * right
    bottom = pixel(stored) * (1 - right) + pixel(stored + 1) * right
    return ops.reshape(top * (1 - down) + bottom * down, (-1, size, size, images.shape[-1]))


def compiled_by_xla(function: Callable) -> Callable:
    """The function compiled by XLA on its own: on a CPU that is faster for the warp, but not for the network."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True, reduce_retracing=True)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function


@keras.saving.register_keras_serializable("galaxy")
class Warp(keras.layers.Layer):
    """Layer form of `warp`: inputs (images uint8, views), output float32 (n, size, size, c) in 0-255."""

    def __init__(self, size: int, dtype: str = "float32", **kwargs):
        super().__init__(dtype=dtype, **kwargs)
        self.size = size
        self._warp = compiled_by_xla(lambda images, matrices: warp(images, matrices, size))

    def call(self, images: keras.KerasTensor, matrices: keras.KerasTensor) -> keras.KerasTensor:
        """See `warp`."""
        return self._warp(images, matrices)

    def compute_output_shape(self, images_shape: tuple, matrices_shape: tuple) -> tuple:
        """(n, size, size, c)."""
        return (images_shape[0], self.size, self.size, images_shape[-1])

    def get_config(self) -> dict:
        """Arguments that make this layer again."""
        return {**super().get_config(), "size": self.size}
