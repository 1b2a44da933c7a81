"""The warp layer against core.views.apply, its oracle."""

import keras
import numpy as np
import pytest

from pipeline.core import views
from pipeline.nn.augment import Warp

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 20, 20, 3), np.uint8)
RANDOM = views.random(np.random.default_rng(1), 8, rotation=180, zoom=1.5, shift=0.3, flip=True)
SEEN = {
    "random": RANDOM,
    "dihedral": views.view_set("dihedral8"),
    "single": np.repeat(views.view_set("single"), 8, axis=0),
}


@pytest.mark.parametrize("size", [20, 12, 11])
@pytest.mark.parametrize("seen", SEEN.values(), ids=SEEN)
def test_the_layer_sees_what_core_sees(size, seen):
    made = np.array(Warp(size)(IMAGES, seen))
    assert made.shape == (8, size, size, 3)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, views.apply(IMAGES, seen, size), atol=0.01)


def test_one_layer_takes_batches_of_any_length():
    layer = Warp(12)
    for n in (1, 8, 3):
        np.testing.assert_allclose(layer(IMAGES[:n], RANDOM[:n]), views.apply(IMAGES[:n], RANDOM[:n], 12), atol=0.01)


def test_the_layer_is_made_again_from_its_config():
    again = Warp.from_config(Warp(12, name="w").get_config())
    assert (again.size, again.name, again.compute_dtype) == (12, "w", "float32")
    shapes = ((None, 20, 20, 3), (None, 2, 3))
    assert again.compute_output_shape(*shapes) == (None, 12, 12, 3)


def test_pixels_stay_float32_under_mixed_precision():
    inputs = keras.Input((20, 20, 3), dtype="uint8"), keras.Input((2, 3))
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert Warp(12)(*inputs).dtype == "float32"
    finally:
        keras.config.set_dtype_policy("float32")
