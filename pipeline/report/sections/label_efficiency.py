"""How many labels it takes: score against number of labels for each start, and what labels from galaxies are worth."""

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.core import label_efficiency
from pipeline.core.label_efficiency import Measure, Worth
from pipeline.report.figure import ACCENT, GOOD, MUTED, SECOND, Figure, draw, legend, tick_label
from pipeline.report.formatting import MINUS
from pipeline.report.material import Material, Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = {
    "galaxies": "from galaxies",
    "imagenet": "from ImageNet",
    "scratch": "from scratch",
    "random-forest": "random forest, hand-made features",
    "svm": "SVM, hand-made features",
}
STYLES = {
    "galaxies": {"color": ACCENT},
    "imagenet": {"color": SECOND},
    "scratch": {"color": GOOD},
    "random-forest": {"color": MUTED, "linestyle": "--"},
    "svm": {"color": MUTED, "linestyle": ":"},
}


def section(material: Material) -> Section | None:
    """Every run that was measured; None where none was."""
    measured = [found for run in material.plan.runs for tuned in (False, True)
                if (found := _read(material, run.name, tuned=tuned))]  # fmt: skip
    if not measured:
        return None
    drawn = [(found, found.figure(f"labels-{found.facts['run']}-{'whole' if found.facts['tuned'] else 'heads'}"))
             for found in measured]  # fmt: skip
    facts = {"measured": [found.shown(figure) for found, figure in drawn]}
    return Section("label-efficiency", "How many labels it takes", measured[-1].sentence(), facts,
                   tuple(figure for _, figure in drawn))  # fmt: skip


def _read(material: Material, run: str, *, tuned: bool) -> "Found | None":
    artifact = material.store.efficiency(run, tuned=tuned)
    record = artifact.record()
    return Found.of(record, pd.read_csv(artifact.verified("results.csv"))) if record else None


class Found(NamedTuple):
    """One measurement: what its record says, and a row of scores for each start, number of labels and repeat."""

    facts: dict[str, Any]
    table: pd.DataFrame
    measure: Measure

    @classmethod
    def of(cls, facts: dict[str, Any], table: pd.DataFrame) -> "Found":
        """From the record, or what it will hold."""
        return cls(facts, table, Measure(**facts["measure"]))

    @property
    def sizes(self) -> list[int]:
        """Numbers of labels, ascending."""
        return sorted(int(size) for size in self.table["labels"].unique())

    @property
    def starts(self) -> list[str]:
        """The starts that were measured."""
        return [start for start in NAMES if (self.table["start"] == start).any()]

    def scores(self, start: str) -> np.ndarray:
        """Scores of a start: (sizes, repeats)."""
        own = self.table[self.table["start"] == start]
        return own.pivot(index="labels", columns="repeat", values=self.measure.name).to_numpy(np.float64)

    def curves(self) -> pd.DataFrame:
        """Mean and interval over the repeats for each start and number of labels."""
        rows = []
        for start in self.starts:
            mean, low, high = label_efficiency.interval(self.scores(start))
            low, high = np.maximum(low, 0), np.minimum(high, 1) if self.measure.larger_is_better else high  # of shares
            for size, *of_size in zip(self.sizes, mean, low, high, strict=True):
                rows.append(
                    {"start": start, "labels": size, **dict(zip(("mean", "low", "high"), of_size, strict=True))}
                )
        return pd.DataFrame(rows)

    def figure(self, name: str = "curves") -> Figure:
        """The curves."""
        curves, sizes = self.curves(), self.sizes

        def on(axes: "Axes") -> None:
            for start in self.starts:
                own = curves[curves["start"] == start]
                axes.plot(own["labels"], own["mean"], "o", markersize=3, linestyle=STYLES[start].get("linestyle", "-"),
                          color=STYLES[start]["color"], linewidth=1.3, label=NAMES[start])  # fmt: skip
                axes.fill_between(own["labels"], own["low"], own["high"], color=STYLES[start]["color"], alpha=0.14,
                                  linewidth=0)  # fmt: skip
            axes.set_xscale("log")
            axes.set_xticks(sizes, [tick_label(size) for size in sizes])
            axes.minorticks_off()
            axes.set(xlabel="labelled galaxies", ylabel=self.measure.title)
            legend(axes, 2)

        alt = f"{self.measure.title} against numbers of labels from {sizes[0]:,} to {sizes[-1]:,}. {self.sentence()}"
        title = "Whole networks" if self.facts["tuned"] else "Heads on frozen features"
        return draw(name, alt, curves, on, size=(5.4, 3.6), title=title)

    def compared(self) -> tuple[str, str] | None:
        """The two starts that are compared in words."""
        there = [start for start in ("galaxies", "imagenet", "scratch") if start in self.starts]
        return (there[0], there[1]) if len(there) > 1 else None

    def worth(self) -> tuple[int, Worth] | None:
        """(a number of labels, what so many from the better start are worth from the next)."""
        if (pair := self.compared()) is None:
            return None
        place, sizes = label_efficiency.anchor(self.sizes), np.array(self.sizes)
        mine, other = (self.scores(start) for start in pair)
        found = label_efficiency.worth(sizes, mine, other, place, self.measure.larger_is_better)
        return self.sizes[place], found

    def sentence(self) -> str:
        """What the measurement shows."""
        if self.table[self.measure.name].isna().any():
            return f"Some draws have no {self.measure.title}, so that nothing can be compared."
        found = self.worth()
        if found is None:
            return "There are no two starts to compare."
        (at, worth), (one, other) = found, (NAMES[start] for start in self.compared())
        place = self.sizes.index(at)
        means = [self._value(self.scores(start)[place].mean()) for start in self.compared()]
        repeats = self.table["repeat"].nunique()
        drawn = f"{repeats} draw{'s' if repeats > 1 else ''} of the labels"
        if repeats > 1 and not label_efficiency.told_apart(worth):
            gap, low, high = (self._value(value, signed=True) for value in worth.difference)
            return (
                f"{at:,} labels {one} and {other} cannot be told apart: {self.measure.title} {means[0]} and "
                f"{means[1]}, a difference of {gap} ({low} to {high}) over {drawn}."
            )
        low, high = self._labels(worth.low), self._labels(worth.high)
        span = "by one:" if repeats == 1 else "as in each of" if low == high else f"{low} to {high} over"
        return (
            f"{at:,} labels {one} are worth {self._labels(worth.labels)} {other} ({span} {drawn}): "
            f"{self.measure.title} {means[0]} against {means[1]}."
        )

    def _labels(self, number: float) -> str:
        """A number of labels, as far as it was measured."""
        if number == 0:
            return f"fewer than {self.sizes[0]:,}"
        return f"more than {self.sizes[-1]:,}" if math.isinf(number) else f"{float(f'{number:.2g}'):,.0f}"

    def _value(self, value: float, *, signed: bool = False) -> str:
        """A score; an accuracy in per cent."""
        text = f"{value:{'+' if signed else ''}.{'1%' if self.measure.name == 'accuracy' else '4f'}}"
        return text.replace("%", " %").replace("-", MINUS)

    def shown(self, figure: Figure) -> dict[str, Any]:
        """What the template shows."""
        curves = self.curves().set_index(["start", "labels"])
        rows = [{"name": NAMES[start],
                 "cells": [(self._value(cell["mean"]), *(self._value(cell[end]) for end in ("low", "high")))
                           for cell in (curves.loc[start, size] for size in self.sizes)]}
                for start in self.starts]  # fmt: skip
        start = self.facts.get("start")
        return {"run": self.facts["run"], "tuned": self.facts["tuned"], "figure": figure, "sizes": self.sizes,
                "rows": rows, "sentence": self.sentence(), "measure": self.measure.title,
                "repeats": self.table["repeat"].nunique(), "pool": self.facts["pool"],
                "held_out": self.facts["held_out"], "start": start, "label": self.facts["start_label"],
                "file": self.facts["imagenet_file"]}  # fmt: skip
