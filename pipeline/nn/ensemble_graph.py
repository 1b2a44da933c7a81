"""An ensemble as one graph, for export: images of galaxies -> vote fractions, with crops, views, blend and tree."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from pipeline.core import tree
from pipeline.core.labels import Schema
from pipeline.nn.augment import warp
from pipeline.nn.backbone import copy_layer, copy_weights
from pipeline.nn.network import Network, Scale, pool
from pipeline.plans.backbones import BACKBONES
from pipeline.plans.crops import IMAGE_SIDE, Crop
from pipeline.plans.run import Run

MAX_PROJECTION_STEPS = 500  # of the projection onto the tree, at most; a hundred are many
PROJECTION_TOLERANCE = -1e-6


class Member(NamedTuple):
    """One trained network of an ensemble and its share of the answer."""

    run: Run
    crop: Crop
    network: Network
    views: np.ndarray  # (v, 2, 3)
    resize: np.ndarray  # (size, region): what resizes either side of the crop, see competition.cutout.resize_matrix
    share: np.ndarray  # (c,) blend weight for each answer


class EnsembleGraph:
    """The function from images uint8 (n, 424, 424, 3) RGB to vote fractions float32 (n, c).

    The same crops, views, networks and weights as the pipeline's; the projection onto the tree stops at 1e-6.
    """

    def __init__(self, schema: Schema, members: Iterable[Member]):
        """Of each part only its copy is kept: parts that are made when they are asked for need no more memory."""
        self.schema = schema
        self.members = [MemberGraph(member) for member in members]
        self.crops = {member.crop: make_cropper(member.crop, member.resize) for member in self.members}
        self.networks = [network for member in self.members for network in (member.backbone, member.head)]

    def __call__(self, images: keras.KerasTensor) -> keras.KerasTensor:
        """Vote fractions of images."""
        seen = {crop: cut(images) for crop, cut in self.crops.items()}
        total = 0.0
        for member in self.members:
            total = total + member(seen[member.crop]) * member.share
        return project(self.schema, total)


def make_cropper(crop: Crop, resize: np.ndarray) -> Callable[[keras.KerasTensor], keras.KerasTensor]:
    """Images (n, 424, 424, 3) -> whole grey levels float32 (n, size, size, 3), as `cutout` makes them of pixels."""
    region = crop.pixels(IMAGE_SIDE)
    margin = (IMAGE_SIDE - region) // 2

    def cut(images: keras.KerasTensor) -> keras.KerasTensor:
        end = margin + region
        centre = ops.cast(images[:, margin:end, margin:end], "float32")
        if region == crop.size:
            return centre
        rows = ops.einsum("ij,njkc->nikc", resize, centre)
        levels = ops.einsum("lk,nikc->nilc", resize, rows)
        return ops.floor(levels + 0.5) if region == 2 * crop.size else ops.round(levels)  # halves as OpenCV has them

    return cut


class MemberGraph:
    """One network: crops (n, s, s, 3) -> the mean over the views of its answers, or of its features, then answers."""

    def __init__(self, member: Member):
        self.crop, self.resize, self.views = member.crop, member.resize, member.views
        self.share = member.share.astype(np.float32)
        self.of_features = member.run.shares_backbone  # views are averaged before the head, as in training
        self.size = member.network.features.get_layer("warp").size
        pixels = keras.Input((self.size, self.size, 3))
        scaled = Scale(BACKBONES[member.run.backbone].scaling)(pixels)
        backbone = exportable(member.network.for_prediction().backbone)
        self.backbone = keras.Model(pixels, pool(backbone, scaled, member.run.pooling))
        self.head = member.network.head

    def __call__(self, images: keras.KerasTensor) -> keras.KerasTensor:
        """Answers (n, c)."""
        count = len(self.views)
        matrices = ops.tile(ops.convert_to_tensor(self.views), (ops.shape(images)[0], 1, 1))
        features = self.backbone(warp(ops.repeat(images, count, axis=0), matrices, self.size), training=False)
        if self.of_features:
            return self.head(_mean(features, count), training=False)
        return _mean(self.head(features, training=False), count)


def exportable(backbone: keras.Model) -> keras.Model:
    """A copy of it, with others in place of two kinds of layers for which tf2onnx 1.17 writes what no runtime reads.

    The exact GELU, and Keras's Normalization, whose tensors would become inputs that nobody feeds.
    """
    made = keras.models.clone_model(backbone, clone_function=_exportable)
    copy_weights(backbone, made)
    return made


def _exportable(layer: keras.layers.Layer) -> keras.layers.Layer:
    if isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.gelu:
        return keras.layers.Activation(_gelu, name=layer.name, dtype=layer.dtype_policy)
    return copy_layer(layer)


def _gelu(x: keras.KerasTensor) -> keras.KerasTensor:
    return 0.5 * x * (1 + ops.erf(x * np.float32(np.sqrt(0.5))))


def _mean(values: keras.KerasTensor, count: int) -> keras.KerasTensor:
    """(n * count, d) -> (n, d)."""
    return ops.mean(ops.reshape(values, (-1, count, values.shape[-1])), axis=1)


def project(schema: Schema, values: keras.KerasTensor) -> keras.KerasTensor:
    """`core.tree.project` as a graph."""
    sums, totals = (part.astype(np.float32) for part in tree.sums_and_totals(schema))
    back = np.linalg.pinv(sums).astype(np.float32).T  # (q, c)

    def on_sums(x: keras.KerasTensor) -> keras.KerasTensor:
        return x - ops.matmul(ops.matmul(x, sums.T) - totals, back)

    def goes_on(step: keras.KerasTensor, x: keras.KerasTensor, correction: keras.KerasTensor) -> keras.KerasTensor:
        return ops.logical_and(step < MAX_PROJECTION_STEPS, ops.min(x) < PROJECTION_TOLERANCE)

    def one(step: keras.KerasTensor, x: keras.KerasTensor, correction: keras.KerasTensor) -> tuple:
        inside = ops.maximum(x + correction, 0.0)
        return step + 1, on_sums(inside), x + correction - inside

    first = on_sums(values)
    _, x, _ = ops.while_loop(goes_on, one, (ops.convert_to_tensor(0), first, ops.zeros_like(first)))
    return ops.maximum(x, 0.0)
