"""Writing of tables by the suffix of their name: Parquet and CSV in parts, FITS and VOTable in memory."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipeline.catalogue.columns import to_arrow
from pipeline.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

KINDS = {".parquet": "parquet", ".csv": "csv", ".fits": "fits", ".fit": "fits", ".vot": "votable", ".xml": "votable"}
IN_MEMORY = {"fits": 4000, "votable": 4000}  # bytes that writing a galaxy takes, measured
ON_DISK = {"parquet": 650, "csv": 1400, "fits": 650, "votable": 3300}  # and those of a galaxy in the file
# ids that a format cannot give back as they were, and why
UNSUPPORTED_IDS = {
    "parquet": (r"[\ud800-\udfff]", "is not in UTF-8"),
    "csv": (r"[\ud800-\udfff\r\x00]", "is not in UTF-8, or has control characters in it"),
    "fits": (r"[^ -~]| \Z", "has other characters than those of ASCII, or a blank at its end, which FITS cannot hold"),
    "votable": (
        r"[^\t\n -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|\A\s|\s\Z",
        "has control characters, or blanks around it, which VOTable cannot hold",
    ),
}


def kind_of(path: Path) -> str | None:
    """parquet, csv, fits or votable, by the suffix; None for a folder. UserError where it looks like another format."""
    kind = KINDS.get(path.suffix.lower())
    if kind is None and re.fullmatch(r"\.[A-Za-z]\w{0,7}", path.suffix) and not path.is_dir():
        raise UserError(
            f"--to {path}: tables are written as {', '.join(KINDS)}, by the suffix; a name without one is that of a "
            f"folder of Parquet shards"
        )
    return kind


def check_ids(ids: pd.Series, kind: str, first: int) -> None:
    """UserError where an id, of which `ids` are those from row `first` (from 0) on, cannot be written."""
    if pd.api.types.infer_dtype(ids, skipna=False) == "integer":
        return
    pattern, why = UNSUPPORTED_IDS[kind]
    found = re.compile(pattern)
    for i, name in enumerate(map(str, ids)):
        if found.search(name):
            others = [suffix for suffix, other in KINDS.items() if not re.search(UNSUPPORTED_IDS[other][0], name)]
            mends = f"--to a table of another kind ({', '.join(others)})" if others else "rename it"
            raise UserError(f"the id of galaxy {first + i + 1}, {name!a}, {why}: {mends}")


def check_size(kind: str, schema: "pa.Schema", galaxies: int) -> None:
    """UserError where the format cannot hold the schema, or takes more memory for so many galaxies than there is."""
    if kind == "votable" and str(schema.field("id").type) == "uint64":
        raise UserError("VOTable has no type for ids above 2^63: write --to .parquet, .csv or .fits")
    need, free = IN_MEMORY.get(kind, 0) * galaxies, _free_memory()
    if free is not None and need > free:
        raise UserError(
            f"a table of {galaxies:,} galaxies takes {need / 1e9:.1f} GB of memory as {kind}, and {free / 1e9:.1f} GB "
            f"are free: write --to .parquet or .csv, which take no more for more galaxies"
        )


def _free_memory() -> int | None:
    """Bytes, as Linux tells them; None elsewhere."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(r"MemAvailable:\s*(\d+) kB", text)
    return int(found[1]) << 10 if found else None


def write(parts: Iterator["pa.Table"], schema: "pa.Schema", path: Path) -> None:
    """All parts, which are of the schema, as one table in the format of the suffix; without parts an empty one."""
    import pyarrow as pa

    kind = KINDS[path.suffix.lower()]
    if kind == "parquet":
        write_parquet(parts, schema, path)
    elif kind == "csv":
        _write_csv(parts, schema, path)
    else:
        rows = pa.concat_tables([schema.empty_table(), *parts])
        astropy_table(rows).write(path, format=kind, overwrite=True)


def write_parquet(parts: Iterator["pa.Table"], schema: "pa.Schema", path: Path) -> None:
    """As Parquet, each part a row group."""
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, schema) as writer:
        for part in parts:
            writer.write_table(part)


def _write_csv(parts: Iterator["pa.Table"], schema: "pa.Schema", path: Path) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        schema.empty_table().to_pandas().to_csv(file, index=False, lineterminator="\n")
        for part in parts:
            part.to_pandas().to_csv(file, index=False, lineterminator="\n", header=False)


def astropy_table(rows: "pa.Table"):
    """The rows as astropy's table: text that is missing is empty, numbers are NaN, which FITS can both hold."""
    from astropy.table import Table

    def values(column: "pa.ChunkedArray") -> np.ndarray:
        is_text = str(column.type) == "string"
        return np.array([text or "" for text in column.to_pylist()], str) if is_text else column.to_numpy()

    return Table({name: values(rows.column(name)) for name in rows.column_names})


def read(path: Path, schema: "pa.Schema", sizes: list[int]) -> Iterator["pa.Table"]:
    """The parts, of these numbers of rows, of a table that `write` has written."""
    reader = {"parquet": _read_parquet, "csv": _read_csv}.get(KINDS[path.suffix.lower()], _read_astropy)
    return (to_arrow(frame, schema) for frame in reader(path, schema, sizes))


def _read_parquet(path: Path, schema: "pa.Schema", sizes: list[int]) -> Iterator[pd.DataFrame]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for i in range(len(sizes)):
            yield file.read_row_group(i).to_pandas()


def _read_csv(path: Path, schema: "pa.Schema", sizes: list[int]) -> Iterator[pd.DataFrame]:
    how = {"dtype": object, "keep_default_na": False, "na_values": [""]}
    with pd.read_csv(path, iterator=True, encoding="utf-8", **how) as reader:
        for size in sizes:
            yield reader.get_chunk(size)  # numbers as text, which NumPy reads to the last bit


def _read_astropy(path: Path, schema: "pa.Schema", sizes: list[int]) -> Iterator[pd.DataFrame]:
    from astropy.table import Table

    whole, start = Table.read(path, format=KINDS[path.suffix.lower()]), 0
    whole.convert_bytestring_to_unicode()
    for size in sizes:
        part, start = whole[start : start + size], start + size
        yield pd.DataFrame({f.name: _missing(part[f.name]) for f in schema})


def _missing(column) -> np.ndarray:
    """A column of astropy's as `as_rows` takes it: numbers that are masked are NaN, text that is empty is None."""
    if column.dtype.kind == "f":
        return np.ma.filled(column, np.nan).astype(column.dtype.newbyteorder("="))
    if column.dtype.kind == "U":
        return np.array([text or None for text in np.ma.filled(column, "").tolist()], object)
    return np.asarray(column).astype(column.dtype.newbyteorder("="))
