"""Nearest neighbours by brute force, ties, and distances that do not count oneself."""

import numpy as np
import pytest

from pipeline.core import neighbours
from pipeline.core.neighbours import Nearest, mean_distance

RNG = np.random.default_rng(5)


@pytest.mark.parametrize("sizes", [(40,), (1, 39), (13, 0, 27)])
def test_the_nearest_of_parts_are_the_nearest_of_all(sizes):
    similarity = RNG.integers(0, 9, (3, 40)).astype(np.float32)  # with ties
    found, start = Nearest(3, 7), 0
    for size in sizes:
        found.add(similarity[:, start : start + size], np.arange(start, start + size))
        start += size
    expected = np.argsort(-similarity, axis=1, kind="stable")[:, :7]
    np.testing.assert_array_equal(found.rows, expected)
    np.testing.assert_array_equal(found.of(1)[1], similarity[1, expected[1]])


def test_what_is_no_candidate_is_not_found_though_there_is_room():
    found = Nearest(1, 5)
    found.add(np.array([[0.5, -np.inf, 0.1]]), np.array([4, 5, 6]))
    assert found.of(0)[0].tolist() == [4, 6]


@pytest.mark.parametrize("block", [1, 50, 1 << 20])
def test_mean_distances_are_those_by_brute_force_and_do_not_count_oneself(monkeypatch, block):
    monkeypatch.setattr(neighbours, "BLOCK", block)
    vectors = RNG.normal(size=(30, 4)).astype(np.float32)
    sampled = np.arange(0, 30, 2)
    own = np.full(30, -1)
    own[sampled] = np.arange(15)
    made = mean_distance(vectors, vectors[sampled], own, 3)
    for i, vector in enumerate(vectors):
        others = np.linalg.norm(vectors[sampled[sampled != i]] - vector, axis=1)
        assert made[i] == pytest.approx(np.sort(others)[:3].mean(), rel=1e-4)


def test_few_are_compared_with_all_and_one_with_none():
    made = mean_distance(np.eye(3), np.eye(3), np.arange(3), 10)
    np.testing.assert_allclose(made, np.sqrt(2), rtol=1e-6)
    with pytest.raises(ValueError, match="another vector to compare with"):
        mean_distance(np.eye(3), np.eye(3)[:1], np.array([0, -1, -1]))
