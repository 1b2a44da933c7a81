"""What of a plan exists, what is missing, what is stale and why. Changes nothing.

What is made from something outdated or changed, however far up, is outdated. --check reads every file and reports
checksum mismatches. Without it only sizes are compared. A stage verifies what it uses, but a file above 1 GiB only once
while its size, times and inode are unchanged: silent disk corruption of such a file is found by --check alone.

With --check the exit code is 2 where a file is not what was written.

    ./run.sh status --plan demo [--check]
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import groupby
from typing import NamedTuple

from pipeline import cli
from pipeline.core.durations import duration
from pipeline.errors import Damaged
from pipeline.store import dependencies, staleness, superseded
from pipeline.store.artifacts import Store
from pipeline.store.records import Artifact

UNSOUND = ("corrupt", "damaged")  # states in which a file's content, size or record is not what was written
SHOWN = 3  # differences of a unit, and folds of a run before they are told as a range


class Found(NamedTuple):
    """A unit, by its label, and the state that it is in."""

    label: str
    state: str
    why: tuple[str, ...]
    run: str | None = None
    fold: int | None = None


class Checked:
    """Counts the files whose content was compared with their records, and the artifacts that are not as recorded."""

    def __init__(self) -> None:
        self.files = self.bytes = self.unsound = 0

    def mismatches(self, artifact: Artifact) -> list[str]:
        """See `Artifact.checksum_mismatches`."""
        there = [path for path in artifact.files if path.is_file()]
        self.files += len(there)
        self.bytes += sum(path.stat().st_size for path in there)
        return artifact.checksum_mismatches()

    def result(self) -> str:
        """The last line of a table."""
        read = f"{self.files} files, {self.bytes / 1e6:,.0f} MB, were read and compared with their sha256"
        return f"check: {read}: {'see above' if self.unsound else 'all are what was written'}"


def table(request: cli.Request, checked: Checked | None = None) -> list[str]:
    """One line a stage and, below it, what is not complete; equal states of a run's folds share a line."""
    lines, counted = [f"{request.plan.name} in {request.store.root}"], checked or Checked()
    walk, lost = staleness.Walk(), []
    for stage in dependencies.STAGES:
        try:
            units, of_part = _units(stage, request)
        except Damaged as error:  # shared by all of its units
            lines.append(f"  {stage:<10} damaged: {error}")
            counted.unsound += 1
            continue
        found = [_found(unit, walk, request, checked) for unit in units]
        lost += [unit.artifact for unit, one in zip(units, found, strict=True) if one.state in ("changed", "outdated")]
        counted.unsound += sum(one.state in UNSOUND for one in found)
        complete = sum(one.state == "complete" for one in found)
        lines.append(f"  {stage:<10} {complete} of {len(found)} complete{of_part}")
        lines += _incomplete(found)
    optional = list(_optional(request, checked))
    lines += _incomplete(optional)
    counted.unsound += sum(one.state in UNSOUND for one in optional)
    gone = staleness.discarded(staleness.everything(request.plan, request.store), lambda unit: unit.artifact in lost)
    if work := sum(staleness.seconds(unit) for unit in gone):
        lines.append(f"what is changed or outdated took {duration(work)} of work; to rebuild it is to discard that")
    if checked:
        lines.append(checked.result())
    return lines


def _units(stage: str, request: cli.Request) -> tuple[list[dependencies.Unit], str]:
    """The units of a stage, with what --run has made of runs alone, and what a report of a part is a report of."""
    plan, store, failed = request.plan, request.store, {}
    if stage in dependencies.AFTER_TRAINING:
        failed = dependencies.failed_runs(plan, store)
        plan = plan.without(failed)
    if stage == "report":
        plan = dependencies.existing_part(plan, store)
    units = list(dependencies.units_of(stage, plan, store))
    without = f", without {', '.join(failed)}" if failed else ""
    return units, without + (", of what exists" if plan.missing else "")


def _found(unit: dependencies.Unit, walk: staleness.Walk, request: cli.Request, checked: Checked | None) -> Found:
    state, why = walk.state(unit)
    if unit.label == "inputs" and state == "complete" and _other_labels(request.store):
        state, why = "changed", ["the table of labels is not the one that stage 0 read"]
        walk.mark(unit, state)
    if unit.stage == "train" and state == "missing" and (failed := dependencies.failure(unit, request.store)):
        state, why = "failed", [failed]
    if checked and state in ("complete", "outdated") and (mismatches := checked.mismatches(unit.artifact)):
        state, why = "corrupt", [f"{'; '.join(mismatches[:SHOWN])}; {unit.artifact.mend}"]
        walk.mark(unit, state)
    return Found(unit.label, state, tuple(why), unit.run, unit.fold)


def _other_labels(store: Store) -> bool:
    """Whether the table of one's own labels has changed since stage 0, which the other stages do not read."""
    facts = store.inputs().facts()
    if "schema" not in facts or not isinstance(facts.get("folder"), str):
        return False
    from pipeline.labelled.inputs import table_has_changed

    return table_has_changed(store.root / facts["folder"], facts.get("spec", {}))


def _optional(request: cli.Request, checked: Checked | None) -> Iterator[Found]:
    """The same for optional artifacts, and those that an earlier plan left."""
    with suppress(Damaged):  # as is told below, or by its stage
        for label, why in superseded.found(request.plan, request.store):
            yield Found(label, "outdated", tuple(why))
    for name, artifact in dependencies.optional_artifacts(request.plan, request.store):
        if problems := artifact.missing_or_resized():
            yield Found(name, "damaged", tuple(problems))
        elif checked and (mismatches := checked.mismatches(artifact)):
            yield Found(name, "corrupt", (f"{'; '.join(mismatches[:SHOWN])}; {artifact.mend}",))


def _incomplete(found: Iterable[Found]) -> Iterator[str]:
    """Lines of what is not complete: one for all missing units of a stage, or for a run's folds in the same state."""
    found = list(found)
    if len(found) > SHOWN and {one.state for one in found} == {"missing"}:
        yield f"    missing   all {len(found)}"
        return
    for (state, why, _), same in groupby(found, key=lambda one: (one.state, one.why, one.run)):
        if state != "complete":
            shown = why[:1] if state == "missing" else why[:SHOWN]
            more = f" and {len(why) - len(shown)} more" if len(why) > len(shown) else ""
            yield f"    {state:<9} {_label(list(same))}{': ' if why else ''}{'; '.join(shown)}{more}"


def _label(same: list[Found]) -> str:
    """'runs/a/fold0'; 'runs/a/fold0 to fold4'."""
    first, last = same[0], same[-1]
    if first.fold is None or len(same) == 1:
        return ", ".join(one.label for one in same)
    return f"{first.label} to fold{last.fold}"


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__, makes=False)
    parser.add_argument("--check", action="store_true", help="read every file and compare it with its record")
    request = cli.parse(parser, argv)
    checked = Checked() if request.options.check else None
    print("\n".join(table(request, checked)), flush=True)
    if checked and checked.unsound:
        count = "one artifact is" if checked.unsound == 1 else f"{checked.unsound} artifacts are"
        raise Damaged(f"{count} not what was written; the table says which, and what mends that")
