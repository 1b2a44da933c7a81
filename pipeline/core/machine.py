"""The CPU, and how many of its cores this process may use."""

import os
import platform
import re
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")  # Linux
CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # a container's limit: microseconds of CPU time per period, or "max"


def cores() -> int:
    """How many cores this process may use, within the limits of taskset, a batch system or a container."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        given, period = CGROUP_QUOTA.read_text(encoding="utf-8").split()
        return max(1, min(found, round(int(given) / int(period))))
    except (OSError, ValueError):
        return found


def cpu_name() -> str:
    """The CPU's model name; the architecture where that is not known."""
    return _cpuinfo_field("model name") or platform.processor() or platform.machine()


def cpu_flags() -> frozenset[str]:
    """Feature flags of an x86 CPU as Linux names them; empty where they are not known."""
    return frozenset(_cpuinfo_field("flags").split())


@cache
def _cpuinfo_field(what: str) -> str:
    """A field of the first CPU in /proc/cpuinfo; empty where there is none."""
    try:
        found = re.search(rf"^{what}\s*:(.*)$", CPUINFO.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else ""
