"""One person's way down the tree."""

import numpy as np
import pytest

from pipeline.core import answering
from tests.builders.galaxy_zoo_2 import GZ2


def walk(choose) -> dict[str, str]:
    given: dict[str, str] = {}
    while (question := answering.next_question(GZ2, given)) is not None:
        given[question.name] = question.answers[choose(question)]
        assert answering.is_way(GZ2, given)
    return given


@pytest.mark.parametrize("seed", range(20))
def test_a_way_ends_and_its_votes_hold_the_sums_of_the_tree(seed):
    from pipeline.core import tree

    rng = np.random.default_rng(seed)
    given = walk(lambda question: rng.integers(len(question.answers)))
    votes = answering.votes(GZ2, given)
    assert votes.sum() == len(given)
    assert tree.violations(GZ2, votes[None]).max() == 0


def test_a_smooth_galaxy_is_asked_about_its_roundness_and_oddness():
    assert list(walk(lambda question: 0))[:2] == [GZ2.questions[0].name, "something-odd"]
    smooth = walk(lambda question: 1 if question.name == "something-odd" else 0)
    assert set(smooth) == {"smooth-or-featured", "something-odd", "how-rounded"}


def test_undone_from_the_end_every_step_is_a_way():
    given = walk(lambda question: 0)
    for left in range(len(given) - 1, -1, -1):
        given = answering.without_last(GZ2, given)
        assert len(given) == left
        assert answering.is_way(GZ2, given)
    assert answering.without_last(GZ2, {}) == {}


@pytest.mark.parametrize(
    "given", [{"how-rounded": "round"}, {"smooth-or-featured": "no such"}, {"no such": "smooth"}, {"": ""}]
)
def test_what_is_no_way(given):
    assert not answering.is_way(GZ2, given)
