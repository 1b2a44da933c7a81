"""Nearest neighbours among vectors that come part by part: exact, by products of matrices, in blocks."""

import numpy as np

BLOCK = 1 << 24  # distances that are held at once
NEIGHBOURS = 10  # over which a distance is averaged, so that one twin does not make an odd galaxy usual


class Nearest:
    """The n rows most similar to each of q queries, of rows that are added part by part, in the order of the rows."""

    def __init__(self, queries: int, n: int):
        self._n = n
        self.rows = np.empty((queries, 0), np.int64)  # (q, up to n), the most similar first; of equal ones the earlier
        self.similarity = np.empty((queries, 0), np.float32)

    def add(self, similarity: np.ndarray, rows: np.ndarray) -> None:
        """Rows (m,) and their similarity (q, m) to each query; -inf for what is no candidate."""
        similarity = np.concatenate([self.similarity, similarity], axis=1)
        rows = np.concatenate([self.rows, np.broadcast_to(rows, (len(similarity), len(rows)))], axis=1)
        order = np.argsort(-similarity, axis=1, kind="stable")[:, : self._n]
        self.rows = np.take_along_axis(rows, order, axis=1)
        self.similarity = np.take_along_axis(similarity, order, axis=1)

    def of(self, query: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows, similarity) of the candidates of a query."""
        there = np.isfinite(self.similarity[query])
        return self.rows[query][there], self.similarity[query][there]


def mean_distance(vectors: np.ndarray, reference: np.ndarray, own: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """Mean Euclidean distance (n,) of vectors (n, d) to the k nearest of a reference (m, d); of all where m is less.

    `own` (n,) is the place of a vector itself in the reference, which does not count, or -1. The sum of the distances
    to k neighbours as a degree of being an outlier: Angiulli & Pizzuti 2002, doi:10.1007/3-540-45681-3_2; to those of a
    random sample in place of all: Sugiyama & Borgwardt 2013, NIPS 26, 467. ValueError where nothing is left to compare.
    """
    others = len(reference) - bool((own >= 0).any())
    if others < 1:
        raise ValueError(f"expected another vector to compare with; received {len(reference)}")
    lengths, made = np.square(reference).sum(axis=1), np.empty(len(vectors), np.float32)
    step = max(1, BLOCK // len(reference))
    for i in range(0, len(vectors), step):
        some, itself = vectors[i : i + step], own[i : i + step]
        squares = np.square(some).sum(axis=1)[:, None] + lengths - 2 * some @ reference.T
        known = np.flatnonzero(itself >= 0)
        squares[known, itself[known]] = np.inf
        nearest = min(k, others)
        smallest = np.partition(squares, nearest - 1, axis=1)[:, :nearest]
        made[i : i + step] = np.sqrt(np.maximum(smallest, 0)).mean(axis=1)
    return made
