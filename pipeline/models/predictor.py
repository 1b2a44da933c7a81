"""One run's network, built once and loaded with the weights of each fold in turn."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core import views
from pipeline.core.labels import Schema
from pipeline.plans.config import Run

if TYPE_CHECKING:
    import keras

BATCH = 64  # galaxies times views in one forward pass
SMALLEST = 16  # smallest batch before a network counts as too large for the memory
Progress = Callable[[int], object]


def no_progress(done: int) -> None:
    """Progress that is not shown."""


class Predictor:
    """Predictions averaged over views; where only the head was trained, features are averaged, as in training."""

    def __init__(self, run: Run, schema: Schema, *, stored: int, size: int, precision: str):
        """For crops of `stored` pixels of which the network sees the central `size`; `precision`: as trained."""
        from pipeline.nn import network, runtime

        self.run = run
        self.views = views.view_set(run.views)
        self.precision = runtime.prediction_precision(precision)
        self.network = network.build(run, schema, stored=stored, size=size, seed=0, trained_as=self.precision)
        self.batch_size = BATCH
        self._cached_weights: dict[Path, list[np.ndarray]] = {}  # of the network for prediction, by a fold's file

    def load(self, weights: Path, *, keep: bool = False) -> None:
        """Put the weights of a fold into the network; with `keep` they stay in memory for the next time."""
        if weights in self._cached_weights:
            self.fast.model.set_weights(self._cached_weights[weights])
            return
        self.network.model.load_weights(weights)
        self.fast = self.network.for_prediction()
        if keep:
            self._cached_weights[weights] = self.fast.model.get_weights()

    @property
    def only_head(self) -> bool:
        """Whether all folds have the same backbone, whose features need to be computed but once."""
        return self.run.shares_backbone

    def features(self, images: np.ndarray, progress: Progress = no_progress) -> np.ndarray:
        """Features float32 (n, d) of images uint8 (n, s, s, 3), the mean over the views."""
        return self._averaged(self.fast.features, images, progress)[0]

    def predict_features(self, features: np.ndarray) -> np.ndarray:
        """Vote fractions float32 (n, c) from features (n, d)."""
        from pipeline.nn.predict import predict_head

        return predict_head(self.network.head, features)

    def predict_images(self, images: np.ndarray, progress: Progress = no_progress) -> tuple[np.ndarray, np.ndarray]:
        """Vote fractions float32 (n, c) of images uint8 (n, s, s, 3), and the mean over views of their squares."""
        return self._averaged(self.fast.model, images, progress)

    def _averaged(self, model: "keras.Model", images: np.ndarray, progress: Progress) -> tuple[np.ndarray, np.ndarray]:
        from pipeline.nn import runtime
        from pipeline.nn.predict import predict_views, require_plausible

        def averaged(batch_size: int) -> tuple[np.ndarray, np.ndarray]:
            return predict_views(model, images, self.views, max(batch_size, len(self.views)), progress, squares=True)

        (mean, square), self.batch_size = runtime.with_halved_batches(averaged, self.batch_size, SMALLEST)
        return require_plausible(mean, self.run.name), square
