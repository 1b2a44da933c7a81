"""The head: its answers obey the tree, and before any training they are the mean or the ridge solution."""

import keras
import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV

from pipeline.core import tree
from pipeline.nn.head import (
    HALF_A_VOTE,
    MIN_DEVIATION,
    DecisionTree,
    Standardise,
    build_head,
    start_at_mean,
    start_at_regression,
)
from pipeline.plans.label_table import LabelTable
from pipeline.plans.run import Run
from tests.builders.galaxy_zoo_2 import CANDELS, GZ2

RNG = np.random.default_rng(0)
N, D = 400, 6
FEATURES = (RNG.normal(0, 1, (N, D)) * [1, 10, 0.1, 1, 1, 5] + [0, 100, 0, 1, -2, 3]).astype(np.float32)
SHARES = np.exp(0.5 * (FEATURES - FEATURES.mean(0)) / FEATURES.std(0) @ RNG.normal(0, 0.6, (D, 37)))
LABELS = tree.normalise(GZ2, SHARES).astype(np.float32)


def head_of(kind: str, **more) -> keras.Model:
    run = Run(name="x", backbone="vgg16", crop="c", head=kind, head_phase={"epochs": 1}, **more)
    keras.utils.set_random_seed(0)
    return build_head(run, GZ2, D)


def answers(head: keras.Model) -> np.ndarray:
    return np.asarray(head(FEATURES))


@pytest.mark.parametrize("schema", [GZ2, CANDELS], ids=["one parent", "several"])
def test_the_tree_layer_is_normalise_of_the_exponentials(schema):
    logits = RNG.normal(0, 2, (50, len(schema.columns))).astype(np.float32)
    np.testing.assert_allclose(DecisionTree(schema)(logits), tree.normalise(schema, np.exp(logits)), atol=1e-6)


@pytest.mark.parametrize("schema", [GZ2, CANDELS], ids=["one parent", "several"])
def test_every_sum_of_the_tree_holds_for_any_logits(schema):
    logits = RNG.normal(0, 30, (200, len(schema.columns))).astype(np.float32)
    made = np.asarray(DecisionTree(schema)(logits))
    assert tree.violations(schema, made).max() < 1e-5
    assert made.min() >= 0
    assert made.max() <= 1


def test_the_tree_layer_has_a_gradient_for_every_logit():
    tf = pytest.importorskip("tensorflow")
    logits = tf.Variable(RNG.normal(0, 1, (3, 37)).astype(np.float32))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(DecisionTree(GZ2)(logits) ** 2)
    assert (np.abs(tape.gradient(loss, logits)) > 0).all()


@pytest.mark.parametrize("kind", ["sigmoid", "tree"])
@pytest.mark.parametrize("hidden", [0, 8])
def test_the_head_answers_37_fractions_in_float32(kind, hidden):
    head = head_of(kind, hidden=hidden)
    made = answers(head)
    assert made.shape == (N, 37)
    assert made.dtype == np.float32
    assert made.min() >= 0
    assert made.max() <= 1


@pytest.mark.parametrize("kind", ["sigmoid", "tree"])
def test_without_features_the_first_answer_is_the_mean(kind):
    head = head_of(kind)
    mean = LABELS.mean(axis=0)
    start_at_mean(head, mean)
    made = np.asarray(head(np.zeros((1, D), np.float32)))[0]
    common = tree.to_conditional(GZ2, mean[None])[0] > 2 * HALF_A_VOTE
    expected = mean if kind == "sigmoid" else tree.normalise(GZ2, tree.to_conditional(GZ2, mean[None]))[0]
    np.testing.assert_allclose(made[common], expected[common], atol=0.01)


@pytest.mark.parametrize("kind", ["sigmoid", "tree"])
def test_the_first_answers_are_the_ridge_solution(kind):
    head = head_of(kind)
    *_, penalty = start_at_regression(head, FEATURES, LABELS)
    standard = (FEATURES - FEATURES.mean(0)) / FEATURES.std(0)
    if kind == "tree":
        logits = np.log(np.maximum(tree.to_conditional(GZ2, LABELS), HALF_A_VOTE))
    else:
        inside = LABELS.clip(HALF_A_VOTE, 1 - HALF_A_VOTE)
        logits = np.log(inside / (1 - inside))
    ridge = RidgeCV(np.logspace(0, 6, 13)).fit(standard, logits)
    assert penalty == ridge.alpha_
    said = ridge.predict(standard)
    expected = tree.normalise(GZ2, np.exp(said)) if kind == "tree" else 1 / (1 + np.exp(-said))
    np.testing.assert_allclose(answers(head), expected, atol=0.01)


def test_of_many_galaxies_some_choose_the_penalty_and_all_are_fitted(monkeypatch):
    monkeypatch.setattr("pipeline.nn.head.RIDGE_SAMPLE", N // 2)
    head = head_of("sigmoid")
    *_, penalty = start_at_regression(head, FEATURES, LABELS)
    inside = LABELS.clip(HALF_A_VOTE, 1 - HALF_A_VOTE)
    ridge = Ridge(penalty).fit((FEATURES - FEATURES.mean(0)) / FEATURES.std(0), np.log(inside / (1 - inside)))
    np.testing.assert_allclose(head.get_layer("answers").kernel, ridge.coef_.T, atol=1e-3)
    assert penalty in np.logspace(0, 6, 13)


@pytest.mark.parametrize("kind", ["sigmoid", "tree"])
def test_ridge_is_a_better_start_than_the_mean(kind):
    head = head_of(kind)
    start_at_mean(head, LABELS.mean(axis=0))
    start_at_regression(head, FEATURES, LABELS)
    residual = np.square(answers(head) - LABELS).mean()
    assert residual < 0.3 * LABELS.var(axis=0).mean()


def test_with_a_hidden_layer_the_biases_are_set_and_features_standardised():
    head = head_of("sigmoid", hidden=8)
    assert start_at_regression(head, FEATURES, LABELS) is None
    head.get_layer("answers").kernel.assign(np.zeros((8, 37)))
    np.testing.assert_allclose(answers(head)[0], LABELS.mean(axis=0), atol=0.01)
    np.testing.assert_allclose(head.get_layer("standardise").mean, FEATURES.mean(axis=0), rtol=1e-5)


def test_standardise_gives_mean_0_and_deviation_1_but_does_not_blow_up_what_hardly_varies():
    layer = Standardise()
    layer.build((None, D))
    features = FEATURES.copy()
    features[:, 0] = 7
    layer.fit(features)  # deviations 0, 10, 0.1, 1, 1, 5
    made = np.asarray(layer(features))
    np.testing.assert_allclose(made, layer.transform(features), atol=1e-4)
    np.testing.assert_allclose(made.mean(axis=0), 0, atol=1e-3)
    spread = features.std(axis=0)
    expected = np.minimum(1, spread / (MIN_DEVIATION * spread.max()))
    np.testing.assert_allclose(made.std(axis=0), expected, rtol=0.02)
    assert (made[:, 0] == 0).all()


def test_standardisation_is_kept_with_the_weights(tmp_path):
    head, again = head_of("tree"), head_of("tree")
    start_at_regression(head, FEATURES, LABELS)
    head.save_weights(tmp_path / "x.weights.h5")
    again.load_weights(tmp_path / "x.weights.h5")
    np.testing.assert_array_equal(answers(again), answers(head))


def test_a_head_of_classes_starts_at_their_logistic_regression():
    """It says what it knows: where it is sure, it is right about as often as it says."""
    schema = LabelTable.model_validate(
        {"kind": "class", "questions": [{"name": "kind", "answers": ["a", "b"]}]}
    ).schema("x")  # fmt: skip
    features = RNG.normal(0, 1, (4000, 3)).astype(np.float32)
    chance = 1 / (1 + np.exp(-1.5 * features[:, 0]))
    is_a = RNG.random(4000) < chance
    head = build_head(Run(name="x", backbone="vgg16", crop="c", head="tree", head_phase={"epochs": 1}), schema, 3)
    start_at_regression(head, features, np.stack([is_a, ~is_a], axis=1).astype(np.float32))
    said = np.asarray(head(features))[:, 0]
    np.testing.assert_allclose(said, chance, atol=0.05)
    sure = said > 0.85
    assert sure.sum() > 150
    assert is_a[sure].mean() == pytest.approx(said[sure].mean(), abs=0.04)
