"""Nested, stratified subsets of labelled galaxies: the first m rows of one order, for every m."""

import numpy as np

from pipeline.core.labels import Schema
from pipeline.core.split import dominant_path


def nested_order(schema: Schema, fractions: np.ndarray, seed: int) -> np.ndarray:
    """An order (n,) of galaxies with vote fractions (n, c) of which every beginning is stratified by dominant path.

    Systematic sampling: the i-th galaxy of a path of k, drawn at random, stands at (i + u) / k of the way, with a u of
    the path's own, so that a path has its share of each beginning to within one galaxy. Of classes, one galaxy of each
    comes first: whatever the size, none is absent.
    """
    rng, path = np.random.default_rng(seed), dominant_path(schema, fractions)
    place = np.empty(len(path))
    for one in np.unique(path):
        rows = np.flatnonzero(path == one)
        place[rng.permutation(rows)] = (np.arange(len(rows)) + rng.random()) / len(rows)
    if schema.describes_classes:
        for column in first_classes(schema, fractions):
            rows = np.flatnonzero(fractions[:, column] > 0)
            place[rows[place[rows].argmin()]] -= 1
    return np.lexsort((rng.random(len(path)), place))


def first_classes(schema: Schema, fractions: np.ndarray) -> np.ndarray:
    """Columns of the first question that occur among galaxies (n, c): int64."""
    columns = schema.slices[0]
    return columns.start + np.flatnonzero((np.nan_to_num(fractions[:, columns]) > 0).any(axis=0))
