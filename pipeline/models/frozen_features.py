"""What a run's frozen backbone makes of the training galaxies, before any training: kept, for its first phase."""

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
    """Features float32 (n, d), the mean over the run's views; made where they are not on disk, or `fresh`.

    Where another process is making them, this one waits. TrainingFailed where they cannot be used.
    """
    from pipeline.nn.predict import require_plausible

    path, start = unit.artifact.files[0], built.facts["weights"]
    path.parent.mkdir(parents=True, exist_ok=True)
    with locks.holding(unit.artifact.lock, wait=True):
        if fresh or not _usable(unit, start):
            unit.artifact.begin()
            started = time.monotonic()
            made = require_plausible(_made(built, unit, images), unit.run)
            _require_difference(made, unit.run)
            with atomic(path) as temporary:
                np.save(temporary, made)
            seconds = time.monotonic() - started
            unit.finish(weights=start, seconds=seconds, images_per_second=len(images) / seconds)
    return require_plausible(np.load(unit.artifact.verified()), unit.run)


def load_if_current(unit: dependencies.Unit) -> np.ndarray | None:
    """Features that were made before, float32 (n, d); None where there are none of this specification."""
    return np.load(unit.artifact.verified()) if _whole(unit) else None


def _usable(unit: dependencies.Unit, start: dict) -> bool:
    """Whether they are there, whole and of these first weights ("imagenet" in the plan may have become "random")."""
    return _whole(unit) and unit.artifact.facts().get("weights") == start


def _whole(unit: dependencies.Unit) -> bool:
    return unit.state()[0] == "complete" and not unit.artifact.checksum_mismatches()


def _require_difference(made: np.ndarray, run: str) -> None:
    """TrainingFailed where the features (n, d) are the same for all galaxies: a head could only answer their mean."""
    if len(made) > 1 and not np.ptp(made, axis=0).any():
        raise TrainingFailed(
            f"run {run}: its backbone makes the same features of all {len(made):,} galaxies: its weights are dead or "
            f"do not fit the input, or the crops are all alike; give its own weights by --weights, or look at the crops"
        )


def _made(built: "Network", unit: dependencies.Unit, images: np.ndarray) -> np.ndarray:
    from pipeline.nn.predict import predict_views

    seen = views.view_set(unit.spec["views"])
    with tqdm(total=len(images), desc=unit.label, unit="galaxy", leave=False) as bar:
        return predict_views(built.for_prediction().features, images, seen, 64, bar.update)
