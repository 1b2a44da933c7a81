"""Numeric columns of any type and unit -> float64 in the units of the pipeline."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.catalogue import ids
from pipeline.errors import UserError

UNITS = {"ra": "deg", "dec": "deg", "pixel_scale": "arcsec", "radius": "arcsec"}  # what each column is in here
HOURS = ("h", "hr", "hrs", "hour", "hours", "hourangle")
IN_60THS = ("h:m:s", "hms", "d:m:s", "dms")  # how files say that angles are written so, lower-case
SEXAGESIMAL = re.compile(
    r"(?P<sign>[+-]?)(?P<d>\d{1,3})(?P<hours>[:hd ])\s*(?P<m>\d{1,2})(?:[:m' ]\s*(?P<s>\d{1,2}(?:\.\d*)?)?[s\"]?)?"
)
BRACKETED = re.compile(r"[\[(]([^\])]{2,})[\])]\s*\Z")  # one letter is the name of a band
ANGLE_LAST = re.compile(r"[_ .](mas|arcsec|arcmin|deg|hours)\Z", re.IGNORECASE)  # rad would also be a radius
MISSING = ("", "nan", "null", "none", "n/a", "na", "--", "\\n")  # how cells say that they have no number, lower-case


def sexagesimal(text: str, *, hours: bool) -> float:
    """Degrees of an angle written as 12:30:01.5, +00 04 27 or 12h30m01.5s; NaN where it is none."""
    found = SEXAGESIMAL.fullmatch(text)
    if not found or float(found["m"]) >= 60 or float(found["s"] or 0) >= 60:
        return np.nan
    degrees = float(found["d"]) + float(found["m"]) / 60 + float(found["s"] or 0) / 3600
    in_hours = found["hours"] == "h" or (found["hours"] != "d" and hours)
    return (-1 if found["sign"] == "-" else 1) * degrees * (15 if in_hours else 1)


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


def factor(meaning: str, column: str, unit: str, path: Path) -> float:
    """What brings a column of that unit to ours, 1 where it is not known; UserError where it is none of angles."""
    if not unit or is_in_60ths(unit):
        return 1.0
    from astropy import units

    try:
        given = _unit(meaning, unit)
        return float((given * units.pix if "pix" in given.to_string() else given).to(UNITS[meaning]))
    except (ValueError, TypeError) as error:
        flag = f"--{meaning.replace('_', '-')}-column"
        raise UserError(
            f"{path}: the unit of the column taken as {meaning}, {column!r}, is {unit!r} ({error}); expected an angle "
            f"such as {UNITS[meaning]}: name another column by {flag}"
        ) from None


def is_in_60ths(unit: str) -> bool:
    """Whether a unit says that angles are written as hours or degrees, minutes and seconds."""
    return unit.strip(" \"'").lower() in IN_60THS


def unit_in(column: str) -> str:
    """The unit that a column's name tells, as in 'r90 [arcmin]', 'r90 (arcmin)' or 'r90_arcmin'; "" where none."""
    if last := ANGLE_LAST.search(column):
        return last[1]
    found = BRACKETED.search(column)
    try:
        return found[1].strip() if found and _unit("", found[1]) else ""
    except ValueError:
        return ""


def without_unit(column: str) -> str:
    """A column's name without the unit that it tells."""
    return BRACKETED.sub("", ANGLE_LAST.sub("", column)).strip() if unit_in(column) else column


def _unit(meaning: str, text: str):
    """The unit that a text means; ValueError where none. Right ascension in hours is an angle."""
    from astropy import units

    plain = text.strip(" \"'")
    if meaning == "ra" and plain.lower() in HOURS:
        return units.hourangle
    try:
        return units.Unit(plain)
    except ValueError:
        words = re.sub("px|pixels", "pix", plain.lower())
        return units.Unit(re.sub("(arcsec|arcmin|deg|pix)(?:ond|ute|ree|el)?s?", r"\1", words))
