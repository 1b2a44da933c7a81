"""Provenance: the plan, first weights of each run, versions, hardware, time and memory."""

import json
import shlex
from collections.abc import Iterable
from typing import Any

import numpy as np

from pipeline.report import caveats
from pipeline.report.formatting import duration
from pipeline.report.material import Material, Section
from pipeline.store import dependencies


def section(material: Material) -> Section:
    """Everything that is needed to reproduce the results."""
    plan, store = material.plan, material.store
    stages = by_stage(material)
    total = sum(stage["seconds"] for stage in stages)
    finding = f"All stages together took {duration(total)} of work; the command below reproduces the results."
    records = [unit.artifact.record() or {} for unit in dependencies.all_units(plan, store) if unit.stage != "report"]
    facts = {
        "command": command(material),
        "plan": json.dumps(plan.model_dump(mode="json", exclude_defaults=True), indent=2),
        "versions": versions([record["made"] for record in records if "made" in record]),
        "stages": stages,
        "determinism": _all(record.get("determinism") for record in records),
        "folds": np.bincount(store.load_folds().to_numpy()).tolist(),
        "runs": runs(material),
        "digests": {unit.label: unit.artifact.digest() or "" for unit in digested(material)},
    }
    return Section("provenance", "Provenance", finding, facts)


def command(material: Material) -> str:
    """What makes the results again, where the files still lie where they did."""
    plan, store = material.plan, material.store
    words = ["./run.sh", store.plan]
    folder = store.inputs().facts().get("folder")
    if folder and not dependencies.uses_synthetic_galaxies(plan, store):
        words += ["--input", str(store.root / folder)]
    for backbone, file in store.load_weights_list().items():
        words += ["--weights", f"{backbone}={file['path']}"]
    return shlex.join(words)


def runs(material: Material) -> list[dict[str, Any]]:
    """Settings and first weights of each run."""
    sources = caveats.weight_sources(material.plan, material.store)
    found = []
    for run in material.plan.runs:
        record = material.store.trained(run.name, 0).required()
        origin = record.get("weights", {})
        found.append({
            "run": run,
            "pixels": material.plan.input_size(run),
            "weights": sources[run.name][0] + (f", trained as {run.start_from}" if run.start_from else ""),
            "random": sources[run.name][1],
            "digest": (origin.get("sha256") or "")[:12],
            "precision": record.get("precision", "not recorded"),
            "reason": record.get("precision_reason", ""),
            "epochs": record.get("epochs"),
            "halved": record.get("batch_size", run.batch_size) < run.batch_size and record["batch_size"],
        })  # fmt: skip
    return found


def by_stage(material: Material) -> list[dict[str, Any]]:
    """Seconds and the most memory that each stage took, as its records say."""
    found = []
    for stage, makers in dependencies.STAGES.items():
        mine = [unit for maker in makers for unit in maker(material.plan, material.store)]
        memory = [(unit.artifact.record() or {}).get("made", {}).get("peak_bytes", 0) for unit in mine]
        seconds = sum(unit.seconds for unit in mine)
        if stage == "train":  # and computing the frozen backbones' features
            features = [dependencies.features(material.plan, material.store, run) for run in material.plan.runs]
            seconds += sum(unit.seconds for unit in features)
        if stage != "report" and (seconds or any(memory)):
            found.append({"stage": stage, "seconds": seconds, "memory": max(memory)})
    return found


def digested(material: Material) -> list[dependencies.Unit]:
    """Units whose digests a reader may compare with their own: data and ensembles."""
    stages = (dependencies.inputs, dependencies.folds, dependencies.crops, dependencies.ensemble, dependencies.submit)
    return [unit for stage in stages for unit in stage(material.plan, material.store)]


def versions(environments: list[dict[str, Any]]) -> dict[str, str]:
    """What -> the different versions that the artifacts were made with."""
    found = {
        "code": _all(env["code"] for env in environments),
        "Python": _all(env["python"] for env in environments),
    }
    libraries = sorted({name for env in environments for name in env["libraries"]})
    found |= {name: _all(env["libraries"].get(name) for env in environments) for name in libraries}
    return found | {"machine": _all(env["machine"] for env in environments)}


def _all(values: Iterable[str | None]) -> str:
    """The different values, in one line."""
    return ", ".join(sorted({value for value in values if value}))
