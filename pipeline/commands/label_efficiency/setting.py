"""What is measured: a run of a plan, galaxies that labels are drawn from, and those that all networks are scored on."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline import cli
from pipeline.core import label_efficiency, subsets
from pipeline.core.label_efficiency import Measure
from pipeline.core.labels import Schema
from pipeline.errors import UserError
from pipeline.plans.config import Plan
from pipeline.plans.run import Run
from pipeline.store import starting_run
from pipeline.store.artifacts import Store

HEAD_EPOCHS = 15  # of a head, where the plan has none
SCRATCH, IMAGENET, GALAXIES = "scratch", "imagenet", "galaxies"
HAND_MADE = ("random-forest", "svm")  # on hand-made features


@dataclass(frozen=True)
class Setting:
    """The run, the fold that is scored, sizes and repeats."""

    plan: Plan
    store: Store
    run: Run
    fold: int
    sizes: tuple[int, ...]
    repeats: int
    tuned: bool  # whether whole networks are trained, and not heads alone

    @cached_property
    def schema(self) -> Schema:
        """What the galaxies are labelled with."""
        return self.store.schema()

    @cached_property
    def data(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(images, labels, fold) of all galaxies; the fold is -1 for images set aside."""
        return self.store.load_training(self.run.crop)

    @cached_property
    def pool(self) -> np.ndarray:
        """Rows of the galaxies that labels are drawn from."""
        fold = self.data[2]
        return np.flatnonzero((fold >= 0) & (fold != self.fold))

    @cached_property
    def held_out(self) -> np.ndarray:
        """Rows of the galaxies that all are scored on."""
        return np.flatnonzero(self.data[2] == self.fold)

    @cached_property
    def orders(self) -> list[np.ndarray]:
        """Of each repeat the pool's rows, every beginning of which is stratified; the same for all starts."""
        labels = self.data[1][self.pool]
        seeds = [self.plan.seed + 1000 * repeat for repeat in range(self.repeats)]
        return [self.pool[subsets.nested_order(self.schema, labels, seed)] for seed in seeds]

    @cached_property
    def rare(self) -> int | None:
        """Column of the answer that is looked for, by the galaxies that labels are drawn from."""
        return label_efficiency.rare_answer(self.schema, self.data[1][self.pool])

    @property
    def measure(self) -> Measure:
        """The score that curves are drawn of."""
        return label_efficiency.measure_of(self.schema, self.rare)

    def subset(self, size: int, repeat: int) -> np.ndarray:
        """Rows of the galaxies that are labelled."""
        return np.sort(self.orders[repeat][:size])

    def subset_digest(self, size: int, repeat: int) -> str:
        """What a result depends on of its subset and of what it is scored on."""
        rows = [self.subset(size, repeat), self.held_out]
        return hashlib.sha256(b"|".join(part.astype(np.int64).tobytes() for part in rows)).hexdigest()

    @cached_property
    def start(self) -> starting_run.Start | None:
        """The run of another output that the run starts from."""
        return starting_run.of(self.run, self.store.root.parent)

    def starts(self) -> dict[str, Run]:
        """Start -> the run as it is trained from there: only first weights differ and, from scratch, what learns."""
        shared = {"start_from": None, "on_missing_weights": "error"}
        shared |= {"head_phase": self._head_phase(), "fine_tune": self._fine_tune()}
        found = {}
        if self.start:
            found[GALAXIES] = self.run.model_copy(update=shared | {"start_from": self.run.start_from})
        found[IMAGENET] = self.run.model_copy(update=shared | {"first_weights": "imagenet"})
        scratch = {"fine_tune": self._fine_tune().model_copy(update={"from_layer": "first", "layer_decay": 1.0})}
        found[SCRATCH] = self.run.model_copy(update=shared | scratch | {"first_weights": "random"})
        return found

    def _head_phase(self):
        epochs = self.run.head_phase.epochs or (0 if self.tuned else HEAD_EPOCHS)
        return self.run.head_phase.model_copy(update={"epochs": epochs})

    def _fine_tune(self):
        """Never stopped early: that would choose by the galaxies that are scored."""
        epochs = self.run.fine_tune.epochs if self.tuned else 0
        return self.run.fine_tune.model_copy(update={"epochs": epochs, "patience": 0})


def of_request(request: cli.Request, sizes: tuple[int, ...], repeats: int, *, tuned: bool) -> Setting:
    """The setting that a command line asks for, checked; UserError says what cannot be measured."""
    plan, options = request.plan, request.options
    run = _run(plan, options.run)
    if tuned and not run.fine_tune.epochs:
        raise UserError(f"--fine-tune: run {run.name} of {plan.name} has no fine_tune.epochs: give it some")
    fold = _fold(plan, run, request.store, options.fold)
    setting = Setting(plan, request.store, run, fold, sizes, repeats, tuned)
    _require_possible(setting)
    return setting


def _run(plan: Plan, name: str | None) -> Run:
    """The run of that name; without one the first that starts from galaxies, else the first."""
    if name is None:
        return next((run for run in plan.runs if run.starts_elsewhere), plan.runs[0])
    if name not in [run.name for run in plan.runs]:
        raise UserError(f"--run {name}: plan {plan.name} has the runs {', '.join(run.name for run in plan.runs)}")
    return plan.run(name)


def _fold(plan: Plan, run: Run, store: Store, given: int | None) -> int:
    """The fold that is scored: of a run that starts from galaxies one of which there is a network to start from."""
    if given is not None and not 0 <= given < plan.folds:
        raise UserError(f"--fold {given}: plan {plan.name} has the folds 0 to {plan.folds - 1}")
    start = starting_run.of(run, store.root.parent)
    if start is None:
        return given or 0
    start.any_trained()
    there = list(start.folds_there())
    if given is not None and given not in there:
        folds = ", ".join(map(str, there))
        raise UserError(f"--fold {given}: {start.label}, which the run starts from, has been trained for fold {folds}")
    return there[0] if given is None else given


def _require_possible(setting: Setting) -> None:
    """UserError for sizes that there are too few galaxies for, or too few to learn from."""
    pool, smallest, largest = len(setting.pool), setting.sizes[0], setting.sizes[-1]
    if largest > pool:
        raise UserError(
            f"--sizes {largest}: {pool:,} labelled galaxies are outside fold {setting.fold}, which is scored: give "
            f"sizes up to that"
        )
    if smallest < setting.plan.folds:
        raise UserError(f"--sizes {smallest}: fewer labels than the plan's {setting.plan.folds} folds: give more")
    if not setting.schema.describes_classes:
        return
    labels = setting.data[1]
    there = subsets.first_classes(setting.schema, labels)
    for repeat in range(setting.repeats):
        drawn = subsets.first_classes(setting.schema, labels[setting.subset(smallest, repeat)])
        if absent := set(there.tolist()) - set(drawn.tolist()):
            name = setting.schema.texts[setting.schema.columns[min(absent)]]
            raise UserError(
                f"--sizes {smallest}: no galaxy of {name!r} is among so few labels ({len(there)} classes): give more, "
                f"or leave that class out"
            )
