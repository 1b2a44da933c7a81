"""Delimited text: CSV, TSV, ECSV, semicolons, blanks; comments above the header, any compression.

Cells are text, but those of ECSV have the type that its header tells.
"""

import csv
import io
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TextIO

import pyarrow as pa

from pipeline.catalogue import file_types
from pipeline.catalogue.readers import described
from pipeline.catalogue.readers.part import Meaning, Part
from pipeline.errors import UserError

DELIMITERS = (",", "\t", ";", "|", " ")
SAMPLE = 50  # rows by which the delimiter is told


class Layout(NamedTuple):
    """How a file is laid out."""

    encoding: str
    above: int  # lines before the first row
    header: list[str]
    delimiter: str
    meanings: dict[str, Meaning]  # of its columns, as the comments tell
    types: dict[str, pa.DataType] | None  # of its columns; None: the file tells none


def parts(path: Path) -> list[Part]:
    """The table of a text file."""
    layout = _layout(path)
    decimal = "," if layout.delimiter == ";" else "."
    rows, typed = partial(_rows, path, layout), layout.types is not None
    return [Part("", layout.header, rows, layout.meanings, typed=typed, decimal=decimal)]


def _open(path: Path, encoding: str) -> TextIO:
    return io.TextIOWrapper(file_types.unpacked(path), encoding=encoding, newline="")


def _layout(path: Path) -> Layout:
    with file_types.unpacked(path) as file:
        encoding = "utf-16" if file.read(2) in file_types.UTF_16 else "utf-8-sig"
    comments, above = [], 0
    with _open(path, encoding) as file:
        read = _decoded(file, path)
        for line in read:
            if line.strip() and not line.startswith("#") and not line.lower().startswith("sep="):
                break
            comments += [line[1:]] if line.startswith("#") else []
            above += 1
        else:
            raise UserError(f"{path} has no header and no rows")
        lines = [line, *islice(read, SAMPLE)]
    told = described.of_comments(comments), described.types_of_comments(comments)
    delimiter = max(DELIMITERS, key=lambda delimiter: _likely(lines, delimiter))
    header = _fields(lines[0], delimiter)
    commented = _fields(comments[-1], delimiter) if comments else []
    if len(commented) == len(header) > 0 and _is_data(header) and not _is_data(commented):
        return Layout(encoding, above, commented, delimiter, *told)
    return Layout(encoding, above + 1, header, delimiter, *told)


def _decoded(file: TextIO, path: Path) -> Iterator[str]:
    try:
        yield from file
    except UnicodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error}): save it as UTF-8") from None


def _fields(line: str, delimiter: str) -> list[str]:
    cells = next(csv.reader([line.strip(" \r\n")], delimiter=delimiter, skipinitialspace=True), [])
    return [cell.strip() for cell in cells]


def _likely(lines: list[str], delimiter: str) -> tuple[bool, bool, bool, int]:
    """Whether it splits the header and all rows alike, the header alone, the rows; delimiters that come first win."""
    wide = len(_fields(lines[0], delimiter))
    try:
        rows = list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))[:-1]
    except csv.Error:
        rows = []
    alike = all(len(row) == wide for row in rows if any(row))
    return wide > 1 and alike, wide > 1, alike, -DELIMITERS.index(delimiter)


def _is_data(cells: list[str]) -> bool:
    """Whether a row has a number in it, as headers do not."""
    return any(cell.replace(".", "", 1).lstrip("+-").isdecimal() for cell in cells)


def _rows(path: Path, layout: Layout, wanted: list[str], size: int) -> Iterator[pa.Table]:
    places = [layout.header.index(name) for name in wanted]
    with _open(path, layout.encoding) as file:
        records = _records(file, path, layout)
        while rows := list(islice(records, size)):
            texts = [list(column) for column in zip(*rows, strict=True)]
            yield pa.table({name: _typed(texts[i], name, path, layout) for name, i in zip(wanted, places, strict=True)})


def _typed(texts: list[str], name: str, path: Path, layout: Layout) -> pa.Array:
    """Cells of a column as text, or of the type that the file tells, null where they are empty."""
    kind = (layout.types or {}).get(name, pa.string())
    if kind == pa.string():
        return pa.array(texts, kind)
    try:
        return pa.array([text or None for text in texts], pa.string()).cast(kind)
    except pa.ArrowInvalid as error:
        raise UserError(
            f"{path}: column {name!r} is {kind} by the header of the file, and not all of it: {error}"
        ) from None


def _records(file: TextIO, path: Path, layout: Layout) -> Iterator[list[str]]:
    """Rows of as many cells as the header has; without those that are empty, as spreadsheets leave them."""
    lines = _decoded(file, path)
    for _ in islice(lines, layout.above):
        pass
    if layout.delimiter == " ":
        lines = (line.strip(" \r\n") + "\n" for line in lines)
    wide = len(layout.header)
    reader = csv.reader(lines, delimiter=layout.delimiter, skipinitialspace=True, strict=True)
    try:
        for cells in reader:
            if not any(map(str.strip, cells)) and len(cells) != 1:  # a single "" is a cell that lacks its value
                continue
            if len(cells) < wide or any(map(str.strip, cells[wide:])):
                raise UserError(
                    f"{path}, line {layout.above + reader.line_num}: {len(cells)} cells, and the header has {wide}"
                )
            yield [cell.strip() for cell in cells[:wide]]
    except csv.Error as error:
        raise UserError(f"{path}, line {layout.above + reader.line_num}: {error}") from None
