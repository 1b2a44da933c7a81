"""A backbone without normalisations answers as the backbone does."""

import keras
import numpy as np
import pytest

from pipeline.nn import folding


def shaken(constructor: str, size: int) -> keras.Model:
    """A backbone whose normalisations have statistics, factors and shifts as after training."""
    rng = np.random.default_rng(0)
    model = getattr(keras.applications, constructor)(include_top=False, weights=None, input_shape=(size, size, 3))
    for layer in norms(model):
        gamma, beta, mean, variance = (weight.shape for weight in layer.get_weights())
        layer.set_weights(
            [
                rng.uniform(0.5, 1.5, gamma),
                rng.normal(0, 0.1, beta),
                rng.normal(0, 0.1, mean),
                rng.uniform(0.5, 2, variance),
            ]
        )
    return model


def norms(model: keras.Model) -> list[keras.layers.Layer]:
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


@pytest.mark.parametrize("constructor", ["MobileNetV2", "ResNet50", "EfficientNetB0", "MobileNetV3Small"])
def test_folded_answers_are_the_backbones_own(constructor):
    backbone = shaken(constructor, 64)
    folded = folding.clone_without_normalisation(backbone)
    folding.set_folded_weights(folded, backbone)
    x = np.random.default_rng(1).uniform(0, 1, (4, 64, 64, 3)).astype(np.float32)
    expected = backbone.predict_on_batch(x)
    np.testing.assert_allclose(folded.predict_on_batch(x), expected, atol=1e-5 * np.abs(expected).max())
    assert norms(backbone)
    assert not norms(folded)
    assert [layer.name for layer in folded.layers[1:]] == [layer.name for layer in backbone.layers[1:]]


def test_new_weights_are_taken_over():
    backbone = shaken("MobileNetV2", 32)
    folded = folding.clone_without_normalisation(backbone)
    backbone.set_weights([0.9 * weight for weight in backbone.get_weights()])
    folding.set_folded_weights(folded, backbone)
    x = np.ones((1, 32, 32, 3), np.float32)
    np.testing.assert_allclose(folded.predict_on_batch(x), backbone.predict_on_batch(x), rtol=1e-3, atol=1e-5)


def grouped(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers if getattr(layer, "groups", 1) > 1]


def assert_answers_as(made: keras.Model, backbone: keras.Model, size: int) -> None:
    x = np.random.default_rng(1).uniform(0, 255, (4, size, size, 3)).astype(np.float32)
    expected = backbone.predict_on_batch(x)
    np.testing.assert_allclose(made.predict_on_batch(x), expected, atol=1e-5 * np.abs(expected).max())


def test_convolutions_of_a_group_per_channel_become_depthwise_and_answer_the_same():
    backbone = keras.applications.ConvNeXtTiny(include_top=False, weights=None, input_shape=(32, 32, 3))
    scales = [layer for layer in backbone.layers if layer.name.endswith("layer_scale")]
    for layer in scales:  # which begins at 1e-6: no block would count
        layer.set_weights([np.full_like(layer.get_weights()[0], 0.3)])
    made = folding.folded(backbone)
    assert len(grouped(backbone)) == 18
    assert not grouped(made)
    assert len(scales) == 18
    assert [layer.name for layer in made.layers[1:]] == [layer.name for layer in backbone.layers[1:]]
    assert_answers_as(made, backbone, 32)


def test_a_normalisation_after_such_a_convolution_is_folded_and_other_groups_stay():
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 1, name="first")(image)
    x = keras.layers.Conv2D(8, 3, groups=8, padding="same", use_bias=False, name="each")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Conv2D(8, 3, groups=2, name="pairs")(x)
    x = keras.layers.Conv2D(4, 3, groups=4, name="two_each")(x)
    backbone, rng = keras.Model(image, x), np.random.default_rng(0)
    backbone.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in backbone.get_weights()])
    made = folding.folded(backbone)
    assert not norms(made)
    assert grouped(made) == ["pairs", "two_each"]
    assert isinstance(made.get_layer("each"), keras.layers.DepthwiseConv2D)
    assert_answers_as(made, backbone, 16)


def test_a_backbone_without_normalisations_is_itself():
    backbone = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    assert folding.clone_without_normalisation(backbone) is backbone


def test_a_normalisation_that_no_convolution_feeds_alone_stays():
    image = keras.Input((8, 8, 3))
    both = keras.layers.Conv2D(4, 3, name="both")(image)
    active = keras.layers.Conv2D(4, 3, activation="relu", name="active")(image)
    outputs = [keras.layers.BatchNormalization(name=f"after-{x.name}-{i}")(x) for i, x in enumerate((both, active))]
    backbone = keras.Model(image, [both, *outputs])
    assert folding.clone_without_normalisation(backbone) is backbone
