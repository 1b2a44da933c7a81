"""Stochastic depth: the rates, that it only acts while training, leaves out whole blocks of single images."""

import keras
import numpy as np
import pytest

from pipeline.nn import backbone, drop_path
from pipeline.plans.backbones import BACKBONES

PIXELS = np.random.default_rng(0).uniform(0, 255, (64, 32, 32, 3)).astype(np.float32)
SETTABLE = [name for name, row in BACKBONES.items() if row.drop_path is not None]
QUICK = ("efficientnetb0", "efficientnetlite0", "convnexttiny")


def rates(made: keras.Model) -> list[float]:
    return [layer.rate for layer in made.layers if isinstance(layer, keras.layers.Dropout)]


def with_large_layer_scale(made: keras.Model) -> None:
    """As it starts, layer scale hides the blocks."""
    for layer in made.layers:
        if layer.name.endswith("layer_scale"):
            layer.set_weights([np.ones_like(layer.get_weights()[0])])


@pytest.mark.parametrize("name", QUICK)
def test_in_use_it_answers_as_before_whatever_the_rate(name, tmp_path):
    made = backbone.construct(name, 32)
    with_large_layer_scale(made)
    for rate in (0.0, 0.4):
        changed = drop_path.with_rate(made, name, rate)
        np.testing.assert_array_equal(changed(PIXELS[:2]), made(PIXELS[:2]))
        assert [layer.name for layer in changed.layers][1:] == [layer.name for layer in made.layers][1:]
    made.save_weights(tmp_path / "x.weights.h5")
    changed.set_weights([0 * value for value in changed.get_weights()])
    changed.load_weights(tmp_path / "x.weights.h5")  # a run may start from one of another rate
    np.testing.assert_array_equal(changed(PIXELS[:2]), made(PIXELS[:2]))


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in SETTABLE])
def test_the_rates_grow_with_depth(name):
    made = backbone.construct(name, 32)
    found = rates(drop_path.with_rate(made, name, 0.1))
    assert found == sorted(found)
    assert found[-1] == pytest.approx(0.1)
    assert set(rates(drop_path.with_rate(made, name, 0.0))) == {0.0}
    if BACKBONES[name].drop_path:
        assert rates(drop_path.with_rate(made, name, rates(made)[-1])) == pytest.approx(rates(made))
    else:
        assert rates(made) == []
        assert found == np.linspace(0, 0.1, len(found)).tolist()
        assert len(found) == sum(layer.name.endswith("layer_scale") for layer in made.layers)


@pytest.mark.parametrize("name", ["vgg16", "resnet50", "mobilenetv2", "mobilenetv3small"])
def test_the_other_families_have_no_block_to_leave_out(name):
    assert BACKBONES[name].drop_path is None
    assert rates(backbone.construct(name, 32)) == []


def test_a_block_is_left_out_for_some_images_and_made_up_for_in_the_others():
    made = backbone.construct("convnexttiny", 32)
    with_large_layer_scale(made)
    changed = drop_path.with_rate(made, "convnexttiny", 0.5)
    layer = changed.get_layer("convnext_tiny_stage_3_block_2_identity")
    branch = np.random.default_rng(1).normal(size=(64, 1, 1, 5)).astype(np.float32)
    made = np.asarray(layer(branch, training=True))
    kept = made[:, 0, 0, 0] != 0
    assert 15 < kept.sum() < 49
    np.testing.assert_allclose(made[kept], 2 * branch[kept], rtol=1e-6)
    np.testing.assert_array_equal(made[~kept], 0)
    np.testing.assert_array_equal(layer(branch, training=False), branch)
