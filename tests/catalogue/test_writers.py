"""Tables written part by part: as rows of one table, few groups in Parquet, and read again in parts of any size."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.catalogue import writers

SCHEMA = pa.schema([("id", "int64"), ("share", "float32")])


def parts(count: int, rows: int) -> list[pa.Table]:
    ids = np.arange(count * rows).reshape(count, rows)
    return [pa.table({"id": some, "share": (some / 7).astype(np.float32)}, SCHEMA) for some in ids]


@pytest.mark.parametrize("sizes", [[5] * 9, [45], [1, 20, 24], [6] * 7 + [3]], ids=str)
@pytest.mark.parametrize("grouped", [1, 4, 64])
def test_parquet_is_read_in_parts_whatever_its_row_groups(tmp_path, monkeypatch, grouped, sizes):
    monkeypatch.setattr(writers, "GROUPED", grouped)
    writers.write(iter(parts(9, 5)), SCHEMA, tmp_path / "a.parquet")
    assert pq.ParquetFile(tmp_path / "a.parquet").num_row_groups == -(-9 // grouped)
    made = list(writers.read(tmp_path / "a.parquet", SCHEMA, sizes))
    assert [len(part) for part in made] == sizes
    assert pa.concat_tables(made).equals(pa.concat_tables(parts(9, 5)))


def test_a_table_of_no_parts_is_empty(tmp_path):
    writers.write(iter([]), SCHEMA, tmp_path / "a.parquet")
    assert pq.read_table(tmp_path / "a.parquet").equals(SCHEMA.empty_table())
