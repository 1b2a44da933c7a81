"""Folds: deterministic, by id, spread over every path."""

import numpy as np
import pytest

from pipeline.core import tree
from pipeline.core.split import dominant_path, stratified_folds
from tests.builders.galaxy_zoo_2 import GZ2

IDS = np.arange(100_000, 101_003)
FRACTIONS = tree.normalise(GZ2, np.random.default_rng(0).random((len(IDS), 37)) ** 3)


def row(*answers: str) -> np.ndarray:
    """A galaxy that all volunteers answered so."""
    values = np.zeros(37)
    values[[GZ2.index["Class" + answer] for answer in answers]] = 1
    return values


def test_paths_by_hand():
    galaxies = np.stack([
        row("1.1", "7.2", "6.2"),
        row("1.2", "2.2", "3.2", "4.1", "5.3", "10.1", "11.6", "6.1", "8.6"),
        row("1.2", "2.1", "9.3", "6.2"),
        row("1.3", "6.2"),
        row("1.2", "2.2", "3.1", "4.2", "5.1", "6.2"),
    ])  # fmt: skip
    assert dominant_path(GZ2, galaxies).tolist() == [
        "1.1/7.2/6.2",
        "1.2/2.2/3.2/4.1/5.3/10.1/11.6/6.1/8.6",
        "1.2/2.1/9.3/6.2",
        "1.3/6.2",
        "1.2/2.2/3.1/4.2/5.1/6.2",
    ]


def test_path_follows_the_leading_answer_only():
    fractions = row("1.1", "7.1", "6.2")[None] * 0.6
    fractions[0, GZ2.index["Class1.2"]] = 0.4
    fractions[0, GZ2.index["Class2.2"]] = 0.4  # asked of some, not on the path
    assert dominant_path(GZ2, fractions).tolist() == ["1.1/7.1/6.2"]


def test_known_folds():
    """Literal folds: should they ever change, every stored fold table is worthless."""
    folds = stratified_folds(GZ2, IDS[:12], FRACTIONS[:12], 3, 7)
    assert folds.dtype == np.int8
    assert folds.tolist() == [2, 1, 0, 0, 2, 1, 2, 0, 1, 2, 1, 0]


@pytest.mark.parametrize("n_folds", [2, 5, 7])
def test_folds_and_every_beginning_of_a_path_are_balanced_within_one(n_folds):
    folds = stratified_folds(GZ2, IDS, FRACTIONS, n_folds, 0)
    assert np.ptp(np.bincount(folds, minlength=n_folds)) <= 1
    paths = [path.split("/") for path in dominant_path(GZ2, FRACTIONS)]
    beginnings = {tuple(path[:depth]) for path in paths for depth in range(1, len(path) + 1)}
    assert len(beginnings) > 100
    for beginning in beginnings:
        members = [tuple(path[: len(beginning)]) == beginning for path in paths]
        assert np.ptp(np.bincount(folds[members], minlength=n_folds)) <= 1


def test_order_of_rows_does_not_matter():
    order = np.random.default_rng(1).permutation(len(IDS))
    folds = stratified_folds(GZ2, IDS, FRACTIONS, 5, 0)
    np.testing.assert_array_equal(stratified_folds(GZ2, IDS[order], FRACTIONS[order], 5, 0), folds[order])


def test_ids_and_seed_decide_within_a_path():
    same = np.repeat(row("1.1", "7.2", "6.2")[None], 200, axis=0)
    folds = stratified_folds(GZ2, np.arange(200), same, 2, 0)
    for other in (
        stratified_folds(GZ2, np.arange(200), same, 2, 1),
        stratified_folds(GZ2, np.arange(200) + 200, same, 2, 0),
    ):
        assert 60 < np.sum(folds == other) < 140  # chance: 100 +- 7
    assert np.sum(folds[:-1] == folds[1:]) > 60  # not dealt in the order of ids


def test_names_serve_as_ids():
    folds = stratified_folds(GZ2, IDS, FRACTIONS, 5, 0)
    np.testing.assert_array_equal(stratified_folds(GZ2, IDS.astype(str), FRACTIONS, 5, 0), folds)


def test_impossible_arguments_are_refused():
    with pytest.raises(ValueError, match="expected 2 to 3 folds for 3 galaxies; received 1"):
        stratified_folds(GZ2, IDS[:3], FRACTIONS[:3], 1, 0)
    with pytest.raises(ValueError, match="expected 2 to 3 folds for 3 galaxies; received 4"):
        stratified_folds(GZ2, IDS[:3], FRACTIONS[:3], 4, 0)
    with pytest.raises(ValueError, match="distinct ids; received 1 repeated"):
        stratified_folds(GZ2, np.array([1, 2, 2]), FRACTIONS[:3], 2, 0)
    with pytest.raises(ValueError, match="received 3 and 4"):
        stratified_folds(GZ2, IDS[:3], FRACTIONS[:4], 2, 0)
