"""Answers counted as votes, beside a table or without one."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pipeline.core.labels import Schema
from pipeline.errors import UserError
from pipeline.labelled import inputs, people
from pipeline.plans.label_schemas import load_schema
from pipeline.store.answers import Answers, Line
from tests.builders import unlabelled
from tests.builders.unlabelled import line


def answers(*lines: Line) -> Answers:
    return Answers({(one.who, one.galaxy): one for one in lines})


@pytest.fixture
def asked(tmp_path) -> Schema:
    unlabelled.plan(tmp_path)
    return load_schema(str(tmp_path / "asked.toml"))


def test_two_people_who_differ_are_two_votes(asked):
    ids, made = people.counted(asked, [line("g", "disc", "few"), line("g", "smooth", who="ben"), line("h", "smooth")])
    assert ids == ["g", "h"]
    np.testing.assert_allclose(made.fractions, [[0.5, 0.5, 0.5, 0], [1, 0, 0, 0]])
    np.testing.assert_allclose(made.votes, [[2, 1], [1, 0]])


def test_shares_have_no_numbers_of_votes(asked):
    shares = replace(asked, kind="fractions")
    _, made = people.counted(shares, [line("g", "disc", "few"), line("g", "smooth", who="ben")])
    assert made.votes is None
    np.testing.assert_allclose(made.fractions, [[0.5, 0.5, 0.5, 0]])


def prepared(tmp_path, *lines: Line, n: int = 8, folds: int = 2):
    place = tmp_path / "mine"
    if not place.exists():
        unlabelled.folder(tmp_path, n)
    unlabelled.plan(tmp_path)
    return inputs.prepare(place, str(tmp_path / "asked.toml"), folds, answers(*lines))


WAYS = (("smooth",), ("disc", "few"), ("disc", "many"))


def test_answers_alone_are_labels(tmp_path):
    made = prepared(tmp_path, *(line(f"g{i:02d}", *WAYS[i % 3]) for i in range(6)))
    assert made.frame.index.tolist() == [f"g{i:02d}" for i in range(6)]
    assert made.names == [f"g{i:02d}.png" for i in range(6)]
    np.testing.assert_allclose(made.frame.loc["g04"], [0, 1, 1, 0])
    assert made.by_people == set(made.frame.index)
    assert "labels" not in made.prints
    assert made.prints["train"]["count"] == 0
    assert len(made.train) == 6


def test_beside_a_table_the_table_stands_and_its_empty_rows_are_filled(tmp_path):
    place = unlabelled.folder(tmp_path, 10)
    rows = ["g00,smooth,", "g01,disc,few", "g02,disc,many", "g03,smooth,", "g04,disc,few", "g05,disc,many", "g06,,"]
    (place / "labels.csv").write_text("\n".join(["id,shape,arms", *rows]) + "\n")
    alone = prepared(tmp_path)
    made = prepared(tmp_path, line("g00", "disc", "few"), line("g06", "smooth"), line("g09", "disc", "many"))
    assert made.frame.index.tolist() == [*alone.frame.index, "g06", "g09"]
    pd.testing.assert_frame_equal(made.frame.loc[alone.frame.index], alone.frame)
    np.testing.assert_allclose(made.frame.loc[["g06", "g09"]], [[1, 0, 0, 0], [0, 1, 0, 1]])
    assert made.by_people == {"g06", "g09"}
    assert any("table labels, too, were left out: 1 galaxy (such as g00)" in said for said in made.left_out)
    assert made.prints == alone.prints  # so that no plan's own specification changes


def test_ids_that_are_numbers_stay_numbers(tmp_path):
    place = unlabelled.folder(tmp_path, 6)
    for i in range(6):
        (place / "images" / f"g{i:02d}.png").rename(place / "images" / f"{100 + i}.png")
    made = prepared(tmp_path, *(line(str(100 + i), *WAYS[i % 3]) for i in range(6)))
    assert made.frame.index.tolist() == list(range(100, 106))
    assert made.frame.index.dtype == np.int64


def test_an_answer_for_a_galaxy_that_has_gone_is_told_and_left_out(tmp_path):
    made = prepared(tmp_path, line("gone", "smooth"), *(line(f"g{i:02d}", *WAYS[i % 3]) for i in range(6)))
    assert len(made.frame) == 6
    assert any("labels without an image" in said and "(such as gone)" in said for said in made.left_out)


def test_answers_to_what_is_no_longer_asked_are_told_and_left_out(tmp_path):
    old = [line("g06", "ring"), replace(line("g07", "smooth"), answers={"shape": "smooth", "arms": "few"})]
    made = prepared(tmp_path, *old, *(line(f"g{i:02d}", *WAYS[i % 3]) for i in range(6)))
    assert len(made.frame) == 6
    assert any("no longer asks for were left out: of 2 galaxies (such as g06, g07)" in said for said in made.left_out)


def test_a_question_that_is_new_leaves_older_answers_unknown_there(tmp_path):
    lines = [replace(line(f"g{i:02d}"), answers={"shape": ("smooth", "disc")[i % 2]}) for i in range(4)]
    made = prepared(tmp_path, *lines, *(line(f"g{i:02d}", *WAYS[i % 3]) for i in range(4, 9)), n=9)
    assert made.frame.loc["g01"].isna().tolist() == [False, False, True, True]
    np.testing.assert_allclose(made.frame.loc["g00"], [1, 0, 0, 0])


def test_too_few_answers_are_told_by_class(tmp_path):
    with pytest.raises(UserError, match=r"'many' of 'arms' has 1 galaxy, fewer than the plan's 2 folds"):
        prepared(tmp_path, *(line(f"g{i:02d}", *WAYS[i % 3]) for i in range(5)))
    with pytest.raises(UserError, match="no galaxy with an image has the answer 'many'"):
        prepared(tmp_path, *(line(f"g{i:02d}", *WAYS[i % 2]) for i in range(4)))


def test_without_answers_a_table_is_asked_for(tmp_path):
    with pytest.raises(UserError, match=r"expected a table of labels.*\./run\.sh label.*no complete answer so far"):
        prepared(tmp_path)
