"""One unit of work: an artifact, what it is specified by and made from, and the state that it is in."""

from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import Damaged
from pipeline.store.records import Artifact, Version

PAGE = "the page's own code"  # a source of the report
VERSIONS: dict[str, int] = {}  # stage -> a number, raised when its code makes something else of the same plan


@dataclass(frozen=True)
class Unit:
    """One artifact that the plan wants."""

    stage: str
    label: str
    artifact: Artifact
    spec: dict[str, Any]
    sources: dict[str, Artifact | Version] = field(default_factory=dict)
    run: str | None = None
    fold: int | None = None
    reads: dict[str, Artifact] = field(default_factory=dict)  # besides the sources, which speak for their own sources

    def __post_init__(self):
        if self.stage in VERSIONS:
            object.__setattr__(self, "spec", self.spec | {"version of the code": VERSIONS[self.stage]})

    def made_from(self) -> dict[str, str | None]:
        """Digests of the artifacts it is made from; None where one is missing."""
        return {name: source.digest() for name, source in self.sources.items()}

    def state(self) -> tuple[str, list[str]]:
        """('missing' | 'complete' | 'changed' | 'damaged' | 'outdated', the differences)."""
        try:
            record = self.artifact.record()
        except Damaged as error:
            return "damaged", [str(error)]
        now = {name: _now(source) for name, source in self.sources.items()}
        if record is None:
            return "missing", [f"waits for {name}" for name, digest in now.items() if not digest]
        if changed := _differences(record["spec"], self.spec):
            return "changed", changed
        if damage := self.artifact.damage():
            return "damaged", damage
        if outdated := _sources_changed(_then(record["made_from"]), now):
            return "outdated", outdated
        return "complete", []

    def finish(self, **facts: Any) -> dict[str, Any]:
        """Write the record of a unit whose files are there."""
        return self.artifact.finish(self.spec, self.made_from(), **facts)


def _now(source: Artifact | Version) -> str | None:
    """Its digest; None where it is missing, empty where its record is damaged."""
    try:
        return source.digest()
    except Damaged:
        return ""


def _then(made_from: dict[str, str | None]) -> dict[str, str | None]:
    """Digests of the sources as recorded; earlier releases digested the page's code, which counts as version 1."""
    if not str(made_from.get(PAGE, "version")).startswith("version"):
        return made_from | {PAGE: Version(1).digest()}
    return made_from


def _differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Leaves in which two specifications differ, as 'epochs: 3 -> 5'."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(k for k in new if k not in old)]
        return [d for k in keys for d in _differences(old.get(k), new.get(k), f"{where}.{k}".lstrip("."))]
    return [] if old == new else [f"{where}: {old} -> {new}"]


def _sources_changed(then: dict[str, str | None], now: dict[str, str | None]) -> list[str]:
    """What has happened to the sources of a unit since it was made, as sentences."""
    told = {name: "is no longer asked for" for name in then if name not in now}
    told |= {name: "is missing" if digest is None else "is damaged" for name, digest in now.items() if not digest}
    told |= {name: "is new" for name in now if name not in then and name not in told}
    told |= {name: "was made anew" for name, digest in now.items() if name not in told and digest != then[name]}
    return [f"{name} {what}" for name, what in told.items()]
