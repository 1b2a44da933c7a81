"""Tables of a plan, as they are read, put over others: a run's over [defaults], a plan's over the one it extends."""

from typing import Any


def extended(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """With changes: [search] and runs of the same name are merged key by key, all else takes the other's place."""
    if isinstance(search := base.get("search"), dict) and isinstance(changes.get("search"), dict):
        changes = changes | {"search": search | changes["search"]}
    runs, changed = base.get("runs"), changes.get("runs")
    if not (isinstance(runs, list) and isinstance(changed, list)):
        return {**base, **changes}
    by_name = {run["name"]: run for run in changed if isinstance(run, dict) and isinstance(run.get("name"), str)}
    merged = [with_defaults(by_name.pop(run["name"], {}), run) for run in runs if isinstance(run, dict)]
    return {**base, **changes, "runs": [*merged, *by_name.values()]}


def with_defaults(run: Any, defaults: dict[str, Any]) -> Any:
    """The run's own keys over the defaults, table by table."""
    if not isinstance(run, dict):
        return run
    merged = {**defaults, **run}
    for key, value in defaults.items():
        if isinstance(value, dict) and isinstance(run.get(key), dict):
            merged[key] = {**value, **run[key]}
    return merged
