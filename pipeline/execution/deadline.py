"""When this session of a machine ends: work stops in time, and the same command goes on from there in the next one."""

import signal
import time

_at = float("inf")  # Unix time


class TimeIsUp(BaseException):
    """The deadline is reached, or what comes next would not be done by then."""


def begin(at: float) -> None:
    """Raise TimeIsUp in this process's main thread when the Unix time `at` is reached, wherever it then is."""
    global _at
    _at = at
    signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, max(at - time.time(), 1e-6))


def end() -> None:
    """Let the deadline pass: there is nothing left to stop."""
    signal.setitimer(signal.ITIMER_REAL, 0)


def caused(error: BaseException) -> bool:
    """Whether TimeIsUp became this error on its way: a library that was being imported says ImportError instead."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) and cause not in causes:
        causes.append(cause)
    return any(isinstance(cause, TimeIsUp) for cause in causes)


def require(seconds: float) -> None:
    """Raise TimeIsUp where less than that is left: called between epochs, with what an epoch takes."""
    if time.time() + seconds > _at:
        raise TimeIsUp


def _ring(signum: int, frame: object) -> None:
    raise TimeIsUp
