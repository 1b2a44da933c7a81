"""history.csv: one row an epoch, appended as it is finished."""

import csv
import hashlib
import json
import os
from pathlib import Path

FIELDS = ("phase", "epoch", "loss", "rmse", "val_rmse", "learning_rate", "seconds")
PHASES = ("head", "fine-tune")


class History:
    """The rows of a history file: numbers as floats, phase as text ("head" or "fine-tune")."""

    def __init__(self, path: Path, *, resume: bool):
        """Reads the file where `resume`, else starts it anew; ValueError where it is not what was written."""
        self.path = path
        self.rows: list[dict] = []
        if resume and path.is_file():
            self.rows = _read(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._write()

    def of_phase(self, phase: str) -> list[dict]:
        """Its rows of one phase."""
        return [row for row in self.rows if row["phase"] == phase]

    def append(self, **row: float | str) -> None:
        """Add a row, in memory and on disk."""
        self.rows.append(row)
        self._write()

    def truncate(self, phase: str, epochs: int) -> None:
        """Drop rows of a phase after its first `epochs`: those that no checkpoint followed."""
        dropped = self.of_phase(phase)[epochs:]
        self.rows = [row for row in self.rows if row not in dropped]
        self._write()

    def digest(self, epochs: int) -> str:
        """sha256 of its rows up to so many epochs of fine-tuning: the same when they are read back."""
        rows = [*self.of_phase("head"), *self.of_phase("fine-tune")[:epochs]]
        values = [[row["phase"], *(float(str(row[key])) for key in FIELDS[1:])] for row in rows]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()

    def _write(self) -> None:
        temporary = self.path.with_name("." + self.path.name)
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(self.rows)
        os.replace(temporary, self.path)


def _read(path: Path) -> list[dict]:
    with open(path, newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file, strict=True)
    if tuple(header) != FIELDS:
        raise ValueError(f"{path} begins with {','.join(header)[:80]!r}")
    rows = []
    for phase, *numbers in lines:
        if phase not in PHASES:
            raise ValueError(f"{path} tells of a phase {phase[:80]!r}")
        rows.append({"phase": phase} | dict(zip(FIELDS[1:], map(float, numbers), strict=True)))
    return rows
