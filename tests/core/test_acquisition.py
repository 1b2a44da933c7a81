"""BADGE against gradients written out, and what is kept for chance."""

import numpy as np
import pytest

from pipeline.core import acquisition, tree
from pipeline.core.labels import Question, Schema
from tests.builders.galaxy_zoo_2 import GZ2

KIND = Schema("kind", "class", (Question(1, "kind", "kind", ("a", "b"), ("a", "b"), ("x", "y"), ()),))


def some(schema: Schema, n: int, seed: int = 0) -> acquisition.Described:
    rng = np.random.default_rng(seed)
    joint = tree.normalise(schema, rng.uniform(size=(n, len(schema.columns))))
    return acquisition.described(schema, joint, rng.normal(size=(n, 5)))


def written_out(galaxies: acquisition.Described) -> np.ndarray:
    """The outer products (n, c * d)."""
    return np.einsum("nc,nd->ncd", *galaxies).reshape(len(galaxies.answers), -1)


def test_a_galaxy_is_the_gradient_of_the_loss_of_its_leading_answer():
    logits, features, step = np.array([0.3, -0.4]), np.array([[2.0, -1.0, 0.5]]), 1e-6

    def loss(of: np.ndarray) -> float:
        return float(np.log(np.exp(of).sum()) - of.max())

    numeric = [(loss(logits + step * unit) - loss(logits - step * unit)) / (2 * step) for unit in np.eye(2)]
    probable = np.exp(logits) / np.exp(logits).sum()
    made = acquisition.described(KIND, probable[None], features)
    np.testing.assert_allclose(made.answers[0], numeric, atol=1e-8)
    np.testing.assert_allclose(written_out(made)[0], np.outer(numeric, features[0]).ravel(), atol=1e-7)


def test_a_question_counts_as_far_as_it_is_reached():
    joint = tree.normalise(GZ2, np.ones((1, 37)))
    made = acquisition.described(GZ2, joint, np.ones((1, 2))).answers[0]
    reached = tree.reached(GZ2, joint)[0]
    for columns, reach in zip(GZ2.slices, reached, strict=True):
        n = columns.stop - columns.start
        assert np.abs(made[columns]).max() == pytest.approx(reach * (1 - 1 / n))
        assert made[columns].sum() == pytest.approx(0, abs=1e-12)


def test_the_first_are_drawn_by_their_squared_distance_from_what_is_labelled():
    pool, labelled = some(KIND, 6), some(KIND, 3, seed=1)
    far = written_out(pool)[:, None] - written_out(labelled)[None]
    expected = np.minimum((far**2).sum(axis=2).min(axis=1), (written_out(pool) ** 2).sum(axis=1))
    drawn = [acquisition.badge(pool, labelled, 1, np.random.default_rng(i))[0] for i in range(4000)]
    np.testing.assert_allclose(np.bincount(drawn, minlength=6) / 4000, expected / expected.sum(), atol=0.03)


def test_none_is_drawn_twice_nor_what_is_known_or_sure():
    pool = some(GZ2, 40)
    sure = np.zeros((1, 37))
    for columns, parents in tree.in_tree_order(GZ2):
        sure[0, columns.start] = sure[0, parents].sum() if parents else 1
    known = pool.of(np.arange(5))
    pool = acquisition.Described(
        np.concatenate([pool.answers, acquisition.described(GZ2, sure, np.ones((1, 5))).answers]),
        np.concatenate([pool.features, np.ones((1, 5))]),
    )
    drawn = acquisition.badge(pool, known, 100, np.random.default_rng(0))
    assert sorted(drawn) == list(range(5, 40))


def test_copies_are_asked_about_once():
    pool = some(KIND, 4).of(np.array([0, 0, 0, 1, 2, 3]))
    assert len(acquisition.badge(pool, pool.of(np.array([], int)), 6, np.random.default_rng(0))) == 4


def test_without_a_network_features_decide():
    joint = acquisition.unknown(KIND, 3)
    np.testing.assert_allclose(joint, 0.5)
    features = np.array([[1.0, 0], [1, 0], [0, 1]])
    drawn = acquisition.badge(
        acquisition.described(KIND, joint, features), acquisition.described(KIND, joint[:1], features[:1]), 3,
        np.random.default_rng(0),
    )  # fmt: skip
    assert drawn.tolist() == [2]


def test_chance_is_the_same_always_and_even():
    assert acquisition.chance("100008") == pytest.approx(0.8127407884817373)
    assert acquisition.chance(100008) == acquisition.chance("100008")
    drawn = np.array([acquisition.chance(i) for i in range(5000)])
    assert np.histogram(drawn, 5, (0, 1))[0].min() > 900
    assert acquisition.by_chance(["a", "b", "c"]) == acquisition.by_chance(["c", "a", "b"])


def test_every_fifth_comes_by_chance_from_the_start_on():
    chosen, others = [f"c{i}" for i in range(40)], [f"r{i}" for i in range(20)]
    made = acquisition.interleaved(chosen, others)
    assert sorted(made) == sorted(chosen + others)
    assert [one for one in made if one[0] == "c"] == chosen
    assert [one for one in made if one[0] == "r"] == others
    for n in range(5, 51, 5):
        assert sum(one[0] == "r" for one in made[:n]) == n / 5
    assert acquisition.interleaved([], others) == others
    assert acquisition.interleaved(chosen, []) == chosen
