"""Columns of a catalogue that are carried through to the answers: names, types, values."""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalogue import columns, ids, numbers
from pipeline.catalogue.readers.part import Meaning, Part
from pipeline.errors import UserError

ROWS = 1 << 14  # looked at at once
INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")  # as text; what begins with zeros is a name
EXACT = 1 << 53  # integers up to which float64 tells from one another
INT64, FLOAT32, FLOAT64, TEXT = pa.int64(), pa.float32(), pa.float64(), pa.string()


class Kept:
    """The wanted columns of a table, under their own names."""

    def __init__(self, part: Part, wanted: list[str], path: Path):
        """UserError where the table has none of that name, or the answers have one, or it holds no single values."""
        self._part, self.columns = part, [_column(name, part.columns, path) for name in dict.fromkeys(wanted)]
        seen: dict[str, set[str]] = {name: set() for name in self.columns}
        for rows in part.rows(self.columns, ROWS) if wanted else ():
            for name in self.columns:
                seen[name] |= _kinds(_plain(rows[name], name, path), part)
        self.fields = [_field(name, _type(seen[name]), part.meanings.get(name, Meaning())) for name in self.columns]

    def values(self, rows: pa.Table) -> dict[str, np.ndarray]:
        """Column of a batch of galaxies -> its values (n,): int64, float32, float64, or text and None as objects."""
        return {
            columns.KEPT + field.name: self._values(_plain(rows[name], name, Path()), field.type)
            for name, field in zip(self.columns, self.fields, strict=True)
        }

    def _values(self, column: pa.ChunkedArray, kind: pa.DataType) -> np.ndarray:
        if kind == TEXT:
            made = np.empty(len(column), object)
            made[:] = _texts(column)
            return made
        if pa.types.is_string(column.type) and kind != INT64:
            return numbers.as_float64(column, self._part.decimal)[0]
        return column.cast(kind, safe=False).to_numpy()


def _column(name: str, there: list[str], path: Path) -> str:
    found = [c for c in there if c == name] or [c for c in there if c.strip().casefold() == name.strip().casefold()]
    if len(found) != 1:
        raise UserError(f"--keep {name}: {path} has {'several columns' if found else 'no column'} of that name, only "
                        f"{', '.join(there)}")  # fmt: skip
    return found[0]


def require_other_names(fields: list[pa.Field], names: Iterable[str]) -> None:
    """UserError where a kept column has one of these names, which are the table's own."""
    ours = {name.casefold() for name in names}
    for name in (field.name for field in fields):
        if name.casefold() in ours:
            raise UserError(
                f"--keep {name}: the answers have a column of that name themselves: leave it out, or rename it"
            )


def _field(name: str, kind: pa.DataType, meaning: Meaning) -> pa.Field:
    return pa.field(name.strip(), kind, metadata={key: text for key, text in meaning._asdict().items() if text})


def _plain(column: pa.ChunkedArray, name: str, path: Path) -> pa.ChunkedArray:
    """The column as integers, float32, float64 or text; UserError where it holds several values a row."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(column.cast(kind.value_type), name, path)
    if pa.types.is_nested(kind):
        raise UserError(f"--keep {name}: {path} holds {kind} in it; expected one number or text a row")
    if pa.types.is_integer(kind) or kind in (FLOAT32, FLOAT64):
        return column
    if ids.is_text(kind):
        return pa.chunked_array([pa.array([_text(value) for value in column.to_pylist()], TEXT)])
    return column.cast(FLOAT32 if pa.types.is_floating(kind) else TEXT)


def _text(value: str | bytes | None) -> str | None:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""
    return text.strip(" \0") or None


def _texts(column: pa.ChunkedArray) -> list[str | None]:
    return [None if value is None else str(value) for value in column.to_pylist()]


def _kinds(column: pa.ChunkedArray, part: Part) -> set[str]:
    """What a column holds, of: integer, large (integers that float64 rounds), float32, float64, text, missing."""
    missing = {"missing"} if column.null_count else set()
    if column.null_count == len(column):
        return missing
    if pa.types.is_integer(column.type):
        return missing | _of_integers(list(pc.min_max(column).as_py().values()))
    if not pa.types.is_string(column.type):
        return missing | {str(column.type).replace("float", "float32").replace("double", "float64")}
    return missing | ({"text"} if part.typed else _of_texts(column, part.decimal))


def _of_integers(values: list[int]) -> set[str]:
    if any(not -(1 << 63) <= value < 1 << 63 for value in values):
        return {"text"}
    return {"integer", "large"} if any(abs(value) > EXACT for value in values) else {"integer"}


def _of_texts(column: pa.ChunkedArray, decimal: str) -> set[str]:
    """The same of a file that has no types."""
    texts = [text for text in column.to_pylist() if text]
    if all(map(INTEGER.fullmatch, texts)):
        return _of_integers([int(text) for text in texts])
    if (
        any(re.fullmatch(r"[+-]?0[0-9]+|[+-]?[0-9]{16,}", text) for text in texts)
        or numbers.as_float64(column, decimal)[1]
    ):
        return {"text"}
    return {"float64"}


def _type(seen: set[str]) -> pa.DataType:
    """The least type that holds all that was seen, with NaN for numbers that are missing."""
    if "text" in seen or not seen - {"missing"}:
        return TEXT
    if seen <= {"integer", "large"}:
        return INT64
    if "large" in seen:
        return TEXT
    return FLOAT32 if seen <= {"float32", "missing"} else FLOAT64
