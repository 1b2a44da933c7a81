"""From images without a label to a trained plan, to more answers, to a plan trained anew; and what stays as it was."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.commands.label import advice as advising
from pipeline.core import acquisition, metrics
from pipeline.errors import UserError
from pipeline.labelled import unlabelled as pool
from pipeline.plans.config import load_plan
from pipeline.report import chance
from pipeline.stages import crops, folds, inputs, train
from pipeline.store import answers, dependencies
from pipeline.store.artifacts import Store
from tests.builders import unlabelled
from tests.builders.unlabelled import line

WAYS = (("smooth",), ("disc", "few"), ("disc", "many"))


def prepared(tmp_path: Path, n: int) -> tuple[list[str], Store]:
    unlabelled.folder(tmp_path, n)
    given = ["--plan", str(unlabelled.plan(tmp_path)), "--output", str(tmp_path / "output")]
    return given, Store(tmp_path / "output" / "mine")


def answer(store: Store, numbers: range) -> None:
    for i in numbers:
        answers.append(store.answers(), line(f"g{i:02d}", *WAYS[i % 3]))


def test_more_answers_outdate_the_inputs_and_are_trained_on_by_the_next_run(tmp_path):
    given, store = prepared(tmp_path, 16)
    place = ["--input", str(tmp_path / "mine")]
    with pytest.raises(UserError, match=r"expected a table of labels.*\./run\.sh label"):
        inputs.main([*given, *place])
    answer(store, range(9))
    inputs.main([*given, *place])
    for stage in (folds, crops):
        stage.main(given)
    assert store.load_labels().index.tolist() == [f"g{i:02d}" for i in range(9)]
    before = store.inputs().digest()
    inputs.main(given)  # the folder is remembered, and nothing is new
    assert store.inputs().digest() == before
    answers.append(store.answers(), replace(line("g15"), state="skipped"))
    plan = load_plan(given[1])
    (unit,) = dependencies.inputs(plan, store)
    assert unit.state()[0] == "complete"
    answer(store, range(9, 12))
    (unit,) = dependencies.inputs(plan, store)
    assert unit.state() == ("outdated", ["what people answered was rebuilt"])
    for stage in (inputs, folds, crops):
        stage.main([*given, "--yes"])
    assert len(store.load_labels()) == len(store.load_folds()) == len(store.load_crops("whole", "train")[1]) == 12
    assert store.inputs().fact("by_people", int) == 12


def test_the_score_on_galaxies_that_came_by_chance_is_told_beside_that_of_all(tmp_path):
    given, store = prepared(tmp_path, 24)
    for i in range(24):
        chosen = "random" if i < 12 else "rule"
        answers.append(store.answers(), replace(line(f"g{i:02d}", *WAYS[i % 3]), chosen=chosen))
    inputs.main([*given, "--input", str(tmp_path / "mine")])
    ids, errors = store.load_labels().index.to_numpy(), np.where(np.arange(24) < 12, 0.5, 0.1)
    (told,) = chance.caveats(store, store.schema(), "final", ids, errors)
    score = metrics.deciding(store.schema()).of(errors[:12])
    assert told.startswith("12 of 24 galaxies were chosen to be labelled, since they teach most, and are unlike")
    assert "on the 12 that came by chance final has a " in told
    assert f" of {score:.4f} (95 % interval {score:.4f} to {score:.4f}), which holds for all." in told
    (few,) = chance.caveats(store, store.schema(), "final", ids[4:], errors[4:])
    assert few.endswith("8 came by chance, too few for a score of their own.")
    assert not list(chance.caveats(store, store.schema(), "final", ids[:12], errors[:12])), "none was chosen"


def test_without_answers_a_record_is_as_it_was(tmp_path):
    given, store = prepared(tmp_path, 12)
    rows = [f"g{i:02d},{way[0]},{way[1] if len(way) > 1 else ''}" for i in range(9) for way in [WAYS[i % 3]]]
    (tmp_path / "mine" / "labels.csv").write_text("\n".join(["id,shape,arms", *rows]) + "\n")
    inputs.main([*given, "--input", str(tmp_path / "mine")])
    before = store.inputs().required()
    assert before["made_from"] == {}
    assert not {"by_people", "train_images"} & set(before)
    answers.append(store.answers(), line("g09", "smooth"))
    inputs.main(given)
    after = store.inputs().required()
    assert after["spec"] == before["spec"]
    assert after["digest"] != before["digest"]
    (store.answers() / "anna.jsonl").unlink()
    inputs.main(given)
    again = store.inputs().required()
    assert {key: again[key] for key in again if key != "made"} == {key: before[key] for key in before if key != "made"}


def test_a_trained_run_chooses_and_says_which_it_was(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    given, store = prepared(tmp_path, 30)
    answer(store, range(12))
    inputs.main([*given, "--input", str(tmp_path / "mine")])
    for stage in (folds, crops, train):
        stage.main(given)
    plan, found = load_plan(given[1]), pool.find(tmp_path / "mine", str(tmp_path / "asked.toml"))
    there = answers.read(store.answers())
    advice = advising.advise(plan, store, found.schema, found.images, there)
    assert advice.model["name"] == "mine/runs/a"
    assert advice.model["rule"] == acquisition.RULE
    assert set(advice.joint) == set(found.images.names)
    wanted = {one for one in set(found.images.names) - {f"g{i:02d}" for i in range(12)}
              if acquisition.chance(one) >= acquisition.BY_CHANCE}  # fmt: skip
    assert set(advice.chosen) == wanted
    changed = unlabelled.TWO.replace('"many"', '"lots"')
    (tmp_path / "asked.toml").write_text(changed)
    other = pool.find(tmp_path / "mine", str(tmp_path / "asked.toml"))
    assert advising.advise(plan, store, other.schema, other.images, there) == advising.Advice()
    assert "in random order: the label schema has changed" in caplog.text
