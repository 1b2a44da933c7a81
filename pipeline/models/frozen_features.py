"""Features of the training galaxies from a run's frozen backbone, cached for its first phase."""

import time
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from pipeline.core import views
from pipeline.errors import TrainingFailed
from pipeline.execution import locks
from pipeline.store import dependencies
from pipeline.store.records import atomic

if TYPE_CHECKING:
    from pipeline.nn.network import Network


def load_or_compute(built: "Network", unit: dependencies.Unit, images: np.ndarray, *, fresh: bool) -> np.ndarray:
    """Features float32 (n, d), the mean over the run's views; computed where they are not on disk, or `fresh`.

    Waits where another process is computing them. TrainingFailed where they cannot be used.
    """
    from pipeline.nn.predict import require_plausible

    path, start = unit.artifact.files[0], built.facts["weights"]
    path.parent.mkdir(parents=True, exist_ok=True)
    with locks.holding(unit.artifact.lock, wait=True):
        if fresh or not _is_usable(unit, start):
            unit.artifact.begin()
            started = time.monotonic()
            features = require_plausible(_compute(built, unit, images), unit.run)
            _require_difference(features, unit.run)
            with atomic(path) as temporary:
                np.save(temporary, features)
            seconds = time.monotonic() - started
            unit.finish(weights=start, seconds=seconds, images_per_second=len(images) / seconds)
    return require_plausible(np.load(unit.artifact.verified()), unit.run)


def load_if_current(unit: dependencies.Unit) -> np.ndarray | None:
    """Cached features float32 (n, d); None where there are none of this specification."""
    return np.load(unit.artifact.verified()) if _is_current(unit) else None


def _is_usable(unit: dependencies.Unit, start: dict) -> bool:
    """Whether they are complete and of these initial weights ("imagenet" in the plan may have become "random")."""
    return _is_current(unit) and unit.artifact.facts().get("weights") == start


def _is_current(unit: dependencies.Unit) -> bool:
    return unit.state()[0] == "complete" and not unit.artifact.checksum_mismatches()


def _require_difference(features: np.ndarray, run: str) -> None:
    """TrainingFailed where the features (n, d) are the same for all galaxies: a head could only predict the mean."""
    if len(features) > 1 and not np.ptp(features, axis=0).any():
        raise TrainingFailed(
            f"run {run}: its backbone makes the same features of all {len(features):,} galaxies: its weights are dead "
            f"or do not fit the input, or all crops are alike; give its own weights by --weights, or look at the crops"
        )


def _compute(built: "Network", unit: dependencies.Unit, images: np.ndarray) -> np.ndarray:
    from pipeline.nn.predict import predict_views

    view_set = views.view_set(unit.spec["views"])
    with tqdm(total=len(images), desc=unit.label, unit="galaxy", leave=False) as bar:
        return predict_views(built.for_prediction().features, images, view_set, 64, bar.update)
