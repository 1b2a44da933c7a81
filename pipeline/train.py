"""Stage 4 of 9: train every run once per fold.

reads   crops/<crop>/train.npy, folds.csv, inputs/labels.parquet, inputs/weights.json
writes  runs/<run>/fold<k>/model.weights.h5, history.csv, run.json; runs/<run>/features.npy

First the head on the frozen backbone's features, then fine-tuning from a chosen layer on randomly warped images,
as the plan says. One process trains all pairs of run and fold that are missing; a network is built once per run.
An interrupted fold goes on after its last whole epoch.

    python -m pipeline.train --plan demo [--run NAME] [--fold K] [--force]
"""

import json
import logging
import time
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from pipeline import cli, units
from pipeline.artifacts import Store, same_galaxies
from pipeline.config import Plan
from pipeline.core import views
from pipeline.errors import UserError
from pipeline.records import atomic, save_json

if TYPE_CHECKING:
    from pipeline.nn.fit import Trainer
    from pipeline.nn.network import Network

log = logging.getLogger(__name__)


def galaxies(store: Store, crop: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(images uint8 (n, s, s, 3), labels float32 (n, 37), fold (n,)); the fold is -1 for images set aside."""
    images, ids = store.load_crops(crop, "train")
    labels = same_galaxies(store.load_labels(), ids, f"crops/{crop}/train").to_numpy()
    fold = store.load_folds().loc[ids].to_numpy()
    aside = (store.crops(crop, "train").record() or {}).get("set_aside", [])
    return images, labels, np.where(np.isin(ids, aside), -1, fold)


def train_run(todo: list[units.Unit], plan: Plan, store: Store, *, fresh: bool) -> None:
    """Build one run's network and train the folds in `todo`; `fresh` forgets half-trained folds."""
    from pipeline.nn import fit, network, runtime

    run = plan.run(todo[0].run)
    images, labels, fold_of = galaxies(store, run.crop)
    images = np.asarray(images)  # in memory: batches are gathered from all over the array
    built = network.build(
        run,
        stored=plan.crops[run.crop].size,
        size=plan.input_size(run),
        seed=runtime.seed_of(plan.seed, run.name),
        given=store.load_weights_list().get(run.backbone),
        sample=images[fold_of >= 0][:64],
        trained_as=run.precision if run.start_from else None,
    )
    if run.start_from:
        first = store.trained(run.start_from, todo[0].fold).record()["weights"]
        built.facts["weights"] = first | {"start_from": run.start_from}
    _same_start(todo, plan, store, built.facts["weights"])
    features = None
    if run.head_phase.epochs:
        features = frozen_features(built, units.features(plan, store, run), plan, images, fresh=fresh)
    trainer = fit.Trainer(built, run, plan.seed, images, labels, features)
    for unit in todo:
        start = store.trained(run.start_from, unit.fold).files[0] if run.start_from else None
        _train_fold(trainer, unit, fold_of, start, fresh=fresh)


def frozen_features(built: "Network", unit: units.Unit, plan: Plan, images: np.ndarray, *, fresh: bool) -> np.ndarray:
    """Features float32 (n, d) of the backbone before any training, the mean over the run's views; kept on disk."""
    from pipeline.nn.predict import predict_views

    path, start = unit.artifact.files[0], built.facts["weights"]
    # the plan says "imagenet" also where the network was missing and chance took its place
    if fresh or unit.state()[0] != "complete" or unit.artifact.record().get("weights") != start:
        unit.artifact.begin()
        started = time.monotonic()
        with tqdm(total=len(images), desc=unit.label, unit="galaxy", leave=False) as bar:
            made = predict_views(
                built.for_prediction().features, images, views.named(unit.spec["views"]), 64, bar.update
            )
        with atomic(path) as temporary:
            np.save(temporary, made)
        seconds = time.monotonic() - started
        unit.finish(weights=start, seconds=seconds, images_per_second=len(images) / seconds)
    return np.load(path)


def _train_fold(
    trainer: "Trainer", unit: units.Unit, fold_of: np.ndarray, start: Path | None = None, *, fresh: bool
) -> None:
    folder = unit.artifact.record_path.parent
    unit.artifact.begin()
    half_trained = folder / "half-trained.json"  # what the checkpoint is of: one of another plan is thrown away
    key = {"spec": unit.spec, "made_from": unit.made_from(), "weights": trainer.network.facts["weights"]}
    if fresh or not half_trained.is_file() or json.loads(half_trained.read_text(encoding="utf-8")) != key:
        for name in ("checkpoint.weights.h5", "best.weights.h5"):
            (folder / name).unlink(missing_ok=True)
        save_json(half_trained, key)
    valid = np.flatnonzero(fold_of == unit.fold)
    train = np.flatnonzero((fold_of >= 0) & (fold_of != unit.fold))
    facts = trainer.fit(train, valid, unit.fold, folder, start)
    with atomic(unit.artifact.files[0]) as path:
        trainer.network.model.save_weights(path)
    unit.finish(**trainer.network.facts, **facts, n_train=len(train), n_valid=len(valid))
    half_trained.unlink()
    log.info("train      %-24s RMSE %.4f  %.0f s", unit.label, facts["val_rmse"], facts["train_seconds"])


def _same_start(todo: list[units.Unit], plan: Plan, store: Store, weights: dict) -> None:
    """UserError where folds already trained started from other weights: their scores would not be comparable."""
    making = {unit.fold for unit in todo}
    for fold in set(range(plan.folds)) - making:
        record = store.trained(todo[0].run, fold).record()
        if record and record["weights"].get("sha256") != weights.get("sha256"):
            raise UserError(
                f"fold {fold} of run {todo[0].run} started from {record['weights']}, this one would start from "
                f"{weights}: train all its folds anew by `./run.sh train --run {todo[0].run} --force …`"
            )


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    request = cli.parse(cli.parser(__doc__), argv, select=("run", "fold"))
    todo = request.to_do(units.train(request.plan, request.store))
    for _, of_run in groupby(todo, key=lambda unit: unit.run):
        train_run(list(of_run), request.plan, request.store, fresh=request.options.force)


if __name__ == "__main__":
    cli.start(main)
