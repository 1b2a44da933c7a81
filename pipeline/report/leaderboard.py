"""The leaderboard: every baseline, run and ensemble of a plan, scored on the same galaxies.

All scores are out of fold: no model predicts a galaxy that it was trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.competition import uploads
from pipeline.core import classes, metrics, stats
from pipeline.core.labels import Schema
from pipeline.plans.config import Plan
from pipeline.store.artifacts import Store
from pipeline.store.fractions import aligned_to, load_fractions

NAMES = ("name", "kind")  # kind: baseline, run or ensemble
COSTS = (
    "params",  # of one network; of an ensemble: of one network of each member
    "train_seconds",  # of all folds; of an ensemble: of all members
    "images_per_second",  # galaxies that one network predicts, all their views; of an ensemble: one of each member
)
KAGGLE = ("kaggle_public", "kaggle_private")  # of its submission as it is now, where Kaggle has scored it
OF_CLASSES = ("accuracy", "balanced_accuracy", "f1", "average_precision")  # of the classes of the first question
DIGITS = {"beyond_noise": 8, "fold_std": 8, "views_gain": 8, "train_seconds": 6, "images_per_second": 3}
DIGITS |= dict.fromkeys(OF_CLASSES, 5)


def columns_of(schema: Schema) -> tuple[str, ...]:
    """The columns of a leaderboard; the third, which decides, is the schema's score, its interval follows.

    beyond_noise: the part of the RMSE that the finite number of votes does not explain; fold_std: standard deviation of
    the folds' scores; views_gain: by how much a single view's RMSE is higher, of runs that were fine-tuned.
    """
    decides = metrics.deciding(schema).name
    scores = (decides, f"{decides}_low", f"{decides}_high")
    if schema.describes_classes:
        return (*NAMES, *scores, "fold_std", *OF_CLASSES, *COSTS)
    return (*NAMES, *scores, "beyond_noise", "fold_std", "views_gain", accuracy_column(schema), *COSTS, *KAGGLE)


def accuracy_column(schema: Schema) -> str:
    """The column of the accuracy: accuracy5 for five classes that the schema derives."""
    return f"accuracy{len(schema.own_classes) or ''}"


@dataclass(frozen=True)
class Entry:
    """One line of the leaderboard and the arrays that it was computed from; NaN where something is not known."""

    name: str
    kind: str
    predicted: np.ndarray  # (n, c) out of fold
    errors: np.ndarray  # (n,) squared error, or log loss, per galaxy
    folds: np.ndarray  # (k,) score of each fold
    interval: tuple[float, float]
    noise: float  # the RMSE of perfect predictions
    single_view_rmse: float  # the RMSE of a single view
    summary: dict[str, float]  # accuracy and, of classes, more
    params: float
    train_seconds: float
    images_per_second: float
    kaggle: tuple[float, float]  # public and private score
    decides: metrics.Score

    @property
    def score(self) -> float:
        """The score that decides, over all galaxies."""
        return self.decides.of(self.errors)

    @property
    def accuracy(self) -> float:
        """Share of the galaxies of a class whose predicted one is right."""
        return self.summary["accuracy"]

    @property
    def beyond_noise(self) -> float:
        """What is left of the RMSE when the noise of the votes is taken off, in quadrature."""
        return float(np.sqrt(np.maximum(0.0, self.score**2 - self.noise**2)))

    def row(self) -> dict[str, Any]:
        """Its values by column, those of any kind of labels."""
        decides, (low, high) = self.decides.name, self.interval
        made = {"name": self.name, "kind": self.kind, decides: self.score}
        made |= {f"{decides}_low": low, f"{decides}_high": high, "beyond_noise": self.beyond_noise}
        made |= {"fold_std": float(self.folds.std()), "views_gain": self.single_view_rmse - self.score}
        made |= {key: getattr(self, key) for key in COSTS} | dict(zip(KAGGLE, self.kaggle, strict=True))
        return made | self.summary


@dataclass(frozen=True)
class Leaderboard:
    """All entries, best first, with the galaxies that they were scored on."""

    entries: tuple[Entry, ...]
    truth: np.ndarray  # (n, c)
    fold_of: np.ndarray  # (n,)
    ids: np.ndarray  # (n,)
    schema: Schema

    def best(self, kind: str) -> Entry | None:
        """The best entry of a kind; None where there is none."""
        return next((entry for entry in self.entries if entry.kind == kind), None)

    def of_kind(self, kind: str) -> list[Entry]:
        """All entries of a kind, best first."""
        return [entry for entry in self.entries if entry.kind == kind]

    def frame(self) -> pd.DataFrame:
        """The leaderboard as a table with the columns of the schema."""
        named = {"accuracy": accuracy_column(self.schema)}
        rows = [{named.get(key, key): value for key, value in entry.row().items()} for entry in self.entries]
        columns = columns_of(self.schema)
        scores = dict.fromkeys(columns[2:5], 8)  # digits enough to be rounded again, as the report rounds them
        digits = DIGITS | scores | {named["accuracy"]: 5}
        return pd.DataFrame(rows, columns=list(columns)).round(digits).astype({"params": "Int64"})


def score_all(plan: Plan, store: Store) -> Leaderboard:
    """Score everything in a plan. UserError where something is missing or damaged, with the command that fixes it."""
    schema, labels = store.schema(), store.load_labels()
    truth, fold_of = labels.to_numpy(np.float64), store.load_folds().loc[labels.index].to_numpy()
    entries = []
    costs: dict[str, tuple[float, float, float]] = {}

    def add(
        name: str,
        kind: str,
        frame: pd.DataFrame,
        cost: tuple[float, float, float],
        single: float = np.nan,
        kaggle: tuple[float, float] = (np.nan, np.nan),
    ) -> None:
        predicted = aligned_to(frame, labels.index, f"out-of-fold predictions of {kind} {name}").to_numpy()
        entries.append(_score(schema, name, kind, predicted, truth, fold_of, cost, single, kaggle, plan.seed))

    for name in plan.baselines:
        made = store.baseline(name)
        add(
            name,
            "baseline",
            load_fractions(made.verified(), schema),
            (np.nan, _number(made.required(), "seconds"), np.nan),
        )
    for run in plan.runs:
        costs[run.name] = cost_of_run(store, plan, run.name)
        parts = [store.predicted(run.name, fold).verified("valid.parquet") for fold in range(plan.folds)]
        frame = pd.concat([load_fractions(part, schema) for part in parts])
        cost, single = _cost_of([run.name], plan, costs), single_view_rmse(store, plan, run.name)
        add(run.name, "run", frame, cost, single)
    for spec in plan.ensembles:
        cost, blended = _cost_of(spec.runs, plan, costs), store.ensemble(spec.name).verified("oof.parquet")
        add(
            spec.name,
            "ensemble",
            load_fractions(blended, schema),
            cost,
            kaggle=uploads.current_scores(store, spec.name),
        )
    ordered = tuple(sorted(entries, key=lambda entry: (round(entry.score, 8), entry.kind, entry.name)))
    return Leaderboard(ordered, truth, fold_of, labels.index.to_numpy(), schema)


def cost_of_run(store: Store, plan: Plan, run: str) -> tuple[float, float, float]:
    """(parameters, seconds of training, galaxies per second in prediction) of a run; NaN where not recorded.

    UserError where a fold is missing, or its record damaged.
    """
    trained = [store.trained(run, fold).required() for fold in range(plan.folds)]
    predicted = [store.predicted(run, fold).required() for fold in range(plan.folds)]
    features = store.features(run).record() or {}  # of the frozen backbone, for all folds
    seconds = sum(_number(record, "train_seconds") for record in trained) + features.get("seconds", 0)
    if not plan.run(run).shares_backbone:
        rates = [_number(record, "images_per_second") for record in predicted]
        rate = len(rates) / sum(1 / rate for rate in rates)
    else:  # only the head differs between folds: a galaxy costs its features
        rate = _number(features, "images_per_second")
    return _number(trained[0], "params"), seconds, rate


def single_view_rmse(store: Store, plan: Plan, run: str) -> float:
    """RMSE of a run on its held-out galaxies, seen once each, as training scored it.

    NaN where only a head was trained: its features are already the mean over views.
    """
    if plan.run(run).shares_backbone:
        return float("nan")
    records = [store.trained(run, fold).required() for fold in range(plan.folds)]
    squared, sizes = zip(*((_number(r, "val_rmse") ** 2, _number(r, "n_valid")) for r in records), strict=True)
    return float(np.sqrt(np.average(squared, weights=sizes)))


def read(path: Path) -> pd.DataFrame:
    """The leaderboard from its file."""
    return pd.read_csv(path, dtype={"name": str, "params": "Int64"}, keep_default_na=False, na_values=[""])


def _score(
    schema: Schema,
    name: str,
    kind: str,
    predicted: np.ndarray,
    truth: np.ndarray,
    fold_of: np.ndarray,
    cost: tuple[float, float, float],
    single_view_rmse: float,
    kaggle: tuple[float, float],
    seed: int,
) -> Entry:
    decides = metrics.deciding(schema)
    errors = decides.per_galaxy(schema, truth, predicted)
    folds = np.array([decides.of(errors[fold_of == fold]) for fold in np.unique(fold_of)])
    interval = stats.bootstrap_rmse(errors, seed, finish=decides.finish)
    noise = metrics.vote_noise(truth, schema.volunteers) if schema.volunteers else float("nan")
    summary = {"accuracy": classes.accuracy(schema, truth, predicted)}
    if schema.describes_classes:
        summary = classes.summary(schema, truth, predicted)
    return Entry(
        name, kind, predicted, errors, folds, interval, noise, single_view_rmse, summary, *cost, kaggle, decides
    )  # fmt: skip


def _cost_of(
    runs: Sequence[str], plan: Plan, costs: dict[str, tuple[float, float, float]]
) -> tuple[float, float, float]:
    """Of runs one after the other; what they start from is trained as well, each once."""
    params, _, rates = zip(*(costs[run] for run in runs), strict=True)
    trained = {first for run in runs for first in plan.lineage(run)}
    return sum(params), sum(costs[run][1] for run in trained), 1 / sum(1 / rate for rate in rates)


def _number(record: dict[str, Any], fact: str) -> float:
    """A recorded number; NaN where there is none, or 0 where only a positive one makes sense."""
    value = record.get(fact)
    return float(value) if value else float("nan")
