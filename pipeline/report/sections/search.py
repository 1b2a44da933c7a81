"""Hyper-parameter search: trials, importance of the settings, and the best trial against the run on fresh folds."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipeline.plans.search_space import Setting
from pipeline.report.figure import ACCENT, MUTED, SECOND, Figure, draw, legend
from pipeline.report.formatting import exact, score
from pipeline.report.material import Material, Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EDGE_SHARE = 0.03  # share of a range
TABLES = ("trials.csv", "compared.csv")
TOP = 0.1  # share of the trials that count as the best


def section(material: Material) -> Section | None:
    """Every searched run; None where none has been searched."""
    store = material.store
    found = [(run.name, store.search(run.name)) for run in material.plan.runs if store.search(run.name).record()]
    if not found:
        return None
    runs = [
        searched(name, made.record(), *(pd.read_csv(made.verified(table)) for table in TABLES)) for name, made in found
    ]
    best = min(runs, key=lambda run: run["difference"])
    finding = f"{best['trials']} trials found nothing better than {best['name']} as it stands."
    if not best["low"] == best["high"] == 0:
        finding = (
            f"{best['trials']} trials changed the RMSE of {best['name']} by {exact(best['difference'])} "
            f"({exact(best['low'])} to {exact(best['high'])}) on fresh folds: {best['verdict']}."
        )
    figures = tuple(figure for run in runs for figure in run["figures"])
    return Section("search", "Hyper-parameter search", finding, {"runs": runs}, figures)


def searched(name: str, record: dict[str, Any], trials: pd.DataFrame, compared: pd.DataFrame) -> dict[str, Any]:
    """What one run's search says, from its record, its trials and the comparison on fresh folds."""
    space = {key: Setting.model_validate(value) for key, value in record["spec"]["search"]["space"].items()}
    shares = record["importance"]
    drawn = [history(name, trials, record["before"]), importance(name, shares), parallel(name, trials, space)]
    rows = [
        {"key": key, "before": _setting(record["spec"]["run"], key), "best": record["settings"][key],
         "importance": shares.get(key), "edge": at_edge(record["settings"][key], space[key])}
        for key in sorted(space, key=lambda key: -shares.get(key, 0))
    ]  # fmt: skip
    keys = ("trials", "fresh_best", "fresh_before", "difference", "low", "high", "verdict", "best", "before")
    return {key: record[key] for key in (*keys, "optimism", "luck", "seconds")} | {
        "name": name,
        "settings": rows,
        "fresh": compared.pivot(index="seed", columns="run", values="rmse").reset_index().to_dict("records"),
        "scored": int(trials["rmse"].notna().sum()),
        "figures": [figure for figure in drawn if figure],
    }


def at_edge(value: Any, tried: Setting) -> bool:
    """Whether the best value lies at an end of its range, beyond which there may be better ones."""
    return not tried.choices and not EDGE_SHARE < float(position(pd.Series([value]), tried)[0]) < 1 - EDGE_SHARE


def _setting(run: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        run = run[part]
    return run


def history(name: str, trials: pd.DataFrame, before: float | None) -> Figure:
    """RMSE of every trial that was scored on all folds, in order, and the best so far."""
    scored = trials.dropna(subset=["rmse"])

    def on(axes: "Axes") -> None:
        places = scored.index + 1  # abandoned trials have numbers too
        axes.plot(places, scored["rmse"], "o", markersize=3.5, color=MUTED, label="a trial")
        axes.step(places, scored["rmse"].cummin(), where="post", color=ACCENT, label="the best so far")
        if before is not None:
            axes.axhline(before, color=SECOND, linewidth=0.9, linestyle=(0, (3, 3)), label="the run as it stands")
        low, usual = scored["rmse"].min(), scored["rmse"].quantile(0.8)
        margin = 0.1 * max(usual - low, 1e-4)
        axes.set(xlabel="trial", ylabel="RMSE", ylim=(low - margin, usual + 3 * margin))
        axes.xaxis.get_major_locator().set_params(integer=True)
        legend(axes, 3)

    alt = f"RMSE of {len(scored)} trials of {name} in order; the best reaches {score(scored['rmse'].min())}."
    return draw(f"search-{name}-history", alt, trials, on, size=(4.6, 2.8), title="Trials; the worst lie above")


def importance(name: str, shares: dict[str, float]) -> Figure | None:
    """Share of the trials' variance that each setting explains; None where there were too few trials to tell."""
    if not shares:
        return None
    numbers = pd.DataFrame({"setting": list(shares), "share": list(shares.values())}).sort_values("share")

    def on(axes: "Axes") -> None:
        axes.barh(numbers["setting"], 100 * numbers["share"], color=ACCENT, height=0.6)
        axes.set(xlabel="% of the variance of RMSE")
        axes.grid(axis="y", visible=False)

    most = numbers.iloc[-1]
    alt = f"Share of the variance of RMSE that each setting explains: most by {most['setting']}."
    size = (4.0, 0.9 + 0.3 * len(numbers))
    return draw(
        f"search-{name}-importance",
        alt,
        numbers,
        on,
        size=size,
        title="What explains the differences between all trials",
    )


def parallel(name: str, trials: pd.DataFrame, space: dict[str, Setting]) -> Figure:
    """Every scored trial as a line across its settings; the best tenth stands out."""
    scored = trials.dropna(subset=["rmse"]).sort_values("rmse", ascending=False)
    best = scored["rmse"].rank(method="first") <= max(1, round(TOP * len(scored)))
    heights = np.stack([position(scored[key], tried) for key, tried in space.items()], axis=1)

    def on(axes: "Axes") -> None:
        for row, stands_out in zip(heights, best, strict=True):
            style = {"color": ACCENT, "linewidth": 1.6} if stands_out else {"color": MUTED, "linewidth": 0.5}
            axes.plot(row, **style, alpha=0.9 if stands_out else 0.45)
        for i, tried in enumerate(space.values()):
            for at, label in ticks(tried):
                axes.annotate(label, (i, at), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7)
        names = [key.replace(".", ".\n").replace("_", "_\u200b") for key in space]
        axes.set_xticks(range(len(space)), names, fontsize=8)
        axes.set(yticks=[], xlim=(-0.1, len(space) - 0.6), ylim=(-0.05, 1.05))
        axes.grid(axis="x", visible=True, linewidth=1)
        axes.spines[["left", "bottom"]].set_visible(False)

    alt = f"{len(scored)} trials of {name} as lines across their settings, the best {int(best.sum())} of them set off."
    return draw(f"search-{name}-parallel", alt, scored, on, size=(7.6, 3.0), title="Where the best trials lie")


def position(values: pd.Series, tried: Setting) -> np.ndarray:
    """Places between 0 and 1 of a setting's values, (n,): within its range, or in the order of its choices."""
    if tried.choices:
        order = {_text(choice): i for i, choice in enumerate(tried.choices)}
        return values.map(lambda value: order[_text(value)]).to_numpy() / (len(order) - 1)
    scale = np.log if tried.log else np.asarray
    low, high = scale(tried.low), scale(tried.high)
    return (scale(values.to_numpy(float)) - low) / (high - low)


def ticks(tried: Setting) -> list[tuple[float, str]]:
    """(place, label) of what is written at a setting's axis."""
    if tried.choices:
        return [(i / (len(tried.choices) - 1), str(choice)) for i, choice in enumerate(tried.choices)]
    return [(0, f"{tried.low:g}"), (1, f"{tried.high:g}")]


def _text(value: Any) -> str:
    """A choice as it was written: CSV gives 64 back as 64.0 where a row is empty."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
