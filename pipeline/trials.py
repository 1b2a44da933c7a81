"""Variants of a run, judged out of fold on folds that the leaderboard does not use."""

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline import copies, features, units
from pipeline.artifacts import ID, Store
from pipeline.config import Plan, Run
from pipeline.core import views
from pipeline.core.metrics import squared_error_per_galaxy
from pipeline.core.split import stratified_folds
from pipeline.records import Artifact


class Judge:
    """Trains variants of a plan's run and scores them; features of frozen backbones are kept on disk."""

    def __init__(self, plan: Plan, store: Store):
        self.plan, self.store = plan, store
        self._ridges: dict[tuple, dict] = {}
        self._data = lru_cache(maxsize=2)(self._loaded)

    def folds(self, run: Run, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(rows, squared error of each) fold after fold, by networks that never saw them.

        `seed` deals the galaxies to folds, starts the networks and draws their augmentations. Where the backbone is
        fine-tuned, held-out galaxies are seen once. Raises TrainingFailed where a fold diverges.
        """
        from pipeline.nn import predict

        images, labels, ids, used = self._data(run.crop)
        fold_of = np.where(used, self._dealt(ids, seed), -1)
        trainer, frozen = self._trainer(run, seed)
        for fold in range(self.plan.folds):
            valid, train = np.flatnonzero(fold_of == fold), np.flatnonzero((fold_of >= 0) & (fold_of != fold))
            with tempfile.TemporaryDirectory(dir=self._folder()) as folder:
                trainer.fit(train, valid, fold, Path(folder))
            if run.fine_tune.epochs:
                model, seen = trainer.network.for_prediction().model, views.named("single")
                answers = predict.predict_views(model, images[valid], seen, 2 * run.batch_size)
            else:
                answers = predict.predict_head(trainer.network.head, frozen[valid])
            yield valid, squared_error_per_galaxy(labels[valid], answers)

    def errors(self, run: Run, seed: int) -> np.ndarray:
        """Squared error of every galaxy in use, out of fold, in the order of the crops."""
        rows, errors = (np.concatenate(parts) for parts in zip(*self.folds(run, seed), strict=True))
        return errors[np.argsort(rows)]

    def _trainer(self, run: Run, seed: int):
        """(the trainer of a variant, the features that its head is trained on; None where it has no such phase)."""
        from pipeline.nn import fit, network, runtime

        images, labels, *_ = self._data(run.crop)
        frozen = self._features(run) if run.head_phase.epochs else None
        drawn = runtime.seed_of(seed, run.name)
        if run.fine_tune.epochs:
            built = self._network(run, drawn, images)
        else:
            built = network.only_head(run, frozen.shape[1], drawn)
        trainer = fit.Trainer(built, run, seed, images, labels, frozen)
        if frozen is not None:
            spec = units.features(self.plan, self.store, run).spec
            key = (json.dumps(spec, sort_keys=True), run.crop, run.head, seed)
            trainer.ridges = self._ridges.setdefault(key, trainer.ridges)
        return trainer, frozen

    def _network(self, run: Run, seed: int, images: np.ndarray):
        from pipeline.nn import network

        stored, size = self.plan.crops[run.crop].size, self.plan.input_size(run)
        given = self.store.load_weights_list().get(run.backbone)
        return network.build(run, stored=stored, size=size, seed=seed, given=given, sample=images[:64])

    def _features(self, run: Run) -> np.ndarray:
        """Features of a variant: those of the run itself where they are the same, else kept beside the search."""
        from pipeline.nn import runtime

        unit = units.features(self.plan, self.store, run)
        if (found := features.kept(unit)) is not None:
            return found
        name = hashlib.sha256(json.dumps(unit.spec, sort_keys=True).encode()).hexdigest()[:12]
        place = self._folder() / "features" / name
        unit = dataclasses.replace(unit, artifact=Artifact(place.with_suffix(".json"), (place.with_suffix(".npy"),)))
        if (found := features.kept(unit)) is not None:
            return found
        images = self._data(run.crop)[0]
        built = self._network(run, runtime.seed_of(self.plan.seed, run.name), images)
        return features.frozen(built, unit, images, fresh=False)

    def _loaded(self, crop: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(images, labels, ids, which of them are in use) of the training galaxies."""
        images, labels, fold_of = self.store.load_training(crop)
        return np.asarray(images), labels, self.store.load_crops(crop, "train")[1], fold_of >= 0

    def _dealt(self, ids: np.ndarray, seed: int) -> np.ndarray:
        """Fold of each galaxy, stratified as those of the plan, copies of one image together."""
        labels = self.store.load_labels().loc[ids]
        fold = pd.Series(stratified_folds(ids, labels.to_numpy(), self.plan.folds, seed), pd.Index(ids, name=ID))
        groups = self.store.inputs().record().get("copies", {}).get("train", [])
        return copies.together(fold, groups).to_numpy()

    def _folder(self) -> Path:
        folder = self.store.root / "search"
        folder.mkdir(parents=True, exist_ok=True)
        return folder
