"""A run's network: (stored crop, view) -> warp -> the backbone's own scaling -> backbone -> pooling -> head."""

import gc
import logging
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from pipeline.core import views
from pipeline.core.labels import Schema
from pipeline.errors import UserError
from pipeline.nn import drop_path, folding, runtime
from pipeline.nn.augment import Warp
from pipeline.nn.backbone import construct
from pipeline.nn.head import build_head
from pipeline.nn.weights import FirstWeights, build_backbone
from pipeline.plans.backbones import BACKBONES
from pipeline.plans.run import Run

log = logging.getLogger(__name__)
MIN_VARIANCE = 1e-2  # of a map of activations
MIN_SIDE = 4  # pixels; smaller maps have no spatial meaning


class Folded(NamedTuple):
    """The network with folded normalisations, for prediction: the same output, faster."""

    model: keras.Model
    features: keras.Model
    backbone: keras.Model


class Network(NamedTuple):
    """The model and its two halves, which share its weights."""

    model: keras.Model  # {"image": uint8 (n, s, s, 3), "view": (n, 2, 3)} -> vote fractions (n, c)
    features: keras.Model | None  # the same inputs -> pooled features (n, d); None where there is only a head
    head: keras.Model  # pooled features -> vote fractions
    backbone: keras.Model | None
    twin: Folded | None
    schema: Schema  # of its answers
    facts: dict[str, Any]  # where the weights came from, parameters, precision and its reason

    def for_prediction(self) -> Folded:
        """The twin, with the weights as they are now."""
        folding.set_folded_weights(self.twin.backbone, self.backbone)
        return self.twin


@keras.saving.register_keras_serializable("galaxy")
class Scale(keras.layers.Layer):
    """Pixels 0-255 -> what the backbone was trained on (Keras's "caffe", "tf" and "torch" modes, or as they are)."""

    def __init__(self, mode: str, **kwargs):
        super().__init__(**kwargs)
        self.mode = mode

    def call(self, pixels: keras.KerasTensor) -> keras.KerasTensor:
        """See the class."""
        if self.mode == "builtin":
            return pixels
        return keras.applications.imagenet_utils.preprocess_input(pixels, "channels_last", mode=self.mode)

    def get_config(self) -> dict:
        """Arguments that make this layer again."""
        return {**super().get_config(), "mode": self.mode}


def build(
    run: Run,
    schema: Schema,
    *,
    stored: int,
    size: int,
    seed: int,
    given: dict[str, Any] | None = None,
    sample: np.ndarray | None = None,
    trained_as: str | None = None,
) -> Network:
    """A run's network for crops stored at `stored` pixels and seen at `size`; UserError for missing weights.

    `given` is a weights file {path, sha256}. The same seed gives the same random weights, whose normalisations are
    calibrated on `sample`, uint8 (n, stored, stored, 3). `trained_as` is the precision of a trained network whose
    weights are about to be loaded: first weights are then not needed.
    """
    keras.backend.clear_session()
    gc.collect()
    keras.utils.set_random_seed(seed)
    policy, reason = runtime.choose_precision(trained_as or run.precision)
    keras.config.set_dtype_policy(policy)
    backbone, origin = _first_backbone(run, size, given, is_trained=trained_as is not None)
    if run.fine_tune.drop_path is not None:
        backbone = drop_path.with_rate(backbone, run.backbone, run.fine_tune.drop_path)
    if sample is not None and origin["source"] in ("random", "trained"):
        calibrate(backbone, _features(backbone, run, stored, size), sample)
    if run.fine_tune.batch_norm == "inference":
        backbone = folding.folded(backbone)
    features = _features(backbone, run, stored, size)
    head = build_head(run, schema, features.output_shape[-1])
    model = keras.Model(features.input, head(features.output), name=run.name.replace(".", "_"))
    _freeze(backbone, run)
    facts = {
        "weights": origin,
        "params": model.count_params(),
        "precision": policy,
        "precision_reason": reason,
        "backend": keras.backend.backend(),
        "determinism": runtime.determinism(),
    }
    if not trained_as:
        log.info("train      %s: %s weights, %s: %s", run.name, origin["source"], policy, reason)
    return Network(model, features, head, backbone, _folded(backbone, head, run, stored, size), schema, facts)


def _first_backbone(run: Run, size: int, given: dict[str, Any] | None, *, is_trained: bool) -> FirstWeights:
    """The backbone as training begins with it; of a trained network, whose weights are to be loaded, of any weights."""
    if is_trained or run.first_weights == "random":
        origin = {"source": "trained"} if is_trained else {"source": "random", "as_planned": True}
        return FirstWeights(construct(run.backbone, size), origin)
    return build_backbone(run.backbone, size, given, run.on_missing_weights)


def answers_and_features(network: Folded) -> keras.Model:
    """The inputs of a network -> its answers and, after them, its pooled features: float32 (n, c + d)."""
    both = keras.layers.Concatenate(dtype="float32", name="both")([network.model.output, network.features.output])
    return keras.Model(network.features.input, both, name="answers_and_features")


def head_only(run: Run, schema: Schema, n_features: int, seed: int) -> Network:
    """A head without its backbone, to be trained on kept features: model and head of (n, n_features) -> (n, c)."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(runtime.choose_precision(run.precision)[0])
    head = build_head(run, schema, n_features)
    inputs = keras.Input((n_features,), name="features")
    return Network(keras.Model(inputs, head(inputs)), None, head, None, None, schema, {})


def _folded(backbone: keras.Model, head: keras.Model, run: Run, stored: int, size: int) -> Folded:
    bare = folding.clone_without_normalisation(backbone)
    features = _features(bare, run, stored, size)
    return Folded(keras.Model(features.input, head(features.output), name="folded"), features, bare)


def _features(backbone: keras.Model, run: Run, stored: int, size: int) -> keras.Model:
    """{"image", "view"} -> pooled features."""
    inputs = {
        "image": keras.Input((stored, stored, 3), dtype="uint8", name="image"),
        "view": keras.Input((2, 3), dtype="float32", name="view"),
    }
    scaling = BACKBONES[run.backbone].scaling
    pixels = Scale(scaling, name="scale")(Warp(size, name="warp")(inputs["image"], inputs["view"]))
    return keras.Model(inputs, pool(backbone, pixels, run.pooling), name="features")


def pool(backbone: keras.Model, pixels: keras.KerasTensor, pooling: str) -> keras.KerasTensor:
    """Pooled features (n, d) in float32."""
    average = keras.layers.GlobalAveragePooling2D(name="pool", dtype="float32")
    if pooling == "avg":
        return average(backbone(pixels))
    if pooling == "max":
        return keras.layers.GlobalMaxPooling2D(name="pool", dtype="float32")(backbone(pixels))
    ends = [layer.output for layer in last_layer_per_resolution(backbone)]
    levels = keras.Model(backbone.input, ends, name="levels")(pixels)
    return keras.layers.Concatenate(name="pool", dtype="float32")([CentralStatistics()(level) for level in levels])


@keras.saving.register_keras_serializable("galaxy")
class CentralStatistics(keras.layers.Layer):
    """Feature maps (n, h, w, c) -> (n, 3c): mean and deviation over the map, mean over its central half.

    The galaxy stands in the centre, so the two means together say how a feature falls off from it.
    """

    def __init__(self, **kwargs):
        super().__init__(**(kwargs | {"dtype": "float32"}))

    def call(self, maps: keras.KerasTensor) -> keras.KerasTensor:
        """See the class."""
        top, left = maps.shape[1] // 4, maps.shape[2] // 4
        middle = maps[:, top : maps.shape[1] - top, left : maps.shape[2] - left]
        deviation = ops.sqrt(ops.var(maps, (1, 2)) + MIN_VARIANCE)  # a root has no gradient at 0, where maps are dead
        return ops.concatenate([ops.mean(maps, (1, 2)), deviation, ops.mean(middle, (1, 2))], axis=-1)


def last_layer_per_resolution(backbone: keras.Model) -> list[keras.layers.Layer]:
    """The last layer of every resolution from the input's down to MIN_SIDE."""
    last: dict[int, keras.layers.Layer] = {}
    for layer in backbone.layers:
        shape = getattr(layer.output, "shape", ())
        spatial = len(shape) == 4 and shape[1] == shape[2]
        if spatial and not isinstance(layer, keras.layers.InputLayer | keras.layers.ZeroPadding2D):
            last[shape[1]] = layer
    last[backbone.output_shape[1]] = backbone.output._keras_history.operation
    return [layer for side, layer in sorted(last.items(), reverse=True) if side and side >= MIN_SIDE]


def _freeze(backbone: keras.Model, run: Run) -> None:
    """Make trainable what fine-tuning trains: from the chosen layer on, BatchNormalization only where asked."""
    names = [layer.name for layer in backbone.layers]
    first = run.fine_tune.from_layer
    if first != "first" and first not in names:
        raise UserError(
            f"run {run.name}: fine_tune.from_layer: {run.backbone} has no layer {first!r}; "
            f"'first' trains all of it, or choose one such as {', '.join(names[:: max(1, len(names) // 8)])}"
        )
    start = 0 if first == "first" else names.index(first)
    for i, layer in enumerate(backbone.layers):
        normalises = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = i >= start and (not normalises or run.fine_tune.batch_norm == "train")


def calibrate(backbone: keras.Model, features: keras.Model, images: np.ndarray) -> None:
    """Set the BatchNormalization statistics of a randomly started backbone from a batch of images.

    Without it the signal of a deep random network vanishes or explodes. One pass per level of depth is not
    needed: in training mode every layer normalises by the batch before the next sees it.
    """
    layers = [layer for layer in backbone.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum, layer.trainable = 0.0, True
    seen = np.tile(views.view_set("single"), (len(images), 1, 1))
    features({"image": ops.convert_to_tensor(images), "view": ops.convert_to_tensor(seen)}, training=True)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
