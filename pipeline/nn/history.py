"""history.csv: one row an epoch, appended as it is finished."""

import csv
import os
from pathlib import Path

FIELDS = ("phase", "epoch", "loss", "rmse", "val_rmse", "learning_rate", "seconds")


class History:
    """The rows of a history file: numbers as floats, phase as text ("head" or "fine-tune")."""

    def __init__(self, path: Path, *, resume: bool):
        """Reads the file if `resume`, else starts an empty one."""
        self.path = path
        self.rows: list[dict] = []
        if resume and path.is_file():
            with open(path, newline="", encoding="utf-8") as file:
                self.rows = [{k: v if k == "phase" else float(v) for k, v in r.items()} for r in csv.DictReader(file)]
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

    def _write(self) -> None:
        temporary = self.path.with_name("." + self.path.name)
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(self.rows)
        os.replace(temporary, self.path)
