"""Scores against numbers computed by hand."""

import numpy as np
import pytest

from pipeline.core import classes, metrics, tree
from tests.builders.galaxy_zoo_2 import GZ2


def galaxy(**votes: float) -> np.ndarray:
    """One row; galaxy(c1_1=0.5) sets Class1.1."""
    row = np.zeros((1, 37))
    for name, value in votes.items():
        row[0, GZ2.index["Class" + name[1:].replace("_", ".")]] = value
    return row


def test_rmse_by_hand():
    truth, predicted = np.zeros((2, 37)), np.zeros((2, 37))
    predicted[0, 0], predicted[1, 5] = 0.6, 0.8
    assert metrics.rmse(truth, predicted) == pytest.approx((1.0 / 74) ** 0.5)


def test_rmse_of_many_float32_values_is_summed_in_float64():
    truth = np.zeros((60_000, 37), np.float32)
    tenth = 0.10000000149011612  # float32's
    assert metrics.rmse(truth, truth + np.float32(0.1)) == pytest.approx(tenth, abs=1e-14)


def test_rmse_per_question_and_per_answer_by_hand():
    predicted = galaxy(c2_1=0.4, c8_7=0.7)
    per_question = metrics.rmse_per_question(GZ2, np.zeros((1, 37)), predicted)
    assert per_question.tolist() == pytest.approx([0, 0.08**0.5, 0, 0, 0, 0, 0, 0.07**0.5, 0, 0, 0])
    per_answer = metrics.rmse_per_answer(np.zeros((1, 37)), predicted)
    assert per_answer[GZ2.index["Class2.1"]] == pytest.approx(0.4)
    assert np.count_nonzero(per_answer) == 2


def test_squared_error_per_galaxy_averages_to_the_score():
    rng = np.random.default_rng(0)
    truth, predicted = rng.random((50, 37)), rng.random((50, 37))
    errors = metrics.squared_error_per_galaxy(truth, predicted)
    assert errors.shape == (50,)
    assert errors.mean() ** 0.5 == pytest.approx(metrics.rmse(truth, predicted))


def test_shapes_that_differ_are_refused_rather_than_broadcast():
    with pytest.raises(ValueError, match=r"shape \(2, 37\); received \(1, 37\)"):
        metrics.rmse(np.zeros((2, 37)), np.zeros((1, 37)))
    with pytest.raises(ValueError, match=r"\(n, 37\); received \(2, 36\)"):
        classes.accuracy(GZ2, np.zeros((2, 36)), np.zeros((2, 36)))


CLEAN = [
    (galaxy(c1_1=0.6, c7_1=0.5), 0),
    (galaxy(c1_1=0.6, c7_2=0.5), 1),
    (galaxy(c1_1=0.6, c7_3=0.5), 2),
    (galaxy(c1_2=0.7, c2_1=0.602), 3),
    (galaxy(c1_2=0.8, c2_2=0.715, c4_1=0.619), 4),
    (galaxy(c1_1=0.468, c7_1=0.5), -1),
    (galaxy(c1_1=0.6, c7_1=0.499), -1),
    (galaxy(c1_2=0.7, c2_1=0.601), -1),
    (galaxy(c1_2=0.8, c2_2=0.714, c4_1=0.7), -1),
    (galaxy(c1_2=0.8, c2_2=0.8, c4_1=0.618), -1),
    (galaxy(c1_1=1.0, c7_1=0.5, c7_2=0.5), -1),  # a tie is not clean
]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_clean_sample_at_its_thresholds(dtype):
    truth = np.concatenate([row for row, _ in CLEAN]).astype(dtype)
    assert classes.true_class(GZ2, truth).tolist() == [expected for _, expected in CLEAN]


def test_smooth_and_edge_on_in_spite_of_the_tree_is_not_clean():
    assert classes.true_class(GZ2, galaxy(c1_1=0.5, c7_1=0.5, c1_2=0.7, c2_1=0.65)).tolist() == [-1]


def test_no_galaxy_of_the_tree_meets_two_rules_but_for_ties():
    rng = np.random.default_rng(0)
    fractions = tree.normalise(GZ2, rng.random((20_000, 37)) ** 8)  # strong opinions
    met = [
        np.all([fractions[:, GZ2.index[column]] >= least for column, least in rule], axis=0)
        for rule in (one.least for one in GZ2.classes)
    ]
    assert np.sum(met, axis=0).max() == 1
    assert np.sum(met, axis=1).min() > 100


def test_predicted_class_is_the_largest_of_the_five_columns():
    predicted = np.concatenate([galaxy(c7_1=0.2, c4_1=0.3, c1_1=0.9), galaxy(c2_1=0.4, c7_3=0.3)])
    assert [GZ2.class_names[i] for i in classes.predicted_class(GZ2, predicted)] == ["spiral", "edge-on"]


def test_accuracy_counts_the_clean_sample_only():
    truth = np.concatenate([row for row, _ in CLEAN[:6]])
    predicted = truth.copy()
    predicted[0] = galaxy(c7_2=0.9)  # wrong
    predicted[5] = galaxy(c4_1=0.9)  # outside the sample
    assert classes.accuracy(GZ2, truth, predicted) == pytest.approx(0.8)
    assert np.isnan(classes.accuracy(GZ2, truth[5:], predicted[5:]))


def test_confusion_has_truth_in_rows_and_leaves_out_minus_one():
    counts = classes.confusion(np.array([0, 0, 1, 2, -1]), np.array([0, 1, 1, 0, 2]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert classes.confusion(np.array([-1]), np.array([1]), 2).tolist() == [[0, 0], [0, 0]]


def test_confusion_refuses_unknown_classes():
    with pytest.raises(ValueError, match="expected classes 0 to 1; received 0 to 2"):
        classes.confusion(np.array([0, 2]), np.array([0, 1]), 2)


def test_leading_answer_among_galaxies_that_reached_the_question():
    truth = np.concatenate([
        galaxy(c1_1=0.9, c1_2=0.1, c7_1=0.6, c7_2=0.3, c6_2=1.0),
        galaxy(c1_1=0.5, c1_2=0.4, c7_2=0.4, c7_3=0.1, c6_2=1.0),
        galaxy(c1_1=0.4, c1_2=0.6, c7_3=0.4, c2_1=0.45, c2_2=0.15, c6_2=1.0),  # roundness reached by 0.4 only
    ])  # fmt: skip
    predicted = truth.copy()
    predicted[1] = galaxy(c1_1=0.2, c1_2=0.8, c7_1=0.2, c6_2=1.0)  # wrong on 1 and 7
    predicted[2, GZ2.slices[6]] = [1, 0, 0]  # wrong, not counted
    share = metrics.leading_answer_accuracy(GZ2, truth, predicted)
    assert share[[0, 1, 5, 6]].tolist() == pytest.approx([2 / 3, 1.0, 1.0, 0.5])
    assert np.isnan(share[[2, 3, 4, 7, 8, 9, 10]]).all()


def test_calibration_by_hand():
    predicted = np.array([0.05, 0.15, 0.3, 1.0, 1.2, -0.1])
    observed = np.array([0.1, 0.3, 0.2, 0.8, 1.0, 0.0])
    bins = metrics.calibration(observed, predicted, bins=4)
    assert bins.count.tolist() == [3, 1, 0, 2]
    np.testing.assert_allclose(bins.predicted, [0.1 / 3, 0.3, np.nan, 1.1])
    np.testing.assert_allclose(bins.observed, [0.4 / 3, 0.2, np.nan, 0.9])


def test_calibration_refuses_what_is_not_finite():
    with pytest.raises(ValueError, match="bins=10, 1 not finite"):
        metrics.calibration(np.zeros(2), np.array([0.1, np.nan]))


@pytest.mark.filterwarnings("error")
def test_no_galaxies_score_nan():
    nobody = np.zeros((0, 37))
    assert np.isnan(metrics.rmse(nobody, nobody))
    assert np.isnan(metrics.rmse_per_question(GZ2, nobody, nobody)).all()
    assert metrics.rmse_per_answer(nobody, nobody).shape == (37,)


def test_vote_noise_is_the_error_of_votes_counted_from_true_fractions():
    rng = np.random.default_rng(0)
    true = tree.normalise(GZ2, rng.random((4000, 37)))
    counted = np.zeros_like(true)  # 44 volunteers walk through the tree
    conditional = tree.to_conditional(GZ2, true)
    for columns, parents in tree.in_tree_order(GZ2):
        asked = counted[:, parents].sum(axis=1).astype(int) if parents else 44
        shares = conditional[:, columns] / conditional[:, columns].sum(axis=1, keepdims=True)
        counted[:, columns] = rng.multinomial(asked, shares)
    counted /= 44
    assert metrics.vote_noise(counted, GZ2.volunteers) == pytest.approx(metrics.rmse(counted, true), rel=0.01)
    assert np.isnan(metrics.vote_noise(counted[:0], GZ2.volunteers))
