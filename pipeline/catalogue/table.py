"""A catalogue's table as batches of galaxies, with recognised columns, checked row by row."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalogue import column_names, ids, numbers, readers
from pipeline.errors import UserError

log = logging.getLogger(__name__)


class Catalogue:
    """The table of a file whose rows are galaxies."""

    def __init__(self, path: Path, chosen: dict[str, str], *, whole_images: bool, beside: bool):
        """See Galaxies; `beside`: paths of images are told from the catalogue's folder. Says what it takes for what."""
        self.path, self.beside = path, beside
        self._part, self._columns = column_names.match_columns(readers.parts(path), chosen, path)
        if whole_images:
            self._columns = {what: name for what, name in self._columns.items() if what not in column_names.CROPPING}
        log.info("%-10s %s: %s", "classify", path.name, column_names.describe_columns(self._part, self._columns))
        column_names.require_columns(self._columns, path, images_elsewhere=not beside)
        self._factors = {
            what: numbers.factor(what, self._part.units.get(self._columns[what]), path)
            for what in numbers.UNITS
            if what in self._columns
        }
        self._strange: dict[
            str, tuple[int, int, str]
        ] = {}  # meaning -> how many cells are no numbers, the first of them

    def batches(self, size: int) -> Iterator[pd.DataFrame]:
        """Frames of up to `size` galaxies, see Galaxies.batches."""
        row = 0
        self._strange.clear()
        for rows in self._part.rows(list(dict.fromkeys(self._columns.values())), size):
            named = self._names(rows, "id", row)
            self._refuse_missing(named, row)
            made = {"id": pd.Series(named, dtype=object), "image": self._images(rows, named, row)}
            yield pd.DataFrame(made | {what: self._numbers(rows, what, row) for what in self._factors})
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
        return [_beside(self.path, name) for name in names] if self.beside else names

    def _paths(self, rows: pa.Table) -> tuple[int, str, pa.ChunkedArray]:
        """The column of images by its paths, where it holds {bytes, path}; UserError where they are not elsewhere."""
        name = self._columns["image"]
        fields = {field.name: pc.struct_field(rows[name], field.name) for field in rows[name].type}
        inside = "bytes" in fields and fields["bytes"].null_count < len(rows)
        if "path" not in fields or (inside and self.beside):
            raise UserError(
                f"{self.path}: column {name!r} holds images, not their names: write them to a folder and name it by "
                f"--images, or name a column of paths by --image-column"
            )
        return rows.column_names.index(name), name, fields["path"]

    def _numbers(self, rows: pa.Table, what: str, row: int) -> np.ndarray:
        values, strange = numbers.as_float64(rows[self._columns[what]], self._part.decimal)
        if strange:
            count, *first = self._strange.get(what, (0, row + strange[0][0] + 1, strange[0][1]))
            self._strange[what] = (count + len(strange), *first)
        return values * self._factors[what]

    def tell_strange(self) -> None:
        """Warn of cells that are no numbers where numbers are expected, as the last pass over the batches met them."""
        for what, (count, galaxy, text) in self._strange.items():
            log.warning(
                "%-10s %s, column %s: %s cells are no numbers, such as %r of galaxy %d: taken as missing%s",
                *("classify", self.path.name, self._columns[what], f"{count:,}", text, galaxy),
                " (--whole-images does without)" if what in column_names.CROPPING else "",
            )

    def other_ids(self) -> str:
        """Which columns might be ids too, as an end to a sentence."""
        others = [name for name in self._part.columns if name.strip().lower().endswith(("id", "name"))]
        others = [name for name in others if name not in self._columns.values()]
        return f" of column {self._columns['id']!r}" + (
            f"; others that look like ids: {', '.join(others[:4])} (--id-column)" if others else ""
        )


def _beside(catalogue: Path, name: str) -> str:
    """A path that a catalogue tells, from its own folder; an address as it is."""
    return name if not name or "://" in name else str(catalogue.parent / name)
