"""Networks filled from PyTorch's tensors against PyTorch's definitions, written out in numpy: neither is needed for it.

Maps are (channels, height, width) and tensors as PyTorch saves them, under the names of timm and of EfficientNet-Lite.
"""

import keras
import numpy as np
import pytest
from scipy.special import erf

from pipeline.checkpoints import convnext, lite
from pipeline.nn import converted, efficientnet_lite
from tests.nn.test_converted import NAMES, saved_as

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels, from 0 to 1
# EfficientNet-B0, and so Lite0: kernel, stride of the first block, expansion, channels, blocks
LITE0 = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4))
LITE0 = (*LITE0, (3, 1, 6, 320, 1))


def pixels(size: int) -> np.ndarray:
    return np.random.default_rng(4).uniform(0, 255, (1, size, size, 3)).astype(np.float32)


def convolved(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray | float = 0.0, stride: int = 1) -> np.ndarray:
    """torch.nn.Conv2d without padding; one filter a channel where the kernel is (channels, 1, height, width)."""
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], axis=(1, 2))[:, ::stride, ::stride]
    if kernel.shape[1] == 1 and len(x) > 1:
        made = np.einsum("chwij,cij->chw", windows, kernel[:, 0])
    else:
        made = np.tensordot(kernel, windows, ([1, 2, 3], [0, 3, 4]))
    return made + np.reshape(bias, (-1, 1, 1))


def padded(x: np.ndarray, kernel: int, stride: int) -> np.ndarray:
    """As TensorFlow's "same": the odd row and column go below and to the right."""
    missing = [max(0, (-(-side // stride) - 1) * stride + kernel - side) for side in x.shape[1:]]
    return np.pad(x, ((0, 0), *((n // 2, n - n // 2) for n in missing)))


def layer_norm(x: np.ndarray, tensors: dict[str, np.ndarray], name: str) -> np.ndarray:
    """torch.nn.LayerNorm over the channels."""
    centred = x - x.mean(0)
    scale, shift = (tensors[f"{name}.{part}"][:, None, None] for part in ("weight", "bias"))
    return centred / np.sqrt((centred**2).mean(0) + 1e-6) * scale + shift


def linear(x: np.ndarray, tensors: dict[str, np.ndarray], name: str) -> np.ndarray:
    """torch.nn.Linear of each pixel's channels."""
    return np.tensordot(tensors[f"{name}.weight"], x, 1) + tensors[f"{name}.bias"][:, None, None]


def convnext_tiny(x: np.ndarray, t: dict[str, np.ndarray]) -> np.ndarray:
    """Liu et al. 2022, figure 4 and table 9, under timm's names: normalised pixels -> the last maps."""
    x = layer_norm(convolved(x, t["stem.0.weight"], t["stem.0.bias"], 4), t, "stem.1")
    for stage, blocks in enumerate((3, 3, 9, 3)):
        if stage:
            down = f"stages.{stage}.downsample"
            x = convolved(layer_norm(x, t, f"{down}.0"), t[f"{down}.1.weight"], t[f"{down}.1.bias"], 2)
        for block in (f"stages.{stage}.blocks.{b}" for b in range(blocks)):
            around = np.pad(x, ((0, 0), (3, 3), (3, 3)))
            y = convolved(around, t[f"{block}.conv_dw.weight"], t[f"{block}.conv_dw.bias"])
            y = linear(layer_norm(y, t, f"{block}.norm"), t, f"{block}.mlp.fc1")
            y = linear(y * (1 + erf(y / np.sqrt(2))) / 2, t, f"{block}.mlp.fc2")
            x = x + y * t[f"{block}.gamma"][:, None, None]
    return layer_norm(x, t, "head.norm")


def test_convnext_answers_as_it_is_defined(tmp_path):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    tensors, image = saved_as(convnext.TIMM, "convnexttiny"), pixels(64)
    save_file(tensors, tmp_path / "x.safetensors")
    ours = keras.applications.ConvNeXtTiny(include_top=False, weights=None, input_shape=(64, 64, 3))
    converted.load(ours, "convnexttiny", tmp_path / "x.safetensors")
    normal = (image[0] / 255 - MEAN) / DEVIATION
    expected = convnext_tiny(normal.transpose(2, 0, 1), tensors).transpose(1, 2, 0)
    np.testing.assert_allclose(ours(image)[0], expected, atol=1e-4 * np.abs(expected).max())
    assert expected.std(axis=(0, 1)).max() > 0.01 * np.abs(expected).max()


def lite_tensors() -> dict[str, np.ndarray]:
    """Random tensors of an EfficientNet-Lite0 that keep a signal's size, with statistics far from those of a start."""
    rng, made = np.random.default_rng(6), {}

    def unit(convolution: str, norm: str, *shape: int) -> None:
        made[f"{convolution}.weight"] = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        ranges = {"weight": (0.5, 1.5), "bias": (0, 2), "running_mean": (-0.3, 0.3), "running_var": (0.5, 2)}
        made.update({f"{norm}.{part}": rng.uniform(*ends, shape[0]) for part, ends in ranges.items()})

    unit("_conv_stem", "_bn0", 32, 3, 3, 3)
    number, before = 0, 32
    for kernel, _, expansion, channels, blocks in LITE0:
        for _ in range(blocks):
            name, inner = f"_blocks.{number}", before * expansion
            if expansion > 1:
                unit(f"{name}._expand_conv", f"{name}._bn0", inner, before, 1, 1)
            unit(f"{name}._depthwise_conv", f"{name}._bn1", inner, 1, kernel, kernel)
            unit(f"{name}._project_conv", f"{name}._bn2", channels, inner, 1, 1)
            number, before = number + 1, channels
    unit("_conv_head", "_bn1", 1280, 320, 1, 1)
    return {name: values.astype(np.float32) for name, values in made.items()}


def lite0(x: np.ndarray, t: dict[str, np.ndarray]) -> np.ndarray:
    """Scaled pixels -> the last maps."""

    def unit(x: np.ndarray, convolution: str, norm: str, stride: int = 1) -> np.ndarray:
        kernel = t[f"{convolution}.weight"]
        x = convolved(padded(x, kernel.shape[-1], stride), kernel, stride=stride)
        parts = ("weight", "bias", "running_mean", "running_var")
        scale, shift, mean, variance = (t[f"{norm}.{part}"][:, None, None] for part in parts)
        return (x - mean) / np.sqrt(variance + 1e-3) * scale + shift

    x, number = np.clip(unit(x, "_conv_stem", "_bn0", 2), 0, 6), 0
    for _, stride, expansion, _, blocks in LITE0:
        for first in (True, *[False] * (blocks - 1)):
            name, y = f"_blocks.{number}", x
            if expansion > 1:
                y = np.clip(unit(y, f"{name}._expand_conv", f"{name}._bn0"), 0, 6)
            y = np.clip(unit(y, f"{name}._depthwise_conv", f"{name}._bn1", stride if first else 1), 0, 6)
            y = unit(y, f"{name}._project_conv", f"{name}._bn2")
            x, number = (y if first else x + y), number + 1
    return np.clip(unit(x, "_conv_head", "_bn1"), 0, 6)


@pytest.mark.parametrize("size", [64, 65])  # each pads elsewhere
def test_lite_answers_as_it_is_defined(size):
    tensors, image = lite_tensors(), pixels(size)
    ours = efficientnet_lite.build("efficientnetlite0", size)
    for name, values in lite.weights(tensors, "efficientnetlite0").items():
        ours.get_layer(name).set_weights(values)
    expected = lite0(((image[0] - 127) / 128).transpose(2, 0, 1), tensors).transpose(1, 2, 0)
    np.testing.assert_allclose(ours(image)[0], expected, atol=1e-4)
    assert expected.std(axis=(0, 1)).max() > 0.1


SAVED = {  # names of the last stages, as those who save them document them
    "timm": "stem.0.weight stem.1.bias stages.3.downsample.0.weight stages.3.downsample.1.bias "
    "stages.2.blocks.8.conv_dw.weight stages.2.blocks.8.norm.bias stages.2.blocks.8.mlp.fc1.weight "
    "stages.2.blocks.8.mlp.fc2.bias stages.2.blocks.8.gamma head.norm.weight",
    "meta": "downsample_layers.0.0.weight downsample_layers.0.1.bias downsample_layers.3.0.weight "
    "downsample_layers.3.1.bias stages.2.8.dwconv.weight stages.2.8.norm.bias stages.2.8.pwconv1.weight "
    "stages.2.8.pwconv2.bias stages.2.8.gamma norm.weight",
    "huggingface": "embeddings.patch_embeddings.weight embeddings.layernorm.bias "
    "encoder.stages.3.downsampling_layer.0.weight encoder.stages.3.downsampling_layer.1.bias "
    "encoder.stages.2.layers.8.dwconv.weight encoder.stages.2.layers.8.layernorm.bias "
    "encoder.stages.2.layers.8.pwconv1.weight encoder.stages.2.layers.8.pwconv2.bias "
    "encoder.stages.2.layers.8.layer_scale_parameter layernorm.weight",
    "dino": "stages.0.downsample_layers.0.weight stages.0.downsample_layers.1.bias "
    "stages.3.downsample_layers.0.weight stages.3.downsample_layers.1.bias "
    "stages.2.layers.8.depthwise_conv.weight stages.2.layers.8.layer_norm.bias "
    "stages.2.layers.8.pointwise_conv1.weight stages.2.layers.8.pointwise_conv2.bias "
    "stages.2.layers.8.gamma layer_norm.weight",
}


@pytest.mark.parametrize("names", SAVED)
def test_each_set_of_names_is_that_of_its_files(names):
    made = saved_as(NAMES[names], "convnexttiny")
    assert set(SAVED[names].split()) <= set(made)
    shapes = [made[name].shape for name in SAVED[names].split()]
    assert shapes == [
        *((96, 3, 4, 4), (96,), (384,), (768,), (384, 1, 7, 7), (384,), (1536, 384), (384,), (384,), (768,))
    ]


def test_the_norms_that_dinov3_keeps_beside_the_last_are_left_out():
    tensors = saved_as(convnext.META, "convnexttiny")
    more = {f"norms.3.{part}": tensors[f"norm.{part}"] + 1 for part in ("weight", "bias")}
    found = convnext.weights(tensors | more, "convnexttiny")
    np.testing.assert_array_equal(found["norm"][0], tensors["norm.weight"])
