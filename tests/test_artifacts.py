"""The store: whole or absent, rows by their id, a record that vouches for its files."""

import json

import numpy as np
import pandas as pd
import pytest

from pipeline import artifacts
from pipeline.artifacts import Artifact, Store, atomic, fractions, load_fractions, same_galaxies, save_fractions
from pipeline.core import tree
from pipeline.errors import UserError


def frame(ids=(3, 1, 2)) -> pd.DataFrame:
    return fractions(np.array(ids), np.random.default_rng(0).random((len(ids), 37)))


def artifact(folder, **contents: str) -> Artifact:
    """An artifact of these files, with its record."""
    made = Artifact(folder / "it.json", tuple(folder / name for name in contents))
    made.begin()
    for path, text in zip(made.files, contents.values(), strict=True):
        path.write_text(text)
    made.finish({"epochs": 3}, {"crops": "abc"}, score=0.1)
    return made


def test_an_atomic_write_appears_whole_under_its_name(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with atomic(path) as temporary:
        assert temporary.suffix == ".txt"
        temporary.write_text("x")
        assert not path.exists()
    assert path.read_text() == "x"
    assert list(path.parent.iterdir()) == [path]


def write_half(path, error: type[BaseException]) -> None:
    with atomic(path) as temporary:
        temporary.write_text("half")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error):
        write_half(path, error)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_first_write_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError):
        write_half(tmp_path / "a.txt", RuntimeError)
    assert list(tmp_path.iterdir()) == []


def test_begin_withdraws_the_record_before_a_file_is_touched(tmp_path):
    made = artifact(tmp_path, a="1")
    made.begin()
    assert made.record() is None
    assert made.digest() is None
    assert made.files[0].read_text() == "1"


def test_the_record_is_written_last_and_says_everything(tmp_path):
    made = artifact(tmp_path, a="1", b="22")
    record = made.record()
    assert record["spec"] == {"epochs": 3}
    assert record["made_from"] == {"crops": "abc"}
    assert record["score"] == 0.1
    assert record["files"]["b"]["bytes"] == 2
    assert record["files"]["a"]["sha256"].startswith("6b86b273ff34fce1")
    assert {"at", "code", "python", "libraries", "machine", "command"} <= set(record["made"])


def test_no_record_is_written_where_a_file_is_missing(tmp_path):
    made = Artifact(tmp_path / "it.json", (tmp_path / "a", tmp_path / "b"))
    made.begin()
    (tmp_path / "a").write_text("1")
    with pytest.raises(FileNotFoundError):
        made.finish({}, {})
    assert made.record() is None


def test_the_digest_is_that_of_the_contents_and_of_nothing_else(tmp_path):
    first = artifact(tmp_path / "1", a="1", b="2").digest()
    assert artifact(tmp_path / "2", a="1", b="2").digest() == first
    assert artifact(tmp_path / "3", a="1", b="3").digest() != first
    assert artifact(tmp_path / "4", a="2", b="1").digest() != first


def test_damage_names_what_is_missing_or_of_another_size(tmp_path):
    made = artifact(tmp_path, a="1", b="22")
    assert made.damage() == []
    made.files[0].unlink()
    made.files[1].write_text("2")
    assert made.damage() == ["a is missing", "b has 1 bytes, not 2"]


def test_a_record_that_is_cut_short_is_the_users_to_delete(tmp_path):
    made = artifact(tmp_path, a="1")
    made.record_path.write_text('{"spec": {')
    with pytest.raises(UserError, match=r"it\.json is damaged .*; delete it and run again"):
        made.record()


def test_json_with_nan_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        artifacts.save_json(tmp_path / "a.json", {"score": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_fractions_are_saved_ascending_as_float32_and_come_back(tmp_path):
    path = tmp_path / "a.parquet"
    save_fractions(path, frame())
    loaded = load_fractions(path)
    assert loaded.index.tolist() == [1, 2, 3]
    assert set(loaded.dtypes) == {np.dtype(np.float32)}
    pd.testing.assert_frame_equal(loaded, frame().sort_index().astype(np.float32))


def with_nan() -> pd.DataFrame:
    made = frame()
    made.iloc[1, 5] = np.nan
    return made


NOT_FRACTIONS = {
    "too few columns": (lambda: frame().iloc[:, 1:], "expected GalaxyID and the 37 columns"),
    "columns in another order": (lambda: frame()[list(tree.COLUMNS[::-1])], "37 columns Class1.1 … Class11.6 in order"),
    "no ids": (lambda: frame().reset_index(drop=True), "expected GalaxyID"),
    "an id twice": (lambda: frame((3, 1, 3)), "GalaxyID 3 stands there twice"),
    "a value that is none": (with_nan, "1 rows are not finite"),
}


@pytest.mark.parametrize(("bad", "sentence"), NOT_FRACTIONS.values(), ids=NOT_FRACTIONS)
def test_what_are_no_fractions_is_neither_loaded_nor_saved(tmp_path, bad, sentence):
    path = tmp_path / "a.parquet"
    with pytest.raises(UserError, match=sentence):
        save_fractions(path, bad())
    assert not path.exists()
    bad().to_parquet(path)
    with pytest.raises(UserError, match=rf"a\.parquet: .*{sentence}"):
        load_fractions(path)


def test_rows_come_in_the_order_of_the_ids():
    assert same_galaxies(frame(), np.array([2, 3, 1]), "it").index.tolist() == [2, 3, 1]


def test_galaxies_that_are_missing_or_too_many_are_named():
    sentence = r"oof: 1 galaxies are missing \(such as \[7\]\), 2 are not asked for \(such as \[2, 3\]\)"
    with pytest.raises(UserError, match=sentence):
        same_galaxies(frame(), np.array([1, 7]), "oof")


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
    with pytest.raises(UserError, match=rf"is missing: run `\./run\.sh {stage} --plan mine` first"):
        load(Store(tmp_path / "mine"))


def test_no_two_artifacts_share_a_file(tmp_path):
    store = Store(tmp_path)
    made = [store.sky(), store.inputs(), store.folds(), store.report(), store.submission("a"), store.ensemble("a")]
    made += [store.crops(crop, split) for crop in "ab" for split in ("train", "test")]
    made += [store.features("a"), store.trained("a", 0), store.trained("a", 1), store.predicted("a", 0)]
    made += [store.baseline("a"), store.baseline("b")]
    paths = [store.weights_list(), *(path for one in made for path in (one.record_path, *one.files))]
    assert len(set(paths)) == len(paths)
    assert all(json.dumps(str(path)) and path.is_relative_to(tmp_path) for path in paths)
