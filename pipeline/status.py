"""What of a plan exists, what is missing, what is stale and why. Changes nothing.

./run.sh status --plan demo
"""

from itertools import groupby

from pipeline import cli, units


def table(request: cli.Request) -> list[str]:
    """One line a stage and, below it, one for each unit that is not complete."""
    lines = [f"{request.plan.name} in {request.store.root}"]
    for stage, made in groupby(units.every(request.plan, request.store), key=lambda unit: unit.stage):
        found = [(unit, *unit.state()) for unit in made]
        complete = sum(state == "complete" for _, state, _ in found)
        lines.append(f"  {stage:<10} {complete} of {len(found)} complete")
        for unit, state, why in found:
            if state != "complete":
                if unit.stage == "train" and (failed := units.failure(unit, request.store)):
                    state, why = "failed", [failed]
                lines.append(f"    {state:<9} {unit.label}{': ' if why else ''}{'; '.join(why[:3])}")
    return lines


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    print("\n".join(table(cli.parse(cli.parser(__doc__), argv))))


if __name__ == "__main__":
    cli.start(main)
