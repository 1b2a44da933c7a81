"""Accuracy: question by question, answer by answer, class by class, and with the agreement of the volunteers."""

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipeline.core import classes, metrics
from pipeline.core.labels import Schema
from pipeline.report import wording
from pipeline.report.figure import ACCENT, GRID, INK, MUTED, PAPER, SECOND, Figure, clipped, draw, legend
from pipeline.report.formatting import percent, share
from pipeline.report.leaderboard import Entry
from pipeline.report.material import Material, Section
from pipeline.report.sections import class_scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW = 12  # answers that carry most of the error
STEP, LEAST = 0.1, 0.4  # of the volunteers: width of a bar, the first one where all galaxies lie above


def section(material: Material) -> Section:
    """Where the error of the best entry lies."""
    if material.schema.describes_classes:
        return class_scores.section(material)
    schema, truth, best = material.schema, material.board.truth, material.best
    answers = per_answer(schema, truth, best)
    most = answers.numbers
    finding = (
        f"{min(FEW, len(most))} of the {len(schema.columns)} answers carry {percent(most['share'][:FEW].sum())} of "
        f"{best.name}'s squared error, "
        f"“{most['answer'][0]}” alone {percent(most['share'][0])}; "
        f"of {int((material.classes[0] >= 0).sum()):,} galaxies with clear votes {share(best.accuracy)} "
        f"get the right one of {wording.NUMBERS.get(len(schema.classes), str(len(schema.classes))).lower()} classes."
    )
    table, questions = per_question(material)
    agreement = by_agreement(schema, truth, best.predicted)
    facts = {"answers": answers, "table": table, "questions": questions, "agreement": agreement}
    facts |= {"classes": five_classes(material), "schema": schema}
    return Section("accuracy", "Accuracy", finding, facts, (questions, answers, agreement))


def per_question(material: Material) -> tuple[dict[str, Any], Figure]:
    """RMSE per question of the best ensemble, all runs and the best baseline, as a table and a figure.

    The table has how often the best entry's leading answer is the volunteers', too, among galaxies that half of them
    reached the question for.
    """
    schema, board = material.schema, material.board
    baseline, ensemble, nets = board.best("baseline"), board.best("ensemble"), board.of_kind("run")
    shown = [entry for entry in (ensemble, *nets, baseline) if entry]
    scores = np.stack([metrics.rmse_per_question(schema, board.truth, entry.predicted) for entry in shown], axis=1)
    leading = metrics.leading_answer_accuracy(schema, board.truth, material.best.predicted)
    asked = metrics.mostly_asked(schema, board.truth).sum(axis=0)
    columns = (schema.questions, scores.tolist(), scores.argmin(axis=1).tolist(), leading.tolist(), asked.tolist())
    keys = ("question", "values", "best", "leading", "asked")
    rows = [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]
    names = [f"{entry.kind} {entry.name}" for entry in shown]
    numbers = pd.DataFrame(scores, columns=names).assign(
        question=[f"{q.number} {q.text}" for q in schema.questions],
        leading_answer_accuracy=leading,
        reached_by_half=asked,
    )
    kinds = [entry.kind for entry in shown]
    return {"entries": shown, "rows": rows}, _dots(numbers.set_index("question"), scores, kinds)


def _dots(numbers: pd.DataFrame, scores: np.ndarray, kinds: list[str]) -> Figure:
    """Scores (q, shown) as marks on a line for each question."""
    marks = {
        "baseline": {"marker": "o", "color": PAPER, "markeredgecolor": MUTED, "label": "best baseline"},
        "run": {"marker": "|", "markersize": 8, "color": SECOND, "markeredgewidth": 1.4, "label": "runs"},
        "ensemble": {"marker": "o", "color": ACCENT, "label": "best ensemble"},
    }

    def on(axes: "Axes") -> None:
        y = np.arange(len(scores))
        axes.hlines(y, scores.min(axis=1), scores.max(axis=1), color=GRID, linewidth=2)
        for kind in ("baseline", "run", "ensemble"):
            mine = [column for column, its in enumerate(kinds) if its == kind]
            for i, column in enumerate(mine):
                style = {"markersize": 5} | marks[kind] | ({"label": ""} if i else {})
                axes.plot(scores[:, column], y, linestyle="none", **style)
        axes.set_yticks(y, map(clipped, numbers.index))
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set(ylim=(len(y) - 0.5, -0.5), xlim=(0, None), xlabel="RMSE")
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        legend(axes, 3)

    alt = "RMSE of each question for the best baseline, each run and the best ensemble; the table has the same numbers."
    return draw("per-question", alt, numbers.reset_index(), on, size=(4.3, 0.95 + 0.27 * len(scores)),
                title="RMSE of each question")  # fmt: skip


def per_answer(schema: Schema, truth: np.ndarray, best: Entry) -> Figure:
    """The share of the squared error that each answer carries, largest first."""
    rmse = metrics.rmse_per_answer(truth, best.predicted)
    names = list(schema.labels.values())
    numbers = pd.DataFrame(
        {"column": schema.columns, "answer": names, "mean_fraction": metrics.mean_answers(truth), "rmse": rmse}
    )
    numbers["share"] = rmse**2 / (rmse**2).sum()
    numbers = numbers.sort_values("share", ascending=False, ignore_index=True)

    short = schema.short_names

    def on(axes: "Axes") -> None:
        y = np.arange(len(numbers))
        colours = [SECOND if i < FEW else GRID for i in y]
        axes.barh(y, 100 * numbers["share"], color=colours, height=0.72)
        named = [f"{clipped(row.answer)} ({short[row.column]})" for row in numbers.itertuples()]
        axes.set_yticks(y, named, fontsize=7.5)
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set(ylim=(len(y) - 0.4, -0.6), xlabel="share of the squared error, %")
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)

    alt = f"Share of the squared error by answer, the largest {FEW} set off; the file per-answer.csv has the numbers."
    return draw("per-answer", alt, numbers, on, size=(4.3, 0.75 + 0.132 * len(numbers)),
                title="Which answers carry the error")  # fmt: skip


def by_agreement(schema: Schema, truth: np.ndarray, predicted: np.ndarray) -> Figure:
    """How often question 1's leading answer is right, by the share of volunteers who gave it."""
    first = schema.slices[0]
    known = np.isfinite(truth[:, first]).all(axis=1)
    if not known.all():
        truth, predicted = truth[known], predicted[known]
    agreement = truth[:, first].max(axis=1)
    right = truth[:, first].argmax(axis=1) == predicted[:, first].argmax(axis=1)
    squared = metrics.squared_error_per_galaxy(truth, predicted)
    first_step = min(round(LEAST / STEP), int(np.floor(agreement.min(initial=1) / STEP)))
    edges = STEP * np.arange(first_step, round(1 / STEP) + 1)
    bins = np.clip(np.searchsorted(edges, agreement, side="right") - 1, 0, len(edges) - 2)
    rows = []
    for i, (low, high) in enumerate(pairwise(edges)):
        mine = bins == i
        if mine.any():
            facts = {"from": round(low, 2), "to": round(high, 2), "galaxies": int(mine.sum())}
            rows.append(facts | {"accuracy": right[mine].mean(), "rmse": np.sqrt(squared[mine].mean())})
    numbers = pd.DataFrame(rows)

    def on(axes: "Axes") -> None:
        middle = 50 * (numbers["from"] + numbers["to"])
        axes.bar(middle, 100 * numbers["accuracy"], width=8.6, color=ACCENT, alpha=0.75)
        for x, value, n in zip(middle, numbers["accuracy"], numbers["galaxies"], strict=True):
            axes.annotate(f"{n:,}", (x, 100 * value), ha="center", va="bottom", fontsize=7.5, color=MUTED)
        axes.set(xlabel="volunteers who gave the leading answer, %", ylabel="right, %", ylim=(0, 109),
                 xlim=(100 * edges[0] - 1, 101))  # fmt: skip
        axes.set_yticks(range(0, 101, 25))
        axes.grid(axis="x", visible=False)

    alt = "How often the leading answer of question 1 is right, by the volunteers' agreement; galaxies above each bar."
    return draw("agreement", alt, numbers, on, size=(4.3, 2.7), title="Accuracy by agreement of the volunteers")


def five_classes(material: Material) -> dict[str, Any] | None:
    """Precision, recall and F1 of each class beside published recalls; None where no galaxy is clean."""
    schema = material.schema
    counts = classes.confusion(*material.classes, len(schema.classes))
    if not counts.sum():
        return None
    scores, published = classes.precision_recall_f1(counts), [one.published_recall for one in schema.classes]
    columns = (schema.class_names, counts.sum(axis=1).tolist(), *(part.tolist() for part in scores), published)
    keys = ("name", "n", "precision", "recall", "f1", "published")
    return {
        "rows": [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)],
        "n": int(counts.sum()),
        "macro": [float(np.nanmean(part)) for part in scores],
        "right": float(np.trace(counts) / counts.sum()),
        "published": schema.published_accuracy,
    }
