"""Pretrained weights, checked before any work: files of the user, or Keras's own, cached or downloadable."""

import hashlib
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from pipeline.checkpoints import files, mapped, packaged
from pipeline.errors import UserError, meant
from pipeline.plans.backbones import BACKBONES, keras_folder
from pipeline.plans.config import Plan
from pipeline.store.artifacts import Store
from pipeline.store.records import file_digest

HDF5 = b"\x89HDF\r\n\x1a\n"
SUFFIXES = (".h5", ".hdf5")  # that Keras reads
SOURCE = "https://storage.googleapis.com/tensorflow/keras-applications/"  # where Keras downloads them


def require_available(plan: Plan, store: Store, given: dict[str, Any]) -> None:
    """UserError where a run that is still to be trained needs weights that are not available."""
    pretrained = [run for run in plan.runs if run.needs_imagenet and not run.start_from]  # else the run before does
    waiting = [run for run in pretrained if any(not store.trained(run.name, k).facts() for k in range(plan.folds))]
    required = {(r.backbone, plan.input_size(r)) for r in waiting if r.on_missing_weights == "error"}
    required = {(name, size) for name, size in required if name not in given}
    for name in sorted({name for name, _ in required if BACKBONES[name].package}):
        if packaged.find(name) is None:
            raise UserError(packaged.missing(name))
    downloads = {pair for pair in required if not BACKBONES[pair[0]].package and not cached_by_keras(*pair)}
    missing = sorted({(name, BACKBONES[name].file_for(size)) for name, size in downloads})
    if missing and not _reachable():
        names = sorted({name for name, _ in missing})
        options = " ".join(f"--weights {name}=FILE" for name in names)
        raise UserError(
            f"no ImageNet weights for {', '.join(names)}, and Keras's downloads cannot be reached: connect to the "
            f"network once, or fetch them elsewhere (Keras calls them "
            f"{', '.join(file for _, file in missing)}) and give them by "
            f'{options}, or say in the plan on_missing_weights = "random" (far less accurate)'
        )


def cached_by_keras(name: str, size: int) -> bool:
    """Whether Keras has already downloaded its file for inputs of that side."""
    return (keras_folder() / "models" / BACKBONES[name].file_for(size)).is_file()


def _reachable() -> bool:
    try:
        with urllib.request.urlopen(SOURCE, timeout=5):
            return True
    except urllib.error.HTTPError:  # it answers
        return True
    except OSError:
        return False


def parse_weights(items: list[str], plan: Plan) -> dict[str, dict[str, Any]]:
    """['backbone=file', …] -> {backbone: {path, bytes, sha256}}; UserError where one is invalid."""
    used = {run.backbone for run in plan.runs}
    found = {}
    for item in items:
        name, _, file = item.partition("=")
        if name not in BACKBONES or not file:
            raise UserError(
                f"--weights {item}: expected BACKBONE=FILE, BACKBONE one of {', '.join(BACKBONES)}"
                f"{'' if name in BACKBONES else meant(name, BACKBONES)}"
            )
        if name not in used:
            raise UserError(f"--weights {item}: no run of plan {plan.name} uses {name}, only {', '.join(sorted(used))}")
        path = _existing(name, Path(os.path.expanduser(file)))
        try:
            _check(name, path)
        except OSError as error:
            raise UserError(f"--weights {name}={path} cannot be read: {error.strerror or error}") from None
        found[name] = {"path": str(path), "bytes": path.stat().st_size, "sha256": file_digest(path)}
    return found


def _existing(name: str, path: Path) -> Path:
    """The file itself, links followed; UserError where there is none."""
    where = f"--weights {name}={path}"
    if path.is_dir():
        raise UserError(f"{where}: it is a folder; expected a file in it")
    if path.is_symlink() and not path.exists():
        raise UserError(f"{where}: it is a link to {os.readlink(path)}, where there is no file")
    if not path.is_file():
        raise UserError(f"{where}: there is no such file")
    if not path.stat().st_size:
        raise UserError(f"{where}: it is empty; download it again")
    return path.resolve()


def _check(name: str, path: Path) -> None:
    """UserError where the file is of no known format, or holds another backbone.

    A file of the table's name must have its checksum; what else an HDF5 file holds only Keras can tell, later.
    """
    if files.is_one(path):
        _compare_with_checksum(name, path)
        mapped.read(path, name)
        return
    with open(path, "rb") as file:
        start = file.read(len(HDF5))
    if start != HDF5:
        raise UserError(
            f"--weights {name}={path}: expected an HDF5 file of Keras, or one of "
            f"safetensors or torch.save, and its first bytes say it is none"
        )
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--weights {name}={path}: Keras reads it under a name that ends in .h5 only: rename it")
    _compare_with_checksum(name, path)


def _compare_with_checksum(name: str, path: Path) -> None:
    """UserError where a file of the table's name is not the table's; of another name, it is the user's own."""
    expected = BACKBONES[name].checksum if path.name == BACKBONES[name].weights_file else None
    if expected is None:
        return
    kind = "md5" if len(expected) == 32 else "sha256"
    with open(path, "rb") as file:
        received = hashlib.file_digest(file, kind).hexdigest()
    if received != expected:
        source = BACKBONES[name].package or "Keras"
        raise UserError(
            f"--weights {name}={path}: its {kind} is {received}, that of the file of this name from {source} is "
            f"{expected}; download it again, or rename it if it is your own"
        )
