"""Stage 4 around the networks: who is trained on, what half-trained folds and features are worth."""

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline import cli
from pipeline.commands import status
from pipeline.errors import Elsewhere, TrainingFailed, UserError
from pipeline.plans.config import load_plan
from pipeline.stages import train
from pipeline.store import dependencies
from pipeline.store.artifacts import Store
from pipeline.store.records import file_digest
from tests.builders import fabricated, stage_outputs
from tests.builders.galaxy_zoo_2 import GZ2
from tests.builders.lock_holder import holding

N = 12
FOLD = np.arange(N) % 2
RANDOM, IMAGENET = {"source": "random"}, {"source": "imagenet", "sha256": "abc"}


@pytest.fixture
def store(tmp_path):
    """Inputs, folds and crops of 12 galaxies, one of them set aside."""
    store = Store(tmp_path / "output" / "mine")
    stage_outputs.inputs(store, stage_outputs.votes(N), stage_outputs.sample(3))
    stage_outputs.folds(store, FOLD)
    pixels = np.zeros((N, 64, 64, 3), np.uint8)
    for crop in ("big", "small"):
        stage_outputs.crops(
            store, crop, train=pixels, test=pixels[:3], aside={"train": [stage_outputs.ids(N)[5].item()]}
        )
    return store


class Trainer:
    """Stands for nn.fit.Trainer: writes a checkpoint and, unless interrupted, a history."""

    def __init__(self, weights: dict = RANDOM, interrupted: bool = False):
        self.interrupted, self.resumed, self.rows = interrupted, None, {}
        self.run = SimpleNamespace(batch_size=32, fine_tune=SimpleNamespace(patience=0))
        model = SimpleNamespace(save_weights=lambda path: path.write_text("weights"))
        self.network = SimpleNamespace(model=model, facts={"weights": weights}, schema=GZ2)

    def fit(self, train, valid, fold, folder, start):
        checkpoint = folder / "checkpoint.weights.h5"
        self.resumed, self.rows = checkpoint.is_file(), {"train": train.tolist(), "valid": valid.tolist()}
        checkpoint.write_text("half")
        checkpoint.with_name("checkpoint.sha256").write_text(f"{'ab' * 32}\n{file_digest(checkpoint)}\n")
        if self.interrupted:
            raise KeyboardInterrupt
        (folder / "history.csv").write_text("phase,epoch\n")
        checkpoint.unlink()
        checkpoint.with_name("checkpoint.sha256").unlink()
        return {"train_seconds": 1.0, "val_rmse": 0.1}


def agrees(trainer, label, weights, held_out) -> float:
    """Stands for prediction_check.Check: prediction answers as training does."""
    assert weights.is_file()
    return 0.0


def trained(plan, store, trainer: Trainer, *, fresh: bool = False) -> dependencies.Unit:
    """Fold 0 of run b trained by a stand-in."""
    unit = fabricated.only(plan, store, "runs/b/fold0")
    _, _, fold_of = store.load_training("small")
    train.train_fold(trainer, unit, fold_of, agrees, fresh=fresh)
    return unit


def test_galaxies_come_with_labels_and_folds_and_minus_one_where_set_aside(store):
    images, labels, fold = store.load_training("big")
    assert images.shape == (N, 64, 64, 3)
    np.testing.assert_allclose(labels, stage_outputs.votes(N), atol=1e-6)
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


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("checkpoint.weights.h5", b"hblf"),
        ("checkpoint.sha256", b"ab\n"),
        ("history.csv", b"phase,loss\nhead,0.1O\n"),
        ("history.csv", b"phase,loss\nhead\n"),
        ("half-trained.json", b"null"),
        ("half-trained.json", b"{"),
    ],
)
def test_a_checkpoint_that_is_not_what_was_written_is_thrown_away(tmp_path, store, name, content):
    plan = fabricated.plan(tmp_path)
    interrupted(plan, store)
    folder = store.trained("b", 0).record_path.parent
    (folder / name).write_bytes(content)
    again = Trainer()
    trained(plan, store, again)
    assert not again.resumed


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
    stage_outputs.crops(store, "small", train=pixels, test=pixels[:3], aside={})
    again = Trainer()
    trained(plan, store, again)
    assert not again.resumed


def test_folds_must_start_from_the_same_weights(tmp_path, store):
    plan = fabricated.plan(tmp_path)
    trained(plan, store, Trainer())
    todo = [fabricated.only(plan, store, "runs/b/fold1")]
    train._require_same_start(todo, plan, store, RANDOM)
    with pytest.raises(UserError, match=r"fold 0 of run b started from .*random.*retrain all its folds by"):
        train._require_same_start(todo, plan, store, IMAGENET)


def test_all_complete_loads_no_network(tmp_path, store, monkeypatch):
    plan = fabricated.plan(tmp_path)
    for unit in dependencies.train(plan, store):
        fabricated.make(unit)
    monkeypatch.setattr(train, "train_run", lambda *_, **__: pytest.fail("trained again"))
    train.main(["--plan", str(tmp_path / "mine.toml"), "--output", str(tmp_path / "output")])


def test_each_run_is_built_once_for_all_its_folds(tmp_path, store, monkeypatch):
    calls = []

    def train_run(todo, *_, fresh):
        calls.append([u.label for u in todo] + [fresh])
        return {}

    monkeypatch.setattr(train, "train_run", train_run)
    path = fabricated.write_plan(tmp_path)
    train.main(["--plan", str(path), "--output", str(tmp_path / "output")])
    assert calls == [["runs/a/fold0", "runs/a/fold1", False], ["runs/b/fold0", "runs/b/fold1", False]]


def main(tmp_path, plan_path) -> None:
    train.main(["--plan", str(plan_path), "--output", str(tmp_path / "output")])


@pytest.fixture
def failing(monkeypatch):
    """Trainers that succeed, but for run b's fold 0."""

    class Failing(Trainer):
        def fit(self, train, valid, fold, folder, start):
            if self.name == "b" and fold == 0:
                raise TrainingFailed("the loss is nan in epoch 2; lower the learning rate")
            return super().fit(train, valid, fold, folder, start)

    def make_trainer(todo, *_, **__):
        made = Failing()
        made.name = todo[0].run
        return made

    monkeypatch.setattr(train, "make_trainer", make_trainer)
    monkeypatch.setattr(train.prediction_check, "Check", lambda *_, **__: agrees)


def test_a_fold_that_fails_keeps_no_other_from_being_trained(tmp_path, store, failing):
    path = fabricated.write_plan(tmp_path)
    with pytest.raises(UserError, match=r'1 of 4 folds failed: runs/b/fold0: the loss is nan .* "leave-out"'):
        main(tmp_path, path)
    complete = [unit.label for unit in dependencies.train(load_plan(str(path)), store) if unit.state()[0] == "complete"]
    assert complete == ["runs/a/fold0", "runs/a/fold1", "runs/b/fold1"]


@pytest.fixture
def fakes(monkeypatch):
    monkeypatch.setattr(train, "make_trainer", lambda *_, **__: Trainer())
    monkeypatch.setattr(train.prediction_check, "Check", lambda *_, **__: agrees)


def test_what_another_process_trains_is_left_to_it_and_the_rest_is_trained(tmp_path, store, fakes, caplog):
    path = fabricated.write_plan(tmp_path)
    caplog.set_level("INFO")
    with holding(store.trained("a", 0).lock):
        main(tmp_path, path)
        assert "another process is making runs/a/fold0" in caplog.text
        states = {unit.label: unit.state()[0] for unit in dependencies.train(load_plan(str(path)), store)}
        assert states == {label: "complete" for label in states} | {"runs/a/fold0": "missing"}
        with pytest.raises(Elsewhere, match="fold0 is being worked on by process"):  # nothing else is left to do
            main(tmp_path, path)
    main(tmp_path, path)
    assert store.trained("a", 0).exists()


def test_what_another_process_has_trained_meanwhile_is_not_trained_again(tmp_path, store, fakes, monkeypatch, caplog):
    path = fabricated.write_plan(tmp_path)
    units = {unit.label: unit for unit in dependencies.train(load_plan(str(path)), store)}

    class Slow(Trainer):
        def fit(self, train, valid, fold, folder, start):
            if not units["runs/b/fold1"].artifact.exists():
                fabricated.make(units["runs/b/fold1"])  # as the other process does while this one trains
            return super().fit(train, valid, fold, folder, start)

    monkeypatch.setattr(train, "make_trainer", lambda *_, **__: Slow())
    caplog.set_level("INFO")
    main(tmp_path, path)
    assert "another process has made runs/b/fold1" in caplog.text
    assert "train_seconds" not in units["runs/b/fold1"].artifact.record()
    assert "train_seconds" in units["runs/b/fold0"].artifact.record()


def test_a_run_waits_for_what_it_starts_from_where_another_process_trains_that(tmp_path, store, fakes):
    path = fabricated.write_plan(tmp_path, more=fabricated.RUN_ON)
    with holding(store.trained("b", 0).lock):
        main(tmp_path, path)
        states = {unit.label: unit.state()[0] for unit in dependencies.train(load_plan(str(path)), store)}
        left = ["runs/b/fold0", "runs/on/fold0"]
        assert states == {label: "missing" if label in left else "complete" for label in states}
        assert not store.failure("on", 0).exists()


LEAVE = ("seed = 1", 'seed = 1\non_failed_run = "leave-out"')


def test_a_run_that_failed_is_left_out_where_the_plan_says_so(tmp_path, store, failing, caplog):
    path = fabricated.write_plan(tmp_path, LEAVE)
    main(tmp_path, path)
    request = cli.parse(cli.parser("x"), ["--plan", str(path), "--output", str(tmp_path / "output")])
    left = request.without_failed_runs().plan
    assert [run.name for run in left.runs] == ["a"]
    assert [(ensemble.name, ensemble.runs) for ensemble in left.ensembles] == [("both", ("a",)), ("alone", ("a",))]
    assert left.left_out == {"b": "fold 0: the loss is nan in epoch 2; lower the learning rate"}
    assert "b is left out: fold 0: the loss is nan" in caplog.text
    lines = status.table(request)
    assert "    failed    runs/b/fold0: the loss is nan in epoch 2; lower the learning rate" in lines
    assert "  predict    0 of 2 complete, without b" in lines
    assert "  ensemble   0 of 2 complete, without b" in lines


def test_what_failed_is_not_tried_again_before_its_run_changes(tmp_path, store, failing, monkeypatch):
    main(tmp_path, fabricated.write_plan(tmp_path, LEAVE))
    tried = []
    monkeypatch.setattr(train, "train_run", lambda todo, *_, **__: tried.extend(u.label for u in todo) or {})
    main(tmp_path, fabricated.write_plan(tmp_path, LEAVE))
    assert tried == []
    store.trained("b", 1).record_path.unlink()
    main(tmp_path, fabricated.write_plan(tmp_path, LEAVE, ("epochs = 2", "epochs = 2, learning_rate = 0.01")))
    assert tried == ["runs/b/fold0", "runs/b/fold1"]


def test_nothing_left_is_an_error(tmp_path, store, failing):
    path = fabricated.write_plan(
        tmp_path, LEAVE, ('runs = ["a", "b"]', 'runs = ["b"]'), ('runs = ["a"]', 'runs = ["b"]')
    )
    main(tmp_path, path)
    with pytest.raises(UserError, match="nothing is left of mine: b, fold 0: the loss is nan"):
        cli.parse(cli.parser("x"), ["--plan", str(path), "--output", str(tmp_path / "output")]).without_failed_runs()


def test_batches_are_halved_where_the_memory_does_not_suffice(tmp_path, store, monkeypatch, caplog):
    """For the folds to come as well; the record says by how much."""
    sizes = []

    def make_trainer(todo, batch_size, *_, **__):
        sizes.append(batch_size)
        made = Trainer()
        made.run = SimpleNamespace(batch_size=batch_size)
        if batch_size > 8:
            made.fit = lambda *_: (_ for _ in ()).throw(MemoryError)
        return made

    monkeypatch.setattr(train, "make_trainer", make_trainer)
    monkeypatch.setattr(train.prediction_check, "Check", lambda *_, **__: agrees)
    main(tmp_path, fabricated.write_plan(tmp_path))
    assert sizes == [32, 16, 8] * 2  # each run's network is made once for each size that is tried
    assert store.trained("b", 1).record()["batch_size"] == 8
    assert "out of memory: batches of 8 from here on" in caplog.text
