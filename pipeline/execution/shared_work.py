"""Units that several processes make together: what another one is making, or has just made, is left to it."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.errors import Elsewhere

log = logging.getLogger(__name__)


class SharedWork:
    """The units of a stage that this process makes, and those that it leaves to others."""

    def __init__(self, stage: str):
        self.stage, self.tried = stage, 0
        self.left: dict[str, Elsewhere] = {}  # by the unit's label

    @contextmanager
    def making(self, label: str) -> Iterator[None]:
        """Around the making of a unit, which ends here where another process is at it."""
        try:
            yield
        except Elsewhere as error:
            self.left[label] = error
        else:
            self.tried += 1

    def tell(self, units: Iterable[Any]) -> None:
        """Say which of the units were left to others; Elsewhere where they are not made and nothing else was to do."""
        under_way = [unit.label for unit in units if unit.label in self.left and not unit.artifact.exists()]
        if made := [label for label in self.left if label not in under_way]:
            log.info("%-10s another process has made %s", self.stage, ", ".join(made))
        if under_way and not self.tried:
            raise self.left[under_way[0]]
        if under_way:
            log.info("%-10s another process is making %s", self.stage, ", ".join(under_way))
