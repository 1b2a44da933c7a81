"""Figures of the report as SVG that takes its colours and font from the page, so it follows light, dark and print.

Matplotlib knows no CSS: what is drawn in the colours below is handed over to the page's variables by name.
"""

import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipeline.core.tree import QUESTIONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
    "legend.labelcolor": MUTED,
    "figure.constrained_layout.use": True,
}
CURVES = (  # column of a history, its name, how it is drawn
    ("rmse", "training", {"color": MUTED, "linewidth": 0.8, "dashes": (2, 2)}),
    ("val_rmse", "held out", {"color": ACCENT, "linewidth": 1.3, "alpha": 0.85}),
)


def per_question(baseline: np.ndarray | None, runs: Sequence[np.ndarray], ensemble: np.ndarray | None) -> str:
    """RMSE per question, (11,) each: the best baseline, all runs and the best ensemble, as marks on one line."""

    def draw(axes: "Axes") -> None:
        y = np.arange(len(QUESTIONS))
        shown = [values for values in (baseline, *runs, ensemble) if values is not None]
        axes.hlines(y, np.min(shown, axis=0), np.max(shown, axis=0), color=GRID, linewidth=2)
        if baseline is not None:
            axes.plot(baseline, y, "o", markersize=5, color=PAPER, markeredgecolor=MUTED, label="best baseline")
        for i, values in enumerate(runs):
            axes.plot(values, y, "|", markersize=8, color=SECOND, markeredgewidth=1.4, label="" if i else "runs")
        if ensemble is not None:
            axes.plot(ensemble, y, "o", markersize=5, color=ACCENT, label="best ensemble")
        axes.set_yticks(y, [f"{question.number} {question.text}" for question in QUESTIONS])
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set(ylim=(len(y) - 0.5, -0.5), xlim=(0, None), xlabel="RMSE")
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.figure.legend(loc="outside upper left", ncols=3, handletextpad=0.2, columnspacing=1.2)

    return _draw(draw, 4.3, 3.9, "per-question")


def learning_curves(run: str, histories: Sequence[pd.DataFrame], limits: tuple[float, float]) -> str:
    """One run's RMSE by epoch, a line a fold: held-out galaxies solid, training galaxies thin and broken.

    Each history has the columns phase, rmse and val_rmse, a row an epoch; numbers may be missing. `limits`: RMSE shown.
    """

    def draw(axes: "Axes") -> None:
        for i, history in enumerate(histories):
            for column, label, style in CURVES:
                values = history[column].dropna() if column in history else ()
                if len(values):
                    dot = "o" if len(values) == 1 else None
                    axes.plot(values.index + 1, values, marker=dot, markersize=3, label="" if i else label, **style)
        _mark_fine_tuning(axes, histories)
        axes.set(xlabel="epoch", ylabel="RMSE", ylim=limits)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.figure.legend(loc="outside upper right", ncols=2, handlelength=1.6)

    return _draw(draw, 3.6, 2.3, f"curves of {run}")


def _mark_fine_tuning(axes: "Axes", histories: Sequence[pd.DataFrame]) -> None:
    """A line where training the head ends and fine-tuning begins, if there are both."""
    phases = list(histories[0].get("phase", ()))
    if "head" in phases and "fine-tune" in phases:
        begins = phases.index("fine-tune") + 0.5
        axes.axvline(begins, color=MUTED, linewidth=0.8)
        where = {"xytext": (3, 3), "textcoords": "offset points", "xycoords": ("data", "axes fraction")}
        axes.annotate("fine-tuning", (begins, 0), **where, fontsize=8, color=MUTED)


def _draw(draw: Callable[["Axes"], None], width: float, height: float, salt: str) -> str:
    """What `draw` puts on axes of this size (inches) as an <svg>; `salt` keeps the ids of a page's figures apart.

    Without pyplot, so nothing is left behind and nothing asks for a display.
    """
    import matplotlib
    from matplotlib.figure import Figure

    text = io.StringIO()
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": salt}):
        figure = Figure(figsize=(width, height))
        axes = figure.subplots()
        draw(axes)
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _of_the_page(text.getvalue())


def _of_the_page(svg: str) -> str:
    """Matplotlib's SVG file as an element that scales, whose colours are the page's variables, font the page's."""
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'(<g) id="[^"]*"', r"\1", svg)  # would stand twice on a page of several figures
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', svg, count=1)
    for colour, name in VARIABLES.items():
        svg = svg.replace(colour, f"var(--{name})")
    return re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
