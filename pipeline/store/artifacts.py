"""The artifact store: every path and file format of an output folder; nothing else builds a path.

The path is the key and rows carry their GalaxyID.
"""

import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core.labels import Schema
from pipeline.errors import Damaged, UserError
from pipeline.plans import label_schemas
from pipeline.plans.backbones import BACKBONES
from pipeline.plans.layers import PLANS
from pipeline.plans.run import Run
from pipeline.store import sealed_json
from pipeline.store.fractions import aligned_to
from pipeline.store.label_table import ID, IMAGE, check_fractions, vote_columns
from pipeline.store.records import Artifact, save_json

MIN_FREE_BYTES = 1 << 26  # bytes to leave free on the disk


def _in_words(size: float) -> str:
    """40 MB; 3.2 GB."""
    return f"{size / 1e6:,.0f} MB" if size < 1e9 else f"{size / 1e9:,.1f} GB"


class Store:
    """One plan's output folder; `flags` of the command line name plan and folder, by default as stage 0 had them."""

    def __init__(self, root: Path, flags: tuple[str, ...] | None = None):
        self.root = Path(root)
        self.flags = flags or ("--plan", self._recorded_plan(), "--output", str(self.root.parent))

    @property
    def plan(self) -> str:
        """The plan's path, or the name of a shipped one."""
        return self.flags[self.flags.index("--plan") + 1]

    def _recorded_plan(self) -> str:
        """The plan that stage 0 read last, where it is still there."""
        recorded = Artifact(self.root / "inputs" / "inputs.json", ()).facts().get("plan")
        if isinstance(recorded, str) and Path(recorded).is_file():
            return recorded
        name = self.root.name
        return name if (PLANS / f"{name}.toml").is_file() else f"{name}.toml"

    def command(self, stage: str, *flags: str) -> str:
        """A command on this plan and folder, as a user may type it."""
        return f"`{shlex.join(['./run.sh', stage, *self.flags, *flags])}`"

    def _artifact(self, record: Path, names: tuple[str, ...], stage: str, *select: str) -> Artifact:
        """An artifact with its files beside its record, and the smallest command that rebuilds it."""
        make, force = self.command(stage, *select), self.command(stage, *select, "--force")
        mend = f"restore a copy, or rebuild it by {force}"
        return Artifact(record, tuple(record.with_name(n) for n in names), f"run {make} first, or the whole plan", mend)

    def require_space(self, need: float, what: str) -> None:
        """UserError where `need` bytes for `what` do not fit on the disk."""
        existing = next(path for path in (self.root, *self.root.parents) if path.exists())
        total, _, free = shutil.disk_usage(existing)
        if not total:
            raise UserError(f"{existing} is no place for files: choose another --output (or --to)")
        if need + MIN_FREE_BYTES > free:
            raise UserError(
                f"{what} take {_in_words(need)}, {_in_words(MIN_FREE_BYTES)} are kept free, and {existing} has "
                f"{_in_words(free)} free: make room, or choose another --output (or --to)"
            )

    def sky(self) -> Artifact:
        """The synthetic galaxies, in the competition's own layout."""
        names = ("images_training_rev1", "training_solutions_rev1", "images_test_rev1", "all_zeros_benchmark")
        files = (*(f"{name}.zip" for name in names), "sky_test_solutions.csv")
        return self._artifact(self.root / "sky" / "sky.json", files, "inputs")

    def inputs(self) -> Artifact:
        """labels.parquet, sample.csv (ids and header of a submission), images.json (fingerprints of the images)."""
        names = ("labels.parquet", "sample.csv", "images.json")
        return self._artifact(self.root / "inputs" / "inputs.json", names, "inputs")

    def weights_list(self) -> Path:
        """weights.json: backbone -> the weights file that the user gave (path, bytes, sha256)."""
        return self.root / "inputs" / "weights.json"

    def answers(self) -> Path:
        """Folder of what people answered on the page of `label`: PERSON.jsonl; see `store.answers`."""
        return self.root / "answers"

    def folds(self) -> Artifact:
        """folds.csv: GalaxyID,fold."""
        return self._artifact(self.root / "folds.json", ("folds.csv",), "folds")

    def crops(self, crop: str, split: str) -> Artifact:
        """<split>.npy uint8 (n, size, size, 3) and <split>.ids.npy int64 (n,) of one crop spec."""
        folder = self.root / "crops" / crop
        return self._artifact(folder / f"{split}.json", (f"{split}.npy", f"{split}.ids.npy"), "crops")

    def features(self, run: str) -> Artifact:
        """features.npy float32 (n, d): the run's frozen backbone on the training galaxies, the mean over its views."""
        return self._artifact(self.root / "runs" / run / "features.json", ("features.npy",), "train", "--run", run)

    def trained(self, run: str, fold: int) -> Artifact:
        """model.weights.h5 and history.csv of one fold."""
        names = ("model.weights.h5", "history.csv")
        return self._artifact(self._fold(run, fold) / "run.json", names, "train", "--run", run, "--fold", str(fold))

    def failure(self, run: str, fold: int) -> Path:
        """failed.json: why a fold could not be trained, and by which specification."""
        return self._fold(run, fold) / "failed.json"

    def predicted(self, run: str, fold: int) -> Artifact:
        """valid.parquet (the fold's held-out galaxies) and test.parquet of one fold."""
        names, select = ("valid.parquet", "test.parquet"), ("--run", run, "--fold", str(fold))
        return self._artifact(self._fold(run, fold) / "predictions.json", names, "predict", *select)

    def _fold(self, run: str, fold: int) -> Path:
        return self.root / "runs" / run / f"fold{fold}"

    def insight(self, run: str) -> Artifact:
        """insight.npz: activations, Grad-CAM and features of the run's network of fold 0; see the stage `insight`."""
        return self._artifact(self.root / "runs" / run / "insight.json", ("insight.npz",), "insight", "--run", run)

    def search(self, run: str) -> Artifact:
        """trials.csv, best.toml and compared.csv: what the search for better settings of a run has found."""
        folder = self.root / "search" / run
        files = tuple(folder / name for name in ("trials.csv", "best.toml", "compared.csv"))
        command = self.command("search", "--run", run, "--trials", "1")
        mend = f"{command} rebuilds it from its journal"  # without --force, which forgets all trials
        return Artifact(folder / "search.json", files, f"run {command}", mend)

    def efficiency(self, run: str, *, tuned: bool) -> Artifact:
        """results.csv, curves.csv and curves.svg: scores of a run against numbers of labels."""
        folder = self._efficiency(run, tuned)
        files = tuple(folder / name for name in ("results.csv", "curves.csv", "curves.svg"))
        command = self.command("label-efficiency", "--run", run, *["--fine-tune"] * tuned)
        return Artifact(folder / "label-efficiency.json", files, f"run {command}", f"{command} makes it again")

    def efficiency_features(self, run: str, start: str, *, tuned: bool) -> Artifact:
        """features.npy float32 (n, d): of all galaxies, from one start."""
        folder = self._efficiency(run, tuned) / start
        return self._artifact(folder / "features.json", ("features.npy",), "label-efficiency", "--run", run)

    def efficiency_result(self, run: str, start: str, size: int, repeat: int, *, tuned: bool) -> Path:
        """The scores of one start with so many labels, drawn for the n-th time."""
        return self._efficiency(run, tuned) / start / f"{size}-{repeat}.json"

    def _efficiency(self, run: str, tuned: bool) -> Path:
        return self.root / "label-efficiency" / run / ("fine-tuned" if tuned else "heads")

    def baseline(self, name: str) -> Artifact:
        """oof.parquet of one baseline."""
        record = self.root / "baselines" / name / "baseline.json"
        return self._artifact(record, ("oof.parquet",), "baselines", "--run", name)

    def baselines(self) -> list[str]:
        """Names of the baselines that there are."""
        return sorted(path.parent.name for path in self.baseline("*").record_path.parents[1].glob("*/baseline.json"))

    def ensemble(self, name: str) -> Artifact:
        """oof.parquet (cross-fitted) and test.parquet of one blend."""
        record = self.root / "ensembles" / name / "ensemble.json"
        return self._artifact(record, ("oof.parquet", "test.parquet"), "ensemble", "--run", name)

    def submission(self, name: str) -> Artifact:
        """<name>.csv for the competition."""
        return self._artifact(self.root / "submissions" / f"{name}.json", (f"{name}.csv",), "submit", "--run", name)

    def uploads(self) -> Artifact:
        """uploads.csv: what was sent to Kaggle, and the scores that came back."""
        record = self.root / "submissions" / "uploads.json"
        asks = f"{self.command('submit', '--upload')} asks Kaggle"
        return Artifact(
            record, (record.with_name("uploads.csv"),), asks, f"delete {record}: {asks} for the scores again"
        )

    def report(self) -> Artifact:
        """leaderboard.csv, leaderboard.md and report.html."""
        return self._artifact(self.root / "report.json", ("leaderboard.csv", "leaderboard.md", "report.html"), "report")

    def schema(self) -> Schema:
        """What the galaxies are labelled with, as stage 0 recorded it; without a record the competition's tree."""
        recorded = (self.inputs().record() or {}).get("schema")
        return label_schemas.from_record(recorded) if recorded else label_schemas.galaxy_zoo_2()

    def load_labels(self) -> pd.DataFrame:
        """Vote fractions of the training galaxies: float32 (n, c), indexed by GalaxyID, ascending."""
        path, schema = self.inputs().verified("labels.parquet"), self.schema()
        frame = pd.read_parquet(path)
        labels = frame[[column for column in frame if column not in (IMAGE, *vote_columns(schema))]]
        check_fractions(labels, path, schema, missing=True)
        return labels

    def load_votes(self) -> pd.DataFrame | None:
        """Numbers of votes of each question (n, q), rows as those of the labels; None where fractions are learnt."""
        schema = self.schema()
        if not schema.trains_on_votes:
            return None
        return pd.read_parquet(self.inputs().verified("labels.parquet"), columns=vote_columns(schema))

    def load_image_names(self) -> pd.Series | None:
        """Name of each training galaxy's image, indexed by GalaxyID; None where the id is its name."""
        frame = pd.read_parquet(self.inputs().verified("labels.parquet"))
        return frame.get(IMAGE)

    def duplicates(self) -> list[list[int]]:
        """Groups of GalaxyIDs whose training images are identical."""
        return self.inputs().required().get("copies", {}).get("train", [])

    def load_sample(self) -> tuple[list[str], np.ndarray]:
        """Header of a submission and its ids in order."""
        frame = pd.read_csv(self.inputs().verified("sample.csv"), **self._ids_in("test", 0))
        return list(frame.columns), frame.iloc[:, 0].to_numpy()

    def load_folds(self) -> pd.Series:
        """Fold of every training galaxy, indexed by GalaxyID, ascending."""
        return pd.read_csv(self.folds().verified(), index_col=ID, **self._ids_in("train", ID))["fold"]

    def _ids_in(self, split: str, column: int | str) -> dict[str, Any]:
        """How a csv is read so that ids which are text stay as they are."""
        is_text = self.inputs().facts().get("ids", {}).get(split) == "text"
        return {"dtype": {column: str}, "keep_default_na": False} if is_text else {}

    def load_crops(self, crop: str, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Memory-mapped uint8 (n, size, size, 3) and the GalaxyIDs (n,) of its rows, ascending."""
        artifact = self.crops(crop, split)
        images, ids = artifact.verified(f"{split}.npy"), artifact.verified(f"{split}.ids.npy")
        return np.load(images, mmap_mode="r"), np.load(ids)

    def training_votes(self, crop: str) -> np.ndarray | None:
        """Numbers of votes (n, q) of the rows of a crop, where these are learnt."""
        votes = self.load_votes()
        return None if votes is None else votes.loc[self.load_crops(crop, "train")[1]].to_numpy()

    def load_training(self, crop: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(images uint8 (n, s, s, 3), labels float32 (n, c), fold (n,)); the fold is -1 for images set aside."""
        images, ids = self.load_crops(crop, "train")
        labels = aligned_to(self.load_labels(), ids, f"crops/{crop}/train").to_numpy()
        fold = self.load_folds().loc[ids].to_numpy()
        return images, labels, np.where(np.isin(ids, self.set_aside(crop, "train")), -1, fold)

    def set_aside(self, crop: str, split: str) -> list[int]:
        """GalaxyIDs of the images of a crop that could not be used."""
        return self.crops(crop, split).fact("set_aside", list)

    def load_features(self, run: str) -> np.ndarray:
        """Features float32 (n, d) of a run's frozen backbone."""
        return np.load(self.features(run).verified())

    def load_weights_list(self) -> dict[str, dict[str, Any]]:
        """backbone -> {path, bytes, sha256} of the weights files that the user gave; empty if none."""
        path = self.weights_list()
        again = self.command("inputs", "--weights", "BACKBONE=FILE", "--force")
        mend = f"give all weights files again by {again}, or delete it where none were given"
        found = sealed_json.load(path, mend) or {}
        kinds = {"path": str, "bytes": int, "sha256": str}
        for name, entry in found.items():
            known = isinstance(entry, dict) and all(isinstance(entry.get(key), kind) for key, kind in kinds.items())
            if name not in BACKBONES or not known:
                raise Damaged(f"{path} is damaged ({name!r} is no backbone with path, bytes and sha256); {mend}")
        return found

    def given_weights(self, run: Run) -> dict[str, Any] | None:
        """The weights file that the user gave for a run's backbone; None where it starts from others."""
        return self.load_weights_list().get(run.backbone) if run.needs_imagenet else None

    def save_weights_list(self, given: dict[str, dict[str, Any]]) -> None:
        """See `load_weights_list`."""
        save_json(self.weights_list(), sealed_json.sealed(given))

    def load_failure(self, run: str, fold: int) -> dict[str, Any] | None:
        """{spec, why} of a fold that could not be trained; None where that is not known, so that it is tried again."""
        try:
            failure = sealed_json.load(self.failure(run, fold), "")
        except Damaged:
            return None
        return failure if failure and isinstance(failure.get("why"), str) and "spec" in failure else None

    def save_failure(self, run: str, fold: int, spec: dict[str, Any], why: str) -> None:
        """See `load_failure`."""
        save_json(self.failure(run, fold), sealed_json.sealed({"spec": spec, "why": why}))
