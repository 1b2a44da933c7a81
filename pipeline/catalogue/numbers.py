"""Numeric columns of any type and unit -> float64 in the units of the pipeline."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.catalogue import ids
from pipeline.errors import UserError

UNITS = {"ra": "deg", "dec": "deg", "pixel_scale": "arcsec", "radius": "arcsec"}  # what each column is in here
MISSING = ("", "nan", "null", "none", "n/a", "na", "--", "\\n")  # how cells say that they have no number, lower-case


def as_float64(column: pa.ChunkedArray, decimal: str = ".") -> tuple[np.ndarray, list[tuple[int, str]]]:
    """(float64 (n,), NaN where there is no number; (row, text) of the cells that hold something else).

    `decimal` is what numbers that stand as text have before their fraction.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not ids.is_text(column.type):
        return _cast(column), []
    texts = [_text(value) for value in column.to_pylist()]
    values = pd.to_numeric(pd.Series([_with_point(text, decimal) for text in texts], dtype=object), errors="coerce")
    values = values.to_numpy(np.float64)
    return values, [(int(i), texts[i]) for i in np.flatnonzero(np.isnan(values)) if texts[i].lower() not in MISSING]


def _cast(column: pa.ChunkedArray) -> np.ndarray:
    try:
        return column.cast(pa.float64(), safe=False).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise ValueError(f"a column of numbers holds {column.type}") from None


def _text(value: str | bytes | None) -> str:
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else value or "").strip()


def _with_point(text: str, decimal: str) -> str:
    return text if decimal == "." or "." in text else text.replace(decimal, ".")


def factor(meaning: str, unit: str | None, path: Path) -> float:
    """What brings a column of that unit, as the file tells it, to ours; UserError where it is none of angles."""
    if not unit:
        return 1.0
    from astropy import units

    try:
        given = units.Unit(unit)
        return float((given * units.pix if "pix" in given.to_string() else given).to(UNITS[meaning]))
    except (ValueError, TypeError) as error:
        flag = f"--{meaning.replace('_', '-')}-column"
        raise UserError(
            f"{path}: the unit of the column taken as {meaning} is {unit!r} ({error}); expected an angle such as "
            f"{UNITS[meaning]}: name another column by {flag}"
        ) from None
