"""Test-time views folded into batches: the mean over views of separate predictions."""

import numpy as np
import pytest

from pipeline.core import views
from pipeline.nn.network import answers_and_features
from pipeline.nn.predict import predict_head, predict_over_views, predict_views


@pytest.mark.parametrize("n", [1, 5, 8])  # four images with eight views fill a batch of 32
def test_views_in_one_pass_are_the_mean_of_separate_predictions(tiny, n):
    seen = views.view_set("dihedral8")
    images = tiny.images[:n] + np.random.default_rng(0).integers(0, 50, (n, 40, 40, 3), np.uint8) * (
        tiny.images[:n] < 200
    )
    told = []
    at_once = predict_views(tiny.network.features, images, seen, 32, told.append)
    separate = [predict_views(tiny.network.features, images, view[None], 32) for view in seen]
    assert at_once.shape == (n, 1280)
    assert at_once.dtype == np.float32
    np.testing.assert_allclose(at_once, np.mean(separate, axis=0), atol=1e-5)
    assert np.ptp(separate, axis=0).max() > 0.01  # views do differ
    assert sum(told) == n


def test_the_mean_over_dihedral_views_does_not_depend_on_how_the_galaxy_lies(tiny):
    seen = views.view_set("dihedral8")
    upright = predict_views(
        tiny.network.features, np.tri(40, dtype=np.uint8)[None, ..., None] * [[200, 90, 9]], seen, 8
    )
    turned = np.rot90(np.tri(40, dtype=np.uint8))[None, ..., None] * [[200, 90, 9]]
    np.testing.assert_allclose(predict_views(tiny.network.features, turned, seen, 8), upright, rtol=1e-3, atol=1e-4)


def test_the_head_on_features_is_the_whole_network(tiny):
    single = views.view_set("single")
    features = predict_views(tiny.network.features, tiny.images[:5], single, 4)
    whole = predict_views(tiny.network.model, tiny.images[:5], single, 4)
    np.testing.assert_allclose(predict_head(tiny.network.head, features), whole, atol=1e-5)


def test_answers_and_features_of_one_forward_pass_are_those_of_two(tiny):
    folded, seen = tiny.network.for_prediction(), views.view_set("flips4")
    both = predict_over_views(answers_and_features(folded), tiny.images[:5], seen, 16, lambda n: None)
    answers = predict_over_views(folded.model, tiny.images[:5], seen, 16, lambda n: None)
    np.testing.assert_array_equal(both.mean[:, :37], answers.mean)
    np.testing.assert_array_equal(both.square[:, :37], answers.square)
    upright = predict_views(folded.features, tiny.images[:5], views.view_set("single"), 16)
    np.testing.assert_allclose(both.first[:, 37:], upright, rtol=1e-4, atol=1e-5)
