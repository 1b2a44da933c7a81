"""Deterministic folds, stratified on the dominant path through the decision tree."""

import hashlib

import numpy as np

from pipeline.core import tree


def dominant_path(fractions: np.ndarray) -> np.ndarray:
    """(n, 37) vote fractions -> (n,) the leading answers along the path, such as "1.2/2.2/3.2/4.1/5.3/10.1/11.2"."""
    leading = np.stack([fractions[:, c].argmax(axis=1) + c.start for c in tree.SLICES], axis=1)  # (n, 11)
    paths = [[] for _ in fractions]
    for row, answers in enumerate(leading):
        for question, parent in enumerate(tree.PARENTS):
            if tree.QUESTIONS[question].number in (6, 8):
                continue  # oddity crosses every path and would splinter them
            if parent is None or parent in paths[row]:
                paths[row].append(answers[question])
    return np.array(["/".join(tree.COLUMNS[a].removeprefix("Class") for a in path) for path in paths])


def stratified_folds(ids: np.ndarray, fractions: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Fold (n,) int8 of each galaxy, by its id, its path and the seed; independent of the order of rows.

    Galaxies are sorted by path, within a path by a keyed hash of the id, and dealt out in turn: every path, and
    every beginning of a path, is spread over the folds to within one galaxy. ValueError for impossible numbers.
    """
    if not 2 <= n_folds <= len(ids):
        raise ValueError(f"expected 2 to {len(ids)} folds (the number of galaxies), received {n_folds}")
    if len(np.unique(ids)) != len(ids):
        raise ValueError(f"expected distinct ids, received {len(ids) - len(np.unique(ids))} duplicates")
    key = seed.to_bytes(8, "big")
    shuffle = [hashlib.blake2b(str(i).encode(), key=key, digest_size=8).digest() for i in ids.tolist()]
    order = sorted(range(len(ids)), key=lambda i, path=dominant_path(fractions): (path[i], shuffle[i]))
    fold = np.empty(len(ids), np.int8)
    fold[order] = np.arange(len(ids)) % n_folds
    return fold
