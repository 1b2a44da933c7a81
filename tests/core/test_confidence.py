"""A confidence of 0.8 is right eight times of ten."""

import numpy as np
import pytest

from pipeline.core import confidence


def drawn(n: int, seed: int, power: float) -> tuple[np.ndarray, np.ndarray]:
    """Shares of five classes that are too cautious by `power`, and the classes that are true."""
    rng = np.random.default_rng(seed)
    probability = rng.dirichlet([0.3] * 5, n)
    true = (rng.random((n, 1)) > probability.cumsum(axis=1)).sum(axis=1).clip(0, 4)
    return (probability + 1e-5) ** power, true


@pytest.mark.parametrize("power", [0.4, 1.0, 2.5])
def test_the_temperature_takes_back_what_made_shares_too_cautious_or_too_sure(power):
    of_classes, true = drawn(20_000, 1, power)
    assert confidence.fit_temperature(of_classes, true) == pytest.approx(power, rel=0.05)
    new, truth = drawn(20_000, 2, power)
    right = new.argmax(axis=1) == truth
    made = confidence.confidence(new, confidence.fit_temperature(of_classes, true))
    assert confidence.expected_calibration_error(made, right) < 0.015
    before = confidence.expected_calibration_error(confidence.confidence(new, 1), right)
    assert before > 0.03 or power == 1


def test_galaxies_without_a_clear_class_do_not_count_and_from_few_nothing_is_known():
    of_classes, true = drawn(3000, 1, 0.5)
    clear = np.where(np.arange(3000) % 2, true, -1)
    assert confidence.fit_temperature(of_classes, clear) == confidence.fit_temperature(of_classes[1::2], true[1::2])
    few = np.where(np.arange(3000) < confidence.FEWEST - 1, true, -1)
    nothing = confidence.fit_temperature(of_classes, few)
    assert np.isnan(nothing)
    assert np.isnan(confidence.confidence(of_classes[:2], nothing)).all()


def test_of_temperature_one_it_is_the_plain_share_whatever_the_sum():
    of_classes = np.array([[0.2, 0.1, 0.1, 0.0, 0.0], [0, 0, 0, 0, 0]])
    np.testing.assert_allclose(confidence.confidence(of_classes, 1), [0.5, 0.2], atol=1e-4)


def test_held_out_confidence_knows_nothing_of_its_own_fold():
    of_classes, true = drawn(900, 3, 0.5)
    fold = np.arange(900) % 3
    before = confidence.held_out_confidence(of_classes, true, fold)
    true[fold == 0] = (true[fold == 0] + 1) % 5
    after = confidence.held_out_confidence(of_classes, true, fold)
    assert (before[fold == 0] == after[fold == 0]).all()
    assert (before[fold == 1] != after[fold == 1]).any()


def test_the_calibration_error_of_hand_made_bins():
    made, right = np.array([0.95, 0.95, 0.55, 0.55]), np.array([True, True, True, False])
    assert confidence.expected_calibration_error(made, right) == pytest.approx(0.05)
    assert np.isnan(confidence.expected_calibration_error(np.empty(0), np.empty(0, bool)))
