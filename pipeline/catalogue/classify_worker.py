"""An ensemble that makes the shards of a classified catalogue."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipeline.catalogue import columns, images, shards, stated
from pipeline.models import calibrated
from pipeline.models.classifier import Answers, Classifier
from pipeline.models.training_galaxies import TrainingGalaxies, training_galaxies_if_there
from pipeline.plans.crops import Crop

if TYPE_CHECKING:
    import pyarrow as pa


class ClassifyWorker(shards.Worker):
    """An ensemble and a source of images, held by one process, that makes shards."""

    def __init__(
        self,
        ensemble: Path,
        view_set: str | None,
        where: "str | images.Source | None",
        level: float | None = None,
    ):
        """`level`: the share that intervals are to hold; None: without."""
        self.classifier = Classifier(ensemble, view_set)
        self.calibration = None if level is None else calibrated.of_classifier(self.classifier, level)
        self._open(where)

    @property
    def crops(self) -> list[Crop]:
        """The crops of an image that the ensemble looks at."""
        return self.classifier.crops

    def _answered(self, galaxies: pd.DataFrame, schema: "pa.Schema") -> tuple["pa.Table", np.ndarray]:
        frame, seen = self.answers(galaxies)
        return columns.to_arrow(frame, schema), seen

    def answers(self, galaxies: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
        """(a row per galaxy in our columns, what was read of the images uint64 (n, 2))."""
        parts, blocks = [], []
        for block in self._blocks(galaxies):
            answers = self.classifier.answer(block.crops)
            whole = np.array([not reason for reason in block.reasons])
            parts.append(Answers(*(np.where(whole[:, None], values, np.nan).astype(np.float32) for values in answers)))
            caveats = self._with_unlike(block.caveats, answers.features, whole)
            blocks.append(block._replace(crops={}, caveats=caveats))
        answers = Answers(*(np.concatenate(values) for values in zip(*parts, strict=True)))
        reasons = [reason for block in blocks for reason in block.reasons]
        caveats = [caveat for block in blocks for caveat in block.caveats]
        more = {} if self.calibration is None else stated.values(self.calibration, answers)
        joint, spread = answers.joint, answers.spread
        made = columns.table(self.classifier.schema, galaxies, joint, spread, reasons, caveats, more)
        return made, np.concatenate([block.seen for block in blocks])

    @property
    def compares(self) -> bool:
        """Whether it can be told which galaxies look unlike those trained on."""
        return self._training_galaxies is not None

    @cached_property
    def _training_galaxies(self) -> TrainingGalaxies | None:
        return training_galaxies_if_there(self.classifier)

    def _with_unlike(self, caveats: list[str], features: np.ndarray, whole: np.ndarray) -> list[str]:
        """The caveats, and one on each galaxy of features (n, d) that was read and is unlike those trained on."""
        if not self.compares:
            return caveats
        unlike = self._training_galaxies.caveats(features)
        together = zip(caveats, unlike, whole, strict=True)
        return ["; ".join(filter(None, (caveat, more if read else ""))) for caveat, more, read in together]
