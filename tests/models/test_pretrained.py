"""Pretrained weights before any work: given files are checked, missing ones are told at once."""

import hashlib
import urllib.error
from email.message import Message

import pytest

from pipeline.errors import UserError
from pipeline.models import pretrained
from pipeline.plans.backbones import BACKBONES
from pipeline.plans.config import load_plan
from pipeline.stages import inputs
from pipeline.store.artifacts import Store
from tests.builders import competition_files as tiny
from tests.builders import fabricated


def plan_of(folder, backbone):
    return fabricated.plan(folder, ('backbone = "mobilenetv2"', f'backbone = "{backbone}"'))


def test_weights_are_recorded_and_merged(tmp_path):
    raw, flags = tiny.write(tmp_path / "raw"), tiny.plan(tmp_path)
    first, second = tmp_path / "mine.h5", tmp_path / "other.h5"
    first.write_bytes(pretrained.HDF5 + b"1")
    second.write_bytes(pretrained.HDF5 + b"22")
    store = Store(tmp_path / "output" / "tiny")
    inputs.main([*flags, "--input", str(raw), "--weights", f"vgg16={first}"])
    digest = hashlib.sha256(first.read_bytes()).hexdigest()
    assert store.load_weights_list()["vgg16"] == {"path": str(first), "bytes": 9, "sha256": digest}
    inputs.main(flags)
    assert store.load_weights_list()["vgg16"]["path"] == str(first)
    inputs.main([*flags, "--weights", f"vgg16={second}"])
    assert store.load_weights_list()["vgg16"]["path"] == str(second)


@pytest.mark.parametrize("backbone", ["vgg16", "convnexttiny"])  # md5, sha256
def test_keras_own_name_must_have_keras_checksum(tmp_path, monkeypatch, backbone):
    content, row, plan = pretrained.HDF5 + b"weights", BACKBONES[backbone], plan_of(tmp_path, backbone)
    path = tmp_path / row.weights_file
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{row.checksum}.*download it again"):
        pretrained.parse_weights([f"{backbone}={path}"], plan)
    kind = {32: "md5", 64: "sha256"}[len(row.checksum)]
    right = row._replace(checksum=hashlib.new(kind, content).hexdigest())
    monkeypatch.setitem(pretrained.BACKBONES, backbone, right)
    assert pretrained.parse_weights([f"{backbone}={path}"], plan)[backbone]["bytes"] == len(content)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("vgg17={}/a.h5", "one of vgg16, vgg19"),
        ("vgg16", "expected BACKBONE=FILE"),
        ("vgg16={}/none.h5", "no such file"),
        ("vgg16={}/a.txt", "HDF5"),
        ("resnet50={}/a.txt", "no run of plan tiny uses resnet50, only vgg16"),
    ],
)
def test_bad_weights_stop_before_any_work(tmp_path, item, message):
    (tmp_path / "a.txt").write_text("hello, this is text")
    raw = tiny.write(tmp_path / "raw")
    with pytest.raises(UserError, match=message):
        inputs.main([*tiny.plan(tmp_path), "--input", str(raw), "--weights", item.format(tmp_path)])
    assert not (tmp_path / "output").exists()


def offline(*_, **__):
    raise urllib.error.URLError("no route to host")


def test_missing_weights_are_told_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained.urllib.request, "urlopen", offline)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    flags = tiny.plan(tmp_path)
    plan = tmp_path / "tiny.toml"
    plan.write_text(plan.read_text().replace('on_missing_weights = "random"\n', ""))
    raw = tiny.write(tmp_path / "raw")
    with pytest.raises(UserError, match=r"no ImageNet weights for vgg16, and .*--weights vgg16=FILE.*random"):
        inputs.main([*flags, "--input", str(raw)])
    assert not (tmp_path / "output").exists()


def test_weights_that_are_given_kept_reachable_or_no_longer_needed_are_not_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained.urllib.request, "urlopen", offline)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    plan, store = plan_of(tmp_path, "resnet50"), Store(tmp_path / "out")
    with pytest.raises(UserError, match="for resnet50, vgg16, and"):
        pretrained.require_available(plan, store, {})
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / BACKBONES["vgg16"].weights_file).touch()
    pretrained.require_available(plan, store, {"resnet50": {}})
    with pytest.raises(UserError, match="for resnet50, and"):
        pretrained.require_available(plan, store, {})
    fabricated.complete(plan, store)
    pretrained.require_available(plan, store, {})

    def forbidden(*_, **__):
        raise urllib.error.HTTPError(pretrained.SOURCE, 403, "Forbidden", Message(), None)

    monkeypatch.setattr(pretrained.urllib.request, "urlopen", forbidden)
    pretrained.require_available(load_plan("competition"), Store(tmp_path / "other"), {})


def test_a_file_of_another_input_size_is_not_what_keras_would_take(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained.urllib.request, "urlopen", offline)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    plan, store = plan_of(tmp_path, "mobilenetv2"), Store(tmp_path / "out")
    sizes = {BACKBONES["mobilenetv2"].file_for(plan.input_size(run)) for run in plan.runs if run.name != "vgg16"}
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / BACKBONES["mobilenetv2"].file_for(96)).touch()
    assert BACKBONES["mobilenetv2"].file_for(96) not in sizes
    with pytest.raises(UserError, match=r"mobilenetv2.*_1\.0_224_no_top\.h5"):
        pretrained.require_available(plan, store, {"vgg16": {}})
    for name in sizes:
        (tmp_path / "models" / name).touch()
    pretrained.require_available(plan, store, {"vgg16": {}})
