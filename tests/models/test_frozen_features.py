"""Features of a frozen backbone: made once, and used only where they are what is asked for."""

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.errors import TrainingFailed
from pipeline.execution import locks
from pipeline.models.frozen_features import load_or_compute
from pipeline.store import dependencies
from pipeline.store.artifacts import Store
from tests.builders import fabricated, stage_outputs

N = 12
RANDOM, IMAGENET = {"source": "random"}, {"source": "imagenet", "sha256": "abc"}


@pytest.fixture
def store(tmp_path):
    """Crops of 12 galaxies."""
    store = Store(tmp_path / "output" / "mine")
    stage_outputs.inputs(store, stage_outputs.votes(N), stage_outputs.sample(3))
    pixels = np.zeros((N, 64, 64, 3), np.uint8)
    stage_outputs.crops(store, "big", train=pixels, test=pixels[:3], aside={})
    return store


@pytest.fixture
def counted(monkeypatch):
    """Stands for nn.predict.predict_views; counts its calls."""
    calls = []

    def predict_views(model, images, seen, batch_size, progress):
        calls.append(len(seen))
        return np.tile(np.arange(len(images), dtype=np.float32)[:, None] + len(calls), (1, 4))

    import pipeline.nn.predict

    monkeypatch.setattr(pipeline.nn.predict, "predict_views", predict_views)
    return calls


def features(plan, store, weights: dict, *, fresh: bool = False) -> np.ndarray:
    built = SimpleNamespace(for_prediction=lambda: SimpleNamespace(features=None), facts={"weights": weights})
    images, _ = store.load_crops("big", "train")
    return load_or_compute(built, dependencies.features(plan, store, plan.run("a")), images, fresh=fresh)


def test_features_are_made_once_over_the_views_of_the_run(tmp_path, store, counted):
    plan = fabricated.plan(tmp_path)
    assert features(plan, store, RANDOM).shape == (N, 4)
    assert features(plan, store, RANDOM)[0, 0] == 1
    assert counted == [8]
    assert features(plan, store, RANDOM, fresh=True)[0, 0] == 2


def test_features_of_other_first_weights_are_not_used(tmp_path, store, counted):
    plan = fabricated.plan(tmp_path)
    features(plan, store, RANDOM)
    assert features(plan, store, IMAGENET)[0, 0] == 2
    assert features(plan, store, IMAGENET)[0, 0] == 2


def test_features_of_other_views_are_not_used(tmp_path, store, counted):
    features(fabricated.plan(tmp_path), store, RANDOM)
    features(fabricated.plan(tmp_path, ('"vgg16"', '"vgg16"\nviews = "flips4"')), store, RANDOM)
    assert counted == [8, 4]


def test_features_that_rotted_are_made_anew(tmp_path, store, counted):
    plan = fabricated.plan(tmp_path)
    features(plan, store, RANDOM)
    path = store.features("a").files[0]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert features(plan, store, RANDOM)[0, 0] == 2


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (np.full((N, 4), np.nan), "12 of 12 galaxies is not finite"),
        (np.where(np.arange(N)[:, None] == 3, np.inf, np.ones((N, 4))), "1 of 12 galaxies is not finite"),
        (np.arange(N)[:, None] * np.full((N, 4), 1e30), "11 of 12 galaxies is up to 1.1e[+]31"),
        (np.ones((N, 4)), "the same features of all 12 galaxies"),
    ],
)
def test_features_that_no_head_can_use_are_told_and_not_kept(tmp_path, store, monkeypatch, made, message):
    monkeypatch.setattr("pipeline.nn.predict.predict_views", lambda *_: made.astype(np.float32))
    with pytest.raises(TrainingFailed, match=f"run a: .*{message}.*--weights"):
        features(fabricated.plan(tmp_path), store, RANDOM)
    locks.release_all()
    assert not store.features("a").files[0].exists()
