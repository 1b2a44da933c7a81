"""What a run starts from that goes on from another output: a trained run, found, and checked by its records.

The path in a plan is looked for below the folder of outputs, then from the current folder.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import Damaged, UserError
from pipeline.plans.config import Plan
from pipeline.plans.crops import Crop
from pipeline.plans.run import Run
from pipeline.store import backbone_graphs
from pipeline.store.artifacts import Store
from pipeline.store.records import Artifact

MOST_SCALE = 1.5  # how much larger or smaller a galaxy may look to the run than to what it starts from, unremarked


class Start(NamedTuple):
    """A run of another output."""

    store: Store
    run: str

    @property
    def label(self) -> str:
        """PLAN/runs/NAME: the same wherever the output is moved."""
        return f"{self.store.root.name}/runs/{self.run}"

    def trained(self, fold: int) -> Artifact:
        """Its network of a fold."""
        found = self.store.trained(self.run, fold)
        path = self.store.root / "runs" / self.run
        mend = f"restore {path}, or train that run again in its own plan"
        return Artifact(found.record_path, found.files, f"train fold {fold} of {self.label} first", mend)

    def folds_there(self) -> dict[int, Artifact]:
        """Its trained folds."""
        trained = {fold: self.trained(fold) for fold in range(self.n_folds)}
        return {fold: artifact for fold, artifact in trained.items() if artifact.exists()}

    @property
    def n_folds(self) -> int:
        """How many folds its galaxies were assigned to."""
        count = self.store.folds().fact("spec", dict).get("folds")
        if not isinstance(count, int):
            raise Damaged(f"{self.store.folds().record_path} is damaged: it does not say how many folds there are")
        return count

    def spec(self) -> Run:
        """The run as it was trained."""
        trained = self.any_trained()
        return Run.model_validate({k: v for k, v in trained.fact("spec", dict).items() if k in Run.model_fields})

    def crop(self) -> Crop:
        """The crop that it saw."""
        spec = self.store.crops(self.spec().crop, "train").fact("spec", dict)
        return Crop.model_validate({key: spec[key] for key in Crop.model_fields if key in spec})

    @property
    def trained_backbone(self) -> bool:
        """Whether its backbone has learnt galaxies, in it or perhaps in a run that it started from."""
        return bool(self.spec().fine_tune.epochs) or self.spec().start_from is not None

    def any_trained(self) -> Artifact:
        """A trained fold; UserError where there is none."""
        if not self.store.root.is_dir():
            raise UserError(f"start_from: there is no output {self.store.root}: expected one with runs/{self.run}")
        there = self.folds_there()
        if not there:
            runs = sorted(path.parents[1].name for path in self.store.root.glob("runs/*/fold*/run.json"))
            known = f"trained runs there: {', '.join(dict.fromkeys(runs)) or 'none'}"
            raise UserError(f"start_from: {self.store.root} has no trained fold of a run {self.run}; {known}")
        return next(iter(there.values()))


def of(run: Run, outputs: Path) -> Start | None:
    """What a run of another output it starts from; None where it is no such run. UserError for a wrong ensemble."""
    return find(run.start_from, outputs) if run.starts_elsewhere else None


def of_plan(plan: Plan, store: Store) -> list[Start]:
    """All such runs of a plan, which are of one output."""
    starts = [start for run in plan.runs if (start := of(run, store.root.parent))]
    return list({start.label: start for start in starts}.values())


def find(given: str, outputs: Path) -> Start:
    """The run at OUTPUT/PLAN/runs/NAME, or the only one of OUTPUT/PLAN/ensembles/NAME; it may be missing."""
    places = [outputs / Path(given).expanduser(), Path(given).expanduser().absolute()]
    folder = next((place for place in places if place.is_dir()), places[0])
    store = Store(folder.parents[1])
    return Start(store, folder.name if folder.parent.name == "runs" else _only_run(store, folder))


def _only_run(store: Store, folder: Path) -> str:
    ensemble = store.ensemble(folder.name)
    if not ensemble.exists():
        raise UserError(f"start_from: there is no ensemble {folder}")
    runs = list(ensemble.fact("weights", dict))
    if len(runs) != 1:
        those = ", ".join(f"{store.root.name}/runs/{run}" for run in runs)
        raise UserError(f"start_from: {folder} is made of {len(runs)} runs: say which, one of {those}")
    return runs[0]


def require_usable(plan: Plan, store: Store) -> None:
    """UserError, before any work, where a run of the plan cannot start from what it names."""
    for run in plan.runs:
        if start := of(run, store.root.parent):
            start.any_trained()
            for fold, trained in start.folds_there().items():
                require_fit(run, plan.folds, start, fold, trained.required())
                trained.verify()


def require_fit(run: Run, n_folds: int, start: Start, fold: int, record: dict[str, Any]) -> None:
    """UserError where the network of a fold does not fit the run, or its record the folds and labels beside it."""
    other, label = start.spec(), f"{start.label}/fold{fold}"
    if other.backbone != run.backbone:
        raise UserError(
            f"run {run.name} has the backbone {run.backbone} and starts from {start.label}, which has "
            f"{other.backbone}: its weights fit no other; name another run, or change the backbone"
        )
    if other.fine_tune.batch_norm != run.fine_tune.batch_norm:
        raise UserError(
            f"run {run.name} has fine_tune.batch_norm {run.fine_tune.batch_norm!r} and starts from {start.label}, "
            f"which has {other.fine_tune.batch_norm!r}: the same is needed for its weights to fit"
        )
    if start.n_folds != n_folds:
        raise UserError(
            f"the plan has {n_folds} folds, and {start.label}, which run {run.name} starts from, {start.n_folds}: a "
            f"fold starts from the network of the same fold, so say folds = {start.n_folds}"
        )
    backbone_graphs.require_graph(run.model_copy(update={"name": start.run}), record, label, start.store)
    for name, artifact in (("folds", start.store.folds()), ("inputs", start.store.inputs())):
        if record["made_from"].get(name) != artifact.digest():
            raise UserError(
                f"{label} is outdated: the {name} of {start.store.root} have changed since it was trained, so that "
                f"there is no telling which galaxies it has seen: train it again in its own plan"
            )


def remarks(run: Run, crop: Crop, size: int, start: Start) -> Iterator[str]:
    """What is not the same in the run and in what it starts from, as sentences; a backbone of any size fits."""
    other, seen = start.spec(), start.crop()
    before = other.input_size or seen.size
    if before != size:
        yield f"run {run.name} sees {size} pixels, {start.label} saw {before}"
    ratio = _scale(crop) / _scale(seen)
    if not 1 / MOST_SCALE < ratio < MOST_SCALE:
        yield (
            f"a galaxy is {ratio:.2g} times as large in the crops of run {run.name} as it was in those of "
            f"{start.label}: it will start better from the same scale"
        )
    if (precision := start.any_trained().required().get("precision")) and run.precision not in ("auto", precision):
        yield f"run {run.name} goes on in {run.precision} from {start.label}, which was trained in {precision}"


def _scale(crop: Crop) -> float:
    """Pixels of the crop that a whole image would have."""
    return crop.size / crop.region if isinstance(crop.region, float) else crop.size * crop.of / crop.region
