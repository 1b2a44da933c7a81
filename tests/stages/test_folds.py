"""Stage 1: folds of all galaxies, the same on every machine."""

import numpy as np
import pandas as pd
import pytest

from pipeline.core.split import stratified_folds
from pipeline.errors import UserError
from pipeline.stages import folds
from pipeline.store.artifacts import Store
from pipeline.store.fractions import fractions_frame
from tests.builders import fabricated, stage_outputs
from tests.builders.galaxy_zoo_2 import GZ2


def run(folder, *edits: tuple[str, str]) -> Store:
    path = fabricated.write_plan(folder, *edits)
    store = Store(folder / "output" / "mine")
    if store.inputs().record() is None:
        stage_outputs.inputs(store, stage_outputs.votes(31), stage_outputs.sample(3))
    folds.main(["--plan", str(path), "--output", str(folder / "output")])
    return store


def test_every_galaxy_gets_a_fold_and_the_record_counts_them(tmp_path):
    store = run(tmp_path)
    fold = store.load_folds()
    assert fold.index.tolist() == stage_outputs.ids(31).tolist()
    assert sorted(store.folds().record()["sizes"]) == [15, 16]
    assert np.bincount(fold).tolist() == store.folds().record()["sizes"]


def test_the_file_holds_what_core_says_for_the_seed_of_the_plan(tmp_path):
    store = run(tmp_path, ("seed = 1", "seed = 9"), ("folds = 2", "folds = 4"))
    table = pd.read_csv(store.root / "folds.csv")
    assert list(table.columns) == ["GalaxyID", "fold"]
    expected = stratified_folds(GZ2, stage_outputs.ids(31), store.load_labels().to_numpy(), 4, 9)
    assert table["fold"].tolist() == expected.tolist()


def test_a_second_call_writes_nothing(tmp_path):
    store = run(tmp_path)
    before = [path.stat().st_mtime_ns for path in (*store.folds().files, store.folds().record_path)]
    run(tmp_path)
    assert before == [path.stat().st_mtime_ns for path in (*store.folds().files, store.folds().record_path)]


def test_another_number_of_folds_is_refused(tmp_path):
    run(tmp_path)
    with pytest.raises(UserError, match="folds was not made by this plan: folds: 2 -> 3"):
        run(tmp_path, ("folds = 2", "folds = 3"))


def test_more_folds_than_galaxies_are_refused():
    with pytest.raises(UserError, match="5 folds need at least as many galaxies; there are 4"):
        folds.assign(GZ2, fractions_frame(stage_outputs.ids(4), stage_outputs.votes(4), GZ2), 5, 0)
