"""Labels of any kind as fractions and votes, and each mistake in them in one sentence."""

import re

import numpy as np
import pandas as pd
import pytest

from pipeline.core import tree
from pipeline.core.counts import counts, training_counts
from pipeline.core.labels import Question, Schema
from pipeline.errors import UserError
from pipeline.labelled import inference, labels, table
from pipeline.plans import label_schemas

TREE = """
kind = "{kind}"
{more}
[[questions]]
name = "shape"
answers = ["smooth", "disc"]
[[questions]]
name = "arms"
answers = ["two", "three", "many"]
parent = "shape: disc"
"""


def schema_of(tmp_path, kind: str, more: str = "") -> Schema:
    path = tmp_path / f"{kind}.toml"
    path.write_text(TREE.format(kind=kind, more=more))
    return label_schemas.load_schema(str(path))


def read(tmp_path, text: str) -> table.Table:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    return table.read(path, None, None)


def test_classes_are_one_vote_and_what_is_empty_is_unknown(tmp_path):
    schema = schema_of(tmp_path, "class")
    made = labels.read(schema, read(tmp_path, "id,shape,arms\n1,disc,two\n2,smooth,\n3,disc,\n4,,\n"))
    assert made.problems == []
    np.testing.assert_array_equal(
        made.fractions, [[0, 1, 1, 0, 0], [1, 0, 0, 0, 0], [0, 1, *[np.nan] * 3], [np.nan] * 5]
    )
    assert made.votes.tolist() == [[1, 1], [1, 0], [1, 0], [0, 0]]


def test_counts_become_fractions_along_the_path_and_keep_their_number(tmp_path):
    schema = schema_of(tmp_path, "votes")
    columns = ",".join(schema.columns)
    made = labels.read(schema, read(tmp_path, f"id,{columns}\n1,10,30,6,3,21\n2,8,0,,,\n3,1,1,0,0,0\n4,,,,,\n"))
    assert made.problems == []
    np.testing.assert_allclose(made.fractions[0], [0.25, 0.75, 0.15, 0.075, 0.525])
    np.testing.assert_array_equal(made.fractions[1], [1, 0, 0, 0, 0])
    assert np.isnan(made.fractions[2, 2:]).all()
    assert np.isnan(made.fractions[3]).all()
    assert made.votes.tolist() == [[40, 30], [8, 0], [2, 0], [0, 0]]
    np.testing.assert_allclose(counts(schema, made.fractions, made.votes)[0], [10, 30, 6, 3, 21])
    assert counts(schema, made.fractions, made.votes)[2].tolist() == [1, 1, 0, 0, 0]


def test_conditional_fractions_are_joined_and_joint_ones_are_checked(tmp_path):
    schema = schema_of(tmp_path, "fractions", 'fractions = "conditional"')
    text = f"id,{','.join(schema.columns)}\n1,0.2,0.8,0.5,0.25,0.25\n2,1,0,,,\n"
    made = labels.read(schema, read(tmp_path, text))
    np.testing.assert_allclose(made.fractions, [[0.2, 0.8, 0.4, 0.2, 0.2], [1, 0, 0, 0, 0]])
    assert made.problems == []
    joint = labels.read(schema_of(tmp_path, "fractions"), read(tmp_path, text))
    (said,) = joint.problems
    assert "1 galaxy (such as 1), by up to 0.2" in said
    assert 'say fractions = "conditional"' in said


MISTAKES = {
    "a label that no answer matches": ("class", "1,discs,two", "'discs' in column 'shape' of 1 galaxy .*mean 'disc'"),
    "one that is like none": ("class", "1,ring,", "'ring' in column 'shape' .*the answers are smooth, disc"),
    "an answer where nobody was asked": ("class", "1,smooth,two", "1 galaxy .* answer 'arms' though"),
    "negative counts": ("votes", "1,-1,3,1,1,1", "negative or not whole: 1 galaxy .*'shape_smooth'"),
    "counts that are not whole": ("votes", "1,1,2,0.5,1,0.5", "negative or not whole: 1 galaxy .*'arms_two'"),
    "fractions beyond 1": ("fractions", "1,20,80,40,20,20", "outside 0 to 1: 1 galaxy"),
    "fractions that break the tree": ("fractions", "1,0.5,0.2,0.1,0.1,0", "1 galaxy .*by up to 0.3.*normalised"),
    "some answers of a question": ("fractions", "1,0.5,,0,0,0", "lack some answers of a question"),
}


@pytest.mark.parametrize(("kind", "row", "said"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_told_with_their_galaxies(tmp_path, kind, row, said):
    schema = schema_of(tmp_path, kind)
    header = "id,shape,arms" if kind == "class" else f"id,{','.join(schema.columns)}"
    made = labels.read(schema, read(tmp_path, f"{header}\n{row}\n"))
    assert any(re.search(said, problem) for problem in made.problems), made.problems


def test_a_missing_column_is_told_with_the_nearest(tmp_path):
    with pytest.raises(UserError, match=r"1 of 2 columns .*'arms'.*there are shape, arm \(did you mean 'arm'\?\)"):
        labels.read(schema_of(tmp_path, "class"), read(tmp_path, "id,shape,arm\n1,disc,two\n"))
    with pytest.raises(UserError, match=r"2 of 2 columns .*; there are none: rename"):
        labels.read(schema_of(tmp_path, "class"), read(tmp_path, "id\n1\n"))


def test_a_single_question_finds_its_answers_in_a_column_called_label_or_class(tmp_path):
    schema = Schema(
        "own", "class", (Question(1, "ring", "ring", ("yes", "no"), ("yes", "no"), ("yes", "no"), (), "ring"),)
    )
    for header in ("ring", "Label", "class"):
        made = labels.read(schema, read(tmp_path, f"id,{header},note\n1,yes,no\n2,no,yes\n"))
        assert made.fractions.tolist() == [[1, 0], [0, 1]]
    for header in ("label,class", "note,other"):
        with pytest.raises(UserError, match="columns of the labels own are missing"):
            labels.read(schema, read(tmp_path, f"id,{header}\n1,yes,no\n"))


def test_text_among_numbers_is_told(tmp_path):
    schema = schema_of(tmp_path, "votes")
    with pytest.raises(UserError, match="column 'shape_disc': 1 cells are no numbers, such as 'many' of galaxy 7"):
        labels.read(schema, read(tmp_path, f"id,{','.join(schema.columns)}\n7,1,many,0,0,0\n"))


def test_answers_that_never_occur_and_classes_smaller_than_the_folds_are_told(tmp_path):
    schema = schema_of(tmp_path, "class")
    fractions = np.array([[1, 0, 0, 0, 0]] * 5 + [[0, 1, 1, 0, 0]] * 2, float)
    said = labels.occurrence_problems(schema, fractions, folds=3)
    assert any("'disc' of 'shape' has 2 galaxies, fewer than the plan's 3 folds" in one for one in said)
    assert any("no galaxy with an image has the answer 'three', 'many' of 'arms'" in one for one in said)


def test_ids_that_repeat_are_kept_once_where_their_labels_agree():
    fractions = np.array([[1, 0], [0, 1], [1, 0], [1, 0]], float)
    keep, other = labels.contradicting(np.array([5, 6, 5, 6]), fractions)
    assert keep.tolist() == [0, 1]
    assert other == [6]


def test_balanced_classes_weigh_the_same_however_rare(tmp_path):
    schema = schema_of(tmp_path, "class", 'class_weights = "balanced"')
    fractions = np.array([[1, 0, 0, 0, 0]] * 9 + [[0, 1, np.nan, np.nan, np.nan]], float)
    votes = np.tile([1.0, 0.0], (10, 1))
    made = training_counts(schema, fractions, votes, np.arange(10))
    np.testing.assert_allclose(made[:, :2].sum(axis=0), 5)
    assert made[:, 2:].sum() == 0


def test_training_counts_have_one_vote_a_question_on_average(tmp_path):
    schema = schema_of(tmp_path, "votes")
    fractions = tree.normalise(schema, np.random.default_rng(0).random((6, 5)))
    votes = np.array([[40, 20], [20, 10], [30, 0], [30, 30], [10, 10], [50, 50]], float)
    made = training_counts(schema, fractions, votes, np.arange(6))
    assert made.dtype == np.float32
    assert made[0, :2].sum() / made[1, :2].sum() == pytest.approx(2)
    assert made[2, 2:].sum() == 0
    assert made.sum() == pytest.approx(votes.sum() / votes[votes > 0].mean(), rel=1e-5)


IDS = {
    "integers": (["5", "-7"], np.int64),
    "the largest of 64 bits": (["9223372036854775807", "1"], np.int64),
    "beyond 64 bits": (["9223372036854775808", "1"], str),
    "leading zeros": (["007", "7"], str),
    "names": (["J0001+02", "5"], str),
}


@pytest.mark.parametrize(("given", "kind"), IDS.values(), ids=IDS)
def test_ids_are_exact_to_the_last_digit(tmp_path, given, kind):
    rows = read(tmp_path, "objid,label\n" + "".join(f"{one},a\n" for one in given))
    assert [str(one) for one in rows.ids.tolist()] == given
    assert rows.ids.dtype.kind == ("i" if kind is np.int64 else "U")


def test_64_bit_ids_of_parquet_are_exact(tmp_path):
    path = tmp_path / "labels.parquet"
    pd.DataFrame({"objid": np.array([587722981736579113, 587722981736579114]), "label": ["a", "b"]}).to_parquet(path)
    assert table.read(path, None, None).ids.tolist() == [587722981736579113, 587722981736579114]


def test_without_ids_the_images_name_the_galaxies(tmp_path):
    rows = read(tmp_path, "file,label\ncut/a.b.png,x\n7.fits.gz,y\n")
    assert rows.ids.tolist() == ["a.b", "7"]
    assert rows.images == ["cut/a.b.png", "7.fits.gz"]


TABLES = {
    "two columns of ids": ("Id,ID,label\n1,1,a\n", None, "columns? .* may both be the id: name one .*id = "),
    "a column that is not there": ("id,label\n1,a\n", "objid", "no column 'objid', the schema's id, among id, label"),
    "neither ids nor images": ("x,label\n1,a\n", None, "no column of ids or of images among x, label"),
    "ids that a spreadsheet rounded": ("id,label\n5.87722981736579E+17,a\n", None, "row 1: .*rounded number"),
    "a header alone": ("id,label\n", None, "has columns, id, label, and no galaxy: fill it, or remove it"),
    "rows without ids": ("id,label\n,a\n", None, "1 rows have no id"),
}


@pytest.mark.parametrize(("text", "column", "said"), TABLES.values(), ids=TABLES)
def test_tables_without_usable_ids_are_told(tmp_path, text, column, said):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        table.read(path, column, None)


def test_a_column_of_classes_is_understood_without_a_schema(tmp_path):
    made = inference.inferred(read(tmp_path, "id,Label\n1,spiral\n2,edge-on\n3,spiral\n4,\n"))
    assert made.kind == "class"
    assert made.questions[0].answers == ("edge-on", "spiral")
    again = tmp_path / "again.toml"
    again.write_text(label_schemas.to_toml(made))
    assert label_schemas.load_table(str(again)) == made


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,ring\n1,yes\n", "no column 'label' or 'class' among ring: describe the labels in a schema"),
        ("id,label\n1,yes\n", "holds one value; expected 2 to 100"),
        ("id,label\n" + "".join(f"{i},{i / 7}\n" for i in range(200)), "holds 200 different values"),
    ],
)
def test_what_is_no_column_of_classes_is_told(tmp_path, text, said):
    with pytest.raises(UserError, match=said):
        inference.inferred(read(tmp_path, text))
