"""sha256 of files, read once while they stay as they are.

A file counts as the same while its size, times of change and inode are. Within a process that is kept in memory; of
files that take long to read also beside their record, for the next process. sha256 makes 1.5 GB/s on one core that
has instructions for it: at the competition's size (280 pixels, two crops) a stage would begin with 22 to 44 s of it.
"""

import contextlib
import hashlib
import json
import time
from pathlib import Path

LARGE = 1 << 30  # bytes from which on a digest is remembered for other processes: about a second of reading
YOUNG = 2e9  # ns: a file changed so lately may change again without its times telling

State = tuple[int, ...]
_known: dict[Path, tuple[State, str]] = {}


def file_digest(path: Path) -> str:
    """sha256 of a file, read now."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_of(path: Path) -> State:
    """What changes when a file does: size, times of its content and of its inode (ns), inode."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def digest_of(path: Path, memory: Path | None) -> str:
    """sha256 of a file, read where its state is not one that was read before; `memory` remembers for large files."""
    state, key = state_of(path), path.absolute()
    if key in _known and _known[key][0] == state:
        return _known[key][1]
    large, began = memory is not None and state[0] >= LARGE, time.time_ns()
    digest = (large and _recalled(memory, path.name, state)) or file_digest(path)
    if state_of(path) == state and began - max(state[1:3]) > YOUNG:
        _known[key] = state, digest
        if large:
            _remember(memory, path.name, state, digest)
    return digest


def _recalled(memory: Path, name: str, state: State) -> str | None:
    """What was remembered of a file in this state; whatever else stands there is as good as nothing."""
    with contextlib.suppress(OSError, ValueError, RecursionError, TypeError, KeyError):
        then = json.loads(memory.read_bytes())[name]
        if then["state"] == list(state) and isinstance(then["sha256"], str):
            return then["sha256"]
    return None


def _remember(memory: Path, name: str, state: State, digest: str) -> None:
    """Nothing is lost where that cannot be written: the file is read again."""
    with contextlib.suppress(OSError):
        memory.write_text(json.dumps({name: {"state": list(state), "sha256": digest}}), encoding="utf-8")
