"""Blend weights against known answers, and cross-fitting against leaks."""

import numpy as np
import pytest
from scipy.optimize import minimize

from pipeline.core import blend
from pipeline.core.metrics import rmse
from tests.builders.galaxy_zoo_2 import GZ2


def noisy(noise: list[float], n: int = 3000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(stack, truth): unbiased models whose errors are independent, of these standard deviations."""
    rng = np.random.default_rng(seed)
    truth = rng.random((n, 37))
    return np.stack([truth + rng.normal(0, sigma, truth.shape) for sigma in noise]), truth


def five_folds(n: int) -> np.ndarray:
    return np.arange(n) % 5


def test_noise_of_one_and_two_gets_weights_of_four_and_one():
    stack, truth = noisy([0.1, 0.2])
    assert blend.convex_weights(GZ2, stack, truth).tolist() == pytest.approx([0.8, 0.2], abs=0.005)


def test_weights_are_exact_for_errors_of_known_products():
    errors = np.zeros((3, 3, 37))
    errors[0, 0], errors[1, 1], errors[2, 2] = 1, 2, 4  # inverse variances 1 : 1/4 : 1/16
    assert blend.convex_weights(GZ2, errors, np.zeros((3, 37))).tolist() == pytest.approx([16 / 21, 4 / 21, 1 / 21])


def test_a_perfect_model_gets_all_the_weight():
    stack, truth = noisy([0.1, 0.0, 0.2])
    assert blend.convex_weights(GZ2, stack, truth).tolist() == pytest.approx([0, 1, 0], abs=1e-8)


def test_a_harmful_model_gets_nothing():
    stack, truth = noisy([0.1, 0.1])
    worse = truth + 2 * (stack[0] - truth)  # same errors, doubled: least squares would want a negative weight
    weights = blend.convex_weights(GZ2, np.stack([stack[0], worse, stack[1]]), truth)
    assert weights.tolist() == pytest.approx([0.5, 0, 0.5], abs=0.01)
    assert weights[1] == 0


def test_identical_models_share_and_one_model_has_all():
    stack, truth = noisy([0.1])
    assert blend.convex_weights(GZ2, stack, truth).tolist() == [1.0]
    triple = np.concatenate([stack, stack, stack])
    assert blend.convex_weights(GZ2, triple, truth).tolist() == pytest.approx([1 / 3] * 3, abs=1e-4)
    perfect = np.stack([truth, truth])
    assert blend.convex_weights(GZ2, perfect, truth).tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("seed", range(5))
def test_no_other_weights_do_better(seed):
    rng = np.random.default_rng(seed)
    truth = rng.random((400, 37))
    shared = rng.normal(0, 0.1, truth.shape)
    stack = np.stack([truth + shared + rng.normal(0.01 * i, 0.02 * (i + 1), truth.shape) for i in range(6)])
    weights = blend.convex_weights(GZ2, stack, truth)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1, abs=1e-12)

    errors = (stack - truth).reshape(6, -1)
    products = errors @ errors.T / errors.shape[1]
    gradient = 2 * products @ weights  # optimal: equal where the weight is positive, not smaller elsewhere
    np.testing.assert_allclose(gradient[weights > 0], gradient.min(), rtol=1e-7)
    other = minimize(
        lambda w: w @ products @ w * 1e4,
        np.full(6, 1 / 6),
        bounds=[(0, 1)] * 6,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14},
    )
    np.testing.assert_allclose(weights, other.x, atol=1e-4)
    assert weights @ products @ weights <= other.fun / 1e4 + 1e-12


def test_weights_per_question_follow_each_questions_errors():
    rng = np.random.default_rng(0)
    truth = rng.random((2000, 37))
    sigma = np.full((2, 37), 0.1)
    sigma[1, GZ2.slices[2]] = 0.2
    sigma[0, GZ2.slices[7]] = 0.2
    weights = blend.convex_weights_per_question(
        GZ2, truth + rng.normal(0, 1, (2, *truth.shape)) * sigma[:, None], truth
    )
    assert weights.shape == (2, 11)
    expected = np.full(11, 0.5)
    expected[2], expected[7] = 0.8, 0.2
    np.testing.assert_allclose(weights[0], expected, atol=0.02)
    np.testing.assert_allclose(weights.sum(axis=0), 1)


def test_chunks_do_not_change_the_weights(monkeypatch):
    stack, truth = noisy([0.1, 0.15, 0.2], n=100)
    whole = blend.convex_weights(GZ2, stack, truth)
    monkeypatch.setattr(blend, "CHUNK", 7)
    np.testing.assert_allclose(blend.convex_weights(GZ2, stack, truth), whole, rtol=1e-9)


def test_mix_by_hand_for_both_shapes_of_weights():
    stack = np.stack([np.zeros((2, 37)), np.ones((2, 37))]).astype(np.float32)
    mixed = blend.mix(GZ2, stack, np.array([0.25, 0.75]))
    assert mixed.dtype == np.float32
    assert (mixed == 0.75).all()
    second = np.arange(11) / 10
    per_question = blend.mix(GZ2, stack, np.stack([1 - second, second]))
    assert per_question[1, [0, 2, 3, 5, 36]].tolist() == pytest.approx([0, 0, 0.1, 0.2, 1.0])
    np.testing.assert_array_equal(blend.mix(GZ2, stack, blend.mean_weights(2)), np.full((2, 37), 0.5))


def test_cross_fitting_never_sees_its_own_fold():
    stack, truth = noisy([0.1, 0.12, 0.2], n=100)
    folds = five_folds(100)
    honest = blend.cross_fitted(GZ2, stack, truth, folds, blend.convex_weights_per_question)
    leaked = truth.copy()
    leaked[folds == 2] = stack[2, folds == 2]  # the worst model, made perfect on one fold
    after = blend.cross_fitted(GZ2, stack, leaked, folds, blend.convex_weights_per_question)
    np.testing.assert_array_equal(after[folds == 2], honest[folds == 2])
    assert (after[folds != 2] != honest[folds != 2]).any()


def test_cross_fitting_mixes_each_fold_by_the_others_weights():
    stack, truth = noisy([0.1, 0.2], n=60)
    folds = five_folds(60)
    weights = blend.convex_weights(GZ2, stack[:, folds != 3], truth[folds != 3])
    blended = blend.cross_fitted(GZ2, stack, truth, folds, blend.convex_weights)
    np.testing.assert_allclose(blended[folds == 3], np.tensordot(weights, stack[:, folds == 3], 1))


def test_best_method_is_the_mean_of_equals():
    stack, truth = noisy([0.1, 0.1, 0.1], n=300)
    name, scores = blend.best_method(GZ2, stack, truth, five_folds(300))
    assert name == "mean"
    assert list(scores) == ["mean", "convex", "per-question"]
    assert scores["mean"] == pytest.approx(rmse(truth, stack.mean(axis=0)))


def test_best_method_stays_with_the_mean_where_a_fit_wins_by_no_more_than_chance():
    stack, truth = noisy([0.1, 0.103], n=200)
    name, scores = blend.best_method(GZ2, stack, truth, five_folds(200))
    assert scores["convex"] < scores["mean"]
    assert name == "mean"


def test_best_method_is_convex_where_models_differ():
    stack, truth = noisy([0.1, 0.3], n=1000)
    name, scores = blend.best_method(GZ2, stack, truth, five_folds(1000))
    assert name == "convex"
    assert scores["convex"] == pytest.approx(0.1 * 0.9**0.5, rel=0.01)  # 1 / (1 / 0.1^2 + 1 / 0.3^2)
    assert scores["mean"] == pytest.approx(0.1 * 2.5**0.5, rel=0.01)


def test_best_method_is_per_question_where_models_differ_by_question():
    rng = np.random.default_rng(0)
    truth = rng.random((1000, 37))
    sigma = np.full((2, 37), 0.1)
    sigma[0, :15], sigma[1, 15:] = 0.3, 0.3
    stack = truth + rng.normal(0, 1, (2, *truth.shape)) * sigma[:, None]
    assert blend.best_method(GZ2, stack, truth, five_folds(1000))[0] == "per-question"


def test_best_method_of_one_model_is_the_mean():
    stack, truth = noisy([0.1], n=50)
    name, scores = blend.best_method(GZ2, stack, truth, five_folds(50))
    assert name == "mean"
    assert list(scores.values()) == pytest.approx([rmse(truth, stack[0])] * 3)


def test_methods_give_weights_that_mix_takes():
    stack, truth = noisy([0.1, 0.2], n=50)
    for fit in blend.METHODS.values():
        assert blend.mix(GZ2, stack, fit(GZ2, stack, truth)).shape == (50, 37)


def test_impossible_arguments_are_refused():
    stack, truth = noisy([0.1, 0.2], n=10)
    with pytest.raises(ValueError, match=r"received \(2, 9, 37\) and \(10, 37\)"):
        blend.convex_weights(GZ2, stack[:, :9], truth)
    with pytest.raises(ValueError, match="at least 2 folds over 10 rows; received 1"):
        blend.cross_fitted(GZ2, stack, truth, np.zeros(10), blend.convex_weights)
    with pytest.raises(ValueError, match=r"\(2,\) or \(2, 11\); received \(3,\)"):
        blend.mix(GZ2, stack, np.ones(3))
    with pytest.raises(ValueError, match="at least one model; received 0"):
        blend.mean_weights(0)
    stack[1, 4, 4] = np.nan
    with pytest.raises(ValueError, match="finite"):
        blend.convex_weights(GZ2, stack, truth)
