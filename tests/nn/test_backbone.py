"""Every backbone of the table from a file of weights through training's network, saving, prediction and export.

Such weights as no random start has: only with them does it show when a copy, a fold or another graph loses something.
"""

import hashlib

import keras
import numpy as np
import pytest
from keras import ops

from pipeline.competition import cutout
from pipeline.core import views
from pipeline.models.predictor import Predictor
from pipeline.nn import activations, backbone, ensemble_graph, exporting, network
from pipeline.nn.predict import predict_eagerly
from pipeline.plans.backbones import BACKBONES
from pipeline.plans.crops import Crop
from pipeline.plans.run import Run
from tests.builders import keras_weights
from tests.builders.galaxy_zoo_2 import GZ2

SIZE = 32
# a member of each family, with choices of a run that differ between them in pairs
CHOICES = {
    "vgg16": {"pooling": "multi", "head": "tree"},
    "resnet50": {"pooling": "avg", "batch_norm": "train", "from_layer": "conv4_block1_1_conv"},
    "efficientnetb0": {"pooling": "multi", "head": "tree"},
    "efficientnetv2b0": {"pooling": "max", "hidden": 8},
    "mobilenetv2": {"pooling": "max", "head": "tree", "batch_norm": "train"},
    "mobilenetv3small": {"pooling": "multi", "batch_norm": "train"},
    "convnexttiny": {"pooling": "avg", "head": "tree", "hidden": 8, "drop_path": 0.3},
    "efficientnetlite0": {"pooling": "multi", "from_layer": "block6a_expand_conv", "drop_path": 0.3},
}
CHOSEN = list(CHOICES.values())
EVERYWHERE = {"from_layer": "first", "drop_path": None}  # possible for every backbone
OF_KERAS = [name for name, row in BACKBONES.items() if not row.package]
OTHERS = sorted(set(BACKBONES) - set(CHOICES))
CASES = [pytest.param(name, choice, "float32", id=name) for name, choice in CHOICES.items()]
CASES += [
    pytest.param(name, CHOSEN[i % len(CHOSEN)] | EVERYWHERE, "float32", id=name, marks=pytest.mark.slow)
    for i, name in enumerate(OTHERS)
]
CASES += [
    pytest.param(
        "efficientnetb0", {"pooling": "avg", "batch_norm": "train"}, "float32", id="b0 train", marks=pytest.mark.slow
    ),
    pytest.param("efficientnetb0", {"pooling": "multi"}, "mixed_bfloat16", id="b0 bfloat16", marks=pytest.mark.slow),
    pytest.param("resnet50", {"pooling": "multi"}, "mixed_bfloat16", id="resnet50 bfloat16", marks=pytest.mark.slow),
    pytest.param(
        "convnexttiny", {"pooling": "multi"}, "mixed_bfloat16", id="convnext bfloat16", marks=pytest.mark.slow
    ),
]
TUNING = ("batch_norm", "from_layer", "drop_path")  # keys of fine_tune
ROUNDING = {"float32": 1e-3, "mixed_bfloat16": 0.2}


FAMILIES = [pytest.param(name, marks=[] if name in CHOICES else pytest.mark.slow) for name in (*CHOICES, *OTHERS)]


def kernels(name: str, seed: int) -> dict[str, np.ndarray]:
    """Path -> values of the kernels that a backbone starts with."""
    keras.utils.set_random_seed(seed)
    made = backbone.construct(name, SIZE).trainable_variables
    return {one.path: np.asarray(one) for one in made if one.path.endswith("kernel")}


@pytest.mark.parametrize("name", FAMILIES)
def test_random_weights_are_those_of_the_seed_and_of_each_layer_its_own(name):
    first, again, other = (kernels(name, seed) for seed in (1, 1, 2))
    assert len(first) > 10
    for path, values in first.items():
        np.testing.assert_array_equal(values, again[path])
        assert np.mean(values != other[path]) > 0.99, path
    parts = [values.ravel()[:4].tobytes() for values in first.values()]
    assert len(set(parts)) == len(parts)


def run_of(name: str, precision: str = "float32", **keys) -> Run:
    tune = {"epochs": 1} | {key: keys.pop(key) for key in TUNING if key in keys}
    return Run(name="a", backbone=name, crop="c", precision=precision, views="flips4", fine_tune=tune, **keys)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """name -> {path, sha256} of its stand-in, made when it is first asked for."""
    folder, made = tmp_path_factory.mktemp("keras"), {}

    def file(name: str) -> dict:
        if name not in made:
            path = keras_weights.keras_file(name, SIZE, folder / f"{name}.h5")
            made[name] = {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        return made[name]

    return file


def in_kerass_place(monkeypatch, given: dict) -> None:
    """Let Keras find this file where it would download its own."""
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *_, **__: given["path"])


def trained(run: Run, given: dict | None) -> network.Network:
    """A network with those first weights and a head that tells images apart."""
    built = network.build(run, GZ2, stored=SIZE, size=SIZE, seed=1, given=given)
    pixels, rng = keras_weights.images(16, SIZE), np.random.default_rng(2)
    built.head.get_layer("standardise").fit(predict_eagerly(built.features, pixels, views.view_set("single")))
    for layer in built.head.layers:
        if isinstance(layer, keras.layers.Dense):
            kernel = rng.normal(0, 1 / np.sqrt(layer.kernel.shape[0]), layer.kernel.shape)
            layer.set_weights([kernel, rng.normal(0, 0.2, layer.bias.shape)])
    return built


def differs(made, expected, allowed: float) -> None:
    """That both are the same but for rounding, and tell images apart by far more than that."""
    made, expected = np.asarray(made, np.float32), np.asarray(expected, np.float32)
    assert np.abs(made - expected).max() <= allowed
    assert np.ptp(expected, axis=0).max() > 0.05


@pytest.mark.parametrize(("name", "choice", "precision"), CASES)
def test_what_predicts_is_what_was_trained(name, choice, precision, files, tmp_path):
    run, pixels = run_of(name, precision, **choice), keras_weights.images(4, SIZE)
    seen, allowed = views.view_set("flips4"), ROUNDING[precision]
    built = trained(run, files(name))
    answers = predict_eagerly(built.model, pixels, seen)
    built.model.save_weights(tmp_path / "fold.weights.h5")
    copy, _ = activations.with_probe(built, run, activations.grad_cam_layer(built.backbone), 4)
    inside = copy(built.features.get_layer("scale")(activations.network_input(built, pixels)))
    differs(inside, predict_eagerly(built.model, pixels, views.view_set("single")), allowed)
    predictor = Predictor(run, GZ2, stored=SIZE, size=SIZE, precision=precision)
    predictor.network.twin.model.run_eagerly = True
    predictor.load(tmp_path / "fold.weights.h5")
    differs(predictor.predict_images(pixels)[0], answers, allowed)
    crop = Crop(region=SIZE, size=SIZE)
    part = ensemble_graph.Member(run, crop, predictor.network, seen, cutout.resize_matrix(crop), np.ones(37))
    exported = ensemble_graph.MemberGraph(part)
    differs(exported(ops.cast(pixels, "float32")), answers, allowed)


@pytest.mark.parametrize(
    "name", ["efficientnetb0", *(pytest.param(n, marks=pytest.mark.slow) for n in OF_KERAS if n != "efficientnetb0")]
)
def test_a_file_given_and_a_file_that_keras_has_make_the_network_that_keras_makes(name, files, monkeypatch):
    given = files(name)
    in_kerass_place(monkeypatch, given)
    pixels = keras_weights.images(4, SIZE)
    made = [network.build(run_of(name), GZ2, stored=SIZE, size=SIZE, seed=1, given=source) for source in (given, None)]
    assert [built.facts["weights"]["source"] for built in made] == ["file", "imagenet"]
    of_file, of_keras = (predict_eagerly(built.features, pixels, views.view_set("single")) for built in made)
    np.testing.assert_allclose(of_file, of_keras, atol=1e-5 * np.abs(of_keras).max())
    official = backbone.keras_application(name, SIZE, "imagenet")
    maps = official(network.Scale(BACKBONES[name].scaling)(pixels.astype(np.float32)), training=False)
    expected = np.asarray(maps).mean(axis=(1, 2))
    np.testing.assert_allclose(of_keras, expected, atol=1e-4 * np.abs(expected).max())
    assert (
        np.ptp(expected, axis=0).max() > 5e-3 * np.abs(expected).max()
    )  # the deepest nets of chance tell images apart least


def test_only_the_graphs_that_the_table_says_hang_on_the_weights(monkeypatch):
    """Layers that Keras makes for weights="imagenet" and not for None."""
    monkeypatch.setattr(keras.Model, "load_weights", lambda *_, **__: None)
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *_, **__: "none")
    for name in set(CHOICES) & set(OF_KERAS):
        with_weights, without = (
            len(backbone.keras_application(name, SIZE, source).layers) for source in ("imagenet", None)
        )
        assert with_weights == without + (BACKBONES[name].gain is not None)


def test_a_normalisation_follows_its_weights_however_they_come(tmp_path):
    """Also in a function that was traced before, where Keras's own keeps what it had."""
    inputs = keras.Input((4, 4, 3))
    plain = keras.Model(inputs, keras.layers.Normalization(name="norm")(inputs))
    made = keras.models.clone_model(plain, clone_function=backbone.copy_layer)
    x = np.random.default_rng(0).random((2, 4, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(made.predict_on_batch(x), x, atol=1e-5)
    mean, variance = np.array([0.1, 0.2, 0.3]), np.array([0.04, 0.09, 0.25])
    expected = (x - mean) / np.sqrt(variance)
    made.set_weights([mean, variance, np.array(1)])
    np.testing.assert_allclose(made.predict_on_batch(x), expected, atol=1e-5)
    plain.get_layer("norm").adapt(x)
    plain.save_weights(tmp_path / "plain.weights.h5")
    made.load_weights(tmp_path / "plain.weights.h5")
    np.testing.assert_allclose(made.predict_on_batch(x), plain.predict_on_batch(x), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", CHOICES)
def test_a_member_of_each_family_as_onnx(name, files, tmp_path):
    crop, run = Crop(region=64, size=SIZE), run_of(name, **CHOICES[name])
    pixels = np.pad(keras_weights.images(4, 64), ((0, 0), (180, 180), (180, 180), (0, 0)))
    built = trained(run, files(name))
    part = ensemble_graph.Member(run, crop, built, views.view_set("flips4"), cutout.resize_matrix(crop), np.ones(37))
    exporting.to_onnx(ensemble_graph.EnsembleGraph(GZ2, [part]), tmp_path / "model.onnx")
    levels = np.asarray(ensemble_graph.make_cropper(crop, cutout.resize_matrix(crop))(pixels)).astype(np.uint8)
    answers = np.asarray(ensemble_graph.project(GZ2, predict_eagerly(built.model, levels, part.views)))
    differs(exporting.run_onnx(tmp_path / "model.onnx", pixels), answers, 2e-4)
