"""Looking inside: gradients against finite differences, Grad-CAM that finds what an answer looks at."""

import keras
import numpy as np
import pytest
from keras import ops

from pipeline.nn import activations, network
from pipeline.plans.run import FineTune, Run
from tests.builders.galaxy_zoo_2 import GZ2

RNG = np.random.default_rng(0)
STEP = 1e-3  # of an answer: well above the rounding of fifty layers in float32, whatever the order of its sums
IMAGES = RNG.integers(0, 256, (3, 40, 40, 3), np.uint8)


def build(backbone: str = "mobilenetv2", size: int = 40, **keys) -> tuple[network.Network, Run]:
    keys = {"on_missing_weights": "random", "precision": "float32"} | keys  # half of it has no finite differences
    run = Run(name="a", backbone=backbone, crop="c", fine_tune=FineTune(epochs=1), **keys)
    return network.build(run, GZ2, stored=40, size=size, seed=1, sample=IMAGES), run


def pixels_of(built: network.Network) -> np.ndarray:
    return ops.convert_to_numpy(built.features.get_layer("scale")(activations.network_input(built, IMAGES)))


@pytest.mark.parametrize(
    ("backbone", "keys"),
    [
        ("mobilenetv2", {}),
        ("mobilenetv2", {"pooling": "multi", "head": "tree"}),
        ("vgg16", {"hidden": 8, "pooling": "max"}),
        pytest.param("resnet50", {}, marks=pytest.mark.slow),
        pytest.param("efficientnetb0", {"pooling": "multi"}, marks=pytest.mark.slow),
        pytest.param("convnexttiny", {"head": "tree"}, marks=pytest.mark.slow),
    ],
)
def test_gradients_are_those_of_finite_differences(backbone, keys):
    built, run = build(backbone, **keys)
    layer, columns = activations.grad_cam_layer(built.backbone), np.array([0, 14, 25])
    pixels = pixels_of(built)
    model, probe = activations.with_probe(built, run, layer, len(IMAGES))
    before = ops.convert_to_numpy(model(pixels))
    found = activations.gradients(model, probe, pixels, columns)
    up = np.maximum(found, 0)  # where maps tie at 0, a maximum follows one of them up but not down
    change = STEP * up / np.square(up).sum(axis=(1, 2, 3), keepdims=True)  # moves each answer by that
    probe.added.assign(change)
    moved = (ops.convert_to_numpy(model(pixels)) - before)[np.arange(len(IMAGES)), columns]
    assert np.median(moved) == pytest.approx(STEP, rel=0.12)  # what is curved bends by 8 %
    np.testing.assert_allclose(before, ops.convert_to_numpy(built.model(_inputs())), atol=1e-5)


def _inputs() -> dict[str, np.ndarray]:
    return activations._one_view(IMAGES)


def test_three_levels_from_fine_to_coarse():
    built, _ = build()
    names = activations.representative_layers(built.backbone)
    maps = activations.activations(built, IMAGES, names)
    sides = [level.shape[1] for level in maps]
    assert sides == sorted(sides, reverse=True)
    assert all(len(level) == len(IMAGES) for level in maps)
    direct = keras.Model(built.backbone.input, built.backbone.get_layer(names[1]).output)(pixels_of(built))
    np.testing.assert_allclose(maps[1], direct, rtol=1e-4, atol=1e-4)


def test_seen_is_the_centre_of_the_image():
    built, _ = build(size=32)
    np.testing.assert_allclose(activations.network_input(built, IMAGES), IMAGES[:, 4:-4, 4:-4], atol=1e-3)


def test_grad_cam_lies_between_0_and_1_and_differs_between_answers():
    built, run = build()
    cams = activations.GradCam(built, run, 3)(IMAGES, np.array([[0, 1, 2]] * 3))
    assert cams.shape[:2] == (3, 3)
    assert cams.min() >= 0
    assert cams.max() == pytest.approx(1)
    assert not np.allclose(cams[:, 0], cams[:, 1])
