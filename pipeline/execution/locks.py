"""One maker at a time: a lock file that the kernel lets go of when its holder ends, however it ends."""

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

from pipeline.errors import UserError

NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP)  # some network file systems have none: then nobody is kept out
_held: dict[Path, TextIO] = {}


def acquire(path: Path, *, wait: bool = False) -> None:
    """Hold the lock at `path` until `release` or this process's end; no more than that if it is held already.

    Where another process holds it: UserError that says which, or with `wait` until that one lets go.
    """
    path = path.absolute()
    while path not in _held:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (held until release)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            with file:
                raise UserError(f"{_holder(file, path)}: wait until it has ended, or stop it") from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        if _is_at(file, path):
            file.truncate(0)
            json.dump({"pid": os.getpid(), "command": _command(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}, file)
            file.flush()
            _held[path] = file
        else:  # the holder took the file away between our opening and our locking it
            file.close()


def release(path: Path) -> None:
    """Let go of the lock, if this process holds it."""
    file = _held.pop(path.absolute(), None)
    if file:
        path.unlink(missing_ok=True)  # while it is held, so that nobody gets hold of a file that goes
        file.close()


def release_all() -> None:
    """Let go of every lock that this process holds: what was being made is left to others."""
    for path in list(_held):
        release(path)


@contextmanager
def holding(path: Path, *, wait: bool = False) -> Iterator[None]:
    """The lock, for the length of the block."""
    acquire(path, wait=wait)
    try:
        yield
    finally:
        release(path)


def _is_at(file: TextIO, path: Path) -> bool:
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
    except (ValueError, TypeError, KeyError, RecursionError):  # it has it and has not said so yet
        return f"{path.parent} is being worked on by another process"


def _command() -> str:
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
