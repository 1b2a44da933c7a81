"""Networks on few labels: heads on features that are computed once a start, or whole networks."""

import dataclasses
import logging
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pipeline.commands.label_efficiency.setting import Setting
from pipeline.core import views
from pipeline.models import frozen_features, starting_backbone
from pipeline.plans.run import Run
from pipeline.store import dependencies
from pipeline.store.unit import Unit

STEPS = 200  # the fewest of fine-tuning: epochs of few galaxies are short
Learner = Callable[[np.ndarray, int], np.ndarray]  # (rows that are labelled, seed) -> answers of the held-out (m, c)


@contextmanager
def _one_fit() -> Iterator[Path]:
    """A folder for the files of a fit, of which nothing is kept; its log would hide what is measured."""
    log = logging.getLogger("pipeline.nn.fit")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
    finally:
        log.setLevel(level)


def features_unit(setting: Setting, start: str, run: Run) -> Unit:
    """The features of all galaxies from the backbone of a start: the mean over the run's views, before fine-tuning."""
    unit = dependencies.features(setting.plan, setting.store, run)
    spec = unit.spec | {"views": "single" if setting.tuned else run.views, "batch_norm": run.fine_tune.batch_norm}
    sources = dict(unit.sources)
    if setting.start and run.starts_elsewhere:
        spec |= {"start_from": setting.start.label, "fold": setting.fold}
        sources[f"{setting.start.label}/fold{setting.fold}"] = setting.start.trained(setting.fold)
    artifact = setting.store.efficiency_features(setting.run.name, start, tuned=setting.tuned)
    return dataclasses.replace(unit, label=f"features from {start}", artifact=artifact, spec=spec, sources=sources)


def learner(setting: Setting, start: str, run: Run, *, fresh: bool) -> Learner:
    """What learns from labels with the backbone of a start."""
    return _whole(setting, start, run, fresh=fresh) if setting.tuned else _head(setting, start, run, fresh=fresh)


def _built(setting: Setting, run: Run):
    """The network of a run, at the weights of its start."""
    from pipeline.nn import network, runtime

    plan, store, (images, _, fold_of) = setting.plan, setting.store, setting.data
    starting = starting_backbone.of(run, plan, store)  # before the network that is trained
    built = network.build(
        run,
        setting.schema,
        stored=plan.crops[run.crop].size,
        size=plan.input_size(run),
        seed=runtime.derived_seed(plan.seed, run.name),
        given=store.given_weights(run),
        sample=np.asarray(images[fold_of >= 0][:64]),
        trained_as=run.precision if starting else None,
    )
    if starting:
        built.backbone.set_weights(starting.weights(run, setting.fold))
        built.facts["weights"] = starting.origin
    return built


def _features(setting: Setting, start: str, run: Run, *, fresh: bool) -> np.ndarray:
    unit = features_unit(setting, start, run)
    if not fresh and (found := frozen_features.load_if_current(unit)) is not None:
        return found
    return frozen_features.load_or_compute(_built(setting, run), unit, setting.data[0], fresh=fresh)


def _head(setting: Setting, start: str, run: Run, *, fresh: bool) -> Learner:
    """A head on frozen features: started at the ridge regression of the labels, whose penalty leave-one-out chooses."""
    from pipeline.nn import fit, network, predict

    features, (images, labels, _) = _features(setting, start, run, fresh=fresh), setting.data
    built = network.head_only(run, setting.schema, features.shape[1], setting.plan.seed)
    votes = setting.store.training_votes(run.crop)
    trainer = fit.Trainer(built, run, setting.plan.seed, images, labels, features, votes)

    def learn(rows: np.ndarray, seed: int) -> np.ndarray:
        with _one_fit() as folder:
            trainer.fit(rows, setting.held_out, seed, folder)
        return predict.predict_head(built.head, features[setting.held_out])

    return learn


def _whole(setting: Setting, start: str, run: Run, *, fresh: bool) -> Learner:
    """The whole network, its head first, then what the run fine-tunes, in its epochs but in so many steps at least."""
    from pipeline.nn import data, fit, predict

    features = _features(setting, start, run, fresh=fresh) if run.head_phase.epochs else None
    images, labels, _ = setting.data
    images, votes = np.asarray(images), setting.store.training_votes(run.crop)
    built = _built(setting, run)
    first = built.model.get_weights()
    trainers: dict[int, fit.Trainer] = {}

    def trainer_for(steps: int) -> fit.Trainer:  # a schedule of the learning rate is of so many steps
        if steps not in trainers:
            trainers.clear()
            built.model.set_weights(first)
            epochs = max(run.fine_tune.epochs, math.ceil(STEPS / steps))
            longer = run.model_copy(update={"fine_tune": run.fine_tune.model_copy(update={"epochs": epochs})})
            trainers[steps] = fit.Trainer(built, longer, setting.plan.seed, images, labels, features, votes)
        return trainers[steps]

    def learn(rows: np.ndarray, seed: int) -> np.ndarray:
        trainer = trainer_for(data.steps_per_epoch(len(rows), run.batch_size))
        with _one_fit() as folder:
            trainer.fit(rows, setting.held_out, seed, folder)
        return predict.predict_views(
            built.for_prediction().model, images[setting.held_out], views.view_set(run.views), 64
        )

    return learn
