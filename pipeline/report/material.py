"""Input and output of the report's sections: a plan's results in, a section's text and figures out."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from pipeline.core import classes
from pipeline.core.labels import Schema
from pipeline.core.metrics import Score, deciding
from pipeline.plans.config import Plan
from pipeline.report import wording
from pipeline.report.figure import Figure
from pipeline.report.leaderboard import Entry, Leaderboard
from pipeline.report.pictures import Thumbnails
from pipeline.store.artifacts import Store


@dataclass(frozen=True)
class Material:
    """A finished plan: scores, files and thumbnails."""

    plan: Plan
    store: Store
    board: Leaderboard

    @cached_property
    def best(self) -> Entry:
        """The best ensemble; the best of all where there is none."""
        return self.board.best("ensemble") or self.board.entries[0]

    @property
    def schema(self) -> Schema:
        """What the galaxies are labelled with."""
        return self.board.schema

    @property
    def decides(self) -> Score:
        """The score that decides."""
        return deciding(self.schema)

    @cached_property
    def words(self) -> wording.Words:
        """The words that fit the labels."""
        return wording.of(self.schema)

    @cached_property
    def classes(self) -> tuple[np.ndarray, np.ndarray]:
        """Class by the labels, -1 where they are not clear, and by the best entry: (n,) each."""
        schema = self.schema
        return classes.true_class(schema, self.board.truth), classes.predicted_class(schema, self.best.predicted)

    @cached_property
    def runs(self) -> np.ndarray:
        """Out-of-fold predictions of every run: (M, n, c), in the leaderboard's order."""
        return np.stack([entry.predicted for entry in self.board.of_kind("run")])

    @cached_property
    def thumbnails(self) -> Thumbnails:
        """Thumbnails of training galaxies."""
        return Thumbnails(self.store, self.plan)


class Section(NamedTuple):
    """One section of the page; `facts` go to the template sections/<name>.html.jinja as `s`."""

    name: str
    title: str
    finding: str  # main result, in one sentence with numbers
    facts: dict[str, Any]
    figures: tuple[Figure, ...] = ()
