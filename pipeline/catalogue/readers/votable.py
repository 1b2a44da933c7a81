"""VOTable: held in memory as a whole, as its library reads it."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pipeline.catalogue.readers.part import Meaning, Part, arrow, flat

if TYPE_CHECKING:
    from astropy.table import Table


def parts(path: Path) -> list[Part]:
    """Every table, its columns by the names of their FIELDs (their IDs where names repeat)."""
    from astropy.io import votable

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on what the standard asks for and the file lacks
        found = list(votable.parse(path).iter_tables())
        return [_part(table.name or "", table.to_table(use_names_over_ids=True)) for table in found if table.fields]


def _part(name: str, table: "Table") -> Part:
    columns = [column for column in table.colnames if flat(np.asarray(table[column])) is not None]

    def rows(wanted: list[str], size: int) -> Iterator[pa.Table]:
        for start in range(0, len(table), size):
            part = table[start : start + size]
            yield pa.table({column: _arrow(part[column]) for column in wanted})

    return Part(name, columns, rows, {column: _meaning(table[column]) for column in columns})


def _meaning(column) -> Meaning:
    unit = "" if column.unit is None else str(column.unit)
    return Meaning(unit, str(column.meta.get("ucd") or ""), " ".join((column.description or "").split()))


def _arrow(column) -> pa.Array:
    mask = np.ma.getmaskarray(column.data) if isinstance(column.data, np.ma.MaskedArray) else None
    return arrow(flat(np.ma.getdata(column.data)), None if mask is None else flat(mask))
