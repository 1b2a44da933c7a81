"""Which files a block of code opens, whoever opens them: the kernel is asked (inotify), so libraries in C count too."""

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OPENED, A_FOLDER = 0x20, 0x40000000
EVENT = struct.Struct("iIII")
libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def opened_in(folder: Path) -> Iterator[set[Path]]:
    """A set that, after the block, holds the files below `folder` that were there before it and opened in it."""
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    before = {path for path in folder.rglob("*") if path.is_file()}
    watched = {}
    for place in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        watched[libc.inotify_add_watch(descriptor, os.fsencode(place), OPENED)] = place
    assert -1 not in watched, os.strerror(ctypes.get_errno())
    found: set[Path] = set()
    try:
        yield found
        found |= before & set(_events(descriptor, watched))
    finally:
        os.close(descriptor)


def _events(descriptor: int, watched: dict[int, Path]) -> Iterator[Path]:
    while True:
        try:
            data = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            watch, mask, _, length = EVENT.unpack_from(data, at)
            name = data[at + EVENT.size : at + EVENT.size + length].rstrip(b"\0")
            at += EVENT.size + length
            if not mask & A_FOLDER and watch in watched:
                yield watched[watch] / os.fsdecode(name)
