"""A command as a program: logging, signals, and how it ends, as one sentence and an exit code.

0 done, 1 a bug, 2 a user error, 3 the time is up (--until), 130 interrupted from the keyboard, 143 terminated.
"""

import errno
import logging
import os
import select
import shutil
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import Defect, UserError, arose_from
from pipeline.execution import deadline, locks, progress

# messages of HDF5 and numpy for a full disk, which lack its errno
DISK_FULL = ("No space left", "errno = 28", "File too large", "errno = 27", " requested and ")
HOW_TO_INSTALL = "install requirements.txt for it, or leave out --here, so that ./run.sh makes a .venv"
_ending = False  # whether SIGTERM was received
_output = Path.cwd()  # where this process writes, as far as is known


def writes_to(folder: Path) -> None:
    """Where this process writes, for messages on a disk that is full or may not be written to."""
    global _output
    _output = folder


class Terminated(BaseException):
    """SIGTERM: the machine is being preempted, or the process is to end."""


class Stop(NamedTuple):
    """How a command is stopped."""

    sent: int  # the signal that raises the exception
    word: str  # what is said
    code: int  # with which it exits


STOPS = {
    KeyboardInterrupt: Stop(signal.SIGINT, "interrupted", 130),
    Terminated: Stop(signal.SIGTERM, "terminated", 143),
    deadline.TimeIsUp: Stop(signal.SIGALRM, "the time is up", 3),
}


def _terminate(signum: int, frame: object) -> None:
    global _ending
    if not _ending:  # `timeout` and batch systems send it to a process and to its group
        _ending = True
        raise Terminated


def _sending_again(original: Callable[..., None]) -> Callable[..., None]:
    """A hook for exceptions that Python drops, as in a __del__: it sends a signal again that was lost there."""

    def hook(dropped: "sys.UnraisableHookArgs") -> None:
        global _ending
        if stop := STOPS.get(dropped.exc_type):
            _ending = False
            threading.Timer(0.05, os.kill, (os.getpid(), stop.sent)).start()
        else:
            original(dropped)

    return hook


def _without_full_disk(original: Callable[..., None]) -> Callable[..., None]:
    """An exception hook that ignores HDF5's second error, on closing a file after the disk was full."""

    def hook(*arguments: object, phrases: tuple[str, ...] = DISK_FULL) -> None:  # globals are gone at the very end
        if not any(phrase in str(getattr(a, "exc_value", a)) for a in arguments for phrase in phrases):
            original(*arguments)

    return hook


def _exit_immediately(code: int) -> None:
    """Exit at once: HDF5 crashes where Python closes a file after the disk was full."""
    locks.release_all()
    os._exit(code)


def _tolerate_environment() -> None:
    """Survive terminals of any encoding, and warnings that PYTHONWARNINGS turns into errors."""
    sys.stdout.reconfigure(errors="replace")  # stderr writes escapes as it is
    if any(option.startswith("error") for option in sys.warnoptions):  # by PYTHONWARNINGS: libraries warn as they go
        warnings.simplefilter("default")
        sys.warnoptions.clear()  # worker processes take them over
        os.environ.pop("PYTHONWARNINGS", None)


def start(main: Callable[[], None], *, resumes: bool = True) -> None:
    """Run a command as a program: logging to stderr, errors as one sentence and an exit code.

    `resumes`: the same command goes on where it was stopped.
    """
    more = ": what is complete is kept; the same command resumes" if resumes else ""
    _tolerate_environment()
    progress.plain_in_logs()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored
    sys.excepthook = _without_full_disk(sys.__excepthook__)
    sys.unraisablehook = _sending_again(_without_full_disk(sys.__unraisablehook__))
    try:
        main()
        sys.stdout.flush()
    except UserError as error:
        _exit_stopped(error, more)
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if (error.name or "pipeline").partition(".")[0] == "pipeline":
            raise
        print(f"error: {sys.executable} has no package {error.name}: {HOW_TO_INSTALL}", file=sys.stderr)
        sys.exit(2)
    except Defect as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except tuple(STOPS) as stopped:
        _exit_stopped(stopped, more)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads_stdout():
            _exit_immediately(128 + signal.SIGPIPE)
        message = _os_error_message(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr, flush=True)
        _exit_immediately(2)
    except Exception as error:
        _exit_stopped(error, more)
        raise
    finally:
        deadline.end()
        locks.release_all()


def _nobody_reads_stdout() -> bool:
    """Whether the program that read our output has ended, as `head` does."""
    watched = select.poll()
    watched.register(sys.stdout, select.POLLOUT)
    return any(event & select.POLLERR for _, event in watched.poll(0))


def _exit_stopped(error: BaseException, more: str) -> None:
    """Exit where the error arose from what stops a command; else return."""
    for one in arose_from(error):
        if stop := STOPS.get(type(one)):
            print(f"{stop.word}{more}", file=sys.stderr)
            sys.exit(stop.code)


def _os_error_message(error: OSError) -> str | None:
    """The message for errors that the user can fix: a full disk, no permission; None for others."""
    where = Path(error.filename or _output)
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"{error.strerror}: {where}; choose another --output (or --to), where you may write"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or any(phrase in str(error) for phrase in DISK_FULL):
        existing = next(path for path in (where, *where.absolute().parents) if path.exists())
        free = shutil.disk_usage(existing).free
        return (
            f"no room to write {where} ({free / 1e6:,.0f} MB free). What is complete is kept: make room and give the "
            f"same command again, or choose another --output (or --to)"
        )
    return None
