"""Artifacts of another plan below the same output folder: what is the same is taken over, and nothing else."""

import os
import shutil

import pytest

from pipeline import cli
from pipeline.store import dependencies, sealed_json, takeover
from pipeline.store.artifacts import Store
from pipeline.store.records import save_json
from tests.builders import fabricated

OTHER_HEAD = "head_phase = { epochs = 1 }", "head_phase = { epochs = 4 }"
FROM_A = ["runs/a/fold0", "runs/a/fold1"]


@pytest.fixture
def donor(tmp_path):
    """The finished plan `mine`, features included; other plans of the tests differ in their run a."""
    plan = fabricated.plan(tmp_path)
    store = Store(tmp_path / "output" / "mine")
    fabricated.complete(plan, store)
    fabricated.make(dependencies.features(plan, store, plan.run("a")))
    return store


def request(tmp_path, *edits: tuple[str, str], more: tuple[str, ...] = ()) -> cli.Request:
    """A request for the plan `other`, which is `mine` after the edits."""
    path = fabricated.write_plan(tmp_path, *edits)
    path.rename(tmp_path / "other.toml")
    flags = ["--plan", str(tmp_path / "other.toml"), "--output", str(tmp_path / "output"), *more]
    return cli.parse(cli.parser("x"), flags, select=("run", "fold"))


def made(asked: cli.Request) -> dict[str, list[str]]:
    """Stage -> what is still to be made of it, each stage made whole before the next."""
    todo = {}
    for stage, makers in dependencies.STAGES.items():
        for maker in makers:
            units = asked.to_do(maker(asked.plan, asked.store))
            todo[stage] = todo.get(stage, []) + [unit.label for unit in units]
            for unit in units:
                fabricated.make(unit, "other" if unit.run == "a" else "1")
                if unit.label == "runs/a/fold0":
                    fabricated.make(dependencies.features(asked.plan, asked.store, asked.plan.run("a")))
    return todo


def test_what_is_the_same_is_taken_over_and_the_rest_is_made(tmp_path, donor):
    asked = request(tmp_path, OTHER_HEAD)
    todo = made(asked)
    assert todo["train"] == FROM_A
    assert todo["predict"] == [f"predictions of a/fold{fold}" for fold in (0, 1)]
    assert (todo["crops"], todo["baselines"], todo["insight"]) == ([], [], ["insight of a"])
    assert todo["inputs"] == ["inputs"]
    assert todo["report"] == ["report.html"]
    for here, there in ((asked.store.trained("b", 1), donor.trained("b", 1)), (asked.store.sky(), donor.sky())):
        here.verify()
        assert here.record() == there.record()


def test_what_is_made_anew_leaves_the_other_plan_as_it_was(tmp_path, donor):
    before = {path: path.read_bytes() for path in donor.root.rglob("*") if path.is_file()}
    asked = request(tmp_path, OTHER_HEAD)
    made(asked)
    assert os.path.samefile(asked.store.trained("b", 0).files[0], donor.trained("b", 0).files[0])
    again = request(tmp_path, OTHER_HEAD, more=("--force", "--yes", "--run", "b"))
    for unit in again.to_do(dependencies.train(again.plan, again.store)):
        unit.artifact.begin()
        for path in unit.artifact.files:
            with takeover.atomic(path) as temporary:
                temporary.write_text("anew")
        unit.finish()
    assert {path: path.read_bytes() for path in donor.root.rglob("*") if path.is_file()} == before


NOT_THE_SAME = {
    "another seed": lambda donor: ("seed = 1", "seed = 2"),
    "a damaged file": lambda donor: donor.trained("b", 0).files[0].write_text("x" * 40),
    "a file of the same size that is not what was written": lambda donor: (
        path := donor.trained("b", 0).files[0],
        path.write_text(path.read_text().swapcase()),
    )[1],
    "another crop": lambda donor: fabricated.make(
        next(unit for unit in dependencies.crops(PLAN[0], donor) if unit.label == "crops/small/train"), "2"
    ),
}
PLAN: list = []


@pytest.mark.parametrize("change", NOT_THE_SAME.values(), ids=NOT_THE_SAME)
def test_what_is_not_the_same_is_not_taken_over(tmp_path, donor, change):
    PLAN[:] = [fabricated.plan(tmp_path)]
    edit = change(donor)
    asked = request(tmp_path, *([edit] if isinstance(edit, tuple) else []))
    assert "runs/b/fold0" in made(asked)["train"]


def test_force_and_a_checkpoint_of_its_own_go_before(tmp_path, donor):
    asked = request(tmp_path)
    made(asked)
    shutil.rmtree(asked.store.root / "runs")
    forced = request(tmp_path, more=("--force",))
    assert len(forced.to_do(dependencies.train(forced.plan, forced.store))) == 4
    unit = next(unit for unit in dependencies.train(asked.plan, asked.store) if unit.label == "runs/b/fold1")
    folder = unit.artifact.record_path.parent
    folder.mkdir(parents=True)
    save_json(folder / "half-trained.json", sealed_json.sealed({"spec": unit.spec, "made_from": unit.made_from()}))
    (folder / "checkpoint.weights.h5").write_text("")
    (folder / "history.csv").write_text("phase,epoch,seconds\nfine-tune,1,600\n")
    assert [unit.label for unit in asked.to_do(dependencies.train(asked.plan, asked.store))] == ["runs/b/fold1"]


def test_a_head_is_taken_over_with_its_features_or_not_at_all(tmp_path, donor):
    asked = request(tmp_path)
    assert made(asked)["train"] == []
    assert asked.store.features("a").verified().read_text() == donor.features("a").verified().read_text()
    shutil.rmtree(asked.store.root)
    donor.features("a").record_path.unlink()
    assert made(asked)["train"] == FROM_A


def test_where_files_cannot_be_linked_they_are_copied(tmp_path, donor, monkeypatch):
    def refused(*paths):
        raise OSError("not permitted")

    monkeypatch.setattr(takeover.os, "link", refused)
    asked = request(tmp_path)
    assert made(asked)["train"] == []
    asked.store.trained("b", 0).verify()
    assert not os.path.samefile(asked.store.trained("b", 0).files[0], donor.trained("b", 0).files[0])
