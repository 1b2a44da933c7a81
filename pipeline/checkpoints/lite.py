"""EfficientNet-Lite: its blocks, and its tensors as the weights of Keras's layers.

Tan & Le 2019, arXiv:1905.11946, without squeeze-and-excitation, ReLU6 for swish, stem, first block and top of fixed
width (https://blog.tensorflow.org/2020/03/higher-accuracy-on-vision-models-with-efficientnet-lite.html).
"""

import math
from typing import NamedTuple

import numpy as np

from pipeline.checkpoints.convnext import Weights, some, tensor
from pipeline.errors import UserError

STEM, TOP = 32, 1280  # channels
SCALES = {"efficientnetlite0": (1.0, 1.0), "efficientnetlite1": (1.0, 1.1), "efficientnetlite2": (1.1, 1.2)}
# kernel, stride, expansion, channels, blocks of the network that the others are scaled from
STAGES = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4))
STAGES = (*STAGES, (3, 1, 6, 320, 1))


class Block(NamedTuple):
    """An inverted residual block; its name is as keras.applications has it."""

    name: str  # block2a_
    kernel: int
    stride: int
    expansion: int
    channels_in: int
    channels: int


def blocks(backbone: str) -> list[Block]:
    """All blocks in their order."""
    width, depth = SCALES[backbone]
    made, before = [], STEM
    for i, (kernel, stride, expansion, channels, count) in enumerate(STAGES):
        repeats = count if i in (0, len(STAGES) - 1) else math.ceil(depth * count)
        channels = _eights(width * channels)
        for j in range(repeats):
            name = f"block{i + 1}{'abcdefgh'[j]}_"
            made.append(Block(name, kernel, 1 if j else stride, expansion, before, channels))
            before = channels
    return made


def _eights(channels: float) -> int:
    """The nearest multiple of eight that is not below nine tenths."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


def weights(tensors: dict[str, np.ndarray], backbone: str) -> Weights:
    """Weights of every layer of the network without its top; UserError where the tensors are another network's."""
    planned = blocks(backbone)
    found = {
        int(name.split(".")[1]) for name in tensors if name.startswith("_blocks.") and name.split(".")[1].isdigit()
    }
    if found != set(range(len(planned))):
        raise UserError(
            f"it has {len(found)} blocks of an EfficientNet, and {some(tensors)}; "
            f"expected the {len(planned)} of {backbone}"
        )
    made = _unit(tensors, "stem_conv", "_conv_stem", "stem_bn", "_bn0", (STEM, 3, 3, 3))
    for i, block in enumerate(planned):
        inner, prefix = block.channels_in * block.expansion, f"_blocks.{i}."
        units = {
            ("expand_conv", "_expand_conv", "expand_bn", "_bn0"): (inner, block.channels_in, 1, 1),
            ("dwconv", "_depthwise_conv", "bn", "_bn1"): (inner, 1, block.kernel, block.kernel),
            ("project_conv", "_project_conv", "project_bn", "_bn2"): (block.channels, inner, 1, 1),
        }
        for (conv, conv_there, norm, norm_there), shape in list(units.items())[block.expansion == 1 :]:
            names = block.name + conv, prefix + conv_there, block.name + norm, prefix + norm_there
            made |= _unit(tensors, *names, shape)
    return made | _unit(tensors, "top_conv", "_conv_head", "top_bn", "_bn1", (TOP, planned[-1].channels, 1, 1))


def _unit(tensors, conv: str, conv_there: str, norm: str, norm_there: str, shape: tuple[int, ...]) -> Weights:
    """A convolution without bias and its normalisation."""
    kernel = tensor(tensors, f"{conv_there}.weight", shape)
    depthwise = conv.endswith("dwconv")  # (channels, 1, height, width) -> (height, width, channels, 1)
    parts = ("weight", "bias", "running_mean", "running_var")
    return {
        conv: [kernel.transpose(2, 3, 0, 1) if depthwise else kernel.transpose(2, 3, 1, 0)],
        norm: [tensor(tensors, f"{norm_there}.{part}", shape[:1]) for part in parts],
    }
