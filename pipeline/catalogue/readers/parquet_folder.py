"""Folders of Parquet files as one table: HATS catalogues and collections (lsdb, hats-import), and folders of shards.

A HATS catalogue is partitioned by position: dataset/Norder=K/Dir=D/Npix=N.parquet, or Npix=N/*.parquet; a collection
names one as its primary table in collection.properties. Files come in the order of their numbers.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from pipeline.catalogue.readers import parquet
from pipeline.catalogue.readers.part import Part
from pipeline.errors import UserError

COLLECTION, PRIMARY = "collection.properties", "hats_primary_table_url"
PARTITIONS = ("Norder=*/Dir=*/Npix=*.parquet", "Norder=*/Dir=*/Npix=*/*.parquet")


def is_table(path: Path) -> bool:
    """Whether a folder is a table: a HATS catalogue or collection, or holds Parquet files and nothing else.

    What begins with an underscore or a dot counts for nothing.
    """
    if not path.is_dir():
        return False
    if (path / COLLECTION).is_file() or _partitions(path):
        return True
    there = [inner for inner in path.iterdir() if inner.name[0] not in "_."]
    return bool(there) and all(inner.suffix == ".parquet" and inner.is_file() for inner in there)


def parts(path: Path) -> list[Part]:
    """The table of such a folder; UserError where it has no files."""
    files = _files(path)
    if not files:
        raise UserError(f"{path} is a HATS catalogue without files such as dataset/Norder=0/Dir=0/Npix=0.parquet")
    (first,) = parquet.parts(files[0])

    def rows(columns: list[str], size: int) -> Iterator[pa.Table]:
        for file in files:
            (part,) = parquet.parts(file)
            if missing := [name for name in columns if name not in part.columns]:
                raise UserError(f"{file} has no column {missing[0]!r}, which {files[0]} has")
            yield from part.rows(columns, size)

    return [first._replace(rows=rows)]


def _files(path: Path) -> list[Path]:
    if (path / COLLECTION).is_file():
        return _partitions(_primary(path))
    return _partitions(path) or _in_order([file for file in path.glob("*.parquet") if file.name[0] not in "_."])


def _primary(path: Path) -> Path:
    """The catalogue that a collection is of; its margins hold the same galaxies again."""
    lines = (path / COLLECTION).read_text(encoding="utf-8").splitlines()
    told = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    name = told.get(PRIMARY, "")
    if not name or "://" in name or not (path / name).is_dir():
        raise UserError(f"{path / COLLECTION}: expected {PRIMARY} to name a folder beside it, not {name!r}")
    return path / name


def _partitions(path: Path) -> list[Path]:
    return _in_order([file for root in (path / "dataset", path) for how in PARTITIONS for file in root.glob(how)])


def _in_order(files: list[Path]) -> list[Path]:
    return sorted(files, key=lambda file: ([int(number) for number in re.findall(r"\d+", str(file))], str(file)))
