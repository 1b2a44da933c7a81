"""The measurement: every start with every size in every repeat, a small file each, so that it resumes."""

import hashlib
import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pandas as pd
from tqdm import tqdm

from pipeline.commands.label_efficiency import hand_made, networks
from pipeline.commands.label_efficiency.networks import Learner
from pipeline.commands.label_efficiency.setting import HAND_MADE, IMAGENET, Setting
from pipeline.core import label_efficiency
from pipeline.errors import Damaged, UserError
from pipeline.execution import deadline
from pipeline.models import pretrained
from pipeline.plans.run import Run
from pipeline.store import sealed_json
from pipeline.store.records import save_json
from pipeline.store.unit import Unit

log = logging.getLogger(__name__)


class Measurement:
    """Scores of all starts of a setting, computed where they are not on disk."""

    def __init__(self, setting: Setting, *, fresh: bool):
        self.setting, self.fresh = setting, fresh
        self.runs = available(setting)
        self.names = [*self.runs, *HAND_MADE]

    def table(self) -> pd.DataFrame:
        """A row of scores for each start, size and repeat."""
        tasks = [(start, size, repeat) for start in self.names for size in self.setting.sizes
                 for repeat in range(self.setting.repeats)]  # fmt: skip
        rows = []
        with tqdm(total=len(tasks), desc="label-efficiency", unit="fit", leave=False) as bar:
            for start in self.names:
                for row in self._of_start(start):
                    rows.append(row)
                    bar.update()
                log.info("%-10s %-14s %s", "labels", start, self._told(start, rows))
        return pd.DataFrame(rows)

    def unit_of_features(self, start: str) -> Unit:
        """What the features of a start are made from."""
        if start in HAND_MADE:
            return hand_made.features_unit(self.setting)
        return networks.features_unit(self.setting, start, self.runs[start])

    def _of_start(self, start: str) -> Iterator[dict[str, Any]]:
        learner, seconds = None, 0.0
        for size in self.setting.sizes:
            for repeat in range(self.setting.repeats):
                scores = None if self.fresh else self._kept(start, size, repeat)
                if scores is None:
                    deadline.require(seconds)
                    learner = learner or self._learner(start)
                    began = time.monotonic()
                    scores = self._measured(learner, start, size, repeat)
                    seconds = time.monotonic() - began
                yield {"start": start, "labels": size, "repeat": repeat, **scores}

    def _learner(self, start: str) -> Learner:
        if start in HAND_MADE:
            return hand_made.learner(self.setting, start, fresh=self.fresh)
        return networks.learner(self.setting, start, self.runs[start], fresh=self.fresh)

    def _measured(self, learner: Learner, start: str, size: int, repeat: int) -> dict[str, float | None]:
        setting = self.setting
        began, truth = time.monotonic(), setting.data[1][setting.held_out]
        made = learner(setting.subset(size, repeat), 100_000 * repeat + size)
        found = label_efficiency.scores(setting.schema, truth, made, setting.rare)
        scores = {name: value if math.isfinite(value) else None for name, value in found.items()}
        kept = {"key": self._key(start, size, repeat), "scores": scores | {"seconds": time.monotonic() - began}}
        save_json(self._path(start, size, repeat), sealed_json.sealed(kept))
        return kept["scores"]

    def _kept(self, start: str, size: int, repeat: int) -> dict[str, float] | None:
        """The scores on disk; None where there are none, or of something else."""
        path = self._path(start, size, repeat)
        try:
            found = sealed_json.load(path, "it is measured again")
        except Damaged as error:
            log.warning("%-10s %s", "labels", error)
            return None
        return found["scores"] if found and found.get("key") == self._key(start, size, repeat) else None

    def overwritten(self) -> float:
        """Seconds of work on results that are there, and that this measurement replaces."""
        there = [(start, size, repeat) for start in self.names for size in self.setting.sizes
                 for repeat in range(self.setting.repeats) if self._path(start, size, repeat).exists()]  # fmt: skip
        seconds = 0.0
        for one in there:
            with suppress(Damaged):
                found = sealed_json.load(self._path(*one), "") or {}
                seconds += found["scores"]["seconds"] if self.fresh or found.get("key") != self._key(*one) else 0.0
        return seconds

    def _path(self, start: str, size: int, repeat: int):
        setting = self.setting
        return setting.store.efficiency_result(setting.run.name, start, size, repeat, tuned=setting.tuned)

    def _key(self, start: str, size: int, repeat: int) -> str:
        """What a result depends on."""
        setting, unit = self.setting, self.unit_of_features(start)
        run = self.runs[start].model_dump(mode="json") if start in self.runs else {}
        parts = [unit.spec, unit.made_from(), run, setting.store.inputs().digest(), setting.plan.seed, setting.fold]
        parts += [size, repeat, setting.subset_digest(size, repeat), networks.STEPS if setting.tuned else 0]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _told(self, start: str, rows: list[dict[str, Any]]) -> str:
        measure = self.setting.measure
        scores = pd.DataFrame(rows).query("start == @start").groupby("labels")[measure.name].mean()
        return f"{measure.title}: " + ", ".join(f"{value:.4f} of {size:,}" for size, value in scores.items())


def available(setting: Setting) -> dict[str, Run]:
    """The starts; without ImageNet's weights where there are none and the plan lets runs start from random ones."""
    starts = setting.starts()
    alone = setting.plan.model_copy(update={"runs": (starts[IMAGENET].model_copy(update={"name": f".{IMAGENET}"}),)})
    try:
        pretrained.require_available(alone, setting.store, setting.store.load_weights_list())
    except UserError as error:
        if setting.run.on_missing_weights == "error":
            raise
        log.warning("%-10s without a curve from ImageNet: %s", "labels", error)
        starts.pop(IMAGENET)
    return starts
