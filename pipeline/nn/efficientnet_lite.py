"""EfficientNet-Lite in Keras, its layers named as keras.applications names EfficientNet's."""

import keras
from keras import layers

from pipeline.checkpoints.lite import STEM, TOP, Block, blocks

EPSILON = 1e-3
DROPPED = 0.2  # of the last block's outputs while training; in proportion before it (Huang et al. 2016)


def build(backbone: str, size: int) -> keras.Model:
    """The network without its top for (size, size, 3) inputs of 0-255, with random weights."""
    inputs = keras.Input((size, size, 3))
    maps = layers.Rescaling(1 / 128, offset=-127 / 128, name="rescaling")(inputs)
    maps = _normalised(_convolution(STEM, 3, 2, "stem_conv")(maps), "stem_")
    planned = blocks(backbone)
    for i, block in enumerate(planned):
        maps = _block(maps, block, DROPPED * i / len(planned))
    maps = _normalised(_convolution(TOP, 1, 1, "top_conv")(maps), "top_")
    return keras.Model(inputs, maps, name=backbone)


def _block(maps: keras.KerasTensor, block: Block, dropped: float) -> keras.KerasTensor:
    """Expand, filter each channel, project; the input is added where it has the same shape."""
    inner, name = block.channels_in * block.expansion, block.name
    x = maps
    if block.expansion > 1:
        x = _normalised(_convolution(inner, 1, 1, f"{name}expand_conv")(x), f"{name}expand_")
    depthwise = layers.DepthwiseConv2D(
        block.kernel, block.stride, "same", use_bias=False, depthwise_initializer=_random(), name=f"{name}dwconv"
    )
    x = _normalised(depthwise(x), name)
    x = _convolution(block.channels, 1, 1, f"{name}project_conv")(x)
    x = layers.BatchNormalization(epsilon=EPSILON, name=f"{name}project_bn")(x)
    if block.stride > 1 or block.channels_in != block.channels:
        return x
    x = layers.Dropout(dropped, noise_shape=(None, 1, 1, 1), name=f"{name}drop")(x)
    return layers.Add(name=f"{name}add")([x, maps])


def _random() -> keras.initializers.Initializer:
    """Of each layer its own, made when the network is: Keras draws its seed then, and gives the same values by it."""
    return keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="truncated_normal")


def _convolution(channels: int, kernel: int, stride: int, name: str) -> layers.Layer:
    # "same" pads as TensorFlow does, where the weights come from: the odd row and column go below and to the right
    return layers.Conv2D(channels, kernel, stride, "same", use_bias=False, kernel_initializer=_random(), name=name)


def _normalised(maps: keras.KerasTensor, name: str) -> keras.KerasTensor:
    maps = layers.BatchNormalization(epsilon=EPSILON, name=f"{name}bn")(maps)
    return layers.ReLU(6, name=f"{name}activation")(maps)
