"""Stage 5 of 9: predict held-out and test galaxies with every trained network.

reads   runs/<run>/fold<k>/model.weights.h5, crops/<crop>/{train,test}.npy, folds.csv
writes  runs/<run>/fold<k>/valid.parquet, test.parquet, predictions.json

Test-time augmentation: the answers of a galaxy's views (rotations, flips) are averaged; where only the head was
trained, the features of the views are, as in training. The held-out galaxies of all folds together are the run's
out-of-fold predictions. Images set aside get the mean answer.

    ./run.sh predict --plan demo [--run NAME] [--fold K] [--force]
"""

import logging
import time
from itertools import groupby

import numpy as np
from tqdm import tqdm

from pipeline import cli
from pipeline.core import metrics
from pipeline.execution.shared_work import SharedWork
from pipeline.models.predictor import Predictor
from pipeline.store import dependencies
from pipeline.store.artifacts import Store
from pipeline.store.fractions import bytes_per_galaxy, fractions_frame, save_fractions

log = logging.getLogger(__name__)


class Source:
    """The held-out and test galaxies of a plan, for one run's predictor."""

    def __init__(self, predictor: Predictor, store: Store, trained_in: str):
        self.predictor, self.store = predictor, store
        # equal to those that would be computed here
        self.use_stored_features = predictor.only_head and predictor.precision == trained_in
        self._test_features: np.ndarray | None = None

    @property
    def keeps_all_features(self) -> bool:
        """Whether nothing is left to be computed but the head."""
        tested = self._test_features is not None or not len(self.store.load_crops(self.predictor.run.crop, "test")[1])
        return self.use_stored_features and tested

    def held_out(self, rows: np.ndarray, bar: tqdm) -> np.ndarray:
        """Vote fractions (k, c) of rows (k,) of the training galaxies."""
        run = self.predictor.run
        if self.use_stored_features:
            bar.update(len(rows))
            return self.predictor.predict_features(self.store.load_features(run.name)[rows])
        images, _ = self.store.load_crops(run.crop, "train")
        if self.predictor.only_head:
            return self.predictor.predict_features(self.predictor.features(images[rows], bar.update))
        return self.predictor.predict_images(images[rows], bar.update)[0]

    def test(self, bar: tqdm) -> np.ndarray:
        """Vote fractions (m, c) of the test galaxies; their features are computed once where all folds share them."""
        images, _ = self.store.load_crops(self.predictor.run.crop, "test")
        if not self.predictor.only_head:
            return self.predictor.predict_images(images, bar.update)[0]
        if self._test_features is None:
            self._test_features = self.predictor.features(images, bar.update)
        return self.predictor.predict_features(self._test_features)


def predict_fold(source: Source, unit: dependencies.Unit, store: Store) -> None:
    """Save the predictions of one fold for its held-out and the test galaxies."""
    schema, labels, fold_of = store.schema(), store.load_labels(), store.load_folds()
    mean = metrics.mean_answers(labels[fold_of != unit.fold].to_numpy())
    _, train_ids = store.load_crops(source.predictor.run.crop, "train")
    rows = np.flatnonzero(fold_of.loc[train_ids].to_numpy() == unit.fold)
    ids = {"train": train_ids[rows], "test": store.load_crops(source.predictor.run.crop, "test")[1]}
    unit.artifact.begin()
    kept = source.keeps_all_features
    started, count = time.monotonic(), sum(map(len, ids.values()))
    with tqdm(total=count, desc=f"{unit.run} fold {unit.fold}", unit="galaxy", leave=False) as bar:
        predicted = {"train": source.held_out(rows, bar), "test": source.test(bar)}
    seconds = time.monotonic() - started
    for split, path in zip(dependencies.SPLITS, unit.artifact.files, strict=True):
        aside = store.set_aside(source.predictor.run.crop, split)
        predicted[split][np.isin(ids[split], aside)] = mean
        save_fractions(path, fractions_frame(ids[split], predicted[split], schema), schema)
    truth, decides = labels.loc[ids["train"]].to_numpy(), metrics.deciding(schema)
    score = decides.of(decides.per_galaxy(schema, truth, predicted["train"]))
    facts = {"views": len(source.predictor.views), "precision": source.predictor.precision}
    unit.finish(seconds=seconds, images_per_second=count / seconds, **{decides.name: score}, **facts)
    seen = len(ids["test"]) if source.use_stored_features else count
    speed = "from kept features" if kept else f"{seen / seconds:.0f} galaxies/s"
    log.info("predict    %-24s %s %.4f  %s", unit.label, decides.title, score, speed)


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    request = cli.parse(cli.parser(__doc__), argv, select=("run", "fold")).without_failed_runs()
    plan, store = request.plan, request.store
    todo = request.to_do(dependencies.predict(plan, store))
    if todo:
        galaxies = len(store.load_labels()) / plan.folds + len(store.load_sample()[1])
        store.require_space(len(todo) * galaxies * bytes_per_galaxy(store.schema()), "the predictions")
    shared = SharedWork("predict")
    for _, of_run in groupby(todo, key=lambda unit: unit.run):
        first, *_ = units = list(of_run)
        precision = store.trained(first.run, first.fold).fact("precision", str)
        run = plan.run(first.run)
        stored, size = plan.crops[run.crop].size, plan.input_size(run)
        predictor = Predictor(run, store.schema(), stored=stored, size=size, precision=precision)
        source = Source(predictor, store, precision)
        for unit in units:
            with shared.making(unit.label):
                predictor.load(store.trained(unit.run, unit.fold).verified("model.weights.h5"))
                predict_fold(source, unit, store)
    shared.tell(todo)
