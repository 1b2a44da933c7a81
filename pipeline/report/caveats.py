"""Caveats: what a reader of the report should know before trusting its numbers, a sentence each."""

from collections.abc import Iterator

import numpy as np

from pipeline.competition import duplicates
from pipeline.core import stats
from pipeline.plans.config import Plan
from pipeline.report import chance
from pipeline.report.leaderboard import Entry, Leaderboard
from pipeline.store import dependencies, network_caveats, superseded
from pipeline.store.artifacts import Store

SOURCES = {"imagenet": "ImageNet", "file": "a given file", "random": "random, as the plan asks"}
OUTLIER_SIGMA = 3.0  # standard errors between a fold's mean squared error and that of the others
MIN_DIFFERENCE = 0.02  # of the RMSE: smaller differences are ignored even if significant


def collect(plan: Plan, store: Store, board: Leaderboard) -> list[str]:
    """All caveats, the gravest first."""
    records = trained_records(plan, store)
    return [
        *network_caveats.random_weights(records),
        *below_vote_noise(board),
        *weights_that_may_know_the_galaxies(plan, store),
        *network_caveats.part_of_the_galaxies(store),
        *not_there_yet(plan),
        *runs_left_out(plan),
        *duplicates.caveats(store.inputs().required()),
        *map(network_caveats.as_sentence, store.inputs().required().get("left_out", [])),
        *synthetic_galaxies(plan, store),
        *unusable_images(plan, store),
        *chosen_galaxies(store, board),
        *superseded.sentences(plan, store),
        *outlier_folds(board),
        *not_above_baseline(board),
        *ensemble_without_gain(plan, board),
        *network_caveats.seen_by_what_they_start_from(records),
        *network_caveats.uncommitted_code(records),
    ]


def chosen_galaxies(store: Store, board: Leaderboard) -> Iterator[str]:
    """Labels that people gave of galaxies which the page of `label` chose."""
    if best := board.best("ensemble") or board.best("run"):
        yield from chance.caveats(store, board.schema, best.name, board.ids, best.errors)


def trained_records(plan: Plan, store: Store) -> network_caveats.Records:
    """The records of all trained networks of a plan."""
    return network_caveats.trained_records(store, dict.fromkeys((run.name for run in plan.runs), plan.folds))


def weights_that_may_know_the_galaxies(plan: Plan, store: Store) -> Iterator[str]:
    """Runs whose first weights may know the votes for observed galaxies."""
    if not dependencies.uses_synthetic_galaxies(plan, store):
        yield from network_caveats.weights_that_may_know_the_galaxies(trained_records(plan, store))


def below_vote_noise(board: Leaderboard) -> Iterator[str]:
    """Scores below the vote noise, which only leaked labels can explain."""
    for entry in board.entries:
        if entry.interval[1] < entry.noise:
            yield (
                f"{entry.name} scores {entry.score:.4f}, below the {entry.noise:.4f} that the noise of the votes "
                f"leaves even to perfect predictions: labels have leaked into training."
            )


def not_there_yet(plan: Plan) -> Iterator[str]:
    """What of the plan is missing."""
    if plan.missing:
        yield f"This is a report of a part of the plan. What is missing: {', '.join(plan.missing)}."


def runs_left_out(plan: Plan) -> Iterator[str]:
    """Runs that could not be trained."""
    for run, why in plan.left_out.items():
        yield f"{run} is left out, also of the ensembles: its training failed ({why})."


def weight_sources(plan: Plan, store: Store) -> dict[str, tuple[str, bool]]:
    """Run -> where its first weights came from, for people, and whether that is not what the plan asks for."""
    records = trained_records(plan, store)
    unwanted = network_caveats.unwanted_random(records)
    return {
        run: (({"random": "RANDOM"} if run in unwanted else SOURCES).get(source, source), run in unwanted)
        for run, source in network_caveats.weight_sources(records).items()
    }


def synthetic_galaxies(plan: Plan, store: Store) -> Iterator[str]:
    """Scores on synthetic galaxies."""
    if dependencies.uses_synthetic_galaxies(plan, store):
        yield (
            "The galaxies are synthetic, not observed: the scores compare models with each other, not "
            "with the competition's leaderboard."
        )


def unusable_images(plan: Plan, store: Store) -> Iterator[str]:
    """Images that could not be used."""
    for split in dependencies.SPLITS:
        ids = sorted({galaxy for crop in plan.crops for galaxy in store.set_aside(crop, split)})
        if ids:
            such = ", ".join(map(str, ids[:3])) + (", …" if len(ids) > 3 else "")
            images = f"{len(ids):,} {split} image" + ("s" if len(ids) > 1 else "")
            yield f"{images} could not be used and got the mean answer (GalaxyID {such})."


def outlier_folds(board: Leaderboard) -> Iterator[str]:
    """Folds of a run whose score differs significantly from its other folds."""
    for entry in board.of_kind("run"):
        for fold in np.unique(board.fold_of):
            own, others = entry.errors[board.fold_of == fold], entry.errors[board.fold_of != fold]
            ratio = entry.decides.of(own / others.mean()) if others.mean() > 0 else 1.0
            spread = np.sqrt(own.var() / len(own) + others.var() / len(others))
            if abs(own.mean() - others.mean()) > OUTLIER_SIGMA * spread and abs(ratio - 1) > MIN_DIFFERENCE:
                than = "worse" if ratio > 1 else "better"
                yield f"Fold {fold} of {entry.name} scores {abs(ratio - 1):.0%} {than} than its other folds."


def not_above_baseline(board: Leaderboard) -> Iterator[str]:
    """Ensembles and networks that do not beat the best baseline."""
    baseline = board.best("baseline")
    for entry in (*board.of_kind("ensemble"), *board.of_kind("run")):
        if not baseline or (told := _verdict(entry, baseline)) == "better":
            continue
        if told == "worse" or entry.score >= baseline.score:
            yield f"{entry.name} does not beat the baseline {baseline.name}."
        else:
            yield (
                f"{entry.name} does not beat the baseline {baseline.name} for certain: the interval of their "
                f"difference includes 0."
            )


def ensemble_without_gain(plan: Plan, board: Leaderboard) -> Iterator[str]:
    """A best ensemble of several runs that is not significantly better than the best run."""
    blends = {ensemble.name for ensemble in plan.ensembles if len(ensemble.runs) > 1}
    best = next((entry for entry in board.of_kind("ensemble") if entry.name in blends), None)
    run = board.best("run")
    if not best or not run or (verdict := _verdict(best, run)) == "better":
        return
    how = "worse" if verdict == "worse" else "not significantly better"
    yield f"The best ensemble, {best.name}, is {how} than the run {run.name} alone."


def _verdict(entry: Entry, other: Entry) -> str:
    _, low, high = stats.paired_difference(entry.errors, other.errors, finish=entry.decides.finish)
    return stats.verdict(low, high)
