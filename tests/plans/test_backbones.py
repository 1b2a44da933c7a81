"""The table of backbones against keras.applications itself."""

import importlib
import inspect
import re

import keras
import pytest

from pipeline.nn import weights
from pipeline.plans.backbones import BACKBONES

FAMILIES = (
    "vgg16",
    "vgg19",
    "resnet50",
    "efficientnetb0",
    "efficientnetv2b0",
    "mobilenetv2",
    "mobilenetv3small",
    "convnexttiny",
)


OF_KERAS = [name for name, row in BACKBONES.items() if not row.package]


def module_of(name: str):
    """The Keras module that a backbone's constructor is written in."""
    return importlib.import_module(getattr(keras.applications, BACKBONES[name].constructor).__module__)


def checksum_in_keras(name: str) -> str | None:
    """What Keras checks the file without top by: from its WEIGHTS_HASHES (with top, without), else from its source."""
    module, file = module_of(name), BACKBONES[name].weights_file
    if hashes := getattr(module, "WEIGHTS_HASHES", None):
        known = {key: value for key, value in hashes.items() if re.search(rf"[_-]?{re.escape(key)}(_|$)", key_in(file))}
        return max(known.items(), key=lambda item: len(item[0]))[1][1]
    found = re.search(rf'"{re.escape(file)}",.*?file_hash="(\w+)"', inspect.getsource(module), re.DOTALL)
    return found and found[1]


def key_in(file: str) -> str:
    """The part of a weights file's name that keys Keras's table: 'efficientnetb0_notop.h5' -> 'b0_notop.h5'."""
    for prefix in ("efficientnetv2", "efficientnet", "weights_mobilenet_v3_"):
        file = file.removeprefix(prefix)
    return file


@pytest.mark.parametrize("name", OF_KERAS)
def test_every_row_names_a_constructor_of_keras(name):
    constructor = getattr(keras.applications, BACKBONES[name].constructor)
    assert {"include_top", "weights", "input_shape", "name"} <= set(inspect.signature(constructor).parameters)


@pytest.mark.parametrize("name", OF_KERAS)
def test_checksums_are_those_that_keras_checks(name):
    assert BACKBONES[name].checksum == checksum_in_keras(name)


def test_no_two_rows_share_a_file_or_a_checksum():
    rows = list(BACKBONES.values())
    assert len({row.weights_file for row in rows}) == len(rows)
    checksums = [row.checksum for row in rows if row.checksum]
    assert len(set(checksums)) == len(checksums)
    assert all(re.fullmatch(r"[0-9a-f]{32}|[0-9a-f]{64}", checksum) for checksum in checksums)


class Asked(Exception):
    """Raised in place of a download."""


@pytest.mark.parametrize("name", FAMILIES)
def test_keras_asks_for_the_file_of_the_table(name, monkeypatch):
    asked = {}

    def get_file(fname, origin, file_hash=None, **_):
        asked.update(fname=fname, file_hash=file_hash)
        raise Asked

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    with pytest.raises(Asked):
        weights.pretrained(name, 32)
    row = BACKBONES[name]
    assert asked == {"fname": row.weights_file.format(size=224), "file_hash": row.checksum}


@pytest.mark.parametrize("name", ["vgg16", "mobilenetv2", "mobilenetv3small", "efficientnetlite0"])
def test_the_smallest_side_is_accepted(name):
    built = weights.construct(name, BACKBONES[name].min_size)
    assert built.output_shape[1] >= 1
