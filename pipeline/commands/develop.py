"""For who changes the code: linter and tests, benchmarks.

./run.sh test [--all] [PYTEST'S FLAGS ...]     ruff and pytest; --all adds the tests that take minutes
./run.sh bench [--quick] [--only GROUP] [--gpu] [--input DIR] [--json FILE]     each stage beside its own limit
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SEVERAL = ("--numprocesses", "logical", "--maxprocesses", "4", "--dist", "worksteal")


def test(argv: list[str]) -> None:
    """ruff check, ruff format --check, pytest; the exit code of the first that fails."""
    if {"-h", "--help"} & set(argv):
        print(__doc__)
        return
    slow = "--all" in argv
    rest = [word for word in argv if word != "--all"]
    marked = [] if slow else ["-m", "not slow"]
    for command in (["ruff", "check"], ["ruff", "format", "--check"], ["pytest", *SEVERAL, *marked, *rest]):
        _module(command)


def bench(argv: list[str]) -> None:
    """The benchmarks, which say themselves what they take."""
    _module(["tests.benchmarks", *argv])


def _module(command: list[str]) -> None:
    """Run a module at the project's root; its exit code is ours where it fails."""
    code = subprocess.run([sys.executable, "-m", *command], cwd=ROOT).returncode
    if code:
        sys.exit(code if code > 0 else 128 - code)
