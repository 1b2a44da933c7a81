"""The logistic regression that a head of classes starts at: known answers, and what is not known left out."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from pipeline.core.labels import Schema
from pipeline.nn import class_start
from pipeline.plans.label_table import LabelTable

RNG = np.random.default_rng(0)
N, D = 300, 4
FEATURES = RNG.normal(0, 1, (N, D))
TRUE = 1.5 * RNG.normal(0, 1, (D, 3))
ANSWERS = np.array([RNG.choice(3, p=p) for p in np.exp(log_softmax(FEATURES @ TRUE, axis=1))])
LABELS = np.eye(3)[ANSWERS]


def schema(*answers: int, balanced: bool = False) -> Schema:
    """Questions with so many answers, all of them put to everyone."""
    questions = [{"name": f"q{i}", "answers": tuple("abcdefgh"[:n])} for i, n in enumerate(answers)]
    weights = {"class_weights": "balanced"} if balanced else {}
    return LabelTable.model_validate({"kind": "class", "questions": tuple(questions)} | weights).schema("x")


def loss(kernel: np.ndarray, bias: np.ndarray, features: np.ndarray, labels: np.ndarray) -> float:
    return float(-(log_softmax(features @ kernel + bias, axis=1) * labels).sum(axis=1).mean())


def test_it_is_the_solution_at_the_chosen_penalty():
    kernel, bias, penalty = class_start.solve(schema(3), FEATURES, LABELS)
    assert penalty in class_start.PENALTIES
    direct = LogisticRegression(C=1 / penalty, max_iter=500).fit(FEATURES, ANSWERS)
    np.testing.assert_allclose(kernel.T, direct.coef_, atol=0.02)
    np.testing.assert_allclose(bias, direct.intercept_, atol=0.02)


def test_the_more_noise_the_larger_the_penalty():
    _, _, clear = class_start.solve(schema(3), FEATURES, LABELS)
    _, _, noise = class_start.solve(schema(3), FEATURES, np.eye(3)[RNG.permutation(ANSWERS)])
    assert clear < noise


def test_of_more_features_than_galaxies_it_is_the_same_solution_as_in_all_of_them():
    wide = RNG.normal(0, 1, (40, 100))
    answers = (wide[:, 0] + RNG.normal(0, 1, 40) > 0).astype(int) + (wide[:, 1] > 1)
    kernel, _, penalty = class_start.solve(schema(3), wide, np.eye(3)[answers])
    direct = LogisticRegression(C=1 / penalty, max_iter=500).fit(wide, answers)
    np.testing.assert_allclose(kernel.T, direct.coef_, atol=0.02)


@pytest.mark.parametrize("n", [2, 3])
def test_it_fits_better_than_the_shares_of_the_classes(n):
    labels = np.eye(n)[np.minimum(ANSWERS, n - 1)]
    kernel, bias, _ = class_start.solve(schema(n), FEATURES[:200], labels[:200])
    shares = np.log(labels[:200].mean(axis=0))
    assert loss(kernel, bias, FEATURES[200:], labels[200:]) < 0.8 * loss(
        0 * kernel, shares, FEATURES[200:], labels[200:]
    )


def test_unknown_answers_are_left_out():
    labels = np.concatenate([LABELS, LABELS[:, ::-1]], axis=1)
    labels[:150, 3:] = np.nan
    labels[150:200, 3:] = 0  # nobody was asked
    kernel, _, penalty = class_start.solve(schema(3, 3), FEATURES, labels)
    direct = LogisticRegression(C=1 / penalty, max_iter=500).fit(FEATURES[200:], 2 - ANSWERS[200:])
    np.testing.assert_allclose(kernel[:, 3:].T, direct.coef_, atol=0.02)


def test_an_answer_that_nobody_gave_is_hardly_expected():
    labels = np.zeros((N, 4))
    labels[:, [0, 1, 3]] = LABELS
    kernel, bias, _ = class_start.solve(schema(4), FEATURES, labels)
    said = np.exp(log_softmax(FEATURES @ kernel + bias, axis=1))
    assert said[:, 2].max() < 0.01
    one = class_start.solve(schema(3), FEATURES, np.tile([0.0, 1.0, 0.0], (N, 1)))
    assert np.exp(log_softmax(one[1]))[1] > 0.99


def test_balanced_classes_are_expected_equally_often():
    rare = np.where(RNG.random(N) < 0.1, 1, 0)
    shares = [
        np.exp(log_softmax(FEATURES @ kernel + bias, axis=1))[:, 1].mean()
        for kernel, bias, _ in (
            class_start.solve(schema(2, balanced=balanced), FEATURES, np.eye(2)[rare]) for balanced in (False, True)
        )
    ]
    np.testing.assert_allclose(shares, [rare.mean(), 0.5], atol=0.05)
