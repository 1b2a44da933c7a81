"""Stage 7 of 9: blend the runs of each ensemble.

reads   runs/<run>/fold<k>/{valid,test}.parquet, inputs/labels.parquet, folds.csv
writes  ensembles/<name>/oof.parquet, test.parquet, ensemble.json

Weights are fitted on out-of-fold predictions. The score, and oof.parquet, are cross-fitted: the galaxies of fold k
are blended with weights fitted on the other folds. Method "best" takes the simplest that is not beaten. The blend is
then projected onto the decision tree: all its sums hold, and no galaxy's error can grow.

    ./run.sh ensemble --plan demo [--run ENSEMBLE | --run RUN] [--force]     the name of a run: of that run alone
"""

import logging
import time

import numpy as np
import pandas as pd

from pipeline import cli
from pipeline.core import blend, metrics, tree
from pipeline.plans.config import Ensemble, Plan
from pipeline.store import dependencies
from pipeline.store.artifacts import Store
from pipeline.store.fractions import aligned_to, fractions_frame, load_fractions, save_fractions

log = logging.getLogger(__name__)


def gather(store: Store, run: str, n_folds: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One run's (out-of-fold, fold-averaged test) predictions, rows keyed by GalaxyID."""
    schema = store.schema()
    artifacts = [store.predicted(run, fold) for fold in range(n_folds)]
    parts = [(one.verified("valid.parquet"), one.verified("test.parquet")) for one in artifacts]
    oof = pd.concat([load_fractions(valid, schema) for valid, _ in parts]).sort_index()
    first = load_fractions(parts[0][1], schema)
    total = first.to_numpy(np.float64, copy=True)
    for fold, (_, test) in enumerate(parts[1:], 1):
        total += aligned_to(load_fractions(test, schema), first.index, f"test.parquet of {run}/fold{fold}").to_numpy()
    return oof, fractions_frame(first.index.to_numpy(), (total / n_folds).astype(np.float32), schema)


def build(unit: dependencies.Unit, spec: Ensemble, plan: Plan, store: Store) -> float:
    """Fit the blend on out-of-fold rows, save every artifact, return the cross-fitted RMSE."""
    started = time.monotonic()
    schema, labels, fold_of = store.schema(), store.load_labels(), store.load_folds()
    runs = [gather(store, run, plan.folds) for run in spec.runs]
    stack = np.stack([aligned_to(oof, labels.index, "out-of-fold predictions").to_numpy() for oof, _ in runs])
    truth, folds = labels.to_numpy(), fold_of.loc[labels.index].to_numpy()  # stack: (runs, galaxies, c)
    method, scores = (spec.method, {})
    if method == "best":
        method, scores = blend.best_method(schema, stack, truth, folds)
    fit = blend.METHODS[method]
    blended = blend.cross_fitted(schema, stack, truth, folds, fit)
    oof = tree.project(schema, blended)
    weights = fit(schema, stack, truth)  # (runs,) or (runs, q)
    ids = runs[0][1].index
    tests = np.stack([aligned_to(test, ids, "test predictions").to_numpy() for _, test in runs])
    unit.artifact.begin()
    test = tree.project(schema, blend.mix(schema, tests, weights))
    for path, galaxies, values in zip(unit.artifact.files, (labels.index, ids), (oof, test), strict=True):
        save_fractions(path, fractions_frame(galaxies.to_numpy(), values, schema), schema)
    decides, by_run = metrics.deciding(schema), dict(zip(spec.runs, weights.tolist(), strict=True))
    score, before = (decides.of(decides.per_galaxy(schema, truth, made)) for made in (oof, blended))
    facts = {decides.name: score, f"{decides.name}_before_projection": before}
    unit.finish(method=method, weights=by_run, scores=scores, seconds=time.monotonic() - started, **facts)
    blended_of = f"{method} of {len(spec.runs)} runs" if len(spec.runs) > 1 else "one run"
    log.info("ensemble   %s: %s, cross-fitted %s %.4f", spec.name, blended_of, decides.title, score)
    return score


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    request = cli.parse(cli.parser(__doc__), argv, select=("run",), of="ensemble, or run alone,")
    request = request.without_failed_runs().for_a_run()
    todo = request.to_do(dependencies.ensemble(request.plan, request.store))
    specs = {spec.name: spec for spec in request.plan.ensembles}
    for unit in todo:
        build(unit, specs[unit.run], request.plan, request.store)
