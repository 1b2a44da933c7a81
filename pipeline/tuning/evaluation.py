"""Evaluation of a run's variants, out of fold, on folds that the leaderboard does not use."""

import dataclasses
import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipeline.competition import duplicates
from pipeline.core import views
from pipeline.core.metrics import squared_error_per_galaxy
from pipeline.core.split import stratified_folds
from pipeline.models import frozen_features
from pipeline.plans.backbones import BACKBONES
from pipeline.plans.config import Plan
from pipeline.plans.run import Run
from pipeline.store import dependencies
from pipeline.store.artifacts import ID, Store
from pipeline.store.records import Artifact, atomic
from pipeline.tuning import variants

if TYPE_CHECKING:
    from pipeline.nn.fit import Trainer
    from pipeline.nn.network import Network

log = logging.getLogger(__name__)


class Evaluator:
    """Trains variants of a plan's run and scores them; errors and features are cached on disk."""

    def __init__(self, plan: Plan, store: Store, search: dependencies.Unit):
        self.plan, self.store = plan, store
        self.folder = search.artifact.record_path.parent
        self._starts: dict[tuple, dict] = {}
        self._data = lru_cache(maxsize=2)(self._loaded)
        self._of = [plan.folds, plan.search.galaxies, search.made_from()]

    def cache_path(self, run: Run, seed: int) -> Path:
        """File of the squared errors of a variant that are known so far."""
        graph = [graph] if (graph := BACKBONES[run.backbone].graph) else []
        given = variants.given_weights(run, self.store)
        text = json.dumps([*self._of, run.model_dump(mode="json"), seed, *graph, given], sort_keys=True)
        return self.folder / "errors" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"

    def errors_by_fold(self, run: Run, seed: int) -> Iterator[np.ndarray]:
        """Out-of-fold squared error (n,) of the training galaxies after each fold; NaN for folds still to come.

        `seed` selects the galaxies (where the search uses a subset), assigns folds, initialises the networks and
        draws their augmentations. A fine-tuned network predicts from a single view. Folds that were evaluated
        before are not trained again. Raises TrainingFailed where a fold diverges.
        """
        images, labels, ids, used = self._data(run.crop)
        fold_of = np.where(self._sampled(used, seed), self._folds(ids, seed), -1)
        path, trainer = self.cache_path(run, seed), None
        known = _read(path, len(ids))
        for fold in range(self.plan.folds):
            valid, train = np.flatnonzero(fold_of == fold), np.flatnonzero((fold_of >= 0) & (fold_of != fold))
            if np.isnan(known[valid]).any():
                trainer = trainer or self._trainer(run, seed)
                with tempfile.TemporaryDirectory() as folder:
                    trainer.fit(train, valid, fold, Path(folder))
                known[valid] = squared_error_per_galaxy(labels[valid], _predictions(trainer, images, valid))
                with atomic(path) as temporary:
                    np.savez(temporary, errors=known)
            yield np.where((fold_of >= 0) & (fold_of <= fold), known, np.nan)

    def errors(self, run: Run, seed: int) -> np.ndarray:
        """The same after the last fold."""
        *_, last = self.errors_by_fold(run, seed)
        return last

    def _trainer(self, run: Run, seed: int) -> "Trainer":
        from pipeline.nn import fit, network, runtime

        images, labels, *_ = self._data(run.crop)
        frozen = self._features(run) if run.head_phase.epochs else None
        drawn = runtime.derived_seed(seed, run.name)
        if run.fine_tune.epochs:
            built = self._network(run, drawn, images)
        else:
            built = network.head_only(run, self.store.schema(), frozen.shape[1], drawn)
        trainer = fit.Trainer(built, run, seed, images, labels, frozen, self.store.training_votes(run.crop))
        if frozen is not None:
            spec = dependencies.features(self.plan, self.store, run).spec
            key = (json.dumps(spec, sort_keys=True), run.crop, run.head, seed)
            trainer.starts = self._starts.setdefault(key, trainer.starts)
        return trainer

    def _network(self, run: Run, seed: int, images: np.ndarray) -> "Network":
        from pipeline.nn import network

        stored, size = self.plan.crops[run.crop].size, self.plan.input_size(run)
        given = self.store.given_weights(run)
        return network.build(
            run, self.store.schema(), stored=stored, size=size, seed=seed, given=given, sample=images[:64]
        )

    def _features(self, run: Run) -> np.ndarray:
        """Features of a variant: those of the run itself where they are the same, else cached beside the search."""
        from pipeline.nn import runtime

        unit = dependencies.features(self.plan, self.store, run)
        if (found := frozen_features.load_if_current(unit)) is not None:
            return found
        name = hashlib.sha256(json.dumps(unit.spec, sort_keys=True).encode()).hexdigest()[:12]
        place = self.folder.parent / "features" / name
        unit = dataclasses.replace(unit, artifact=Artifact(place.with_suffix(".json"), (place.with_suffix(".npy"),)))
        if (found := frozen_features.load_if_current(unit)) is not None:
            return found
        images = self._data(run.crop)[0]
        built = self._network(run, runtime.derived_seed(self.plan.seed, run.name), images)
        return frozen_features.load_or_compute(built, unit, images, fresh=False)

    def _loaded(self, crop: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(images, labels, ids, which of them are in use) of the training galaxies."""
        images, labels, fold_of = self.store.load_training(crop)
        return np.asarray(images), labels, self.store.load_crops(crop, "train")[1], fold_of >= 0

    def _sampled(self, used: np.ndarray, seed: int) -> np.ndarray:
        """Which galaxies the search uses, bool (n,): all in use, or a random subset of the configured size."""
        order = np.random.default_rng(seed).permutation(np.flatnonzero(used))
        return np.isin(np.arange(len(used)), order[: self.plan.search.galaxies])

    def _folds(self, ids: np.ndarray, seed: int) -> np.ndarray:
        """Fold of each galaxy, stratified as those of the plan, duplicates in one fold."""
        labels = self.store.load_labels().loc[ids]
        fold = stratified_folds(self.store.schema(), ids, labels.to_numpy(), self.plan.folds, seed)
        fold = pd.Series(fold, pd.Index(ids, name=ID))
        return duplicates.keep_in_one_fold(fold, self.store.duplicates()).to_numpy()


def _read(path: Path, n: int) -> np.ndarray:
    """Squared errors float32 (n,) as they were kept, by the archive's checksum; all NaN where they were not."""
    try:
        with open(path, "rb") as file, np.load(file) as kept:
            errors = kept["errors"]
        if errors.shape == (n,) and errors.dtype == np.float32:
            return errors
        log.warning("%-10s %s does not hold %d errors: its folds are judged again", "search", path, n)
    except FileNotFoundError:
        pass
    except Exception as error:  # whatever a reader of zips stumbles over: they are made again
        log.warning("%-10s %s is damaged (%s): its folds are judged again", "search", path, error)
    return np.full(n, np.nan, np.float32)


def _predictions(trainer: "Trainer", images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Vote fractions (m, c) that the network, trained, predicts for these rows."""
    from pipeline.nn import predict

    run, network = trainer.run, trainer.network
    if not run.fine_tune.epochs:
        return predict.predict_head(network.head, trainer.features[rows])
    model = network.for_prediction().model
    return predict.predict_views(model, images[rows], views.view_set("single"), 2 * run.batch_size)
