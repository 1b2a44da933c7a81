"""Stage 5 of 9: predict held-out and test galaxies with every trained network.

reads   runs/<run>/fold<k>/model.weights.h5, crops/<crop>/{train,test}.npy, folds.csv
writes  runs/<run>/fold<k>/valid.parquet, test.parquet, predictions.json

Test-time augmentation: the answers of a galaxy's views (rotations, flips) are averaged; where only the head was
trained, the features of the views are, as in training. The held-out galaxies of all folds together are the run's
out-of-fold predictions. Images set aside get the mean answer.

    python -m pipeline.predict --plan demo [--run NAME] [--fold K] [--force]
"""

import logging
import time
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from pipeline import cli, units
from pipeline.artifacts import ROW, Store, fractions, save_fractions
from pipeline.config import Plan, Run
from pipeline.core import views
from pipeline.core.metrics import rmse

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)
BATCH = 64  # galaxies times views in one forward pass
SMALLEST = 16  # of it, below which a network is too large for the memory


class Predictor:
    """One run's network, built once; `load` puts a fold's weights into it."""

    def __init__(self, run: Run, plan: Plan, store: Store, precision: str):
        from pipeline.nn import network

        self.run, self.store = run, store
        self.views = views.named(run.views)
        self.network = network.build(
            run, stored=plan.crops[run.crop].size, size=plan.input_size(run), seed=0, trained_as=precision
        )
        self.batch_size = BATCH
        self._test_features: np.ndarray | None = None

    def load(self, fold: int) -> None:
        """Put the weights of a fold into the network."""
        self.network.model.load_weights(self.store.trained(self.run.name, fold).files[0])
        self.fast = self.network.for_prediction()

    def held_out(self, rows: np.ndarray, bar: tqdm) -> np.ndarray:
        """Vote fractions (k, 37) of rows (k,) of the training galaxies."""
        images, _ = self.store.load_crops(self.run.crop, "train")
        if self.run.fine_tune.epochs:
            return self._views_averaged(self.fast.model, images[rows], bar)
        return self._head(np.load(self.store.features(self.run.name).files[0])[rows], bar)

    def test(self, bar: tqdm) -> np.ndarray:
        """Vote fractions (m, 37) of the test galaxies.

        Where only a head was trained its features are the same for every fold, so they are computed once.
        """
        images, _ = self.store.load_crops(self.run.crop, "test")
        if self.run.fine_tune.epochs:
            return self._views_averaged(self.fast.model, images, bar)
        if self._test_features is None:
            self._test_features = self._views_averaged(self.fast.features, images, bar)
        return self._head(self._test_features, bar)

    def _views_averaged(self, model: "keras.Model", images: np.ndarray, bar: tqdm) -> np.ndarray:
        from pipeline.nn import runtime
        from pipeline.nn.predict import predict_views

        def averaged(batch_size: int) -> np.ndarray:
            return predict_views(model, images, self.views, max(batch_size, len(self.views)), bar.update)

        made, self.batch_size = runtime.halving(averaged, self.batch_size, SMALLEST)
        return made

    def _head(self, features: np.ndarray, bar: tqdm) -> np.ndarray:
        from pipeline.nn.predict import predict_head

        bar.update(len(features))
        return predict_head(self.network.head, features)


def predict_fold(predictor: Predictor, unit: units.Unit, store: Store) -> None:
    """Save the predictions of one fold for its held-out and the test galaxies."""
    labels, fold_of = store.load_labels(), store.load_folds()
    mean = labels[fold_of != unit.fold].to_numpy().mean(axis=0)
    _, train_ids = store.load_crops(predictor.run.crop, "train")
    rows = np.flatnonzero(fold_of.loc[train_ids].to_numpy() == unit.fold)
    ids = {"train": train_ids[rows], "test": store.load_crops(predictor.run.crop, "test")[1]}
    unit.artifact.begin()
    started, count = time.monotonic(), sum(map(len, ids.values()))
    with tqdm(total=count, desc=f"{unit.run} fold {unit.fold}", unit="galaxy", leave=False) as bar:
        made = {"train": predictor.held_out(rows, bar), "test": predictor.test(bar)}
    seconds = time.monotonic() - started
    for split, path in zip(units.SPLITS, unit.artifact.files, strict=True):
        aside = store.crops(predictor.run.crop, split).record()["set_aside"]
        made[split][np.isin(ids[split], aside)] = mean
        save_fractions(path, fractions(ids[split], made[split]))
    score = rmse(labels.loc[ids["train"]].to_numpy(), made["train"])
    unit.finish(seconds=seconds, images_per_second=count / seconds, rmse=score, views=len(predictor.views))
    log.info("predict    %-24s RMSE %.4f  %.0f galaxies/s", unit.label, score, count / seconds)


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    request = cli.parse(cli.parser(__doc__), argv, select=("run", "fold")).of_trained()
    todo = request.to_do(units.predict(request.plan, request.store))
    if todo:
        galaxies = len(request.store.load_labels()) / request.plan.folds + len(request.store.load_sample()[1])
        request.store.require_space(len(todo) * galaxies * ROW, "the predictions")
    for _, of_run in groupby(todo, key=lambda unit: unit.run):
        first, *_ = made = list(of_run)
        precision = request.store.trained(first.run, first.fold).record()["precision"]
        predictor = Predictor(request.plan.run(first.run), request.plan, request.store, precision)
        for unit in made:
            predictor.load(unit.fold)
            predict_fold(predictor, unit, request.store)


if __name__ == "__main__":
    cli.start(main)
