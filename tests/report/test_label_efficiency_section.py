"""What the report says on numbers of labels: only as much as the draws show."""

import itertools
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from pipeline.plans.config import load_plan
from pipeline.report.sections import label_efficiency as section
from pipeline.stages import report
from pipeline.store.artifacts import Store
from tests.builders import finished_plan

SIZES = (50, 100, 200, 400)
ACCURACY = ("accuracy", "accuracy", True)
START = {"from": ["laptop-best"], "known": 90, "by_image": 3, "galaxies": 100, "trained_on": 7000, "untold": ["x is y"]}


def table(ahead: float, noise: float, repeats: int = 3) -> pd.DataFrame:
    """Accuracies that grow by 0.1 with each doubling, those from galaxies `ahead` by so much, and noise by repeat."""
    rows, rng = [], np.random.default_rng(0)
    for start, repeat, (i, size) in itertools.product(("galaxies", "imagenet"), range(repeats), enumerate(SIZES)):
        score = 0.4 + 0.1 * i + ahead * (start == "galaxies") + rng.normal(0, noise)
        rows.append({"start": start, "labels": size, "repeat": repeat, "accuracy": score, "seconds": 1.0})
    return pd.DataFrame(rows)


def facts(**more) -> dict:
    keys = ("name", "title", "larger_is_better")
    made = {"measure": dict(zip(keys, ACCURACY, strict=True)), "tuned": False, "run": "vgg16", "pool": 500}
    return (
        made
        | {"held_out": 250, "start": START, "start_label": "laptop-best/runs/mobilenetv2", "imagenet_file": "m.h5"}
        | more
    )


def sentence(*args, **more) -> str:
    return section.Found.of(facts(**more), table(*args)).sentence()


def test_labels_are_worth_what_the_curves_say():
    assert sentence(0.1, 0.0) == (
        "200 labels from galaxies are worth 400 from ImageNet (as in each of 3 draws of the labels): accuracy "
        "70.0 % against 60.0 %."
    )


def test_the_draws_give_the_range():
    assert re.search(r"are worth \d+ from ImageNet \(\d+ to (more than )?\d+ over 3 draws", sentence(0.05, 0.005))


def test_what_lies_beyond_the_sizes_is_said_to():
    assert "are worth more than 400 from ImageNet (as in each of 3 draws" in sentence(0.3, 0.0)
    assert "are worth fewer than 50 from ImageNet" in sentence(-0.3, 0.0)


def test_what_the_draws_do_not_tell_apart_is_said_to():
    said = sentence(0.001, 0.05)
    assert said.startswith("200 labels from galaxies and from ImageNet cannot be told apart: accuracy ")
    assert re.search(r"a difference of [+−]\d+\.\d % \(−.* to \+.*\) over 3 draws of the labels\.$", said)  # noqa: RUF001


def test_of_a_single_draw_no_interval_is_claimed():
    assert "are worth 400 from ImageNet (by one: 1 draw of the labels)" in sentence(0.1, 0.0, 1)


def test_the_interval_of_a_share_ends_at_all_and_at_none():
    few = table(0.0, 0.3, 2)
    curves = section.Found.of(facts(), few.assign(accuracy=few["accuracy"].clip(0.02, 0.98))).curves()
    assert (curves["low"].min(), curves["high"].max()) == (0, 1)
    errors = section.Found.of(facts(measure={"name": "rmse", "title": "RMSE", "larger_is_better": False}),
                              few.rename(columns={"accuracy": "rmse"})).curves()  # fmt: skip
    assert errors["low"].min() == 0
    assert errors["high"].max() > 1


def test_of_one_start_alone_nothing_is_compared():
    alone = table(0.1, 0.0)
    alone = alone[alone["start"] == "galaxies"]
    assert section.Found.of(facts(), alone).sentence() == "There are no two starts to compare."


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished plan whose run was measured."""
    path, _, store = finished_plan.make(tmp_path_factory.mktemp("plan"))
    found = section.Found.of(facts(), table(0.1, 0.01))
    artifact = store.efficiency("vgg16", tuned=False)
    artifact.begin()
    texts = (found.table.to_csv(index=False), found.curves().to_csv(index=False), found.figure().file())
    for file, text in zip(artifact.files, texts, strict=True):
        file.write_text(text)
    artifact.finish({}, {}, **facts())
    return SimpleNamespace(flags=["--plan", str(path), "--output", str(store.root.parent)], store=store, found=found)


def test_the_report_has_the_sentence_the_figure_and_its_numbers(made):
    report.main(made.flags)
    page = made.store.report().verified("report.html").read_text()
    assert made.found.sentence() in page
    assert "How many labels it takes" in page
    assert "90 of the 100 galaxies here" in page
    assert "Caveat: x is y." in page
    assert "the weights that were given: m.h5" in page
    numbers = pd.read_csv(made.store.root / "report" / "labels-vgg16-heads.csv")
    assert numbers.columns.tolist() == ["start", "labels", "mean", "low", "high"]
    own = made.found.table.query("start == 'imagenet' and labels == 100")["accuracy"]
    assert numbers.query("start == 'imagenet' and labels == 100")["mean"].item() == pytest.approx(own.mean())
    assert (made.store.root / "report" / "labels-vgg16-heads.svg").is_file()


def test_a_plan_that_was_not_measured_has_no_section(tmp_path):
    assert section.section(SimpleNamespace(plan=load_plan("demo"), store=Store(tmp_path))) is None
