"""Stage 4 of 9: train every run once per fold.

reads   crops/<crop>/train.npy, folds.csv, inputs/labels.parquet, inputs/weights.json
writes  runs/<run>/fold<k>/model.weights.h5, history.csv, run.json; runs/<run>/features.npy

First the head on the frozen backbone's features, then fine-tuning from a chosen layer on randomly warped images,
as the plan says. One process trains all pairs of run and fold that are missing; a network is built once per run.
An interrupted fold resumes after its last complete epoch. A fold that fails does not stop the others; the plan's
on_failed_run decides about its run.

    ./run.sh train --plan demo [--run NAME] [--fold K] [--workers N] [--engine local|ray] [--force]
"""

import logging
from argparse import Namespace
from functools import lru_cache, partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from pipeline import cli
from pipeline.errors import Damaged, Elsewhere, TrainingFailed, UserError
from pipeline.execution import deadline, engines, locks
from pipeline.execution.shared_work import SharedWork
from pipeline.labelled import known_galaxies
from pipeline.models import frozen_features, prediction_check, starting_backbone
from pipeline.plans.config import Plan
from pipeline.plans.layers import plan_path
from pipeline.plans.run import Run
from pipeline.store import backbone_graphs, dependencies, sealed_json
from pipeline.store.artifacts import Store
from pipeline.store.records import atomic, save_json

if TYPE_CHECKING:
    from pipeline.nn.fit import Trainer

log = logging.getLogger(__name__)
SMALLEST = 4  # smallest batch before a network counts as too large for the memory


def make_trainer(
    todo: list[dependencies.Unit],
    batch_size: int,
    plan: Plan,
    store: Store,
    data: tuple[np.ndarray, np.ndarray, np.ndarray],
    start: dict[str, Any] | None,
    *,
    fresh: bool,
) -> "Trainer":
    """The network of the run that these units are folds of, ready to be trained in batches of that size.

    `start`: what a run that starts from another output starts from, as records hold it.
    """
    from pipeline.nn import fit, network, runtime

    run, (images, labels, fold_of) = plan.run(todo[0].run), data
    built = network.build(
        run,
        store.schema(),
        stored=plan.crops[run.crop].size,
        size=plan.input_size(run),
        seed=runtime.derived_seed(plan.seed, run.name),
        given=store.given_weights(run),
        sample=images[fold_of >= 0][:64],
        trained_as=run.precision if run.start_from else None,
    )
    if start:
        built.facts.update(start)
    elif run.start_from:
        started = (store.trained(run.start_from, fold) for fold in range(plan.folds))
        first = next(first for first in started if first.facts())
        built.facts["weights"] = first.fact("weights", dict) | {"start_from": run.start_from}
        built.facts.update({key: value for key, value in first.facts().items() if key == "start"})
    weights = 4 * built.facts["params"]
    store.require_space((len(todo) + 4) * weights, f"the networks of run {run.name} and their checkpoint")
    _require_same_start(todo, plan, store, built.facts["weights"])
    frozen = None
    if run.keeps_features:
        frozen = frozen_features.load_or_compute(built, dependencies.features(plan, store, run), images, fresh=fresh)
    run = run.model_copy(update={"batch_size": batch_size})
    return fit.Trainer(built, run, plan.seed, images, labels, frozen, store.training_votes(run.crop), deadline.require)


def train_run(
    todo: list[dependencies.Unit],
    plan: Plan,
    store: Store,
    known: known_galaxies.Known | None,
    shared: SharedWork,
    *,
    fresh: bool,
) -> dict[str, str]:
    """Train these folds of one run, one after the other; {label: why} of those that failed.

    `known`: the galaxies that what runs start from was trained on. `shared`: where folds go that other processes are
    training. `fresh` discards half-trained folds. Out of memory, batches are halved from there on.
    """
    from pipeline.nn import runtime

    run = plan.run(todo[0].run)
    images, labels, fold_of = store.load_training(run.crop)
    data = np.asarray(images), labels, fold_of  # in memory: batches are gathered from all over the array
    stored, size = plan.crops[run.crop].size, plan.input_size(run)
    check = prediction_check.Check(run, store.schema(), stored=stored, size=size)
    starting = starting_backbone.of(run, plan, store)
    facts = {"weights": starting.origin, "start": known.facts()} if starting else None
    trainer = lru_cache(maxsize=1)(lambda size: make_trainer(todo, size, plan, store, data, facts, fresh=fresh))
    failed, batch_size = {}, run.batch_size
    for unit in todo:
        with shared.making(unit.label):
            try:
                start = _start(unit, run, store)
                _, batch_size = runtime.with_halved_batches(
                    lambda size, unit=unit, start=start: train_fold(
                        _begun(trainer(size), starting, unit), unit, fold_of, check, start, fresh=fresh
                    ),
                    batch_size,
                    SMALLEST,
                )
                store.failure(unit.run, unit.fold).unlink(missing_ok=True)
            except TrainingFailed as error:
                locks.release(unit.artifact.lock)
                failed[unit.label] = str(error)
                store.save_failure(unit.run, unit.fold, unit.spec, str(error))
                log.warning("train      %s failed: %s", unit.label, error)
    return failed


def _begun(
    trainer: "Trainer", starting: starting_backbone.StartingBackbone | None, unit: dependencies.Unit
) -> "Trainer":
    """The trainer, at the backbone of this fold where its run starts from another output."""
    if starting:
        starting.put_into(trainer, unit.fold)
    return trainer


def _start(unit: dependencies.Unit, run: Run, store: Store) -> Path | None:
    """Initial weights of a fold whose run starts from another; TrainingFailed where they are missing, or Elsewhere."""
    if run.start_from is None or run.starts_elsewhere:
        return None
    first, label = store.trained(run.start_from, unit.fold), f"runs/{run.start_from}/fold{unit.fold}"
    if (record := first.record()) is None:
        locks.require_free(first.lock)
        raise TrainingFailed(f"it starts from {label}, which is not trained")
    backbone_graphs.require_graph(run.model_copy(update={"name": run.start_from}), record, label, store)
    return first.verified("model.weights.h5")


def train_fold(
    trainer: "Trainer",
    unit: dependencies.Unit,
    fold_of: np.ndarray,
    check: prediction_check.Check,
    start: Path | None = None,
    *,
    fresh: bool,
) -> None:
    """Train one fold and save its weights, history and record; Defect where prediction disagrees with training."""
    from pipeline.nn import checkpoints

    folder = unit.artifact.record_path.parent
    unit.artifact.begin()
    batch_size = trainer.run.batch_size
    half_trained = folder / "half-trained.json"  # key of the checkpoint: one of another plan is discarded
    key = {"spec": unit.spec, "made_from": unit.made_from(), "weights": trainer.network.facts["weights"]}
    key["batch_size"] = batch_size
    if fresh or _checkpoint_key(half_trained) != key or not _can_resume(unit, folder, trainer.run):
        checkpoints.remove(folder)
        save_json(half_trained, sealed_json.sealed(key))
    valid = np.flatnonzero(fold_of == unit.fold)
    train = np.flatnonzero((fold_of >= 0) & (fold_of != unit.fold))
    facts = trainer.fit(train, valid, unit.fold, folder, start)
    with atomic(unit.artifact.files[0]) as path:
        trainer.network.model.save_weights(path)
    facts["prediction_differs_by"] = check(trainer, unit.label, unit.artifact.files[0], valid)
    facts |= {"n_train": len(train), "n_valid": len(valid), "batch_size": batch_size}
    unit.finish(**trainer.network.facts, **facts)
    half_trained.unlink()
    of = " of probabilities" if trainer.network.schema.describes_classes else ""  # their log loss comes with `predict`
    log.info("train      %-24s RMSE%s %.4f  %.0f s", unit.label, of, facts["val_rmse"], facts["train_seconds"])


def _checkpoint_key(path: Path) -> dict | None:
    """Key of the checkpoint; None where it is unknown."""
    try:
        return sealed_json.load(path, "")
    except Damaged:
        return None


def _can_resume(unit: dependencies.Unit, folder: Path, run: Run) -> bool:
    """Whether the checkpoint, if any, its history and its best weights match their checksums."""
    from pipeline.nn import checkpoints

    if wrong := checkpoints.wrong(folder, best=run.fine_tune.patience > 0):
        log.warning("train      %s: %s, the fold starts over", unit.label, wrong)
    return not wrong


def _require_same_start(todo: list[dependencies.Unit], plan: Plan, store: Store, weights: dict) -> None:
    """UserError where folds already trained started from other weights: their scores would not be comparable."""
    todo_folds = {unit.fold for unit in todo}
    for fold in set(range(plan.folds)) - todo_folds:
        record = store.trained(todo[0].run, fold).facts()
        if "weights" in record and record["weights"].get("sha256") != weights.get("sha256"):
            raise UserError(
                f"fold {fold} of run {todo[0].run} started from {record['weights']}, this one would start from "
                f"{weights}: retrain all its folds by {store.command('train', '--run', todo[0].run, '--force')}"
            )


class OneFold:
    """A worker that trains one fold at a time, as the command does with --run and --fold."""

    def __init__(self, flags: list[str]):
        self.flags = flags

    def __call__(self, unit: tuple[str, int]) -> tuple[str, int, str | Elsewhere | None]:
        """(run, fold, why it failed or None). A fold that the deadline ends is neither done nor failed."""
        run, fold = unit
        try:
            main([*self.flags, "--run", run, "--fold", str(fold)])
        except Elsewhere as error:
            return run, fold, error
        except UserError as error:
            log.warning("train      %s fold %d failed: %s", run, fold, error)
            return run, fold, str(error)
        except deadline.TimeIsUp:
            pass
        return run, fold, None


def train_by_workers(
    todo: list[dependencies.Unit], plan: Plan, options: Namespace, shared: SharedWork
) -> dict[str, str]:
    """Train each fold as a task of its own, those that others start from first; {label: why} of those that failed."""
    flags = ["--plan", str(plan_path(options.plan).resolve()), "--output", str(options.output.expanduser().resolve())]
    flags += [f"--until={options.until}"] * (options.until is not None) + ["--force", "--yes"] * options.force
    make_worker = partial(OneFold, flags)
    failed: dict[str, str] = {}
    with tqdm(total=len(todo), desc="train", unit="fold") as bar:
        for _, together in groupby(todo, key=lambda unit: len(plan.lineage(unit.run))):
            group = list(together)
            tasks = [(unit.run, unit.fold) for unit in group]
            workers = min(options.workers, len(tasks))
            for run, fold, why in engines.each(
                make_worker, tasks, engine=options.engine, workers=workers, gpus=plan.gpus
            ):
                bar.update()
                with shared.making(label := f"runs/{run}/fold{fold}"):
                    if isinstance(why, Elsewhere):
                        raise why
                    failed |= {label: why} if why else {}
            if any(not unit.artifact.exists() and unit.label not in failed | shared.left for unit in group):
                raise deadline.TimeIsUp
    return failed


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    parser = cli.parser(__doc__)
    engines.add_flags(parser, "processes, each of which trains one fold at a time")
    request = cli.parse(parser, argv, select=("run", "fold"))
    plan, store, fresh = request.plan, request.store, request.options.force
    todo = request.to_do(dependencies.train(plan, store))
    if plan.on_failed_run == "leave-out" and not fresh:
        todo = [unit for unit in todo if not dependencies.failure(unit, store)]
    failed, shared = {}, SharedWork("train")
    known = known_galaxies.of_plan(plan, store) if todo else None
    if known:
        known_galaxies.require_unseen(known, store.load_folds(), store)
    if engines.in_this_process(request.options):
        for _, of_run in groupby(todo, key=lambda unit: unit.run):
            failed |= train_run(list(of_run), plan, store, known, shared, fresh=fresh)
    else:
        failed = train_by_workers(sorted(todo, key=lambda u: len(plan.lineage(u.run))), plan, request.options, shared)
    shared.tell(todo)
    if failed and plan.on_failed_run == "stop":
        label, why = next(iter(failed.items()))
        raise UserError(
            f"{len(failed)} of {len(todo)} folds failed: {label}: {why}. The others are done and kept: change that "
            f'run, or put on_failed_run = "leave-out" into the plan to continue without it'
        )
