"""What is stale all the way down a plan, and what work is lost where something is rebuilt."""

import csv
from collections.abc import Callable, Iterable, Iterator

from pipeline.core.durations import duration
from pipeline.errors import Damaged
from pipeline.plans.config import Plan
from pipeline.store import dependencies, sealed_json
from pipeline.store.artifacts import Store
from pipeline.store.records import Artifact
from pipeline.store.unit import Unit

DERIVED = ("folds", "ensemble", "submit", "report")  # made in moments from what is kept
PRECIOUS = ("train", "search")  # never discarded without a question, however short it took
FREE = 10.0  # seconds of other work that are discarded without a question


class Walk:
    """States of units in the order in which they are made: what is made from something stale is stale, too."""

    def __init__(self) -> None:
        self._stale: dict[Artifact, list[str]] = {}  # what makes it stale, as sentences

    def state(self, unit: Unit) -> tuple[str, list[str]]:
        """As `Unit.state`; "outdated" also where a source, however far up, is not as the plan wants it."""
        state, why = unit.state()
        roots = self.roots(unit)
        if state == "complete" and roots:
            state, why = "outdated", roots
        if state != "complete":
            self._stale[unit.artifact] = roots or [f"{unit.label} is {state}"]
        return state, why

    def mark(self, unit: Unit, state: str) -> None:
        """Let what is made from a unit be stale, which is in a state that the unit itself does not know."""
        self._stale[unit.artifact] = [f"{unit.label} is {state}"]

    def roots(self, unit: Unit) -> list[str]:
        """What makes its sources stale, of the units that were walked, as sentences."""
        return list(dict.fromkeys(root for source in unit.sources.values() for root in self._stale.get(source, [])))


def everything(plan: Plan, store: Store) -> Iterator[Unit]:
    """All units of a plan and, after them, features and searches that exist."""
    try:
        yield from dependencies.all_units(plan, store)
    except Damaged:  # what is shared by all units: no stage would rebuild any of them
        return
    for run in plan.runs:
        if store.features(run.name).exists():
            yield dependencies.features(plan, store, run)
        if (found := store.search(run.name)).exists():
            sources = {"inputs": store.inputs(), "crops": store.crops(run.crop, "train")}
            yield Unit("search", f"search/{run.name}", found, {}, sources, run.name)


def discarded(units: Iterable[Unit], rebuilt: Callable[[Unit], bool]) -> list[Unit]:
    """The units whose result is lost where those that are `rebuilt` are: they, and all that is made from them."""
    gone: set[Artifact] = set()
    lost = []
    for unit in units:
        if rebuilt(unit) or any(source in gone for source in unit.sources.values()):
            gone.add(unit.artifact)
            lost += [unit] if has_result(unit) else []
    return lost


def has_result(unit: Unit) -> bool:
    """Whether it is complete, undamaged as far as sizes tell, or half trained."""
    complete = bool(unit.artifact.facts()) and not unit.artifact.missing_or_resized()
    return complete or half_trained(unit) is not None


def half_trained(unit: Unit) -> float | None:
    """Seconds of training that the checkpoint of a fold holds; None where there is none."""
    if unit.stage != "train" or unit.fold is None or unit.artifact.exists() or not _checkpoint_of(unit):
        return None
    try:
        with open(unit.artifact.record_path.with_name("history.csv"), encoding="utf-8", newline="") as file:
            return sum(float(row["seconds"]) for row in csv.DictReader(file))
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return None


def starts_over(unit: Unit) -> bool:
    """Whether a fold is half trained by another specification, or from other sources: its checkpoint is of no use."""
    checkpoint = _checkpoint_of(unit) if half_trained(unit) is not None else {}
    return any(checkpoint.get(key, now) != now for key, now in (("spec", unit.spec), ("made_from", unit.made_from())))


def _checkpoint_of(unit: Unit) -> dict:
    """What the checkpoint of a fold was made by; empty where there is none, or nothing is known of it."""
    folder = unit.artifact.record_path.parent
    try:
        found = sealed_json.load(folder / "half-trained.json", "") or {}
    except Damaged:
        return {}
    return found if (folder / "checkpoint.weights.h5").is_file() else {}


def needs_agreement(lost: list[Unit]) -> bool:
    """Whether so much is lost that the user is asked."""
    spent = sum(seconds(unit) for unit in lost if unit.stage not in DERIVED)
    return spent > FREE or any(unit.stage in PRECIOUS for unit in lost)


def described(lost: list[Unit]) -> str:
    """'crops/near/train (40 s), 12 of train (3 h 05 min): 3 h 06 min of work'."""
    parts = []
    for stage in dict.fromkeys(unit.stage for unit in lost):
        of_stage = [unit for unit in lost if unit.stage == stage]
        counted = [unit for unit in of_stage if unit.fold is not None] or of_stage  # as `status` does: not features
        what = of_stage[0].label if len(of_stage) == 1 else f"{len(counted)} of {stage}"
        parts.append(f"{what} ({duration(sum(map(seconds, of_stage)))})")
    return f"{', '.join(parts)}: {duration(sum(map(seconds, lost)))} of work"


def seconds(unit: Unit) -> float:
    """Seconds that a unit, or the part of it that is there, took."""
    return half_trained(unit) or unit.seconds
