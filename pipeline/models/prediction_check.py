"""Check that the network built for prediction agrees with the trained one on a few galaxies.

Prediction rebuilds its network from the run and the file of weights, folds batch normalisation, and computes views and
features by its own code. State that the file lacks, or that a copy lost, is noticed only here: a wrong network still
predicts, and no later stage would notice.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.labels import Schema
from pipeline.errors import Defect
from pipeline.models.predictor import Predictor
from pipeline.plans.run import Run
from pipeline.store.artifacts import Store
from pipeline.store.fractions import load_fractions

if TYPE_CHECKING:
    from pipeline.nn.fit import Trainer

N_GALAXIES = 8  # galaxies of each fold
# largest difference of a vote fraction that counts as rounding; on a GPU "float32" convolutions round to 10 bits too
TOLERANCE = {"float32": 5e-3, "mixed_float16": 5e-2, "mixed_bfloat16": 0.2}


class Check:
    """Compares prediction with each trained fold of a run.

    Create it before the network that is trained: creation sets the seed and clears Keras's session.
    """

    def __init__(self, run: Run, schema: Schema, *, stored: int, size: int):
        """For crops of `stored` pixels of which the network sees the central `size`."""
        from pipeline.nn import runtime

        precision, _ = runtime.choose_precision(run.precision)
        self.predictor = Predictor(run, schema, stored=stored, size=size, precision=precision)
        self.predictor.batch_size = N_GALAXIES * len(self.predictor.views)
        network = self.predictor.network
        for model in (network.twin.model, network.twin.features, network.head):
            model.run_eagerly = True  # to trace it would take longer than the few galaxies do

    def __call__(self, trainer: "Trainer", label: str, weights: Path, held_out: np.ndarray) -> float:
        """The largest difference over some of the rows `held_out`; Defect where it is more than rounding."""
        rows = evenly_spaced(held_out)
        trained = self._of_training(trainer, rows)
        self.predictor.load(weights)
        predicted = predict(self.predictor, trainer.images[rows])
        return require_agreement(
            predicted, trained, f"{label}, built as prediction builds it,", trainer.network.facts["precision"]
        )

    def _of_training(self, trainer: "Trainer", rows: np.ndarray) -> np.ndarray:
        from pipeline.nn.predict import predict_eagerly, predict_head

        if self.predictor.only_head:
            return predict_head(trainer.network.head, trainer.features[rows])
        return predict_eagerly(trainer.network.model, trainer.images[rows], self.predictor.views)


def compare_with_saved(predictor: Predictor, store: Store, fold: int, precision: str) -> float | None:
    """The largest difference of a loaded predictor's answers from those that stage 5 saved for its held-out galaxies.

    None where there are no crops or no predictions of these views to compare with; Defect where it is no rounding.
    """
    run, saved = predictor.run, store.predicted(predictor.run.name, fold)
    crops = store.crops(run.crop, "train")
    if not crops.facts() or saved.facts().get("spec", {}).get("views") != run.views:
        return None
    if crops.missing_or_resized() or saved.missing_or_resized():
        return None
    saved_answers, (images, ids) = (
        load_fractions(saved.verified("valid.parquet"), store.schema()),
        store.load_crops(run.crop, "train"),
    )
    saved_answers = saved_answers.drop(index=crops.record()["set_aside"], errors="ignore")
    saved_answers = saved_answers.iloc[evenly_spaced(np.arange(len(saved_answers)))]
    predicted = predict(predictor, images[np.searchsorted(ids, saved_answers.index)])
    return require_agreement(
        predicted, saved_answers.to_numpy(), f"runs/{run.name}/fold{fold}, as its predictions were saved,", precision
    )


def evenly_spaced(rows: np.ndarray) -> np.ndarray:
    """At most N_GALAXIES of the rows, evenly spaced."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, N_GALAXIES).round().astype(int))]


def predict(predictor: Predictor, images: np.ndarray) -> np.ndarray:
    """Vote fractions (n, c) of images uint8 (n, s, s, 3), as prediction makes them."""
    if predictor.only_head:
        return predictor.predict_features(predictor.features(images))
    return predictor.predict_images(images)[0]


def require_agreement(predicted: np.ndarray, expected: np.ndarray, what: str, precision: str) -> float:
    """The largest difference; Defect where it is not a number or more than rounding at that precision."""
    from pipeline.nn import runtime

    gap, allowed = float(np.abs(predicted - expected).max()), TOLERANCE[precision]
    if runtime.gpus():
        allowed = max(allowed, TOLERANCE["mixed_float16"])
    if not gap <= allowed:
        raise Defect(
            f"{what} predicts {len(predicted)} galaxies differently than expected: by up to {gap:.2g}; {precision} "
            f"explains {allowed:.0e}. This is a bug in the program, not in the plan: no result of it can be trusted. "
            f"Please report it with the plan and the versions of keras and tensorflow"
        )
    return gap
