"""What an ensemble's answers may claim, from its out-of-fold predictions: intervals, sets of answers, confidence.

Nothing is stored: the calibration is computed when it is needed, from oof.parquet and the labels, and only where these
are what the ensemble's networks were trained and scored on. So it cannot be of another ensemble or of other labels.

Out of fold, a galaxy is predicted by one network of each run, new ones by those of all folds. So that what holds for
the former holds for the latter, the variance that makes intervals wide is in both that between the runs of one fold,
and the variance between folds, by which the squared error of their mean is smaller, is taken off.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline.core import classes, confidence, conformal
from pipeline.core.labels import Schema
from pipeline.errors import UserError
from pipeline.plans.config import load_plan
from pipeline.store.artifacts import Store
from pipeline.store.fractions import aligned_to, load_fractions
from pipeline.store.records import Artifact

LEVEL = 0.9  # share that intervals hold, by default


class OutOfFold(NamedTuple):
    """An ensemble's predictions of the training galaxies by networks that never saw them."""

    truth: np.ndarray  # float64 (n, c), NaN where not known
    predicted: np.ndarray  # float64 (n, c)
    variance: np.ndarray  # float64 (n, c), between runs
    fold: np.ndarray  # (n,)
    ids: np.ndarray  # (n,)


@dataclass(frozen=True)
class Calibration:
    """How to state intervals, or sets of classes' answers, and the confidence of a derived class."""

    schema: Schema
    level: float
    galaxies: int  # that calibrated it
    columns: tuple[conformal.Column, ...] = ()  # of vote fractions
    least: np.ndarray | None = None  # of classes: the probability from which on an answer is in its question's set
    temperature: float | None = None  # of derived classes; NaN where that of few galaxies is clear

    def intervals(
        self, predicted: np.ndarray, between_runs: np.ndarray, between_folds: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends (n, c) about the mean of all folds, by the variances (n, c) of `models.classifier`."""
        return conformal.intervals(self.columns, predicted, between_runs, between_folds)

    def sets(self, predicted: np.ndarray) -> np.ndarray:
        """Which answers are in the set of their question: bool (n, c)."""
        return conformal.in_sets(self.schema, predicted, self.least)

    def confidence(self, predicted: np.ndarray) -> np.ndarray:
        """Probability (n,) that the derived class is right, of galaxies whose class is clear."""
        return confidence.confidence(predicted[:, self.schema.class_columns], self.temperature)


def fit(schema: Schema, oof: OutOfFold, level: float) -> Calibration:
    """The calibration by all galaxies."""
    if schema.describes_classes:
        least = conformal.calibrate_sets(schema, oof.truth, oof.predicted, level)
        return Calibration(schema, level, len(oof.truth), least=least)
    columns = conformal.calibrate(oof.truth, oof.predicted, oof.variance, level)
    true, made = classes.true_class(schema, oof.truth), oof.predicted[:, schema.class_columns]
    temperature = confidence.fit_temperature(made, true) if schema.own_classes else None
    return Calibration(schema, level, len(oof.truth), columns, temperature=temperature)


def load(store: Store, name: str, *, every: bool = False) -> OutOfFold:
    """Of the ensemble of that name, but for galaxies whose images could not be used, unless `every` one is wanted."""
    schema, labels, ensemble = store.schema(), store.load_labels(), store.ensemble(name)
    weights = ensemble.fact("weights", dict)
    fold = store.load_folds().loc[labels.index].to_numpy()
    runs = [_of_run(store, run, int(fold.max()) + 1, labels.index) for run in weights]
    share = np.array([np.mean(weight) for weight in weights.values()])
    variance = conformal.run_variance(np.stack(runs), share)
    blended = load_fractions(ensemble.verified("oof.parquet"), schema)
    predicted = aligned_to(blended, labels.index, f"out-of-fold predictions of {name}").to_numpy(np.float64)
    crops = {store.trained(run, 0).fact("spec", dict).get("crop") for run in weights} - {None}
    aside = [] if every else [galaxy for crop in crops for galaxy in store.set_aside(crop, "train")]
    used = ~labels.index.isin(aside)
    truth = labels.to_numpy(np.float64)
    return OutOfFold(truth[used], predicted[used], variance[used], fold[used], labels.index.to_numpy()[used])


def _of_run(store: Store, run: str, folds: int, ids: pd.Index) -> np.ndarray:
    paths = [store.predicted(run, fold).verified("valid.parquet") for fold in range(folds)]
    frame = pd.concat([load_fractions(path, store.schema()) for path in paths])
    return aligned_to(frame, ids, f"out-of-fold predictions of {run}").to_numpy()


def require_current(store: Store, name: str) -> None:
    """UserError where labels, folds, networks or predictions are others than those that the ensemble is made from."""
    require_networks(store, name)
    for fact in store.ensemble(name).fact("made_from", dict):
        run, fold = _fold(fact)
        store.predicted(run, fold).required()
        data = store.trained(run, fold).fact("made_from", dict)
        for what, artifact in (("labels", store.inputs()), ("folds", store.folds())):
            if artifact.digest() != data.get("inputs" if what == "labels" else what):
                raise _outdated(store, name, f"the {what} of {store.root}", "so its intervals cannot be calibrated")


def require_networks(store: Store, name: str, runs: Collection[str] | None = None) -> None:
    """UserError where predictions or networks, of these runs, are others than those that the ensemble is made from.

    Predictions that are gone tell nothing: see `untold`; of a network that is gone its reader says so.
    """
    for fact, source in store.ensemble(name).fact("made_from", dict).items():
        run, fold = _fold(fact)
        predicted, trained = store.predicted(run, fold), store.trained(run, fold)
        if None in (predicted.record(), trained.record()) or (runs is not None and run not in runs):
            continue
        so = "so its score and its blend do not hold for them"
        if predicted.digest() != source:
            raise _outdated(store, name, f"the predictions of {fact} in {store.root}", so)
        if not _are_of(predicted, trained, fact):
            raise _outdated(store, name, f"the networks (such as {fact}) in {store.root}", so)


def require_predictions_of_networks(store: Store, run: str) -> None:
    """UserError where a run's predictions are of other networks than those that are there."""
    for fold in sorted(int(path.name.removeprefix("fold")) for path in (store.root / "runs" / run).glob("fold[0-9]*")):
        predicted, trained = store.predicted(run, fold), store.trained(run, fold)
        if None in (predicted.record(), trained.record()) or _are_of(predicted, trained, f"{run}/fold{fold}"):
            continue
        command = store.command("predict", "--run", run)
        raise UserError(
            f"the predictions of run {run} in {store.root} are not of the networks that are there (such as fold "
            f"{fold}), so its score is not theirs: {command} predicts anew"
        )


def _are_of(predicted: Artifact, trained: Artifact, fact: str) -> bool:
    """Whether predictions were made by a network as it is now."""
    return trained.digest() == predicted.fact("made_from", dict).get(f"runs/{fact}")


def untold(store: Store, name: str) -> list[str]:
    """RUN/foldK of which it cannot be told whether the network is the one that the ensemble was made from."""
    made_from = store.ensemble(name).fact("made_from", dict)
    return [fact for fact in made_from if store.predicted(*_fold(fact)).record() is None]


def _fold(fact: str) -> tuple[str, int]:
    run, _, fold = fact.rpartition("/fold")
    return run, int(fold)


def _outdated(store: Store, name: str, what: str, so: str) -> UserError:
    return UserError(f"{what} are not those that the ensemble {name} was made from, {so}: {_how_made(store, name)}")


def _how_made(store: Store, name: str) -> str:
    """What brings an ensemble up to date, as the plan is now."""
    again = store.command("run")
    try:
        plan = load_plan(store.plan)
    except UserError:  # it lies elsewhere now
        return f"{again} brings it up to date"
    if name not in {one.name for one in (*plan.ensembles, *plan.runs)}:
        return f"{store.plan} names it no longer. Name it there again, and {again} makes it anew; else use another"
    return f"{again} brings it up to date, or says what else is changed in the plan"
