"""Searches, and scores against the number of labels, that are of an earlier plan: nothing rebuilds them by itself."""

from collections.abc import Iterator

from pipeline.plans.config import Plan
from pipeline.store.artifacts import Store
from pipeline.store.unit import differences


def sentences(plan: Plan, store: Store) -> Iterator[str]:
    """Those of another run, or of other galaxies, than the plan's, each with what differs."""
    for label, why in found(plan, store):
        what, _, run = label.partition("/")
        named = f"The search of {run}" if what == "search" else f"The score of {run} against the number of labels"
        yield f"{named} is of an earlier plan, and may not hold for this one: {'; '.join(why[:3])}."


def found(plan: Plan, store: Store) -> Iterator[tuple[str, list[str]]]:
    """(label, what differs) of each of them."""
    for run in plan.runs:
        made = {f"search/{run.name}": store.search(run.name)}
        made |= {f"label-efficiency/{run.name}{', fine-tuned' * tuned}": store.efficiency(run.name, tuned=tuned)
                 for tuned in (False, True) if store.efficiency(run.name, tuned=tuned).exists()}  # fmt: skip
        for label, artifact in made.items():
            record = artifact.record() or {"spec": {}, "made_from": {}}
            now = {"inputs": store.inputs(), "folds": store.folds()}
            now |= {f"crops/{name}": store.crops(name, "train") for name in plan.crops}
            why = differences(record["spec"]["run"], run.model_dump(mode="json")) if "run" in record["spec"] else []
            why += [f"{name} are others" for name, digest in record["made_from"].items()
                    if name in now and now[name].digest() != digest]  # fmt: skip
            if why:
                yield label, why
