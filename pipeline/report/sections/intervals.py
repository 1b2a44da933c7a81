"""Intervals and confidence: how often they hold, by question, by the number of volunteers, on held-out galaxies."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipeline.core import tree
from pipeline.report import coverage
from pipeline.report.coverage import Confidence, Coverage
from pipeline.report.figure import ACCENT, GRID, INK, MUTED, SECOND, Figure, clipped, draw, legend
from pipeline.report.formatting import share
from pipeline.report.material import Material, Section
from pipeline.store import calibration
from pipeline.store.calibration import LEVEL, OutOfFold

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GROUPS = 8  # of answers, by how many volunteers reached their question
BINS = 10  # of confidence
MIN_GALAXIES = 10  # in a bin that is drawn


def section(material: Material) -> Section | None:
    """Coverage of the best ensemble's intervals, or sets, and its class's confidence; None where there is none."""
    best = material.board.best("ensemble")
    if best is None:
        return None
    schema, oof = material.schema, calibration.load(material.store, best.name)
    made, sure = coverage.measure(schema, oof, LEVEL), coverage.measure_confidence(schema, oof)
    texts = [f"{question.number} {question.text}" for question in schema.questions]
    drawn = by_question(made, texts)
    figures, facts = (
        [drawn],
        {"coverage": made, "drawn": drawn, "reached": None, "reliability": None, "name": best.name},
    )
    if not schema.describes_classes:
        facts["reached"] = by_volunteers(made, oof, material)
        figures.append(facts["reached"])
    if sure:
        facts |= {"reliability": reliability(sure), "errors": sure.errors, "voted": len(sure.right)}
        figures.append(facts["reliability"])
    return Section("intervals", "Intervals", _finding(made, sure, material), facts, tuple(figures))


def _finding(made: Coverage, sure: Confidence | None, material: Material) -> str:
    known = made.by_question[np.isfinite(made.by_question)]
    what, of = ("Sets of answers", "right answers") if material.schema.describes_classes else ("Intervals", "votes")
    size = f"{made.typical:.2f} wide" if of == "votes" else f"of {made.typical:.2f} answers"
    each = f"{share(known.min())} to {share(known.max())} by question, " if len(known) > 1 else ""
    said = (
        f"{what} that state {100 * made.level:g} % hold {share(made.overall)} of the {of} of galaxies that calibrated "
        f"nothing, {each}and are {size} on average"
    )
    if sure is None:
        return f"{said}."
    before, after = sure.errors
    return (
        f"{said}; the confidence of the class is off by {after:.3f} (expected calibration error), {before:.3f} before."
    )


def by_question(made: Coverage, texts: list[str]) -> Figure:
    """The share that holds, a line a question."""
    numbers = pd.DataFrame({
        "question": texts,
        "held": made.by_question,
        "size": [np.nanmean(part) if np.isfinite(part).any() else np.nan
                 for part in (made.size[:, columns] for columns in made.places)],
        "known": [int(np.isfinite(made.held[:, columns]).any(axis=1).sum()) for columns in made.places],
    })  # fmt: skip

    def on(axes: "Axes") -> None:
        y, level = np.arange(len(numbers)), 100 * made.level
        axes.axvspan(level - 100 * coverage.BOUND, level + 100 * coverage.BOUND, color=GRID, alpha=0.5, linewidth=0)
        axes.axvline(level, color=MUTED, linewidth=0.9, linestyle=(0, (3, 3)))
        axes.plot(100 * numbers["held"], y, "o", color=ACCENT, markersize=5)
        axes.set_yticks(y, map(clipped, texts))
        axes.tick_params(axis="y", labelcolor=INK)
        low = min(level - 5, 100 * np.nanmin([*numbers["held"], made.level]) - 1)
        axes.set(ylim=(len(y) - 0.5, -0.5), xlim=(low, 100), xlabel="truth within, %")

    alt = f"Share of the truth that lies within what states {100 * made.level:g} %, by question."
    title = f"By question; grey: {100 * made.level:g} % within two points"
    return draw("coverage", alt, numbers, on, size=(5.0, 1.0 + 0.26 * len(texts)), title=title)


def volunteers(material: Material, oof: OutOfFold) -> tuple[np.ndarray, np.ndarray, str]:
    """(by how many each question was reached, who saw the galaxy: (n, q) each, in per cent where no number is known;
    which it is).
    """
    schema, votes = material.schema, material.store.load_votes()
    if votes is not None:
        answered = votes.loc[oof.ids].to_numpy(np.float64)
        return answered, answered[:, list(schema.roots)], "volunteers who answered the question"
    reached = tree.reached(schema, oof.truth)
    people = schema.volunteers or 100
    what = "volunteers" if schema.volunteers else "% of the volunteers"
    return reached * people, np.full_like(reached, people), f"{what} who reached the question"


def by_volunteers(made: Coverage, oof: OutOfFold, material: Material) -> Figure:
    """The share that holds in groups of equally many answers, by how many volunteers reached their question."""
    counted, seen, label = volunteers(material, oof)
    groups = {"as they voted": counted, "as predicted": tree.reached(material.schema, oof.predicted) * seen}
    numbers = pd.concat([_in_groups(made, of, by) for by, of in groups.items()], ignore_index=True)

    def on(axes: "Axes") -> None:
        axes.axhline(100 * made.level, color=MUTED, linewidth=0.9, linestyle=(0, (3, 3)))
        for by, colour in zip(groups, (SECOND, ACCENT), strict=True):
            line = numbers[numbers["by"] == by]
            axes.plot(line["volunteers"], 100 * line["held"], "o-", color=colour, linewidth=1.3, markersize=4, label=by)
        axes.set(xlabel=label, ylabel="truth within, %", ylim=(min(75, 100 * numbers["held"].min() - 2), 100))
        legend(axes, 2)

    alt = "Share of the votes that lies within the interval, by how many volunteers reached the question."
    return draw("coverage-volunteers", alt, numbers, on, size=(4.6, 3.2), title="By how many volunteers reached it")


def _in_groups(made: Coverage, counted: np.ndarray, by: str) -> pd.DataFrame:
    widths = [columns.stop - columns.start for columns in made.places]
    of = np.repeat(counted, widths, axis=1)
    known = np.isfinite(made.held) & np.isfinite(of)
    edges = np.unique(np.quantile(of[known], np.arange(1, GROUPS) / GROUPS))
    group = np.searchsorted(edges, of[known], side="right")
    rows = [
        {"by": by, "volunteers": of[known][mine].mean(), "held": made.held[known][mine].mean(),
         "width": made.size[known][mine].mean(), "answers": int(mine.sum())}
        for i in range(len(edges) + 1) if (mine := group == i).any()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def reliability(sure: Confidence) -> Figure:
    """How often the class is right against its confidence, before and after calibration."""
    rows: list[dict[str, Any]] = []
    for what, values in (("share among the classes", sure.share), ("calibrated", sure.calibrated)):
        bins = np.clip((values * BINS).astype(int), 0, BINS - 1)
        for i in np.unique(bins):
            mine = bins == i
            means = {"confidence": values[mine].mean(), "right": sure.right[mine].mean()}
            rows.append({"what": what, **means, "galaxies": int(mine.sum())})
    numbers = pd.DataFrame(rows)
    shown = numbers[numbers["galaxies"] >= MIN_GALAXIES]

    def on(axes: "Axes") -> None:
        axes.plot([0, 100], [0, 100], color=MUTED, linewidth=0.7, linestyle=(0, (3, 3)))
        for what, colour in zip(dict.fromkeys(numbers["what"]), (SECOND, ACCENT), strict=True):
            line = shown[shown["what"] == what]
            axes.plot(100 * line["confidence"], 100 * line["right"], "o-", color=colour, linewidth=1.3, markersize=4,
                      label=what)  # fmt: skip
        axes.set(xlabel="confidence, %", ylabel="right, %", xlim=(0, 100), ylim=(0, 100))
        legend(axes, 2)

    alt = "Share of galaxies whose class is right against its confidence, before and after calibration."
    return draw("confidence", alt, numbers, on, size=(4.2, 3.4), title="Confidence of the class")
