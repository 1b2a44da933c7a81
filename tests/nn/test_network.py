"""The network around a backbone: scaling, pooling, freezing, first statistics."""

import keras
import numpy as np
import pytest

from pipeline.core import views
from pipeline.errors import UserError
from pipeline.nn import network
from pipeline.nn.predict import predict_views
from pipeline.plans.run import Run
from tests.builders.galaxy_zoo_2 import GZ2

PIXELS = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype(np.float32)
REFERENCES = {
    "caffe": keras.applications.vgg16.preprocess_input,
    "tf": keras.applications.mobilenet_v2.preprocess_input,
    "torch": keras.applications.densenet.preprocess_input,
    "builtin": lambda pixels: pixels,
}


@pytest.mark.parametrize("mode", REFERENCES)
def test_scaling_is_what_keras_does_before_that_family(mode):
    np.testing.assert_allclose(network.Scale(mode)(PIXELS), REFERENCES[mode](PIXELS.copy()), atol=1e-4)
    assert network.Scale.from_config(network.Scale(mode).get_config()).mode == mode


def backbone() -> keras.Model:
    """Four levels: 16, 8, 4, 4 pixels a side."""
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(2, 3, 2, "same", name="conv1")(inputs)
    x = keras.layers.BatchNormalization(name="norm1")(x)
    x = keras.layers.Conv2D(5, 3, 2, "same", name="conv2")(x)
    x = keras.layers.Conv2D(7, 3, 2, "same", name="conv3")(x)
    x = keras.layers.BatchNormalization(name="norm3")(x)
    return keras.Model(inputs, keras.layers.ReLU(name="end")(x))


def run_of(**fine_tune) -> Run:
    return Run(name="x", backbone="vgg16", crop="c", fine_tune={"epochs": 1, **fine_tune})


@pytest.mark.parametrize(
    ("fine_tune", "trained"),
    [
        ({}, ["conv1", "conv2", "conv3"]),
        ({"from_layer": "conv2"}, ["conv2", "conv3"]),
        ({"from_layer": "conv2", "batch_norm": "train"}, ["conv2", "conv3", "norm3"]),
        ({"batch_norm": "train"}, ["conv1", "norm1", "conv2", "conv3", "norm3"]),
        ({"from_layer": "end"}, []),
    ],
)
def test_layers_are_trained_from_the_chosen_one_on_and_statistics_only_where_asked(fine_tune, trained):
    made = backbone()
    network._freeze(made, run_of(**fine_tune))
    assert {layer.name for layer in made.layers if layer.trainable_variables} == set(trained)


def test_a_layer_that_is_none_is_answered_with_some_that_are():
    with pytest.raises(UserError, match=r"fine_tune\.from_layer: vgg16 has no layer 'conv9'; 'first' .*conv1, norm1"):
        network._freeze(backbone(), run_of(from_layer="conv9"))


@pytest.mark.parametrize(("pooling", "width"), [("avg", 7), ("max", 7), ("multi", 3 * (2 + 5 + 7))])
def test_pooling_yields_so_many_features(pooling, width):
    inputs = keras.Input((32, 32, 3))
    made = backbone()
    pooled = network.pool(made, inputs, pooling)
    assert pooled.shape == (None, width)
    assert pooled.dtype == "float32"
    images = np.random.default_rng(0).random((2, 32, 32, 3)).astype(np.float32)
    last = np.asarray(made(images))
    seen = np.asarray(keras.Model(inputs, pooled)(images))
    middle = [last.mean((1, 2)), np.sqrt(last.var((1, 2)) + network.MIN_VARIANCE), last[:, 1:3, 1:3].mean((1, 2))]
    expected = {"avg": middle[0], "max": last.max((1, 2))}.get(pooling, np.concatenate(middle, axis=1))
    columns = slice(3 * (2 + 5), None) if pooling == "multi" else slice(None)  # levels from the widest on
    np.testing.assert_allclose(seen[:, columns], expected, atol=1e-5)


@pytest.mark.parametrize(("batch_norm", "count"), [("inference", 0), ("train", 52)])
def test_normalisations_are_folded_unless_they_are_trained(batch_norm, count):
    run = run_of(batch_norm=batch_norm).model_copy(update={"backbone": "mobilenetv2"})
    built = network.build(run, GZ2, stored=32, size=32, seed=1, trained_as="float32")
    norms = [layer for layer in built.backbone.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) == count
    assert all(layer.trainable for layer in norms)


def test_the_halves_share_the_weights_of_the_whole(tiny):
    whole = {id(weight) for weight in tiny.network.model.weights}
    halves = [*tiny.network.features.weights, *tiny.network.head.weights]
    assert {id(weight) for weight in halves} == whole
    assert {id(weight) for weight in tiny.network.backbone.weights} <= whole


def test_calibrated_features_are_neither_dead_nor_exploded(tiny):
    features = predict_views(tiny.network.features, tiny.images, views.view_set("single"), 16)
    assert np.isfinite(features).all()
    assert 0.01 < features.std(axis=0).mean() < 10


def test_the_same_seed_gives_the_same_random_network():
    run = run_of().model_copy(update={"precision": "float32"})
    first, again, other = (
        network.build(run, GZ2, stored=32, size=32, seed=seed, trained_as="float32").backbone.get_weights()[0]
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_first_weights_are_random_where_the_run_says_so_though_imagenets_are_there():
    run = run_of().model_copy(update={"backbone": "efficientnetlite0", "precision": "float32"})
    built = {
        first: network.build(run.model_copy(update={"first_weights": first}), GZ2, stored=32, size=32, seed=1)
        for first in ("imagenet", "random")
    }
    assert {first: one.facts["weights"]["source"] for first, one in built.items()} == {
        "imagenet": "imagenet",
        "random": "random",
    }
    assert built["random"].facts["weights"]["as_planned"], "no alarm for a run that starts from this one"
    first, other = (one.backbone.get_weights()[0] for one in built.values())
    assert np.abs(first).max() > 2 * np.abs(other).max()  # ImageNet's stem is far from its start
