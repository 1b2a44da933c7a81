"""Artifacts of other plans below the same output folder, taken over where they are what this plan would make.

Safe is that where specification and sources are the same, the files are what their record says, and the code has the
same version: by the rule, that is, by which an artifact of this plan itself counts as complete. Files are linked, not
copied, where the file system can: whatever is made anew replaces its files and never writes into them.
"""

import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pipeline.errors import Damaged
from pipeline.execution import locks
from pipeline.plans.config import Plan
from pipeline.store import dependencies, staleness
from pipeline.store.artifacts import Store
from pipeline.store.records import Artifact, atomic
from pipeline.store.unit import Unit

log = logging.getLogger(__name__)
STAGES = ("inputs", "crops", "baselines", "train", "predict", "insight")  # the others take moments, or name their plan


def take_over(units: Iterable[Unit], plan: Plan, store: Store) -> None:
    """Take over those of the units that are missing here and complete in another plan's folder."""
    for unit in units:
        for donor in _donors(unit, store):
            needed = _features(unit, plan, store)
            wanted = [one for one in (needed, unit) if one and one.state()[0] == "missing"]
            found = [(one, _same(one, store, donor)) for one in wanted]
            if all(other for _, other in found):
                for one, other in found:
                    _copy(other, one.artifact)
                log.info("%-10s %s is the same in %s and taken over", unit.stage, unit.label, donor)
                break


def _donors(unit: Unit, store: Store) -> Iterator[Path]:
    """Folders of other plans that have what is missing here."""
    if unit.stage not in STAGES or unit.label == "inputs" or unit.artifact.exists() or not store.root.parent.is_dir():
        return
    if staleness.half_trained(unit) is not None:
        return
    for folder in sorted(store.root.parent.iterdir()):
        if folder != store.root and not folder.name.startswith(".") and _same(unit, store, folder):
            yield folder


def _same(unit: Unit, store: Store, folder: Path) -> Artifact | None:
    """The same artifact in the folder of another plan; None where there is none, or where it differs."""
    record, *files = (
        folder / path.relative_to(store.root) for path in (unit.artifact.record_path, *unit.artifact.files)
    )
    other = Artifact(record, tuple(files))
    if other.exists() and replace(unit, artifact=other).state()[0] == "complete":
        with suppress(Damaged):
            other.verify()
            return other
    return None


def _features(unit: Unit, plan: Plan, store: Store) -> Unit | None:
    """The features that a trained head alone is of use with."""
    run = plan.run(unit.run) if unit.stage == "train" else None
    return dependencies.features(plan, store, run) if run and run.keeps_features else None


def _copy(source: Artifact, to: Artifact) -> None:
    record = source.required()
    to.begin()
    for path, copy in zip(source.files, to.files, strict=True):
        _link(path, copy)
    to.write(record)
    locks.release(to.lock)


def _link(path: Path, to: Path) -> None:
    temporary = to.with_name(f".{os.getpid()}.{to.name}")
    try:
        os.link(path, temporary)
        to.unlink(missing_ok=True)  # where it is the same file already, replacing it would leave the temporary name
        os.replace(temporary, to)
    except OSError:  # another file system, or one without links
        with atomic(to) as temporary:
            shutil.copyfile(path, temporary)
