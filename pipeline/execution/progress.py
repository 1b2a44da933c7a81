"""Progress in a log file: one plain line per half minute, without the control characters that move a cursor."""

import os
import re
import sys
import time
from typing import Any

INTERVAL = 30.0  # seconds between two lines of progress
CONTROL = re.compile("\x1b\\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b\x0c\x0e-\x1f]")  # of terminals; not \t, \n and \r
FIRST = re.compile(r"(: 1 of [\d,]+, \S+ so far), \S+ to go")  # of many: it took what is done but once, too
SETTINGS = {  # of tqdm, which reads them when it is imported
    "TQDM_MININTERVAL": f"{INTERVAL:g}",
    "TQDM_DELAY": f"{INTERVAL:g}",  # work that is done before that needs no line
    "TQDM_BAR_FORMAT": "{desc}: {n_fmt} of {total_fmt}, {elapsed} so far, {remaining} to go{postfix}",
}


class PlainLines:
    """A stream that writes what was meant to overwrite the line before as lines of their own, few of them."""

    def __init__(self, stream: Any):
        self._stream, self._last, self._in_line = stream, -INTERVAL, False

    def write(self, text: str) -> int:
        """Write text; of progress, which begins with a carriage return, a line per half minute."""
        plain = CONTROL.sub("", text)
        if "\r" in plain:
            self._progress(plain.replace("\r\n", "\n").split("\r")[-1].strip())
        elif plain != "\n" or self._in_line:  # else the end of a bar, or a step down to another one
            self._stream.write(plain)
            self._in_line = not plain.endswith("\n") if plain else self._in_line
        return len(text)

    def _progress(self, line: str) -> None:
        now = time.monotonic()
        if line and now - self._last >= INTERVAL:
            self._last = now
            self._stream.write(FIRST.sub(r"\1", line) + "\n")
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def plain_in_logs() -> None:
    """Let progress on stderr be plain lines where that is no terminal, or one that can move no cursor.

    To be called before tqdm is imported.
    """
    moves_cursor = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    if not moves_cursor and not isinstance(sys.stderr, PlainLines):
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        sys.stderr = PlainLines(sys.stderr)
