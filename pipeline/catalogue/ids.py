"""Ids of galaxies: text or integers for a whole catalogue, unchanged; rounded numbers are refused."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# A number of 16 digits and more that went through a spreadsheet or a column of floats: its last digits are lost.
ROUNDED = re.compile(r"[+-]?(\d[.,]\d*[eE][+-]?\d+|\d+[eE]\+\d+|\d{16,}[.,]0*)")


class InvalidIds(ValueError):
    """A column cannot be used as ids: the first bad row (from 0; None: the whole column), and why."""

    def __init__(self, row: int | None, why: str):
        super().__init__(why)
        self.row, self.why = row, why


def is_text(kind: pa.DataType) -> bool:
    """Whether values of this type are text, or bytes that stand for text."""
    tests = (*TEXTS, pa.types.is_fixed_size_binary)
    return any(test(kind) for test in tests)


TEXTS = (
    *(pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
    *(pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view),
)


def as_ids(column: pa.ChunkedArray) -> np.ndarray:
    """(n,) objects: text without the blanks around it, or NumPy integers, as the type says; None where missing.

    Bytes are UTF-8 text, decimals are text. Floats are integers where each is whole and told from its neighbours
    (below 2^53 for float64). NoNames for all else, and for what a spreadsheet has rounded.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        return as_ids(column.cast(kind.value_type))
    if pa.types.is_null(kind):
        return np.full(len(column), None, object)
    if is_text(kind):
        return _objects([_text(i, value) for i, value in enumerate(column.to_pylist())])
    if pa.types.is_integer(kind):
        return _integers(column, np.uint64 if kind == pa.uint64() else np.int64)
    if pa.types.is_floating(kind):
        return _whole(column)
    if pa.types.is_decimal(kind):
        return _objects([_digits(i, value) for i, value in enumerate(column.to_pylist())])
    raise InvalidIds(None, f"holds {kind}; expected text or integers")


def _objects(values: list) -> np.ndarray:
    made = np.empty(len(values), object)
    made[:] = values
    return made


def _text(row: int, value: str | bytes | None) -> str | None:
    try:
        text = value.decode() if isinstance(value, bytes) else value or ""
    except UnicodeDecodeError:
        raise InvalidIds(row, f"{value!r} is not UTF-8 text") from None
    text = text.rstrip("\0").strip()
    if "\0" in text:
        raise InvalidIds(row, f"{text!r} has NUL bytes in it")
    if ROUNDED.fullmatch(text):
        raise InvalidIds(
            row,
            f"{text} is a rounded number: a spreadsheet or a column of floating-point numbers has destroyed its last "
            f"digits. Take the ids from the original file, as text",
        )
    return text or None


def _integers(column: pa.ChunkedArray, kind: type) -> np.ndarray:
    missing = column.is_null().to_numpy()
    values = pc.fill_null(column, 0).cast(pa.from_numpy_dtype(kind)).to_numpy()
    made = _objects(list(values))
    made[missing] = None
    return made


def _whole(column: pa.ChunkedArray) -> np.ndarray:
    numbers = column.to_numpy(zero_copy_only=False)
    exact = 2.0 ** (np.finfo(numbers.dtype).nmant + 1)  # from there on neighbours of an integer are no floats
    numbers = numbers.astype(np.float64)
    there = ~np.isnan(numbers)
    bad = there & ~((np.abs(numbers) < exact) & (numbers == np.floor(numbers)))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        why = "is no integer" if abs(numbers[row]) < exact else "is rounded: its last digits are lost"
        raise InvalidIds(
            row, f"the floating-point number {numbers[row]!r} {why}. Write ids as text or integers, missing ones too"
        )
    made = _objects(list(np.where(there, numbers, 0).astype(np.int64)))
    made[~there] = None
    return made


def _digits(row: int, value) -> str | None:
    if value is None:
        return None
    if value != value.to_integral_value():
        raise InvalidIds(row, f"{value} is no integer")
    return f"{value:f}".partition(".")[0]
