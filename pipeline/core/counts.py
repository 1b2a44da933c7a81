"""Numbers of votes as what a network learns from; the name of a class is one vote."""

import numpy as np

from pipeline.core import tree
from pipeline.core.labels import Schema


def counts(schema: Schema, fractions: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """(n, c) votes of each answer, from fractions (n, c), NaN where unknown, and votes (n, q) of each question."""
    sizes = [columns.stop - columns.start for columns in schema.slices]
    return np.nan_to_num(tree.to_conditional(schema, fractions)) * np.repeat(votes, sizes, axis=1)


def training_counts(schema: Schema, fractions: np.ndarray, votes: np.ndarray, train: np.ndarray) -> np.ndarray:
    """The same, float32, scaled so that the galaxies of rows `train` have one vote on average at a question of theirs.

    Where the schema balances classes, an answer's votes are weighted by the inverse of their number among these rows,
    so that all answers of a question weigh the same.
    """
    made = counts(schema, fractions.astype(np.float64), votes)
    if schema.balanced:
        for columns in schema.slices:
            totals = made[train, columns].sum(axis=0)
            made[:, columns] *= totals.sum() / np.maximum(totals, 1e-12) / len(totals)
    given = votes[train]
    return (made / max(float(given[given > 0].mean()) if (given > 0).any() else 1.0, 1e-12)).astype(np.float32)
