"""What of a plan exists, what is missing, what is stale and why. Changes nothing.

--check reads every file as well, and tells which is not what was written.

    ./run.sh status --plan demo [--check]
"""

from collections.abc import Iterator
from itertools import groupby

from pipeline import cli, units


def table(request: cli.Request, *, check: bool = False) -> list[str]:
    """One line a stage and, below it, one for each unit that is not complete."""
    lines = [f"{request.plan.name} in {request.store.root}"]
    for stage, made in groupby(units.every(request.plan, request.store), key=lambda unit: unit.stage):
        found = [(unit, *_state(unit, request, check)) for unit in made]
        complete = sum(state == "complete" for _, state, _ in found)
        lines.append(f"  {stage:<10} {complete} of {len(found)} complete")
        lines += _incomplete(found)
    return lines


def _state(unit: units.Unit, request: cli.Request, check: bool) -> tuple[str, list[str]]:
    state, why = unit.state()
    if unit.stage == "train" and state == "missing" and (failed := units.failure(unit, request.store)):
        return "failed", [failed]
    if check and state == "complete" and (rot := unit.artifact.rot()):
        return "rotten", rot
    return state, why


def _incomplete(found: list[tuple[units.Unit, str, list[str]]]) -> Iterator[str]:
    for unit, state, why in found:
        if state != "complete":
            yield f"    {state:<9} {unit.label}{': ' if why else ''}{'; '.join(why[:3])}"


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    made = cli.parser(__doc__)
    made.add_argument("--check", action="store_true", help="read every file and compare it with its record")
    request = cli.parse(made, argv)
    print("\n".join(table(request, check=request.options.check)))


if __name__ == "__main__":
    cli.start(main)
