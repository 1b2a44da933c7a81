"""Bootstrap intervals against the theory of means."""

import numpy as np
import pytest

from pipeline.core import stats


def test_interval_has_the_width_that_theory_gives():
    errors = np.random.default_rng(0).exponential(0.01, 4000)  # mean 0.01, sd 0.01: the RMSE is 0.1
    low, high = stats.bootstrap_rmse(errors, seed=1, n_resamples=2000)
    # sd of the mean 0.01 / sqrt(4000), of its root that / (2 * 0.1); 1.96 of them either side
    assert (high - low) / 2 == pytest.approx(1.96 * 0.01 / 4000**0.5 / 0.2, rel=0.1)
    assert low < errors.mean() ** 0.5 < high


def test_intervals_cover_the_true_value_about_as_often_as_they_say():
    rng = np.random.default_rng(2)
    intervals = [stats.bootstrap_rmse(rng.exponential(1, 200), seed=i, n_resamples=200, level=0.8) for i in range(200)]
    covered = np.mean([low < 1 < high for low, high in intervals])
    assert 0.7 < covered < 0.88


def test_same_seed_same_interval():
    errors = np.random.default_rng(0).random(100)
    assert stats.bootstrap_rmse(errors, seed=3) == stats.bootstrap_rmse(errors, seed=3)
    assert stats.bootstrap_rmse(errors, seed=3) != stats.bootstrap_rmse(errors, seed=4)


def test_pairing_finds_a_difference_that_is_small_beside_the_spread():
    errors = np.random.default_rng(0).exponential(0.01, 2000)
    difference, low, high = stats.paired_difference(errors * 0.98, errors)
    assert difference == pytest.approx((0.98**0.5 - 1) * errors.mean() ** 0.5)
    assert low < difference < high < 0
    alone = stats.bootstrap_rmse(errors, seed=0)
    assert high - low < 0.05 * (alone[1] - alone[0])


def test_swapped_models_swap_the_sign():
    a, b = np.random.default_rng(0).random((2, 500))
    assert stats.paired_difference(a, b) == pytest.approx([-stats.paired_difference(b, a)[i] for i in (0, 2, 1)])


def test_the_best_of_equals_owes_its_lead_to_luck():
    rng = np.random.default_rng(4)
    errors = 0.01 + rng.normal(0, 0.002, (20, 500))  # twenty models that are equally good
    roots = np.sqrt(errors.mean(axis=1))
    lead = roots[0] - roots.min()
    assert lead > 0
    # chosen among equals, a model leads by chance: sd of a mean 0.002 / sqrt(500), of its root that / 0.2; the least
    # of twenty lies 1.87 of them below the middle. The galaxies not drawn err the other way, so it is overestimated
    theory = 1.87 * 0.002 / 500**0.5 / 0.2
    assert theory < stats.selection_bias(errors, reference=0) < 2.2 * theory


def test_a_lead_that_is_real_is_no_luck():
    errors = np.random.default_rng(4).exponential(0.01, 500) * np.array([[1.0], [0.8], [1.2]])
    roots = np.sqrt(errors.mean(axis=1))
    assert abs(stats.selection_bias(errors, reference=0)) < 0.05 * (roots[0] - roots[1])


def test_where_there_is_nothing_to_choose_there_is_no_luck():
    errors = np.random.default_rng(4).random((1, 50))
    assert stats.selection_bias(errors, reference=0) == 0
    with pytest.raises(ValueError, match=r"received shape \(50,\)"):
        stats.selection_bias(errors[0], reference=0)


def test_verdict_of_known_cases():
    rng = np.random.default_rng(5)
    a = 0.01 + rng.exponential(0.01, 1000)
    noise = rng.normal(0, 0.001, 1000)
    assert stats.verdict(*stats.paired_difference(a, a + 0.001)[1:]) == "better"
    assert stats.verdict(*stats.paired_difference(a + 0.001, a)[1:]) == "worse"
    assert stats.verdict(*stats.paired_difference(a, a + noise - noise.mean())[1:]) == "cannot tell"
    assert stats.verdict(*stats.paired_difference(a, a)[1:]) == "the same"
    assert stats.verdict(*stats.paired_difference(a * (1 + 1e-7), a)[1:]) == "the same"  # but for rounding
    assert stats.verdict(*stats.paired_difference(a * (1 + 1e-3), a)[1:]) == "worse"


def test_impossible_arguments_are_refused():
    with pytest.raises(ValueError, match=r"same galaxies.*received \(2,\) and \(3,\)"):
        stats.paired_difference(np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match=r"received shape \(0,\)"):
        stats.bootstrap_rmse(np.ones(0), seed=0)
    with pytest.raises(ValueError, match="received 95"):
        stats.bootstrap_rmse(np.ones(3), seed=0, level=95)


@pytest.mark.parametrize(("mean", "deviation"), [(0.5, 0.01), (0.9, 0.1), (0.02, 0.02)])
def test_the_interval_of_a_share_holds_so_many_values_of_these_moments(mean, deviation):
    low, high = stats.share_interval(np.array(mean), np.array(deviation))
    size = mean * (1 - mean) / deviation**2 - 1
    values = np.random.default_rng(0).beta(mean * size, (1 - mean) * size, 100_000)
    assert ((low <= values) & (values <= high)).mean() == pytest.approx(0.9, abs=0.01)


def test_the_interval_of_a_share_stays_between_0_and_1_and_holds_the_mean():
    mean, deviation = (grid.ravel() for grid in np.meshgrid(np.linspace(0, 1, 41), [0, 1e-9, 0.01, 0.16, 0.5, 2]))
    low, high = stats.share_interval(mean, deviation)
    assert (low >= 0).all()
    assert (low <= mean).all()
    assert (mean <= high).all()
    assert (high <= 1).all()
    exact = deviation == 0
    np.testing.assert_array_equal(low[exact], high[exact])
