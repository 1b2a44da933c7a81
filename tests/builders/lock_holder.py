"""Another process that holds a lock."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOLD = """
import sys, time
from pathlib import Path
from pipeline.execution import locks
locks.acquire(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


def hold(path: Path, seconds: float = 60) -> subprocess.Popen:
    """The process, once it holds the lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", HOLD, str(path), str(seconds)]
    made = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    with made.stdout as told:
        assert told.readline() == "held\n"
    return made


@contextmanager
def holding(path: Path) -> Iterator[subprocess.Popen]:
    """The process, which is killed in the end."""
    other = hold(path)
    try:
        yield other
    finally:
        other.kill()
        other.wait()
