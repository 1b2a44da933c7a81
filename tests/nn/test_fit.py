"""Two-phase training: it learns, folds do not touch each other, an interruption costs nothing but time."""

import hashlib

import numpy as np
import pytest

from pipeline.core import views
from pipeline.core.metrics import rmse
from pipeline.nn import callbacks, data, fit
from pipeline.nn.history import History
from pipeline.nn.network import build
from pipeline.nn.predict import predict_views

FOLD = np.arange(48) % 3
SINGLE = views.view_set("single")


@pytest.fixture(scope="module")
def trainer(tiny):
    features = predict_views(tiny.network.features, tiny.images, SINGLE, 16)
    return fit.Trainer(tiny.network, tiny.run, 7, tiny.images, tiny.labels, features)


def run_fold(trainer, folder, fold: int = 0) -> dict:
    return trainer.fit(np.flatnonzero(fold != FOLD), np.flatnonzero(fold == FOLD), fold, folder)


def rows(folder) -> list[dict]:
    """The history without what a clock says."""
    return [{**row, "seconds": 0} for row in History(folder / "history.csv", resume=True).rows]


@pytest.fixture(scope="module")
def whole(trainer, tmp_path_factory):
    """Fold 0, uninterrupted: its folder, facts, history and weights."""
    folder = tmp_path_factory.mktemp("whole") / "fold0"
    facts = run_fold(trainer, folder)
    return folder, facts, rows(folder), trainer.network.model.get_weights()


def test_training_learns(whole, tiny):
    _, facts, history, _ = whole
    held_out = FOLD == 0
    mean = np.tile(tiny.labels[~held_out].mean(axis=0), (held_out.sum(), 1))
    assert facts["val_rmse"] < 0.9 * rmse(tiny.labels[held_out], mean)
    assert [row["phase"] for row in history] == ["head"] * 2 + ["fine-tune"] * 2
    losses = [row["loss"] for row in history if row["phase"] == "fine-tune"]
    assert losses[-1] < losses[0]


def test_the_facts_score_the_weights_that_are_left(whole, trainer, tiny):
    folder, facts, history, values = whole
    trainer.network.model.set_weights(values)
    made = predict_views(trainer.network.model, tiny.images[FOLD == 0], SINGLE, 16)
    assert rmse(tiny.labels[FOLD == 0], made) == pytest.approx(facts["val_rmse"], abs=1e-5)
    assert facts["epochs"] == len(history) == 4
    assert [path.name for path in folder.iterdir()] == ["history.csv"]


def test_the_learning_rate_falls_to_nearly_nothing(whole, trainer):
    rates = [row["learning_rate"] for row in whole[2] if row["phase"] == "fine-tune"]
    assert rates[-1] <= 0.02 * trainer.run.fine_tune.learning_rate < rates[0]


def test_only_what_is_to_be_trained_has_changed(whole, trainer):
    first = trainer._first
    changed = {
        weight.path.split("/")[0 if weight.path.startswith(("answers", "standardise")) else -2]
        for weight, old, new in zip(trainer.network.model.weights, first, whole[3], strict=True)
        if not np.array_equal(old, new)
    }
    assert changed == {"answers", "standardise", "block_16_project", "Conv_1"}


def test_a_fold_may_start_from_a_network_on_file(whole, trainer, tiny, tmp_path):
    """It scores at once what that network scored, and training goes on from there."""
    trainer.network.model.set_weights(whole[3])
    trainer.network.model.save_weights(tmp_path / "first.weights.h5")
    still = tiny.run.model_copy(
        update={
            "head_phase": tiny.run.head_phase.model_copy(update={"epochs": 0}),
            "fine_tune": tiny.run.fine_tune.model_copy(update={"epochs": 1, "learning_rate": 1e-9}),
            "weight_decay": 0.0,
        }
    )
    network = build(still, stored=40, size=32, seed=3, trained_as="float32")
    other = fit.Trainer(network, still, 7, tiny.images, tiny.labels, None)
    train, valid = np.flatnonzero(FOLD != 0), np.flatnonzero(FOLD == 0)
    facts = other.fit(train, valid, 0, tmp_path / "on", tmp_path / "first.weights.h5")
    assert facts["val_rmse"] == pytest.approx(whole[1]["val_rmse"], abs=1e-4)
    for old, new in zip(whole[3], network.model.get_weights(), strict=True):
        np.testing.assert_allclose(new, old, atol=1e-5)


def test_a_fold_does_not_depend_on_the_folds_before_it(whole, trainer, tmp_path):
    other = run_fold(trainer, tmp_path / "fold1", 1)
    again = run_fold(trainer, tmp_path / "fold0")
    assert again["val_rmse"] == whole[1]["val_rmse"]
    assert rows(tmp_path / "fold0") == whole[2]
    assert other["val_rmse"] != again["val_rmse"]


def interrupted(trainer, folder, monkeypatch, at: type, epoch: int) -> None:
    """Fold 0, interrupted when this callback has done its work for that epoch of fine-tuning."""
    done = at.on_epoch_end

    def on_epoch_end(self, number, logs=None):
        done(self, number, logs)
        if number + 1 == epoch and getattr(self, "phase", "fine-tune") == "fine-tune":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(at, "on_epoch_end", on_epoch_end)
        with pytest.raises(KeyboardInterrupt):
            run_fold(trainer, folder)


INTERRUPTIONS = {
    "before the first checkpoint": (callbacks.EpochLogger, 1),
    "after the first epoch": (callbacks.Checkpoint, 1),
    "before the last checkpoint": (callbacks.EpochLogger, 2),
    "after the last epoch": (callbacks.Checkpoint, 2),
}


@pytest.mark.parametrize(("at", "epoch"), INTERRUPTIONS.values(), ids=INTERRUPTIONS)
def test_an_interrupted_fold_ends_as_the_uninterrupted_one(whole, trainer, tmp_path, monkeypatch, at, epoch):
    interrupted(trainer, tmp_path, monkeypatch, at, epoch)
    trainer.network.model.set_weights([0 * value for value in whole[3]])  # as if in another process
    facts = run_fold(trainer, tmp_path)
    assert facts["val_rmse"] == pytest.approx(whole[1]["val_rmse"], abs=1e-5)
    for row, expected in zip(rows(tmp_path), whole[2], strict=True):
        assert row == pytest.approx(expected, abs=1e-5)
    for value, expected in zip(trainer.network.model.get_weights(), whole[3], strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]


def test_between_epochs_it_asks_whether_to_go_on(whole, trainer, tmp_path, monkeypatch):
    class Enough(BaseException):
        pass

    asked = []

    def enough(seconds):
        asked.append(seconds)
        raise Enough

    monkeypatch.setattr(trainer, "between_epochs", enough)
    with pytest.raises(Enough):
        run_fold(trainer, tmp_path)
    assert (tmp_path / "checkpoint.weights.h5").is_file()
    digest = hashlib.sha256((tmp_path / "checkpoint.weights.h5").read_bytes()).hexdigest()
    assert (tmp_path / "checkpoint.sha256").read_text() == f"{digest}\n"
    facts = run_fold(trainer, tmp_path)  # the last of the two epochs: it is not asked again
    assert len(asked) == 1
    assert asked[0] > 0
    assert facts["val_rmse"] == pytest.approx(whole[1]["val_rmse"], abs=1e-5)


def test_a_loss_that_is_no_number_stops_the_fold(trainer, tmp_path, monkeypatch):
    batches = data.training_batches

    def spoilt(*arguments, **more):
        for batch, labels in batches(*arguments, **more):
            yield batch, labels * np.nan

    monkeypatch.setattr(data, "training_batches", spoilt)
    with pytest.raises(callbacks.Diverged, match=r"tiny fold 0: the loss is nan in epoch 1; lower the learning rate"):
        run_fold(trainer, tmp_path)


def patient(trainer, monkeypatch, scores: list[float], patience: int) -> None:
    """Let fine-tuning have more epochs, that patience, and these scores one after the other."""
    phase = trainer.run.fine_tune.model_copy(update={"patience": patience, "epochs": 5})
    monkeypatch.setattr(trainer, "run", trainer.run.model_copy(update={"fine_tune": phase}))
    told = iter([9.0, 9.0, *scores])  # the head's two epochs first
    monkeypatch.setattr(fit, "rmse", lambda *_: next(told))


def test_patience_keeps_the_best_epoch_and_reports_its_score(trainer, tmp_path, monkeypatch):
    patient(trainer, monkeypatch, [0.3, 0.2, 0.25, 0.21, 0.1], 2)
    kept = []
    save = trainer.network.model.save_weights
    monkeypatch.setattr(
        trainer.network.model, "save_weights", lambda p: (kept.append(trainer.network.model.get_weights()), save(p))
    )
    facts = run_fold(trainer, tmp_path)
    assert [row["val_rmse"] for row in rows(tmp_path)] == [9, 9, 0.3, 0.2, 0.25, 0.21]
    assert facts["val_rmse"] == 0.2
    assert len(kept) == 2
    for value, expected in zip(trainer.network.model.get_weights(), kept[-1], strict=True):
        np.testing.assert_array_equal(value, expected)
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]


def test_a_fold_interrupted_after_it_stopped_early_trains_no_further(trainer, tmp_path, monkeypatch):
    patient(trainer, monkeypatch, [0.1, 0.2, 0.3], 1)
    interrupted(trainer, tmp_path, monkeypatch, callbacks.Checkpoint, 2)
    facts = run_fold(trainer, tmp_path)
    assert (facts["val_rmse"], facts["epochs"]) == (0.1, 4)
