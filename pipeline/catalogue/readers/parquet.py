"""Parquet and Arrow files: types as the file has them."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.catalogue.readers import described
from pipeline.catalogue.readers.part import Part


def parts(path: Path) -> list[Part]:
    """The table of a Parquet file; an index of pandas is a column of it."""

    def rows(columns: list[str], size: int) -> Iterator[pa.Table]:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=size, columns=columns):
                yield pa.Table.from_batches([batch])

    with pq.ParquetFile(path) as file:
        return [Part("", file.schema_arrow.names, rows, described.of_schema(file.schema_arrow))]


def parts_of_arrow(path: Path) -> list[Part]:
    """The table of an Arrow (Feather) file."""

    def rows(columns: list[str], size: int) -> Iterator[pa.Table]:
        with pa.ipc.open_file(path) as file:
            for i in range(file.num_record_batches):
                whole = pa.Table.from_batches([file.get_batch(i)]).select(columns)
                for start in range(0, len(whole), size):
                    yield whole.slice(start, size)

    with pa.ipc.open_file(path) as file:
        return [Part("", file.schema.names, rows, described.of_schema(file.schema))]
