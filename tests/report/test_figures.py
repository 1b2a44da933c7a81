"""Every figure as it is laid out: no text on another, no legend on a line, whatever the labels and the numbers."""

from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace

import matplotlib.figure
import numpy as np
import pandas as pd
import pytest

from pipeline.core import tree
from pipeline.core.labels import Question, Schema
from pipeline.report import answers, figure, leaderboard
from pipeline.report.material import Material
from pipeline.report.sections import accuracy, calibration, class_scores, feature_maps, leaderboard_table, votes
from tests.builders import finished_plan
from tests.builders.galaxy_zoo_2 import GZ2

N = 200


def question(number: int, count: int, word: str) -> Question:
    texts = tuple(f"{word} {i} of a very long description" for i in range(1, count + 1))
    columns = tuple(f"q{number}_{i}" for i in range(count))
    return Question(number, f"q{number}", f"question {number} of many words", texts, texts, columns, ())


def one_question(kind: str, count: int, word: str = "answer") -> Schema:
    return Schema("own", kind, (question(1, count, word),))


TWO, MANY = one_question("fractions", 2), one_question("fractions", 34)
FIFTEEN = Schema("fifteen", "fractions", tuple(question(i, 2, f"the {i}.") for i in range(1, 16)))
SCHEMAS = [
    pytest.param(GZ2, id="Galaxy Zoo 2"),
    pytest.param(TWO, id="one question of two"),
    pytest.param(MANY, id="one of 34", marks=pytest.mark.slow),
    pytest.param(FIFTEEN, id="fifteen questions", marks=pytest.mark.slow),
]


@pytest.fixture
def canvases(monkeypatch):
    """Canvases that were drawn, in order."""
    seen, save = [], matplotlib.figure.Figure.savefig
    monkeypatch.setattr(
        matplotlib.figure.Figure, "savefig", lambda self, *a, **k: (seen.append(self), save(self, *a, **k))[1]
    )
    return seen


def texts_of(axes):
    """All texts that are to be read of a panel."""
    if not axes.axison:
        return [text for text in (*axes.texts, axes.title) if text.get_text().strip()]
    ticks = [*axes.get_xticklabels(), *axes.get_yticklabels(), *axes.get_xticklabels(minor=True)]
    inside = [text for text in ticks if text.get_visible() and _in_view(axes, text)]
    return [t for t in (*inside, *axes.texts, axes.xaxis.label, axes.yaxis.label, axes.title) if t.get_text().strip()]


def _in_view(axes, text) -> bool:
    """Matplotlib keeps labels of ticks outside the limits, which it does not draw."""
    x, y = text.get_position()
    across = text in axes.get_xticklabels() or text in axes.get_xticklabels(minor=True)
    low, high = sorted(axes.get_xlim() if across else axes.get_ylim())
    return low <= (x if across else y) <= high


def require_readable(canvas) -> None:
    canvas.set_dpi(72)  # as it is saved: widths of letters depend on it
    page = canvas.bbox
    for axes in canvas.axes:
        boxes = [(text.get_text(), text.get_window_extent()) for text in texts_of(axes)]
        for (one, a), (other, b) in combinations(boxes, 2):
            apart = min(a.x1, b.x1) - max(a.x0, b.x0) < 2 or min(a.y1, b.y1) - max(a.y0, b.y0) < 2  # pixels
            assert apart, f"{one!r} lies on {other!r}"
        for text, box in boxes:
            inside = box.x0 > page.x0 - 1 and box.x1 < page.x1 + 1 and box.y0 > page.y0 - 1 and box.y1 < page.y1 + 1
            assert inside, f"{text!r} is cut"
    legends = [*canvas.legends, *(axes.get_legend() for axes in canvas.axes if axes.get_legend())]
    for legend in legends:
        box = legend.get_window_extent()
        assert page.x0 - 1 < box.x0, "a legend is cut"
        assert box.x1 < page.x1 + 1, "a legend is cut"
        for axes in canvas.axes:
            if axes.axison:
                other = axes.get_window_extent()
                covers = min(box.x1, other.x1) - max(box.x0, other.x0) > 1 and (
                    min(box.y1, other.y1) - max(box.y0, other.y0) > 1
                )
                assert not covers, "a legend covers a panel"


def made_up(schema: Schema) -> tuple[np.ndarray, np.ndarray]:
    """Vote fractions and predictions (n, c)."""
    rng = np.random.default_rng(0)
    shares = np.concatenate([rng.dirichlet([0.4] * len(q.columns), N) for q in schema.questions], axis=1)
    truth = tree.to_joint(schema, shares)
    return truth, tree.normalise(schema, truth + rng.normal(0, 0.05, truth.shape))


@pytest.mark.parametrize("schema", SCHEMAS)
def test_figures_fit_any_number_of_questions_and_answers(schema, canvases):
    truth, predicted = made_up(schema)
    best = SimpleNamespace(predicted=predicted, name="final")
    accuracy.per_answer(schema, truth, best)
    accuracy.by_agreement(schema, truth, predicted)
    scores = np.random.default_rng(1).uniform(0.05, 0.2, (len(schema.questions), 4))
    index = pd.Index([f"{q.number} {q.text}" for q in schema.questions], name="question")
    kinds = ["ensemble", "run", "run", "baseline"]
    accuracy._dots(pd.DataFrame(scores, index), scores, kinds)
    calibration.calibration_curves(schema, truth, predicted)
    votes.class_balance(schema, truth)
    votes.distributions(schema, truth)
    votes.correlation(schema, truth)
    assert len(canvases) == 7
    for canvas in canvases:
        require_readable(canvas)


@pytest.mark.parametrize("count", [2, 34])
def test_the_figures_of_classes_fit_too(count, canvases):
    schema = one_question("class", count)
    rng = np.random.default_rng(0)
    truth, predicted = np.eye(count)[np.arange(N) % count], rng.dirichlet([1] * count, N)
    class_scores.recalls(schema, [class_scores.of_question(schema, 0, truth, predicted)])
    own = np.arange(N) % (count + 1) - 1
    words = SimpleNamespace(unclear="no label")
    ids = np.arange(N)
    material = SimpleNamespace(
        schema=schema, words=words, classes=(own, own), board=SimpleNamespace(ids=ids, truth=truth)
    )
    feature_maps.features_map(material, {"feature_ids": ids, "map": rng.normal(size=(N, 2))})
    for canvas in canvases:
        require_readable(canvas)


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> Material:
    _, plan, store = finished_plan.make(tmp_path_factory.mktemp("plan"), n=120)
    return Material(plan, store, leaderboard.score_all(plan, store))


RATES = {
    "narrow": (5480, 6010, 6550),
    "equal": (300, 300, 300),
    "wide": (0.02, 30, 4e6),
    "a decade": (40, 90, 400),
    "large and narrow": (1.2e6, 1.3e6, 1.35e6),
}


@pytest.mark.parametrize("rates", RATES.values(), ids=RATES)
def test_ticks_and_names_of_the_chart_of_costs_do_not_overlap(material, canvases, rates):
    nets = [entry for entry in material.board.entries if entry.kind != "baseline"][:3]
    entries = [
        replace(entry, images_per_second=rate, train_seconds=rate, name=f"a long name of a network {i}")
        for i, (entry, rate) in enumerate(zip(nets, rates, strict=True))
    ]
    baseline = material.board.best("baseline")
    near = replace(baseline, errors=nets[0].errors * 1.0001)  # at the height of a point
    leaderboard_table.cost_figure(entries, near)
    (canvas,) = canvases
    require_readable(canvas)
    for axes in canvas.axes:
        low, high = axes.get_xlim()
        assert 1 <= len([at for at in axes.get_xticks() if low <= at <= high]) <= figure.MOST_TICKS


def test_names_of_equal_submissions_do_not_overlap(canvases):
    sent = pd.DataFrame({
        "ensemble": ["final", "by-question", "third"], "at": "now", "ref": 1, "rmse": [0.08, 0.08, 0.0801],
        "public": [0.081, 0.0812, 0.0809], "private": [0.0811, 0.0811, np.nan],
    })  # fmt: skip
    leaderboard_table.against_kaggle(sent)
    require_readable(canvases[0])


def test_narrow_ranges_across_are_readable(material, canvases):
    uncertainty = 0.04 + 1e-5 * np.arange(len(material.board.truth))
    calibration.spread_against_error(uncertainty, material.best.errors, material.decides)
    measures = {"the spread of the runs": uncertainty, "the probabilities themselves": -uncertainty}
    calibration.deferral_curve(material.best.errors, measures, material.decides)
    for canvas in canvases:
        require_readable(canvas)


def test_many_answers_are_told_apart():
    panels = answers.panels(MANY)
    assert [column for panel in panels for column in panel.columns] == list(MANY.columns)
    assert max(len(panel.columns) for panel in panels) <= answers.MOST
    styles = [tuple(figure.line_style(i).values()) for i in range(answers.MOST)]
    assert len(set(styles)) == answers.MOST


@pytest.mark.parametrize(("low", "high", "ticks"), [
    (5400, 6600, [5500, 6000, 6500]),
    (30, 450, [50, 100, 200]),
    (0.5, 2e6, [1, 100, 10_000, 1_000_000]),
])  # fmt: skip
def test_round_ticks(low, high, ticks):
    assert figure.log_ticks(low, high) == pytest.approx(ticks)


def test_labels_of_ticks():
    assert [figure.tick_label(value) for value in (0.5, 20, 5500, 2e6)] == ["0.5", "20", "5,500", "2 M"]
