"""What labels are worth: known answers."""

import numpy as np
import pytest

from pipeline.core import label_efficiency
from pipeline.core.labels import Schema
from pipeline.plans.label_table import LabelTable
from tests.builders.galaxy_zoo_2 import GZ2

SIZES = np.array([50, 100, 200, 400])


def classes(*answers: str) -> Schema:
    table = {"kind": "class", "questions": [{"name": "shape", "answers": list(answers)}]}
    return LabelTable.model_validate(table).schema("shapes")


def doubled(repeats: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Scores that grow by 0.1 with each doubling; the first start is two doublings ahead."""
    other = 0.4 + 0.1 * np.arange(4)
    other = np.stack([other + 0.001 * r for r in range(repeats)], axis=1)
    return other + 0.2, other


def test_labels_of_a_start_two_doublings_ahead_are_worth_four_times_as_many():
    mine, other = doubled()
    found = label_efficiency.worth(SIZES, mine, other, 1, True)
    assert found.labels == pytest.approx(400)
    assert (found.low, found.high) == pytest.approx((400, 400))
    assert found.difference[0] == pytest.approx(0.2)
    assert label_efficiency.told_apart(found)
    half = label_efficiency.worth(SIZES, mine - 0.05, other, 1, True)
    assert half.labels == pytest.approx(400 / np.sqrt(2))  # in the logarithm of the size


def test_of_scores_that_fall_the_same_holds():
    mine, other = doubled()
    found = label_efficiency.worth(SIZES, 1 - mine, 1 - other, 0, False)
    assert found.labels == pytest.approx(200)
    assert found.difference[0] == pytest.approx(-0.2)


def test_what_lies_outside_the_measured_sizes_is_not_extrapolated():
    mine, other = doubled()
    assert label_efficiency.worth(SIZES, mine, other, 3, True).labels == np.inf
    assert label_efficiency.worth(SIZES, other - 0.3, other, 0, True).labels == 0


def test_a_curve_that_falls_for_once_is_made_monotone():
    mine = np.full((4, 1), 0.55)
    other = np.array([[0.4], [0.6], [0.5], [0.7]])
    found = label_efficiency.worth(SIZES, mine, other, 0, True)
    assert found.labels == pytest.approx(100)  # 0.55 is the level of the two in the middle, reached at the first
    assert np.isnan(found.difference[1:]).all()
    assert not label_efficiency.told_apart(found)


def test_a_difference_that_changes_its_sign_from_repeat_to_repeat_is_not_told():
    mine, other = np.array([[0.5, 0.7, 0.6]]), np.array([[0.6, 0.6, 0.6]])
    found = label_efficiency.worth(np.array([50]), mine, other, 0, True)
    assert found.difference[0] == pytest.approx(0)
    assert not label_efficiency.told_apart(found)


def test_intervals_are_students():
    mean, low, high = label_efficiency.interval(np.array([[1.0, 2.0, 3.0]]))
    assert mean == pytest.approx([2])
    assert (high - mean) == pytest.approx([4.302653 / np.sqrt(3)], rel=1e-6)  # t of 2 degrees of freedom, deviation 1
    assert (mean - low) == pytest.approx(high - mean)


def test_only_the_rarer_of_two_classes_is_looked_for():
    rings = np.stack([np.arange(100) < 5, np.arange(100) >= 5], axis=1).astype(float)
    assert label_efficiency.rare_answer(classes("ring", "no ring"), rings) == 0
    assert label_efficiency.rare_answer(classes("no ring", "ring"), rings[:, ::-1]) == 1
    half = np.stack([np.arange(100) < 50, np.arange(100) >= 50], axis=1).astype(float)
    assert label_efficiency.rare_answer(classes("a", "b"), half) is None
    three = np.eye(3)[np.arange(99) % 3]
    assert label_efficiency.rare_answer(classes("a", "b", "c"), three) is None
    assert label_efficiency.rare_answer(GZ2, np.zeros((5, 37))) is None


def test_the_score_of_a_rare_answer_is_its_own_average_precision():
    schema, truth = classes("ring", "no ring"), np.array([[1, 0], [0, 1], [1, 0], [0, 1.0]])
    predicted = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.1, 0.9]])
    found = label_efficiency.scores(schema, truth, predicted, 0)
    assert found["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["accuracy"] == pytest.approx(0.75)
    assert label_efficiency.measure_of(schema, 0).title == "average precision of 'ring'"
    assert label_efficiency.measure_of(schema, None) == ("accuracy", "accuracy", True)
    assert label_efficiency.measure_of(GZ2, None) == ("rmse", "RMSE", False)


def test_two_hundred_labels_are_compared_in_words_where_they_were_measured():
    assert label_efficiency.anchor([50, 200, 500]) == 1
    assert label_efficiency.anchor([10, 20, 40]) == 1
