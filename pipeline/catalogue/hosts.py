"""Hosts that images are fetched from: patience with each, and a circuit breaker for those that are down."""

import logging
import threading
import time
from typing import NamedTuple

log = logging.getLogger(__name__)
LATER = "the same command tries again"


class Limits(NamedTuple):
    """Time-outs in seconds, and numbers of attempts."""

    connect: float = 10
    read: float = 20  # without a byte
    total: float = 60  # for one image, with all attempts and pauses
    attempts: int = 4
    pause: float = 1  # after the first attempt; each time three times as long
    max_failures: int = 10  # in a row, after which a host is not contacted again


class TransientError(Exception):
    """A failure that a retry may mend, not before `after` seconds."""

    def __init__(self, why: str, after: float = 0):
        super().__init__(why)
        self.after = after


class Host:
    """State of one host: when it may be contacted again, and how often it failed in a row."""

    def __init__(self, name: str, max_failures: int):
        self.name, self.max_failures = name, max_failures
        self.back_off_until, self.failures, self.last_error = 0.0, 0, ""
        self._lock = threading.Lock()

    def is_down(self) -> bool:
        """Whether it has failed so often that it is not contacted again."""
        return self.failures >= self.max_failures

    def wait_until_ready(self, longest: float) -> None:
        """Wait as long as the host asked for; TransientError where that is more than `longest` seconds."""
        left = self.back_off_until - time.monotonic()
        if left > longest:
            raise TransientError(f"{self.name} asks to wait for {left:.0f} seconds")
        time.sleep(max(0.0, left))

    def back_off(self, seconds: float) -> None:
        """Delay all further requests to the host."""
        self.back_off_until = max(self.back_off_until, time.monotonic() + seconds)

    def record_success(self) -> None:
        """The host answered: reset its failures."""
        self.failures = 0

    def record_failure(self, why: str) -> None:
        """Count an image that failed; logged once where the host counts as down."""
        with self._lock:
            self.failures, self.last_error = self.failures + 1, why
            if self.failures == self.max_failures:
                log.warning(
                    "classify   %s failed %d times in a row (%s) and is not contacted again: %s",
                    self.name, self.max_failures, why, LATER,
                )  # fmt: skip
