"""Two-phase training: it learns, folds do not touch each other, an interruption costs nothing but time."""

import hashlib
import re
import shutil

import numpy as np
import pytest

from pipeline.core import views
from pipeline.core.metrics import rmse
from pipeline.nn import callbacks, checkpoints, data, fit
from pipeline.nn.history import History
from pipeline.nn.network import build
from pipeline.nn.predict import predict_views
from pipeline.plans.run import FineTune, HeadPhase
from tests.builders.galaxy_zoo_2 import GZ2

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
    network = build(still, GZ2, stored=40, size=32, seed=3, trained_as="float32")
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
    history = History(tmp_path / "history.csv", resume=True)
    assert (tmp_path / "checkpoint.sha256").read_text() == f"{digest} 1 {history.digest(1)}\n"
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


def spoil(path, at: float) -> None:
    """Flip a bit of a file."""
    content = bytearray(path.read_bytes())
    content[int(at * (len(content) - 1))] ^= 1
    path.write_bytes(content)


def cut(path, at: float) -> None:
    path.write_bytes(path.read_bytes()[: int(at * path.stat().st_size)])


DAMAGE = {
    "a bit of the checkpoint": ("checkpoint.weights.h5", lambda path: spoil(path, 0.5), "its checkpoint is not"),
    "half a checkpoint": ("checkpoint.weights.h5", lambda path: cut(path, 0.5), "its checkpoint is not"),
    "its digests gone": ("checkpoint.sha256", lambda path: path.unlink(), "cannot be read"),
    "its digests cut": ("checkpoint.sha256", lambda path: cut(path, 0.7), "is not what was written|cannot be read"),
    "its digests no text": ("checkpoint.sha256", lambda path: path.write_bytes(b"\xff"), "cannot be read"),
    "a bit of the best": ("best.weights.h5", lambda path: spoil(path, 0.5), "the weights of its best epoch"),
    "half of the best": ("best.weights.h5", lambda path: cut(path, 0.5), "the weights of its best epoch"),
    "the best gone": ("best.weights.h5", lambda path: path.unlink(), "the weights of its best epoch"),
    "its digests gone too": ("best.sha256", lambda path: path.unlink(), "cannot be read"),
    "no history": ("history.csv", lambda path: path.unlink(), "its history.csv is not"),
    "an empty history": ("history.csv", lambda path: cut(path, 0), "cannot be read"),
    "its last digit": ("history.csv", lambda path: cut(path, 0.99), "its history.csv is not|cannot be read"),
    "its last lines": ("history.csv", lambda path: cut(path, 0.6), "its history.csv is not|cannot be read"),
    "a blank line": ("history.csv", lambda path: path.write_text(path.read_text() + "\n"), "cannot be read"),
    "garbage": ("history.csv", lambda path: path.write_bytes(path.read_bytes() + b"\0\xff,"), "cannot be read"),
    "another digit": ("history.csv", lambda path: path.write_text(path.read_text().replace("0.3", "0.4")), "history"),
}


@pytest.fixture(scope="module")
def half(trainer, tmp_path_factory):
    """The folder of a fold that was interrupted after its second epoch of three."""
    folder = tmp_path_factory.mktemp("half")
    with pytest.MonkeyPatch.context() as patch:
        patient(trainer, patch, [0.2, 0.3, 0.4], 3)
        interrupted(trainer, folder, patch, callbacks.Checkpoint, 2)
    return folder


@pytest.mark.parametrize(("name", "damage", "told"), DAMAGE.values(), ids=DAMAGE)
def test_what_was_kept_of_a_fold_and_is_damaged_is_told(half, tmp_path, name, damage, told):
    shutil.copytree(half, tmp_path, dirs_exist_ok=True)
    assert checkpoints.wrong(tmp_path, best=True) == ""
    damage(tmp_path / name)
    assert re.search(told, checkpoints.wrong(tmp_path, best=True))
    checkpoints.remove(tmp_path)
    assert checkpoints.wrong(tmp_path, best=True) == ""


def test_an_epoch_whose_checkpoint_was_not_written_does_no_harm(half, tmp_path):
    """Killed between history, digests and checkpoint: the row more is dropped, the line more is of no file."""
    shutil.copytree(half, tmp_path, dirs_exist_ok=True)
    history = History(tmp_path / "history.csv", resume=True)
    history.append(**history.rows[-1] | {"epoch": 3.0})
    with open(tmp_path / "checkpoint.sha256", "a") as listed:
        listed.write(f"{'ab' * 32} 3 {history.digest(3)}\n")
    assert checkpoints.wrong(tmp_path, best=True) == ""


@pytest.fixture(scope="module")
def by_layers(tiny):
    """A run whose layers learn at rates of their own and whose blocks are left out at random."""
    tune = {"epochs": 2, "learning_rate": 1e-3, "ema": 0.9, "layer_decay": 0.5, "drop_path": 0.5, "warmup": 0.0}
    run = tiny.run.model_copy(
        update={
            "backbone": "efficientnetlite0",
            "head_phase": HeadPhase(),
            "fine_tune": FineTune(from_layer="block7a_expand_conv", **tune),
        }
    )
    network = build(run, GZ2, stored=40, size=32, seed=1, sample=tiny.images, trained_as="float32")
    return fit.Trainer(network, run, 7, tiny.images, tiny.labels, None)


def test_layers_learn_at_their_rates_and_a_fold_that_was_interrupted_goes_on_exactly(by_layers, tmp_path, monkeypatch):
    """Adam's steps are of one size, so what a kernel has moved tells its rate; the averages of weights go on too."""
    trainer = by_layers
    run_fold(trainer, tmp_path / "whole")
    whole = trainer.network.model.get_weights()
    moved = {
        weight.path: np.abs(new - old).mean()
        for weight, old, new in zip(trainer.network.model.weights, trainer._first, whole, strict=True)
    }
    top, block = moved["top_conv/kernel"], moved["block7a_project_conv/kernel"]
    assert 0.3 < block / top < 0.7
    assert moved["block6a_expand_conv/kernel"] == 0
    interrupted(trainer, tmp_path / "halved", monkeypatch, callbacks.Checkpoint, 1)
    trainer.network.model.set_weights([0 * value for value in whole])
    run_fold(trainer, tmp_path / "halved")
    for value, expected in zip(trainer.network.model.get_weights(), whole, strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-6)
    again = rows(tmp_path / "halved")
    assert [row["loss"] for row in again] == pytest.approx([row["loss"] for row in rows(tmp_path / "whole")], abs=1e-6)
