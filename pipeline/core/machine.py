"""The machine as this process may use it: its processor, and how many of its cores."""

import os
import platform
import re
from functools import cache
from pathlib import Path

PROCESSOR = Path("/proc/cpuinfo")  # Linux
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # what a container is given: microseconds of computing in so many, or "max"


def cores() -> int:
    """How many cores this process may use: of the machine's, those that taskset, a batch system or container leaves."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        given, period = QUOTA.read_text(encoding="utf-8").split()
        return max(1, min(found, round(int(given) / int(period))))
    except (OSError, ValueError):
        return found


def processor() -> str:
    """Its own name where Linux tells it."""
    return _told("model name") or platform.processor() or platform.machine()


def flags_of_cpu() -> frozenset[str]:
    """What an x86 processor can do, in the words of Linux; empty where that is not known."""
    return frozenset(_told("flags").split())


@cache
def _told(what: str) -> str:
    """What Linux says of the first processor under this head; empty where it says nothing."""
    try:
        found = re.search(rf"^{what}\s*:(.*)$", PROCESSOR.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else ""
