"""Two ways to do the same work, timed in turn: a ratio of pairs holds on a machine whose speed drifts."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
PAIRS = 5
# a process between us and the child: a child's peak counts that of the process it was forked from
LAUNCHER = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
made = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
took, peak = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps([made.returncode, took, peak, made.stdout.decode(errors="replace")[-500:]]))
"""


@dataclass(frozen=True)
class Row:
    """One line of the table: our figure, the reference's, and the ratio ours / reference of alternated pairs."""

    stage: str
    ours: float
    reference: float
    unit: str
    ratio: float
    low: float
    high: float
    goal: str  # ">= 0.8" or "<= 1.05", of the ratio
    note: str = ""
    peak_mb: float | None = None  # of a process of its own, where memory matters

    @property
    def met(self) -> bool:
        """Whether the ratio reaches the goal."""
        sign, value = self.goal.split()
        return self.ratio >= float(value) if sign == ">=" else self.ratio <= float(value)

    def record(self) -> dict:
        """All figures, for JSON."""
        return asdict(self) | {"met": self.met}


def compare(
    stage: str,
    ours: Callable[[], float],
    reference: Callable[[], float],
    *,
    unit: str,
    goal: str,
    note: str = "",
    peak_mb: float | None = None,
    pairs: int = PAIRS,
) -> Row:
    """Run both once to warm up, then in turn; each returns its figure in `unit`."""
    ours(), reference()
    made = []
    for i in range(pairs):
        first, second = (ours, reference) if i % 2 == 0 else (reference, ours)
        a, b = first(), second()
        made.append((a, b) if i % 2 == 0 else (b, a))
    ratios = [a / b for a, b in made]
    mine, theirs = (median(side) for side in zip(*made, strict=True))
    return Row(stage, mine, theirs, unit, median(ratios), min(ratios), max(ratios), goal, note, peak_mb)


def once(stage: str, ours: float, reference: float, **facts) -> Row:
    """A row of figures that were measured once."""
    ratio = ours / reference
    return Row(stage, ours, reference, ratio=ratio, low=ratio, high=ratio, **facts)


def rate(work: Callable[[], object], n: int) -> Callable[[], float]:
    """Items a second of `work`, which does n of them."""
    return lambda: n / seconds(work)()


def seconds(work: Callable[[], object]) -> Callable[[], float]:
    """Seconds of `work`."""

    def timed() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return timed


def module(*arguments: object) -> list[str]:
    """Command of a module of ours: `module("pipeline", "folds", "--plan", path)`."""
    return [sys.executable, "-m", *map(str, arguments)]


def child(command: list[str]) -> tuple[float, float]:
    """(seconds, peak resident MB) of a process of its own; RuntimeError with its last words where it fails."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    launcher = [sys.executable, "-S", "-c", LAUNCHER, *command]
    made = subprocess.run(launcher, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    code, took, peak, words = json.loads(made.stdout)
    if code:
        raise RuntimeError(f"{' '.join(command)} ended with {code}: {words}")
    return took, peak / (1e6 if sys.platform == "darwin" else 1e3)  # bytes there, kilobytes here
