"""Tables that are strict: frozen, an unknown key is an error, and every error is one sentence."""

from collections.abc import Callable
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer


class Strict(BaseModel):
    """Frozen, and an unknown key is an error.

    A key in ADDED came after the first records were written: at its default it is not dumped, as it was not then.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    ADDED: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _as_recorded(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        unset = {key for key in self.ADDED if getattr(self, key) == type(self).model_fields[key].default}
        return {key: value for key, value in dump(self).items() if key not in unset}


def sentence(error: ValidationError, keys: Callable[[tuple[int | str, ...]], list[str]]) -> str:
    """The first problem as 'where: what was received is not what was expected'; `keys` are those of a table."""
    problem = error.errors()[0]
    place = [part for part in problem["loc"] if part != "[key]"]  # how pydantic marks the name of a table
    where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in place).lstrip(".")
    more = f" (and {len(error.errors()) - 1} more)" if len(error.errors()) > 1 else ""
    value = problem["input"]
    if problem["type"] == "literal_error":
        allowed = problem["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        return f"{where}: {value!r} is not one of {allowed}{more}"
    if problem["type"] == "extra_forbidden":
        return f"{where}: unknown key; allowed here: {', '.join(keys(problem['loc'][:-1]))}{more}"
    if problem["type"] == "missing":
        return f"{where}: missing{more}"
    text = problem["msg"].removeprefix("Value error, ")
    if text.startswith("@"):  # names its own place
        return text[1:] + more
    shown = f"{value!r}: " if not isinstance(value, (dict, list, BaseModel)) else ""
    return f"{where}: {shown}{text[:1].lower()}{text[1:]}{more}".lstrip(": ")
