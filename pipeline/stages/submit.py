"""Stage 8 of 9: write each ensemble's submission; on request send it to Kaggle.

reads   ensembles/<name>/test.parquet, inputs/sample.csv
writes  submissions/<name>.csv, <name>.json; with --upload submissions/uploads.csv, Kaggle's scores

Exactly the ids, order and header of the sample file; values in [0, 1] and finite; read back and checked after writing.
Your own galaxies need no such file: the ids are then those of the images, the columns those of the labels; without
images to predict nothing is written. With --upload a file is sent once, confirmed by Kaggle's list of submissions, and
waited for until it is scored; the same command resumes waiting.

    ./run.sh submit --plan demo [--run ENSEMBLE | --run RUN] [--force]
    ./run.sh submit --plan competition --upload [-m MESSAGE] [--yes] [--run ENSEMBLE]
"""

import argparse
import logging
import time
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline import cli
from pipeline.competition import kaggle_client, uploads
from pipeline.core import flag_types, tree
from pipeline.core.labels import Schema
from pipeline.errors import UserError
from pipeline.store import dependencies, network_caveats
from pipeline.store.fractions import aligned_to, load_fractions
from pipeline.store.records import atomic

log = logging.getLogger(__name__)
WAIT = 15.0  # minutes that Kaggle gets for the score


def rows(predicted: pd.DataFrame, header: list[str], ids: np.ndarray) -> pd.DataFrame:
    """The submission as a frame: the ids, then the answers' columns clipped to [0, 1], both in the sample's order."""
    ordered = aligned_to(predicted, ids, "test predictions against the sample file").clip(0, 1)
    return ordered[header[1:]].rename_axis(header[0]).reset_index()


def check(schema: Schema, path: Path, header: list[str], ids: np.ndarray) -> float:
    """Read a submission back: the largest violation of a sum of the tree.

    RuntimeError where the file is not a valid submission.
    """
    as_text = {"dtype": {header[0]: str}, "keep_default_na": False} if ids.dtype.kind not in "iu" else {}
    frame = pd.read_csv(path, **as_text)
    values = frame.iloc[:, 1:].to_numpy()
    if list(frame.columns) != header or not np.array_equal(frame.iloc[:, 0], ids):
        raise RuntimeError(f"{path}: header or ids differ from the sample file after writing")
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
        raise RuntimeError(f"{path}: values outside [0, 1] or not finite after writing")
    return float(tree.violations(schema, frame[list(schema.columns)].to_numpy()).max())


def arguments() -> argparse.ArgumentParser:
    """The flags of this stage."""
    parser = cli.parser(__doc__)
    parser.add_argument("--upload", action="store_true", help="send it to Kaggle: the --run, or the best out of fold")
    parser.add_argument("-m", "--message", help="its description there; by default members, score and code version")
    parser.add_argument("--wait", type=flag_types.amount, metavar="MINUTES", help=f"for the score; {WAIT:g}")
    return parser


def upload(request: cli.Request) -> None:
    """Send the chosen ensemble's submission to Kaggle and log its score."""
    options, store = request.options, request.store
    if store.inputs().fact("folder", str) == "sky":
        raise UserError(
            f"the galaxies of {request.plan.name} are synthetic, Kaggle does not know them: give --input DIR"
        )
    if "schema" in store.inputs().required():
        raise UserError(f"the galaxies of {request.plan.name} are your own, Kaggle does not know them")
    if whole := [*network_caveats.part_of_the_galaxies(store)]:
        raise UserError(f"Kaggle scores submissions of all galaxies alone. {whole[0]} Leave `galaxies` out of it")
    records = {e.name: store.ensemble(e.name).record() or {} for e in request.plan.ensembles}
    name = options.run or min(records, key=lambda name: records[name].get("rmse", 1))
    sender = uploads.Uploader(kaggle_client.client(), request.plan, store)
    sent = sender.send(
        name, options.message, agreed=lambda text: options.yes or cli.agreed(text), wait=60 * options.wait
    )
    log.info("upload     %s: public %s, private %s, out of fold %.5f", name, sent.public, sent.private, sent.rmse)


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    parser = arguments()
    request = cli.parse(parser, argv, select=("run",), of="ensemble, or run alone,")
    cli.require_with(parser, request.options, message="upload", wait="upload")
    request.options.wait = WAIT if request.options.wait is None else request.options.wait
    request = request.without_failed_runs().for_a_run()
    units = list(dependencies.submit(request.plan, request.store))
    if not units:
        log.info("submit     no galaxies to predict, so there is no submission")
    todo = request.to_do(iter(units))
    for unit in todo:
        started = time.monotonic()
        schema, (header, ids) = request.store.schema(), request.store.load_sample()
        blended = request.store.ensemble(unit.run).verified("test.parquet")
        frame = rows(load_fractions(blended, schema), header, ids)
        unit.artifact.begin()
        with atomic(unit.artifact.files[0]) as path:
            frame.to_csv(path, index=False, float_format="%.6f")
            gap = check(schema, path, header, ids)
        unit.finish(rows=len(frame), tree_gap=gap, seconds=time.monotonic() - started)
        log.info(
            "submit     %s: %d galaxies; sums of the tree hold within %.0e", unit.artifact.files[0], len(frame), gap
        )
    request.warn_of_stale("submit")
    if request.options.upload:
        upload(request)
