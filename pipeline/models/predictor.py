"""One run's network, built once and loaded with one fold's weights after the other."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core import views
from pipeline.plans.config import Run

if TYPE_CHECKING:
    import keras

BATCH = 64  # galaxies times views in one forward pass
SMALLEST = 16  # of it, below which a network is too large for the memory
Progress = Callable[[int], object]


def no_progress(done: int) -> None:
    """Progress that nobody is told of."""


class Predictor:
    """Answers averaged over views; where only the head was trained, its features are, as in training."""

    def __init__(self, run: Run, *, stored: int, size: int, precision: str):
        """For crops of `stored` pixels of which the network sees the central `size`; `precision`: as trained."""
        from pipeline.nn import network, runtime

        self.run = run
        self.views = views.view_set(run.views)
        self.precision = runtime.prediction_precision(precision)
        self.network = network.build(run, stored=stored, size=size, seed=0, trained_as=self.precision)
        self.batch_size = BATCH
        self._kept: dict[Path, list[np.ndarray]] = {}  # what the weights of a fold make of the network for prediction

    def load(self, weights: Path, *, keep: bool = False) -> None:
        """Put the weights of a fold into the network; with `keep` they stay in memory for the next time."""
        if weights in self._kept:
            self.fast.model.set_weights(self._kept[weights])
            return
        self.network.model.load_weights(weights)
        self.fast = self.network.for_prediction()
        if keep:
            self._kept[weights] = self.fast.model.get_weights()

    @property
    def only_head(self) -> bool:
        """Whether all folds have the same backbone, whose features need to be computed but once."""
        return not self.run.fine_tune.epochs

    def features(self, images: np.ndarray, progress: Progress = no_progress) -> np.ndarray:
        """Features float32 (n, d) of images uint8 (n, s, s, 3), the mean over the views."""
        return self._seen(self.fast.features, images, progress)[0]

    def predict_features(self, features: np.ndarray) -> np.ndarray:
        """Vote fractions float32 (n, 37) from features (n, d)."""
        from pipeline.nn.predict import predict_head

        return predict_head(self.network.head, features)

    def predict_images(self, images: np.ndarray, progress: Progress = no_progress) -> tuple[np.ndarray, np.ndarray]:
        """Vote fractions float32 (n, 37) of images uint8 (n, s, s, 3), and the mean over views of their squares."""
        return self._seen(self.fast.model, images, progress)

    def _seen(self, model: "keras.Model", images: np.ndarray, progress: Progress) -> tuple[np.ndarray, np.ndarray]:
        from pipeline.nn import runtime
        from pipeline.nn.predict import predict_views, require_plausible

        def averaged(batch_size: int) -> tuple[np.ndarray, np.ndarray]:
            return predict_views(model, images, self.views, max(batch_size, len(self.views)), progress, squares=True)

        (mean, square), self.batch_size = runtime.with_halved_batches(averaged, self.batch_size, SMALLEST)
        return require_plausible(mean, self.run.name), square
