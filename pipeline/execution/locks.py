"""One writer at a time: file locks that the kernel releases when their holder ends, so that none goes stale."""

import errno
import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from pipeline.errors import Elsewhere

NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP)  # some network file systems have no locks: then there is no exclusion
_held: dict[Path, TextIO] = {}


def acquire(path: Path, *, wait: bool = False) -> None:
    """Acquire the lock at `path` until `release` or the end of this process; nothing where it is held already.

    Where another process holds it: Elsewhere, which says which, or with `wait` block until it is released.
    """
    path = path.absolute()
    while path not in _held:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (held until release)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            with file:
                raise Elsewhere(f"{_holder(file, path)}: wait until it has ended, or stop it") from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        if _is_same_file(file, path):
            _held[path] = file
            try:
                file.truncate(0)
                json.dump(
                    {"pid": os.getpid(), "command": _command(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}, file
                )
                file.flush()
            except OSError:  # a full disk
                release(path)
                raise
        else:  # the holder deleted the file between our opening and our locking it
            file.close()


def release(path: Path) -> None:
    """Release the lock, if this process holds it."""
    file = _held.pop(path.absolute(), None)
    if file:
        path.unlink(missing_ok=True)  # while it is held, so that no other process locks a deleted file
        file.close()


def require_free(path: Path) -> None:
    """Elsewhere where another process holds the lock."""
    if path.absolute() not in _held and path.exists():
        with holding(path):
            pass


def release_all() -> None:
    """Release every lock of this process."""
    for path in list(_held):
        release(path)


@contextmanager
def holding(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock within the block."""
    acquire(path, wait=wait)
    try:
        yield
    finally:
        release(path)


def _is_same_file(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _holder(file: TextIO, path: Path) -> str:
    """'runs/a/fold0 is being made by process 12 (python -m …) since …'."""
    file.seek(0)
    try:
        held = json.loads(file.read())
        return f"{path.parent} is being worked on by process {held['pid']} ({held['command']}) since {held['since']}"
    except (ValueError, TypeError, KeyError, RecursionError):  # locked, and not yet written
        return f"{path.parent} is being worked on by another process"


def _command() -> str:
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
