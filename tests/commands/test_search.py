"""The search for better settings: strict spaces, trials that survive kills, folds that no leaderboard uses."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("optuna", reason="Optuna is an extra")

from pipeline import cli
from pipeline.commands import search, status
from pipeline.errors import UserError
from pipeline.execution import locks
from pipeline.nn.fit import Trainer
from pipeline.plans.config import load_plan
from pipeline.plans.label_table import LabelTable
from pipeline.plans.layers import PLANS
from pipeline.store import superseded
from pipeline.store.artifacts import Store
from pipeline.tuning import evaluation, study, variants
from pipeline.tuning.evaluation import Evaluator
from tests.builders.galaxy_zoo_2 import GZ2

SHIPPED = sorted(path.stem for path in PLANS.glob("*.toml"))
PLAN = """
seed = 3
folds = 2
baselines = ["mean"]
[crops.half]
region = 256
size = 64
[[runs]]
name = "head"
backbone = "mobilenetv2"
crop = "half"
on_missing_weights = "random"
batch_size = 16
views = "single"
head_phase = {{ epochs = 2 }}
[[ensembles]]
name = "final"
runs = ["head"]
[search]
pruner = "none"
repeats = 1
[search.space]
{space}
"""
SPACE = """
dropout = { low = 0.0, high = 0.5 }
"head_phase.learning_rate" = { low = 1e-4, high = 1e-2, log = true }
"head_phase.epochs" = { low = 1, high = 3 }
"""


def written(folder: Path, text: str = SPACE) -> list[str]:
    """A plan with this space, and the flags of its search."""
    path = folder / "searched.toml"
    path.write_text(PLAN.format(space=text))
    return ["--plan", str(path), "--output", str(folder), "--run", "head"]


WRONG = {
    "a misspelt setting": ("drop_out = { low = 0, high = 0.5 }", "'drop_out' cannot be searched; these can: crop"),
    "a misspelt key": ("dropout = { lo = 0, high = 0.5 }", "unknown key; allowed here: choices, high, log, low"),
    "no range": ("dropout = { low = 0.1 }", "expected low and high, or choices"),
    "an empty range": ("dropout = { low = 0.5, high = 0.5 }", "expected low to be below high"),
    "log from 0": ("dropout = { low = 0, high = 0.5, log = true }", "log needs low to be above 0"),
    "one choice": ("hidden = { choices = [3] }", "choices: expected two or more, each once"),
    "both": ("hidden = { choices = [3, 4], low = 1, high = 2 }", "expected low and high, or choices"),
    "nothing": ("", "should have at least 1 item"),
}


@pytest.mark.parametrize(("text", "told"), WRONG.values(), ids=WRONG)
def test_a_space_that_is_none_is_told(tmp_path, text, told):
    with pytest.raises(UserError, match=told):
        load_plan(written(tmp_path, text)[1])


IMPOSSIBLE = {
    "beyond what a run may have": ("dropout = { low = 0.1, high = 1.5 }", "search.space.dropout: 1.5 is impossible"),
    "a crop that is not there": ('crop = { choices = ["half", "whole"] }', "'whole' is impossible for run head"),
    "nothing is trained": ('"head_phase.epochs" = { low = 0, high = 3 }', "0 is impossible.*trains nothing"),
    "no such word": ('loss = { choices = ["mse", "mae"] }', "'mae' is not one of mse, bce, votes"),
}


@pytest.mark.parametrize(("text", "told"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_values_that_the_run_cannot_have_are_told_before_any_trial(tmp_path, text, told):
    with pytest.raises(UserError, match=told):
        search.main([*written(tmp_path, text), "--trials", "3"])
    assert not (tmp_path / "searched").exists()


def test_runs_and_plans_without_a_search(tmp_path):
    flags = written(tmp_path)
    with pytest.raises(UserError, match="--run tail: plan searched has the runs head"):
        search.main([*flags[:-1], "tail", "--trials", "3"])
    with pytest.raises(UserError, match="--run is missing: plan searched has the runs head"):
        search.main([*flags[:-2], "--trials", "3"])
    with pytest.raises(UserError, match="--trials 0"):
        search.main([*flags, "--trials", "0"])
    with pytest.raises(UserError, match="--hours -1"):
        search.main([*flags, "--trials", "3", "--hours", "-1"])
    path = Path(flags[1])
    path.write_text(path.read_text().partition("[search]")[0])
    with pytest.raises(UserError, match=r"has no table \[search.space\]"):
        search.main([*flags, "--trials", "3"])


def test_a_search_waits_for_what_it_is_made_from(tmp_path):
    with pytest.raises(UserError, match="waits for inputs"):
        search.main([*written(tmp_path), "--trials", "1"])


@pytest.fixture(scope="module")
def searched(survey, tmp_path_factory):
    """Flags of a search on a survey's galaxies, and its store, with 5 trials done."""
    folder = tmp_path_factory.mktemp("searched")
    flags = written(folder)
    from pipeline.stages import crops, folds, inputs

    for stage, more in ((inputs, ["--input", str(survey.raw)]), (folds, []), (crops, [])):
        stage.main([*flags[:4], *more])
    search.main([*flags, "--trials", "5"])
    return flags, Store(folder / "searched")


def test_what_is_found_is_a_plan_with_its_evidence(searched):
    flags, store = searched
    trials, best, compared = store.search("head").files
    record, frame = store.search("head").record(), pd.read_csv(trials)
    assert len(frame) == record["trials"] == 5
    assert frame.loc[0, "dropout"] == 0.2, "the run as it stands comes first"
    assert record["before"] == frame.loc[0, "rmse"]
    assert record["best"] == frame["rmse"].min()
    plan, found = load_plan(flags[1]), load_plan(str(best))
    assert not list(superseded.sentences(plan, store)), "it is of the plan as it stands"
    assert found.name == "searched-head-best"
    assert found.run("head") == variants.with_settings(plan.run("head"), record["settings"])
    assert found.model_copy(update={"name": plan.name, "runs": plan.runs}) == plan
    assert f"{record['fresh_best']:.5f}" in best.read_text()
    fresh = pd.read_csv(compared).groupby("run")["rmse"].mean()
    assert fresh["best"] == pytest.approx(record["fresh_best"], rel=1e-3)
    assert record["fresh_best"] - record["fresh_before"] == pytest.approx(record["difference"])
    gain, real = record["before"] - record["best"], record["fresh_before"] - record["fresh_best"]
    assert record["optimism"] == pytest.approx(gain - real)
    assert record["luck"] > -0.01
    settings = frame[["dropout", "head_phase.learning_rate"]]
    assert all(value == float(f"{value:.3g}") for value in settings.to_numpy().ravel()), "as they were tried"


def test_the_command_that_runs_the_best_plan_brings_files_and_weights(searched, tmp_path):
    _, store = searched
    path = store.search("head").files[1]
    told = shlex.split(search.run_command(path, store))
    assert told == ["./run.sh", str(path), *store.flags[2:], "--input", store.inputs().record()["folder"]]
    weights = SimpleNamespace(
        inputs=store.inputs, flags=store.flags, load_weights_list=lambda: {"vgg16": {"path": "/a b/w.h5"}}
    )
    assert shlex.split(search.run_command(path, weights))[-2:] == ["--weights", "vgg16=/a b/w.h5"]


def test_nothing_is_done_twice_and_more_trials_go_on(searched, caplog):
    flags, store = searched
    at = store.search("head").record()["made"]["at"]
    search.main([*flags, "--trials", "5"])
    assert store.search("head").record()["made"]["at"] == at
    search.main([*flags, "--trials", "6"])
    assert len(pd.read_csv(store.search("head").files[0])) == 6


def evaluator_of(flags: list[str], **search) -> Evaluator:
    """The evaluator of a search, with other keys in its table [search]."""
    request = cli.parse(cli.parser(""), flags, select=("run",))
    request.options.trials = 1
    plan = request.plan.model_copy(update={"search": request.plan.search.model_copy(update=search)})
    return Evaluator(plan, request.store, study.unit(request.plan, request.store, request.options.run))


def answered(evaluator: Evaluator, seed: int) -> list[np.ndarray]:
    """Rows that each fold in turn answers for."""
    known = [np.isfinite(errors) for errors in evaluator.errors_by_fold(evaluator.plan.run("head"), seed)]
    return [np.flatnonzero(now & ~before) for before, now in pairwise([np.zeros_like(known[0]), *known])]


def test_what_the_time_did_not_suffice_for_is_made_by_the_same_command(searched):
    flags, store = searched
    search.main([*flags, "--trials", "8", "--hours", "1e-9"])
    assert len(pd.read_csv(store.search("head").files[0])) == 6
    search.main([*flags, "--trials", "8"])
    assert len(pd.read_csv(store.search("head").files[0])) == 8


def test_no_two_trials_are_drawn_alike_whoever_asks(searched):
    _, store = searched
    frame = pd.read_csv(store.search("head").files[0])
    assert not frame.duplicated(["dropout", "head_phase.learning_rate"]).any()


def test_folds_of_the_search_are_not_those_of_the_leaderboard(searched):
    flags, store = searched
    ids = store.load_crops("half", "train")[1]
    own = store.load_folds().loc[ids].to_numpy()
    held_out = answered(evaluator_of(flags), load_plan(flags[1]).seed + study.SEED_OFFSET)
    assert sorted(np.concatenate(held_out)) == list(range(len(ids)))
    assert all(len(np.unique(own[rows])) > 1 for rows in held_out)


def test_trials_may_see_a_part_of_the_galaxies_and_the_comparison_another(searched):
    evaluator = evaluator_of(searched[0], galaxies=20)
    first, again, other = (np.concatenate(answered(evaluator, seed)) for seed in (5, 5, 6))
    assert len(first) == len(other) == 20
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)


def test_the_same_seed_gives_the_same_errors(searched):
    evaluator = evaluator_of(searched[0])
    run = evaluator.plan.run("head")
    first = evaluator.errors(run, 7)
    evaluator.cache_path(run, 7).unlink()
    np.testing.assert_array_equal(first, evaluator_of(searched[0]).errors(run, 7))


def test_folds_that_were_judged_are_not_trained_again(searched, monkeypatch):
    evaluator = evaluator_of(searched[0])
    run = evaluator.plan.run("head")
    whole = evaluator.errors(run, 8)
    evaluator.cache_path(run, 8).unlink()
    next(evaluator.errors_by_fold(run, 8))  # killed after its first fold
    trained = []
    fit = Trainer.fit
    monkeypatch.setattr(Trainer, "fit", lambda self, *data: trained.append(data[2]) or fit(self, *data))
    np.testing.assert_array_equal(evaluator.errors(run, 8), whole)
    assert trained == [1]


def test_kept_errors_that_are_damaged_are_made_again(searched, caplog):
    evaluator = evaluator_of(searched[0])
    run = evaluator.plan.run("head")
    whole, path = evaluator.errors(run, 9), evaluator.cache_path(run, 9)
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :])
        read = evaluation._read(path, len(whole))
        assert np.isnan(read).all() or np.array_equal(read, whole), f"byte {at}"
    for part in (content[:-1], content[: len(content) // 2], b"", content + b"x"):
        caplog.clear()
        path.write_bytes(part)
        np.testing.assert_array_equal(evaluator.errors(run, 9), whole)
        assert part.startswith(content) or "errors" in caplog.text


def test_kept_errors_are_of_the_weights_that_were_given(searched, monkeypatch):
    evaluator = evaluator_of(searched[0])
    run, found = evaluator.plan.run("head"), set()
    for given in ({}, {"mobilenetv2": {"sha256": "a"}}, {"mobilenetv2": {"sha256": "b"}}):
        monkeypatch.setattr(evaluator.store, "load_weights_list", lambda given=given: given)
        found.add(
            (evaluator.cache_path(run, 9), study._study_name(study.unit(evaluator.plan, evaluator.store, "head")))
        )
    assert len({path for path, _ in found}) == len({name for _, name in found}) == 3


@pytest.mark.parametrize("end", [bytes(30), b'{"op_code":8,"wor'])
def test_a_journal_whose_last_write_was_lost_goes_on(searched, end, caplog):
    flags, store = searched
    journal = store.root / "search" / "head" / "journal.log"
    journal.write_bytes(journal.read_bytes() + end)
    trials = len(pd.read_csv(store.search("head").files[0])) + 1
    search.main([*flags, "--trials", str(trials)])
    assert len(pd.read_csv(store.search("head").files[0])) == trials
    assert "journal.log was broken from line" in caplog.text


def test_a_journal_that_is_broken_before_its_end_is_told(searched):
    flags, store = searched
    journal = store.root / "search" / "head" / "journal.log"
    content = journal.read_bytes()
    journal.write_bytes(b"{" + content)
    with pytest.raises(UserError, match=r"line 1 of .*journal\.log is damaged.*--force"):
        search.main([*flags, "--trials", "100"])
    journal.write_bytes(content)


def test_a_run_that_starts_from_another_is_refused(searched):
    flags, _ = searched
    path = Path(flags[1])
    text = path.read_text().replace(
        "[[ensembles]]",
        """[[runs]]
name = "longer"
backbone = "mobilenetv2"
crop = "half"
start_from = "head"
fine_tune = { epochs = 1 }
[[ensembles]]""",
    )
    other = path.with_name("longer.toml")
    other.write_text(text)
    with pytest.raises(UserError, match=r"run longer starts from head, .*: search head"):
        search.main(["--plan", str(other), "--run", "longer", "--trials", "3"])


@pytest.mark.parametrize("name", SHIPPED)
def test_what_the_shipped_plans_try_every_run_of_theirs_can_have(name):
    plan = load_plan(name)
    for run in plan.runs if plan.search else ():
        if run.start_from:
            continue
        assert variants.check_search(plan, run, GZ2) is plan.search


def test_what_the_likelihood_of_the_labels_fixes_is_not_searched():
    plan, table = load_plan("demo"), {"kind": "class", "questions": [{"name": "ring", "answers": ["yes", "no"]}]}
    with pytest.raises(UserError, match=r"search.space.loss: labels of kind class .* take that setting out"):
        variants.check_search(plan, plan.runs[0], LabelTable.model_validate(table).schema("rings"))


@pytest.mark.slow
def test_fine_tuning_is_searched_too_and_hyperband_stops_what_does_not_pay(searched, tmp_path):
    flags, _ = searched
    text = Path(flags[1]).read_text().replace('pruner = "none"', 'pruner = "hyperband"')
    text = text.replace("head_phase = { epochs = 2 }", "fine_tune = { epochs = 1 }").partition("[search.space]")[0]
    path = Path(flags[1]).with_name("tuned.toml")
    path.write_text(
        text
        + '[search.space]\n"fine_tune.ema" = { choices = [0.0, 0.9] }\n"augment.zoom" = { low = 1.0, high = 1.5 }\n'
    )
    shutil.copytree(Path(flags[3]) / "searched", tmp_path / "tuned", ignore=shutil.ignore_patterns("search"))
    tuned = ["--plan", str(path), "--output", str(tmp_path), "--run", "head", "--trials", "3"]
    search.main(tuned)
    found = load_plan(str(Store(tmp_path / "tuned").search("head").files[1])).run("head")
    assert found.fine_tune.epochs == 1
    assert len(pd.read_csv(Store(tmp_path / "tuned").search("head").files[0])) == 3


@pytest.mark.slow
def test_killed_three_times_it_ends_with_as_many_trials(searched):
    flags, store = searched
    command = [sys.executable, "-m", "pipeline", "search", *flags, "--trials", "12"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    journal = store.root / "search" / "head" / "journal.log"
    for _ in range(3):
        before = journal.stat().st_size
        process = subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
        while process.poll() is None and journal.stat().st_size < before + 300:  # a trial is under way
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(command, env=environment, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    frame = pd.read_csv(store.search("head").files[0])
    assert len(frame) == 12
    assert frame["state"].isin(["complete", "pruned"]).all()


def test_the_trial_of_a_dead_process_is_made_again_with_its_settings(searched):
    flags, _ = searched
    request = cli.parse(search.arguments(), [*flags, "--trials", "20"], select=("run",))
    trials = search.trials_of(request)
    dead = trials.study.ask()
    dead.suggest_float("dropout", 0.0, 0.5)
    dead.set_user_attr("lock", ".trial-of-the-dead.lock")
    assert trials.run_one()
    states = {trial.number: trial.state.name for trial in trials.study.get_trials()}
    assert states[dead.number] == "FAIL"
    assert trials.completed()[-1].params["dropout"] == dead.params["dropout"]


def test_a_process_waits_for_what_another_is_at(searched, monkeypatch):
    flags, _ = searched
    request = cli.parse(search.arguments(), [*flags, "--trials", "1"], select=("run",))
    trials = search.trials_of(request)
    trials.n_trials = len(trials.finished()) + 1
    theirs, lock = trials._ask()
    theirs.set_user_attr("settings", {})
    waited = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        trials.study.tell(theirs, state=study._state("PRUNED"))

    monkeypatch.setattr(study, "_is_held", lambda lock: True)
    monkeypatch.setattr("time.sleep", wait)
    assert trials.run_one() is False
    assert waited == [study.POLL_SECONDS]
    locks.release(lock)


@pytest.mark.slow
def test_two_processes_share_the_trials(searched):
    flags, store = searched
    search.main([*flags, "--trials", "15", "--workers", "2"])
    assert len(pd.read_csv(store.search("head").files[0])) == 15


@pytest.mark.parametrize(
    ("low", "high", "verdict", "told"),
    [
        (
            0.0,
            0.0,
            "the same",
            ["no trial was better than head as it stands, which is the best plan: nothing is to be run"],
        ),
        (
            -0.1,
            0.1,
            "cannot tell",
            ["fresh folds do not show the best trial to be better than head as it stands: cannot tell"],
        ),
        (-0.2, -0.1, "better", []),
    ],
)
def test_only_what_is_better_is_recommended(searched, low, high, verdict, told):
    flags, _ = searched
    found = SimpleNamespace(
        required=lambda: {"low": low, "high": high, "verdict": verdict}, files=[Path("a"), Path("best.toml")]
    )
    lines = search.advice(found, cli.parse(cli.parser(""), flags, select=("run",)))
    assert lines[: len(told)] == told
    assert (lines[len(told) :] == []) == (verdict == "the same")
    assert any(line.startswith("run it by") for line in lines) == (verdict == "better")


def test_a_search_that_finds_nothing_better_says_so(tmp_path, searched):
    """All other trials train with a rate at which nothing is learnt."""
    _, store = searched
    shutil.copytree(store.root, tmp_path / "searched", ignore=shutil.ignore_patterns("search"))
    own = written(
        tmp_path, 'dropout = { choices = [0.2, 0.98] }\n"head_phase.learning_rate" = { choices = [3e-4, 1.0] }'
    )
    search.main([*own, "--trials", "2"])
    record = Store(tmp_path / "searched").search("head").record()
    assert (record["difference"], record["verdict"]) == (0.0, "the same")
    assert (
        "nothing better than that run as it stands" in Store(tmp_path / "searched").search("head").files[1].read_text()
    )


def test_a_result_of_another_run_is_not_replaced_unasked(tmp_path, searched, capsys):
    _, store = searched
    shutil.copytree(store.root, tmp_path / "searched")
    flags, found = written(tmp_path), Store(tmp_path / "searched").search("head")
    before = found.digest()
    path = tmp_path / "searched.toml"
    path.write_text(path.read_text().replace("batch_size = 16", "batch_size = 8"))
    with pytest.raises(
        UserError, match=r"the result of \d+ trials \(.* of work\) is replaced: run.batch_size: 16 -> 8"
    ):
        search.main([*flags, "--trials", "1"])
    assert found.digest() == before
    status.main(flags[:4])
    assert "outdated  search/head: batch_size: 16 -> 8" in capsys.readouterr().out
    search.main([*flags, "--trials", "1", "--yes"])
    assert found.required()["trials"] == 1
    status.main(flags[:4])
    assert "search/head" not in capsys.readouterr().out


def test_trials_are_not_forgotten_unasked(searched):
    flags, store = searched
    finished = len(pd.read_csv(store.search("head").files[0]))  # of all that were begun
    with pytest.raises(UserError, match=r"--force discards search/head: .* of work\).* add --yes") as told:
        search.main([*flags, "--trials", "1", "--force"])
    assert int(re.search(r"(\d+) trials", str(told.value))[1]) >= finished
    assert store.search("head").exists()
