"""Comparison of two finished plans: what got better or worse, by how much, and where."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.core import classes, metrics, stats
from pipeline.core.labels import Schema
from pipeline.errors import UserError, meant
from pipeline.report import wording
from pipeline.store import calibration
from pipeline.store.artifacts import Store
from pipeline.store.fractions import aligned_to, load_fractions

MIN_SHARED = 10  # galaxies that both must have
SHOWN = 5  # galaxies whose error changed most


def comparison_lines(first: Path, second: Path) -> Iterator[str]:
    """The comparison line by line; `first` and `second` are output folders of plans (output/<plan>).

    Differences are second less first on the galaxies that both predicted out of fold, with 95 % intervals of a paired
    bootstrap. UserError where a folder holds no finished plan or the two share too few galaxies.
    """
    a, b = load_predictions(first), load_predictions(second)
    schema, truth = common_schema(first, second), common_truth(first, second)
    decides = metrics.deciding(schema)
    yield f"{second} against {first}, on the {len(truth):,} galaxies of both; negative is better"
    for folder, names in ((first, a), (second, b)):
        yield from outdated(Store(folder), names)
    best = [best_name(one, truth, schema) for one in (a, b)]
    pairs = [(name, name) for name in a if name in b]
    if tuple(best) not in pairs:
        pairs.append(tuple(best))
    yield ""
    yield f"{decides.title:<34}{'first':>8}{'second':>8}{'difference':>12}   95 % interval"
    for one, other in pairs:
        label = one if one == other else f"{one} -> {other}"
        yield _line(label, truth, [a[one], b[other]], decides, schema)
    for folder, names in ((first, a.keys() - b.keys()), (second, b.keys() - a.keys())):
        if names:
            yield f"only in {folder}: {', '.join(sorted(names))}"
    before, after = a[best[0]], b[best[1]]
    yield ""
    of = " of probabilities" if schema.describes_classes else ""
    yield f"RMSE{of} by question, {best[0]} -> {best[1]}"
    for question, columns in zip(schema.questions, schema.slices, strict=True):
        own = truth.iloc[:, columns]
        own = own[own.notna().any(axis=1)]
        made = [one.iloc[:, columns] for one in (before, after)]
        yield _line(f"  {question.number} {question.text}", own, made, metrics.RMSE, schema)
    yield ""
    yield _accuracy(truth, before, after, schema)
    errors = [((one.loc[truth.index] - truth) ** 2).mean(axis=1) ** 0.5 for one in (before, after)]
    change = (errors[1] - errors[0]).round(6).sort_values()
    change = change[change != 0]
    for what, some in (("better", change.head(SHOWN)), ("worse", change.tail(SHOWN)[::-1])):
        named = [f"{galaxy} ({value:+.3f})" for galaxy, value in some.items() if (value < 0) == (what == "better")]
        yield f"much {what}: {', '.join(named) or 'none'}"


def load_predictions(folder: Path) -> dict[str, pd.DataFrame]:
    """Out-of-fold predictions of all baselines, runs and ensembles under a plan's output: 'kind/name' -> (n, c)."""
    if not folder.is_dir():
        beside = sorted(path.parent.name for path in folder.parent.glob("*/inputs"))
        raise UserError(f"there is no output folder {folder}{meant(folder.name, beside)}")
    found = {}
    store = Store(folder)
    schema = store.schema()
    of_kind = {"baselines": store.baseline, "ensembles": store.ensemble}
    for kind in ("baselines", "runs", "ensembles"):
        for place in sorted((folder / kind).glob("*")):
            if kind == "runs":
                folds = sorted(int(path.name.removeprefix("fold")) for path in place.glob("fold[0-9]*"))
                made = {store.predicted(place.name, fold): "valid.parquet" for fold in folds}
            else:
                made = {of_kind[kind](place.name): "oof.parquet"}
            if any(one.exists() for one in made):
                parts = [load_fractions(one.verified(name), schema) for one, name in made.items()]
                found[f"{kind}/{place.name}"] = pd.concat(parts)
    if not found:
        raise UserError(f"{folder}: holds no predictions; expected the output folder of a plan, such as output/demo")
    return found


def outdated(store: Store, names: Iterable[str]) -> Iterator[str]:
    """A line of each run that has been trained anew since it predicted, and of each ensemble that holds such a run."""
    for kind, _, name in (name.partition("/") for name in names):
        try:
            if kind == "runs":
                calibration.require_predictions_of_networks(store, name)
            elif kind == "ensembles":
                calibration.require_networks(store, name)
        except UserError as error:
            yield f"OUTDATED: {error}"


def common_schema(first: Path, second: Path) -> Schema:
    """The schema that the galaxies of both plans are labelled with; UserError where there are two."""
    one, other = (Store(folder).schema() for folder in (first, second))
    asked = [[(q.name, q.answers, q.columns, q.parents) for q in schema.questions] for schema in (one, other)]
    if asked[0] != asked[1] or one.kind != other.kind:
        differs = "other questions, answers or columns" if asked[0] != asked[1] else f"{one.kind} and {other.kind}"
        raise UserError(f"{first} is labelled by {one.name}, {second} by {other.name} ({differs}): nothing to compare")
    return one


def common_truth(first: Path, second: Path) -> pd.DataFrame:
    """Votes (n, c) of the galaxies that both plans have, alike in both."""
    labels = [Store(folder).load_labels() for folder in (first, second)]
    shared = labels[0].index.intersection(labels[1].index)
    if len(shared) < MIN_SHARED:
        raise UserError(
            f"{first} and {second} have {len(shared)} ids in common, at least {MIN_SHARED} of the same galaxies are "
            f"expected: nothing to compare"
        )
    if not np.allclose(labels[0].loc[shared], labels[1].loc[shared], atol=1e-6):
        raise UserError(
            f"{first} and {second} have {len(shared)} ids in common, but other labels under them: other galaxies "
            f"(drawn ones are numbered like the competition's), or not the same labels"
        )
    return labels[0].loc[shared].astype(np.float64)


def best_name(found: dict[str, pd.DataFrame], truth: pd.DataFrame, schema: Schema) -> str:
    """The best ensemble by the score that decides; the best of all where there is none."""
    names, decides = [name for name in found if name.startswith("ensembles/")] or list(found), metrics.deciding(schema)
    return min(names, key=lambda name: decides.of(_losses(found[name], truth, decides, schema, name)))


def _losses(made: pd.DataFrame, truth: pd.DataFrame, score: metrics.Score, schema: Schema, what: str) -> np.ndarray:
    """What each galaxy adds to a score: (n,)."""
    return score.per_galaxy(schema, truth.to_numpy(), _aligned(made, truth, what))


def _line(label: str, truth: pd.DataFrame, made: list[pd.DataFrame], score: metrics.Score, schema: Schema) -> str:
    before, after = (_losses(one, truth, score, schema, label) for one in made)
    difference, low, high = stats.paired_difference(after, before, finish=score.finish)
    scores = [score.of(losses) for losses in (before, after)]
    interval = f"{low:+.4f} to {high:+.4f}"
    return f"{label:<34}{scores[0]:>8.4f}{scores[1]:>8.4f}{difference:>+12.4f}   {interval}  {stats.verdict(low, high)}"


def _accuracy(truth: pd.DataFrame, before: pd.DataFrame, after: pd.DataFrame, schema: Schema) -> str:
    """How often the class is right in both, and the difference with its interval, of the galaxies that have a class."""
    first, second = (
        classes.right(schema, truth.to_numpy(), one.loc[truth.index].to_numpy()).astype(float)
        for one in (before, after)
    )
    name = wording.of(schema).accuracy.lower()
    if not len(first):
        return f"{name}: no galaxy has a class"
    gain, low, high = (100 * value for value in stats.paired_difference(second, first, finish=lambda mean: mean))
    verdict = stats.verdict(-high, -low)  # more is better
    return (
        f"{name} {first.mean():.1%} -> {second.mean():.1%}, {gain:+.1f} points "
        f"({low:+.1f} to {high:+.1f}, of {len(first):,} galaxies)  {verdict}"
    )


def _aligned(frame: pd.DataFrame, truth: pd.DataFrame, what: str) -> np.ndarray:
    return aligned_to(frame.loc[frame.index.isin(truth.index)], truth.index, what).to_numpy(np.float64)
