"""A part of the galaxies, for a quick try: the plan's `galaxies`, a number or a share of them.

The part of the training galaxies is stratified by the dominant path through the tree; a larger part contains a smaller.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np

from pipeline.core import subsets
from pipeline.core.labels import Schema
from pipeline.errors import UserError
from pipeline.labelled.labels import occurrence_problems
from pipeline.plans.config import Plan


class Part(NamedTuple):
    """Which galaxies the plan takes."""

    train: np.ndarray  # ascending rows (k,) of n training galaxies
    test: np.ndarray  # ascending rows of m galaxies to predict
    of: dict[str, int]  # n and m, by split


def size(asked: float | None, n: int) -> int:
    """How many of n galaxies a plan takes that asks for a number, or below 1 for a share; None: all."""
    if asked is None:
        return n
    return min(n, round(asked * n) if asked < 1 else round(asked))


def choose(plan: Plan, schema: Schema, fractions: np.ndarray, n_test: int) -> Part:
    """The part of galaxies with vote fractions (n, c), and of as many to predict. UserError where it is too small."""
    n = len(fractions)
    if plan.galaxies is None:
        return Part(np.arange(n), np.arange(n_test), {"train": n, "test": n_test})
    train = np.sort(subsets.nested_order(schema, fractions, plan.seed)[: size(plan.galaxies, n)])
    asked = f"galaxies = {plan.galaxies:g} are {len(train):,} of {n:,}"
    if len(train) < 2 * plan.folds:
        raise UserError(f"{asked}: {plan.folds} folds take {2 * plan.folds} at least")
    if schema.describes_classes and (problems := occurrence_problems(schema, fractions[train], plan.folds)):
        raise UserError(f"{asked}, too few: {problems[0]}")
    order = np.random.default_rng(plan.seed).permutation(n_test)
    return Part(train, np.sort(order[: size(plan.galaxies, n_test)]), {"train": n, "test": n_test})


def copies_among(
    copies: dict[str, list[list[Any]]], train: Collection[Any], test: Collection[Any]
) -> dict[str, list[list[Any]]]:
    """The groups of identical images, {"train": …, "across": …}, of which the part has more than one."""
    train, test = set(train), set(test)
    within = [[one for one in group if one in train] for group in copies["train"]]
    across = [[one for one in group if one in train or one in test] for group in copies["across"]]
    return {
        "train": [group for group in within if len(group) > 1],
        "across": [group for group in across if train & set(group) and test & set(group)],
    }
