"""Leaderboard: all entries, against the best single run, and what their accuracy costs."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipeline.competition import uploads
from pipeline.core import stats
from pipeline.core.metrics import RMSE, Score
from pipeline.report import leaderboard
from pipeline.report.figure import ACCENT, MUTED, SECOND, Figure, clipped, draw, legend, log_ticks, tick_label
from pipeline.report.formatting import count, duration, score, share, signed
from pipeline.report.leaderboard import Entry
from pipeline.report.material import Material, Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PLACES = (("left", "low"), ("at", "difference"), ("right", "high"))
MIN_DIFFERENCE = 1e-5  # a difference in RMSE that is worth a word
CLOSEST = 0.07  # of the axis: the least distance of two names
NAME_SHIFT, LETTER = 7, 5  # points between a dot and its name; the width of a letter


def section(material: Material) -> Section:
    """The table, the pairs, and RMSE against training time and speed."""
    board = material.board
    run, baseline, ensemble = (board.best(kind) for kind in ("run", "baseline", "ensemble"))
    decides = material.decides
    finding = f"{board.entries[0].name} leads with {decides.article} {decides.title} of {score(board.entries[0].score)}"
    if run and baseline:
        finding += f"; the best single run, {run.name}, reaches {score(run.score)}, {_than(run, baseline)}"
    if run and ensemble and ensemble.score < run.score - MIN_DIFFERENCE:
        finding += f"; {ensemble.name} is {share(1 - ensemble.score / run.score)} below that run"
    costs = cost_figure(board.of_kind("run") + board.of_kind("ensemble"), baseline, decides)
    sent = against_kaggle(uploads.load(material.store))
    facts = {"rows": rows(material, sent), "pairs": pairs(material), "noise": board.entries[0].noise}
    facts |= {
        "costs": costs,
        "sent": sent,
        "decides": decides,
        "columns": [title for title, *_ in cells_of(material, sent)],
    }
    facts |= {"classes": material.schema.describes_classes, "volunteers": material.schema.volunteers}
    return Section("leaderboard", "Leaderboard", finding + ".", facts, tuple(drawn for drawn in (costs, sent) if drawn))


def _than(run: Entry, baseline: Entry) -> str:
    side = "below" if run.score < baseline.score else "ABOVE"
    return f"{share(abs(1 - run.score / baseline.score))} {side} the best baseline, {baseline.name}"


Cell = tuple[str, str, Callable[[float], str]]


def cells_of(material: Material, sent: Figure | None = None) -> list[Cell]:
    """(title, column, how its values are written) of the cells behind the score and its interval."""
    spread = ("Spread of folds", "fold_std", "{:.5f}".format)
    costs = [("Parameters", "params", count), ("Training", "train_seconds", duration)]
    costs.append(("Images/s", "images_per_second", count))
    if material.schema.describes_classes:
        titles = ("Accuracy", "Balanced accuracy", "F1, mean", "Average precision, mean")
        of_classes = [(title, key, share) for title, key in zip(titles, leaderboard.OF_CLASSES, strict=True)]
        return [spread, *of_classes, *costs]
    kaggle = [("Kaggle public", "kaggle_public", score), ("Kaggle private", "kaggle_private", score)] if sent else []
    gain = ("Gain by views", "views_gain", signed)
    noise = [("Beyond vote noise", "beyond_noise", score)] if material.schema.volunteers else []
    return [*noise, spread, gain, (material.words.accuracy, "accuracy", share), *costs, *kaggle]


def rows(material: Material, sent: Figure | None = None) -> list[dict[str, Any]]:
    """The leaderboard's rows with where their intervals lie on a common scale, in per cent."""
    entries, cells = material.board.entries, cells_of(material, sent)
    top = max(entry.interval[1] for entry in entries) * 1.02
    pinned, found = material.board.best("baseline"), []
    for entry in entries:
        low, high = entry.interval
        row, places = entry.row(), {"left": 100 * low / top, "at": 100 * entry.score / top, "right": 100 * high / top}
        shown = [(row[key], form(row[key])) for _, key, form in cells]
        found.append(row | places | {"pinned": entry is pinned, "score": entry.score, "low": low, "high": high,
                                     "cells": shown})  # fmt: skip
    return found


def pairs(material: Material) -> dict[str, Any] | None:
    """Each entry against the best single run on the same galaxies, with where its interval lies, in per cent.

    The scale is that of runs and ensembles; baselines may lie beyond it.
    """
    reference = material.board.best("run")
    if reference is None:
        return None
    found = []
    for entry in material.board.entries:
        if entry is not reference:
            difference, low, high = stats.paired_difference(entry.errors, reference.errors, finish=entry.decides.finish)
            found.append({"entry": entry, "difference": difference, "low": low, "high": high,
                          "verdict": stats.verdict(low, high)})  # fmt: skip
    nets = [pair for pair in found if pair["entry"].kind != "baseline"] or found
    reach = 1.1 * max((max(abs(pair["low"]), abs(pair["high"])) for pair in nets), default=1.0) or 1.0
    for pair in found:
        pair |= {side: float(np.clip(50 + 50 * pair[key] / reach, 0, 100)) for side, key in _PLACES}
        pair["beyond"] = pair["difference"] > reach
    return {"reference": reference, "rows": found}


def cost_figure(entries: list[Entry], baseline: Entry | None, decides: Score = RMSE) -> Figure | None:
    """The score against seconds of training and against galaxies a second: the best value lies low, left and right."""
    name, axes_of = (
        decides.name,
        {"train_seconds": "seconds of training, all folds", "images_per_second": "galaxies a second, all views"},
    )
    numbers = pd.DataFrame(
        {"name": e.name, "kind": e.kind, name: e.score, **{key: getattr(e, key) for key in axes_of}} for e in entries
    )
    known = numbers.dropna()
    if known.empty or np.ptp(known[name]) < MIN_DIFFERENCE:  # nothing to choose between
        return None

    def on(panels: "list[Axes]") -> None:
        for axes, (key, label) in zip(panels, axes_of.items(), strict=True):
            for kind, colour in (("run", SECOND), ("ensemble", ACCENT)):
                mine = known[known["kind"] == kind]
                told = f"{kind}s" if axes is panels[0] and len(mine) else ""
                axes.plot(mine[key], mine[name], "o", markersize=6, color=colour, label=told)
            axes.set(xscale="log", xlabel=label, ylabel=decides.title if key == "train_seconds" else "")
            axes.margins(0.12)
            axes.minorticks_off()
            ticks = log_ticks(*axes.get_xlim())
            axes.set_xticks(ticks, map(tick_label, ticks))
            if baseline and baseline.score < known[name].max() * 1.3:
                told = f"the best baseline, {baseline.name}" if axes is panels[0] else ""
                axes.axhline(baseline.score, color=MUTED, linewidth=0.9, linestyle=(0, (3, 3)), label=told)
        legend(panels[0], 3)
        panels[0].figure.draw_without_rendering()  # settles the limits, which the names go by
        for axes, key in zip(panels, axes_of, strict=True):
            _name_points(axes, known[key].to_numpy(), known[name].to_numpy(), known["name"].tolist())

    alt = f"{decides.title} against seconds of training and against galaxies a second, a dot for each run and ensemble."
    return draw("cost", alt, numbers, on, size=(7.6, 2.9), panels=(1, 2), title="What accuracy costs")


def against_kaggle(sent: pd.DataFrame) -> Figure | None:
    """Kaggle's public and private score of every upload against its out-of-fold RMSE; None where none is scored."""
    numbers = sent.dropna(subset=["public", "private"], how="all")
    if numbers.empty:
        return None
    numbers = numbers[["ensemble", "at", "ref", "rmse", "public", "private"]].astype({"rmse": float})

    def on(axes: "Axes") -> None:
        for key, colour in (("public", SECOND), ("private", ACCENT)):
            axes.plot(numbers["rmse"], numbers[key].astype(float), "o", markersize=6, color=colour, label=key)
        axes.margins(0.15)
        low, high = axes.dataLim.intervalx.min(), axes.dataLim.intervalx.max()
        low, high = min(low, axes.dataLim.intervaly.min()), max(high, axes.dataLim.intervaly.max())
        margin = 0.1 * (high - low) or 0.002
        ends = (low - margin, high + margin)
        axes.plot(ends, ends, color=MUTED, linewidth=0.9, linestyle=(0, (3, 3)), zorder=0)
        axes.set(xlim=ends, ylim=ends, xlabel="out-of-fold RMSE", ylabel="Kaggle's score")
        legend(axes, 2)
        axes.figure.draw_without_rendering()  # settles the limits, which the names go by
        at = numbers["private"].fillna(numbers["public"]).to_numpy(float)
        _name_points(axes, numbers["rmse"].to_numpy(), at, numbers["ensemble"].tolist())

    alt = "Kaggle's public and private score against the out-of-fold RMSE, a pair of dots for each submission."
    return draw("kaggle", alt, numbers, on, size=(4.3, 3.2), title="Out of fold against Kaggle")


def _name_points(axes: "Axes", x: np.ndarray, y: np.ndarray, names: list[str]) -> None:
    """Names beside points, towards the middle, moved up where they would lie on each other."""
    places = axes.transAxes.inverted().transform(axes.transData.transform(np.stack([x, y], axis=1)))
    points = axes.get_window_extent().width * 72 / axes.figure.dpi
    named: list[tuple[float, float, float]] = []  # left and right end and height of each, in shares of the axes
    for i in np.argsort(places[:, 1]):
        (across, up), name = places[i], clipped(names[i])
        width, leftwards = (NAME_SHIFT + LETTER * len(name)) / points, across >= 0.5
        start, end = (across - width, across) if leftwards else (across, across + width)
        for left, right, height in sorted(named, key=lambda one: one[2]):
            if start < right and left < end and up < height + CLOSEST:
                up = height + CLOSEST
        named.append((start, end, up))
        side, shift = ("right", -NAME_SHIFT) if leftwards else ("left", NAME_SHIFT)
        axes.annotate(name, (across, up), xycoords="axes fraction", xytext=(shift, 0), textcoords="offset points",
                      ha=side, va="center", fontsize=8)  # fmt: skip
