"""Writing of tables by the suffix of their name: Parquet and CSV in parts, FITS and VOTable in memory."""

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from pipeline.catalogue import astropy_tables
from pipeline.catalogue.columns import to_arrow
from pipeline.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

KINDS = {".parquet": "parquet", ".csv": "csv", ".fits": "fits", ".fit": "fits", ".vot": "votable", ".xml": "votable"}
IN_MEMORY = {"fits": 4000, "votable": 4000}  # bytes that writing a galaxy takes, measured
ON_DISK = {"parquet": 650, "csv": 1400, "fits": 650, "votable": 3300}  # and those of a galaxy in the file
GROUPED = 64  # parts of a table that make a row group of Parquet
MAX_FITS_NAME = 60  # characters of a column's name, which is one card
# ids and other texts that a format cannot give back as they were, and why
UNSUPPORTED_TEXTS = {
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


def check_names(kept: Sequence["pa.Field"], kind: str) -> None:
    """UserError where the name of a column that is to be kept cannot be written."""
    for name in (field.name for field in kept):
        if kind == "fits" and not (name.isascii() and name.isprintable() and len(name) <= MAX_FITS_NAME):
            raise UserError(f"--keep {name}: FITS has no columns of such a name: --to a table of another kind")


def check_texts(texts: pd.Series, kind: str, first: int, what: str) -> None:
    """UserError where an id, or another text, of rows from `first` (from 0) on, cannot be written."""
    if pd.api.types.infer_dtype(texts, skipna=False) in ("integer", "floating"):
        return
    pattern, why = UNSUPPORTED_TEXTS[kind]
    found = re.compile(pattern)
    for i, name in enumerate(map(str, texts)):
        if found.search(name):
            others = [suffix for suffix, other in KINDS.items() if not re.search(UNSUPPORTED_TEXTS[other][0], name)]
            mends = f"--to a table of another kind ({', '.join(others)})" if others else "rename it"
            raise UserError(f"the {what} of galaxy {first + i + 1}, {name!a}, {why}: {mends}")


def check_size(kind: str, schema: "pa.Schema", galaxies: int, wider: float = 1) -> None:
    """UserError where the format cannot hold the schema, or takes more memory for so many galaxies than there is.

    `wider`: by how many times the columns are more than usual.
    """
    if kind == "votable" and str(schema.field("id").type) == "uint64":
        raise UserError("VOTable has no type for ids above 2^63: write --to .parquet, .csv or .fits")
    need, free = round(IN_MEMORY.get(kind, 0) * galaxies * wider), _free_memory()
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
        astropy_tables.WRITERS[kind](pa.concat_tables([schema.empty_table(), *parts]), path)


def write_parquet(parts: Iterator["pa.Table"], schema: "pa.Schema", path: Path) -> None:
    """As Parquet, GROUPED parts a row group: the file's end, which readers hold, tells of every column of each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, schema) as writer:
        while some := list(islice(parts, GROUPED)):
            writer.write_table(pa.concat_tables(some))


def _write_csv(parts: Iterator["pa.Table"], schema: "pa.Schema", path: Path) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        schema.empty_table().to_pandas().to_csv(file, index=False, lineterminator="\n")
        for part in parts:
            part.to_pandas().to_csv(file, index=False, lineterminator="\n", header=False)


def read(path: Path, schema: "pa.Schema", sizes: list[int]) -> Iterator["pa.Table"]:
    """The parts, of these numbers of rows, of a table that `write` has written."""
    reader = {"parquet": _read_parquet, "csv": _read_csv}.get(KINDS[path.suffix.lower()], astropy_tables.read)
    return (to_arrow(frame, schema) for frame in reader(path, schema, sizes))


def _read_parquet(path: Path, schema: "pa.Schema", sizes: list[int]) -> Iterator[pd.DataFrame]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        groups, rest = map(file.read_row_group, range(file.num_row_groups)), file.schema_arrow.empty_table()
        for size in sizes:
            while len(rest) < size:
                rest = pa.concat_tables([rest, next(groups)])
            yield rest.slice(0, size).to_pandas()
            rest = rest.slice(size)


def _read_csv(path: Path, schema: "pa.Schema", sizes: list[int]) -> Iterator[pd.DataFrame]:
    how = {"dtype": object, "keep_default_na": False, "na_values": [""]}
    with pd.read_csv(path, iterator=True, encoding="utf-8", **how) as reader:
        for size in sizes:
            yield reader.get_chunk(size)  # numbers as text, which NumPy reads to the last bit
