"""Duplicate images: the same bytes under several GalaxyIDs would leak labels between folds, or into the test set."""

import hashlib
from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd

from pipeline.competition.image_set import ImageSet
from pipeline.errors import DamagedImage

Groups = list[list[Any]]  # of ids


def find(train: ImageSet, test: ImageSet) -> dict[str, Groups]:
    """{"train": duplicates within training, "across": duplicates of training (first) and test images}, as GalaxyIDs.

    Duplicates have the same bytes. Only images of equal size (and checksum, in a zip) are read.
    """
    alike = defaultdict(list)
    for images in (train, test):
        for galaxy_id, size, checksum in images.sizes():
            alike[size, checksum].append((images, galaxy_id))
    same = [group for candidates in alike.values() if len(candidates) > 1 for group in _same_bytes(candidates)]
    split = [([i for images, i in g if images is train], [i for images, i in g if images is test]) for g in same]
    return {
        "train": sorted(sorted(of_train) for of_train, _ in split if len(of_train) > 1),
        "across": sorted([*sorted(of_train), *sorted(of_test)] for of_train, of_test in split if of_train and of_test),
    }


def _same_bytes(candidates: list[tuple[ImageSet, Any]]) -> list[list[tuple[ImageSet, Any]]]:
    found = defaultdict(list)
    for images, galaxy_id in candidates:
        try:
            found[images.read(galaxy_id)].append((images, galaxy_id))
        except DamagedImage:
            continue  # the crops stage reports it
    return [group for group in found.values() if len(group) > 1]


def same_images(mine: ImageSet, others: ImageSet) -> dict[Any, Any]:
    """Id among `mine` -> id among `others` of the same bytes. Only images of equal size are read."""
    sizes = {size for _, size, _ in mine.sizes()}
    there = {_digest(others, one): one for one, size, _ in others.sizes() if size in sizes}
    there.pop(None, None)
    sizes = {size for _, size, _ in others.sizes()}
    found = {one: there.get(_digest(mine, one)) for one, size, _ in mine.sizes() if size in sizes}
    return {one: other for one, other in found.items() if other is not None}


def _digest(images: ImageSet, galaxy: Any) -> bytes | None:
    try:
        return hashlib.sha256(images.read(galaxy)).digest()
    except DamagedImage:
        return None  # the crops stage reports it


def keep_in_one_fold(folds: pd.Series, groups: Groups) -> pd.Series:
    """Folds, indexed by GalaxyID, with all duplicates of an image in the fold of the first."""
    folds = folds.copy()
    for group in groups:
        folds.loc[group] = np.asarray(folds.loc[group[0]])
    return folds


def caveats(record: dict[str, Any]) -> list[str]:
    """Sentences about the duplicates that stage 0 recorded."""
    copies = record.get("copies", {})
    found = []
    if groups := copies.get("across"):
        found.append(f"{len(groups):,} images are in training and test both (such as GalaxyID {_examples(groups[0])}).")
    if groups := copies.get("train"):
        found.append(
            f"{len(groups):,} training images have several GalaxyIDs (such as {_examples(groups[0])}); each was "
            f"kept in one fold."
        )
    return found


def _examples(group: list[int]) -> str:
    return " and ".join(map(str, group[:3]))
