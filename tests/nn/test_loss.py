"""The likelihood of the votes: by hand, against scipy's multinomial, and smallest at the truth."""

import keras
import numpy as np
import pytest
from scipy.stats import multinomial

from pipeline.core import tree
from pipeline.core.labels import Schema
from pipeline.nn import loss
from tests.builders.galaxy_zoo_2 import CANDELS, GZ2

RNG = np.random.default_rng(0)


def fractions(n: int, schema: Schema = GZ2) -> np.ndarray:
    return tree.normalise(schema, RNG.random((n, len(schema.columns))))


def of(truth: np.ndarray, said: np.ndarray, schema: Schema = GZ2) -> np.ndarray:
    return keras.ops.convert_to_numpy(loss.multinomial_votes(schema, truth.astype(np.float32), said.astype(np.float32)))


@pytest.mark.parametrize("schema", [GZ2, CANDELS], ids=["one parent", "several"])
def test_it_is_the_likelihood_of_the_counts_but_for_what_no_prediction_changes(schema):
    """Two predictions for the same votes differ by the difference of their log-likelihoods."""
    c = len(schema.columns)
    said, counts = fractions(2, schema), np.zeros(c)
    for columns, parents in tree.in_tree_order(schema):
        shares = RNG.dirichlet(np.ones(columns.stop - columns.start))
        counts[columns] = RNG.multinomial(int(counts[parents].sum()) if parents else 40, shares)
    log_likelihood = []
    for one in tree.to_conditional(schema, said):
        parts = [
            multinomial.logpmf(counts[columns], int(counts[columns].sum()), one[columns] / one[columns].sum())
            for columns in schema.slices
        ]
        log_likelihood.append(sum(parts))
    made = of(np.tile(counts / 40, (2, 1)), said, schema)
    np.testing.assert_allclose((made[0] - made[1]) * c * 40, log_likelihood[1] - log_likelihood[0], rtol=1e-3)


def test_smallest_at_the_truth():
    truth = fractions(20)
    exact = of(truth, truth)
    for other in (fractions(20), tree.normalise(GZ2, truth + 0.05 * RNG.random(truth.shape))):
        assert (of(truth, other) > exact).all()


def test_questions_that_nobody_reached_do_not_count():
    truth = fractions(1)
    truth[0, :3] = 1, 0, 0  # all of them say smooth
    truth = tree.normalise(GZ2, truth)
    said = fractions(1)
    changed = said.copy()
    changed[0, GZ2.slices[9]] = changed[0, GZ2.slices[9]][::-1]  # how the arms are wound
    np.testing.assert_allclose(of(truth, changed), of(truth, said), rtol=1e-6)


def test_certain_answers_stay_finite():
    truth, said = np.zeros((1, 37)), np.zeros((1, 37))
    truth[0, 0] = said[0, 1] = 1
    assert np.isfinite(of(truth, said)).all()


def test_masked_losses_are_keras_own_where_all_is_known_and_leave_out_what_is_not():
    truth, said = fractions(4).astype(np.float32), fractions(4).astype(np.float32)
    for name in ("mse", "bce"):
        masked = loss.get_loss(name, GZ2, masked=True)
        whole = keras.losses.get(loss.get_loss(name, GZ2, masked=False))
        np.testing.assert_allclose(masked(truth, said), whole(truth, said), rtol=1e-5)
        some = truth.copy()
        some[:, 5:] = np.nan
        few = masked(some, said)
        assert np.isfinite(few).all()
        assert (np.asarray(few) < np.asarray(masked(truth, said))).all()
        changed = said.copy()
        changed[:, 5:] = 0.5
        np.testing.assert_allclose(masked(some, changed), few, rtol=1e-6)


def test_unknown_questions_of_classes_add_nothing():
    truth, said = fractions(2).astype(np.float32), fractions(2).astype(np.float32)
    truth[:, GZ2.slices[1]] = 0
    other = said.copy()
    other[:, GZ2.slices[10]] = other[:, GZ2.slices[10]][:, ::-1]
    truth[:, GZ2.slices[10]] = 0
    np.testing.assert_allclose(of(truth, other), of(truth, said), rtol=1e-5)
