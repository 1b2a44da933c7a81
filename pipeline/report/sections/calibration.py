"""Calibration of the predicted fractions, deferral of uncertain galaxies to experts, and spread against error."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipeline.core import metrics
from pipeline.core.labels import Schema
from pipeline.core.metrics import Score
from pipeline.report import answers, wording
from pipeline.report.figure import (
    ACCENT,
    GRID,
    MUTED,
    SECOND,
    Figure,
    clipped,
    draw,
    legend,
    legend_beside,
    line_style,
    panel_grid,
)
from pipeline.report.formatting import score
from pipeline.report.material import Material, Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KEY = "observed (up) against\npredicted (across)\n{value};\na line an answer,\nlarger dots:\nmore galaxies"
LONGEST = 24  # letters of an answer beside a panel
MIN_GALAXIES = 10  # galaxies in a bin that is drawn
DEFERRED = np.linspace(0, 0.5, 26)  # share of galaxies deferred to experts
GROUPS = 10  # of galaxies, by how much the runs differ


def section(material: Material) -> Section:
    """Calibration of each answer, deferral to experts, and spread against error."""
    truth, best, decides = material.board.truth, material.best, material.decides
    curves = calibration_curves(material.schema, truth, best.predicted)
    weighted = curves.numbers.dropna()
    off = np.abs(weighted["predicted"] - weighted["observed"])
    typical = float(np.average(off, weights=weighted["galaxies"]))
    measures = {"the spread of the runs": spread(material)} if len(material.runs) > 1 else {}
    measures[f"the {material.words.values.split()[-1]} themselves"] = indecision(best.predicted)
    deferral = deferral_curve(best.errors, measures, decides)
    saved, by = best_measure_at(deferral.numbers, 0.1)
    finding = (
        f"Predicted and observed {material.words.values} differ by {typical:.3f} on average over all bins; deferring "
        f"the least certain 10 % to experts, by {by}, takes the {decides.title} of the rest from {score(best.score)} "
        f"to {score(saved)}."
    )
    figures = [curves, deferral]
    facts: dict[str, Any] = {"curves": curves, "deferral": deferral, "spread": None}
    if len(material.runs) > 1:
        facts["spread"] = spread_against_error(spread(material), best.errors, decides)
        figures.append(facts["spread"])
        rank = pd.Series(spread(material)).corr(pd.Series(best.errors), method="spearman")
        facts["rank"] = float(rank)
    return Section("calibration", "Calibration and confidence", finding, facts, tuple(figures))


def spread(material: Material) -> np.ndarray:
    """How much the runs differ on a galaxy: root mean variance over all columns, (n,)."""
    return np.sqrt(material.runs.var(axis=0).mean(axis=1))


def indecision(predicted: np.ndarray) -> np.ndarray:
    """How far a galaxy's fractions (n, c) are from a clear yes or no: root mean of p (1 - p), (n,)."""
    return np.sqrt((predicted * (1 - predicted)).clip(0).mean(axis=1))


def calibration_curves(schema: Schema, truth: np.ndarray, predicted: np.ndarray) -> Figure:
    """Observed against predicted fraction in ten bins, a panel a question, a line an answer."""
    rows = []
    for i, column in enumerate(schema.columns):
        known = np.isfinite(truth[:, i])
        made = metrics.calibration(truth[known, i], predicted[known, i])
        for number, (predicted_mean, observed, n) in enumerate(zip(*made, strict=True)):
            means = {"predicted": predicted_mean, "observed": observed}
            rows.append({"column": column, "bin": number, **means, "galaxies": int(n)})
    numbers = pd.DataFrame(rows)
    drawn = numbers[numbers["galaxies"] >= MIN_GALAXIES]

    shown = answers.panels(schema)

    def on(panels: "list[Axes]") -> None:
        for axes, panel in zip(panels, shown, strict=False):
            axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.7, linestyle=(0, (3, 3)))
            for i, column in enumerate(panel.columns):
                line, style = drawn[drawn["column"] == column], line_style(i)
                size = 2 + 3.5 * (line["galaxies"] / len(truth)) ** 0.5
                name = clipped(schema.texts[column], LONGEST)
                axes.plot(line["predicted"], line["observed"], **style, linewidth=1.1, alpha=0.9, label=name)
                axes.scatter(line["predicted"], line["observed"], s=size**2, color=style["color"], linewidths=0)
            legend_beside(axes)
            axes.set_title(panel.title, fontsize=8)
            axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
            axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"], fontsize=7)
            axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"], fontsize=7)
        for axes in panels[len(shown) :]:
            axes.set_axis_off()
        style = {"xycoords": "axes fraction", "va": "center", "fontsize": 8, "color": MUTED}
        panels[-1].annotate(KEY.format(value=wording.of(schema).value), (0, 0.5), **style)

    grid = panel_grid(len(shown) + 1)
    size = (2.75 * grid[1], 1.75 * grid[0])
    value = wording.of(schema).value
    alt = f"Observed against predicted {value} in bins, a panel for each question, a line for each answer."
    return draw("calibration", alt, numbers, on, size=size, panels=grid, title="Calibration curves")


def deferral_curve(errors: np.ndarray, measures: dict[str, np.ndarray], decides: Score) -> Figure:
    """Score of the remaining galaxies when the most uncertain share is deferred to experts.

    Random deferral leaves the score unchanged; deferral by the true error is the limit.
    """
    orders = {by: np.argsort(-uncertainty, kind="stable") for by, uncertainty in measures.items()}
    orders["their true error (the limit)"] = np.argsort(-errors, kind="stable")
    numbers = pd.DataFrame({"deferred": DEFERRED})
    for by, order in orders.items():
        kept = [errors[order[round(part * len(errors)) :]] for part in DEFERRED]
        numbers[by] = [decides.of(part) for part in kept]

    def on(axes: "Axes") -> None:
        axes.axhline(numbers.iloc[0, 1], color=MUTED, linewidth=0.9, linestyle=(0, (3, 3)), label="by chance")
        for by, colour in zip(orders, (ACCENT, SECOND, GRID) if len(orders) == 3 else (ACCENT, GRID), strict=True):
            axes.plot(100 * DEFERRED, numbers[by], color=colour, linewidth=1.6, label=f"by {by}")
        axes.set(xlabel="deferred to experts, %", ylabel=f"{decides.title} of the rest", ylim=(0, None), xlim=(0, 50))
        legend(axes, 2)

    alt = f"{decides.title} of the remaining galaxies against the share deferred to experts, by measure of uncertainty."
    return draw("deferral", alt, numbers, on, size=(4.8, 3.2), title="Deferral to experts")


def best_measure_at(numbers: pd.DataFrame, part: float) -> tuple[float, str]:
    """(RMSE of the rest, measure of uncertainty) of the best measure when the share `part` is deferred."""
    row = numbers.iloc[(numbers["deferred"] - part).abs().argmin()]
    measures = list(numbers.columns[1:-1])
    by = min(measures, key=lambda name: row[name])
    return float(row[by]), by


def spread_against_error(uncertainty: np.ndarray, errors: np.ndarray, decides: Score) -> Figure:
    """Score in groups of equally many galaxies, by the spread of the runs."""
    groups = [part for part in np.array_split(np.argsort(uncertainty, kind="stable"), GROUPS) if len(part)]
    numbers = pd.DataFrame({
        "spread": [float(uncertainty[part].mean()) for part in groups],
        decides.name: [decides.of(errors[part]) for part in groups],
        "galaxies": [len(part) for part in groups],
    })  # fmt: skip

    def on(axes: "Axes") -> None:
        axes.plot(numbers["spread"], numbers[decides.name], "o-", color=ACCENT, linewidth=1.3, markersize=5)
        axes.set(xlabel="spread of the runs", ylabel=decides.title, ylim=(0, None), xlim=(0, None))

    alt = f"{decides.title} against the spread of the runs, in ten groups of equally many galaxies."
    return draw("spread", alt, numbers, on, size=(4.3, 2.9), title="Spread of the runs against error")
