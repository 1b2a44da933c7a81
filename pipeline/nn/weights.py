"""A backbone's first weights: from a given file, from ImageNet's (Keras's download or a package), or random."""

import hashlib
import logging
import tempfile
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import keras

from pipeline.checkpoints import files, packaged
from pipeline.errors import UserError
from pipeline.nn import converted
from pipeline.nn.backbone import construct, pretrained
from pipeline.plans.backbones import BACKBONES, keras_folder

log = logging.getLogger(__name__)


class FirstWeights(NamedTuple):
    """A backbone with its first weights, and their origin (source, file, sha256)."""

    backbone: keras.Model
    origin: dict[str, Any]


def build_backbone(name: str, size: int, given: dict[str, Any] | None, on_missing: str) -> FirstWeights:
    """The backbone for (size, size, 3) inputs. UserError where its weights are missing and must not be.

    `given` names a file as {path, sha256}; without it Keras's own download is tried, and where that fails
    `on_missing` decides: "error", or "random".
    """
    if given:
        return FirstWeights(_from_file(name, size, given), {"source": "file", **given})
    if BACKBONES[name].package:
        return _from_package(name, size, on_missing)
    try:
        return FirstWeights(pretrained(name, size), {"source": "imagenet", **_downloaded(name, size)})
    except Exception as error:  # Keras raises a bare Exception for a failed download
        if on_missing == "error":
            raise UserError(
                f"no ImageNet weights for {name}: {_shortened(error)}. Connect to the network once, or fetch that file "
                f"elsewhere and give it by --weights {name}=FILE, or say in the plan "
                f'on_missing_weights = "random" (far less accurate)'
            ) from None
        why = _shortened(error)
    return _random(name, size, why)


def _from_package(name: str, size: int, on_missing: str) -> FirstWeights:
    path = packaged.find(name)
    if path is None and on_missing == "error":
        raise UserError(packaged.missing(name))
    if path is None:
        return _random(name, size, f"{BACKBONES[name].package} is not installed")
    backbone = construct(name, size)
    converted.load(backbone, name, path)
    return FirstWeights(backbone, {"source": "imagenet", "file": path.name, "sha256": BACKBONES[name].checksum})


def _random(name: str, size: int, why: str) -> FirstWeights:
    log.warning(
        "train      %s: NO IMAGENET WEIGHTS here (%s); it starts from RANDOM ones, far less accurate", name, why
    )
    return FirstWeights(construct(name, size), {"source": "random"})


def _from_file(name: str, size: int, given: dict[str, Any]) -> keras.Model:
    path = Path(given["path"])
    if not path.is_file():
        raise UserError(f"the weights file {path} of {name} is gone: give it again by --weights {name}=FILE")
    with open(path, "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != given["sha256"]:
            raise UserError(f"{path} has changed since it was given: give it again by --weights {name}=FILE")
    backbone = construct(name, size)
    if files.is_one(path):
        converted.load(backbone, name, path)
        return backbone
    try:
        with warnings.catch_warnings(), named_by_format(path) as named:
            warnings.simplefilter("ignore")  # layers that it skips, one by one, before it fails
            backbone.load_weights(named)
    except (ValueError, OSError, KeyError) as error:
        raise UserError(f"{path} does not hold the weights of {name} without its top: {_shortened(error)}") from None
    return backbone


@contextmanager
def named_by_format(path: Path) -> Iterator[Path]:
    """The HDF5 file under a name that ends as Keras expects it of its format: by the name alone it tells them apart."""
    with h5py.File(path) as file:
        older = "layer_names" in file.attrs
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / ("older.h5" if older else "newer.weights.h5")
        named.symlink_to(path.absolute())
        yield named


def _shortened(error: Exception) -> str:
    """The first sentence of an error, at most 200 characters of it."""
    text = " ".join(str(error).split())
    return textwrap.shorten(text.split(". ")[0], 200, placeholder=" …")


def _downloaded(name: str, size: int) -> dict[str, str]:
    """File and digest of the download that Keras takes for inputs of that side, where it lies under Keras's name."""
    path = keras_folder() / "models" / BACKBONES[name].file_for(size)
    if not path.is_file():
        return {}
    with open(path, "rb") as file:
        return {"file": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
