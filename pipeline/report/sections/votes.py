"""The volunteers' votes: distributions, class balance, correlations."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipeline.core import classes, metrics, tree
from pipeline.core.labels import Schema
from pipeline.report import answers
from pipeline.report.figure import (
    ACCENT,
    CLASSES,
    GRID,
    INK,
    MUTED,
    Figure,
    clipped,
    draw,
    legend_beside,
    line_style,
    panel_grid,
)
from pipeline.report.pictures import Thumbnails, contact_sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = np.linspace(0, 1, 21)
LONGEST = 24  # letters of an answer beside a panel


def class_balance(schema: Schema, truth: np.ndarray) -> Figure:
    """Galaxies of each of the classes, and those whose votes (n, c) are not clear."""
    found = classes.true_class(schema, truth)
    names = [*schema.class_names, "no clear votes"]
    counts = [*np.bincount(found[found >= 0], minlength=len(schema.classes)), int((found < 0).sum())]
    numbers = pd.DataFrame({"class": names, "galaxies": counts})

    def on(axes: "Axes") -> None:
        y = np.arange(len(names))
        axes.barh(y, counts, color=[*(CLASSES[i % len(CLASSES)] for i in range(len(schema.classes))), GRID], height=0.7)
        for at, count in zip(y, counts, strict=True):
            axes.annotate(f" {count:,}", (count, at), va="center", fontsize=8, color=MUTED)
        axes.set_yticks(y, map(clipped, names))
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set(ylim=(len(y) - 0.5, -0.5), xlabel="galaxies")
        axes.margins(x=0.12)
        axes.grid(axis="y", visible=False)

    alt = "Galaxies of each of the classes, and those without clear votes."
    return draw("class-balance", alt, numbers, on, size=(5.2, 0.7 + 0.28 * len(names)), title="Class balance")


def distributions(schema: Schema, truth: np.ndarray) -> Figure:
    """How the votes for each answer are spread among galaxies (n, c) for which half of the volunteers were asked."""
    conditional, asked = tree.to_conditional(schema, truth), metrics.mostly_asked(schema, truth)
    rows, texts = [], list(schema.texts.values())
    for question, columns, mine in zip(schema.questions, schema.slices, asked.T, strict=True):
        for column in range(columns.start, columns.stop):
            counts, _ = np.histogram(conditional[mine, column], BINS)
            for low, count in zip(BINS[:-1], counts, strict=True):
                rows.append((question.number, schema.columns[column], texts[column], round(low, 2), int(count)))
    numbers = pd.DataFrame(rows, columns=["question", "column", "answer", "from", "galaxies"])

    shown = answers.panels(schema)

    def on(panels: "list[Axes]") -> None:
        for axes, panel in zip(panels, shown, strict=False):
            mine = asked[:, panel.question.number - 1]
            for i, column in enumerate(panel.columns):
                counts = numbers.loc[numbers["column"] == column, "galaxies"].to_numpy()
                name = clipped(schema.texts[column], LONGEST)
                axes.stairs(counts / max(1, mine.sum()), BINS, **line_style(i), linewidth=1.1, label=name)
            legend_beside(axes)
            axes.set_title(f"{panel.title}\n{mine.sum():,} galaxies", fontsize=8)
            axes.set(xlim=(0, 1), ylim=(0, None))
            axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"], fontsize=7)
            axes.set_yticks([])
        for axes in panels[len(shown) :]:
            axes.set_axis_off()

    grid = panel_grid(len(shown))
    alt = "Histograms of the share of votes for each answer among galaxies for which half were asked its question."
    return draw(
        "vote-distributions",
        alt,
        numbers,
        on,
        size=(2.75 * grid[1], 1.8 * grid[0]),
        panels=grid,
        title="Distribution of votes",
    )


def correlation(schema: Schema, truth: np.ndarray) -> Figure:
    """Correlation of the vote fractions (n, c) with each other."""
    spread = truth.std(axis=0) > 0
    made = np.full((len(schema.columns), len(schema.columns)), np.nan)
    made[np.ix_(spread, spread)] = np.corrcoef(truth[:, spread], rowvar=False)
    short = list(schema.short_names.values())
    names = [f"{clipped(text)} ({name})" for name, text in zip(short, schema.labels.values(), strict=True)]

    def on(axes: "Axes") -> None:
        shown = axes.imshow(made, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
        axes.set_yticks(range(len(names)), names, fontsize=5.5)
        axes.set_xticks(range(len(names)), short, fontsize=5.5, rotation=90)
        axes.grid(visible=False)
        axes.figure.colorbar(shown, shrink=0.5, label="correlation").ax.tick_params(labelcolor=MUTED)
        axes.tick_params(axis="y", labelcolor=ACCENT)

    alt, side = "Correlation of the vote fractions with each other.", max(1.2, 0.13 * len(names))
    numbers = pd.DataFrame(made, columns=schema.columns).assign(column=schema.columns)
    return draw("vote-correlation", alt, numbers, on, size=(3.4 + side, 0.8 + side),
                title="Correlation of answers")  # fmt: skip


def clearest(schema: Schema, thumbnails: Thumbnails, labels: pd.DataFrame, question: int, count: int = 8) -> np.ndarray:
    """A line for each answer of a question: the galaxies with most votes for it; uint8 (h, w, 3)."""
    columns = schema.questions[question - 1].columns
    return contact_sheet([[thumbnails.pixels(one) for one in labels[c].nlargest(count).index] for c in columns])
