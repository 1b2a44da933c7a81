"""Stage 1 of 9: assign every training galaxy to a fold.

reads   inputs/labels.parquet
writes  folds.csv (GalaxyID,fold), folds.json

Deterministic, stratified on the dominant path through the decision tree, independent of the order of rows. Duplicates
of an image share a fold. Where a run starts from one of another output, the galaxies that this was trained on keep
their folds there, so that none is scored by a network that has seen its votes.

    ./run.sh folds --plan demo
"""

import logging
import time

import numpy as np
import pandas as pd

from pipeline import cli
from pipeline.competition import duplicates
from pipeline.core.labels import Schema
from pipeline.core.split import stratified_folds
from pipeline.errors import UserError
from pipeline.labelled import known_galaxies
from pipeline.plans.config import Plan
from pipeline.store import dependencies, starting_run
from pipeline.store.artifacts import ID, Store
from pipeline.store.records import atomic

log = logging.getLogger(__name__)


def assign(schema: Schema, labels: pd.DataFrame, n_folds: int, seed: int) -> pd.Series:
    """Fold of each galaxy, indexed by GalaxyID. UserError where there are fewer galaxies than folds."""
    if len(labels) < n_folds:
        raise UserError(f"{n_folds} folds need at least as many galaxies; there are {len(labels)}")
    fold = stratified_folds(schema, labels.index.to_numpy(), labels.to_numpy(), n_folds, seed)
    return pd.Series(fold, index=labels.index, name="fold")


def following(schema: Schema, labels: pd.DataFrame, n_folds: int, seed: int, known: pd.Series) -> pd.Series:
    """The same, where known galaxies are in given folds. UserError where a fold is left without galaxies."""
    rest = labels.drop(index=known.index)
    others = assign(schema, rest if len(rest) >= n_folds else labels, n_folds, seed)
    fold = pd.concat([known, others.reindex(rest.index)]).loc[labels.index].rename("fold")
    if empty := sorted(set(range(n_folds)) - set(fold)):
        raise UserError(
            f"fold {empty[0]} would have no galaxy: the galaxies keep the folds that they have in the output which a "
            f"run starts from, and none of them is in that one; add galaxies"
        )
    return fold


def _known_first(groups: list[list], known: pd.Series) -> list[list]:
    """Copies of an image, those first whose fold is given."""
    return [sorted(group, key=lambda galaxy: galaxy not in known.index) for group in groups]


def fold_of_all(plan: Plan, store: Store, known: known_galaxies.Known | None) -> pd.Series:
    """The fold of every galaxy of a plan, copies in one fold, known ones in theirs."""
    schema, labels, copies = store.schema(), store.load_labels(), store.duplicates()
    if known is None:
        return duplicates.keep_in_one_fold(assign(schema, labels, plan.folds, plan.seed), copies)
    fold = following(schema, labels, plan.folds, plan.seed, known.fold)
    fold = duplicates.keep_in_one_fold(fold, _known_first(copies, known.fold))
    known_galaxies.require_unseen(known, fold, store)
    log.info("folds      %s of %s galaxies, %s by their image alone, are known to %s and keep their folds there",
             f"{len(known.fold):,}", f"{len(fold):,}", f"{known.by_image:,}", " and ".join(known.names))  # fmt: skip
    return fold


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
        started = time.monotonic()
        starting_run.require_usable(request.plan, request.store)
        known = known_galaxies.of_plan(request.plan, request.store)
        fold = fold_of_all(request.plan, request.store, known)
        require_spread(request.store.schema(), request.store.load_labels(), fold)
        unit.artifact.begin()
        with atomic(unit.artifact.files[0]) as path:
            fold.rename_axis(ID).to_csv(path)
        sizes = np.bincount(fold, minlength=request.plan.folds).tolist()
        unit.finish(sizes=sizes, seconds=time.monotonic() - started)
        log.info("folds      %d folds of %s galaxies", len(sizes), sizes)
