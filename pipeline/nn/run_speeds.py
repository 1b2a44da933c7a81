"""Speeds of a plan's runs on this machine within a minute: real steps where time allows, else from small images.

On a GPU it takes up to three, since XLA compiles each network before its first step.
"""

import contextlib
import io
import time

import numpy as np

from pipeline.core.labels import Schema
from pipeline.nn import runtime, small_probe, speed_probe
from pipeline.plans.config import Plan
from pipeline.plans.run import Run

BUDGET, GPU_BUDGET = 60.0, 150.0  # seconds for the networks; what no time is left for is scaled from small images
STEPS_SECONDS = 8.0  # that timing the real steps of a network takes, besides what is one step of each kind
STEP_COST = 4.0  # forward passes that a training step costs: 3.0 (MobileNetV3-Small) to 4.8 (ResNet50) on a CPU
START_PER_LAYER = 0.06  # seconds to build and trace a network, of each of its layers
COMPILED = 3.0  # compilations of a forward pass that those of a network's steps take
HEAD_SPEED = 1e10  # multiplications a second in training a head
MEASURED, SCALED = 0.15, 0.4  # uncertainties, as a share


class Prober:
    """Speeds of runs: real steps where the time allows, else scaled from small images."""

    def __init__(self, plan: Plan, schema: Schema, n: int):
        self.plan, self.schema, self.n_train = plan, schema, n * (plan.folds - 1) // plan.folds
        self.began, self.budget = time.monotonic(), GPU_BUDGET if runtime.gpus() else BUDGET
        self.probes: dict[str, small_probe.Probe] = {}
        self.corrections: list[float] = []  # measured forward speeds over scaled ones
        self.step_costs: list[float] = []

    def look(self, run: Run) -> None:
        """Time a run's backbone on small images, if that was not done."""
        if run.backbone not in self.probes:
            self.probes[run.backbone] = small_probe.measure(run.backbone)

    def speeds(self, run: Run) -> tuple[speed_probe.Speeds, float]:
        """(speeds of a run, their uncertainty)."""
        scaled, size = self._scaled(run), self.plan.input_size(run)
        if not self._has_time(run, scaled):
            return scaled, SCALED
        stored = self.plan.crops[run.crop].size
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            made = speed_probe.measure(run, self.schema, stored=stored, size=size, n_train=self.n_train)
        self.corrections.append(made.forward / self._scaled(run, corrected=False).forward)
        if run.fine_tune.epochs:
            self.step_costs.append(made.forward / made.train)
        return made, MEASURED

    def _has_time(self, run: Run, scaled: speed_probe.Speeds) -> bool:
        """Whether a run's real steps are timed: on a GPU at least one's, whose pixels come from the host's memory."""
        if runtime.gpus() and not self.corrections:
            return True
        steps = 4 * min(run.batch_size, 64) * (1 / scaled.forward + (1 / scaled.train if run.fine_tune.epochs else 0))
        return time.monotonic() - self.began + scaled.start + steps + STEPS_SECONDS <= self.budget

    def activations(self, run: Run) -> float:
        """How many numbers the layers of a run's backbone make of one image."""
        return self.probes[run.backbone].activations * self.plan.input_size(run) ** 2

    def _scaled(self, run: Run, *, corrected: bool = True) -> speed_probe.Speeds:
        probe = self.probes[run.backbone]
        correction = float(np.median(self.corrections)) if self.corrections and corrected else 1.0
        forward = correction / (probe.per_pixel * self.plan.input_size(run) ** 2)
        step_cost = float(np.median(self.step_costs)) if self.step_costs else STEP_COST
        train = forward / step_cost if run.fine_tune.epochs else float("inf")
        answers, (params, features) = len(self.schema.columns), probe.kept(run.pooling, self.plan.input_size(run))
        head = 3 * answers * features * run.head_phase.epochs * self.n_train / HEAD_SPEED
        start = probe.build + START_PER_LAYER * probe.layers
        if runtime.gpus():
            start += COMPILED * probe.compile
        return speed_probe.Speeds(start, train, forward, head, params + answers * features, features)
