"""The answers as FITS and VOTable, with units, UCDs and descriptions where the field's programs look for them."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipeline.catalogue import descriptions

if TYPE_CHECKING:
    import pyarrow as pa
    from astropy.table import Table

CARD, LEAST = 67, 20  # characters of a value and its comment on one card of a FITS header; those a value takes
FORMATS = {".fits": "fits", ".fit": "fits", ".vot": "votable", ".xml": "votable"}


def write_fits(rows: "pa.Table", path: Path) -> None:
    """TUNITn, TUCDn and TCOMMn for columns, keywords for the whole table."""
    from astropy.io import fits

    hdu = fits.table_to_hdu(_table(rows))
    for i, field in enumerate(rows.schema, 1):
        meaning = descriptions.meaning_of(field)
        for keyword, text in zip(("TUNIT", "TUCD", "TCOMM"), meaning, strict=True):
            if text:
                hdu.header[f"{keyword}{i}"] = _ascii(text)
    for key, text in descriptions.header_of(rows.schema).items():
        comment = descriptions.HEADER.get(key, "")
        takes = max(len(_ascii(text).replace("'", "''")) + 2, LEAST)
        hdu.header[key.upper()] = (_ascii(text), comment if takes + len(comment) <= CARD else None)
    hdu.writeto(path, overwrite=True)


def write_votable(rows: "pa.Table", path: Path) -> None:
    """Attributes and DESCRIPTIONs of FIELDs, INFOs for the whole table."""
    from astropy.io import votable
    from astropy.io.votable.tree import Info

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on units and UCDs of the catalogue that are none
        file = votable.from_table(_table(rows))
        table = file.get_first_table()
        for field, column in zip(table.fields, rows.schema, strict=True):
            meaning = descriptions.meaning_of(column)
            field.unit, field.ucd, field.description = (text or None for text in meaning)
        for key, text in descriptions.header_of(rows.schema).items():
            table.infos.append(Info(name=key, value=text))
        file.to_xml(str(path))


WRITERS: dict[str, Callable[["pa.Table", Path], None]] = {"fits": write_fits, "votable": write_votable}


def _table(rows: "pa.Table") -> "Table":
    """The rows as astropy's: text that is missing is empty, numbers are NaN, which FITS can both hold."""
    from astropy.table import Table

    def values(column: "pa.ChunkedArray") -> np.ndarray:
        is_text = str(column.type) == "string"
        return np.array([text or "" for text in column.to_pylist()], str) if is_text else column.to_numpy()

    return Table({name: values(rows.column(name)) for name in rows.column_names})


def _ascii(text: str) -> str:
    """For a card of a FITS header."""
    return " ".join(text.encode("ascii", "backslashreplace").decode().split())


def read(path: Path, schema: "pa.Schema", sizes: list[int]) -> Iterator[pd.DataFrame]:
    """The parts, of these numbers of rows, of a table that was written here."""
    from astropy.table import Table

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on units and UCDs of the catalogue that are none
        whole, start = Table.read(path, format=FORMATS[path.suffix.lower()]), 0
    whole.convert_bytestring_to_unicode()
    for size in sizes:
        part, start = whole[start : start + size], start + size
        yield pd.DataFrame({f.name: _missing(part[f.name]) for f in schema})


def _missing(column) -> np.ndarray:
    """A column of astropy's as `to_arrow` takes it: numbers that are masked are NaN, text that is empty is None."""
    if column.dtype.kind == "f":
        return np.ma.filled(column, np.nan).astype(column.dtype.newbyteorder("="))
    if column.dtype.kind == "U":
        return np.array([text or None for text in np.ma.filled(column, "").tolist()], object)
    return np.asarray(column).astype(column.dtype.newbyteorder("="))
