"""Learning curves of the runs; weights, gains and error correlations of the ensembles."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipeline.core import blend, stats
from pipeline.core.labels import Schema
from pipeline.core.metrics import deciding
from pipeline.report.figure import ACCENT, MUTED, Figure, draw
from pipeline.report.formatting import score
from pipeline.report.material import Material, Section
from pipeline.store.artifacts import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVES = (  # column of a history, its name, how it is drawn
    ("rmse", "training", {"color": MUTED, "linewidth": 0.8, "dashes": (2, 2)}),
    ("val_rmse", "held out", {"color": ACCENT, "linewidth": 1.3, "alpha": 0.85}),
)


def section(material: Material) -> Section:
    """Curves of every run; weights, gains and correlations of every ensemble."""
    found, drawn = ensembles(material), curves(material)
    facts = {"curves": drawn, "ensembles": found, "decides": material.decides, "schema": material.schema}
    finding = "One run, and nothing to blend it with."
    if found and len(found[0]["members"]) > 1:
        first = found[0]
        most = max(first["members"], key=lambda member: member["gain"])
        finding = (
            f"{first['name']} blends {len(first['members'])} runs ({first['method']}) to {score(first['score'])}; "
            f"without {most['run']}, its most valuable member, the {material.decides.title} would grow by "
            f"{score(most['gain'])}."
        )
    return Section("training", "Learning curves and ensembles", finding, facts,
                   tuple(drawn))  # fmt: skip


def curves(material: Material) -> list[Figure]:
    """A figure per run; all share one scale that leaves out the wild first epochs."""
    plan, store = material.plan, material.store
    histories = {run.name: [_history(store, run.name, fold) for fold in range(plan.folds)] for run in plan.runs}
    limits = scale_of([history for found in histories.values() for history in found])
    return [learning_curves(run, found, limits) for run, found in histories.items() if any(map(len, found))]


def scale_of(histories: list[pd.DataFrame]) -> tuple[float, float]:
    """The RMSE to show: from the best to 3 times that, or to the worst last one."""
    values = [history.reindex(columns=["rmse", "val_rmse"]) for history in histories]
    low, high = (float(np.nanmin(pd.concat(values), initial=1.0)), float(np.nanmax(pd.concat(values), initial=0.0)))
    last = max((float(value.ffill().iloc[-1].max()) for value in values if len(value)), default=high)
    margin = 0.05 * (high - low) if high < 3 * low else 0.05 * low
    return max(0.0, low - margin), max(min(high, 3 * low), last if last == last else 0) + margin


def learning_curves(run: str, histories: Sequence[pd.DataFrame], limits: tuple[float, float]) -> Figure:
    """One run's RMSE by epoch, a line a fold: held-out galaxies solid, training galaxies thin and broken.

    Each history has the columns phase, rmse and val_rmse, a row an epoch; numbers may be missing. `limits`: RMSE shown.
    """

    def on(axes: "Axes") -> None:
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

    epochs = max(map(len, histories))
    alt = f"Learning curves of {run}: RMSE of held-out and training galaxies over {epochs} epochs, one line a fold."
    numbers = pd.concat([history.assign(fold=fold) for fold, history in enumerate(histories)], ignore_index=True)
    return draw(f"curves-{run}", alt, numbers, on, size=(4.3, 2.6), title=run)


def _mark_fine_tuning(axes: "Axes", histories: Sequence[pd.DataFrame]) -> None:
    """A line where training the head ends and fine-tuning begins, if there are both."""
    phases = list(histories[0].get("phase", ()))
    if "head" in phases and "fine-tune" in phases:
        begins = phases.index("fine-tune") + 0.5
        axes.axvline(begins, color=MUTED, linewidth=0.8)
        where = {"xytext": (3, 3), "textcoords": "offset points", "xycoords": ("data", "axes fraction")}
        axes.annotate("fine-tuning", (begins, 0), **where, fontsize=8, color=MUTED)


def ensembles(material: Material) -> list[dict[str, Any]]:
    """Weights, the gain by each member, correlation of the members' errors and the scores of all methods, of each."""
    board, predicted = material.board, {entry.name: entry.predicted for entry in material.board.of_kind("run")}
    found = []
    for spec in material.plan.ensembles:
        record = material.store.ensemble(spec.name).record() or {}
        weights = {run: np.atleast_1d(value).tolist() for run, value in record.get("weights", {}).items()}
        stack = np.stack([predicted[run] for run in spec.runs])
        gained = members(board.schema, stack, board.truth, board.fold_of, record.get("method", "mean"))
        gains = dict(zip(spec.runs, gained, strict=True))
        found.append({
            "name": spec.name,
            "asked": spec.method,
            "method": record.get("method"),
            "score": record.get(board.entries[0].decides.name),
            "before": record.get(f"{board.entries[0].decides.name}_before_projection"),
            "tree_gap": (material.store.submission(spec.name).record() or {}).get("tree_gap"),
            "scores": record.get("scores") or {},
            "widest": max((max(values) for values in weights.values()), default=1.0),
            "members": [{"run": run, "weights": weights.get(run, [])} | gains[run] for run in spec.runs],
            "correlation": correlation(np.nan_to_num(stack - board.truth)).tolist(),
        })  # fmt: skip
    return found


def members(
    schema: Schema, stack: np.ndarray, truth: np.ndarray, fold_of: np.ndarray, method: str
) -> list[dict[str, float]]:
    """For each member, by how much the blend's cross-fitted score would grow without it, and the 95 % interval."""
    if len(stack) == 1:
        return [{"gain": float("nan"), "low": float("nan"), "high": float("nan")}]
    fit = blend.METHODS[method]
    score = deciding(schema)
    whole = score.per_galaxy(schema, truth, blend.cross_fitted(schema, stack, truth, fold_of, fit))
    found = []
    for i in range(len(stack)):
        rest = blend.cross_fitted(schema, np.delete(stack, i, axis=0), truth, fold_of, fit)
        gain, low, high = stats.paired_difference(score.per_galaxy(schema, truth, rest), whole, finish=score.finish)
        found.append({"gain": gain, "low": low, "high": high})
    return found


def correlation(errors: np.ndarray) -> np.ndarray:
    """Correlation (M, M) of the errors (M, n, c) of models, about 0: what an unbiased blend would care for."""
    flat = errors.reshape(len(errors), -1)
    products = flat @ flat.T
    scale = np.sqrt(np.diag(products))
    return products / np.maximum(np.outer(scale, scale), 1e-30)


def _history(store: Store, run: str, fold: int) -> pd.DataFrame:
    return pd.read_csv(store.trained(run, fold).verified("history.csv"))
