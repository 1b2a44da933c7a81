"""Label schemas by name: what was asked, and how a table of labels says it. Shipped ones are in plans/labels/."""

import json
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.core.labels import Schema
from pipeline.errors import UserError, meant
from pipeline.plans.label_table import LabelTable, keys
from pipeline.plans.strict import sentence

SHIPPED = Path(__file__).parent / "labels"
DEFAULT = "galaxy-zoo-2"


def shipped() -> list[str]:
    """Names of the schemas that are shipped."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def is_path(name: str) -> bool:
    """Whether that is what it is, and not the name of a shipped schema."""
    return name.endswith(".toml") or "/" in name


def path_of(name: str) -> Path:
    """Path of a schema: a shipped name, or the path of a TOML file."""
    return Path(name) if is_path(name) else SHIPPED / f"{name}.toml"


def load_table(name: str) -> LabelTable:
    """A schema as it stands in its file; UserError says what is wrong where."""
    path = path_of(name)
    if not path.is_file():
        if is_path(name):
            beside = sorted(other.name for other in path.parent.glob("*.toml"))
            raise UserError(f"there is no label schema {path.resolve()}{meant(path.name, beside)}")
        raise UserError(
            f"no label schema {name!r}: give one of {', '.join(shipped())}, or the path of a TOML file"
            f"{meant(name, shipped())}"
        )
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a TOML file: {error}") from None
    return _validated(raw, str(path))


def _validated(raw: dict[str, Any], where: str) -> LabelTable:
    try:
        return LabelTable.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{where}: {sentence(error, keys)}") from None


def load_schema(name: str) -> Schema:
    """The schema of a shipped name or of a TOML file."""
    return load_table(name).schema(path_of(name).stem)


@cache
def galaxy_zoo_2() -> Schema:
    """The tree of the competition: what plans and outputs that say nothing else are labelled with."""
    return load_schema(DEFAULT)


def from_record(recorded: dict[str, Any]) -> Schema:
    """The schema that `to_record` recorded."""
    return _validated(recorded["table"], "the recorded label schema").schema(recorded["name"])


def to_record(name: str, table: LabelTable) -> dict[str, Any]:
    """A schema as records hold it: its name and its table, as far as that departs from the defaults."""
    return {"name": name, "table": _dumped(table)}


def _dumped(table: LabelTable) -> dict[str, Any]:
    """A schema as it stands in its file, but for defaults: one parent is a text, as when there could be but one."""
    raw = table.model_dump(mode="json", exclude_defaults=True)
    for question in raw["questions"]:
        if len(question.get("parent", ())) == 1:
            (question["parent"],) = question["parent"]
    return raw


def same_but_for_words(recorded: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two recorded schemas differ at most in words for people, on which nothing depends that is computed."""
    return _without_words(recorded) == _without_words(other)


def _without_words(recorded: dict[str, Any]) -> dict[str, Any]:
    table = {key: value for key, value in recorded["table"].items() if key != "source"}
    kept = [{k: v for k, v in one.items() if k not in ("text", "texts")} for one in table["questions"]]
    return recorded | {"table": table | {"questions": kept}}


def to_toml(table: LabelTable) -> str:
    """A schema as the TOML file that it can be read from."""
    raw = _dumped(table)
    lines = [f"{key} = {json.dumps(value)}" for key, value in raw.items() if key not in ("questions", "classes")]
    for name in ("questions", "classes"):
        for one in raw.get(name, ()):
            lines += ["", f"[[{name}]]", *(f"{key} = {_toml(value)}" for key, value in one.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {json.dumps(one)}" for key, one in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)
