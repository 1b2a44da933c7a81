"""A part of a plan: what each stage is asked for, and that it becomes a submission and a report."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from pipeline.commands import run
from pipeline.errors import UserError
from pipeline.plans.config import load_plan
from pipeline.report import leaderboard
from pipeline.stages import ensemble, report, submit
from pipeline.store import dependencies
from pipeline.store.artifacts import Store
from pipeline.store.fractions import load_fractions
from tests.builders import fabricated, finished_plan, stage_outputs
from tests.builders.galaxy_zoo_2 import GZ2

RUN_ON = """
[[runs]]
name = "on"
backbone = "mobilenetv2"
crop = "small"
start_from = "b"
fine_tune = { epochs = 1 }
"""


def asked(monkeypatch, tmp_path, *more: str) -> list[tuple[str, str | None]]:
    """(stage, what its --run names) of every call that a command makes."""
    called = []

    def stage(name: str):
        def main(flags: list[str]) -> None:
            called.append((name, flags[flags.index("--run") + 1] if "--run" in flags else None))

        return type("module", (), {"main": staticmethod(main)})

    monkeypatch.setattr(run.importlib, "import_module", lambda name: stage(name.rpartition(".")[2]))
    path = fabricated.write_plan(tmp_path, more=RUN_ON)
    run.main([str(path), "--output", str(tmp_path / "output"), *more])
    return called


def test_without_run_every_stage_makes_all(monkeypatch, tmp_path):
    assert asked(monkeypatch, tmp_path) == [(stage, None) for stage in dependencies.STAGES]


def test_a_run_is_made_after_what_it_starts_from(monkeypatch, tmp_path):
    called = asked(monkeypatch, tmp_path, "--run", "on")
    assert [name for stage, name in called if stage == "train"] == ["b", "on"]
    assert [name for stage, name in called if stage in ("ensemble", "submit")] == ["on", "on"]
    assert [stage for stage, name in called if name is None] == ["folds", "crops", "baselines", "report"]
    assert called[0] == ("inputs", "on")


def test_an_ensemble_asks_for_its_runs(monkeypatch, tmp_path):
    called = asked(monkeypatch, tmp_path, "--run", "both")
    assert [name for stage, name in called if stage == "predict"] == ["a", "b"]
    assert [name for stage, name in called if stage == "submit"] == ["both"]


def test_what_the_plan_does_not_have_is_answered_with_what_it_has(monkeypatch, tmp_path):
    with pytest.raises(UserError, match=r"^--run c: plan mine has the runs and ensembles a, b, on, both, alone$"):
        asked(monkeypatch, tmp_path, "--run", "c")


@pytest.fixture
def copied(survey, tmp_path):
    """(path of a plan, flags, store) of a finished plan that may be changed."""
    shutil.copytree(survey.store.root, tmp_path / "survey")
    plan = tmp_path / "survey.toml"
    plan.write_text(Path(survey.flags[1]).read_text())
    return plan, ["--plan", str(plan), "--output", str(tmp_path)], Store(tmp_path / "survey", survey.store.flags)


def test_what_a_later_stage_would_refuse_stops_a_run_before_it_begins(copied, monkeypatch):
    plan, flags, store = copied
    begun = []
    monkeypatch.setattr(run.importlib, "import_module", begun.append)
    plan.write_text(re.sub('method = ".*"', 'method = "mean"', plan.read_text()))
    store.trained("head", 0).record_path.unlink()  # so that there is training to do
    with pytest.raises(UserError, match=r"ensembles/final was not made by this plan: method: .* -> mean"):
        run.main([*flags[1:], "--yes"])
    assert begun == []


@pytest.mark.parametrize(("stage", "name"), [(ensemble, "ensemble"), (submit, "submit")])
def test_a_stage_is_not_complete_where_earlier_ones_are_to_run_first(copied, caplog, stage, name):
    _, flags, store = copied
    submit.main(flags)
    trained = store.trained("head", 0)
    trained.write({key: value for key, value in trained.required().items() if key != "seal"} | {"digest": "0" * 64})
    caplog.set_level("INFO")
    outdated = "predictions of head/fold0 is outdated; "
    with pytest.raises(UserError, match=f"^{name}: 1 of 1 OUTDATED, and earlier stages are to run first: {outdated}"):
        stage.main(flags)
    assert f"{name:<10} complete" not in caplog.text
    stage.main([*flags, "--force", "--yes"])
    assert f"{name:<10} is made from what is OUTDATED: {outdated}" in caplog.text


@pytest.fixture
def part(tmp_path):
    """(flags, store) of a plan with one of its two runs predicted, and no ensemble."""
    path, plan, store = finished_plan.make(tmp_path)
    for spec in plan.ensembles:
        for artifact in (store.ensemble(spec.name), store.submission(spec.name)):
            artifact.record_path.unlink()
    for fold in range(1, plan.folds):
        store.predicted("efficientnetb0", fold).record_path.unlink()
    store.baseline("ridge").record_path.unlink()
    return ["--plan", str(path), "--output", str(tmp_path / "output")], store


def test_a_report_of_a_part_says_what_is_missing_and_is_made_anew_with_the_rest(part, tmp_path, caplog):
    flags, store = part
    report.main(flags)
    board = leaderboard.read(store.report().verified("leaderboard.csv"))
    assert set(board["name"]) == {"vgg16", "mean"}
    html = store.report().verified("report.html").read_text(encoding="utf-8")
    missing = "run efficientnetb0 (1 of 3 folds predicted), baseline ridge, ensemble final, ensemble by-question"
    assert f"What is missing: {missing}." in html
    assert "not in it, since it is missing: ensemble final" in caplog.text
    again = store.report().record_path.stat().st_mtime_ns
    report.main(flags)
    assert store.report().record_path.stat().st_mtime_ns == again, "nothing to do"
    finished_plan.make(tmp_path)  # the rest
    report.main(flags)
    assert len(leaderboard.read(store.report().verified("leaderboard.csv"))) == 6


def test_a_run_alone_becomes_a_submission_under_its_name(part, capsys):
    flags, store = part
    everyone = store.load_labels()
    for fold in range(3):  # of the galaxies of the sample
        one = store.predicted("vgg16", fold)
        frames = {"valid.parquet": load_fractions(one.verified("valid.parquet"), GZ2), "test.parquet": everyone}
        stage_outputs.write(one, frames, {"views": "dihedral8"}, seconds=1.0, images_per_second=9.0, rmse=0.1)
    for stage in (ensemble, submit):
        stage.main([*flags, "--run", "vgg16"])
    first = store.submission("vgg16").verified().read_text().splitlines()[0]
    assert first == ",".join(["GalaxyID", *GZ2.columns])
    assert store.ensemble("vgg16").record()["weights"] == {"vgg16": 1.0}
    report.main(flags)
    assert f"submission {store.submission('vgg16').files[0]}" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"efficientnetb0/fold1.*missing"):
        ensemble.main([*flags, "--run", "efficientnetb0"])


def test_without_a_complete_run_there_is_nothing_to_report(tmp_path):
    path = fabricated.write_plan(tmp_path)
    plan, store = load_plan(str(path)), Store(tmp_path / "output" / "mine")
    fabricated.complete(plan, store)
    for name in ("a", "b"):
        store.predicted(name, 0).record_path.unlink()
    with pytest.raises(UserError, match=r"report\.html waits for a/fold0"):
        report.main(["--plan", str(path), "--output", str(tmp_path / "output")])


def test_what_run_has_made_of_a_run_alone_is_brought_up_to_date_with_the_plan_or_told(survey, tmp_path, capsys):
    shutil.copytree(survey.store.root, tmp_path / "survey")
    flags, store = [*survey.flags[:2], "--output", str(tmp_path)], Store(tmp_path / "survey", survey.store.flags)
    for stage in (ensemble, submit):
        stage.main([*flags, "--run", "head"])
    report.main(flags)
    line = f"submission {store.submission('head').files[0]}"
    assert line in capsys.readouterr().out.splitlines()
    predicted = store.predicted("head", 0)
    predicted.write({key: value for key, value in predicted.required().items() if key != "seal"} | {"digest": "0" * 64})
    report.main(flags)
    assert f"{line}  OUTDATED: `./run.sh status {shlex.join(flags)}` says why" in capsys.readouterr().out.splitlines()
    for stage in (ensemble, submit):
        stage.main(flags)
    assert store.ensemble("head").fact("made_from", dict)["head/fold0"] == "0" * 64
    report.main(flags)
    assert line in capsys.readouterr().out.splitlines()
