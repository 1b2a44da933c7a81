"""A catalogue of millions of rows through `classify`: memory, files in a folder, and the restart after a kill.

    .venv/bin/python -m tests.benchmarks.many_rows [--rows 10000000]

The networks' answers are made up and each distinct image is decoded once; all else is the command's own: reading the
catalogue and the images' bytes, digests, comparison with the training galaxies, shards, records, the joined table.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.benchmarks import catalogue
from tests.benchmarks.measure import ROOT, Row, child, module, once

PART = 1 << 20  # rows of the catalogue that are written at a time
STAND_IN = "tests.benchmarks.stand_in_networks"


def rows(folder: Path, n: int) -> Iterator[Row]:
    """Peak memory of n galaxies against a tenth of them; seconds until a killed command goes on; files in a folder."""
    store = catalogue.finished(folder)
    archive = catalogue.packed(store.root.parent / "catalogue-sky" / "images_training_rev1.zip", folder / "small.tar")
    few, many = (write(folder / f"{count}.parquet", count) for count in (n // 10, n))
    ensemble = store.ensemble("final").files[0].parent

    def command(given: Path, to: Path) -> list[str]:
        return module(STAND_IN, "classify", given, "--images", archive, "--to", to, "--ensemble", ensemble)

    less = child(command(few, folder / "few.parquet"))
    killed = command(many, folder / "many.parquet")
    begun, records = time.monotonic(), folder / "many.parquet.parts" / "_records"
    until(records, round(0.9 * n / 2048), killed)
    before, restarted = time.monotonic() - begun, time.monotonic()
    there = len(list(records.glob("part-*.json")))
    most = max(len(list(records.iterdir())), len(list(records.parent.iterdir())))
    took = until(records, there + 1, killed) - restarted
    rest, peak = child(killed)
    note = f"{n:,} rows in {before + rest:,.0f} s, {n // 10:,} in {less[0]:,.0f} s"
    yield once("memory, ten times the rows", peak, less[1], unit="MB", goal="<= 1.5", note=note, peak_mb=peak)
    note = f"{there:,} shards were there; reference: a minute"
    yield once("killed: seconds until it goes on", took, 60, unit="s", goal="<= 1", note=note)
    note = "at nine tenths of the work; reference: 10,000"
    yield once("files in the fullest folder", most, 9000, unit="files", goal="<= 1", note=note)


def write(path: Path, n: int) -> Path:
    """A catalogue of n galaxies whose images repeat."""
    names = np.array([f"{i}.jpg" for i in range(catalogue.DISTINCT)])
    with pq.ParquetWriter(
        path, pa.schema([("id", "int64"), ("image", "string"), ("ra", "double"), ("dec", "double")])
    ) as to:
        for start in range(0, n, PART):
            ids = np.arange(start, min(start + PART, n))
            columns = [ids, names[ids % len(names)], ids % 360 / 1.0, ids % 180 - 90.0]
            to.write_table(pa.Table.from_arrays([pa.array(column) for column in columns], schema=to.schema))
    return path


def until(records: Path, shards: int, command: list[str]) -> float:
    """Run the command until so many shards are there, kill it, and tell when that was."""
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True
    )
    try:
        while sum(1 for _ in records.glob("part-*.json")) < shards:
            if process.poll() is not None:
                raise RuntimeError(f"ended with {process.returncode}: {process.stderr.read()[-500:]}")
            time.sleep(0.2)
        return time.monotonic()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for row in rows(Path(folder), options.rows):
            print(
                f"{row.stage:<42}{row.ours:>10,.1f} {row.reference:>10,.1f} {row.unit:<6}{row.ratio:>7.3f}  {row.note}"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
