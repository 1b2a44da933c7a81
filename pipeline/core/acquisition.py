"""Which galaxies to ask people about: those that teach most, and some by chance so that scores stay honest.

The rule is BADGE (Ash et al. 2020, "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds", ICLR):
a galaxy is described by the gradient of the loss in the last layer as if the leading answers were true. That is long
where the network is unsure, and points where others do not where the galaxy is unlike them. Galaxies are drawn one by
one as k-means++ draws its seeds (Arthur & Vassilvitskii 2007, SODA): the farther from what there is, the likelier.
Here "what there is" begins with the galaxies that are labelled, and with the origin, where a galaxy lies that teaches
nothing. Without a network all answers are as likely, and features alone decide.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.core import tree
from pipeline.core.labels import Schema

RULE = "BADGE (Ash et al. 2020)"
BY_CHANCE = 0.2  # of the galaxies are kept from the rule, and are shown by chance
BLOCK = 1024  # rows compared at once
ROUNDING = 1e-5  # of a squared length, below which a squared distance is none


class Described(NamedTuple):
    """Galaxies as gradients, which are outer products: `answers` (n, c) times `features` (n, d)."""

    answers: np.ndarray
    features: np.ndarray

    def of(self, rows: np.ndarray) -> "Described":
        """Some of them."""
        return Described(self.answers[rows], self.features[rows])

    def norms(self) -> np.ndarray:
        """Squared lengths (n,)."""
        return (self.answers**2).sum(axis=1) * (self.features**2).sum(axis=1)


def described(schema: Schema, joint: np.ndarray, features: np.ndarray) -> Described:
    """Galaxies from their predicted vote fractions (n, c) and their features (n, d) in the last layer.

    A question counts as far as it would be reached.
    """
    conditional, reach = tree.to_conditional(schema, joint), tree.reached(schema, joint)
    made = np.empty_like(conditional)
    for columns, reached in zip(schema.slices, reach.T, strict=True):
        own = conditional[:, columns]
        leading = np.eye(own.shape[1], dtype=own.dtype)[own.argmax(axis=1)]
        made[:, columns] = (own - leading) * reached[:, None]
    return Described(made, features)


def unknown(schema: Schema, n: int) -> np.ndarray:
    """Vote fractions (n, c) of which nothing is known: all answers of a question are as likely."""
    return tree.normalise(schema, np.ones((n, len(schema.columns))))


def badge(pool: Described, labelled: Described, k: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of the pool (up to k,) in the order in which they are drawn; none twice, none that teaches nothing."""
    norms = pool.norms()
    nearest = np.minimum(norms, _to_nearest(pool, norms, labelled))
    chosen: list[int] = []
    while len(chosen) < k and (total := nearest.sum()) > 0:
        chosen.append(int(rng.choice(len(nearest), p=nearest / total)))
        nearest = np.minimum(nearest, _distances(pool, norms, pool.of(np.array(chosen[-1:])))[:, 0])
    return np.array(chosen, np.int64)


def _to_nearest(pool: Described, norms: np.ndarray, others: Described) -> np.ndarray:
    """Squared distance (n,) to the nearest of the others; infinite where there are none."""
    found = np.full(len(norms), np.inf)
    for start in range(0, len(others.answers), BLOCK):
        part = others.of(np.arange(start, min(start + BLOCK, len(others.answers))))
        found = np.minimum(found, _distances(pool, norms, part).min(axis=1))
    return found


def _distances(pool: Described, norms: np.ndarray, others: Described) -> np.ndarray:
    """Squared distances (n, m)."""
    products = (pool.answers @ others.answers.T) * (pool.features @ others.features.T)
    found = (norms[:, None] + others.norms() - 2 * products).astype(np.float64)
    return np.where(found > ROUNDING * norms[:, None], found, 0)


def chance(galaxy: object) -> float:
    """A number in [0, 1) that looks drawn by lot, always the same for a galaxy: the smallest are shown first."""
    return int.from_bytes(hashlib.sha256(f"galaxy {galaxy}".encode()).digest()[:8], "big") / 2**64


def by_chance(galaxies: Sequence[str]) -> list[str]:
    """The galaxies in the order of their numbers."""
    return sorted(galaxies, key=chance)


def interleaved(chosen: Sequence[str], others: Sequence[str]) -> list[str]:
    """Both in their order, BY_CHANCE of the `others` among them as long as there are both."""
    made, theirs = [], list(others)
    for i, one in enumerate(chosen, 1):
        made.append(one)
        while theirs and len(others) - len(theirs) < i * BY_CHANCE / (1 - BY_CHANCE) - 1e-9:
            made.append(theirs.pop(0))
    return made + theirs
