"""What the report shows, as plain values for its template: numbers are computed here and only laid out there."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import figures, leaderboard, units, worries
from pipeline.artifacts import Store
from pipeline.config import Plan
from pipeline.core import metrics, stats
from pipeline.core.tree import QUESTIONS
from pipeline.leaderboard import Board

UNKNOWN, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
TEMPLATES = Path(__file__).parent / "templates"
SOURCES = {"imagenet": "ImageNet", "file": "a given file", "random": "RANDOM"}


def render(plan: Plan, store: Store, board: Board, plan_option: str) -> str:
    """The report as one HTML page that needs nothing else; `plan_option` is the plan as the command line names it."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    layout = {"trim_blocks": True, "lstrip_blocks": True}
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, **layout)
    environment.filters |= {word.__name__: word for word in (score, signed, count, share, duration)} | {"svg": Markup}
    page = environment.get_template("report.html.jinja")
    return page.render(
        plan=plan,
        command=f"./run.sh {plan_option}",
        summary=summary(plan, store, board),
        worries=worries.all_of(plan, store, board),
        board=lines(board),
        noise=board.entries[0].noise,
        questions=questions(board),
        confusion=confusion(board),
        pairs=pairs(board),
        curves=curves(plan, store),
        runs=runs(plan, store),
        ensembles=ensembles(plan, store),
        made=made(plan, store),
    )


def summary(plan: Plan, store: Store, board: Board) -> dict[str, Any]:
    """The best entry that can be submitted, against the mean answer, and what it rests on."""
    best = board.best("ensemble") or board.entries[0]
    mean = metrics.rmse(board.truth, out_of_fold_mean(board))
    predicting = sum(_seconds(unit) for unit in units.predict(plan, store))
    training = sum(entry.train_seconds for entry in board.of("run"))
    return {
        "best": best,
        "mean": mean,
        "gain": 1 - best.rmse / mean,
        "weights": {SOURCES.get(s, s) for s in worries.weights(plan, store).values()},
        "drawn": units.draws(plan, store),
        "galaxies": len(board.truth),
        "test": len(store.load_sample()[1]),
        "clean": int((metrics.five_class(board.truth) >= 0).sum()),
        "training": training,
        "predicting": predicting,
    }


def out_of_fold_mean(board: Board) -> np.ndarray:
    """For each galaxy the mean answer of the other folds: (n, 37)."""
    made = np.empty_like(board.truth)
    for fold in np.unique(board.fold_of):
        made[board.fold_of == fold] = board.truth[board.fold_of != fold].mean(axis=0)
    return made


def lines(board: Board) -> list[dict[str, Any]]:
    """The leaderboard's rows with where their intervals lie on a common scale, in per cent."""
    top = max(entry.interval[1] for entry in board.entries) * 1.02
    return [
        dict(zip(leaderboard.COLUMNS, entry.row(), strict=True))
        | {"left": 100 * entry.interval[0] / top, "at": 100 * entry.rmse / top, "right": 100 * entry.interval[1] / top}
        for entry in board.entries
    ]


def questions(board: Board) -> dict[str, Any]:
    """RMSE per question of the best baseline, all runs and the best ensemble, as a table and a figure."""
    baseline, ensemble, nets = board.best("baseline"), board.best("ensemble"), board.of("run")
    shown = [entry for entry in (ensemble, *nets, baseline) if entry]
    columns = {id(entry): metrics.rmse_per_question(board.truth, entry.predicted) for entry in shown}
    figure = figures.per_question(
        columns[id(baseline)] if baseline else None,
        [columns[id(entry)] for entry in nets],
        columns[id(ensemble)] if ensemble else None,
    )
    table = np.stack(list(columns.values()), axis=1)  # (11, shown)
    rows = [(question, row.tolist(), int(row.argmin())) for question, row in zip(QUESTIONS, table, strict=True)]
    return {"entries": shown, "rows": rows, "figure": figure}


def confusion(board: Board) -> dict[str, Any] | None:
    """Five classes as voted (rows) and as the best ensemble predicts (columns); None where no galaxy is clean."""
    best = board.best("ensemble") or board.entries[0]
    true, predicted = metrics.five_class(board.truth), metrics.five_class_predicted(best.predicted)
    counts = metrics.confusion(true, predicted, len(metrics.FIVE_CLASSES))
    if not counts.sum():
        return None
    totals = counts.sum(axis=1)
    shares = counts / np.maximum(totals, 1)[:, None]
    rows = [
        {"name": name, "total": int(total), "cells": list(zip(number.tolist(), part.tolist(), strict=True))}
        for name, total, number, part in zip(metrics.FIVE_CLASSES, totals, counts, shares, strict=True)
    ]
    return {"entry": best, "rows": rows, "classes": metrics.FIVE_CLASSES}


def pairs(board: Board) -> dict[str, Any] | None:
    """Each entry against the best single run on the same galaxies, with where its interval lies, in per cent.

    The scale is that of runs and ensembles; baselines may lie beyond it.
    """
    reference = board.best("run")
    if reference is None:
        return None
    found = []
    for entry in board.entries:
        if entry is not reference:
            difference, low, high = stats.paired_difference(entry.errors, reference.errors)
            found.append({"entry": entry, "difference": difference, "low": low, "high": high,
                          "verdict": stats.verdict(low, high)})  # fmt: skip
    nets = [pair for pair in found if pair["entry"].kind != "baseline"] or found
    reach = 1.1 * max((max(abs(pair["low"]), abs(pair["high"])) for pair in nets), default=1.0) or 1.0
    for pair in found:
        pair |= {side: float(np.clip(50 + 50 * pair[key] / reach, 0, 100)) for side, key in _PLACES}
        pair["beyond"] = pair["difference"] > reach
    return {"reference": reference, "rows": found}


_PLACES = (("left", "low"), ("at", "difference"), ("right", "high"))


def curves(plan: Plan, store: Store) -> list[dict[str, Any]]:
    """A figure per run; all share one scale that leaves out the wild first epochs."""
    histories = {run.name: [_history(store, run.name, fold) for fold in range(plan.folds)] for run in plan.runs}
    limits = _limits([history for found in histories.values() for history in found])
    return [
        {"run": run, "figure": figures.learning_curves(run, found, limits), "epochs": max(map(len, found))}
        for run, found in histories.items()
        if any(len(history) for history in found)
    ]


def _limits(histories: list[pd.DataFrame]) -> tuple[float, float]:
    """The RMSE to show: from the best to 3 times that, or to the worst last one."""
    values = [history.reindex(columns=["rmse", "val_rmse"]) for history in histories]
    low, high = (float(np.nanmin(pd.concat(values), initial=1.0)), float(np.nanmax(pd.concat(values), initial=0.0)))
    last = max((float(value.ffill().iloc[-1].max()) for value in values if len(value)), default=high)
    margin = 0.05 * (high - low) if high < 3 * low else 0.05 * low
    return max(0.0, low - margin), max(min(high, 3 * low), last if last == last else 0) + margin


def runs(plan: Plan, store: Store) -> list[dict[str, Any]]:
    """What each run was and what it started from."""
    sources = worries.weights(plan, store)
    found = []
    for run in plan.runs:
        record = store.trained(run.name, 0).record() or {}
        origin = record.get("weights", {})
        found.append({
            "run": run,
            "pixels": plan.input_size(run),
            "weights": SOURCES.get(sources[run.name], sources[run.name]),
            "random": "random" in sources[run.name],
            "digest": (origin.get("sha256") or "")[:12],
            "precision": record.get("precision", "not recorded"),
            "reason": record.get("precision_reason", ""),
            "epochs": record.get("epochs"),
        })  # fmt: skip
    return found


def ensembles(plan: Plan, store: Store) -> list[dict[str, Any]]:
    """Weights and the scores of all methods, of each ensemble."""
    found = []
    for spec in plan.ensembles:
        record = store.ensemble(spec.name).record() or {}
        weights = {run: np.atleast_1d(value).tolist() for run, value in record.get("weights", {}).items()}
        widest = max((max(values) for values in weights.values()), default=1.0)
        found.append({"name": spec.name, "asked": spec.method, "method": record.get("method"), "weights": weights,
                      "widest": widest, "scores": record.get("scores") or {}, "rmse": record.get("rmse")})  # fmt: skip
    return found


def made(plan: Plan, store: Store) -> dict[str, Any]:
    """The plan in full, the versions that its networks were made with, and how long each stage took."""
    records = [unit.artifact.record() or {} for unit in units.every(plan, store) if unit.stage != "report"]
    environments = [record["made"] for record in records if "made" in record]
    versions = {
        "code": _all(env["code"] for env in environments),
        "Python": _all(env["python"] for env in environments),
    }
    libraries = sorted({name for env in environments for name in env["libraries"]})
    versions |= {name: _all(env["libraries"].get(name) for env in environments) for name in libraries}
    versions["machine"] = _all(env["machine"] for env in environments)
    seconds = {stage: sum(_seconds(unit) for maker in makers for unit in maker(plan, store))
               for stage, makers in units.STAGES.items()}  # fmt: skip
    return {
        "plan": json.dumps(plan.model_dump(mode="json", exclude_defaults=True), indent=2),
        "versions": versions,
        "seconds": {stage: value for stage, value in seconds.items() if value},
        "folds": np.bincount(store.load_folds().to_numpy()).tolist(),
    }


def score(value: float | None) -> str:
    """An RMSE: 0.0749."""
    return UNKNOWN if value is None or math.isnan(value) else f"{value:.4f}"


def signed(value: float) -> str:
    """A difference of RMSEs, with its sign: +0.0013."""
    return f"{value:+.4f}".replace("-", MINUS)


def count(value: float) -> str:
    """A large number: 61,578; 4.1 M; 340."""
    if value is None or math.isnan(value):
        return UNKNOWN
    return f"{value / 1e6:.1f} M" if value >= 1e6 else f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def share(value: float) -> str:
    """95.2 %."""
    return UNKNOWN if math.isnan(value) else f"{100 * value:.1f} %"


def duration(seconds: float) -> str:
    """0.4 s; 12 s; 3 min 20 s; 1 h 05 min."""
    if math.isnan(seconds):
        return UNKNOWN
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _history(store: Store, run: str, fold: int) -> pd.DataFrame:
    return pd.read_csv(store.trained(run, fold).files[1])


def _seconds(unit: units.Unit) -> float:
    """Seconds that a unit took, as its stage recorded them; 0 where it did not."""
    record = unit.artifact.record() or {}
    return float(record.get("train_seconds") or record.get("seconds") or 0)


def _all(values: Iterator[str | None]) -> str:
    """The different values, in one line."""
    return ", ".join(sorted({value for value in values if value}))
