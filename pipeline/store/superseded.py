"""Searches, and scores against the number of labels, that are of an earlier plan: nothing rebuilds them by itself."""

from collections.abc import Iterator

from pipeline.plans.config import Plan
from pipeline.store.artifacts import Store
from pipeline.store.unit import differences


def sentences(plan: Plan, store: Store) -> Iterator[str]:
    """Those of another run, or of other galaxies, than the plan's, each with what differs."""
    for run in plan.runs:
        found = {f"The search of {run.name}": store.search(run.name)}
        found |= {f"The score of {run.name} against the number of labels": store.efficiency(run.name, tuned=tuned)
                  for tuned in (False, True) if store.efficiency(run.name, tuned=tuned).exists()}  # fmt: skip
        for label, artifact in found.items():
            record = artifact.record() or {"spec": {}, "made_from": {}}
            now = {"inputs": store.inputs(), "folds": store.folds()}
            now |= {f"crops/{name}": store.crops(name, "train") for name in plan.crops}
            why = differences(record["spec"]["run"], run.model_dump(mode="json")) if "run" in record["spec"] else []
            why += [f"{name} are others" for name, digest in record["made_from"].items()
                    if name in now and now[name].digest() != digest]  # fmt: skip
            if why:
                yield f"{label} is of an earlier plan, and may not hold for this one: {'; '.join(why[:3])}."
