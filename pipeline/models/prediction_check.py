"""Whether the network that predicts is the one that was trained: some galaxies are asked of both.

Prediction builds its network anew from the run and the file of weights, folds it, and has its own way through views
and features. What training had and the file has not, or what a copy has lost, shows here and nowhere else: a wrong
network answers too, and every later stage agrees with it.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import Defect
from pipeline.models.predictor import Predictor
from pipeline.plans.config import Run
from pipeline.store.artifacts import Store, load_fractions

if TYPE_CHECKING:
    from pipeline.nn.fit import Trainer

ASKED = 8  # galaxies of each fold
# largest difference of a vote fraction that is taken for rounding; on a GPU "float32" convolutions round to 10 bits too
ROUNDING = {"float32": 5e-3, "mixed_float16": 5e-2, "mixed_bfloat16": 0.2}


class Check:
    """Asks the folds of a run, as they are trained, whether prediction will answer as they do.

    To be made before the network that is trained: making one sets the seed and clears Keras's session.
    """

    def __init__(self, run: Run, *, stored: int, size: int):
        """For crops of `stored` pixels of which the network sees the central `size`."""
        from pipeline.nn import runtime

        precision, _ = runtime.choose_precision(run.precision)
        self.predictor = Predictor(run, stored=stored, size=size, precision=precision)
        self.predictor.batch_size = ASKED * len(self.predictor.views)
        network = self.predictor.network
        for model in (network.twin.model, network.twin.features, network.head):
            model.run_eagerly = True  # to trace it would take longer than the few galaxies do

    def __call__(self, trainer: "Trainer", label: str, weights: Path, held_out: np.ndarray) -> float:
        """The largest difference over some of the rows `held_out`; Defect where it is more than rounding."""
        rows = evenly_spaced(held_out)
        trained = self._of_training(trainer, rows)
        self.predictor.load(weights)
        made = answers(self.predictor, trainer.images[rows])
        return require_agreement(
            made, trained, f"{label}, built as prediction builds it,", trainer.network.facts["precision"]
        )

    def _of_training(self, trainer: "Trainer", rows: np.ndarray) -> np.ndarray:
        from pipeline.nn.predict import predict_eagerly, predict_head

        if self.predictor.only_head:
            return predict_head(trainer.network.head, trainer.features[rows])
        return predict_eagerly(trainer.network.model, trainer.images[rows], self.predictor.views)


def with_predictions(predictor: Predictor, store: Store, fold: int, precision: str) -> float | None:
    """The largest difference of a loaded predictor's answers from those that stage 5 saved for its held-out galaxies.

    None where there are no crops or no predictions of these views to compare with; Defect where it is no rounding.
    """
    run, saved = predictor.run, store.predicted(predictor.run.name, fold)
    crops = store.crops(run.crop, "train")
    if not crops.facts() or saved.facts().get("spec", {}).get("views") != run.views:
        return None
    if crops.damage() or saved.damage():
        return None
    told, (images, ids) = load_fractions(saved.verified("valid.parquet")), store.load_crops(run.crop, "train")
    told = told.drop(index=crops.record()["set_aside"], errors="ignore")
    told = told.iloc[evenly_spaced(np.arange(len(told)))]
    made = answers(predictor, images[np.searchsorted(ids, told.index)])
    return require_agreement(
        made, told.to_numpy(), f"runs/{run.name}/fold{fold}, as its predictions were saved,", precision
    )


def evenly_spaced(rows: np.ndarray) -> np.ndarray:
    """At most ASKED of the rows, evenly spaced."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, ASKED).round().astype(int))]


def answers(predictor: Predictor, images: np.ndarray) -> np.ndarray:
    """Vote fractions (n, 37) of images uint8 (n, s, s, 3), as prediction makes them."""
    if predictor.only_head:
        return predictor.predict_features(predictor.features(images))
    return predictor.predict_images(images)[0]


def require_agreement(made: np.ndarray, expected: np.ndarray, what: str, precision: str) -> float:
    """The largest difference; Defect where it is not a number or more than rounding at that precision."""
    from pipeline.nn import runtime

    gap, allowed = float(np.abs(made - expected).max()), ROUNDING[precision]
    if runtime.gpus():
        allowed = max(allowed, ROUNDING["mixed_float16"])
    if not gap <= allowed:
        raise Defect(
            f"{what} answers {len(made)} galaxies otherwise than expected: by up to {gap:.2g}, where {precision} "
            f"explains {allowed:.0e}. This is a fault of the program, not of the plan: no result of it can be trusted. "
            f"Please report it with the plan and the versions of keras and tensorflow"
        )
    return gap
