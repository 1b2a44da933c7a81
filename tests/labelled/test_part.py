"""A part of the galaxies: its size, that it is stratified, and what comes along."""

import numpy as np
import pytest

from pipeline.core.split import dominant_path
from pipeline.errors import UserError
from pipeline.labelled import part
from pipeline.plans.config import load_plan
from tests.builders.finished_plan import votes
from tests.builders.galaxy_zoo_2 import GZ2


def plan_of(tmp_path, galaxies: str):
    path = tmp_path / "mine.toml"
    path.write_text(f'extends = "frozen"\ngalaxies = {galaxies}\n')
    return load_plan(str(path))


@pytest.mark.parametrize(("asked", "n", "expected"), [
    (None, 700, 700), (500, 700, 500), (500, 300, 300), (0.1, 700, 70), (0.999, 10, 10)
])  # fmt: skip
def test_a_number_or_a_share(asked, n, expected):
    assert part.size(asked, n) == expected


def test_the_part_is_stratified_and_a_larger_one_contains_it(tmp_path):
    fractions = votes(np.random.default_rng(2), 800)
    small, large = (part.choose(plan_of(tmp_path, text), GZ2, fractions, 90) for text in ("200", "0.5"))
    assert [len(rows) for one in (small, large) for rows in (one.train, one.test)] == [200, 90, 400, 45]
    assert small.of == {"train": 800, "test": 90}
    assert set(small.train) < set(large.train)
    for one in (small, large):
        assert (np.diff(one.train) > 0).all()
        assert (np.diff(one.test) > 0).all()
    path = dominant_path(GZ2, fractions)
    for name in np.unique(path):
        assert abs((path[small.train] == name).sum() - (path == name).sum() / 4) <= 1


@pytest.mark.parametrize(("text", "said"), [
    ("1.5", "expected a number of galaxies, such as 500, or a share below 1"),
    ("0", "greater than 0"),
    ('"500"', "galaxies: '500': input should be a valid number"),
])  # fmt: skip
def test_what_is_neither_is_refused(tmp_path, text, said):
    with pytest.raises(UserError, match=said):
        plan_of(tmp_path, text)


def test_fewer_than_two_a_fold_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"galaxies = 5 are 5 of 30: 3 folds take 6 at least"):
        part.choose(plan_of(tmp_path, "5"), GZ2, votes(np.random.default_rng(2), 30), 9)


def test_of_copies_only_those_within_the_part_count():
    copies = {"train": [[1, 2, 3], [4, 5]], "across": [[1, 90], [4, 91], [6, 92]]}
    assert part.copies_among(copies, [1, 3, 4], [91, 92]) == {"train": [[1, 3]], "across": [[4, 91]]}
