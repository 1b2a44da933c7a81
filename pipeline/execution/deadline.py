"""The deadline of a session: work stops in time, and the same command resumes it in the next session."""

import signal
import time

_at = float("inf")  # Unix time


class TimeIsUp(BaseException):
    """The deadline is reached, or the next step would not finish before it."""


def begin(at: float) -> None:
    """Raise TimeIsUp in this process's main thread when the Unix time `at` is reached, wherever it then is."""
    global _at
    _at = at
    signal.signal(signal.SIGALRM, _on_alarm)
    signal.setitimer(signal.ITIMER_REAL, max(at - time.time(), 1e-6))


def end() -> None:
    """Cancel the deadline."""
    signal.setitimer(signal.ITIMER_REAL, 0)


def require(seconds: float) -> None:
    """Raise TimeIsUp where less than that is left: called between epochs, with what an epoch takes."""
    if time.time() + seconds > _at:
        raise TimeIsUp


def _on_alarm(signum: int, frame: object) -> None:
    raise TimeIsUp
