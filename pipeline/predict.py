"""Stage 5 of 8: predict held-out and test galaxies with every trained network.

reads   runs/<run>/fold<k>/model.weights.h5, crops/<crop>/{train,test}.npy, folds.csv
writes  runs/<run>/fold<k>/valid.parquet, test.parquet, predictions.json

Test-time augmentation: the answers of a galaxy's views (rotations, flips) are averaged. The held-out galaxies
of all folds together are the run's out-of-fold predictions. Images set aside get the mean answer.

    python -m pipeline.predict --plan demo [--run NAME] [--fold K] [--force]
"""

import logging
import time
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from pipeline import cli, units
from pipeline.artifacts import Store, fractions, save_fractions
from pipeline.config import Plan
from pipeline.core import views
from pipeline.core.metrics import rmse

if TYPE_CHECKING:
    from pipeline.nn.network import Network

log = logging.getLogger(__name__)
BATCH = 64  # galaxies times views in one forward pass


def predict_run(todo: list[units.Unit], plan: Plan, store: Store) -> None:
    """Build one run's network once, then load and predict with each fold's weights."""
    from pipeline.nn import network

    run = plan.run(todo[0].run)
    record = store.trained(run.name, todo[0].fold).record()
    built = network.build(
        run, stored=plan.crops[run.crop].size, size=plan.input_size(run), seed=0, trained_as=record["precision"]
    )
    for unit in todo:
        built.model.load_weights(store.trained(run.name, unit.fold).files[0])
        _predict_fold(built, unit, plan, store)


def _predict_fold(built: "Network", unit: units.Unit, plan: Plan, store: Store) -> None:
    from pipeline.nn.predict import predict_views

    run = plan.run(unit.run)
    seen = views.named(run.views)
    labels, fold_of = store.load_labels(), store.load_folds()
    mean = labels[fold_of != unit.fold].to_numpy().mean(axis=0)
    unit.artifact.begin()
    started, count, score = time.monotonic(), 0, None
    for split, path in zip(units.SPLITS, unit.artifact.files, strict=True):
        images, ids = store.load_crops(run.crop, split)
        if split == "train":
            held_out = fold_of.loc[ids].to_numpy() == unit.fold
            images, ids = images[held_out], ids[held_out]
        name = f"{unit.run} fold {unit.fold} {path.stem}"
        with tqdm(total=len(ids), desc=name, unit="galaxy", leave=False) as bar:
            predicted = predict_views(built.model, images, seen, max(BATCH, len(seen)), bar.update)
        aside = (store.crops(run.crop, split).record() or {}).get("set_aside", [])
        predicted[np.isin(ids, aside)] = mean
        save_fractions(path, fractions(ids, predicted))
        count += len(ids)
        if split == "train":
            score = rmse(labels.loc[ids].to_numpy(), predicted)
    seconds = time.monotonic() - started
    unit.finish(seconds=seconds, images_per_second=count / seconds, rmse=score, views=len(seen))
    log.info("predict    %-24s RMSE %.4f  %.0f galaxies/s", unit.label, score, count / seconds)


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    request = cli.parse(cli.parser(__doc__), argv, select=("run", "fold"))
    todo = request.to_do(units.predict(request.plan, request.store))
    for _, of_run in groupby(todo, key=lambda unit: unit.run):
        predict_run(list(of_run), request.plan, request.store)


if __name__ == "__main__":
    cli.start(main)
