"""`./run.sh label-efficiency`: who is learnt from and scored on, what is kept, what is refused."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from pipeline import cli
from pipeline.commands import label_efficiency
from pipeline.commands.label_efficiency import hand_made, measure, networks
from pipeline.commands.label_efficiency import setting as settings
from pipeline.errors import UserError
from pipeline.models import pretrained
from pipeline.stages import crops, folds, inputs
from pipeline.store.artifacts import Store
from tests.builders import own_galaxies

N = 60
PLAN = own_galaxies.PLAN.format(head="")


def arguments(folder: Path, *more: str) -> list[str]:
    return ["--plan", str(folder / "few.toml"), "--output", str(folder / "output"), *more]


def write(folder: Path, answers: list[str], plan: str = PLAN) -> Path:
    """60 galaxies labelled with these answers in turn, and the plan."""
    images, _ = own_galaxies.pictures(N, 32)
    rows = [answers[i % len(answers)] for i in range(N)]
    own_galaxies.write(folder / "raw", images, [f"g{i:02d}.png" for i in range(N)], "id,label", rows)
    (folder / "few.toml").write_text(plan)
    return folder


class Learners:
    """Stand for what learns: they remember whose labels they were given, and answer by the plan's seed alone."""

    def __init__(self, monkeypatch):
        self.seen: list[tuple[str, np.ndarray]] = []
        self.setting = None
        monkeypatch.setattr(networks, "learner", lambda setting, start, run, fresh: self.of(setting, start))
        monkeypatch.setattr(hand_made, "learner", lambda setting, name, fresh: self.of(setting, name))
        monkeypatch.setattr(pretrained, "require_available", lambda plan, store, given: None)

    def of(self, setting, start):
        self.setting = setting

        def learn(rows: np.ndarray, seed: int) -> np.ndarray:
            self.seen.append((start, rows))
            made = np.random.default_rng((seed, len(start))).random(
                (len(setting.held_out), len(setting.schema.columns))
            )
            return made / made.sum(axis=1, keepdims=True)

        return learn


@pytest.fixture
def learners(monkeypatch):
    return Learners(monkeypatch)


def test_all_starts_learn_from_the_same_nested_subsets_and_none_from_who_is_scored(tmp_path, learners, capsys):
    folder = write(tmp_path, ["disc", "smooth", "disc"])
    label_efficiency.main(
        arguments(folder, "--input", str(folder / "raw"), "--sizes", "4,12,20", "--repeats", "2", "--fold", "1")
    )
    store = Store(folder / "output" / "few")
    held_out = np.flatnonzero(store.load_folds().to_numpy() == 1)
    np.testing.assert_array_equal(learners.setting.held_out, held_out)
    assert not any(np.isin(rows, held_out).any() for _, rows in learners.seen)
    by_start = {start: [set(rows) for one, rows in learners.seen if one == start] for start, _ in learners.seen}
    assert list(by_start) == ["imagenet", "scratch", "random-forest", "svm"]
    first = by_start["imagenet"]
    assert all(subsets == first for subsets in by_start.values())
    assert [len(rows) for rows in first] == [4, 4, 12, 12, 20, 20]
    assert first[0] < first[2] < first[4]
    assert first[0] != first[1]
    found = pd.read_csv(store.efficiency("a", tuned=False).verified("results.csv"))
    assert found.groupby(["start", "labels"]).size().tolist() == [2] * 12
    assert {"log_loss", "accuracy", "balanced_accuracy", "f1", "average_precision"} <= set(found)
    said = capsys.readouterr().out
    assert said.startswith("12 labels from ImageNet and from scratch cannot be told apart: accuracy ")
    assert "curves.svg" in said


def test_what_was_measured_is_kept_and_only_what_is_missing_is_measured_again(tmp_path, learners, caplog):
    folder = write(tmp_path, ["disc", "smooth"])
    flags = arguments(folder, "--sizes", "4,8", "--repeats", "2")
    label_efficiency.main([*flags, "--input", str(folder / "raw")])
    store = Store(folder / "output" / "few")
    artifact = store.efficiency("a", tuned=False)
    before, n = artifact.verified("results.csv").read_text(), len(learners.seen)
    assert n == 4 * 2 * 2
    label_efficiency.main(flags)
    assert len(learners.seen) == n  # nothing to do
    artifact.record_path.unlink()  # as where it was killed before the end
    store.efficiency_result("a", "svm", 8, 1, tuned=False).unlink()
    damaged = store.efficiency_result("a", "scratch", 4, 0, tuned=False)
    damaged.write_text(damaged.read_text().replace("accuracy", "accurccy"))
    label_efficiency.main(flags)
    assert [start for start, _ in learners.seen[n:]] == ["scratch", "svm"]
    assert "is damaged" in caplog.text

    def scores(text: str) -> list[str]:
        return [line.rpartition(",")[0] for line in text.splitlines()]  # without seconds

    assert scores(artifact.verified("results.csv").read_text()) == scores(before)
    n = len(learners.seen)
    label_efficiency.main(arguments(folder, "--sizes", "4,8,16", "--repeats", "2"))
    assert len(learners.seen) == n + 4 * 2  # the new size alone
    label_efficiency.main(arguments(folder, "--sizes", "4,8,16", "--repeats", "2", "--fold", "1"))
    assert len(learners.seen) == n + 4 * 2 + 4 * 3 * 2  # other galaxies are scored: nothing is the same


def test_long_measurements_of_other_labels_are_not_replaced_unasked(tmp_path, learners, monkeypatch):
    folder = write(tmp_path, ["disc", "smooth"])
    flags = arguments(folder, "--sizes", "4,8", "--repeats", "1")
    label_efficiency.main([*flags, "--input", str(folder / "raw")])
    store = Store(folder / "output" / "few")
    table = store.efficiency("a", tuned=False).files[0]
    before, n = table.read_text(), len(learners.seen)
    labels = folder / "raw" / "labels.csv"
    labels.write_text(labels.read_text().replace("g00,disc", "g00,smooth"))
    monkeypatch.setattr("pipeline.store.staleness.FREE", 0.0)  # seconds
    for stage in (inputs, folds, crops):
        stage.main([*flags[:4], "--yes", *["--force"] * (stage is inputs)])
    fewer = arguments(folder, "--sizes", "4", "--repeats", "1")
    with pytest.raises(
        UserError, match=r"rebuilding discards .* of work on label-efficiency/a; inputs was rebuilt.*--yes"
    ):
        label_efficiency.main(fewer)
    assert (table.read_text(), len(learners.seen)) == (before, n)
    label_efficiency.main([*fewer, "--yes"])
    assert len(learners.seen) == n + 4
    label_efficiency.main(arguments(folder, "--sizes", "4,12", "--repeats", "1"))  # what is there is kept
    assert len(learners.seen) == n + 8
    with pytest.raises(UserError, match="rebuilding discards"):
        label_efficiency.main([*fewer, "--force"])


def test_a_rare_answer_is_scored_by_its_average_precision(tmp_path, learners):
    folder = write(tmp_path, ["ring", *["no ring"] * 9])
    label_efficiency.main(arguments(folder, "--input", str(folder / "raw"), "--sizes", "10,20", "--repeats", "1"))
    record = Store(folder / "output" / "few").efficiency("a", tuned=False).required()
    assert record["measure"]["title"] == "average precision of 'ring'"


VOTES = """
kind = "votes"
[[questions]]
name = "shape"
answers = ["smooth", "disc"]
"""


def test_votes_are_scored_by_their_rmse(tmp_path, learners):
    folder = write(tmp_path, ["5,1", "0,7", "2,2"], f'labels = "votes.toml"\n{PLAN}')
    (folder / "votes.toml").write_text(VOTES)
    table = folder / "raw" / "labels.csv"
    table.write_text(table.read_text().replace("id,label", "id,shape_smooth,shape_disc"))
    label_efficiency.main(arguments(folder, "--input", str(folder / "raw"), "--sizes", "10,20", "--repeats", "3"))
    artifact = Store(folder / "output" / "few").efficiency("a", tuned=False)
    assert artifact.required()["measure"]["name"] == "rmse"
    found = pd.read_csv(artifact.verified("curves.csv"))
    assert np.isfinite(found[["mean", "low", "high"]]).all(axis=None)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Stages up to the crops, of three classes."""
    folder = write(tmp_path_factory.mktemp("three"), ["disc", "smooth", "star"])
    options = cli.parse(label_efficiency.arguments(), arguments(folder, "--input", str(folder / "raw"))).options
    label_efficiency.make_first(options)
    return folder


REFUSED = {
    "a size beyond the labelled set": (["--sizes", "10,5000"], "--sizes 5000: 30 labelled galaxies are outside fold 0"),
    "fewer labels than folds": (["--sizes", "1,10"], "--sizes 1: fewer labels than the plan's 2 folds"),
    "an absent class": (["--sizes", "2,10"], r"--sizes 2: no galaxy of '\w+' is among so few labels \(3 classes\)"),
    "no such fold": (["--fold", "2"], "--fold 2: plan few has the folds 0 to 1"),
    "no such run": (["--run", "b"], "--run b: plan few has the runs a"),
    "nothing to fine-tune": (["--fine-tune"], "--fine-tune: run a of few has no fine_tune.epochs"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_measured_is_said_before_any_network(prepared, learners, name):
    flags, expected = REFUSED[name]
    with pytest.raises(UserError, match=expected):
        label_efficiency.main(arguments(prepared, *flags))
    assert not learners.seen


@pytest.mark.parametrize("flags", [["--sizes", "a,b"], ["--sizes", "0"], ["--repeats", "0"], ["--repeats", "x"]])
def test_flags_that_are_no_numbers_are_refused_by_exit_code_2(prepared, flags, capsys):
    with pytest.raises(SystemExit) as error:
        label_efficiency.main(arguments(prepared, *flags))
    assert error.value.code == 2
    assert "expected" in capsys.readouterr().err


def test_without_imagenets_weights_its_curve_is_left_out_where_the_plan_lets_it(prepared, monkeypatch, caplog):
    def none_there(plan, store, given):
        raise UserError("no ImageNet weights for mobilenetv2")

    monkeypatch.setattr(pretrained, "require_available", none_there)
    request = cli.parse(label_efficiency.arguments(), arguments(prepared), select=("run", "fold"))
    setting = settings.of_request(request, (10,), 1, tuned=False)
    assert list(measure.available(setting)) == ["scratch"]
    assert "without a curve from ImageNet: no ImageNet weights" in caplog.text
    strict = setting.run.model_copy(update={"on_missing_weights": "error"})
    setting.__dict__["run"] = strict
    with pytest.raises(UserError, match="no ImageNet weights"):
        measure.available(setting)


@pytest.fixture
def known_features(prepared, monkeypatch):
    """A setting whose features are given: learnt from in earnest."""
    request = cli.parse(label_efficiency.arguments(), arguments(prepared), select=("run", "fold"))
    setting = settings.of_request(request, (24,), 1, tuned=False)
    features = np.random.default_rng(2).normal(size=(N, 6)).astype(np.float32)
    features[:, :3] += setting.data[1]
    monkeypatch.setattr(networks, "_features", lambda setting, start, run, fresh: features)
    monkeypatch.setattr(hand_made, "features", lambda setting, fresh: features)
    run = setting.starts()["scratch"]
    made = {
        "head": lambda: networks.learner(setting, "scratch", run, fresh=False),
        "random-forest": lambda: hand_made.learner(setting, "random-forest", fresh=False),
        "svm": lambda: hand_made.learner(setting, "svm", fresh=False),
    }
    return SimpleNamespace(setting=setting, features=features, made=made)


@pytest.mark.parametrize("name", ["head", "random-forest", "svm"])
def test_nothing_is_chosen_by_the_galaxies_that_are_scored(known_features, name):
    """Their labels change nothing, and an answer hangs on no other galaxy's features."""
    setting, learn = known_features.setting, known_features.made[name]
    rows, held_out = setting.subset(24, 0), setting.held_out
    expected = learn()(rows, 7)
    assert np.ptp(expected, axis=0).max() > 0.01  # something was learnt
    images, labels, fold = setting.data
    others = labels.copy()
    others[held_out] = others[held_out][::-1, ::-1]
    setting.__dict__["data"] = images, others, fold
    np.testing.assert_allclose(learn()(rows, 7), expected, atol=1e-6)
    known_features.features[held_out[1:]] = 100
    np.testing.assert_allclose(learn()(rows, 7)[0], expected[0], atol=1e-6)


@pytest.mark.slow
def test_whole_networks_are_trained_for_each_size_by_a_schedule_of_its_own(tmp_path, monkeypatch):
    from pipeline.nn import fit

    monkeypatch.setattr(networks, "STEPS", 3)
    rates = []
    monkeypatch.setattr(
        fit, "_cosine", lambda rate, total, warmup, made=fit._cosine: rates.append(total) or made(rate, total, warmup)
    )
    folder = write(
        tmp_path,
        ["disc", "smooth"],
        PLAN.replace(
            "head_phase", 'batch_size = 8\nfine_tune = { epochs = 1, from_layer = "block_16_project" }\nhead_phase'
        ),
    )

    def none_there(plan, store, given):
        if plan.runs[0].name.startswith("."):
            raise UserError("no ImageNet weights")

    monkeypatch.setattr(pretrained, "require_available", none_there)
    flags = ["--input", str(folder / "raw"), "--sizes", "8,24", "--repeats", "2", "--fine-tune"]
    label_efficiency.main(arguments(folder, *flags))
    store = Store(folder / "output" / "few")
    found = pd.read_csv(store.efficiency("a", tuned=True).verified("results.csv"))
    assert found[found["start"] == "scratch"].shape[0] == 4
    assert [total for total in rates if total > 2] == [3, 3]  # steps of 8 and of 24 galaxies: 1 x 3 epochs, 3 x 1
