"""Features on a common scale: moments part by part, directions, principal components."""

import numpy as np
import pytest

from pipeline.core.projection import MIN_WIDTH, Moments, Projection, directions

RNG = np.random.default_rng(2)


@pytest.mark.parametrize("sizes", [(50,), (1, 49), (20, 0, 30)])
def test_moments_of_parts_are_those_of_the_whole(sizes):
    features = (1e4 + RNG.normal(0, [0.1, 3, 0], (50, 3))).astype(np.float32)
    moments = Moments()
    for part in np.split(features, np.cumsum(sizes)[:-1]):
        moments.add(part)
    centre, width = moments.scale()
    np.testing.assert_allclose(centre, features.mean(axis=0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(width, [*features.astype(np.float64).std(axis=0)[:2], MIN_WIDTH], rtol=1e-5)


def test_moments_of_nothing_are_refused():
    with pytest.raises(ValueError, match="one galaxy at least"):
        Moments().scale()


def test_directions_have_length_1_and_nothing_stays_nothing():
    made = directions(np.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(made, [[0.6, 0.8], [0, 0]])


def test_a_projection_standardises_and_turns():
    made = Projection(np.float32([1, 2]), np.float32([2, 4]), np.float32([[0, 1]]), np.float32([1]))
    np.testing.assert_allclose(made(np.array([[5.0, 10.0]])), [[2.0]])
