"""Scores of classes and of what is not known, by hand and against scikit-learn; schemas of one and of two questions."""

import numpy as np
import pytest
from sklearn import metrics as of_sklearn

from pipeline.core import blend, classes, metrics, stats, tree
from pipeline.core.labels import Schema
from pipeline.core.split import dominant_path, stratified_folds
from pipeline.plans.label_table import LabelTable
from tests.builders.galaxy_zoo_2 import GZ2

RNG = np.random.default_rng(0)


def schema_of(*sizes: int, kind: str = "class") -> Schema:
    """Questions without parents of so many answers."""
    questions = [{"name": f"q{i}", "answers": [f"a{j}" for j in range(n)]} for i, n in enumerate(sizes)]
    return LabelTable.model_validate({"kind": kind, "questions": questions}).schema("made-up")


def labelled(n: int, k: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(classes (n,), one-hot truth, probabilities that know something of it)."""
    true = RNG.integers(k, size=n)
    made = RNG.dirichlet(np.ones(k), n) + 0.4 * np.eye(k)[true]
    return true, np.eye(k)[true], made / made.sum(axis=1, keepdims=True)


def test_scores_of_classes_are_those_of_scikit_learn():
    schema, (true, truth, made) = schema_of(3), labelled(500)
    found, said = classes.summary(schema, truth, made), made.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(of_sklearn.accuracy_score(true, said))
    assert found["balanced_accuracy"] == pytest.approx(of_sklearn.balanced_accuracy_score(true, said))
    assert found["f1"] == pytest.approx(of_sklearn.f1_score(true, said, average="macro"))
    assert found["average_precision"] == pytest.approx(of_sklearn.average_precision_score(truth, made, average="macro"))
    losses = metrics.log_loss_per_galaxy(schema, truth, made)
    assert losses.mean() == pytest.approx(of_sklearn.log_loss(true, made))
    assert metrics.deciding(schema).of(losses) == pytest.approx(of_sklearn.log_loss(true, made))


def test_what_is_not_known_counts_nowhere():
    schema = schema_of(2, 2)
    truth = np.array([[1, 0, np.nan, np.nan], [0, 1, 1, 0]], float)
    made = np.array([[0.5, 0.5, 0.9, 0.1], [0.2, 0.8, 0.4, 0.6]])
    np.testing.assert_allclose(
        metrics.log_loss_per_galaxy(schema, truth, made), [np.log(2), -(np.log(0.8) + np.log(0.4)) / 2]
    )
    np.testing.assert_allclose(
        metrics.squared_error_per_galaxy(truth, made), [0.25, (0.04 + 0.04 + 0.36 + 0.36) / 4]
    )  # fmt: skip
    assert metrics.rmse(truth, made) == pytest.approx(np.sqrt((0.5 + 0.8) / 6))
    assert metrics.mean_answers(truth).tolist() == [0.5, 0.5, 1, 0]
    assert metrics.filled(truth)[0].tolist() == [1, 0, 1, 0]


def test_a_prediction_that_is_no_number_is_never_hidden():
    schema, truth = schema_of(2), np.array([[1, 0], [0, 1], [np.nan, np.nan]])
    made = np.array([[0.5, 0.5], [np.nan, np.nan], [0.5, 0.5]])
    assert np.isnan(metrics.rmse(truth, made))
    assert np.isnan(metrics.log_loss_per_galaxy(schema, truth, made)[1])
    with pytest.raises(ValueError, match="finite"):
        blend.convex_weights(schema, made[None], truth)


def test_unknown_answers_do_not_move_the_weights_of_a_blend():
    schema, truth = schema_of(2, 2), RNG.random((200, 4))
    stack = np.stack([truth + RNG.normal(0, s, truth.shape) for s in (0.1, 0.2)])
    unknown = truth.copy()
    unknown[100:, 2:] = np.nan
    wild = stack.copy()
    wild[1, 100:, 2:] = 50
    np.testing.assert_allclose(
        blend.convex_weights(schema, wild, unknown), blend.convex_weights(schema, stack, unknown)
    )  # fmt: skip


def test_without_rules_of_its_own_a_class_is_the_answer_that_most_gave():
    schema = schema_of(3, kind="fractions")
    truth = np.array([[0.6, 0.3, 0.1], [0.4, 0.35, 0.25], [np.nan] * 3])
    assert classes.true_class(schema, truth).tolist() == [0, -1, -1]
    assert schema.class_names == ("a0", "a1", "a2")


def test_leading_answers_of_schemas_with_few_questions():
    made = np.array([[0.2, 0.5, 0.1, 0.2], [0.4, 0.1, 0.3, 0.2]])
    assert tree.leading_answers(schema_of(4), made).tolist() == [[1, 0, 3], [0, 2, 3]]
    assert tree.leading_answers(schema_of(2, 2), made).tolist() == [[1, 3], [0, 2]]


def test_folds_are_stratified_by_every_question():
    schema = schema_of(2, 2)
    truth = np.concatenate([np.eye(2)[RNG.integers(2, size=400)] for _ in range(2)], axis=1)
    truth[:50, 2:] = np.nan
    paths = dominant_path(schema, truth)
    assert set(paths) == {"1.1", "1.2", "1.1/2.1", "1.1/2.2", "1.2/2.1", "1.2/2.2"}
    folds = stratified_folds(schema, np.arange(400), truth, 5, 0)
    for path in set(paths):
        assert np.ptp(np.bincount(folds[paths == path], minlength=5)) <= 1


def test_an_interval_of_means_is_not_one_of_roots():
    losses = RNG.exponential(1, 400)
    low, high = stats.bootstrap_rmse(losses, 0, finish=lambda mean: mean)
    assert low < losses.mean() < high
    difference, *_ = stats.paired_difference(losses + 0.1, losses, finish=lambda mean: mean)
    assert difference == pytest.approx(0.1)


def test_the_columns_of_a_schema_are_checked():
    with pytest.raises(ValueError, match=r"\(n, 37\); received \(2, 3\)"):
        classes.predicted_class(GZ2, np.zeros((2, 3)))
