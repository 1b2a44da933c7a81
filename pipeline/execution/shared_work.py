"""Units that several processes make together: what another one is making, or has just made, is left to it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

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

    def tell(self) -> None:
        """Say what was left to others; Elsewhere where that was everything."""
        if self.left and not self.tried:
            raise next(iter(self.left.values()))
        if self.left:
            log.info("%-10s other processes make, or have made, %s", self.stage, ", ".join(self.left))
