"""The galaxies that most likely have an answer: which column that is, and the first rows of all parts."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.catalogue import most_likely
from pipeline.errors import UserError
from pipeline.plans.label_table import LabelTable
from tests.builders.galaxy_zoo_2 import GZ2

RINGS = LabelTable.model_validate(
    {"kind": "class", "questions": [{"name": "shape", "answers": ["ring", "no ring"]}]}
).schema("made-up")


@pytest.mark.parametrize(("typed", "column"), [
    ("ring", "Class8.1"), (" RING ", "Class8.1"), ("odd-feature_ring", "Class8.1"), ("class8.1", "Class8.1"),
    ("edge-on", "Class2.1"), ("star or artifact", "Class1.3"), ("merger", "Class8.6"), ("bar_yes", "Class3.1"),
])  # fmt: skip
def test_an_answer_has_several_names(typed, column):
    assert most_likely.column_of(GZ2, typed) == column


def test_a_class_of_a_table_of_classes_is_its_column():
    assert most_likely.column_of(RINGS, "Ring") == RINGS.columns[0]
    assert most_likely.column_of(RINGS, "no ring") == RINGS.columns[1]


@pytest.mark.parametrize(("typed", "said"), [
    ("rings", "did you mean .*ring"), ("mergr", "did you mean .*merger"), ("zzz", "answers are smooth-or-featured_"),
    ("yes", "several answers .*disk-edge-on_yes, bar_yes"), ("", "no answer or class"),
])  # fmt: skip
def test_a_wrong_name_is_told_with_those_that_there_are(typed, said):
    with pytest.raises(UserError, match=said):
        most_likely.column_of(GZ2, typed)


def parts(values: list[list[float]]) -> list[pa.Table]:
    start = np.cumsum([0, *map(len, values)])
    schema = pa.schema([("id", pa.int64()), ("ring", pa.float32())], metadata={"ensemble": "e"})
    return [
        pa.table([pa.array(np.arange(s, s + len(v))), pa.array(v, pa.float32())], schema=schema)
        for s, v in zip(start, values, strict=False)
    ]


@pytest.mark.parametrize("n", [1, 3, 5, 99])
def test_the_first_rows_of_parts_are_those_of_the_whole(n):
    made = most_likely.first_rows(iter(parts([[0.2, np.nan, 0.9], [0.9, 0.1], [np.nan]])), "ring", n)
    assert made.column("id").to_pylist() == [2, 3, 0, 4][:n]
    assert made.schema.metadata == {b"ensemble": b"e"}


@pytest.mark.parametrize(("given", "made"), [
    ("a/answers.csv", "a/answers.most-likely-ring.csv"), ("answers", "answers.most-likely-ring.parquet"),
    ("shard.00017", "shard.00017.most-likely-ring.parquet"),
])  # fmt: skip
def test_it_stands_beside_the_table(given, made):
    assert most_likely.path_beside(Path(given), "ring") == Path(made)


def test_a_name_of_several_words_makes_a_plain_file_name():
    assert most_likely.path_beside(Path("a.fits"), "star or/artifact").name == "a.most-likely-star-or-artifact.fits"
