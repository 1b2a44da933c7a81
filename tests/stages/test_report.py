"""The report: what it says, that it needs nothing else, and that a second call only shows it again."""

import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from pipeline.core import metrics, tree
from pipeline.report import caveats, formatting, leaderboard, page
from pipeline.report.sections import training
from pipeline.stages import report
from pipeline.store import dependencies
from pipeline.store.artifacts import Store
from pipeline.store.fractions import fractions_frame, load_fractions
from tests.builders import finished_plan, stage_outputs
from tests.builders.galaxy_zoo_2 import GZ2

VOID = {"meta", "link", "br", "img", "input", "hr"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder, path of the plan, plan, store) with a report."""
    folder = tmp_path_factory.mktemp("plan")
    path, plan, store = finished_plan.make(folder)
    report.main(["--plan", str(path), "--output", str(folder / "output")])
    return folder, path, plan, store


@pytest.fixture(scope="module")
def html(made):
    return made[3].report().files[2].read_text(encoding="utf-8")


class Checker(HTMLParser):
    """Collects what a browser would fetch and whether every element is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.ids, self.figures = [], [], [], []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.fetched += [
            v
            for k, v in attributes
            if k in ("src", "href", "xlink:href") and not (v or "").startswith(("#", "data:image/"))
        ]
        self.ids += [given["id"]] if "id" in given else []
        if tag == "figure":
            self.figures.append(given.get("aria-label"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_fetches_nothing(html):
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    assert checker.fetched == []
    assert len(checker.ids) == len(set(checker.ids))
    assert sum(alt is not None for alt in checker.figures) == 11
    assert all(checker.figures[i] for i, alt in enumerate(checker.figures) if alt is not None)
    assert not re.search(r"url\((?!#)|@import|<script src|https?://(?!www.w3.org)", html)
    assert len(html) < 8e6


def test_the_page_follows_light_and_dark(html):
    assert "prefers-color-scheme: dark" in html
    assert "var(--accent)" in html
    assert not re.search(r"#0([1-9a-e])(?:0\1){2}\b", html)  # colours that stand for the page's own


def test_every_figure_is_a_file_with_its_numbers(made):
    folder = made[3].root / "report"
    names = {path.stem for path in folder.glob("*.svg")}
    assert names == {path.stem for path in folder.glob("*.csv")}
    assert {"per-question", "per-answer", "agreement", "calibration", "deferral", "cost", "curves-vgg16"} <= names
    for path in folder.glob("*.svg"):
        svg = path.read_text(encoding="utf-8")
        assert svg.startswith("<svg")
        assert "var(--" not in svg
        assert not re.search(r"#0([1-9a-e])(?:0\1){2}\b", svg)
    assert not any(pd.read_csv(path).empty for path in folder.glob("*.csv"))


def test_it_says_the_score_the_weights_and_the_caveats(made, html):
    frame = leaderboard.read(made[3].report().files[0])
    best = frame[frame["kind"] == "ensemble"].iloc[0]
    assert f"{best['rmse']:.4f}" in html
    assert "RANDOM" in html
    assert "vgg16" in html
    assert "could not be used" in html
    assert "galaxies are synthetic" in html


def test_a_second_call_only_shows_it_again(made, capsys):
    folder, path, _, store = made
    before = store.report().files[2].stat().st_mtime_ns
    report.main(["--plan", str(path), "--output", str(folder / "output")])
    shown = capsys.readouterr().out
    assert store.report().files[2].stat().st_mtime_ns == before
    assert shown.startswith("name")
    for artifact in (store.submission("final"), store.submission("by-question")):
        assert str(artifact.files[0]) in shown
    assert str(store.report().files[2]) in shown


def test_showing_it_again_loads_neither_matplotlib_nor_jinja(made):
    folder, path, _, _ = made
    arguments = ["--plan", str(path), "--output", str(folder / "output")]
    code = f"""
import sys
from pipeline.stages import report
from pipeline.store.artifacts import Store
report.main({arguments!r})
assert not {{"matplotlib", "jinja2", "keras", "tensorflow", "sklearn"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_missing_fold_is_told(tmp_path, caplog):
    path, _, store = finished_plan.make(tmp_path, n=30)
    (store.root / "runs/vgg16/fold1/predictions.json").unlink()
    report.main(["--plan", str(path), "--output", str(tmp_path / "output")])
    assert "not in it, since it is missing: run vgg16 (2 of 3 folds predicted)" in caplog.text


def test_a_run_that_was_submitted_alone_is_in_the_report_as_an_ensemble_too(tmp_path, capsys):
    """Its answers were projected onto the tree: the score of its submission is not the run's."""
    path, plan, store = finished_plan.make(tmp_path, n=30)
    flags = ["--plan", str(path), "--output", str(tmp_path / "output")]
    report.main(flags)
    folds = [load_fractions(store.predicted("vgg16", k).verified("valid.parquet"), GZ2) for k in range(plan.folds)]
    made = pd.concat(folds).sort_index()
    oof = fractions_frame(made.index.to_numpy(), tree.project(GZ2, made.to_numpy()), GZ2)
    *_, alone = dependencies.ensemble(plan.with_run_alone("vgg16"), store)
    stage_outputs.write(
        alone.artifact,
        {"oof.parquet": oof, "test.parquet": oof},
        alone.spec,
        rmse=0.1,
        weights={"vgg16": 1.0},
        method="mean",
        scores={},
    )
    capsys.readouterr()
    report.main(flags)
    shown = re.findall(r"^(vgg16) +(run|ensemble) ", capsys.readouterr().out, re.MULTILINE)
    assert sorted(shown) == [("vgg16", "ensemble"), ("vgg16", "run")]
    board = leaderboard.read(store.report().verified("leaderboard.csv")).set_index(["name", "kind"])
    truth = store.load_labels().to_numpy()
    assert board.loc[("vgg16", "ensemble"), "rmse"] == pytest.approx(metrics.rmse(truth, oof[list(GZ2.columns)]), 1e-6)
    assert board.loc[("vgg16", "ensemble"), "rmse"] < board.loc[("vgg16", "run"), "rmse"]


def test_names_are_escaped(made):
    _, _, plan, store = made
    board = leaderboard.score_all(plan, store)
    store = Store(store.root, ("--plan", "<script>alert(1)</script>"))
    page_of = page.render(plan, store, board).html
    assert "<script>alert" not in page_of
    assert "&lt;script&gt;" in page_of


def test_an_outlier_fold_and_a_beaten_run_are_caveats(made):
    _, _, plan, store = made
    board = leaderboard.score_all(plan, store)
    assert not list(caveats.outlier_folds(board))
    assert not list(caveats.not_above_baseline(board))
    run = board.best("run")
    run.errors[board.fold_of == 1] *= 4
    assert any("Fold 1 of efficientnetb0" in caveat for caveat in caveats.outlier_folds(board))
    run.errors[:] *= 100
    assert any("does not beat" in caveat for caveat in caveats.not_above_baseline(board))


def test_an_ensemble_of_one_run_is_not_said_to_gain_nothing(made):
    _, _, plan, store = made
    board = leaderboard.score_all(plan, store)
    for entry in board.of_kind("ensemble"):
        entry.errors[:] = board.best("run").errors
    assert any("not significantly better" in caveat for caveat in caveats.ensemble_without_gain(plan, board))
    for entry in board.of_kind("ensemble"):
        entry.errors[:] *= 2
    (told,) = caveats.ensemble_without_gain(plan, board)
    assert f"is worse than the run {board.best('run').name} alone" in told
    alone = [ensemble.model_copy(update={"runs": ensemble.runs[:1]}) for ensemble in plan.ensembles]
    assert not list(caveats.ensemble_without_gain(plan.model_copy(update={"ensembles": alone}), board))


@pytest.mark.parametrize(("file", "told"), [("zoobot.safetensors", True), ("x.PTH", True), ("notop.h5", False)])
def test_a_convnext_from_a_file_that_may_know_the_galaxies_is_a_caveat(tmp_path, file, told):
    _, plan, store = finished_plan.make(tmp_path, n=30)
    run = plan.runs[0].model_copy(update={"backbone": "convnexttiny"})
    plan = plan.model_copy(update={"runs": [run], "sky": None})
    assert not list(caveats.weights_that_may_know_the_galaxies(plan, store))
    for fold in range(plan.folds):
        weights = {"source": "file", "path": f"/x/{file}", "sha256": "ab" * 32}
        files = {"model.weights.h5": "", "history.csv": ""}
        stage_outputs.write(store.trained(run.name, fold), files, {"backbone": run.backbone}, weights=weights)
    found = list(caveats.weights_that_may_know_the_galaxies(plan, store))
    assert len(found) == told
    assert all(run.name in caveat and "Zoobot" in caveat for caveat in found)


def test_curves_bear_missing_numbers():
    gaps = pd.DataFrame({"phase": ["head"] * 3, "epoch": [0, 1, 2], "val_rmse": [np.nan, 0.2, 0.1], "rmse": np.nan})
    drawn = training.learning_curves("a", [gaps, gaps[["phase", "epoch"]]], training.scale_of([gaps])).inline()
    assert drawn.startswith("<svg viewBox=")
    assert "held out" in drawn
    assert "training" not in drawn


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.4, "0.4 s"), (12, "12 s"), (200, "3 min 20 s"), (3900, "1 h 05 min"), (float("nan"), "\u2013")],
)
def test_durations(seconds, told):
    assert formatting.duration(seconds) == told
