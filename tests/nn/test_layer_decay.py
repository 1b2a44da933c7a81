"""Layer-wise decay: which layer belongs where, and that each variable is trained as by an AdamW of its own."""

import keras
import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.nn import backbone, folding, layer_decay
from pipeline.plans.backbones import BACKBONES

BLOCKS = {
    "vgg16": 5,
    "resnet50": 16,
    "efficientnetb0": 16,
    "efficientnetv2b0": 21,
    "efficientnetlite0": 16,
    "mobilenetv2": 17,
    "mobilenetv3small": 11,
    "convnexttiny": 18,
}
OTHERS = sorted(set(BACKBONES) - set(BLOCKS))


def weighted(made: keras.Model) -> list[str]:
    return [layer.name for layer in made.layers if layer.trainable_variables]


@pytest.mark.parametrize("name", [*BLOCKS, *(pytest.param(other, marks=pytest.mark.slow) for other in OTHERS)])
def test_every_backbone_is_divided_from_the_image_to_the_head(name):
    made = backbone.construct(name, 32)
    below = layer_decay.steps_below_head(made)
    blocks = {found[1] for layer in made.layers if (found := layer_decay.BLOCK.match(layer.name))}
    assert len(blocks) == BLOCKS.get(name, len(blocks)) >= 5
    groups = min(len(blocks), 12)
    assert {below[layer] for layer in weighted(made)} >= set(range(1, groups + 1))
    assert below[weighted(made)[0]] == (groups if name.startswith("vgg") else groups + 1)
    assert below[weighted(made)[-1]] == (1 if name.startswith(("vgg", "resnet")) else 0)
    order = [below[layer.name] for layer in made.layers if layer_decay.BLOCK.match(layer.name)]
    assert order == sorted(order, reverse=True)
    assert layer_decay.steps_below_head(folding.folded(made)) == {
        layer.name: below.get(layer.name, groups + 1) for layer in folding.folded(made).layers
    }


def test_convnext_is_divided_as_its_authors_divide_it():
    """Stem 0, the stages of three blocks 1, 2 and 12, the stage of 27 three by three 3 to 11, the rest 13."""
    made = backbone.construct("convnextsmall", 32)
    expected = {"convnext_small_stem": 0, "layer_normalization": 13}
    expected |= {f"convnext_small_downsampling_block_{i}": group for i, group in enumerate((2, 3, 12))}
    for stage, depth in enumerate((3, 3, 27, 3)):
        for block in range(depth):
            group = {0: 1, 1: 2, 2: 3 + block // 3, 3: 12}[stage]
            for part in ("depthwise_conv", "layernorm", "pointwise_conv_1", "pointwise_conv_2", "layer_scale"):
                expected[f"convnext_small_stage_{stage}_block_{block}_{part}"] = group
    below = layer_decay.steps_below_head(made)
    found = {name: 13 - below[name] for name in weighted(made)}
    found["layer_normalization"] = found.pop(weighted(made)[-1])  # numbered, without a name of its own
    assert found == expected


def test_the_factors_are_of_the_variables_in_their_order():
    made = backbone.construct("convnexttiny", 32)
    head = keras.layers.Dense(2, name="head")
    model = keras.Model(made.input, head(keras.layers.GlobalAveragePooling2D()(made.output)))
    found = layer_decay.factors(made, model.trainable_variables, 0.5)
    by_path = {variable.path: factor for variable, factor in zip(model.trainable_variables, found, strict=True)}
    assert by_path["head/kernel"] == by_path["head/bias"] == 1
    stem = [factor for path, factor in by_path.items() if "stem" in path]
    assert stem == [0.5**13] * 4
    assert by_path["convnext_tiny_stage_0_block_0_depthwise_conv/kernel"] == 0.5**12
    assert by_path["convnext_tiny_stage_3_block_2_pointwise_conv_2/kernel"] == 0.5


def test_a_network_without_blocks_is_refused():
    inputs = keras.Input((8, 8, 3))
    plain = keras.Model(inputs, keras.layers.Conv2D(2, 3, name="conv2d_1")(inputs), name="plain")
    with pytest.raises(UserError, match=r"layer_decay: the layers of plain are not named after blocks .*leave it at 1"):
        layer_decay.factors(plain, plain.trainable_variables, 0.8)


def values(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def schedule() -> keras.optimizers.schedules.LearningRateSchedule:
    return keras.optimizers.schedules.CosineDecay(1e-3, 8, warmup_target=1e-2, warmup_steps=3)


class Scaled(keras.optimizers.schedules.LearningRateSchedule):
    """The schedule times a factor."""

    def __init__(self, factor: float):
        self.factor = factor

    def __call__(self, step):
        return schedule()(step) * self.factor


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_each_variable_is_trained_as_by_an_adamw_of_its_own(weight_decay):
    """Steps, decay of the weights, moving averages, over a schedule."""
    factors, ema = (1.0, 0.5, 0.01), {"use_ema": True, "ema_momentum": 0.8}
    first = values((3, 2), (4,), (2, 2))
    together = [keras.Variable(value) for value in first]
    alone = [keras.Variable(value) for value in first]
    ours = layer_decay.LayerwiseAdamW(schedule(), weight_decay, factors, **ema)
    theirs = [keras.optimizers.AdamW(Scaled(factor), weight_decay=weight_decay, **ema) for factor in factors]
    ours.build(together)
    for optimizer, variable in zip(theirs, alone, strict=True):
        optimizer.build([variable])
    rng = np.random.default_rng(2)
    for _ in range(6):
        gradients = [rng.normal(size=value.shape).astype(np.float32) for value in first]
        ours.apply([keras.ops.convert_to_tensor(gradient) for gradient in gradients])
        for optimizer, gradient in zip(theirs, gradients, strict=True):
            optimizer.apply([keras.ops.convert_to_tensor(gradient)])
    for mine, other, start, optimizer, average in zip(
        together, alone, first, theirs, ours._model_variables_moving_average, strict=True
    ):
        np.testing.assert_allclose(mine, other, rtol=1e-6)
        np.testing.assert_allclose(average, optimizer._model_variables_moving_average[0], rtol=1e-6)
        assert not np.array_equal(mine, start)


def test_one_step_is_as_long_as_the_factor_says():
    """Adam's first step is the learning rate, whatever the gradient: a factor of the gradient would change nothing."""
    variables = [keras.Variable(np.zeros(2, np.float32)) for _ in range(2)]
    optimizer = layer_decay.LayerwiseAdamW(0.1, 0.0, (1.0, 0.25))
    optimizer.build(variables)
    optimizer.apply([keras.ops.convert_to_tensor(np.array([500.0, -1.0], np.float32))] * 2)
    np.testing.assert_allclose(variables[0], [-0.1, 0.1], rtol=1e-4)
    np.testing.assert_allclose(variables[1], [-0.025, 0.025], rtol=1e-4)
