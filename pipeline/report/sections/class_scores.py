"""Accuracy of classes: precision, recall, F1 and average precision of each class of every question."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipeline.core import classes, metrics, tree
from pipeline.core.labels import Question, Schema
from pipeline.core.ranking_metrics import average_precision, recall_at
from pipeline.report.figure import ACCENT, GRID, INK, MUTED, Figure, clipped, draw
from pipeline.report.formatting import score, share
from pipeline.report.material import Material, Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RARE = 0.1  # share of the galaxies below which a class is one
CANDIDATES = (20, 50, 100, 200, 500)  # galaxies that somebody looks at, most likely first


def section(material: Material) -> Section:
    """How well the best entry tells each class."""
    schema, truth, best = material.schema, material.board.truth, material.best
    tables = [of_question(schema, i, truth, best.predicted) for i in range(len(schema.questions))]
    drawn = recalls(schema, tables)
    worst = min(tables[0]["rows"], key=lambda row: row["recall"] if row["n"] else np.inf)
    finding = (
        f"{best.name} gives {share(best.accuracy)} of {tables[0]['n']:,} galaxies the right one of "
        f"{len(schema.classes)} classes, and the classes {share(best.summary['balanced_accuracy'])} on average; it "
        f"knows “{worst['name']}” least, of which it finds {share(worst['recall'])}."
    )
    facts = {"tables": tables, "drawn": drawn, "best": best, "rare": rare_classes(schema, truth, best.predicted)}
    return Section("class-scores", "Accuracy", finding, facts, (drawn,))


def of_question(schema: Schema, number: int, truth: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """Scores of each answer to a question, among galaxies whose answer is known; and of all."""
    question, columns = schema.questions[number], schema.slices[number]
    asked = metrics.mostly_asked(schema, truth)[:, number]
    true, made = truth[asked, columns], tree.to_conditional(schema, predicted)[asked, columns]
    counts = classes.confusion(true.argmax(axis=1), made.argmax(axis=1), len(question.answers))
    scores = classes.precision_recall_f1(counts)
    areas = [average_precision(made[:, i], true[:, i] > 0.5) for i in range(len(question.answers))]
    rows = [
        dict(zip(("name", "n", "precision", "recall", "f1", "area"), row, strict=True))
        for row in zip(question.texts, counts.sum(axis=1).tolist(), *(p.tolist() for p in scores), areas, strict=True)
    ]
    lost = -np.log(np.clip((true * made).sum(axis=1), metrics.MIN_PROBABILITY, 1))
    return {
        "question": question,
        "rows": rows,
        "n": int(counts.sum()),
        "right": _part(np.trace(counts), counts.sum()),
        "macro": [
            float(np.nanmean(part)) if np.isfinite(part).any() else np.nan for part in (*scores, np.array(areas))
        ],
        "loss": score(float(lost.mean())) if len(lost) else score(None),
    }


def rare_classes(schema: Schema, truth: np.ndarray, predicted: np.ndarray) -> dict[str, Any] | None:
    """How much of each rare class is found by looking at the likeliest candidates; None where no class is rare.

    A candidate of all galaxies is ranked by its share of all, so that who was not asked the question comes late.
    """
    sizes = [n for n in CANDIDATES if n < len(truth)]
    rows = []
    for i, column in enumerate(schema.columns):
        known = np.isfinite(truth[:, i])
        wanted, scores = truth[known, i] > 0.5, predicted[known, i]
        if sizes and 0 < wanted.mean() < RARE:
            found = [recall_at(scores, wanted, n) for n in sizes]
            best = [min(1.0, n / wanted.sum()) for n in sizes]
            row = {"name": schema.labels[column], "n": int(wanted.sum()), "chance": float(wanted.mean())}
            rows.append(row | {"area": average_precision(scores, wanted), "found": list(zip(found, best, strict=True))})
    return {"rows": rows, "sizes": sizes} if rows else None


def recalls(schema: Schema, tables: list[dict[str, Any]]) -> Figure:
    """The share of each class that is found, and its size."""
    numbers = pd.DataFrame(
        {"question": _text(one["question"]), "class": row["name"], **{k: row[k] for k in ("n", "recall", "precision")}}
        for one in tables for row in one["rows"]
    )  # fmt: skip

    def on(axes: "Axes") -> None:
        y = np.arange(len(numbers))
        axes.barh(y, 100 * numbers["recall"].fillna(0), color=ACCENT, height=0.6, alpha=0.8)
        axes.plot(100 * numbers["precision"], y, "|", color=INK, markersize=9, markeredgewidth=1.4)
        for at, n in zip(y, numbers["n"], strict=True):
            axes.annotate(f"{n:,}", (101, at), va="center", fontsize=7.5, color=MUTED, annotation_clip=False)
        axes.set_yticks(y, map(clipped, schema.labels.values()), fontsize=8)
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set(
            xlim=(0, 100), ylim=(len(y) - 0.5, -0.5), xlabel="found, % (bar); right among those predicted, % (mark)"
        )
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_color(GRID)

    alt = "Share of the galaxies of each class that are found, and share of those predicted as it that are right."
    return draw("recall", alt, numbers, on, size=(5.4, 1.0 + 0.28 * len(numbers)), title="Recall and precision")


def _text(question: Question) -> str:
    return f"{question.number} {question.text}"


def _part(part: int, whole: int) -> float:
    return float(part / whole) if whole else float("nan")
