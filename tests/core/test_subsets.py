"""Nested, stratified subsets."""

import numpy as np
import pytest

from pipeline.core import subsets
from pipeline.core.split import dominant_path
from pipeline.plans.label_table import LabelTable
from tests.builders import stage_outputs
from tests.builders.galaxy_zoo_2 import GZ2

RINGS = LabelTable.model_validate(
    {"kind": "class", "questions": [{"name": "ring", "answers": ["ring", "no ring"]}]}
).schema("rings")


def one_vote(is_ring: np.ndarray) -> np.ndarray:
    return np.stack([is_ring, 1.0 - is_ring], axis=1)


@pytest.mark.parametrize("seed", range(3))
def test_every_beginning_has_its_share_of_every_path_to_within_one_galaxy(seed):
    votes = stage_outputs.votes(400)
    order, path = subsets.nested_order(GZ2, votes, seed), dominant_path(GZ2, votes)
    assert sorted(order) == list(range(400))
    for size in (1, 10, 57, 200, 399):
        for one in np.unique(path):
            expected = size * (path == one).mean()
            # a galaxy more or less by where the path's own begins, and as many as the others are off together
            assert abs((path[order[:size]] == one).sum() - expected) <= 2 + 0.02 * size


def test_a_rare_class_has_its_share_and_is_never_absent():
    votes = one_vote(np.arange(1000) % 20 == 0)
    for seed in range(20):
        order = subsets.nested_order(RINGS, votes, seed)
        assert votes[order[:2]].sum(axis=0).tolist() == [1, 1]
        for size in (40, 100, 500):
            assert abs(votes[order[:size], 0].sum() - size / 20) <= 1.5


def test_subsets_of_other_seeds_are_others_and_of_the_same_seed_the_same():
    votes = stage_outputs.votes(100)
    first, again, other = (subsets.nested_order(GZ2, votes, seed).tolist() for seed in (1, 1, 2))
    assert first == again
    assert set(first[:20]) != set(other[:20])


def test_each_galaxy_is_equally_likely_to_be_among_the_first():
    votes = one_vote(np.arange(40) % 4 == 0)
    first = np.zeros(40)
    for seed in range(400):
        first[subsets.nested_order(RINGS, votes, seed)[:10]] += 1
    for ring in (True, False):
        share = first[(votes[:, 0] == 1) == ring]
        assert share.max() < 1.6 * share.mean()
        assert share.min() > 0.5 * share.mean()


def test_the_classes_that_occur():
    assert subsets.first_classes(RINGS, one_vote(np.zeros(5))).tolist() == [1]
    assert subsets.first_classes(RINGS, one_vote(np.arange(2))).tolist() == [0, 1]
