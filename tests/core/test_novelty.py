"""What is unlike the galaxies trained on, where that is known."""

import numpy as np

from pipeline.core import novelty


def at(*places: float) -> np.ndarray:
    return np.array([[place, 0.0] for place in places])


def test_the_nearest_is_meant():
    np.testing.assert_allclose(novelty.nearest(np.array([[3.0, 4.0], [9.0, 1.0]]), at(0, 9)), [5, 1])


def test_one_held_out_galaxy_in_a_hundred_may_be_farther():
    away = np.arange(1, 201, dtype=float)  # from the one that was trained on
    largest = novelty.largest_distance(at(0, *away), np.arange(201) > 0)
    assert 1 <= (novelty.nearest(at(*away), at(0)) > largest).sum() <= 2


def test_held_out_galaxies_are_not_compared_with_themselves():
    held_out = np.array([False, False, True, True])
    assert novelty.largest_distance(at(0, 1, 30, 60), held_out) == 59


def test_where_none_or_all_are_held_out_nothing_is_unlike_them():
    for held_out in (np.zeros(2, bool), np.ones(2, bool)):
        assert novelty.largest_distance(at(0, 90), held_out) == np.inf
