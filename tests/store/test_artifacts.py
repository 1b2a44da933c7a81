"""The store: paths, and rows by their id."""

import json

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.store.artifacts import Store
from pipeline.store.fractions import aligned_to, fractions_frame, load_fractions, save_fractions
from tests.builders.galaxy_zoo_2 import GZ2


def frame(ids=(3, 1, 2)) -> pd.DataFrame:
    return fractions_frame(np.array(ids), np.random.default_rng(0).random((len(ids), 37)), GZ2)


def test_fractions_are_saved_ascending_as_float32_and_come_back(tmp_path):
    path = tmp_path / "a.parquet"
    save_fractions(path, frame(), GZ2)
    loaded = load_fractions(path, GZ2)
    assert loaded.index.tolist() == [1, 2, 3]
    assert set(loaded.dtypes) == {np.dtype(np.float32)}
    pd.testing.assert_frame_equal(loaded, frame().sort_index().astype(np.float32))


def with_nan() -> pd.DataFrame:
    made = frame()
    made.iloc[1, 5] = np.nan
    return made


NOT_FRACTIONS = {
    "too few columns": (lambda: frame().iloc[:, 1:], "expected GalaxyID and the 37 columns"),
    "columns in another order": (lambda: frame()[list(GZ2.columns[::-1])], "37 columns Class1.1 … Class11.6 in order"),
    "no ids": (lambda: frame().reset_index(drop=True), "expected GalaxyID"),
    "an id twice": (lambda: frame((3, 1, 3)), "GalaxyID 3 occurs twice"),
    "a value that is none": (with_nan, "1 rows are not finite"),
}


@pytest.mark.parametrize(("bad", "sentence"), NOT_FRACTIONS.values(), ids=NOT_FRACTIONS)
def test_what_are_no_fractions_is_neither_loaded_nor_saved(tmp_path, bad, sentence):
    path = tmp_path / "a.parquet"
    with pytest.raises(UserError, match=sentence):
        save_fractions(path, bad(), GZ2)
    assert not path.exists()
    bad().to_parquet(path)
    with pytest.raises(UserError, match=rf"a\.parquet: .*{sentence}"):
        load_fractions(path, GZ2)


def test_rows_come_in_the_order_of_the_ids():
    assert aligned_to(frame(), np.array([2, 3, 1]), "it").index.tolist() == [2, 3, 1]


def test_galaxies_that_are_missing_or_too_many_are_named():
    sentence = r"oof: 1 galaxies are missing \(such as \[7\]\), 2 are not expected \(such as \[2, 3\]\)"
    with pytest.raises(UserError, match=sentence):
        aligned_to(frame(), np.array([1, 7]), "oof")


@pytest.mark.parametrize(
    ("load", "stage"),
    [
        (lambda store: store.load_labels(), "inputs"),
        (lambda store: store.load_sample(), "inputs"),
        (lambda store: store.load_folds(), "folds"),
        (lambda store: store.load_crops("half", "train"), "crops"),
    ],
)
def test_what_is_missing_is_said_with_the_command_that_makes_it(tmp_path, load, stage):
    with pytest.raises(
        UserError, match=rf"is missing: run `\./run\.sh {stage} --plan mine.toml --output {tmp_path}` f"
    ):
        load(Store(tmp_path / "mine"))
    with pytest.raises(UserError, match=rf"is missing: run `\./run\.sh {stage} --plan x/mine.toml` first"):
        load(Store(tmp_path / "mine", ("--plan", "x/mine.toml")))


def test_no_two_artifacts_share_a_file(tmp_path):
    store = Store(tmp_path)
    made = [store.sky(), store.inputs(), store.folds(), store.report(), store.submission("a"), store.ensemble("a")]
    made += [store.crops(crop, split) for crop in "ab" for split in ("train", "test")]
    made += [store.features("a"), store.trained("a", 0), store.trained("a", 1), store.predicted("a", 0)]
    made += [store.baseline("a"), store.baseline("b")]
    paths = [store.weights_list(), *(path for one in made for path in (one.record_path, *one.files))]
    assert len(set(paths)) == len(paths)
    assert all(json.dumps(str(path)) and path.is_relative_to(tmp_path) for path in paths)
