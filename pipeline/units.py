"""The units of work of a plan: every artifact, what it is specified by and what it is made from.

Stages ask here what to do and `status` asks here what is done, so the dependency graph stands once.
A unit is missing, complete, changed (its own specification differs: refused, since work would be lost) or
outdated (something it is made from was made anew, by the user's choice: made anew too).
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.artifacts import Store
from pipeline.backbones import BACKBONES
from pipeline.config import Plan, Run
from pipeline.errors import UserError
from pipeline.records import Artifact, Code

log = logging.getLogger(__name__)
SPLITS = ("train", "test")
VERSIONS: dict[str, int] = {}  # stage -> a number, raised when its code makes something else of the same plan


@dataclass(frozen=True)
class Unit:
    """One artifact that the plan wants."""

    stage: str
    label: str
    artifact: Artifact
    spec: dict[str, Any]
    sources: dict[str, Artifact | Code] = field(default_factory=dict)
    run: str | None = None
    fold: int | None = None

    def __post_init__(self):
        if self.stage in VERSIONS:
            object.__setattr__(self, "spec", self.spec | {"version of the code": VERSIONS[self.stage]})

    def made_from(self) -> dict[str, str | None]:
        """Digests of the artifacts it is made from; None where one is missing."""
        return {name: source.digest() for name, source in self.sources.items()}

    def state(self) -> tuple[str, list[str]]:
        """('missing' | 'complete' | 'changed' | 'damaged' | 'outdated', the differences)."""
        record = self.artifact.record()
        if record is None:
            waits = [f"waits for {name}" for name, digest in self.made_from().items() if digest is None]
            return "missing", waits
        if changed := _differences(record["spec"], self.spec):
            return "changed", changed
        if damage := self.artifact.damage():
            return "damaged", damage
        if outdated := _sources_changed(record["made_from"], self.made_from()):
            return "outdated", outdated
        return "complete", []

    def finish(self, **facts: Any) -> dict[str, Any]:
        """Write the record of a unit whose files are there."""
        return self.artifact.finish(self.spec, self.made_from(), **facts)


def to_do(units: Iterator[Unit], plan: str, *, force: bool) -> list[Unit]:
    """The units that must be made; UserError for those that would lose work unless `force`."""
    wanted: list[Unit] = []
    refused: list[tuple[Unit, list[str]]] = []
    for unit in units:
        state, why = unit.state()
        if state in ("changed", "damaged") and not force:
            refused.append((unit, why))
        elif state != "complete" or force or _made_from_any(unit, wanted):
            if state == "outdated":
                log.info("%s is made anew: %s", unit.label, "; ".join(why))
            wanted.append(unit)
    if refused:
        _refuse(refused, plan)
    return wanted


def _made_from_any(unit: Unit, others: list[Unit]) -> bool:
    """Whether one of the others, which come first, is what the unit is made from."""
    return any(other.artifact in unit.sources.values() for other in others)


def _refuse(refused: list[tuple[Unit, list[str]]], plan: str) -> None:
    unit, why = refused[0]
    more = f" (and {len(refused) - 1} more of this stage)" if len(refused) > 1 else ""
    select = f" --run {unit.run}" if unit.run else ""
    raise UserError(
        f"{unit.label} was not made by this plan: {'; '.join(why[:4])}{more}. Put the plan back, choose another "
        f"--output, or make it anew by `./run.sh {unit.stage} --plan {plan}{select} --force` "
        f"(`./run.sh {plan} --force {unit.stage}` for the whole stage)"
    )


def seconds(unit: Unit) -> float:
    """Seconds that a unit took, as its stage recorded them; 0 where it did not."""
    record = unit.artifact.record() or {}
    return float(record.get("train_seconds") or record.get("seconds") or 0)


def _differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Leaves in which two specifications differ, as 'epochs: 3 -> 5'."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(k for k in new if k not in old)]
        return [d for k in keys for d in _differences(old.get(k), new.get(k), f"{where}.{k}".lstrip("."))]
    return [] if old == new else [f"{where}: {old} -> {new}"]


def _sources_changed(then: dict[str, str | None], now: dict[str, str | None]) -> list[str]:
    """What has happened to the sources of a unit since it was made, as sentences."""
    told = {name: "is no longer asked for" for name in then if name not in now}
    told |= {name: "is missing" for name, digest in now.items() if digest is None}
    told |= {name: "is new" for name in now if name not in then and name not in told}
    told |= {name: "was made anew" for name, digest in now.items() if name not in told and digest != then[name]}
    return [f"{name} {what}" for name, what in told.items()]


def draws(plan: Plan, store: Store) -> bool:
    """Whether the data are the plan's own sky: it has one, and stage 0 was not given another folder."""
    record = store.inputs().record()
    return plan.sky is not None and (record is None or record["folder"] == "sky")


def sky(plan: Plan, store: Store) -> Iterator[Unit]:
    """The synthetic galaxies, where the plan draws its own."""
    if draws(plan, store):
        yield Unit("inputs", "sky", store.sky(), {**plan.sky.model_dump(), "seed": plan.seed})


def inputs(
    plan: Plan, store: Store, fingerprints: dict[str, Any] | None = None, drawn: bool | None = None
) -> Iterator[Unit]:
    """Labels and sample, by the fingerprints of the raw files and whether those are drawn; None: as recorded."""
    record = store.inputs().record()
    spec = fingerprints if fingerprints is not None else (record or {"spec": {}})["spec"]
    drawn = draws(plan, store) if drawn is None else drawn
    yield Unit("inputs", "inputs", store.inputs(), spec, {"sky": store.sky()} if drawn else {})


def folds(plan: Plan, store: Store) -> Iterator[Unit]:
    """The assignment of galaxies to folds."""
    spec = {"folds": plan.folds, "seed": plan.seed}
    yield Unit("folds", "folds", store.folds(), spec, {"inputs": store.inputs()})


def crops(plan: Plan, store: Store) -> Iterator[Unit]:
    """One array per crop spec and split."""
    for name, crop in plan.crops.items():
        for split in SPLITS:
            spec = {**crop.model_dump(), "split": split}
            label = f"crops/{name}/{split}"
            yield Unit("crops", label, store.crops(name, split), spec, {"inputs": store.inputs()})


def train(plan: Plan, store: Store) -> Iterator[Unit]:
    """One trained network per run and fold."""
    given = store.load_weights_list()
    for run in plan.runs:
        sources = {
            "inputs": store.inputs(),
            "folds": store.folds(),
            "crops": store.crops(run.crop, "train"),
        }
        for fold in range(plan.folds):
            spec = _of_run(run, given) | {"seed": plan.seed, "fold": fold}
            label = f"runs/{run.name}/fold{fold}"
            first = {f"runs/{run.start_from}/fold{fold}": store.trained(run.start_from, fold)} if run.start_from else {}
            yield Unit("train", label, store.trained(run.name, fold), spec, sources | first, run.name, fold)


def failure(unit: Unit, store: Store) -> str | None:
    """Why a fold could not be trained by the specification that it has now; None where that is not known."""
    try:
        told = json.loads(store.failure(unit.run, unit.fold).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return told["why"] if told["spec"] == unit.spec else None


def failed_runs(plan: Plan, store: Store) -> dict[str, str]:
    """{run: why} of the runs that the plan lets be left out, since a fold of theirs could not be trained."""
    if plan.on_failed_run == "stop":
        return {}
    told = [(unit, failure(unit, store)) for unit in train(plan, store) if unit.artifact.record() is None]
    return {unit.run: f"fold {unit.fold}: {why}" for unit, why in reversed(told) if why}  # of each the first fold


def features(plan: Plan, store: Store, run: Run) -> Unit:
    """The features that a run's first phase is trained on; made by the way, when a fold asks for them."""
    keys = ("backbone", "input_size", "pooling", "precision", "views", "weights", "graph")
    spec = {key: value for key, value in _of_run(run, store.load_weights_list()).items() if key in keys}
    sources = {"crops": store.crops(run.crop, "train")}
    spec["seed"] = plan.seed
    return Unit("train", f"features of {run.name}", store.features(run.name), spec, sources, run.name)


def _of_run(run: Run, given: dict[str, Any]) -> dict[str, Any]:
    """What a run's weights depend on: its views only where nothing but the head, on their features, is trained."""
    spec = run.model_dump(mode="json") | ({"views": "single"} if run.fine_tune.epochs else {})
    spec["weights"] = given[run.backbone]["sha256"] if run.backbone in given else "imagenet"
    graph = BACKBONES[run.backbone].graph
    return spec | ({"graph": graph} if graph else {})


def predict(plan: Plan, store: Store) -> Iterator[Unit]:
    """Predictions of one run and fold, for its held-out galaxies and the test set."""
    for run in plan.runs:
        for fold in range(plan.folds):
            sources = {f"runs/{run.name}/fold{fold}": store.trained(run.name, fold)}
            sources["crops"] = store.crops(run.crop, "test")
            label = f"predictions of {run.name}/fold{fold}"
            artifact = store.predicted(run.name, fold)
            yield Unit("predict", label, artifact, {"views": run.views}, sources, run.name, fold)


def insight(plan: Plan, store: Store) -> Iterator[Unit]:
    """What the network of each run's fold 0 looks like inside."""
    for run in plan.runs:
        sources = {"inputs": store.inputs(), "folds": store.folds(), "crops": store.crops(run.crop, "train")}
        sources[f"runs/{run.name}/fold0"] = store.trained(run.name, 0)
        yield Unit("insight", f"insight of {run.name}", store.insight(run.name), {}, sources, run.name)


def baselines(plan: Plan, store: Store) -> Iterator[Unit]:
    """Out-of-fold predictions of what a network must beat."""
    crop = plan.crop_of_baselines()
    for name in plan.baselines:
        sources = {"inputs": store.inputs(), "folds": store.folds()}
        sources["crops"] = store.crops(crop, "train")
        spec = {"baseline": name, "crop": crop, "seed": plan.seed}
        yield Unit("baselines", f"baselines/{name}", store.baseline(name), spec, sources, name)


def ensemble(plan: Plan, store: Store) -> Iterator[Unit]:
    """Blends of runs."""
    for item in plan.ensembles:
        sources = {f"{run}/fold{fold}": store.predicted(run, fold) for run in item.runs for fold in range(plan.folds)}
        spec = item.model_dump(mode="json")
        yield Unit("ensemble", f"ensembles/{item.name}", store.ensemble(item.name), spec, sources, item.name)


def submit(plan: Plan, store: Store) -> Iterator[Unit]:
    """Submissions, one per ensemble."""
    for item in plan.ensembles:
        sources = {f"ensembles/{item.name}": store.ensemble(item.name), "inputs": store.inputs()}
        artifact = store.submission(item.name)
        yield Unit("submit", f"submissions/{item.name}.csv", artifact, {}, sources, item.name)


def report(plan: Plan, store: Store) -> Iterator[Unit]:
    """The leaderboard and the report."""
    sources = {f"baselines/{name}": store.baseline(name) for name in plan.baselines}
    sources |= {f"{u.run}/fold{u.fold}": u.artifact for u in predict(plan, store)}
    sources |= {u.label: u.artifact for u in insight(plan, store) if u.artifact.record()}  # it can do without
    sources |= {f"ensembles/{e.name}": store.ensemble(e.name) for e in plan.ensembles}
    sources |= {f"search/{r.name}": store.search(r.name) for r in plan.runs if store.search(r.name).record()}
    sources |= {"Kaggle's scores": store.uploads()} if store.uploads().record() else {}
    here = Path(__file__).parent
    sources["the page's own code"] = Code((here / "page", here / "templates"))
    yield Unit("report", "report.html", store.report(), {}, sources)


STAGES = {
    "inputs": (sky, inputs),
    "folds": (folds,),
    "crops": (crops,),
    "baselines": (baselines,),
    "train": (train,),
    "predict": (predict,),
    "insight": (insight,),
    "ensemble": (ensemble,),
    "submit": (submit,),
    "report": (report,),
}


def every(plan: Plan, store: Store) -> Iterator[Unit]:
    """All units of a plan in the order in which they are made."""
    for makers in STAGES.values():
        for maker in makers:
            yield from maker(plan, store)
