"""Stage 7: exactly what the competition asks for."""

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.stages import submit
from pipeline.store.artifacts import Store
from pipeline.store.fractions import fractions_frame, save_fractions
from tests.builders import fabricated, stage_outputs
from tests.builders.galaxy_zoo_2 import GZ2

M = 30
MADE = np.random.default_rng(0).normal(0.5, 0.4, (M, 37)).astype(np.float32)  # some outside [0, 1]


def prepared(folder, header: tuple[str, ...] = ("GalaxyID", *GZ2.columns), made: np.ndarray = MADE) -> Store:
    """A store with two blends and a sample of that header."""
    store = Store(folder / "output" / "mine")
    stage_outputs.inputs(store, stage_outputs.votes(5), stage_outputs.sample(M, header))
    for name in ("both", "alone"):
        artifact = store.ensemble(name)
        artifact.begin()
        for path in artifact.files:
            save_fractions(path, fractions_frame(stage_outputs.ids(len(made), 500_000), made, GZ2), GZ2)
        artifact.finish({}, {})
    return store


def run(folder, *flags: str) -> None:
    submit.main(["--plan", str(fabricated.write_plan(folder)), "--output", str(folder / "output"), *flags])


HEADERS = {
    "as in the competition": ("GalaxyID", *GZ2.columns),
    "another spelling of the id": ("GalaxyId", *GZ2.columns),
    "columns in another order": ("GalaxyID", *GZ2.columns[::-1]),
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_ids_order_and_header_are_those_of_the_sample_and_values_stand_under_their_name(tmp_path, header):
    store = prepared(tmp_path, header)
    run(tmp_path, "--run", "both")
    lines = store.submission("both").files[0].read_text().splitlines()
    assert lines[0] == ",".join(header)
    assert [line.split(",")[0] for line in lines[1:]] == [str(i) for i in stage_outputs.sample(M).iloc[:, 0]]
    table = pd.read_csv(store.submission("both").files[0], index_col=0)
    expected = fractions_frame(stage_outputs.ids(M, 500_000), MADE.clip(0, 1), GZ2).loc[table.index]
    np.testing.assert_allclose(table[list(GZ2.columns)], expected, atol=1e-6)
    record = store.submission("both").record()
    assert record["rows"] == M
    first_question = np.abs(expected.iloc[:, :3].sum(axis=1) - 1)
    assert first_question.max() - 1e-5 <= record["tree_gap"] < 7  # at most seven answers of a question, all 1


def test_a_submission_of_votes_keeps_the_sums_of_the_tree(tmp_path):
    store = prepared(tmp_path, made=stage_outputs.votes(M).astype(np.float32))
    run(tmp_path, "--run", "both")
    assert store.submission("both").record()["tree_gap"] < 1e-5


def test_values_are_clipped_and_finite(tmp_path):
    store = prepared(tmp_path)
    run(tmp_path)
    for name in ("both", "alone"):
        values = pd.read_csv(store.submission(name).files[0], index_col=0).to_numpy()
        assert (values.min(), values.max()) == (0, 1)
        assert np.isfinite(values).all()


@pytest.mark.parametrize(
    ("made", "said"), [(MADE[1:], "1 galaxies are missing"), (np.vstack([MADE, MADE[:2]]), "2 are")]
)
def test_galaxies_that_the_sample_has_and_the_blend_lacks_are_told(tmp_path, made, said):
    store = prepared(tmp_path, made=made)
    with pytest.raises(UserError, match=f"test predictions against the sample file: .*{said}"):
        run(tmp_path)
    assert not store.submission("both").files[0].exists()


SPOILT = {
    "a value above 1": (lambda frame: frame.assign(**{"Class1.1": 1.5}), "values outside"),
    "no number": (lambda frame: frame.assign(**{"Class1.1": np.nan}), "not finite"),
    "a row less": (lambda frame: frame.iloc[1:], "ids differ"),
    "rows in another order": (lambda frame: frame.iloc[::-1], "ids differ"),
    "another header": (lambda frame: frame.rename(columns={"Class1.1": "Class1"}), "header or ids differ"),
}


@pytest.mark.parametrize(("spoil", "said"), SPOILT.values(), ids=SPOILT)
def test_a_file_that_is_not_what_was_asked_for_is_found_when_read_back(tmp_path, spoil, said):
    sample = stage_outputs.sample(M)
    path = tmp_path / "a.csv"
    spoil(sample).to_csv(path, index=False)
    with pytest.raises(RuntimeError, match=said):
        submit.check(GZ2, path, list(sample.columns), sample.iloc[:, 0].to_numpy())


def test_what_fails_the_check_gets_no_name(tmp_path, monkeypatch):
    store = prepared(tmp_path)
    monkeypatch.setattr(submit, "rows", lambda *_: stage_outputs.sample(M).iloc[1:])
    with pytest.raises(RuntimeError, match="ids differ"):
        run(tmp_path)
    assert list((store.root / "submissions").glob("[!.]*")) == []
