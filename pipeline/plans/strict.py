"""Tables that are strict: frozen, an unknown key is an error, and every error is one sentence."""

from collections.abc import Callable
from typing import Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from pipeline.errors import meant

Location = tuple[int | str, ...]


class Strict(BaseModel):
    """Frozen; an unknown key is an error, and so is a text for a number, or a number for a yes or no.

    A key in ADDED came after the first records were written: at its default it is not dumped, as it was not then.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    ADDED: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _arrays(cls, value: Any) -> Any:
        """Arrays of TOML and JSON, which are lists, as tuples."""
        if not isinstance(value, dict):
            return value
        return {key: tuple(item) if isinstance(item, list) else item for key, item in value.items()}

    @model_serializer(mode="wrap")
    def _as_recorded(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        unset = {key for key in self.ADDED if getattr(self, key) == type(self).model_fields[key].default}
        return {key: value for key, value in dump(self).items() if key not in unset}


class Misplaced(ValueError):
    """A mistake in a part of a table that shows only beside the rest of it: at `location`, from the table on."""

    def __init__(self, location: Location, text: str):
        super().__init__(text)
        self.location = location


def dotted(location: Location) -> str:
    """'runs[0].backbone'."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


def named(raw: Any) -> Callable[[Location], str]:
    """Places in a plan {runs, ensembles, …} by the names of its runs and ensembles: "run a: fine_tune.epochs"."""

    def place(location: Location) -> str:
        table, number, *rest = (*location, None, None)[: max(2, len(location))]
        if table not in ("runs", "ensembles") or not isinstance(number, int):
            return dotted(location)
        item = raw[table][number]
        name = item.get("name") if isinstance(item, dict) else None
        what = f"{table[:-1]} {name if isinstance(name, str) else f'number {number + 1}'}"
        return f"{what}: {dotted(tuple(rest))}".removesuffix(": ")

    return place


def sentence(
    error: ValidationError,
    keys: Callable[[Location], list[str]],
    place: Callable[[Location], str] = dotted,
    homes: Callable[[str], str] = lambda key: "",
) -> str:
    """The first problem as 'where: what was received is not what was expected'.

    `keys` are those of a table, `homes` tells in which other tables a key may stand.
    """
    problem, *others = _problems(error)
    where = place(_location(problem))
    count = len({place(_location(other)) for other in others} - {where})
    more = f" (and {count} more)" if count else ""
    value = problem["input"]
    if problem["type"] == "literal_error":
        allowed = problem["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        near = meant(value, allowed.split(", ")) if isinstance(value, str) else ""
        return f"{where}: {value!r} is not one of {allowed}{near}{more}"
    if problem["type"] == "extra_forbidden":
        allowed = keys(problem["loc"][:-1])
        key = str(problem["loc"][-1])
        near = f"; it is a key of {home}" if (home := homes(key)) else meant(key, allowed)
        return f"{where}: unknown key; allowed here: {', '.join(allowed)}{near}{more}"
    if problem["type"] == "missing":
        return f"{where}: missing{more}"
    if problem["type"] == "string_pattern_mismatch":  # of names: a plan's is that of its file
        return f"{where}: {value!r}: expected up to 64 letters A to Z, digits and . _ -, a letter or digit first{more}"
    text = problem["msg"].removeprefix("Value error, ")
    if _location(problem) != _outer(problem):  # a sentence of its own
        return f"{where}: {text}{more}"
    shown = f"{value!r}: " if not isinstance(value, (dict, list, tuple, BaseModel)) else ""
    return f"{where}: {shown}{text[:1].lower()}{text[1:]}{more}".lstrip(": ")


def _problems(error: ValidationError) -> list[Any]:
    """All problems, unknown keys first, since a missing one may be misspelt.

    Without arrays that pydantic calls too short because each of their items has a problem.
    """
    found = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    return [p for p in found if p["type"] != "too_short" or not any(
        other is not p and other["loc"][: len(p["loc"])] == p["loc"] for other in found
    )]  # fmt: skip


def _outer(problem: Any) -> Location:
    return tuple(part for part in problem["loc"] if part != "[key]")  # how pydantic marks the name of a table


def _location(problem: Any) -> Location:
    """Where a problem is, down to the part that it is in."""
    cause = problem.get("ctx", {}).get("error")
    return _outer(problem) + (cause.location if isinstance(cause, Misplaced) else ())
