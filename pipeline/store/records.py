"""Artifacts: files and the record of their checksums, complete or absent.

Files are written to a temporary name in their own folder and renamed; the record, with their sizes and digests, comes
last and is withdrawn first. One process at a time makes an artifact.
"""

import glob
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.errors import Damaged, Elsewhere, UserError
from pipeline.execution import locks
from pipeline.store import digests, sealed_json
from pipeline.store.digests import file_digest
from pipeline.store.environment import environment, peak_memory

KINDS = {dict: "object", str: "text"}


DELETE = "delete it and run again"


@dataclass(frozen=True)
class Artifact:
    """Files and the record of their checksums.

    Writers use `files`; readers use `verified`, which compares a file with its record before it returns the path.
    """

    record_path: Path
    files: tuple[Path, ...]
    make: str = field(default="the command that makes it was not run", compare=False)  # shown where it is missing
    mend: str = field(default=DELETE, compare=False)  # shown where it is damaged
    seen: int | None = field(default=None, compare=False)  # see `looked_at`

    def record(self) -> dict[str, Any] | None:
        """The record, or None where the artifact is absent; Damaged where it is no record."""
        found = sealed_json.load(self.record_path, self.mend)
        if found is not None and (why := _invalid_record(found)):
            raise self._damaged(f"{self.record_path} is damaged (no record of an artifact: {why})")
        return found

    def facts(self) -> dict[str, Any]:
        """The record; empty where it is absent or damaged, for those who can do without."""
        try:
            return self.record() or {}
        except Damaged:
            return {}

    def fact(self, name: str, kind: type) -> Any:
        """One entry of the record; UserError where that is absent, Damaged where it holds no such thing."""
        value = self.required().get(name)
        if not isinstance(value, kind):
            raise self._damaged(f"{self.record_path} is damaged ({name!r} is {value!r}, no {kind.__name__})")
        return value

    def required(self) -> dict[str, Any]:
        """The record; UserError where it is absent."""
        record = self.record()
        if record is None:
            raise UserError(f"{self.record_path} is missing: {self.make}")
        return record

    def verified(self, name: str | None = None) -> Path:
        """Path of one file (by default the first), there and as it was written: the way to read it.

        UserError where the artifact is absent, Damaged where the file is missing or does not match its record.
        """
        path = next(p for p in self.files if name in (None, p.name))
        entries = self.required()["files"]
        if path.name not in entries:
            raise self._damaged(f"{self.record_path} is damaged (it has no entry for {path.name})")
        if problem := _size_differs(path, entries[path.name]):
            raise self._damaged(f"{path} {problem}")
        if problem := _checksum_mismatch(path, entries[path.name], self._memory):
            raise self._damaged(problem)
        return path

    def verify(self) -> None:
        """Compare all files with the record; raises as `verified` does."""
        for path in self.files:
            self.verified(path.name)

    def exists(self) -> bool:
        """Whether there is a record, valid or not."""
        return self.record_path.exists()

    def digest(self) -> str | None:
        """Digest of the files' contents, as recorded; None where the artifact is absent."""
        record = self.record()
        return None if record is None else record["digest"]

    def missing_or_resized(self) -> list[str]:
        """Problems found without reading the files, as sentences: an invalid record, missing files, other sizes."""
        try:
            entries = (self.record() or {"files": {}})["files"]
        except Damaged as error:
            return [str(error)]
        paths = {name: self.record_path.with_name(name) for name in entries} | {path.name: path for path in self.files}
        differ = {name: _size_differs(paths[name], entry) for name, entry in entries.items()}
        return [f"{name} {problem}" for name, problem in differ.items() if problem]

    def checksum_mismatches(self) -> list[str]:
        """Files whose sha256 is not that of the record, as sentences. Reads every file once per process."""
        entries = (self.record() or {"files": {}})["files"]
        there = [path for path in self.files if path.name in entries and path.is_file()]
        return [problem for path in there if (problem := _checksum_mismatch(path, entries[path.name], None))]

    @property
    def _memory(self) -> Path:
        """Where the digests of large files are remembered."""
        return self.record_path.with_name(f".{self.record_path.stem}.read.json")

    def _damaged(self, what: str) -> Damaged:
        return Damaged(f"{what}; {self.mend}")

    @property
    def lock(self) -> Path:
        """Held by the process that makes the artifact."""
        return self.record_path.with_name(f".{self.record_path.name}.lock")

    def begin(self) -> None:
        """Make the folder, lock the artifact and delete its record: a partial artifact never counts as complete.

        Temporary files left by a killed process are deleted. Elsewhere where another process holds the lock, or has
        made the artifact since it was `looked_at`.
        """
        folder = self.record_path.parent
        folder.mkdir(parents=True, exist_ok=True)
        locks.acquire(self.lock)
        if self.seen is not None and self.seen != self._written_at():
            locks.release(self.lock)
            raise Elsewhere(f"{folder} was made by another process meanwhile: the same command goes on from there")
        for path in (self.record_path, *self.files):
            _clear_folder(path)
        self.record_path.unlink(missing_ok=True)
        for path in (self.record_path, *self.files):
            for left in path.parent.glob(f".*.{glob.escape(path.name)}"):
                if left.name.split(".")[1].isdigit():
                    left.unlink(missing_ok=True)

    def looked_at(self) -> "Artifact":
        """The same, as it is now: `begin` refuses what another process has made anew by then."""
        return replace(self, seen=self._written_at())

    def _written_at(self) -> int:
        """When the record was written, in nanoseconds; 0 where there is none."""
        try:
            return self.record_path.stat().st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            return 0

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
        record["made"] = now | environment()
        self.write(record)
        locks.release(self.lock)
        return record

    def write(self, record: dict[str, Any]) -> None:
        """Write the record with its checksum."""
        save_json(self.record_path, sealed_json.sealed(record))


def _invalid_record(found: dict[str, Any]) -> str:
    """Why this is not a valid record; empty where it is."""
    kinds = {"spec": dict, "made_from": dict, "digest": str, "files": dict}
    for key, kind in kinds.items():
        if not isinstance(found.get(key), kind):
            return f"{key!r} is {'missing' if key not in found else 'no ' + KINDS[kind]}"
    if not all(value is None or isinstance(value, str) for value in found["made_from"].values()):
        return "'made_from' holds what is not a digest"
    for name, entry in found["files"].items():
        if not (isinstance(entry, dict) and type(entry.get("bytes")) is int and isinstance(entry.get("sha256"), str)):
            return f"'files' lacks bytes and sha256 of {name}"
    return "" if isinstance(found.get("made", {}), dict) else "'made' is no object"


def _size_differs(path: Path, entry: dict[str, Any]) -> str:
    """'is missing' or 'has 1 bytes, not 2'; empty where neither is so."""
    if not path.is_file():
        return "is a folder" if path.is_dir() else "is missing"
    size = path.stat().st_size
    return "" if size == entry["bytes"] else f"has {size} bytes, not {entry['bytes']}"


def _checksum_mismatch(path: Path, entry: dict[str, Any], memory: Path | None) -> str:
    """How the content differs from what was written, as a sentence; empty where it does not."""
    try:
        digest = digests.digest_of(path, memory)
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    if digest == entry["sha256"]:
        return ""
    return f"{path} is not what was written: its sha256 is {digest[:12]}…, not {entry['sha256'][:12]}…"


def _clear_folder(path: Path) -> None:
    """Delete an empty folder in the place of a file; UserError where it is not empty."""
    if path.is_dir() and not path.is_symlink():
        try:
            path.rmdir()
        except OSError:
            raise UserError(f"{path} is a folder, expected a file or nothing: move it elsewhere") from None


@dataclass(frozen=True)
class Version:
    """A number in place of a digest, raised when code makes something else of the same sources."""

    number: int

    def digest(self) -> str:
        """The number, as records hold it."""
        return f"version {self.number}"

    def record(self) -> dict[str, Any]:
        """A version is never missing."""
        return {}

    def verify(self) -> None:
        """A version is never damaged."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renames it to `path` when the block ends well, else removes it.

    UserError where `path` is a device or the like, which a file would replace.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is there and is no file: choose another name")
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
