"""Figures of the report as SVG that takes its colours and font from the page, so it follows light, dark and print.

Matplotlib knows no CSS: what is drawn in the colours below is handed over to the page's variables by name.
"""

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipeline.core.tree import QUESTIONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID, ACCENT, SECOND, PAPER = (f"#0{i}0{i}0{i}" for i in range(1, 7))
VARIABLES = dict(
    zip((INK, MUTED, GRID, ACCENT, SECOND, PAPER), ("ink", "muted", "grid", "accent", "second", "paper"), strict=True)
)
STYLE = {
    "svg.fonttype": "none",  # text stays text
    "font.size": 9,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def per_question(baseline: np.ndarray | None, runs: Sequence[np.ndarray], ensemble: np.ndarray | None) -> str:
    """RMSE per question, (11,) each: the best baseline, all runs and the best ensemble, as dots on one line."""
    figure, axes = _figure(5.0, 4.1, "per-question")
    y = np.arange(len(QUESTIONS))
    shown = [values for values in (baseline, *runs, ensemble) if values is not None]
    axes.hlines(y, np.min(shown, axis=0), np.max(shown, axis=0), color=GRID, linewidth=2.5)
    if baseline is not None:
        axes.plot(baseline, y, "o", markersize=6, color=PAPER, markeredgecolor=MUTED, label="best baseline")
    for i, values in enumerate(runs):
        axes.plot(values, y, "|", markersize=9, color=SECOND, markeredgewidth=1.4, label="" if i else "runs")
    if ensemble is not None:
        axes.plot(ensemble, y, "o", markersize=6, color=ACCENT, label="best ensemble")
    axes.set_yticks(y, [f"{question.number}  {question.text}" for question in QUESTIONS])
    axes.tick_params(axis="y", labelcolor=INK)
    axes.set(ylim=(len(y) - 0.5, -0.5), xlim=(0, None), xlabel="RMSE")
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    figure.legend(loc="outside upper left", ncols=3, handletextpad=0.3, columnspacing=1.4, labelcolor=MUTED)
    return _svg(figure, "per-question")


def learning_curves(run: str, histories: Sequence[pd.DataFrame], limits: tuple[float, float] | None = None) -> str:
    """One run's RMSE by epoch, a line a fold: held-out galaxies solid, training galaxies thin and broken.

    Each history has the columns phase, epoch, rmse, val_rmse, of which the numbers may be missing.
    """
    figure, axes = _figure(3.6, 2.3, f"curves-{run}")
    for i, history in enumerate(histories):
        epochs = np.arange(1, len(history) + 1)
        for column, style in (("rmse", {"color": MUTED, "linewidth": 0.8, "dashes": (2, 2)}), ("val_rmse", {})):
            if column in history and history[column].notna().any():
                name = {"rmse": "training", "val_rmse": "held out"}[column] if i == 0 else ""
                style = style or {"color": ACCENT, "linewidth": 1.3, "alpha": 0.85}
                values = history[column].to_numpy(float)
                axes.plot(epochs, values, label=name, marker="o" if len(epochs) == 1 else None, markersize=3, **style)
    _mark_fine_tuning(axes, histories)
    axes.set(xlabel="epoch", ylabel="RMSE", ylim=limits)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper right", labelcolor=MUTED, handlelength=1.6)
    return _svg(figure, f"curves-{run}")


def _mark_fine_tuning(axes: "Axes", histories: Sequence[pd.DataFrame]) -> None:
    """A line where training the head ends and fine-tuning begins, if there are both."""
    phases = list(histories[0]["phase"]) if len(histories) and "phase" in histories[0] else []
    if "head" in phases and "fine-tune" in phases:
        begins = phases.index("fine-tune") + 0.5
        axes.axvline(begins, color=MUTED, linewidth=0.8)
        axes.annotate(
            "fine-tuning", (begins, 1), (3, -2), xycoords=("data", "axes fraction"), textcoords="offset points",
            va="top", fontsize=8, color=MUTED,
        )  # fmt: skip


def _figure(width: float, height: float, salt: str) -> tuple["Figure", "Axes"]:
    """An empty figure, inches, without pyplot and so without any state; the salt keeps ids of figures apart."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE | {"svg.hashsalt": salt}):
        figure = Figure(figsize=(width, height))
        figure.patch.set_alpha(0)
        axes = figure.subplots()
        axes.patch.set_alpha(0)
    return figure, axes


def _svg(figure: "Figure", salt: str) -> str:
    """The figure as an <svg> element whose colours are the page's variables."""
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": salt}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<g) id="[^"]*"', r"\1", svg)  # would be given twice on a page of several figures
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', svg, count=1)
    for colour, name in VARIABLES.items():
        svg = svg.replace(colour, f"var(--{name})")
    return re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
