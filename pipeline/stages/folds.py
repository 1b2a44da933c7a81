"""Stage 1 of 9: assign every training galaxy to a fold.

reads   inputs/labels.parquet
writes  folds.csv (GalaxyID,fold), folds.json

Deterministic, stratified on the dominant path through the decision tree, independent of the order of rows. Duplicates
of an image share a fold.

    ./run.sh folds --plan demo
"""

import logging

import numpy as np
import pandas as pd

from pipeline import cli
from pipeline.competition import duplicates
from pipeline.core.labels import Schema
from pipeline.core.split import stratified_folds
from pipeline.errors import UserError
from pipeline.store import dependencies
from pipeline.store.artifacts import ID
from pipeline.store.records import atomic

log = logging.getLogger(__name__)


def assign(schema: Schema, labels: pd.DataFrame, n_folds: int, seed: int) -> pd.Series:
    """Fold of each galaxy, indexed by GalaxyID. UserError where there are fewer galaxies than folds."""
    if len(labels) < n_folds:
        raise UserError(f"{n_folds} folds need at least as many galaxies; there are {len(labels)}")
    fold = stratified_folds(schema, labels.index.to_numpy(), labels.to_numpy(), n_folds, seed)
    return pd.Series(fold, index=labels.index, name="fold")


def require_spread(schema: Schema, labels: pd.DataFrame, fold: pd.Series) -> None:
    """UserError where all galaxies of a class lie in one fold: nothing could be learnt, or nothing be scored."""
    if not schema.describes_classes:
        return
    for column in schema.columns:
        own = fold[labels[column] > 0]
        if len(own) and own.nunique() < 2:
            raise UserError(
                f"all {len(own)} galaxies of {schema.texts[column]!r} lie in fold {own.iloc[0]}, since their images "
                f"are the same: add other galaxies of it, or join it with another class"
            )


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    request = cli.parse(cli.parser(__doc__), argv)
    for unit in request.to_do(dependencies.folds(request.plan, request.store)):
        schema, labels = request.store.schema(), request.store.load_labels()
        fold = assign(schema, labels, request.plan.folds, request.plan.seed)
        fold = duplicates.keep_in_one_fold(fold, request.store.duplicates())
        require_spread(schema, labels, fold)
        unit.artifact.begin()
        with atomic(unit.artifact.files[0]) as path:
            fold.rename_axis(ID).to_csv(path)
        sizes = np.bincount(fold, minlength=request.plan.folds).tolist()
        unit.finish(sizes=sizes)
        log.info("folds      %d folds of %s galaxies", len(sizes), sizes)
