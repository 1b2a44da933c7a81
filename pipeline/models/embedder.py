"""A trained run as a function of images: the pooled features that one of its networks makes."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from pipeline.core.labels import Schema
from pipeline.errors import UserError
from pipeline.models.classifier import trained_member
from pipeline.models.predictor import Progress, no_progress
from pipeline.plans.crops import Crop
from pipeline.store import network_caveats
from pipeline.store.artifacts import Store

MAX_LISTED = 8  # runs that a message lists


class Embedder:
    """The network of one fold of the run at OUTPUT/PLAN/runs/NAME; it is built at the first features.

    Folds whose backbone was fine-tuned make features that cannot be compared, so it is always one. `view_set` replaces
    the run's own views, over which features are averaged. UserError where it is missing or damaged.
    """

    def __init__(self, run: Path, fold: int = 0, view_set: str | None = None):
        self.folder, self.fold = run.expanduser().resolve(), fold
        self.store = Store(self.folder.parent.parent)
        trained = self.store.trained(self.folder.name, fold)
        if self.folder.parent.name != "runs" or not trained.exists():
            raise UserError(
                f"expected a trained run such as OUTPUT/PLAN/runs/NAME with fold {fold}, not {self.folder}: "
                f"{_folds(self.folder) or _listed(self.folder, fold)}"
            )
        self.schema: Schema = self.store.schema()
        self._member = trained_member(self.store, self.schema, self.folder.name, fold + 1, view_set)
        self.digest, self.crop, self.views = trained.digest(), self._member.crop, self._member.run.views
        records = network_caveats.trained_records(self.store, {self.folder.name: fold + 1})
        self.caveats = [*network_caveats.random_weights(records)]
        self._predictor = None

    @property
    def name(self) -> str:
        """PLAN/runs/NAME."""
        return "/".join(self.folder.parts[-3:])

    @property
    def crops(self) -> list[Crop]:
        """The one crop that the network looks at."""
        return [self.crop]

    @property
    def dimension(self) -> int:
        """Number of features."""
        return self._loaded().network.features.output_shape[-1]

    def features(self, images: np.ndarray, progress: Progress = no_progress) -> np.ndarray:
        """Features float32 (n, d) of crops uint8 (n, size, size, 3), the mean over the views.

        TrainingFailed where they cannot be used, as where one is not finite.
        """
        return self._loaded().features(images, progress)

    def answers(self, features: np.ndarray) -> np.ndarray:
        """What the network says of galaxies by their features (n, d), before any reduction: float32 (n, c)."""
        return self._loaded().predict_features(features)

    def training_crops(self, most: int) -> np.ndarray:
        """Crops uint8 (n, size, size, 3) of up to so many training galaxies, always the same; UserError where gone."""
        images, _ = self.store.load_crops(self._member.run.crop, "train")
        return images[np.sort(np.random.default_rng(0).permutation(len(images))[:most])]

    def _loaded(self):
        if self._predictor is None:
            self._predictor = self._member.predictor()
            self._predictor.load(self._member.folds[self.fold], keep=True)
        return self._predictor


@lru_cache(maxsize=1)
def of_process(run: Path, fold: int, view_set: str | None) -> Embedder:
    """The embedder that this process holds: what asks for its dimension and what embeds share the network."""
    return Embedder(run, fold, view_set)


def _folds(folder: Path) -> str:
    """The folds that a run has, as a phrase; nothing where it has none."""
    there = sorted(int(record.parent.name.removeprefix("fold")) for record in folder.glob("fold*/run.json"))
    return f"it has fold {', '.join(map(str, there))}" if folder.parent.name == "runs" and there else ""


def _listed(folder: Path, fold: int) -> str:
    """The runs at, above or below a folder that have the fold, as a phrase."""
    places = [folder, *folder.parents][:4]
    patterns = [f"{where}fold{fold}/run.json" for where in ("*/", "runs/*/", "*/runs/*/")]
    found = [record.parents[1] for place in places for pattern in patterns for record in place.glob(pattern)]
    there = [str(path) for path in dict.fromkeys(found) if path.parent.name == "runs"]
    return f"those that exist: {', '.join(there[:MAX_LISTED])}" if there else "there is none near it"
