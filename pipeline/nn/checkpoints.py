"""Weights of a fold in the making: each file beside the sha256 it may have; whether the fold can go on from them."""

import csv
import hashlib
import os
from pathlib import Path

import keras

from pipeline.nn.history import History

NAMES = ("checkpoint.weights.h5", "best.weights.h5")


def digests_of(weights: Path) -> Path:
    """Where the sha256 stand that a file of weights may have."""
    return weights.with_name(weights.name.partition(".")[0] + ".sha256")


def save(model: keras.Model, path: Path, *told: object) -> None:
    """Weights, whole or not at all, and a line of their sha256 and what is told; killed between the two, no harm."""
    temporary = path.with_name("." + path.name)
    model.save_weights(temporary)
    with open(digests_of(path), "a", encoding="utf-8") as listed:
        print(_sha256(temporary), *told, file=listed)
    os.replace(temporary, path)


def remove(folder: Path) -> None:
    """Forget what is half trained; the checkpoint first, without which nothing else counts."""
    for name in NAMES:
        (folder / name).unlink(missing_ok=True)
        digests_of(folder / name).unlink(missing_ok=True)


def wrong(folder: Path, *, best: bool) -> str:
    """What keeps a fold from going on from its checkpoint; empty where nothing does, or where it has none.

    `best`: the weights of its best epoch must be there too.
    """
    checkpoint, kept = (folder / name for name in NAMES)
    if not checkpoint.is_file():
        return ""
    try:
        told = _told(checkpoint)
        if told is None:
            return "its checkpoint is not what was written"
        history = History(folder / "history.csv", resume=True)
        if told and history.digest(int(told[0])) != told[1]:
            return "its history.csv is not what was written"
        if best and (not kept.is_file() or _told(kept) is None):
            return "the weights of its best epoch are not what was written"
    except (OSError, ValueError, KeyError, TypeError, IndexError, csv.Error) as error:
        return f"what was kept of it cannot be read ({error})"
    return ""


def _told(path: Path) -> list[str] | None:
    """What was told when these weights were saved; None where they are not what was written."""
    digest = _sha256(path)
    lines = (line.split() for line in digests_of(path).read_text(encoding="utf-8").splitlines())
    return next((told for known, *told in lines if known == digest), None)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
