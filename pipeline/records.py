"""Artifacts: files and the record that vouches for them, whole or absent.

Files are written to a temporary name in their own folder and renamed; the record, with their sizes and digests, comes
last and is withdrawn first. One process at a time makes an artifact.
"""

import glob
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from pipeline import locks
from pipeline.core import machine
from pipeline.errors import UserError

SOURCES = (".py", ".jinja", ".js", ".css")


@dataclass(frozen=True)
class Artifact:
    """Files and the record that vouches for them."""

    record_path: Path
    files: tuple[Path, ...]

    def record(self) -> dict[str, Any] | None:
        """The record, or None where the artifact is absent."""
        try:
            found = json.loads(self.record_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise UserError(f"{self.record_path} is damaged ({error}); delete it and run again") from None
        if not isinstance(found, dict) or not found.keys() >= {"spec", "made_from", "digest", "files"}:
            raise UserError(f"{self.record_path} is damaged (no record of an artifact); delete it and run again")
        return found

    def digest(self) -> str | None:
        """Digest of the files' contents, as recorded; None where the artifact is absent."""
        record = self.record()
        return None if record is None else record["digest"]

    def damage(self) -> list[str]:
        """Files that are missing or not of the recorded size, as sentences."""
        sizes = {name: entry["bytes"] for name, entry in (self.record() or {"files": {}})["files"].items()}
        found = {p.name: p.stat().st_size if p.is_file() else None for p in self.files}
        return [
            f"{name} is missing" if found.get(name) is None else f"{name} has {found[name]} bytes, not {size}"
            for name, size in sizes.items()
            if found.get(name) != size
        ]

    def rot(self) -> list[str]:
        """Files whose contents are not those of the record, as sentences. Reads them all, once a process."""
        entries = (self.record() or {"files": {}})["files"]
        read = {path: _digest_of(path, path.stat().st_mtime_ns) for path in self.files if path.is_file()}
        return [
            f"{path} is not what was written: its sha256 is {digest[:12]}…, not {entries[path.name]['sha256'][:12]}…"
            for path, digest in read.items()
            if path.name in entries and digest != entries[path.name]["sha256"]
        ]

    @property
    def lock(self) -> Path:
        """Held by the process that makes the artifact."""
        return self.record_path.with_name(f".{self.record_path.name}.lock")

    def begin(self) -> None:
        """Make the folder, lock the artifact and withdraw its record: what is half made never counts as whole.

        What a process that was killed has left of its temporary files goes. UserError where another process is at it.
        """
        folder = self.record_path.parent
        folder.mkdir(parents=True, exist_ok=True)
        locks.acquire(self.lock)
        self.record_path.unlink(missing_ok=True)
        for path in (self.record_path, *self.files):
            for left in path.parent.glob(f".*.{glob.escape(path.name)}"):
                if left.name.split(".")[1].isdigit():
                    left.unlink(missing_ok=True)

    def finish(
        self,
        spec: dict[str, Any],
        made_from: dict[str, str | None],
        digests: dict[Path, str] | None = None,
        **facts: Any,
    ) -> dict[str, Any]:
        """Digest the files, but for those whose sha256 is given, and write the record; returns it."""
        known = digests or {}
        entries = {p.name: {"bytes": p.stat().st_size, "sha256": known.get(p) or file_digest(p)} for p in self.files}
        digest = hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()
        record = {"spec": spec, "made_from": made_from, **facts, "digest": digest, "files": entries}
        now = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "peak_bytes": peak_memory()}
        record["made"] = now | _environment()
        save_json(self.record_path, record)
        locks.release(self.lock)
        return record


@dataclass(frozen=True)
class Code:
    """Source files, as something that an artifact is made from."""

    folders: tuple[Path, ...]

    def digest(self) -> str:
        """Digest of their names and contents."""
        paths = sorted(path for folder in self.folders for path in folder.rglob("*") if path.suffix in SOURCES)
        return hashlib.sha256("".join(f"{path.name} {file_digest(path)}\n" for path in paths).encode()).hexdigest()

    def record(self) -> dict[str, Any]:
        """They are always there."""
        return {}

    def rot(self) -> list[str]:
        """Whatever they are, they are right."""
        return []


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renames it to `path` when the block ends well, else removes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")  # keeps the suffix that writers go by
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def file_digest(path: Path) -> str:
    """sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def _digest_of(path: Path, written: int) -> str:
    """sha256 of a file as written at that time (ns), read once a process."""
    return file_digest(path)


@cache
def _environment() -> dict[str, Any]:
    """What made an artifact: code, Python, libraries, machine."""
    names = ("tensorflow", "tensorflow-cpu", "keras", "numpy", "pandas", "scikit-learn")
    libraries = {n: _version(n) for n in names if _version(n)}
    return {
        "code": _commit(),
        "python": platform.python_version(),
        "libraries": libraries,
        "machine": f"{machine.processor()}, {machine.cores()} cores",
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
