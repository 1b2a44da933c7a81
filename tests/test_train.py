"""Stage 4 around the networks: who is trained on, what half-trained folds and features are worth."""

from types import SimpleNamespace

import fabricated
import numpy as np
import pytest

from pipeline import train, units
from pipeline.artifacts import Store
from pipeline.errors import UserError

N = 12
FOLD = np.arange(N) % 2
RANDOM, IMAGENET = {"source": "random"}, {"source": "imagenet", "sha256": "abc"}


@pytest.fixture
def store(tmp_path):
    """Inputs, folds and crops of 12 galaxies, one of them set aside."""
    store = Store(tmp_path / "output" / "mine")
    fabricated.inputs(store, fabricated.votes(N), fabricated.sample(3))
    fabricated.folds(store, FOLD)
    pixels = np.zeros((N, 64, 64, 3), np.uint8)
    for crop in ("big", "small"):
        fabricated.crops(store, crop, train=pixels, test=pixels[:3], aside={"train": [fabricated.ids(N)[5].item()]})
    return store


class Trainer:
    """Stands for nn.fit.Trainer: writes a checkpoint and, unless interrupted, a history."""

    def __init__(self, weights: dict = RANDOM, interrupted: bool = False):
        self.interrupted, self.resumed, self.rows = interrupted, None, {}
        model = SimpleNamespace(save_weights=lambda path: path.write_text("weights"))
        self.network = SimpleNamespace(model=model, facts={"weights": weights})

    def fit(self, train, valid, fold, folder, start):
        checkpoint = folder / "checkpoint.weights.h5"
        self.resumed, self.rows = checkpoint.is_file(), {"train": train.tolist(), "valid": valid.tolist()}
        checkpoint.write_text("half")
        if self.interrupted:
            raise KeyboardInterrupt
        (folder / "history.csv").write_text("phase,epoch\n")
        checkpoint.unlink()
        return {"train_seconds": 1.0, "val_rmse": 0.1}


def trained(plan, store, trainer: Trainer, *, fresh: bool = False) -> units.Unit:
    """Fold 0 of run b trained by a stand-in."""
    unit = fabricated.only(plan, store, "runs/b/fold0")
    _, _, fold_of = train.galaxies(store, "small")
    train._train_fold(trainer, unit, fold_of, fresh=fresh)
    return unit


def test_galaxies_come_with_labels_and_folds_and_minus_one_where_set_aside(store):
    images, labels, fold = train.galaxies(store, "big")
    assert images.shape == (N, 64, 64, 3)
    np.testing.assert_allclose(labels, fabricated.votes(N), atol=1e-6)
    assert fold.tolist() == [0, 1, 0, 1, 0, -1, 0, 1, 0, 1, 0, 1]


def test_a_fold_is_trained_on_the_others_and_never_on_what_was_set_aside(tmp_path, store):
    trainer = Trainer()
    unit = trained(fabricated.plan(tmp_path), store, trainer)
    assert trainer.rows == {"train": [1, 3, 7, 9, 11], "valid": [0, 2, 4, 6, 8, 10]}
    record = unit.artifact.record()
    assert (record["n_train"], record["n_valid"], record["val_rmse"]) == (5, 6, 0.1)
    assert sorted(path.name for path in unit.artifact.record_path.parent.iterdir()) == [
        "history.csv",
        "model.weights.h5",
        "run.json",
    ]


def interrupted(plan, store) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(plan, store, Trainer(interrupted=True))


def test_an_interrupted_fold_goes_on(tmp_path, store):
    plan = fabricated.plan(tmp_path)
    interrupted(plan, store)
    again = Trainer()
    trained(plan, store, again)
    assert again.resumed


def test_force_begins_anew(tmp_path, store):
    plan = fabricated.plan(tmp_path)
    interrupted(plan, store)
    again = Trainer()
    trained(plan, store, again, fresh=True)
    assert not again.resumed


def test_a_fold_half_trained_by_another_plan_begins_anew(tmp_path, store):
    interrupted(fabricated.plan(tmp_path), store)
    again = Trainer()
    trained(fabricated.plan(tmp_path, ("epochs = 2", "epochs = 2, learning_rate = 0.01")), store, again)
    assert not again.resumed


def test_a_fold_half_trained_from_other_first_weights_begins_anew(tmp_path, store):
    plan = fabricated.plan(tmp_path)
    interrupted(plan, store)
    again = Trainer(weights=IMAGENET)
    trained(plan, store, again)
    assert not again.resumed


def test_a_fold_half_trained_on_other_crops_begins_anew(tmp_path, store):
    plan = fabricated.plan(tmp_path)
    interrupted(plan, store)
    pixels = np.ones((N, 64, 64, 3), np.uint8)
    fabricated.crops(store, "small", train=pixels, test=pixels[:3], aside={})
    again = Trainer()
    trained(plan, store, again)
    assert not again.resumed


def test_folds_must_start_from_the_same_weights(tmp_path, store):
    plan = fabricated.plan(tmp_path)
    trained(plan, store, Trainer())
    todo = [fabricated.only(plan, store, "runs/b/fold1")]
    train._same_start(todo, plan, store, RANDOM)
    with pytest.raises(UserError, match=r"fold 0 of run b started from .*random.*train all its folds anew by"):
        train._same_start(todo, plan, store, IMAGENET)


@pytest.fixture
def counted(monkeypatch):
    """Stands for nn.predict.predict_views; counts its calls."""
    calls = []

    def predict_views(model, images, seen, batch_size, progress):
        calls.append(len(seen))
        return np.full((len(images), 4), len(calls), np.float32)

    import pipeline.nn.predict

    monkeypatch.setattr(pipeline.nn.predict, "predict_views", predict_views)
    return calls


def features(plan, store, weights: dict, *, fresh: bool = False) -> np.ndarray:
    built = SimpleNamespace(for_prediction=lambda: SimpleNamespace(features=None), facts={"weights": weights})
    images, _ = store.load_crops("big", "train")
    return train.frozen_features(built, units.features(plan, store, plan.run("a")), plan, images, fresh=fresh)


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


def test_all_complete_loads_no_network(tmp_path, store, monkeypatch):
    plan = fabricated.plan(tmp_path)
    for unit in units.train(plan, store):
        fabricated.make(unit)
    monkeypatch.setattr(train, "train_run", lambda *_, **__: pytest.fail("trained again"))
    train.main(["--plan", str(tmp_path / "mine.toml"), "--output", str(tmp_path / "output")])


def test_each_run_is_built_once_for_all_its_folds(tmp_path, store, monkeypatch):
    calls = []
    monkeypatch.setattr(train, "train_run", lambda todo, *_, fresh: calls.append([u.label for u in todo] + [fresh]))
    path = fabricated.write_plan(tmp_path)
    train.main(["--plan", str(path), "--output", str(tmp_path / "output")])
    assert calls == [["runs/a/fold0", "runs/a/fold1", False], ["runs/b/fold0", "runs/b/fold1", False]]
