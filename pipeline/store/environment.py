"""What made an artifact: code, Python, libraries, machine, memory."""

import platform
import resource
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from pipeline.core import machine


@cache
def environment() -> dict[str, Any]:
    """What made an artifact: code, Python, libraries, machine."""
    names = ("tensorflow", "tensorflow-cpu", "keras", "numpy", "pandas", "scikit-learn")
    libraries = {n: _version(n) for n in names if _version(n)}
    return {
        "code": _commit(),
        "python": platform.python_version(),
        "libraries": libraries,
        "machine": f"{machine.cpu_name()}, {machine.cores()} cores",
        "command": " ".join(Path(a).name if i == 0 else a for i, a in enumerate(sys.argv)),
    }


def peak_memory() -> int:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str:
    """Commit of the code, with '+' where it has been changed since; 'unknown' outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
