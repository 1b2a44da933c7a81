"""The artifact store: every path and file format of an output folder; nothing else builds a path.

The path is the key and rows carry their GalaxyID.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core.tree import COLUMNS
from pipeline.errors import UserError
from pipeline.records import Artifact, atomic

ID = "GalaxyID"
SPARE = 1 << 26  # bytes to leave free on the disk
ROW = 4 * len(COLUMNS) + 8  # bytes of a galaxy's vote fractions in a file


class Store:
    """One plan's output folder."""

    def __init__(self, root: Path):
        self.root = Path(root)

    def require_space(self, need: float, what: str) -> None:
        """UserError where `need` bytes for `what` do not fit on the disk."""
        there = next(path for path in (self.root, *self.root.parents) if path.exists())
        free = shutil.disk_usage(there).free
        if need + SPARE > free:
            raise UserError(
                f"{what} take {need / 1e9:.2f} GB, with {SPARE / 1e9:.2f} to spare, and {there} has "
                f"{free / 1e9:.2f} GB free: make room, or choose another --output"
            )

    def sky(self) -> Artifact:
        """The synthetic galaxies, in the competition's own layout."""
        names = ("images_training_rev1", "training_solutions_rev1", "images_test_rev1", "all_zeros_benchmark")
        folder = self.root / "sky"
        files = (*(folder / f"{name}.zip" for name in names), folder / "sky_test_solutions.csv")
        return Artifact(folder / "sky.json", files)

    def inputs(self) -> Artifact:
        """labels.parquet, sample.csv (ids and header of a submission), images.json (fingerprints of the images)."""
        folder = self.root / "inputs"
        return Artifact(
            folder / "inputs.json", tuple(folder / n for n in ("labels.parquet", "sample.csv", "images.json"))
        )

    def weights_list(self) -> Path:
        """weights.json: backbone -> the weights file that the user gave (path, bytes, sha256)."""
        return self.root / "inputs" / "weights.json"

    def folds(self) -> Artifact:
        """folds.csv: GalaxyID,fold."""
        return Artifact(self.root / "folds.json", (self.root / "folds.csv",))

    def crops(self, crop: str, split: str) -> Artifact:
        """<split>.npy uint8 (n, size, size, 3) and <split>.ids.npy int64 (n,) of one crop spec."""
        folder = self.root / "crops" / crop
        return Artifact(folder / f"{split}.json", (folder / f"{split}.npy", folder / f"{split}.ids.npy"))

    def features(self, run: str) -> Artifact:
        """features.npy float32 (n, d): the run's frozen backbone on the training galaxies, the mean over its views."""
        folder = self.root / "runs" / run
        return Artifact(folder / "features.json", (folder / "features.npy",))

    def trained(self, run: str, fold: int) -> Artifact:
        """model.weights.h5 and history.csv of one fold."""
        folder = self.root / "runs" / run / f"fold{fold}"
        return Artifact(folder / "run.json", (folder / "model.weights.h5", folder / "history.csv"))

    def failure(self, run: str, fold: int) -> Path:
        """failed.json: why a fold could not be trained, and by which specification."""
        return self.root / "runs" / run / f"fold{fold}" / "failed.json"

    def predicted(self, run: str, fold: int) -> Artifact:
        """valid.parquet (the fold's held-out galaxies) and test.parquet of one fold."""
        folder = self.root / "runs" / run / f"fold{fold}"
        return Artifact(folder / "predictions.json", (folder / "valid.parquet", folder / "test.parquet"))

    def insight(self, run: str) -> Artifact:
        """insight.npz: activations, Grad-CAM and features of the run's network of fold 0; see the stage `insight`."""
        folder = self.root / "runs" / run
        return Artifact(folder / "insight.json", (folder / "insight.npz",))

    def search(self, run: str) -> Artifact:
        """trials.csv, best.toml and compared.csv: what the search for better settings of a run has found."""
        folder = self.root / "search" / run
        names = ("trials.csv", "best.toml", "compared.csv")
        return Artifact(folder / "search.json", tuple(folder / name for name in names))

    def baseline(self, name: str) -> Artifact:
        """oof.parquet of one baseline."""
        folder = self.root / "baselines" / name
        return Artifact(folder / "baseline.json", (folder / "oof.parquet",))

    def ensemble(self, name: str) -> Artifact:
        """oof.parquet (cross-fitted) and test.parquet of one blend."""
        folder = self.root / "ensembles" / name
        return Artifact(folder / "ensemble.json", (folder / "oof.parquet", folder / "test.parquet"))

    def submission(self, name: str) -> Artifact:
        """<name>.csv for the competition."""
        folder = self.root / "submissions"
        return Artifact(folder / f"{name}.json", (folder / f"{name}.csv",))

    def uploads(self) -> Artifact:
        """uploads.csv: what was sent to Kaggle, and the scores that came back."""
        folder = self.root / "submissions"
        return Artifact(folder / "uploads.json", (folder / "uploads.csv",))

    def report(self) -> Artifact:
        """leaderboard.csv, leaderboard.md and report.html."""
        names = ("leaderboard.csv", "leaderboard.md", "report.html")
        return Artifact(self.root / "report.json", tuple(self.root / name for name in names))

    def load_labels(self) -> pd.DataFrame:
        """Vote fractions of the training galaxies: float32 (n, 37), indexed by GalaxyID, ascending."""
        return load_fractions(self._must(self.inputs(), "inputs").files[0])

    def load_sample(self) -> tuple[list[str], np.ndarray]:
        """Header of a submission and its ids in order."""
        frame = pd.read_csv(self._must(self.inputs(), "inputs").files[1])
        return list(frame.columns), frame.iloc[:, 0].to_numpy()

    def load_folds(self) -> pd.Series:
        """Fold of every training galaxy, indexed by GalaxyID, ascending."""
        return pd.read_csv(self._must(self.folds(), "folds").files[0], index_col=ID)["fold"]

    def load_crops(self, crop: str, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Memory-mapped uint8 (n, size, size, 3) and the GalaxyIDs (n,) of its rows, ascending."""
        images, ids = self._must(self.crops(crop, split), "crops").files
        return np.load(images, mmap_mode="r"), np.load(ids)

    def load_training(self, crop: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(images uint8 (n, s, s, 3), labels float32 (n, 37), fold (n,)); the fold is -1 for images set aside."""
        images, ids = self.load_crops(crop, "train")
        labels = same_galaxies(self.load_labels(), ids, f"crops/{crop}/train").to_numpy()
        fold = self.load_folds().loc[ids].to_numpy()
        aside = (self.crops(crop, "train").record() or {}).get("set_aside", [])
        return images, labels, np.where(np.isin(ids, aside), -1, fold)

    def load_weights_list(self) -> dict[str, dict[str, Any]]:
        """backbone -> {path, bytes, sha256} of the weights files that the user gave; empty if none."""
        path = self.weights_list()
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def _must(self, artifact: Artifact, stage: str) -> Artifact:
        if artifact.record() is None:
            raise UserError(
                f"{artifact.record_path} is missing: run `./run.sh {stage} "
                f"--plan {self.root.name}` first, or the whole plan by ./run.sh"
            )
        return artifact


def save_fractions(path: Path, frame: pd.DataFrame) -> None:
    """Write vote fractions (n, 37), indexed by GalaxyID, as Parquet float32, ascending by id."""
    _check_fractions(frame, path)
    with atomic(path) as temporary:
        frame.sort_index().astype(np.float32).to_parquet(temporary)


def load_fractions(path: Path) -> pd.DataFrame:
    """Vote fractions float32 (n, 37), indexed by GalaxyID, ascending; UserError where they are not that."""
    frame = pd.read_parquet(path)
    _check_fractions(frame, path)
    return frame


def _check_fractions(frame: pd.DataFrame, path: Path) -> None:
    if tuple(frame.columns) != COLUMNS or frame.index.name != ID:
        raise UserError(f"{path}: expected {ID} and the 37 columns Class1.1 … Class11.6 in order")
    if frame.index.has_duplicates:
        raise UserError(f"{path}: GalaxyID {frame.index[frame.index.duplicated()][0]} stands there twice")
    if not np.isfinite(frame.to_numpy()).all():
        raise UserError(f"{path}: {int((~np.isfinite(frame.to_numpy())).any(axis=1).sum())} rows are not finite")


def fractions(ids: np.ndarray, values: np.ndarray) -> pd.DataFrame:
    """A frame of vote fractions from ids (n,) and values (n, 37)."""
    return pd.DataFrame(values, index=pd.Index(ids, name=ID), columns=list(COLUMNS))


def same_galaxies(frame: pd.DataFrame, ids: pd.Index | np.ndarray, what: str) -> pd.DataFrame:
    """Rows of `frame` in the order of `ids`; UserError where either has galaxies that the other lacks."""
    missing, extra = pd.Index(ids).difference(frame.index), frame.index.difference(pd.Index(ids))
    if len(missing) or len(extra):
        raise UserError(
            f"{what}: {len(missing)} galaxies are missing (such as {list(missing[:3])}), "
            f"{len(extra)} are not asked for (such as {list(extra[:3])})"
        )
    return frame.loc[ids]
