"""One table of a file, whatever its format."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pyarrow as pa

Rows = Callable[[list[str], int], Iterator[pa.Table]]


class Meaning(NamedTuple):
    """What a file tells of a column; "" where it does not."""

    unit: str = ""
    ucd: str = ""  # its unified content descriptor (IVOA)
    description: str = ""

    def or_of(self, other: "Meaning") -> "Meaning":
        """This, with what another tells where this does not."""
        return Meaning(*(mine or theirs for mine, theirs in zip(self, other, strict=True)))


class Part(NamedTuple):
    """A table: its columns, and its rows for the asking."""

    name: str  # of the table in its file; "" where it is the only one
    columns: list[str]  # as they are written; those of one value a row
    rows: Rows  # (some columns, how many rows at once) -> tables of these columns
    meanings: Mapping[str, Meaning] = MappingProxyType({})  # of the columns of which the file tells something
    typed: bool = True  # whether the file knows numbers from text
    decimal: str = "."  # what numbers that stand as text have before their fraction


def flat(values: np.ndarray) -> np.ndarray | None:
    """(n,) from (n,) or (n, 1); None for columns of several values a row."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    return values if values.ndim == 1 else None


def arrow(values: np.ndarray, mask: np.ndarray | None = None) -> pa.Array:
    """A NumPy column in Arrow, null where `mask` is True: bytes are UTF-8 text, byte order is this machine's."""
    values = np.asarray(values)
    if values.dtype.kind == "S":
        values = values.astype(object)
    if values.dtype.kind == "O":
        texts = [v.decode() if isinstance(v, bytes) else None if v is None else str(v) for v in values]
        return pa.array(texts, pa.string(), mask=mask)
    return pa.array(values.astype(values.dtype.newbyteorder("=")), mask=mask)
