"""One unit of work: an artifact, what it is specified by and made from, the state that it is in, and what is to do.

A unit is missing, complete, changed (its own specification differs: refused, since work would be lost) or
outdated (one of its sources was rebuilt, by the user's choice: rebuilt too).
"""

import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.errors import Damaged, UserError
from pipeline.store.records import Artifact, Version

log = logging.getLogger(__name__)
PAGE = "the page's own code"  # a source of the report
SOURCE_FILES = {  # what the inputs are specified by, and what people call it
    "labels": "the table of labels",
    "train": "the labelled images",
    "test": "the images to predict",
    "sample": "the sample file",
}
Command = Callable[..., str]
VERSIONS: dict[str, int] = {}  # stage -> a number, raised when its code makes something else of the same plan


@dataclass(frozen=True)
class Unit:
    """One artifact of a plan."""

    stage: str
    label: str
    artifact: Artifact
    spec: dict[str, Any]
    sources: dict[str, Artifact | Version] = field(default_factory=dict)
    run: str | None = None
    fold: int | None = None
    reads: dict[str, Artifact] = field(default_factory=dict)  # besides the sources, which imply their own

    def __post_init__(self):
        if self.stage in VERSIONS:
            object.__setattr__(self, "spec", self.spec | {"version of the code": VERSIONS[self.stage]})

    @property
    def seconds(self) -> float:
        """Seconds that it took, as its stage recorded them; 0 where it did not."""
        record = self.artifact.facts()
        return float(record.get("train_seconds") or record.get("seconds") or 0)

    def made_from(self) -> dict[str, str | None]:
        """Digests of the artifacts it is made from; None where one is missing."""
        return {name: source.digest() for name, source in self.sources.items()}

    def state(self) -> tuple[str, list[str]]:
        """('missing' | 'complete' | 'changed' | 'damaged' | 'outdated', the differences)."""
        try:
            record = self.artifact.record()
        except Damaged as error:
            return "damaged", [str(error)]
        now = {name: _current_digest(source) for name, source in self.sources.items()}
        if record is None:
            return "missing", [f"waits for {name}" for name, digest in now.items() if not digest]
        if changed := differences(record["spec"], self.spec):
            return "changed", changed
        if damage := self.artifact.missing_or_resized():
            return "damaged", damage
        if outdated := _sources_changed(_recorded_digests(record["made_from"]), now):
            return "outdated", outdated
        return "complete", []

    def finish(self, **facts: Any) -> dict[str, Any]:
        """Write the record of a unit whose files are there."""
        return self.artifact.finish(self.spec, self.made_from(), **facts)


def _current_digest(source: Artifact | Version) -> str | None:
    """Its digest; None where it is missing, empty where its record is damaged."""
    try:
        return source.digest()
    except Damaged:
        return ""


def _recorded_digests(made_from: dict[str, str | None]) -> dict[str, str | None]:
    """Digests of the sources as recorded; earlier releases digested the page's code, which counts as version 1."""
    if not str(made_from.get(PAGE, "version")).startswith("version"):
        return made_from | {PAGE: Version(1).digest()}
    return made_from


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Leaves in which two specifications differ, as 'epochs: 3 -> 5'."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(k for k in new if k not in old)]
        return [d for k in keys for d in differences(old.get(k), new.get(k), f"{where}.{k}".lstrip("."))]
    return [] if old == new else [f"{where}: {old} -> {new}"]


def _sources_changed(then: dict[str, str | None], now: dict[str, str | None]) -> list[str]:
    """Changes of the sources of a unit since it was built, as sentences."""
    changes = {name: "is no longer needed" for name in then if name not in now}
    changes |= {name: "is missing" if digest is None else "is damaged" for name, digest in now.items() if not digest}
    changes |= {name: "is new" for name in now if name not in then and name not in changes}
    changes |= {name: "was rebuilt" for name, digest in now.items() if name not in changes and digest != then[name]}
    return [f"{name} {what}" for name, what in changes.items()]


def to_do(units: Iterable[Unit], command: Command, *, force: bool) -> list[Unit]:
    """The units that must be made; UserError for those that would lose work unless `force`.

    `command`: see `Store.command`.
    """
    todo: list[Unit] = []
    found = [(replace(unit, artifact=unit.artifact.looked_at()), *unit.state()) for unit in units]
    if not force:
        _refuse_changed(found, command)
    for unit, state, why in found:
        if state != "complete" or force or _made_from_any(unit, todo):
            if state == "outdated":
                log.info("%s is rebuilt: %s", unit.label, "; ".join(why))
            todo.append(unit)
    return todo


def refuse_changed(units: Iterable[Unit], command: Command) -> None:
    """What `to_do` refuses of the units of a stage, for those who ask earlier."""
    _refuse_changed([(unit, *unit.state()) for unit in units], command)


def _refuse_changed(found: list[tuple[Unit, str, list[str]]], command: Command) -> None:
    if refused := [one for one in found if one[1] in ("changed", "damaged")]:
        _refuse(refused, command)


def _made_from_any(unit: Unit, others: list[Unit]) -> bool:
    """Whether one of the others, which come first, is what the unit is made from."""
    return any(other.artifact in unit.sources.values() for other in others)


def _refuse(refused: list[tuple[Unit, str, list[str]]], command: Command) -> None:
    unit, state, why = refused[0]
    more = f" (and {len(refused) - 1} more of this stage)" if len(refused) > 1 else ""
    if state == "damaged":
        raise Damaged(f"{unit.label} is damaged: {why[0].removesuffix(f'; {unit.artifact.mend}')}{more}; "
                      f"{unit.artifact.mend}")  # fmt: skip
    select = ["--run", unit.run] if unit.run else []
    changed = list(dict.fromkeys(SOURCE_FILES.get(re.split(r"[.:]", difference)[0], "") for difference in why))
    if unit.label == "inputs" and all(changed):
        raise UserError(
            f"stage 0 finds other inputs than before: {', '.join(changed)} changed, or this is another folder. "
            f"{command('run', '--force', 'inputs')} takes what is there now, with --input DIR what another folder "
            f"holds; else restore what was there, or choose another --output"
        )
    raise UserError(
        f"{unit.label} was not made by this plan: {'; '.join(why[:4])}{more}. Restore the plan, choose another "
        f"--output, or rebuild it by {command(unit.stage, *select, '--force')} "
        f"({command('run', '--force', unit.stage)} for the whole stage)"
    )
