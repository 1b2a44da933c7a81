"""Staleness all the way down, and what is said before work is lost."""

import re

import pytest

from pipeline import cli
from pipeline.commands import run, status
from pipeline.errors import UserError
from pipeline.execution import locks
from pipeline.stages import report
from pipeline.store import dependencies, sealed_json, staleness
from pipeline.store.artifacts import Store
from pipeline.store.records import save_json
from tests.builders import fabricated, stage_outputs

FOLDS_TOO = "folds = 2", "folds = 3"


@pytest.fixture
def store(tmp_path):
    """A store in which every unit is complete and every fold took an hour."""
    store = Store(tmp_path / "output" / "mine")
    plan = fabricated.plan(tmp_path)
    for unit in dependencies.all_units(plan, store):
        fabricated.make(unit)
        if unit.stage == "train":
            unit.artifact.write(unit.artifact.record() | {"train_seconds": 3600.0})
    return store


def flags(tmp_path, *more: str) -> list[str]:
    return ["--plan", str(tmp_path / "mine.toml"), "--output", str(tmp_path / "output"), *more]


def request(tmp_path, *more: str) -> cli.Request:
    return cli.parse(cli.parser("x"), flags(tmp_path, *more), select=("run", "fold"))


def test_what_is_made_from_something_stale_is_stale_however_far_down(tmp_path, store):
    changed, walk = fabricated.plan(tmp_path, FOLDS_TOO), staleness.Walk()
    states = {unit.label: walk.state(unit) for unit in dependencies.all_units(changed, store)}
    assert states["folds"][0] == "changed"
    for label in ("baselines/mean", "runs/a/fold0", "predictions of b/fold1", "insight of a", "submissions/both.csv"):
        assert states[label] == ("outdated", ["folds is changed"]), label
    complete = {label for label, (state, _) in states.items() if state == "complete"}
    assert complete == {
        "sky",
        "inputs",
        *(f"crops/{crop}/{split}" for crop in ("big", "small") for split in ("train", "test")),
    }


def test_status_tells_what_is_stale_and_how_long_it_took(tmp_path, store):
    fabricated.plan(tmp_path, FOLDS_TOO)
    lines = status.table(request(tmp_path))
    assert "    changed   folds: folds: 2 -> 3" in lines
    assert "  train      0 of 6 complete" in lines
    assert "    outdated  runs/a/fold0 to fold1: folds is changed" in lines
    assert "  report     0 of 1 complete" in lines
    assert lines[-1] == "what is changed or outdated took 4 h 00 min of work; to rebuild it is to discard that"


def test_force_says_all_that_is_lost_and_does_not_lose_it(tmp_path, store):
    fabricated.plan(tmp_path, FOLDS_TOO)
    before = {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}
    for command in (
        lambda: run.main([str(tmp_path / "mine.toml"), "--output", str(tmp_path / "output"), "--force", "folds"]),
        lambda: request(tmp_path, "--force").to_do(dependencies.folds(request(tmp_path).plan, store)),
    ):
        with pytest.raises(UserError) as told:
            command()
        assert str(told.value).startswith("rebuilding discards folds (0.0 s): ")
        assert (
            "where that comes out different, what is made from it: 2 of baselines (0.0 s), 4 of train (4 h 00 min)"
            in str(told.value)
        )
        assert str(told.value).endswith("No terminal to ask on: add --yes")
    assert {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("answer", ["y", ""])
def test_on_a_terminal_it_is_a_question(tmp_path, store, monkeypatch, answer):
    asked = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda text: asked.append(text) or answer)
    forced = request(tmp_path, "--force", "--run", "b", "--fold", "0")
    if answer:
        assert len(forced.to_do(dependencies.train(forced.plan, store))) == 1
    else:
        with pytest.raises(UserError, match="nothing was discarded"):
            forced.to_do(dependencies.train(forced.plan, store))
    assert len(asked) == 1
    assert asked[0].startswith("rebuilding discards runs/b/fold0 (1 h 00 min): 1 h 00 min of work")


def test_stale_results_are_not_shown_without_a_word(tmp_path, store, caplog, monkeypatch):
    monkeypatch.setattr(report, "show", lambda *_: "the leaderboard")
    report.main(flags(tmp_path))
    assert "OUTDATED" not in caplog.text
    fabricated.plan(tmp_path, ("seed = 1", "seed = 2"))
    report.main(flags(tmp_path))
    assert "report.html is OUTDATED: sky is changed; `./run.sh status --plan " in caplog.text


def test_yes_agrees_and_it_is_still_said(tmp_path, store, caplog):
    caplog.set_level("INFO")
    forced = request(tmp_path, "--force", "--yes")
    assert len(forced.to_do(dependencies.train(forced.plan, store))) == 4
    assert "rebuilding discards 4 of train (4 h 00 min): 4 h 00 min of work" in caplog.text


def test_what_is_discarded_is_counted_as_status_counts_it(tmp_path, store):
    """Features that are kept are lost as well: their time counts, they are no unit of the stage."""
    asked = request(tmp_path)
    features = dependencies.features(asked.plan, store, asked.plan.run("a"))
    stage_outputs.write(features.artifact, {"features.npy": ""}, features.spec, seconds=3600.0)
    with pytest.raises(UserError, match=r"^rebuilding discards 4 of train \(5 h 00 min\)"):
        run.main([str(tmp_path / "mine.toml"), "--output", str(tmp_path / "output"), "--force", "train"])


def test_what_is_made_from_a_corrupt_file_is_outdated_and_the_mend_is_told(tmp_path, store):
    path = store.trained("b", 1).files[0]
    path.write_text(path.read_text().swapcase())
    lines = status.table(request(tmp_path), status.Checked())
    (told,) = [line for line in lines if line.startswith("    corrupt   runs/b/fold1: ")]
    assert re.search(r"; restore a copy, or rebuild it by `./run.sh train .* --run b --fold 1 --force`$", told)
    assert "    outdated  predictions of b/fold1: runs/b/fold1 is corrupt" in lines
    assert not [line for line in lines if "outdated" in line and "of a/" in line]


def test_what_is_outdated_is_asked_for_as_well(tmp_path, store):
    """Its sources were rebuilt by a command of their own: it would be rebuilt without --force."""
    fabricated.make(fabricated.only(fabricated.plan(tmp_path), store, "folds"), "2")
    asked = request(tmp_path)
    with pytest.raises(UserError, match=r"4 of train \(4 h 00 min\).* add --yes"):
        asked.to_do(dependencies.train(asked.plan, store))
    with pytest.raises(UserError, match=r"4 of train \(4 h 00 min\).* add --yes"):
        run.main([str(tmp_path / "mine.toml"), "--output", str(tmp_path / "output")])


def test_moments_of_work_need_no_question(tmp_path, store):
    for makers in ("report", "submit", "ensemble"):
        forced = request(tmp_path, "--force")
        (maker,) = dependencies.STAGES[makers]
        assert forced.to_do(maker(forced.plan, store))


def half_train(store: Store, unit: dependencies.Unit) -> None:
    """Two epochs of a fold, of ten minutes each."""
    folder = unit.artifact.record_path.parent
    unit.artifact.record_path.unlink()
    key = {"spec": unit.spec, "made_from": unit.made_from()}
    save_json(folder / "half-trained.json", sealed_json.sealed(key))
    (folder / "checkpoint.weights.h5").write_text("weights")
    (folder / "history.csv").write_text("phase,epoch,seconds\nfine-tune,1,600\nfine-tune,2,600\n")


def test_a_half_trained_fold_resumes_unasked_and_is_not_thrown_away_unasked(tmp_path, store):
    plan = fabricated.plan(tmp_path)
    half_train(store, fabricated.only(plan, store, "runs/b/fold0"))
    asked = request(tmp_path, "--run", "b", "--fold", "0")
    assert len(asked.to_do(dependencies.train(asked.plan, store))) == 1
    told = "rebuilding discards runs/b/fold0 .20 min 00 s."
    with pytest.raises(UserError, match=told):
        request(tmp_path, "--run", "b", "--fold", "0", "--force").to_do(dependencies.train(plan, store))
    fabricated.plan(tmp_path, ("epochs = 2", "epochs = 2, patience = 3"))
    asked = request(tmp_path, "--run", "b", "--fold", "0")
    with pytest.raises(UserError, match=told):
        asked.to_do(dependencies.train(asked.plan, store))


def test_a_damaged_network_is_lost_already(tmp_path, store):
    plan = fabricated.plan(tmp_path)
    unit = fabricated.only(plan, store, "runs/b/fold0")
    unit.artifact.files[0].write_text("")
    assert not staleness.has_result(unit)
    forced = request(tmp_path, "--run", "b", "--fold", "0", "--force")
    assert forced.to_do(dependencies.train(plan, store)) == [unit]
    locks.release_all()


def test_nothing_there_fits_one_screen(tmp_path):
    competition = cli.parse(cli.parser("x"), ["--plan", "competition", "--output", str(tmp_path)])
    lines = status.table(competition)
    assert len(lines) <= 24
    assert "    missing   all 35" in lines
    assert max(map(len, lines)) <= 120


def test_check_says_what_it_compared(tmp_path, store):
    files = [path for unit in dependencies.all_units(fabricated.plan(tmp_path), store) for path in unit.artifact.files]
    assert len(set(files)) == len(files)
    told = f"check: {len(files)} files, 0 MB, were read and compared with their sha256: "
    assert status.table(request(tmp_path), status.Checked())[-1] == f"{told}all are what was written"
    path = store.trained("b", 1).files[0]
    path.write_text(path.read_text().swapcase())
    assert status.table(request(tmp_path), status.Checked())[-1] == f"{told}see above"
