"""The report's scores of classes: of rare ones, what is found among the first candidates."""

import numpy as np
import pytest
from sklearn import metrics as of_sklearn

from pipeline.plans.label_table import LabelTable
from pipeline.report.sections import class_scores

QUESTIONS = [{"name": "ring", "answers": ["ring", "no ring"]}]
SCHEMA = LabelTable.model_validate({"kind": "class", "questions": QUESTIONS}).schema("made-up")


def ranked(n: int, rings: int) -> tuple[np.ndarray, np.ndarray]:
    """(truth (n, 2), predictions (n, 2) that put every other ring first)."""
    is_ring = np.arange(n) < rings
    probability = np.where(is_ring & (np.arange(n) % 2 == 0), 0.9, 0.2) + np.linspace(0, 0.01, n)
    return np.eye(2)[1 - is_ring], np.stack([probability, 1 - probability], axis=1)


def test_a_rare_class_says_what_the_first_candidates_hold():
    truth, predicted = ranked(300, rings=20)
    made = class_scores.rare_classes(SCHEMA, truth, predicted)
    assert made["sizes"] == [20, 50, 100, 200]
    (row,) = made["rows"]
    assert (row["name"], row["n"], row["chance"]) == ("ring", 20, pytest.approx(1 / 15))
    assert row["area"] == pytest.approx(of_sklearn.average_precision_score(truth[:, 0], predicted[:, 0]))
    assert row["found"][0] == (0.5, 1.0)


def test_where_no_class_is_rare_or_none_is_there_nothing_is_shown():
    for rings in (0, 60):
        assert class_scores.rare_classes(SCHEMA, *ranked(300, rings)) is None


def test_a_galaxy_whose_answer_is_not_known_is_no_candidate():
    truth, predicted = ranked(300, rings=20)
    truth[10:20] = np.nan
    assert class_scores.rare_classes(SCHEMA, truth, predicted)["rows"][0]["n"] == 10
