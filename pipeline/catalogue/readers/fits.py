"""Tables of FITS files, binary and ASCII, read from the disk as they are asked for."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.catalogue.readers import described
from pipeline.catalogue.readers.part import Meaning, Part, arrow, flat


def parts(path: Path) -> list[Part]:
    """Every table of the file."""
    from astropy.io import fits

    with fits.open(path, memmap=True) as hdus:
        return [_part(path, i, hdu) for i, hdu in enumerate(hdus) if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)]


def _part(path: Path, number: int, hdu) -> Part:
    from astropy.io import fits

    columns = [name for name in hdu.columns.names if hdu.columns.dtype[name].shape in ((), (1,))]  # one value a row
    kept = described.of_fits([str(line) for line in hdu.header.get("COMMENT", [])])
    meanings = {
        name: _meaning(hdu.header, hdu.columns.names.index(name) + 1).or_of(kept.get(name, Meaning()))
        for name in columns
    }
    return Part(
        hdu.name or f"extension {number}",
        columns,
        partial(_rows, path, number),
        meanings,
        isinstance(hdu, fits.BinTableHDU),
    )


def _meaning(header, column: int) -> Meaning:
    """Of a column (from 1), by the keywords that the field's programs write."""
    return Meaning(*(str(header.get(f"{key}{column}", "")).strip() for key in ("TUNIT", "TUCD", "TCOMM")))


def _rows(path: Path, number: int, wanted: list[str], size: int) -> Iterator[pa.Table]:
    from astropy.io import fits

    with fits.open(path, memmap=True) as hdus:
        hdu = hdus[number]
        column = _ascii if isinstance(hdu, fits.TableHDU) else _binary
        for start in range(0, len(hdu.data), size):
            part = hdu.data[start : start + size]
            yield pa.table({name: column(part, hdu.columns[name]) for name in wanted})


def _binary(rows, column) -> pa.Array:
    """A column as its header scales it, null where it holds TNULL: as stored, or (so the library writes it) scaled."""
    values = flat(np.asarray(rows[column.name]))
    if column.null is None or values.dtype.kind not in "iuf":
        return arrow(values)
    as_stored = column.null * (column.bscale or 1) + (column.bzero or 0)  # in integers, where the scaling is
    return arrow(values, (values == as_stored) | (values == column.null))


def _ascii(rows, column) -> pa.Array:
    """A column as it is written: the library makes 0 of an empty number."""
    written = np.recarray.field(rows, column.name)
    texts = [value.decode().strip(" \0") for value in np.asarray(written).astype(object)]
    if column.format[0] in "EFD":
        texts = [text.replace("D", "E") for text in texts]
    null = column.null.strip() if isinstance(column.null, str) else column.null
    return pa.array([None if text in ("", null) else text for text in texts], pa.string())
