"""Images that stand under several names: in two folds, or in training and test, they would leak what they answer."""

from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd

from pipeline.competition.source_files import Files, Images
from pipeline.errors import DamagedImage

Groups = list[list[int]]


def find(files: Files) -> dict[str, Groups]:
    """{"train": groups of the same training image, "across": groups of training and then test images}, by GalaxyID.

    The same is what has the same bytes. Only images of one size (and checksum, in a zip) are read.
    """
    with Images(files.train) as train, Images(files.test) as test:
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


def _same_bytes(candidates: list[tuple[Images, int]]) -> list[list[tuple[Images, int]]]:
    found = defaultdict(list)
    for images, galaxy_id in candidates:
        try:
            found[images.read(galaxy_id)].append((images, galaxy_id))
        except DamagedImage:
            continue  # the crops stage tells
    return [group for group in found.values() if len(group) > 1]


def together(folds: pd.Series, groups: Groups) -> pd.Series:
    """Folds, indexed by GalaxyID, in which all names of an image have the fold of the first."""
    folds = folds.copy()
    for group in groups:
        folds.loc[group] = np.asarray(folds.loc[group[0]])
    return folds


def worries(record: dict[str, Any]) -> list[str]:
    """What the record of stage 0 says of copies, as sentences."""
    copies = record.get("copies", {})
    told = []
    if groups := copies.get("across"):
        told.append(f"{len(groups):,} images stand in training and test both (such as GalaxyID {_such(groups[0])}).")
    if groups := copies.get("train"):
        told.append(
            f"{len(groups):,} training images stand under several GalaxyIDs (such as {_such(groups[0])}); each was "
            f"kept in one fold."
        )
    return told


def _such(group: list[int]) -> str:
    return " and ".join(map(str, group[:3]))
