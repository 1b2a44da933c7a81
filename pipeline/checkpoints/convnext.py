"""ConvNeXt's tensors, under whichever names they were saved, as the weights of Keras's layers.

Liu et al. 2022, arXiv:2201.03545. The same network is saved under four sets of names: timm's (also Zoobot's encoders,
Walmsley et al. 2023, doi:10.21105/joss.05312), Hugging Face's, that of Meta's own code, and Hugging Face's for DINOv3
(Siméoni et al. 2025, arXiv:2508.10104).
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pipeline.errors import UserError

Weights = dict[str, list[np.ndarray]]  # of a layer, by its name in Keras without the network's
Layer = tuple[str, str, tuple[int, ...]]  # its name in Keras, in the file, and its weight's shape there


class Size(NamedTuple):
    """Blocks and channels of the four stages."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]


SIZES = {
    "convnexttiny": Size((3, 3, 9, 3), (96, 192, 384, 768)),
    "convnextsmall": Size((3, 3, 27, 3), (96, 192, 384, 768)),
    "convnextbase": Size((3, 3, 27, 3), (128, 256, 512, 1024)),
    "convnextlarge": Size((3, 3, 27, 3), (192, 384, 768, 1536)),
}


class Names(NamedTuple):
    """Where a set of names has each layer; {s} is the stage, {b} the block."""

    stem: tuple[str, str]  # convolution, normalisation
    down: tuple[str, str]  # normalisation, convolution
    block: str
    parts: tuple[str, str, str, str, str]  # depthwise, normalisation, the two dense layers, layer scale
    last: tuple[str, ...]  # the last normalisation: one of these


TIMM = Names(
    ("stem.0", "stem.1"),
    ("stages.{s}.downsample.0", "stages.{s}.downsample.1"),
    "stages.{s}.blocks.{b}.",
    ("conv_dw", "norm", "mlp.fc1", "mlp.fc2", "gamma"),
    ("head.norm", "norm_pre"),
)
META = Names(
    ("downsample_layers.0.0", "downsample_layers.0.1"),
    ("downsample_layers.{s}.0", "downsample_layers.{s}.1"),
    "stages.{s}.{b}.",
    ("dwconv", "norm", "pwconv1", "pwconv2", "gamma"),
    ("norm",),
)
HUGGING_FACE = Names(
    ("embeddings.patch_embeddings", "embeddings.layernorm"),
    ("encoder.stages.{s}.downsampling_layer.0", "encoder.stages.{s}.downsampling_layer.1"),
    "encoder.stages.{s}.layers.{b}.",
    ("dwconv", "layernorm", "pwconv1", "pwconv2", "layer_scale_parameter"),
    ("layernorm",),
)
DINO = Names(
    ("stages.0.downsample_layers.0", "stages.0.downsample_layers.1"),
    ("stages.{s}.downsample_layers.0", "stages.{s}.downsample_layers.1"),
    "stages.{s}.layers.{b}.",
    ("depthwise_conv", "layer_norm", "pointwise_conv1", "pointwise_conv2", "gamma"),
    ("layer_norm",),
)
TRUNK = ("stem.", "stages.", "downsample_layers.", "embeddings.", "encoder.")


def weights(tensors: dict[str, np.ndarray], backbone: str) -> Weights:
    """Weights of every layer of Keras's network without its top; UserError where the file holds another network."""
    names, prefix = _found(tensors)
    inner = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    last = [name for name in names.last if f"{name}.weight" in inner or f"{name}.weight" in tensors]
    if not last:
        raise UserError(f"it has no {names.last[0]}.weight: expected the whole network, with its last normalisation")
    size = _size(inner, names)
    if size != SIZES[backbone]:
        raise UserError(f"it holds {_told(size)}; expected {_told(SIZES[backbone])}")
    layers = [*_layers(size, names), ("norm", last[0], (size.widths[-1],))]
    both = tensors | inner  # the last normalisation may stand outside the prefix
    made = {keras: _of_layer(both, name, shape) for keras, name, shape in layers}
    _nothing_left(inner, layers)
    return made


def _found(tensors: dict[str, np.ndarray]) -> tuple[Names, str]:
    """Which names the file uses, and what stands before each."""
    found = []
    for names in (TIMM, META, HUGGING_FACE, DINO):
        first = f"{names.stem[0]}.weight"
        ends = [name for name in tensors if name == first or name.endswith(f".{first}")]
        found += [(names, end.removesuffix(first)) for end in ends]
    if not found:
        raise UserError(f"it has no stem of a ConvNeXt, under none of the known names, but {some(tensors)}")
    if len(found) > 1:
        before = " and ".join(repr(prefix) for _, prefix in found)
        raise UserError(f"it holds {len(found)} networks, under {before}: expected one")
    return found[0]


def _size(tensors: dict[str, np.ndarray], names: Names) -> Size:
    """Counted and measured in the file."""
    depths, widths = [], []
    for s in range(4):
        blocks = 0
        while (name := f"{names.block.format(s=s, b=blocks)}{names.parts[0]}.weight") in tensors:
            widths[s:] = [len(tensors[name])] if tensors[name].ndim else [0]
            blocks += 1
        depths.append(blocks)
    return Size(tuple(depths), tuple(widths))


def _told(size: Size) -> str:
    known = next((f"{name}, " for name, other in SIZES.items() if other == size), "")
    return (
        f"{known}a ConvNeXt of {'-'.join(map(str, size.depths))} blocks with {'-'.join(map(str, size.widths))} channels"
    )


def _layers(size: Size, names: Names) -> Iterator[Layer]:
    """All but the last normalisation; `gamma` stands for a weight without bias."""
    widths = size.widths
    yield "stem_conv", names.stem[0], (widths[0], 3, 4, 4)
    yield "stem_layernorm", names.stem[1], (widths[0],)
    for s in range(1, 4):
        yield f"downsampling_layernorm_{s - 1}", names.down[0].format(s=s), (widths[s - 1],)
        yield f"downsampling_conv_{s - 1}", names.down[1].format(s=s), (widths[s], widths[s - 1], 2, 2)
    for s, (depth, width) in enumerate(zip(size.depths, widths, strict=True)):
        shapes = (width, 1, 7, 7), (width,), (4 * width, width), (width, 4 * width), (width,)
        kinds = "depthwise_conv", "layernorm", "pointwise_conv_1", "pointwise_conv_2", "layer_scale"
        for b in range(depth):
            for kind, part, shape in zip(kinds, names.parts, shapes, strict=True):
                yield f"stage_{s}_block_{b}_{kind}", names.block.format(s=s, b=b) + part, shape


def _of_layer(tensors: dict[str, np.ndarray], name: str, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Kernel or factor, and bias, in Keras's order of axes."""
    if name.endswith(("gamma", "layer_scale_parameter")):
        return [tensor(tensors, name, shape)]
    kernel = tensor(tensors, f"{name}.weight", shape)
    return [_turned(kernel), tensor(tensors, f"{name}.bias", shape[:1])]


def _turned(kernel: np.ndarray) -> np.ndarray:
    """(out, in, height, width) -> (height, width, in, out); (out, in) -> (in, out)."""
    return kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel.T


def tensor(tensors: dict[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The tensor of that name and shape; UserError where it is missing, of another shape or not finite."""
    if name not in tensors:
        raise UserError(f"it has no {name}, but {some(tensors)}")
    values = tensors[name]
    if values.shape == (*shape, 1, 1):  # a dense layer saved as a convolution of one pixel
        values = values.reshape(shape)
    if values.shape != shape:
        raise UserError(f"its {name} has shape {values.shape}; expected {shape}")
    if not np.isfinite(values).all():
        raise UserError(f"its {name} has values that are no finite numbers")
    return values


def _nothing_left(tensors: dict[str, np.ndarray], layers: list[Layer]) -> None:
    """UserError where the trunk has layers that Keras's network has no place for, such as ConvNeXt V2's."""
    used = {f"{name}{ending}" for _, name, _ in layers for ending in ("", ".weight", ".bias")}
    left = sorted(name for name in tensors if name.startswith(TRUNK) and name not in used)
    if left:
        raise UserError(f"it has {', '.join(left[:3])}, which Keras's ConvNeXt has no place for")


def some(tensors: dict[str, np.ndarray]) -> str:
    """The first names in the file, for a message."""
    return f"{', '.join(list(tensors)[:3])[:120]} and so on" if tensors else "nothing"
