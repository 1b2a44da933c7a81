"""Stage 8 of 9: write each ensemble's submission.

reads   ensembles/<name>/test.parquet, inputs/sample.csv
writes  submissions/<name>.csv, <name>.json

Exactly the ids, order and header of the competition's sample file; values in [0, 1] and finite; read back and
checked after writing.

    python -m pipeline.submit --plan demo [--run ENSEMBLE] [--force]
"""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline import cli, units
from pipeline.artifacts import load_fractions, same_galaxies
from pipeline.core import tree
from pipeline.records import atomic

log = logging.getLogger(__name__)


def rows(predicted: pd.DataFrame, header: list[str], ids: np.ndarray) -> pd.DataFrame:
    """The submission as a frame: the ids, then 37 columns clipped to [0, 1], both in the sample's order."""
    ordered = same_galaxies(predicted, ids, "test predictions against the sample file").clip(0, 1)
    return ordered[header[1:]].rename_axis(header[0]).reset_index()


def check(path: Path, header: list[str], ids: np.ndarray) -> float:
    """Read a submission back: by how much a sum of the tree is missed at most.

    RuntimeError where the file is not what the competition asks for.
    """
    frame = pd.read_csv(path)
    values = frame.iloc[:, 1:].to_numpy()
    if list(frame.columns) != header or not np.array_equal(frame.iloc[:, 0], ids):
        raise RuntimeError(f"{path}: header or ids differ from the sample file after writing")
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
        raise RuntimeError(f"{path}: values outside [0, 1] or not finite after writing")
    return float(tree.violations(frame[list(tree.COLUMNS)].to_numpy()).max())


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    request = cli.parse(cli.parser(__doc__), argv, select=("run",)).of_trained()
    todo = request.to_do(units.submit(request.plan, request.store))
    for unit in todo:
        header, ids = request.store.load_sample()
        frame = rows(load_fractions(request.store.ensemble(unit.run).files[1]), header, ids)
        unit.artifact.begin()
        with atomic(unit.artifact.files[0]) as path:
            frame.to_csv(path, index=False, float_format="%.6f")
            gap = check(path, header, ids)
        unit.finish(rows=len(frame), tree_gap=gap)
        log.info(
            "submit     %s: %d galaxies; sums of the tree hold within %.0e", unit.artifact.files[0], len(frame), gap
        )


if __name__ == "__main__":
    cli.start(main)
