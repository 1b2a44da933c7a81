"""The report's page on a search: there when there was one, with the numbers of its record."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from pipeline.plans.config import Plan, load_plan
from pipeline.plans.search_space import Setting
from pipeline.report.sections import search as section
from pipeline.stages import report
from pipeline.store import superseded
from pipeline.store.artifacts import Store
from tests.builders import finished_plan

SPACE = {
    "dropout": {"low": 0.0, "high": 0.6},
    "head_phase.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "hidden": {"choices": [0, 64, 256]},
}
TRIALS = """number,state,rmse,seconds,first,dropout,head_phase.learning_rate,hidden
0,complete,0.1400,2.0,True,0.2,0.0003,0
1,pruned,,1.0,False,0.5,0.01,256
2,complete,0.1390,2.0,False,0.1,0.001,64
3,complete,0.1500,2.0,False,0.6,0.0001,256
"""
FOUND = {
    "trials": 4, "fresh_best": 0.1395, "fresh_before": 0.1398, "difference": -0.0003, "low": -0.0007, "high": 0.0001,
    "verdict": "cannot tell", "best": 0.1390, "before": 0.1400, "optimism": 0.0007, "luck": 0.0002, "seconds": 7.0,
    "importance": {"hidden": 0.7, "dropout": 0.2, "head_phase.learning_rate": 0.1},
    "settings": {"dropout": 0.1, "head_phase.learning_rate": 0.001, "hidden": 64},
}  # fmt: skip


def search(plan: Plan, store: Store) -> None:
    """A search for better settings of vgg16, as its stage leaves it."""
    artifact = store.search("vgg16")
    artifact.begin()
    texts = (TRIALS, "", "seed,run,rmse\n7,best,0.1395\n7,before,0.1398\n")
    for path, text in zip(artifact.files, texts, strict=True):
        path.write_text(text)
    artifact.finish({"run": plan.run("vgg16").model_dump(mode="json"), "search": {"space": SPACE}}, {}, **FOUND)


@pytest.fixture
def material(tmp_path):
    """The demo, searched."""
    plan, store = load_plan("demo"), Store(tmp_path)
    search(plan, store)
    return SimpleNamespace(plan=plan, store=store)


def test_without_a_search_there_is_no_section(tmp_path):
    assert section.section(SimpleNamespace(plan=load_plan("demo"), store=Store(tmp_path))) is None


def test_what_was_found_stands_in_the_first_sentence(material):
    made = section.section(material)
    assert "4 trials changed the RMSE of vgg16 by −0.00030 (−0.00070 to +0.00010)" in made.finding  # noqa: RUF001
    assert made.finding.endswith("on fresh folds: cannot tell.")


def test_settings_come_by_importance_with_what_they_were(material):
    run = section.section(material).facts["runs"][0]
    assert [row["key"] for row in run["settings"]] == ["hidden", "dropout", "head_phase.learning_rate"]
    assert [(row["before"], row["best"]) for row in run["settings"]] == [(0, 64), (0.2, 0.1), (0.0003, 0.001)]
    assert run["scored"] == 3
    assert run["fresh"] == [{"seed": 7, "best": 0.1395, "before": 0.1398}]


def test_the_figures_hold_all_trials_and_say_what_they_show(material):
    history, importance, parallel = section.section(material).figures
    assert len(history.numbers) == 4
    assert history.alt == "RMSE of 3 trials of vgg16 in order; the best reaches 0.1390."
    assert importance.alt.endswith("most by hidden.")
    assert parallel.numbers["rmse"].tolist() == [0.15, 0.14, 0.139]
    assert "the best 1 of them" in parallel.alt


def test_with_too_few_trials_importance_is_left_out(material):
    found = material.store.search("vgg16")
    found.write(found.record() | {"importance": {}, "before": None, "optimism": None, "luck": None})
    made = section.section(material)
    assert [figure.name for figure in made.figures] == ["search-vgg16-history", "search-vgg16-parallel"]


def test_the_report_is_made_anew_with_the_search_in_it(tmp_path):
    path, plan, store = finished_plan.make(tmp_path)
    flags = ["--plan", str(path), "--output", str(tmp_path / "output")]
    report.main(flags)
    page = store.report().files[2]
    assert "Hyper-parameter search" not in page.read_text()
    search(plan, store)
    report.main(flags)
    shown = page.read_text()
    assert '<h2 id="search">Hyper-parameter search</h2>' in shown
    assert "head_phase.learning_rate" in shown
    assert "+0.00020<small>upper estimate of what" in shown
    assert (store.root / "report" / "search-vgg16-parallel.svg").is_file()
    assert "is of an earlier plan" not in shown


def test_a_search_of_another_run_or_of_other_galaxies_is_told(tmp_path):
    _, plan, store = finished_plan.make(tmp_path)
    search(plan, store)
    assert not list(superseded.sentences(plan, store))
    record = store.search("vgg16").required()
    changed = record["spec"]["run"] | {"dropout": 0.5}
    store.search("vgg16").finish(record["spec"] | {"run": changed}, {"inputs": "0" * 64}, **FOUND)
    told = ["The search of vgg16 is of an earlier plan, and may not hold for this one: dropout: 0.5 -> 0.2; inputs are "
            "others."]  # fmt: skip
    assert list(superseded.sentences(plan, store)) == told


EDGES = {
    "inside": ({"low": 0.0, "high": 0.6}, 0.3, False),
    "the top": ({"low": 5, "high": 30}, 30, True),
    "nearly the bottom": ({"low": 1e-4, "high": 1e-2, "log": True}, 1.05e-4, True),
    "a choice has no edge": ({"choices": [0, 64, 256]}, 256, False),
}


@pytest.mark.parametrize(("tried", "value", "expected"), EDGES.values(), ids=EDGES)
def test_values_at_the_edge_of_their_range_are_marked(tried, value, expected):
    assert section.at_edge(value, Setting.model_validate(tried)) is expected


HEIGHTS = {
    "a range": ({"low": 2, "high": 6}, [2, 3, 6], [0, 0.25, 1]),
    "by ratios": ({"low": 1e-4, "high": 1e-2, "log": True}, [1e-4, 1e-3, 1e-2], [0, 0.5, 1]),
    "choices": ({"choices": ["first", "block", "last"]}, ["last", "first"], [1, 0]),
    "numbers that an empty row made floats": ({"choices": [0, 64, 256]}, [64.0, 256.0], [0.5, 1]),
    "true and false": ({"choices": [True, False]}, [False, True], [1, 0]),
    "floats": ({"choices": [1.0, 0.5]}, [0.5, 1.0], [1, 0]),
}


@pytest.mark.parametrize(("tried", "values", "expected"), HEIGHTS.values(), ids=HEIGHTS)
def test_places_on_an_axis(tried, values, expected):
    found = section.position(pd.Series(values), Setting.model_validate(tried))
    np.testing.assert_allclose(found, expected, atol=1e-12)
