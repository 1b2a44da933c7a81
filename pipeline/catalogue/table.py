"""A catalogue's table as batches of galaxies, with recognised columns, checked row by row."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalogue import column_names, ids, numbers, readers
from pipeline.catalogue.kept import Kept
from pipeline.catalogue.readers.part import Meaning, Part
from pipeline.errors import UserError

log = logging.getLogger(__name__)
OFF_SKY = {"ra": 360, "dec": 90}  # degrees beyond which, up or down, there is no sky


class Taken(NamedTuple):
    """What a user takes of a catalogue, where that is not told by names."""

    columns: Mapping[str, str] = MappingProxyType({})  # what a column means -> its name
    table: str | None = None  # of a file of several: its name, or its number from 1
    keep: Sequence[str] = ()  # columns that are carried through
    whole_images: bool = False  # radius and pixel scale count for nothing


class Catalogue:
    """The table of a file whose rows are galaxies."""

    def __init__(self, path: Path, taken: Taken, *, beside: str | None):
        """`beside`: the folder or address from which paths of images are told; None: they lie elsewhere.

        Says what it takes for what. UserError where it lacks what is needed.
        """
        self.path, self.beside = path, beside
        parts = readers.parts(path)
        some = column_names.chosen_tables(parts, taken.table, path)
        self._part, self._columns = column_names.match_columns(some, taken.columns, path)
        if taken.whole_images:
            self._columns = {what: name for what, name in self._columns.items() if what not in column_names.CROPPING}
        numeric = [what for what in numbers.UNITS if what in self._columns]
        self._factors = {what: numbers.factor(what, self._columns[what], self._unit(what), path) for what in numeric}
        self._kept = Kept(self._part, taken.keep, path)
        self._tell_taken(parts)
        column_names.require_images(self._columns, path, elsewhere=beside is None)
        self._strange: dict[
            str, tuple[int, int, str]
        ] = {}  # meaning -> how many cells are no numbers, the first of them
        self._off_sky: dict[str, tuple[int, int, float]] = {}  # the same of coordinates that are none

    @property
    def kept(self) -> list[pa.Field]:
        """The columns that are carried through: names, types, units."""
        return self._kept.fields

    @property
    def cropping(self) -> tuple[str, ...]:
        """Which of the columns that cropping by angle takes it has."""
        return tuple(what for what in column_names.CROPPING if what in self._columns)

    def require_cropping(self, *, own_scale: bool) -> None:
        """UserError where it has half of what cropping by angle takes, and images no `own_scale` beside a radius."""
        column_names.require_cropping(self._columns, self.path, own_scale=own_scale)

    def _unit(self, what: str) -> str:
        column = self._columns[what]
        return self._part.meanings.get(column, Meaning()).unit or numbers.unit_in(column)

    def _tell_taken(self, parts: list[Part]) -> None:
        units = {what: self._unit(what) for what in self._factors}
        taken = column_names.describe_columns(self._part, self._columns, units, self._kept.columns)
        for line in filter(None, (taken, column_names.describe_tables(self._part, parts))):
            log.info("%-10s %s: %s", "catalogue", self.path.name, line)
        if alone := column_names.describe_coordinates(self._part, self._columns):
            log.warning("%-10s %s: %s", "catalogue", self.path.name, alone)

    def batches(self, size: int) -> Iterator[pd.DataFrame]:
        """Frames of up to `size` galaxies, see Galaxies.batches."""
        row = 0
        self._strange.clear()
        self._off_sky.clear()
        for rows in self._part.rows(list(dict.fromkeys([*self._columns.values(), *self._kept.columns])), size):
            named = self._names(rows, "id", row)
            self._refuse_missing(named, row)
            made = {"id": pd.Series(named, dtype=object), "image": self._images(rows, named, row)}
            made |= {what: self._numbers(rows, what, row) for what in self._factors}
            yield pd.DataFrame(made | self._kept.values(rows))
            row += len(rows)

    def _names(self, rows: pa.Table, what: str, row: int) -> np.ndarray:
        column = self._columns[what]
        try:
            return ids.as_ids(rows[column])
        except ids.InvalidIds as error:
            place = "" if error.row is None else f", galaxy {row + error.row + 1}"
            raise UserError(
                f"{self.path}{place}: column {column!r} cannot be used as {what}: {error.why} (--{what}-column names "
                f"another)"
            ) from None

    def _refuse_missing(self, named: np.ndarray, row: int) -> None:
        missing = [i for i, name in enumerate(named) if name is None]
        if missing:
            rows = ", ".join(str(row + i + 1) for i in missing[:3])
            raise UserError(
                f"{self.path}: no id in column {self._columns['id']!r} for galaxy {rows}{' …' if missing[3:] else ''}: "
                f"fill it in, leave such rows out, or name another column by --id-column"
            )

    def _images(self, rows: pa.Table, named: np.ndarray, row: int) -> list[str]:
        if "image" not in self._columns:
            return [str(name) for name in named]
        rows = rows.set_column(*self._paths(rows)) if pa.types.is_struct(rows[self._columns["image"]].type) else rows
        names = ["" if name is None else str(name) for name in self._names(rows, "image", row)]
        return names if self.beside is None else [_beside(self.beside, name) for name in names]

    def _paths(self, rows: pa.Table) -> tuple[int, str, pa.ChunkedArray]:
        """The column of images by its paths, where it holds {bytes, path}; UserError where they are not elsewhere."""
        name = self._columns["image"]
        fields = {field.name: pc.struct_field(rows[name], field.name) for field in rows[name].type}
        inside = "bytes" in fields and fields["bytes"].null_count < len(rows)
        if "path" not in fields or (inside and self.beside is not None):
            raise UserError(
                f"{self.path}: column {name!r} holds images, not their names: write them to a folder and name it by "
                f"--images, or name a column of paths by --image-column"
            )
        return rows.column_names.index(name), name, fields["path"]

    def _numbers(self, rows: pa.Table, what: str, row: int) -> np.ndarray:
        values, strange = numbers.as_float64(rows[self._columns[what]], self._part.decimal)
        values = values * self._factors[what]
        if what in ("ra", "dec"):
            strange = [cell for cell in strange if not self._in_60ths(values, what, *cell)]
        if strange:
            count, *first = self._strange.get(what, (0, row + strange[0][0] + 1, strange[0][1]))
            self._strange[what] = (count + len(strange), *first)
        if what in OFF_SKY and len(off := np.flatnonzero(np.abs(values) > OFF_SKY[what])):
            count, *first = self._off_sky.get(what, (0, row + off[0] + 1, values[off[0]]))
            self._off_sky[what] = (count + len(off), *first)
        return values

    def _in_60ths(self, values: np.ndarray, what: str, row: int, text: str) -> bool:
        """Whether a cell is an angle in hours or degrees, minutes and seconds; then its value is set."""
        in_degrees = self._unit(what).strip(" \"'").lower().startswith("d")
        values[row] = numbers.sexagesimal(text, hours=what == "ra" and not in_degrees)
        return not np.isnan(values[row])

    def tell_strange(self) -> None:
        """Warn of cells that are no numbers where numbers are expected, as the last pass over the batches met them."""
        for what, (count, galaxy, text) in self._strange.items():
            log.warning(
                "%-10s %s, column %s: %s cells are no numbers, such as %r of galaxy %d: taken as missing%s",
                *("catalogue", self.path.name, self._columns[what], f"{count:,}", text, galaxy),
                " (--whole-images does without)" if what in column_names.CROPPING else "",
            )
        for what, (count, galaxy, value) in self._off_sky.items():
            log.warning(
                "%-10s %s, column %s: %s cells are beyond %d degrees, such as %g of galaxy %d: they stay as they are",
                *("catalogue", self.path.name, self._columns[what], f"{count:,}", OFF_SKY[what], value, galaxy),
            )

    def other_ids(self) -> str:
        """Which columns might be ids too, as an end to a sentence."""
        others = [name for name in self._part.columns if name.strip().lower().endswith(("id", "name"))]
        others = [name for name in others if name not in self._columns.values()]
        return f" of column {self._columns['id']!r}" + (
            f"; others that look like ids: {', '.join(others[:4])} (--id-column)" if others else ""
        )


def _beside(folder: str, name: str) -> str:
    """A path that a catalogue tells, from its own folder or address; an address as it is."""
    if not name or "://" in name:
        return name
    return f"{folder}/{name.lstrip('/')}" if "://" in folder else str(Path(folder) / name)
