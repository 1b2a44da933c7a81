"""A table of labels: ids, names of images and the columns that hold the labels, as text, from any format."""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.catalogue import column_names, ids, numbers, readers
from pipeline.catalogue.readers.part import Part
from pipeline.errors import UserError

log = logging.getLogger(__name__)
ROWS = 65_536  # read at once
INT64 = np.iinfo(np.int64)


class Table(NamedTuple):
    """The rows of a table of labels, in its own order."""

    path: Path
    ids: np.ndarray  # (n,) int64, or text where one is no integer of 64 bits
    images: list[str] | None  # names; None: the id is the name
    cells: pa.Table  # the other columns
    decimal: str

    def text(self, column: str) -> list[str]:
        """Cells of a column as text, "" where empty; a whole number is written without its point."""
        return [_text(value) for value in self.cells[column].to_pylist()]

    def numbers(self, column: str) -> np.ndarray:
        """Cells of a column as float64 (n,), NaN where empty; UserError for what is no number."""
        values, strange = numbers.as_float64(self.cells[column], self.decimal)
        if strange:
            row, cell = strange[0]
            raise UserError(
                f"{self.path}, column {column!r}: {len(strange):,} cells are no numbers, such as {cell!r} of galaxy "
                f"{self.ids[row]}: mend them, or leave them empty where nothing is known"
            )
        return values


def read(path: Path, id_column: str | None, image_column: str | None) -> Table:
    """The first table of a file; the columns are as the schema names them, else by their usual names.

    Without a column of ids the names of the images, without folder and suffix, are the ids. UserError where there is
    neither, a column that the schema names is missing, or an id cannot be used.
    """
    part = readers.parts(path)[0]
    image = _column(part, "image", image_column, path)
    id_name = _column(part, "id", id_column, path)
    if id_name is None and image is None:
        raise UserError(
            f"{path}: no column of ids or of images among {', '.join(part.columns[:12])}: name one in the label "
            f'schema, id = "…" or image = "…"'
        )
    rows = list(part.rows(list(part.columns), ROWS))
    if not sum(map(len, rows)):
        raise UserError(f"{path}: has columns, {', '.join(part.columns[:12])}, and no galaxy: fill it, or remove it")
    cells = pa.concat_tables(rows, promote_options="permissive")
    images = None if image is None else [_text(value) for value in cells[image].to_pylist()]
    named = _stems(images) if id_name is None else _ids(cells[id_name], path, id_name)
    log.info("%-10s %s: ids from %s, images by %s", "inputs", path.name, id_name or image, image or "id")
    others = cells.drop_columns([name for name in {id_name, image} if name])
    return Table(path, as_id_array(named), images, others, part.decimal)


def as_id_array(named: list[str | int]) -> np.ndarray:
    """Ids (n,) as int64 where each is a canonical integer of 64 bits, else as text, unchanged."""
    if all(_is_integer(name) for name in named):
        return np.array([int(name) for name in named], np.int64)
    return np.array([str(name) for name in named], dtype=str)


def _is_integer(name: str | int) -> bool:
    text = str(name)
    digits = text.removeprefix("-")
    plain = text.isascii() and digits.isdecimal() and len(digits) < 20 and text == str(int(text))
    return plain and INT64.min <= int(text) <= INT64.max


def _column(part: Part, meaning: str, chosen: str | None, path: Path) -> str | None:
    """The column of that meaning: as chosen, else by a usual name; UserError where that is not there, or is two."""
    for name in (chosen,) if chosen else column_names.NAMES[meaning]:
        exact = [column for column in part.columns if column == name]
        same = exact or [c for c in part.columns if c.strip().casefold() == name.strip().casefold()]
        if len(same) > 1:
            raise UserError(
                f"{path}: the columns {' and '.join(map(repr, same))} may both be the {meaning}: name one in the "
                f'label schema, {meaning} = "{same[0]}"'
            )
        if same:
            return same[0]
    if chosen:
        raise UserError(f"{path}: no column {chosen!r}, the schema's {meaning}, among {', '.join(part.columns[:12])}")
    return None


def _ids(column: pa.ChunkedArray, path: Path, name: str) -> list[str | int]:
    try:
        found = ids.as_ids(column)
    except ids.InvalidIds as error:
        place = "" if error.row is None else f", row {error.row + 1}"
        raise UserError(f"{path}{place}: column {name!r} cannot be used as ids: {error.why}") from None
    if missing := [i + 1 for i, one in enumerate(found) if one is None]:
        raise UserError(f"{path}: {len(missing):,} rows have no id in column {name!r} (such as row {missing[0]})")
    return [one if isinstance(one, str) else int(one) for one in found]


def _stems(images: list[str]) -> list[str]:
    from pipeline.catalogue.image_names import stem_of

    return [stem_of(name.replace("\\", "/").rpartition("/")[2]) for name in images]


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if whole else value).strip()
