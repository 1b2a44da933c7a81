"""Intervals and sets hold what they state, on galaxies that calibrated nothing."""

import numpy as np
import pytest

from pipeline.core import conformal, tree
from pipeline.core.labels import Question, Schema
from tests.builders.galaxy_zoo_2 import GZ2

LEVEL = 0.9
CLASSES = Schema(
    "bars", "class",
    (Question(1, "disc", "disc", ("yes", "no"), ("disc", "no disc"), ("d1", "d2"), ()),
     Question(2, "bar", "bar", ("strong", "weak", "none"), ("strong", "weak", "none"), ("b1", "b2", "b3"), ("d1",))),
)  # fmt: skip


def drawn(n: int, seed: int, columns: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, predictions and variances (n, columns): errors grow with the variance, which tells them apart."""
    rng = np.random.default_rng(seed)
    predicted = rng.beta(0.7, 2, (n, columns))
    variance = 0.04 * rng.random((n, columns)) ** 2
    error = rng.normal(0, 1, (n, columns)) * np.sqrt(0.001 + variance + 0.05 * predicted * (1 - predicted))
    return np.clip(predicted + error, 0, 1), predicted, variance


def covered(truth, predicted, variance, columns) -> np.ndarray:
    low, high = conformal.intervals(columns, predicted, variance)
    return (low <= truth) & (truth <= high)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_intervals_hold_the_stated_share_of_new_galaxies(level):
    columns = conformal.calibrate(*drawn(4000, 1), level)
    new = drawn(40_000, 2)
    np.testing.assert_allclose(covered(*new, columns).mean(axis=0), level, atol=0.015)


def test_they_hold_it_where_predictions_and_spreads_are_small_as_where_they_are_large():
    columns = conformal.calibrate(*drawn(6000, 1), LEVEL)
    new = drawn(60_000, 2)
    held = covered(*new, columns)
    for feature in new[1:]:
        for low, high in ((0, 25), (25, 50), (50, 75), (75, 100)):
            ends = np.percentile(feature, [low, high])
            assert held[(feature >= ends[0]) & (feature <= ends[1])].mean() == pytest.approx(LEVEL, abs=0.03)
    halves = np.subtract(*conformal.intervals(columns, np.full((2, 2), 0.4), np.array([[0, 0], [0.04, 0.04]]))[::-1])
    assert (halves[1] > 1.3 * halves[0]).all(), "more spread, wider"


def test_with_few_galaxies_they_hold_at_least_it_and_with_too_few_they_claim_nothing():
    held = [
        covered(*drawn(50, 1000 + seed, 1), conformal.calibrate(*drawn(12, seed, 1), LEVEL)).mean()
        for seed in range(300)
    ]
    assert LEVEL - 0.01 < np.mean(held) < 0.95  # 12 / 13 of them by theory
    low, high = conformal.intervals(conformal.calibrate(*drawn(8, 0), LEVEL), *drawn(5, 1)[1:])
    assert (low == 0).all()
    assert (high == 1).all()
    nine = conformal.calibrate(*drawn(9, 0, 1), LEVEL)[0]
    assert np.isfinite(nine.factors).all(), "nine are enough for 90 %: the largest residual"


def test_ends_are_about_the_prediction_and_within_0_to_1():
    truth, predicted, variance = drawn(3000, 3)
    low, high = conformal.intervals(conformal.calibrate(truth, predicted, variance, LEVEL), predicted, variance)
    assert (low >= 0).all()
    assert (high <= 1).all()
    assert ((low <= predicted) & (predicted <= high)).all()


def test_unknown_answers_calibrate_nothing_and_unread_galaxies_have_no_interval():
    truth, predicted, variance = drawn(3000, 4)
    known = truth.copy()
    truth[::3, 0] = np.nan
    columns = conformal.calibrate(truth, predicted, variance, LEVEL)
    alone = conformal.calibrate(*(part[np.isfinite(truth[:, 0])] for part in (known, predicted, variance)), LEVEL)
    assert all(map(np.array_equal, columns[0], alone[0]))
    assert conformal.calibrate(np.full((9, 1), np.nan), predicted[:9, :1], variance[:9, :1], LEVEL)[0].factors == np.inf
    low, high = conformal.intervals(columns, np.full((1, 2), np.nan), np.full((1, 2), np.nan))
    assert np.isnan([low, high]).all()


def test_a_column_that_is_always_right_and_one_that_never_varies():
    zeros, half = np.zeros((1000, 1)), np.full((1000, 1), 0.5)
    low, high = conformal.intervals(conformal.calibrate(zeros, zeros, zeros, LEVEL), zeros[:1], zeros[:1])
    assert low == high == 0
    rng = np.random.default_rng(0)
    truth = rng.random((1000, 1))
    low, high = conformal.intervals(conformal.calibrate(truth, half, zeros, LEVEL), half[:1], zeros[:1])
    assert high - low == pytest.approx(0.9, abs=0.03)


def test_held_out_intervals_of_a_fold_know_nothing_of_its_votes():
    truth, predicted, variance = drawn(1200, 5)
    fold = np.arange(1200) % 3
    before = conformal.held_out_intervals(truth, predicted, variance, fold, LEVEL)
    truth[fold == 1] = 0.5
    after = conformal.held_out_intervals(truth, predicted, variance, fold, LEVEL)
    for old, new in zip(before, after, strict=True):
        assert (old[fold == 1] == new[fold == 1]).all()
        assert (old[fold == 0] != new[fold == 0]).any()


def test_variance_is_that_of_the_runs_by_their_shares():
    stack = np.array([[[0.2]], [[0.6]]], np.float32)
    assert conformal.run_variance(stack, np.array([0.5, 0.5])) == pytest.approx(0.04)
    assert conformal.run_variance(stack, np.array([0.25, 0.75])) == pytest.approx(0.03)
    assert conformal.run_variance(stack[:1], np.array([1.0])) == 0


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="level between 0 and 1"):
        conformal.calibrate(*drawn(9, 0), 1.0)
    truth, predicted, variance = drawn(9, 0)
    with pytest.raises(ValueError, match="equal shapes"):
        conformal.calibrate(truth[:5], predicted, variance, LEVEL)


def of_classes(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of CLASSES, some unknown, and probabilities that are right about them."""
    rng = np.random.default_rng(seed)
    shares = np.concatenate([rng.dirichlet([0.4] * 2, n), rng.dirichlet([0.4] * 3, n)], axis=1)
    predicted, truth = tree.to_joint(CLASSES, shares), np.zeros((n, 5))
    for columns in CLASSES.slices:
        drawn = (rng.random((n, 1)) > shares[:, columns].cumsum(axis=1)).sum(axis=1)
        truth[np.arange(n), columns.start + np.minimum(drawn, columns.stop - columns.start - 1)] = 1
    truth = tree.to_joint(CLASSES, truth)
    truth[::7] = np.nan
    return truth, predicted


def test_sets_hold_the_right_answer_of_those_asked_as_often_as_stated():
    truth, predicted = of_classes(30_000, 2)
    least = conformal.calibrate_sets(CLASSES, *of_classes(3000, 1), LEVEL)
    found = conformal.in_sets(CLASSES, predicted, least)
    for columns in CLASSES.slices:
        asked = np.nan_to_num(truth[:, columns]).max(axis=1) > 0.5
        held = (found[asked, columns] & (truth[asked, columns] > 0.5)).any(axis=1).mean()
        assert held == pytest.approx(LEVEL, abs=0.015)
        assert found[:, columns].any(axis=1).all(), "never empty"
    assert found.sum(axis=1).mean() < 4, "not everything"


def test_sets_from_too_few_labels_hold_all_answers_and_those_of_a_fold_know_nothing_of_it():
    truth, predicted = of_classes(300, 3)
    assert conformal.in_sets(CLASSES, predicted, conformal.calibrate_sets(CLASSES, truth[:5], predicted[:5], 0.9)).all()
    fold = np.arange(300) % 3
    before = conformal.held_out_sets(CLASSES, truth, predicted, fold, LEVEL)
    truth[fold == 2] = np.roll(truth[fold == 2], 1, axis=0)
    after = conformal.held_out_sets(CLASSES, truth, predicted, fold, LEVEL)
    assert (before[fold == 2] == after[fold == 2]).all()


def test_all_answers_of_the_competition_have_an_interval():
    rng = np.random.default_rng(0)
    truth = tree.normalise(GZ2, rng.random((500, 37)))
    predicted = tree.normalise(GZ2, np.clip(truth + rng.normal(0, 0.1, truth.shape), 0, 1))
    low, high = conformal.held_out_intervals(truth, predicted, np.zeros_like(truth), np.arange(500) % 5, LEVEL)
    held = (low <= truth) & (truth <= high)
    assert held.mean() == pytest.approx(LEVEL, abs=0.01)


def test_the_mean_of_several_networks_has_narrower_intervals_that_hold_as_much():
    """Three networks of independent errors, of which one calibrates."""
    rng = np.random.default_rng(6)
    truth = rng.uniform(0.25, 0.75, (20_000, 1))
    errors = rng.normal(0, 0.04, (20_000, 1)) + rng.normal(0, 0.05, (3, 20_000, 1))
    nothing, old = np.zeros((20_000, 1)), slice(0, 4000)
    columns = conformal.calibrate(truth[old], (truth + errors[0])[old], nothing[old], LEVEL)
    mean, between = truth + errors.mean(axis=0), errors.var(axis=0)
    plain, less = (conformal.intervals(columns, mean, nothing, averaged) for averaged in (0.0, between))
    held = [((low <= truth) & (truth <= high)).mean() for low, high in (plain, less)]
    assert held[0] > 0.95
    assert held[1] == pytest.approx(LEVEL, abs=0.025)
