"""One run's network, built once and loaded with the weights of each fold in turn."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.core import views
from pipeline.core.labels import Schema
from pipeline.plans.run import Run

if TYPE_CHECKING:
    import keras

    from pipeline.nn.predict import OverViews

BATCH = 64  # galaxies times views in one forward pass
SMALLEST = 16  # smallest batch before a network counts as too large for the memory
Progress = Callable[[int], object]


def no_progress(done: int) -> None:
    """Progress that is not shown."""


class Seen(NamedTuple):
    """What a network of one fold says of n galaxies, and what it sees in them."""

    mean: np.ndarray  # float32 (n, c) answers, the mean over views
    square: np.ndarray  # float64 (n, c) mean of their squares
    features: np.ndarray  # float32 (n, d) of the images as they are
    averaged: np.ndarray | None  # float32 (n, d) features, the mean over views, where folds share them


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
        return self._averaged(self.fast.features, images, self.views, progress).mean

    def predict_features(self, features: np.ndarray) -> np.ndarray:
        """Vote fractions float32 (n, c) from features (n, d)."""
        from pipeline.nn.predict import predict_head

        return predict_head(self.network.head, features)

    def predict_images(self, images: np.ndarray, progress: Progress = no_progress) -> tuple[np.ndarray, np.ndarray]:
        """Vote fractions float32 (n, c) of images uint8 (n, s, s, 3), and the mean over views of their squares."""
        made = self._averaged(self.fast.model, images, self.views, progress)
        return made.mean, made.square

    def see(self, images: np.ndarray, other: Seen | None = None) -> Seen:
        """Vote fractions of images uint8 (n, s, s, 3) and, of the same forward pass, features.

        `other` is what another fold saw in the same images: features that the folds share are not computed again.
        """
        if not self.only_head:
            made, c = self._averaged(self._both, images, self.views, no_progress), self.fast.model.output_shape[-1]
            return Seen(made.mean[:, :c], made.square[:, :c], made.first[:, c:], None)
        if other is None:
            made = self._averaged(self.fast.features, images, self.views, no_progress)
            averaged, features = made.mean, made.first
        else:
            averaged, features = other.averaged, other.features
        answers = self.predict_features(averaged)
        return Seen(answers, np.square(answers, dtype=np.float64), features, averaged)

    def features_unturned(self, images: np.ndarray, progress: Progress = no_progress) -> np.ndarray:
        """Features float32 (n, d) of images uint8 (n, s, s, 3) as they are, as `see` has them."""
        single, d = views.view_set("single"), self.fast.features.output_shape[-1]
        model = self.fast.features if self.only_head else self._both  # compiled for `see` anyway
        return self._averaged(model, images, single, progress).mean[:, -d:]

    @cached_property
    def _both(self) -> "keras.Model":
        """Answers and, after them, features (n, c + d)."""
        from pipeline.nn.network import answers_and_features

        return answers_and_features(self.fast)

    def _averaged(self, model: "keras.Model", images: np.ndarray, seen: np.ndarray, progress: Progress) -> "OverViews":
        from pipeline.nn import runtime
        from pipeline.nn.predict import predict_over_views, require_plausible

        def averaged(batch_size: int) -> "OverViews":
            return predict_over_views(model, images, seen, max(batch_size, len(seen)), progress)

        made, self.batch_size = runtime.with_halved_batches(averaged, self.batch_size, SMALLEST)
        require_plausible(made.mean, self.run.name)
        return made
