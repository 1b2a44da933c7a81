"""A plan's file and those that it extends: their tables merged, and in which file each value stands.

The rule is told in `config`.
"""

import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import UserError, meant
from pipeline.plans import label_schemas
from pipeline.plans.strict import Location, dotted, named

PLANS = Path(__file__).parent
BY_NAME = ("runs", "ensembles")  # arrays of tables, merged by the names of these
OF_FILES = ("defaults", "extends")  # keys of a file, not of the plan that is made of it
WHOLE = ("search", "space")  # a table that is one value


class Layer(NamedTuple):
    """One file as it stands."""

    path: Path
    raw: dict[str, Any]


def plan_path(name: str, beside: Path | None = None) -> Path:
    """Path of a plan: a name under pipeline/plans/, or a path, relative to the folder `beside`."""
    if name.endswith(".toml") or "/" in name:
        return (beside or Path()) / Path(name).expanduser()
    return PLANS / f"{name}.toml"


def own_path(name: str) -> str | None:
    """Absolute path of a plan that is not a shipped one."""
    path = plan_path(name).resolve()
    return None if path.parent == PLANS.resolve() else str(path)


def read(name: str) -> list[Layer]:
    """The file of a plan and those that it extends, one after the other. UserError says what is wrong where."""
    layers, path = [], plan_path(name)
    while True:
        if not path.is_file():
            shipped = sorted(p.stem for p in PLANS.glob("*.toml"))
            where = f"{short(layers[-1].path)}: extends: " if layers else ""
            if path.parent != PLANS:
                beside = sorted(other.name for other in path.parent.glob("*.toml"))
                raise UserError(f"{where}there is no plan {path.resolve()}{meant(path.name, beside)}")
            own = layers[-1].path.parent / path.name if layers else Path(path.name)
            hint = f"; did you mean {path.name}?" if own.is_file() else meant(str(name), shipped)
            raise UserError(
                f"{where}no plan {name!r}: give one of {', '.join(shipped)}, or the path of a TOML file{hint}"
            )
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors on Windows begin a file with its mark
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: not a TOML file: {error}") from None
        if isinstance(labels := raw.get("labels"), str) and label_schemas.is_path(labels):
            raw["labels"] = str(path.parent / labels)  # beside the plan, wherever the command is given
        layers.append(Layer(path, raw))
        _check_defaults(layers[-1])
        if (name := raw.pop("extends", None)) is None:
            return layers
        if not isinstance(name, str):
            raise UserError(f"{short(path)}: extends: {name!r}: expected the name or path of another plan")
        path = plan_path(name, path.parent)
        if path.resolve() in [layer.path.resolve() for layer in layers]:
            raise UserError(f"{short(layers[-1].path)}: extends: {name!r}: the plan would extend itself")


def _check_defaults(layer: Layer) -> None:
    defaults = layer.raw.get("defaults", {})
    if not isinstance(defaults, dict):
        text = f"{defaults!r}: expected a table of keys that hold for every run"
        raise UserError(f"{short(layer.path)}: defaults: {text}")
    if "name" in defaults:
        raise UserError(f"{short(layer.path)}: defaults.name: a name is a run's own")


def resolved(layers: list[Layer]) -> dict[str, Any]:
    """The plan that the files describe together."""
    own, *bases = layers
    whole: dict[str, Any] = {}
    for layer in (*reversed(bases), own):
        whole = _merged(whole, {key: value for key, value in layer.raw.items() if key != "name" or layer is own})
    whole.setdefault("name", own.path.stem)
    defaults = whole.pop("defaults", {})
    if isinstance(runs := whole.get("runs"), list):
        whole["runs"] = [_merged(defaults, run) for run in runs]
    return whole


def _merged(base: Any, own: Any, where: Location = ()) -> Any:
    """What the later file says over what the earlier one does."""
    if isinstance(base, dict) and isinstance(own, dict) and where != WHOLE:
        return base | {key: _merged(base[key], value, (*where, key)) if key in base else value
                       for key, value in own.items()}  # fmt: skip
    if isinstance(base, list) and isinstance(own, list) and len(where) == 1 and where[0] in BY_NAME:
        return _merged_by_name(base, own, where)
    return own


def _merged_by_name(base: list[Any], own: list[Any], where: Location) -> list[Any]:
    """Tables of the same name merged; the others after those of the base. A name given twice stays twice."""
    whole, left = [], list(own)
    for item in base:
        same = next((one for one in left if _name(one) is not None and _name(one) == _name(item)), None)
        if same is not None:
            left.remove(same)
        whole.append(item if same is None else _merged(item, same, (*where, len(whole))))
    return whole + left


def _name(item: Any) -> str | None:
    return item.get("name") if isinstance(item, dict) else None


class Places:
    """Places in the merged plan as a user reads them: the file, then "run a: fine_tune.epochs"."""

    def __init__(self, layers: list[Layer], whole: dict[str, Any]):
        self.layers, self.whole = layers, whole

    def __call__(self, location: Location) -> str:
        layer, in_defaults = self._find(location)
        place = dotted(("defaults", *location[2:])) if in_defaults else named(self.whole)(location)
        file = f"{short(layer.path)}"
        if layer is not self.layers[0]:  # what is wrong may be what the other changed
            file = f"{file}, as {short(self.layers[0].path)} extends it"
        return f"{file}: {place}".removesuffix(": ")

    def _find(self, location: Location) -> tuple[Layer, bool]:
        """(the file that the value at a location, or what is nearest around it, comes from; whether by [defaults])."""
        keys = self._by_name(location)
        for length in range(len(keys), 0, -1):
            for layer in self.layers:
                if _holds(layer.raw, keys[:length]):
                    return layer, False
            if keys[0] == "runs" and length > 2:
                for layer in self.layers:
                    if _holds(layer.raw.get("defaults", {}), keys[2:length]):
                        return layer, True
        return self.layers[0], False

    def _by_name(self, location: Location) -> list[Any]:
        """The location with the tables of runs and ensembles, by which `_holds` finds them again, for numbers."""
        keys = list(location)
        if len(keys) > 1 and keys[0] in BY_NAME and isinstance(keys[1], int):
            item = self.whole[keys[0]][keys[1]]
            keys[1] = item if isinstance(item, dict) else {}
        return keys


def _holds(raw: Any, keys: list[Any]) -> bool:
    """Whether a file has a value there."""
    for key in keys:
        if isinstance(key, dict):
            raw = next((one for one in raw if _name(one) == key.get("name")), None) if isinstance(raw, list) else None
        elif isinstance(raw, dict):
            raw = raw.get(key)
        else:
            raw = raw[key] if isinstance(raw, list) and isinstance(key, int) and key < len(raw) else None
        if raw is None:
            return False
    return True


def short(path: Path) -> Path:
    """The path of a shipped plan from the package on; of another as it is."""
    return path.relative_to(PLANS.parent) if path.is_relative_to(PLANS) else path
