"""Deterministic folds for cross-validation, stratified on the dominant path through the decision tree."""

import hashlib

import numpy as np

from pipeline.core.labels import Schema


def dominant_path(schema: Schema, fractions: np.ndarray) -> np.ndarray:
    """(n, c) vote fractions -> (n,) str, the leading answers along the path, such as "1.2/2.1/9.1/6.2".

    The path follows the galaxy's leading answers from the first question on. Others that everyone is asked, as whether
    anything is odd, would split every path: they come last, where they only refine it. Unknown answers (NaN) are none.
    """
    labels = np.array([f"/{name}" for name in schema.short_names.values()])
    chosen = np.zeros(fractions.shape, bool)  # (n, c) answers on the path
    path = np.full(len(fractions), "")
    for i in np.argsort(schema.roots, kind="stable"):
        columns, parents = schema.slices[i], list(schema.parents[i])
        asked = chosen[:, parents].any(axis=1) if parents else np.full(len(fractions), True)
        asked = asked & np.isfinite(fractions[:, columns]).all(axis=1)
        leading = fractions[:, columns].argmax(axis=1) + columns.start
        chosen[np.flatnonzero(asked), leading[asked]] = True
        path = np.char.add(path, np.where(asked, labels[leading], ""))
    return np.char.lstrip(path, "/")


def stratified_folds(schema: Schema, ids: np.ndarray, fractions: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Fold (n,) int8, 0 to n_folds - 1, of galaxies ids (n,) with vote fractions (n, c).

    Galaxies are sorted by path, within a path by a hash of seed and id, and dealt out in turn. So every path, and
    every beginning of a path (which is what rare paths share), is spread over the folds to within one galaxy, as
    are all galaxies together; and the order of the rows does not matter. ValueError for n_folds below 2 or above
    the number of galaxies (or 127), for ids that repeat, and for unequal lengths.
    """
    names = [str(i) for i in np.asarray(ids).tolist()]
    if len(names) != len(fractions):
        raise ValueError(f"expected one id per row of vote fractions; received {len(names)} and {len(fractions)}")
    if not 2 <= n_folds <= min(len(names), 127):
        raise ValueError(f"expected 2 to {min(len(names), 127)} folds for {len(names)} galaxies; received {n_folds}")
    if len(set(names)) != len(names):
        raise ValueError(f"expected distinct ids; received {len(names) - len(set(names))} repeated")
    order = np.lexsort((_hashes(names, seed), dominant_path(schema, fractions)))
    fold = np.empty(len(names), np.int8)
    fold[order] = np.arange(len(names)) % n_folds
    return fold


def _hashes(names: list[str], seed: int) -> np.ndarray:
    """A pseudo-random number for each id and seed: uint64 (n,)."""
    digests = [hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest() for name in names]
    return np.frombuffer(b"".join(digests), np.dtype("<u8"))
