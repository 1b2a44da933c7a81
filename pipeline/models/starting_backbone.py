"""Backbones of a trained run of another output, fold by fold, as the first weights of a run with a new head."""

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.core import views
from pipeline.models.predictor import Predictor
from pipeline.plans.config import Plan
from pipeline.plans.run import Run
from pipeline.store import starting_run
from pipeline.store.artifacts import Store
from pipeline.store.starting_run import Start

if TYPE_CHECKING:
    from pipeline.nn.fit import Trainer

log = logging.getLogger(__name__)
BATCH = 64  # views in one forward pass


class StartingBackbone:
    """The networks of a trained run.

    Create it before the network that is trained: creation sets the seed and clears Keras's session.
    """

    def __init__(self, start: Start, n_folds: int):
        self.start, self.n_folds = start, n_folds
        run, crop = start.spec(), start.crop()
        precision = start.any_trained().fact("precision", str)
        size = run.input_size or crop.size
        self._other = Predictor(run, start.store.schema(), stored=crop.size, size=size, precision=precision)

    @property
    def origin(self) -> dict[str, Any]:
        """Where its weights come from, as records hold it."""
        first = self.start.any_trained().required().get("weights", {})
        folder = self.start.store.root / "runs" / self.start.run
        return first | {"start_from": self.start.label, "start_folder": str(folder)}

    def weights(self, run: Run, fold: int) -> list[np.ndarray]:
        """Weights of the backbone of a fold, as `get_weights` gives them; UserError where they do not fit the run."""
        trained = self.start.trained(fold)
        starting_run.require_fit(run, self.n_folds, self.start, fold, trained.required())
        self._other.network.model.load_weights(trained.verified("model.weights.h5"))
        return self._other.network.backbone.get_weights()

    def put_into(self, trainer: "Trainer", fold: int) -> None:
        """Let a trainer start from the backbone of a fold, with a new head and, for that, its features."""
        trainer.begin_from(self.weights(trainer.run, fold))
        if trainer.run.head_phase.epochs:
            trainer.features = self._features(trainer)

    def _features(self, trainer: "Trainer") -> np.ndarray:
        """Features float32 (n, d) of a single view: the head is trained on those, as the network is afterwards."""
        from pipeline.nn.predict import predict_views, require_plausible

        model = trainer.network.for_prediction().features
        found = predict_views(model, trainer.images, views.view_set("single"), BATCH)
        return require_plausible(found, trainer.run.name)


def of(run: Run, plan: Plan, store: Store) -> StartingBackbone | None:
    """What a run starts from, where that is a run of another output."""
    start = starting_run.of(run, store.root.parent)
    if start is None:
        return None
    for remark in starting_run.remarks(run, plan.crops[run.crop], plan.input_size(run), start):
        log.warning("train      %s", remark)
    return StartingBackbone(start, plan.folds)
