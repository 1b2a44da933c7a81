"""Outputs of single stages, written as the stages write them: inputs, folds, crops, predictions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core import tree
from pipeline.plans.crops import Crop
from pipeline.store.artifacts import ID, Store
from pipeline.store.fractions import fractions_frame, save_fractions
from pipeline.store.records import Artifact
from tests.builders.galaxy_zoo_2 import GZ2

FIRST_TRAIN, FIRST_TEST = 100_000, 500_000
SAVE = {str: Path.write_text, np.ndarray: np.save, pd.DataFrame: lambda path, frame: save_fractions(path, frame, GZ2)}


def write(
    artifact: Artifact, files: Mapping[str, Any], spec: dict | None = None, made_from: dict | None = None, **facts: Any
) -> None:
    """An artifact: its files by name (text, arrays or fractions) and its record."""
    artifact.begin()
    for path in artifact.files:
        SAVE[type(files[path.name])](path, files[path.name])
    artifact.finish(spec or {}, made_from or {}, **facts)


def votes(n: int, seed: int = 0) -> np.ndarray:
    """Vote fractions (n, 37) on which every sum holds."""
    return tree.normalise(GZ2, np.random.default_rng(seed).random((n, 37)))


def ids(n: int, first: int = FIRST_TRAIN) -> np.ndarray:
    """n ascending GalaxyIDs."""
    return first + 7 * np.arange(n)


def sample(n: int, header: tuple[str, ...] = (ID, *GZ2.columns)) -> pd.DataFrame:
    """A sample file of n galaxies, not in ascending order."""
    frame = pd.DataFrame(0, index=range(n), columns=list(header))
    frame.iloc[:, 0] = np.random.default_rng(1).permutation(ids(n, FIRST_TEST))
    return frame


def inputs(store: Store, labels: np.ndarray, sample: pd.DataFrame, galaxies: np.ndarray | None = None) -> None:
    """Stage 0: labels (n, 37) of `galaxies` (else of `ids(n)`), and the sample file."""
    galaxies = ids(len(labels)) if galaxies is None else galaxies
    files = {"labels.parquet": fractions_frame(galaxies, labels, GZ2), "sample.csv": sample.to_csv(index=False)}
    write(store.inputs(), files | {"images.json": "{}"}, folder="sky")


def folds(store: Store, fold: np.ndarray, galaxies: np.ndarray | None = None) -> None:
    """Stage 1: the fold (n,) of each galaxy."""
    galaxies = ids(len(fold)) if galaxies is None else galaxies
    series = pd.Series(fold, index=pd.Index(galaxies, name=ID), name="fold")
    write(store.folds(), {"folds.csv": series.to_csv()}, sizes=np.bincount(fold).tolist())


def split_crops(store: Store, crop: str, split: str, images: np.ndarray, galaxies: np.ndarray, **facts: Any) -> None:
    """Stage 2, one crop of one split: images (n, s, s, 3) of `galaxies`."""
    spec = Crop(region=256, size=images.shape[1]).model_dump() | {"split": split}
    made_from = {"inputs": store.inputs().digest()}
    files = {f"{split}.npy": images, f"{split}.ids.npy": galaxies}
    write(store.crops(crop, split), files, spec, made_from, **facts)


def crops(store: Store, crop: str, *, train: np.ndarray, test: np.ndarray, aside: dict[str, list[int]]) -> None:
    """Stage 2, one crop of both splits: images (n, s, s, 3)."""
    for split, images, first in (("train", train, FIRST_TRAIN), ("test", test, FIRST_TEST)):
        split_crops(store, crop, split, images, ids(len(images), first), set_aside=aside.get(split, []))


def predictions(store: Store, run: str, fold_of: np.ndarray, oof: np.ndarray, tests: list[np.ndarray]) -> None:
    """Stage 5 of one run: out-of-fold (n, 37), and the test predictions (m, 37) of each fold."""
    for fold, test in enumerate(tests):
        rows = fold_of == fold
        valid = fractions_frame(ids(len(oof))[rows], oof[rows], GZ2)
        frames = {"valid.parquet": valid, "test.parquet": fractions_frame(ids(len(test), FIRST_TEST), test, GZ2)}
        write(store.predicted(run, fold), frames)
