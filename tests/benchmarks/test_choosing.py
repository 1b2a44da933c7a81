"""The simulation of labelling: nothing held out is chosen by, both ways label as many, the interval is Student's."""

import numpy as np
import pandas as pd
import pytest

from tests.benchmarks import choosing


def task(n: int = 240) -> choosing.Task:
    rng = np.random.default_rng(0)
    truth = np.tile([0, 1, 2], n // 3)
    return choosing.Task("three", (np.eye(3)[truth] * 3 + rng.normal(size=(n, 3))).astype(np.float32), truth, 3)


def test_both_ways_start_alike_and_label_as_many():
    made = pd.DataFrame(choosing.simulate(task(), 0, (12, 30, 60)))
    wide = made.pivot(index="labels", columns="way", values="log_loss")
    assert wide.index.tolist() == [12, 30, 60]
    assert wide.loc[12, "random"] == wide.loc[12, "label"]
    assert wide.loc[60, "random"] != wide.loc[60, "label"]
    assert (made.query("labels == 60")["accuracy"] > 0.9).all()


@pytest.mark.parametrize("choose", choosing.WAYS.values(), ids=choosing.WAYS)
def test_only_galaxies_without_a_label_are_chosen_and_none_twice(choose):
    pool, labelled = task(), np.arange(240) < 40
    chosen = choose(pool, labelled, 50, np.random.default_rng(0))
    assert len(set(chosen.tolist())) == 50
    assert not labelled[chosen].any()


def test_a_class_that_nobody_has_labelled_is_improbable_and_not_impossible():
    probable = choosing.fit(task().of(np.flatnonzero(task().truth < 2)))(task().features)
    np.testing.assert_allclose(probable.sum(axis=1), 1)
    assert 0 < probable[:, 2].max() < 1e-3


def test_the_interval_of_three_repeats():
    mean, low, high = choosing.interval(np.array([1.0, 2, 3]))
    assert (mean, low, high) == pytest.approx((2, 2 - 2.4841, 2 + 2.4841), abs=1e-4)
