"""Inspection of a network: activations of its layers, gradients and Grad-CAM."""

from typing import Any

import keras
import numpy as np
from keras import ops

from pipeline.core import views
from pipeline.nn import runtime
from pipeline.nn.backbone import copy_layer, copy_weights
from pipeline.nn.network import Network, last_layer_per_resolution, pool
from pipeline.plans.run import Run

MIN_CAM_SIDE = 6  # pixels of the maps that Grad-CAM uses


def representative_layers(backbone: keras.Model) -> list[str]:
    """Names of three layers: early, middle and late, each the last at its resolution."""
    names = list(_levels(backbone))
    return [names[0], names[len(names) // 2], names[-1]]


def grad_cam_layer(backbone: keras.Model) -> str:
    """Name of the deepest layer whose maps are at least 6 pixels wide, if there is one."""
    wide = [name for name, side in _levels(backbone).items() if side >= MIN_CAM_SIDE]
    return wide[-1] if wide else representative_layers(backbone)[0]


def _levels(backbone: keras.Model) -> dict[str, int]:
    """Name -> side of the last layer at each resolution, from the finest on, without copies of the image."""
    ends = {layer.name: layer.output.shape for layer in last_layer_per_resolution(backbone)}
    return {name: shape[1] for name, shape in ends.items() if shape[-1] > 3}


def network_input(network: Network, images: np.ndarray) -> np.ndarray:
    """The network's input for a single view of images uint8 (k, s, s, 3): float32 (k, size, size, 3) in 0-255."""
    return ops.convert_to_numpy(network.features.get_layer("warp")(*_one_view(images).values()))


def activations(network: Network, images: np.ndarray, names: list[str]) -> list[np.ndarray]:
    """Maps (k, side, side, c) of each named layer of the backbone for images uint8 (k, s, s, 3)."""
    pixels = network.features.get_layer("scale")(network_input(network, images))
    outputs = {name: network.backbone.get_layer(name).output for name in names}
    made = keras.Model(network.backbone.input, outputs)(pixels, training=False)
    return [ops.convert_to_numpy(ops.cast(made[name], "float32")) for name in names]


@keras.saving.register_keras_serializable("galaxy")
class Probe(keras.layers.Layer):
    """Adds a weight of its input's whole shape (k, h, w, c), zero at first: its gradient is that of the input."""

    def __init__(self, count: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.count = count

    def build(self, input_shape: tuple) -> None:
        """One weight a galaxy, place and channel."""
        self.added = self.add_weight(shape=(self.count, *input_shape[1:]), initializer="zeros", name="added")

    def call(self, maps: keras.KerasTensor) -> keras.KerasTensor:
        """See the class."""
        return maps + ops.cast(self.added, maps.dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """That of the maps: JAX cannot tell it of `count` galaxies and any number of them."""
        return input_shape


class InferenceOnly(keras.Model):
    """A model that always runs in inference mode, without dropout, also within a training step."""

    def __init__(self, model: keras.Model):
        super().__init__()
        self.model = model

    def call(self, pixels: keras.KerasTensor) -> keras.KerasTensor:
        """See the class."""
        return self.model(pixels, training=False)


def with_probe(network: Network, run: Run, layer: str, count: int) -> tuple[keras.Model, Probe]:
    """The network with a probe after a layer of its backbone, for batches of `count`; nothing else is trainable."""
    probe = Probe(count, name="probe")

    def call(one: keras.layers.Layer, *args: Any, **kwargs: Any) -> keras.KerasTensor:
        made = one(*args, **kwargs)
        return probe(made) if one.name == layer else made

    backbone = keras.models.clone_model(network.backbone, clone_function=copy_layer, call_function=call)
    copy_weights(network.backbone, backbone)
    pixels = keras.Input(backbone.input_shape[1:])
    model = InferenceOnly(keras.Model(pixels, network.head(pool(backbone, pixels, run.pooling))))
    for part in (*backbone.layers, network.head):
        part.trainable = part is probe
    by_xla = runtime.use_xla(whole_network=False)
    model.compile(keras.optimizers.SGD(1.0), _sum_of_answers, jit_compile=by_xla, auto_scale_loss=False)
    return model, probe


def gradients(model: keras.Model, probe: Probe, pixels: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Gradient (k, h, w, c) of each galaxy's answer in `columns` (k,) by the maps that the probe is added to.

    One step of gradient descent at rate 1 from zero moves the probe by just that, whatever the backend.
    """
    probe.added.assign(np.zeros(probe.added.shape))
    model.train_on_batch(pixels, np.eye(model.model.output_shape[-1], dtype=np.float32)[columns])
    return len(pixels) * ops.convert_to_numpy(probe.added)  # the loss is the mean over galaxies


def _sum_of_answers(chosen: keras.KerasTensor, fractions: keras.KerasTensor) -> keras.KerasTensor:
    return -ops.sum(chosen * fractions, axis=-1)


class GradCam:
    """Grad-CAM for batches of `count` galaxies (Selvaraju et al. 2017, arXiv:1610.02391, eq. 1 and 2).

    The maps of a layer, weighted by the mean of the answer's gradient over each, summed; positive part only.
    """

    def __init__(self, network: Network, run: Run, count: int):
        self.network, self.layer = network, grad_cam_layer(network.backbone)
        self.model, self.probe = with_probe(network, run, self.layer, count)

    def __call__(self, images: np.ndarray, answers: np.ndarray) -> np.ndarray:
        """float32 (count, a, side, side) in [0, 1] for images uint8 (count, s, s, 3) and columns (count, a)."""
        (maps,) = activations(self.network, images, [self.layer])
        pixels = ops.convert_to_numpy(self.network.features.get_layer("scale")(network_input(self.network, images)))
        made = []
        for columns in answers.T:
            weights = gradients(self.model, self.probe, pixels, columns).mean(axis=(1, 2))
            made.append(np.maximum(np.einsum("khwc,kc->khw", maps, weights), 0))
        cams = np.stack(made, axis=1)
        return (cams / np.maximum(cams.max(axis=(2, 3), keepdims=True), 1e-12)).astype(np.float32)


def _one_view(images: np.ndarray) -> dict[str, np.ndarray]:
    return {"image": np.asarray(images), "view": np.tile(views.view_set("single"), (len(images), 1, 1))}
