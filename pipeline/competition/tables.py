"""The competition's tables: vote fractions and sample submission, from a csv in a file, zip or folder."""

import codecs
import io
import logging
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.competition.source_files import is_system_file, parse_galaxy_id, zip_members
from pipeline.core.labels import Schema
from pipeline.errors import UserError

log = logging.getLogger(__name__)
ID = "GalaxyID"
MAX_BYTES = 1 << 28  # bytes; the competition's have 30 MB


def read_bytes(path: Path) -> bytes:
    """Content of a csv, or of the only csv in a zip or folder. UserError where there is not exactly one."""
    path = Path(path)
    if path.is_dir():
        candidates = [p for p in sorted(path.iterdir()) if p.suffix.lower() == ".csv" and not is_system_file(p.name)]
        return _only(candidates, path).read_bytes()
    if path.suffix.lower() != ".zip":
        _check_size(path.stat().st_size, path)
        return path.read_bytes()
    with open(path, "rb") as file:
        tables = [i for i in zip_members(file, path) if i.filename.lower().endswith(".csv")]
        info = _only([i for i in tables if not is_system_file(i.filename)], path)
        _check_size(info.file_size, path)
        try:
            return zipfile.ZipFile(file).read(info)
        except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
            raise UserError(f"{path}: {info.filename} does not unpack ({error}): download it again") from None


def _check_size(size: int, path: Path) -> None:
    if size > MAX_BYTES:
        raise UserError(f"{path}: a table of {size:,} bytes, far more than the competition's: download it again")


def _only(candidates: list, path: Path):
    if len(candidates) != 1:
        raise UserError(f"{path}: expected one csv file in it, found {len(candidates)}")
    return candidates[0]


def read_labels(path: Path, schema: Schema) -> pd.DataFrame:
    """Vote fractions (n, c) float64, indexed by GalaxyID, as in the file.

    Columns in another order are sorted by name. Values that are no numbers become NaN, ids that are no integers
    leave the index text: the caller decides. UserError where the file is no table of galaxies.
    """
    table = _read_table(path)
    labels = table.set_index(table.columns[0]).apply(pd.to_numeric, errors="coerce").astype(np.float64)
    labels.index = pd.Index(_as_ids(labels.index), name=ID)
    if tuple(labels.columns) != schema.columns and sorted(labels.columns) == sorted(schema.columns):
        log.info("%-10s the columns of %s are in another order; taken by name", "inputs", Path(path).name)
        labels = labels[list(schema.columns)]
    return labels


def read_sample(path: Path) -> tuple[list[str], np.ndarray]:
    """(header, ids int64 (n,)) of a sample submission in its own order; ids stay text where one is no integer."""
    table = _read_table(path)
    return list(table.columns), _as_ids(table.iloc[:, 0])


def _read_table(path: Path) -> pd.DataFrame:
    """The table with its first column as text, without the empty rows and columns that spreadsheets add."""
    try:
        text = _text(read_bytes(path))
        separator = max(",;\t", key=text.partition("\n")[0].count)
        layout = {"sep": separator, "decimal": "," if separator == ";" else ".", "keep_default_na": False}
        header = pd.read_csv(io.StringIO(text), nrows=0, **layout)
        empty = {name: [""] for name in header.columns[1:]}
        table = pd.read_csv(io.StringIO(text), dtype={header.columns[0]: str}, na_values=empty, **layout)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeError, IndexError) as error:
        raise UserError(f"{path}: not a table of comma-separated values ({error}): download it again") from None
    if not table.index.equals(pd.RangeIndex(len(table))):  # pandas took surplus fields as an index
        raise UserError(f"{path}: its rows have more fields than its header: download it again")
    table.columns = [str(column).strip() for column in table.columns]
    if table.columns[0].lower() != ID.lower():
        raise UserError(f"{path}: expected {ID} as the first column, received {table.columns[0]!r}")
    table = table.assign(**{table.columns[0]: table.iloc[:, 0].fillna("").str.strip()})
    is_empty = (table.iloc[:, 0] == "") & table.iloc[:, 1:].isna().all(axis=1)
    unnamed = [name for name in table if name.startswith("Unnamed: ") and table[name].isna().all()]
    return table[~is_empty].drop(columns=unnamed)


def _text(data: bytes) -> str:
    """A table's text, UTF-8 or marked as UTF-16, without comments above its header."""
    text = data.decode("utf-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig")
    while text.startswith(("#", "sep=")):
        text = text.partition("\n")[2]
    return text


def _as_ids(texts: pd.Index | pd.Series) -> np.ndarray:
    """int64 (n,); the unchanged texts where one of them is no GalaxyID."""
    ids = [parse_galaxy_id(text) for text in texts]
    return np.array(texts, object) if None in ids else np.array(ids, np.int64)
