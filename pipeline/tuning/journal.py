"""The journal of a study, one JSON object a line; what a lost write left at its end is cut off before it is read."""

import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import Damaged

if TYPE_CHECKING:
    from optuna.storages import JournalStorage

log = logging.getLogger(__name__)
MEND = "put a copy of it back, or begin the search anew by --force"


def opened(path: Path) -> "JournalStorage":
    """Optuna's storage in the journal at `path`, its broken end cut off; Damaged where more than its end is broken."""
    from optuna.storages import JournalStorage, journal

    mend(path)
    try:
        return JournalStorage(journal.JournalFileBackend(str(path)))
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:  # JSON that is no log
        raise Damaged(f"{path} is damaged ({type(error).__name__}: {error}); {MEND}") from None


def mend(path: Path) -> None:
    """Cut off what follows the last whole line, and keep it in journal.log.broken; Damaged where whole lines follow.

    Under the lock that writers hold while they append: what they are writing is never taken for broken.
    """
    if not path.is_file() or _sound(path.read_bytes()) is None:
        return
    from optuna.storages.journal import JournalFileSymlinkLock

    lock = JournalFileSymlinkLock(str(path))
    lock.acquire()
    try:
        content = path.read_bytes()
        if (sound := _sound(content)) is not None:
            _cut(path, content, sound)
    finally:
        lock.release()


def _cut(path: Path, content: bytes, sound: int) -> None:
    number = content[:sound].count(b"\n") + 1
    if any(_whole(line) for line in content[sound:].splitlines(keepends=True)):
        raise Damaged(f"line {number} of {path} is damaged, and whole ones follow it; {MEND}")
    aside = path.with_name(path.name + ".broken")
    with open(aside, "ab") as file:
        file.write(content[sound:])
    with open(path, "rb+") as file:
        file.truncate(sound)
        os.fsync(file.fileno())
    log.warning(
        "%-10s %s was broken from line %d on, by a write that was lost: its last %d bytes are in %s, the search goes "
        "on from there", "search", path, number, len(content) - sound, aside.name
    )  # fmt: skip


def _sound(content: bytes) -> int | None:
    """Up to which byte all lines are whole; None where all are."""
    at = 0
    for line in content.splitlines(keepends=True):
        if not _whole(line):
            return at
        at += len(line)
    return None


def _whole(line: bytes) -> bool:
    """Whether this is a line as Optuna writes them."""
    if not line.endswith(b"\n"):
        return False
    try:
        told = json.loads(line.decode())
    except (ValueError, RecursionError):
        return False
    return isinstance(told, dict) and isinstance(told.get("op_code"), int) and isinstance(told.get("worker_id"), str)
