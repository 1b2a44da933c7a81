"""Rankings of rare things: scikit-learn's average precision, and recall among the first few, ties or not."""

from itertools import permutations

import numpy as np
import pytest
from sklearn import metrics as of_sklearn

from pipeline.core import ranking_metrics

RNG = np.random.default_rng(4)


@pytest.mark.parametrize("levels", [2, 7, 10_000])
def test_average_precision_is_that_of_scikit_learn_with_ties_and_without(levels):
    positive = RNG.random(400) < 0.05
    scores = np.round(RNG.random(400) + 0.3 * positive, int(np.log10(levels))) if levels > 2 else RNG.random(400) > 0.5
    scores = scores.astype(float)
    expected = of_sklearn.average_precision_score(positive, scores)
    assert ranking_metrics.average_precision(scores, positive) == pytest.approx(expected)


def test_recall_among_the_first_few_by_hand():
    scores, positive = np.array([0.1, 0.9, 0.8, 0.7]), np.array([True, True, False, True])
    found = [ranking_metrics.recall_at(scores, positive, n) for n in (1, 2, 3, 4, 100)]
    assert found == pytest.approx([1 / 3, 1 / 3, 2 / 3, 1, 1])


def test_ties_count_by_the_mean_over_all_orders():
    scores, positive = np.array([3, 2, 2, 2, 1.0]), np.array([False, True, False, True, True])
    for n in range(1, 6):
        of_orders = []
        for tied in permutations([1, 2, 3]):
            first = [0, *tied, 4][:n]
            of_orders.append(positive[first].sum() / 3)
        assert ranking_metrics.recall_at(scores, positive, n) == pytest.approx(np.mean(of_orders))


def test_where_nothing_is_wanted_nothing_can_be_told():
    for wanted in (np.zeros(3, bool), np.zeros(0, bool)):
        assert np.isnan(ranking_metrics.average_precision(np.ones(len(wanted)), wanted))
        assert np.isnan(ranking_metrics.recall_at(np.ones(len(wanted)), wanted, 2))


@pytest.mark.parametrize(("scores", "positive", "n"), [
    ([1.0, np.nan], [True, False], 1), ([1.0], [True, False], 1), ([1.0, 2.0], [True, False], 0),
])  # fmt: skip
def test_what_is_no_ranking_is_refused(scores, positive, n):
    with pytest.raises(ValueError, match="expected"):
        ranking_metrics.recall_at(np.array(scores), np.array(positive), n)
