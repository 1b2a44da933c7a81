"""What of a plan exists, what is missing, what is stale and why. Changes nothing.

--check reads every file as well, and tells which is not what was written. Without it sizes are compared; a stage reads
what it uses, but a file above 1 GiB only once as long as its size, times and inode stay: what a failing disk changes
behind them, --check alone finds.

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
            made = [unit for maker in makers for unit in maker(request.plan, request.store)]
        except Damaged as error:  # what all of its units depend on
            lines.append(f"  {stage:<10} damaged: {error}")
            continue
        found = [(unit.label, *_state(unit, request, check)) for unit in made]
        complete = sum(state == "complete" for _, state, _ in found)
        lines.append(f"  {stage:<10} {complete} of {len(found)} complete")
        lines += _incomplete(found)
    return lines + list(_incomplete(_besides(request, check)))


def _state(unit: dependencies.Unit, request: cli.Request, check: bool) -> tuple[str, list[str]]:
    state, why = unit.state()
    if unit.stage == "train" and state == "missing" and (failed := dependencies.failure(unit, request.store)):
        return "failed", [failed]
    if check and state == "complete" and (rot := unit.artifact.checksum_mismatches()):
        return "rotten", rot
    return state, why


def _besides(request: cli.Request, check: bool) -> Iterator[tuple[str, str, list[str]]]:
    """The same of what is made by the way."""
    for name, artifact in dependencies.optional_artifacts(request.plan, request.store):
        if damage := artifact.damage():
            yield name, "damaged", damage
        elif check and (rot := artifact.checksum_mismatches()):
            yield name, "rotten", rot


def _incomplete(found: Iterable[tuple[str, str, list[str]]]) -> Iterator[str]:
    for label, state, why in found:
        if state != "complete":
            yield f"    {state:<9} {label}{': ' if why else ''}{'; '.join(why[:3])}"


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    made = cli.parser(__doc__)
    made.add_argument("--check", action="store_true", help="read every file and compare it with its record")
    request = cli.parse(made, argv)
    print("\n".join(table(request, check=request.options.check)))
