"""The score on galaxies that people labelled by chance: those that the page of `label` chose are harder than others."""

from collections.abc import Iterator

import numpy as np

from pipeline.core import metrics, stats
from pipeline.core.labels import Schema
from pipeline.store import answers
from pipeline.store.artifacts import Store

LEAST = 10  # galaxies that a score of their own takes


def caveats(store: Store, schema: Schema, name: str, ids: np.ndarray, errors: np.ndarray) -> Iterator[str]:
    """What the scores of `name`, by the errors (n,) of the galaxies (n,), say of galaxies that were not chosen."""
    if not store.inputs().facts().get("by_people"):
        return
    lines = answers.read(store.answers()).complete()
    by_chance = {line.galaxy for line in lines if line.chosen == "random"}
    there = np.array([str(galaxy) for galaxy in ids.tolist()])
    chosen = np.isin(there, list({line.galaxy for line in lines} - by_chance))
    if not chosen.any():
        return
    found = errors[np.isin(there, list(by_chance)) & np.isfinite(errors)]
    decides = metrics.deciding(schema)
    few = f"{len(found):,} came by chance, too few for a score of their own"
    if len(found) >= LEAST:
        low, high = stats.bootstrap_rmse(found, 0, finish=decides.finish)
        score = f"{decides.of(found):.4f} (95 % interval {low:.4f} to {high:.4f})"
        few = f"on the {len(found):,} that came by chance {name} has a {decides.title} of {score}, which holds for all"
    yield (
        f"{chosen.sum():,} of {len(ids):,} galaxies were chosen to be labelled, since they teach most, and are unlike "
        f"the others: {few}."
    )
