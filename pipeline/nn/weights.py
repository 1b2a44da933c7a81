"""Where a backbone's first weights come from: a file the user gave, Keras's ImageNet file, or chance."""

import hashlib
import logging
import os
import textwrap
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import keras

from pipeline.backbones import BACKBONES
from pipeline.checkpoints import files, packaged
from pipeline.errors import UserError
from pipeline.nn import converted, efficientnet_lite

log = logging.getLogger(__name__)


class Start(NamedTuple):
    """A backbone with its first weights, and where they came from (source, file, sha256)."""

    backbone: keras.Model
    origin: dict[str, Any]


def build_backbone(name: str, size: int, given: dict[str, Any] | None, on_missing: str) -> Start:
    """The backbone for (size, size, 3) inputs. UserError where its weights are missing and must not be.

    `given` names a file as {path, sha256}; without it Keras's own download is tried, and where that fails
    `on_missing` decides: "error", or "random".
    """
    if given:
        return Start(_from_file(name, size, given), {"source": "file", **given})
    if BACKBONES[name].package:
        return _from_package(name, size, on_missing)
    try:
        return Start(construct(name, size, "imagenet"), {"source": "imagenet", **_downloaded(name)})
    except Exception as error:  # Keras raises a bare Exception for a failed download
        if on_missing == "error":
            raise UserError(
                f"no ImageNet weights for {name}: {_shortened(error)}. Connect to the network once, or fetch that file "
                f"elsewhere and give it by --weights {name}=FILE, or say in the plan "
                f'on_missing_weights = "random" (far less accurate)'
            ) from None
    return _random(name, size)


def _from_package(name: str, size: int, on_missing: str) -> Start:
    path = packaged.find(name)
    if path is None and on_missing == "error":
        raise UserError(packaged.missing(name))
    if path is None:
        return _random(name, size)
    backbone = construct(name, size, None)
    converted.load(backbone, name, path)
    return Start(backbone, {"source": "imagenet", "file": path.name, "sha256": BACKBONES[name].checksum})


def _random(name: str, size: int) -> Start:
    log.warning("train      %s: NO IMAGENET WEIGHTS here; it starts from RANDOM ones, far less accurate", name)
    return Start(construct(name, size, None), {"source": "random"})


def construct(name: str, size: int, weights: str | None) -> keras.Model:
    """The backbone without its top for (size, size, 3) inputs; `weights` as keras.applications takes them.

    Where the weights come with a package they are None here.
    """
    if BACKBONES[name].package:
        return efficientnet_lite.build(name, size)
    constructor = getattr(keras.applications, BACKBONES[name].constructor)
    # under Keras's own name: EfficientNetV2 and ConvNeXt look their blocks and files up by it
    return constructor(include_top=False, weights=weights, input_shape=(size, size, 3))


def _from_file(name: str, size: int, given: dict[str, Any]) -> keras.Model:
    path = Path(given["path"])
    if not path.is_file():
        raise UserError(f"the weights file {path} of {name} is gone: give it again by --weights {name}=FILE")
    with open(path, "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != given["sha256"]:
            raise UserError(f"{path} has changed since it was given: give it again by --weights {name}=FILE")
    backbone = construct(name, size, None)
    if files.is_one(path):
        converted.load(backbone, name, path)
        return backbone
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # layers that it skips, one by one, before it fails
            backbone.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise UserError(f"{path} does not hold the weights of {name} without its top: {_shortened(error)}") from None
    return backbone


def _shortened(error: Exception) -> str:
    """The first sentence of an error, at most 200 characters of it."""
    text = " ".join(str(error).split())
    return textwrap.shorten(text.split(". ")[0], 200, placeholder=" …")


def _downloaded(name: str) -> dict[str, str]:
    """File and digest of Keras's download, where it is found under Keras's name."""
    folder = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"
    pattern = BACKBONES[name].weights_file.format(size="*")
    for path in sorted(folder.glob(pattern)):
        with open(path, "rb") as file:
            return {"file": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    return {}
