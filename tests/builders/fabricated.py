"""A store in any state without the work: units of a plan written as small files, or known predictions."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.core import tree
from pipeline.plans.config import Plan, load_plan
from pipeline.store import dependencies
from pipeline.store.artifacts import ID, Store, fractions, save_fractions

PLAN = """
seed = 1
folds = 2
sky = { train = 24, test = 6 }
baselines = ["mean", "ridge"]
[crops.big]
region = 256
size = 64
[crops.small]
region = 128
size = 32
[[runs]]
name = "a"
backbone = "vgg16"
crop = "big"
head_phase = { epochs = 1 }
[[runs]]
name = "b"
backbone = "mobilenetv2"
crop = "small"
fine_tune = { epochs = 2 }
[[ensembles]]
name = "both"
runs = ["a", "b"]
method = "mean"
[[ensembles]]
name = "alone"
runs = ["a"]
"""


def write_plan(folder: Path, *edits: tuple[str, str], more: str = "") -> Path:
    """The plan above as mine.toml, after (old, new) edits and with more tables at its end."""
    text = PLAN
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    path = folder / "mine.toml"
    path.write_text(text + more)
    return path


def plan(folder: Path, *edits: tuple[str, str], more: str = "") -> Plan:
    """The plan above, loaded."""
    return load_plan(str(write_plan(folder, *edits, more=more)))


def make(unit: dependencies.Unit, content: str = "1") -> None:
    """Files that hold `content` and the record of a unit."""
    unit.artifact.begin()
    for path in unit.artifact.files:
        path.write_text(f"{unit.label} {path.name} {content}")
    facts = {"folder": "sky"} if unit.label == "inputs" else {"set_aside": []} if unit.stage == "crops" else {}
    unit.finish(**facts)


def complete(wanted: Plan, store: Store) -> None:
    """Every unit of a plan, in the order of the stages."""
    for unit in dependencies.every(wanted, store):
        make(unit)


def only(wanted: Plan, store: Store, label: str) -> dependencies.Unit:
    """The unit of that label."""
    return next(unit for unit in dependencies.every(wanted, store) if unit.label == label)


def votes(n: int, seed: int = 0) -> np.ndarray:
    """Vote fractions (n, 37) on which every sum holds."""
    return tree.normalise(np.random.default_rng(seed).random((n, 37)))


def ids(n: int, first: int = 100_000) -> np.ndarray:
    """n ascending GalaxyIDs."""
    return first + 7 * np.arange(n)


def inputs(store: Store, labels: np.ndarray, sample: pd.DataFrame) -> None:
    """Stage 0's artifact: labels (n, 37) of `ids(n)`, and the sample file."""
    artifact = store.inputs()
    artifact.begin()
    save_fractions(artifact.files[0], fractions(ids(len(labels)), labels))
    sample.to_csv(artifact.files[1], index=False)
    artifact.files[2].write_text("{}")
    artifact.finish({}, {}, folder="sky")


def sample(n: int, header: tuple[str, ...] = (ID, *tree.COLUMNS)) -> pd.DataFrame:
    """A sample file of n galaxies, not in ascending order."""
    frame = pd.DataFrame(0, index=range(n), columns=list(header))
    frame.iloc[:, 0] = np.random.default_rng(1).permutation(ids(n, 500_000))
    return frame


def folds(store: Store, fold: np.ndarray) -> None:
    """Stage 1's artifact."""
    artifact = store.folds()
    artifact.begin()
    pd.Series(fold, index=pd.Index(ids(len(fold)), name=ID), name="fold").to_csv(artifact.files[0])
    artifact.finish({}, {})


def crops(store: Store, crop: str, *, train: np.ndarray, test: np.ndarray, aside: dict[str, list[int]]) -> None:
    """Stage 2's artifacts of one crop: images (n, s, s, 3) of `ids(n)` and of `ids(n, 500_000)`."""
    for split, images, first in (("train", train, 100_000), ("test", test, 500_000)):
        artifact = store.crops(crop, split)
        artifact.begin()
        np.save(artifact.files[0], images)
        np.save(artifact.files[1], ids(len(images), first))
        artifact.finish({}, {}, set_aside=aside.get(split, []))


def predictions(store: Store, run: str, fold_of: np.ndarray, oof: np.ndarray, tests: list[np.ndarray]) -> None:
    """Stage 5's artifacts of one run: out-of-fold (n, 37), and the test predictions (m, 37) of each fold."""
    for fold, test in enumerate(tests):
        artifact = store.predicted(run, fold)
        artifact.begin()
        rows = fold_of == fold
        save_fractions(artifact.files[0], fractions(ids(len(oof))[rows], oof[rows]))
        save_fractions(artifact.files[1], fractions(ids(len(test), 500_000), test))
        artifact.finish({}, {})
