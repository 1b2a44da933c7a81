"""Stage 5 around the networks: rows, ids, and what images set aside are answered."""

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.core import views
from pipeline.core.metrics import rmse
from pipeline.stages import predict
from pipeline.store.artifacts import Store
from pipeline.store.fractions import load_fractions
from tests.builders import fabricated, stage_outputs
from tests.builders.galaxy_zoo_2 import GZ2

N, M = 9, 4
FOLD = np.arange(N) % 2
IDS, TEST_IDS = stage_outputs.ids(N), stage_outputs.ids(M, 500_000)
LABELS = stage_outputs.votes(N).astype(np.float32)


@pytest.fixture
def store(tmp_path):
    """A store whose run a is trained; one training and one test image are set aside."""
    store = Store(tmp_path / "output" / "mine")
    stage_outputs.inputs(store, LABELS, stage_outputs.sample(M))
    stage_outputs.folds(store, FOLD)
    pixels = np.zeros((N, 64, 64, 3), np.uint8)
    aside = {"train": [IDS[2].item()], "test": [TEST_IDS[1].item()]}
    stage_outputs.crops(store, "big", train=pixels, test=pixels[:M], aside=aside)
    for fold in range(2):
        fabricated.make(fabricated.only(fabricated.plan(tmp_path), store, f"runs/a/fold{fold}"))
    return store


def predicted(folder, store, fold: int):
    """What a stand-in for a network predicts, as saved: row i of the training galaxies is answered by i / 100."""
    unit = fabricated.only(fabricated.plan(folder), store, f"predictions of a/fold{fold}")

    def answers(rows):
        return np.tile(np.asarray(rows, np.float32)[:, None] / 100, (1, 37))

    source = SimpleNamespace(
        keeps_all_features=False,
        use_stored_features=False,
        predictor=SimpleNamespace(
            run=fabricated.plan(folder).run("a"), views=views.view_set("dihedral8"), precision="float32"
        ),
        held_out=lambda rows, bar: answers(rows),
        test=lambda bar: answers(np.arange(M)),
    )
    predict.predict_fold(source, unit, store)
    return tuple(load_fractions(path, GZ2) for path in unit.artifact.files)


def test_held_out_galaxies_of_all_folds_are_every_galaxy_once(tmp_path, store):
    parts = [predicted(tmp_path, store, fold)[0] for fold in range(2)]
    assert sorted(i for part in parts for i in part.index) == IDS.tolist()
    assert parts[1].index.tolist() == IDS[FOLD == 1].tolist()


def test_answers_stand_under_the_id_of_their_row(tmp_path, store):
    valid, test = predicted(tmp_path, store, 1)
    assert valid["Class1.1"].tolist() == pytest.approx([0.01, 0.03, 0.05, 0.07])
    assert test.index.tolist() == TEST_IDS.tolist()
    assert test.iloc[[0, 2, 3], 0].tolist() == pytest.approx([0, 0.02, 0.03])


def test_images_set_aside_get_the_mean_answer_of_the_other_folds(tmp_path, store):
    valid, test = predicted(tmp_path, store, 0)
    mean = LABELS[FOLD == 1].mean(axis=0)
    np.testing.assert_allclose(valid.loc[IDS[2]], mean, rtol=1e-5)
    np.testing.assert_allclose(test.loc[TEST_IDS[1]], mean, rtol=1e-5)


def test_the_record_scores_what_was_saved(tmp_path, store):
    valid, _ = predicted(tmp_path, store, 0)
    record = store.predicted("a", 0).record()
    assert record["rmse"] == pytest.approx(rmse(LABELS[FOLD == 0], valid.to_numpy()))
    assert record["views"] == 8
    assert record["images_per_second"] > 0


def test_a_second_call_builds_no_network(tmp_path, store, monkeypatch):
    for fold in range(2):
        predicted(tmp_path, store, fold)
    monkeypatch.setattr(predict, "Predictor", lambda *_, **__: pytest.fail("built again"))
    flags = ["--plan", str(fabricated.write_plan(tmp_path)), "--output", str(tmp_path / "output"), "--run", "a"]
    predict.main(flags)
