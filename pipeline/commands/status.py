"""What of a plan exists, what is missing, what is stale and why. Changes nothing.

--check reads every file and reports checksum mismatches. Without it only sizes are compared. A stage verifies what it
uses, but a file above 1 GiB only once while its size, times and inode are unchanged: silent disk corruption of such a
file is found by --check alone.

    ./run.sh status --plan demo [--check]
"""

from collections.abc import Iterable, Iterator

from pipeline import cli
from pipeline.errors import Damaged
from pipeline.store import dependencies


def table(request: cli.Request, *, check: bool = False) -> list[str]:
    """One line a stage and, below it, one for each unit that is not complete."""
    lines = [f"{request.plan.name} in {request.store.root}"]
    for stage, makers in dependencies.STAGES.items():
        try:
            units = [unit for maker in makers for unit in maker(request.plan, request.store)]
        except Damaged as error:  # shared by all of its units
            lines.append(f"  {stage:<10} damaged: {error}")
            continue
        found = [(unit.label, *_state(unit, request, check)) for unit in units]
        complete = sum(state == "complete" for _, state, _ in found)
        lines.append(f"  {stage:<10} {complete} of {len(found)} complete")
        lines += _incomplete(found)
    return lines + list(_incomplete(_optional(request, check)))


def _state(unit: dependencies.Unit, request: cli.Request, check: bool) -> tuple[str, list[str]]:
    state, why = unit.state()
    if unit.stage == "train" and state == "missing" and (failed := dependencies.failure(unit, request.store)):
        return "failed", [failed]
    if check and state == "complete" and (mismatches := unit.artifact.checksum_mismatches()):
        return "corrupt", mismatches
    return state, why


def _optional(request: cli.Request, check: bool) -> Iterator[tuple[str, str, list[str]]]:
    """The same for optional artifacts."""
    for name, artifact in dependencies.optional_artifacts(request.plan, request.store):
        if problems := artifact.missing_or_resized():
            yield name, "damaged", problems
        elif check and (mismatches := artifact.checksum_mismatches()):
            yield name, "corrupt", mismatches


def _incomplete(found: Iterable[tuple[str, str, list[str]]]) -> Iterator[str]:
    for label, state, why in found:
        if state != "complete":
            yield f"    {state:<9} {label}{': ' if why else ''}{'; '.join(why[:3])}"


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--check", action="store_true", help="read every file and compare it with its record")
    request = cli.parse(parser, argv)
    print("\n".join(table(request, check=request.options.check)))
