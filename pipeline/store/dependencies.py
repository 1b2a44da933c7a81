"""The units of work of a plan: every artifact, what it is specified by and what it is made from.

Stages ask here what to do and `status` asks here what is done, so the dependency graph is defined once.
"""

from collections.abc import Iterator
from typing import Any

from pipeline.plans.backbones import BACKBONES
from pipeline.plans.config import Plan
from pipeline.plans.run import Run
from pipeline.store import starting_run
from pipeline.store.answers import Answers
from pipeline.store.answers import read as read_answers
from pipeline.store.artifacts import Store
from pipeline.store.records import Artifact, Version
from pipeline.store.unit import PAGE, Unit

SPLITS = ("train", "test")
ANSWERS = "what people answered"  # a source of the inputs
PAGE_VERSION = 4  # raised when the page shows other things of the same results: reports are then rebuilt


def uses_synthetic_galaxies(plan: Plan, store: Store) -> bool:
    """Whether the data are the plan's own sky: it has one, and stage 0 was not given another folder."""
    if store.inputs().exists() and not (record := store.inputs().facts()):  # damaged: its folder is unknown
        return plan.sky is not None and store.sky().exists()
    return plan.sky is not None and (not store.inputs().exists() or record.get("folder") == "sky")


def sky(plan: Plan, store: Store) -> Iterator[Unit]:
    """The synthetic galaxies, where the plan draws its own."""
    if uses_synthetic_galaxies(plan, store):
        yield Unit("inputs", "sky", store.sky(), {**plan.sky.model_dump(), "seed": plan.seed})


def inputs(
    plan: Plan,
    store: Store,
    fingerprints: dict[str, Any] | None = None,
    synthetic: bool | None = None,
    answered: Answers | None = None,
) -> Iterator[Unit]:
    """Labels and sample, by the fingerprints of the source files and whether those are synthetic; None: as recorded.

    What people `answered` on the page of `label` is a source: more of it outdates the inputs, and changes no plan.
    """
    spec = fingerprints if fingerprints is not None else store.inputs().facts().get("spec", {})
    part = {} if plan.galaxies is None else {"galaxies": plan.galaxies}
    spec = {key: value for key, value in spec.items() if key != "galaxies"} | part
    synthetic = uses_synthetic_galaxies(plan, store) if synthetic is None else synthetic
    answered = read_answers(store.answers()) if answered is None else answered
    sources = {"sky": store.sky()} if synthetic else {}
    yield Unit("inputs", "inputs", store.inputs(), spec, sources | ({ANSWERS: answered} if answered.digest() else {}))


def folds(plan: Plan, store: Store) -> Iterator[Unit]:
    """The assignment of galaxies to folds."""
    spec, sources = {"folds": plan.folds, "seed": plan.seed}, {"inputs": store.inputs()}
    for other in {start.store.root: start.store for start in starting_run.of_plan(plan, store)}.values():
        spec["follows"] = other.root.name
        sources |= {f"inputs of {other.root.name}": other.inputs(), f"folds of {other.root.name}": other.folds()}
    yield Unit("folds", "folds", store.folds(), spec, sources)


def crops(plan: Plan, store: Store) -> Iterator[Unit]:
    """One array per crop spec and split."""
    for name, crop in plan.crops.items():
        for split in SPLITS:
            spec = {**crop.model_dump(), "split": split}
            label = f"crops/{name}/{split}"
            reads = {"sky": store.sky()} if uses_synthetic_galaxies(plan, store) else {}
            yield Unit("crops", label, store.crops(name, split), spec, {"inputs": store.inputs()}, reads=reads)


def train(plan: Plan, store: Store) -> Iterator[Unit]:
    """One trained network per run and fold."""
    for run in plan.runs:
        given = store.given_weights(run)
        sources = {
            "inputs": store.inputs(),
            "folds": store.folds(),
            "crops": store.crops(run.crop, "train"),
        }
        for fold in range(plan.folds):
            spec = _training_spec(run, given, store) | {"seed": plan.seed, "fold": fold}
            label = f"runs/{run.name}/fold{fold}"
            first = _first_network(run, fold, store)
            yield Unit("train", label, store.trained(run.name, fold), spec, sources | first, run.name, fold)


def _first_network(run: Run, fold: int, store: Store) -> dict[str, Artifact]:
    """The network that a fold starts from, where it starts from one."""
    if start := starting_run.of(run, store.root.parent):
        return {f"{start.label}/fold{fold}": start.trained(fold)}
    return {f"runs/{run.start_from}/fold{fold}": store.trained(run.start_from, fold)} if run.start_from else {}


def failure(unit: Unit, store: Store) -> str | None:
    """Why a fold could not be trained by the specification that it has now; None where that is not known."""
    recorded = store.load_failure(unit.run, unit.fold)
    return recorded["why"] if recorded and recorded["spec"] == unit.spec else None


def failed_runs(plan: Plan, store: Store) -> dict[str, str]:
    """{run: why} of the runs that the plan lets be left out, since a fold of theirs could not be trained."""
    if plan.on_failed_run == "stop":
        return {}
    failures = [(unit, failure(unit, store)) for unit in train(plan, store) if unit.artifact.record() is None]
    return {unit.run: f"fold {unit.fold}: {why}" for unit, why in reversed(failures) if why}  # of each the first fold


def features(plan: Plan, store: Store, run: Run) -> Unit:
    """The features that a run's first phase is trained on; computed when the first fold needs them."""
    keys = ("backbone", "input_size", "pooling", "precision", "views", "first_weights", "weights", "graph")
    spec = {key: value for key, value in _training_spec(run, store.given_weights(run), store).items() if key in keys}
    sources = {"crops": store.crops(run.crop, "train")}
    spec["seed"] = plan.seed
    return Unit("train", f"features of {run.name}", store.features(run.name), spec, sources, run.name)


def _training_spec(run: Run, given: dict[str, Any] | None, store: Store) -> dict[str, Any]:
    """What a run's weights depend on: its views only where nothing but the head, on their features, is trained."""
    spec = run.model_dump(mode="json") | ({} if run.shares_backbone else {"views": "single"})
    spec["weights"] = given["sha256"] if given else run.first_weights
    if start := starting_run.of(run, store.root.parent):
        spec |= {"start_from": start.label, "weights": "start_from"}
    graph = BACKBONES[run.backbone].graph
    return spec | ({"graph": graph} if graph else {})


def predict(plan: Plan, store: Store) -> Iterator[Unit]:
    """Predictions of one run and fold, for its held-out galaxies and the test set."""
    for run in plan.runs:
        for fold in range(plan.folds):
            sources = {f"runs/{run.name}/fold{fold}": store.trained(run.name, fold)}
            sources["crops"] = store.crops(run.crop, "test")
            reads = _scoring_inputs(store) | {f"crops/{run.crop}/train": store.crops(run.crop, "train")}
            if run.shares_backbone:
                reads[f"features of {run.name}"] = store.features(run.name)
            label = f"predictions of {run.name}/fold{fold}"
            artifact = store.predicted(run.name, fold)
            yield Unit("predict", label, artifact, {"views": run.views}, sources, run.name, fold, reads)


def _scoring_inputs(store: Store) -> dict[str, Artifact]:
    """What scores are computed from."""
    return {"inputs": store.inputs(), "folds": store.folds()}


def insight(plan: Plan, store: Store) -> Iterator[Unit]:
    """Activations, Grad-CAM and features of each run's network of fold 0."""
    for run in plan.runs:
        sources = {"inputs": store.inputs(), "folds": store.folds(), "crops": store.crops(run.crop, "train")}
        sources[f"runs/{run.name}/fold0"] = store.trained(run.name, 0)
        yield Unit("insight", f"insight of {run.name}", store.insight(run.name), {}, sources, run.name)


def baselines(plan: Plan, store: Store) -> Iterator[Unit]:
    """Out-of-fold predictions of the baselines."""
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
        yield Unit("ensemble", f"ensembles/{item.name}", store.ensemble(item.name), spec, sources, item.name,
                   reads=_scoring_inputs(store))  # fmt: skip


def with_runs_alone(plan: Plan, store: Store, name: str | None = None) -> Plan:
    """The plan where runs are ensembles, too: the one of that name, and those that `--run` has made one of before."""
    for run in plan.runs:
        if run.name == name or store.ensemble(run.name).exists():
            plan = plan.with_run_alone(run.name)
    return plan


def submit(plan: Plan, store: Store) -> Iterator[Unit]:
    """Submissions, one per ensemble; none where there are no galaxies to predict."""
    for item in plan.ensembles if store.inputs().facts().get("n_test", 1) else ():
        sources = {f"ensembles/{item.name}": store.ensemble(item.name), "inputs": store.inputs()}
        artifact = store.submission(item.name)
        yield Unit("submit", f"submissions/{item.name}.csv", artifact, {}, sources, item.name)


def report(plan: Plan, store: Store) -> Iterator[Unit]:
    """The leaderboard and the report."""
    sources = {f"baselines/{name}": store.baseline(name) for name in plan.baselines}
    sources |= {f"{u.run}/fold{u.fold}": u.artifact for u in predict(plan, store)}
    sources |= {u.label: u.artifact for u in insight(plan, store) if u.artifact.exists()}  # optional
    sources |= {f"ensembles/{e.name}": store.ensemble(e.name) for e in plan.ensembles}
    sources |= {f"search/{r.name}": store.search(r.name) for r in plan.runs if store.search(r.name).exists()}
    sources |= dict(_label_efficiencies(plan, store))
    sources |= {"Kaggle's scores": store.uploads()} if store.uploads().exists() else {}
    sources[PAGE] = Version(PAGE_VERSION)
    yield Unit("report", "report.html", store.report(), {}, sources, reads=_scoring_inputs(store))


def _label_efficiencies(plan: Plan, store: Store) -> list[tuple[str, Artifact]]:
    """(name, artifact) of what was measured with few labels."""
    found = [(f"label-efficiency/{run.name}{', fine-tuned' * tuned}", store.efficiency(run.name, tuned=tuned))
             for run in plan.runs for tuned in (False, True)]  # fmt: skip
    return [(name, artifact) for name, artifact in found if artifact.exists()]


def existing_part(plan: Plan, store: Store) -> Plan:
    """The plan without what is missing, or lacks what it is made of; the whole plan where no run is complete.

    With the ensembles of a run alone that `--run` has made.
    """
    plan = with_runs_alone(plan, store)
    predicted = {run.name: sum(store.predicted(run.name, fold).exists() for fold in range(plan.folds))
                 for run in plan.runs}  # fmt: skip
    runs = [name for name in predicted if all(predicted[one] == plan.folds for one in plan.lineage(name))]
    baselines = [name for name in plan.baselines if store.baseline(name).exists()]
    ensembles = [e.name for e in plan.ensembles if store.ensemble(e.name).exists() and set(e.runs) <= set(runs)]
    missing = [f"run {name} ({predicted[name]} of {plan.folds} folds predicted)" for name in predicted
               if name not in runs]  # fmt: skip
    missing += [f"baseline {name}" for name in plan.baselines if name not in baselines]
    missing += [f"ensemble {ensemble.name}" for ensemble in plan.ensembles if ensemble.name not in ensembles]
    if not runs or not missing:
        return plan
    return plan.part(runs=runs, ensembles=ensembles, baselines=baselines, missing=missing)


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


def optional_artifacts(plan: Plan, store: Store) -> Iterator[tuple[str, Artifact]]:
    """(name, artifact) of existing artifacts that no stage requires: features, searches, label efficiency, …"""
    found = [(f"features of {run.name}", store.features(run.name)) for run in plan.runs]
    found += [(f"search/{run.name}", store.search(run.name)) for run in plan.runs]
    found += _label_efficiencies(plan, store)
    yield from ((name, one) for name, one in [*found, ("Kaggle's scores", store.uploads())] if one.exists())


AFTER_TRAINING = ("predict", "insight", "ensemble", "submit", "report")


def units_of(stage: str, plan: Plan, store: Store) -> Iterator[Unit]:
    """The units of a stage; after training without the runs that the plan lets be left out."""
    if stage in AFTER_TRAINING:
        plan = plan.without(failed_runs(plan, store))
    if stage in ("ensemble", "submit", "report"):
        plan = with_runs_alone(plan, store)
    for maker in STAGES[stage]:
        yield from maker(plan, store)


def all_units(plan: Plan, store: Store) -> Iterator[Unit]:
    """All units of a plan in the order in which they are made."""
    for stage in STAGES:
        yield from units_of(stage, plan, store)
