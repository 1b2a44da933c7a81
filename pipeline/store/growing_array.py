"""A .npy file that grows by whole rows: memory stays flat, the digest is made on the way, a killed run goes on."""

import hashlib
import logging
import os
import weakref
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pipeline.errors import Damaged
from pipeline.store import sealed_json
from pipeline.store.records import save_json

log = logging.getLogger(__name__)
BLOCK = 1 << 22  # bytes read at once


class GrowingArray:
    """One uint8 array in the making beside its final place; rows up to `done` are on disk, and a small record says so.

    What an earlier process left is gone on with where its record bears the same `key` (JSON), else thrown away.
    """

    def __init__(self, final: Path, shape: tuple[int, ...], key: dict[str, Any]):
        self.final, self.shape, self.key = final, shape, {**key, "shape": list(shape)}
        self.path = final.with_name(f".{final.name}.partial")
        self.progress_path = final.with_name(f".{final.stem}.progress.json")
        self.done = 0
        self.notes: dict[int, str] = {}  # row -> a sentence, kept with the progress
        self._file: BinaryIO | None = None
        self._sha: Any = None  # of the file's first `done` rows; None where it must be read again

    def missing_bytes(self) -> int:
        """Bytes of disk that the array still needs."""
        return max(0, int(np.prod(self.shape)) - (self.path.stat().st_size if self.path.exists() else 0))

    def open(self, *, anew: bool) -> None:
        """Go on where an earlier process stopped, unless `anew`; else begin with the header."""
        if not anew and self._resume():
            return
        self.progress_path.unlink(missing_ok=True)
        self._hold(open(self.path, "wb+"))  # noqa: SIM115 (until finish)
        self._file.write(self._header())

    def _hold(self, file: BinaryIO) -> None:
        """Write to it from now on; it is closed at the latest when nobody has this array any more."""
        self._file = file
        weakref.finalize(self, file.close)

    def _header(self) -> bytes:
        class Sink(list):
            write = list.append

        sink = Sink()
        np.lib.format.write_array_header_1_0(sink, {"descr": "|u1", "fortran_order": False, "shape": self.shape})
        return b"".join(sink)

    def _resume(self) -> bool:
        try:
            progress = sealed_json.load(self.progress_path, "")
            kinds = {"key": dict, "done": int, "notes": dict}
            if not progress or not all(isinstance(progress.get(key), kind) for key, kind in kinds.items()):
                return False
            if progress["key"] != self.key:
                return False
            if not self.path.exists():  # killed between the renaming and the record
                os.replace(self.final, self.path)
            file = open(self.path, "rb+")  # noqa: SIM115 (held until finish)
        except (OSError, Damaged):
            return False
        if file.read(len(self._header())) != self._header() or file.seek(0, os.SEEK_END) < self._at(progress["done"]):
            file.close()
            return False
        self._hold(file)
        self.done = progress["done"]
        self._sha = self._digest_so_far()
        if progress.get("sha256") not in (None, self._sha.hexdigest()):
            log.warning("%-10s %s is not what was written: it is begun anew", "crops", self.path)
            file.close()
            self.done, self._sha = 0, None
            return False
        self.notes = {int(row): note for row, note in progress["notes"].items()}
        return True

    def _at(self, row: int) -> int:
        """Where a row begins in the file."""
        return len(self._header()) + row * int(np.prod(self.shape[1:]))

    def append(self, rows: np.ndarray, notes: dict[int, str]) -> None:
        """Put the next rows (k, ...) on disk, then say so."""
        if self._sha is None:
            self._sha = self._digest_so_far()
        self._file.seek(self._at(self.done))
        content = memoryview(rows).cast("B")
        self._file.write(content)
        self._sha.update(content)
        self._commit(self.done + len(rows), self.notes | notes)

    def replace(self, rows: dict[int, np.ndarray], notes: dict[int, str]) -> None:
        """Write some finished rows anew; `notes` take the place of all earlier ones."""
        self._sha = None
        self._commit(self.done, self.notes)  # no digest vouches while they are written
        for row, content in rows.items():
            self._file.seek(self._at(row))
            self._file.write(np.ascontiguousarray(content).data)
        self._sha = self._digest_so_far()
        self._commit(self.done, notes)

    def _commit(self, done: int, notes: dict[int, str]) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self.done, self.notes = done, notes
        progress = {"key": self.key, "done": done, "notes": notes, "sha256": self._sha and self._sha.hexdigest()}
        save_json(self.progress_path, sealed_json.sealed(progress))

    def _digest_so_far(self) -> Any:
        sha, left = hashlib.sha256(), self._at(self.done)
        self._file.seek(0)
        while left and (block := self._file.read(min(BLOCK, left))):
            sha.update(block)
            left -= len(block)
        if left:
            raise OSError(f"{self.path} was cut short by somebody else: {left:,} bytes are gone")
        return sha

    def finish(self) -> str:
        """Give the file its name; returns its sha256. The progress stays until `forget`: no record vouches yet."""
        digest = (self._sha or self._digest_so_far()).hexdigest()
        self._file.truncate(self._at(self.shape[0]))
        self._file.close()
        os.replace(self.path, self.final)
        return digest

    def forget(self) -> None:
        """The array has its record: the progress is no longer needed."""
        self.progress_path.unlink(missing_ok=True)
