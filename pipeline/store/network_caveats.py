"""Caveats that trained networks bring along wherever they are used, from what was made with them; a sentence each."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core import metrics, stats
from pipeline.errors import UserError
from pipeline.store import calibration
from pipeline.store.artifacts import Store
from pipeline.store.fractions import aligned_to, load_fractions
from pipeline.store.records import Artifact

Records = Mapping[str, list[dict[str, Any]]]  # run -> the records of its trained folds
KERAS_SUFFIXES = (".h5", ".hdf5")  # of files that Keras wrote; Zoobot's are PyTorch's


def trained_records(store: Store, folds: Mapping[str, int]) -> Records:
    """The records of the first so many folds of each run; UserError where one is missing."""
    return {run: [store.trained(run, fold).required() for fold in range(count)] for run, count in folds.items()}


def of_ensemble(store: Store, name: str, folds: Mapping[str, int]) -> list[str]:
    """What to know before the answers of an ensemble, or of some of its runs, are used; the gravest first."""
    records = trained_records(store, folds)
    synthetic = is_synthetic(store)
    drawn = "Trained on synthetic galaxies, not on observed ones: do not trust its answers for observed galaxies."
    return [
        *([drawn] if synthetic else []),
        *part_of_the_galaxies(store),
        *random_weights(records),
        *not_above_baseline(store, name),
        *([] if synthetic else weights_that_may_know_the_galaxies(records)),
        *seen_by_what_they_start_from(records),
        *uncommitted_code(records),
        *networks_of_which_nothing_is_known(store, name, folds),
    ]


def part_of_the_galaxies(store: Store) -> Iterator[str]:
    """A quick try on a part of the galaxies, by the plan's `galaxies`."""
    facts = store.inputs().facts()
    if "galaxies" in facts.get("spec", {}):
        train, test = (f"{facts[f'n_{split}']:,} of {facts['of'][split]:,}" for split in ("train", "test"))
        yield (
            f"A quick try, by galaxies = {facts['spec']['galaxies']:g} in the plan: {train} training galaxies, and "
            f"{test} to predict."
        )


def is_synthetic(store: Store) -> bool:
    """Whether the networks were trained on the plan's own sky, as stage 0 recorded it."""
    return store.inputs().facts().get("folder") == store.sky().record_path.parent.name


def weight_sources(records: Records) -> dict[str, str]:
    """Run -> where its first weights came from: imagenet, file or random; more than one where folds differ."""
    return {
        run: ", ".join(sorted({record.get("weights", {}).get("source", "not recorded") for record in of_folds}))
        for run, of_folds in records.items()
    }


def random_weights(records: Records) -> Iterator[str]:
    """Runs that started from random weights though their plan asks for pretrained ones."""
    if names := unwanted_random(records):
        yield (
            f"Started from RANDOM weights, not from pretrained ones: {', '.join(names)}. With ImageNet weights "
            f"such networks are usually far more accurate."
        )


def unwanted_random(records: Records) -> list[str]:
    """The runs, some of whose folds started from random weights though the plan asks for others."""
    meant = {run for run, of_folds in records.items() if all(is_as_planned(record) for record in of_folds)}
    return [run for run, source in weight_sources(records).items() if "random" in source and run not in meant]


def is_as_planned(record: dict[str, Any]) -> bool:
    """Whether random weights were asked for: by the plan of a fold, or by that of the run that it starts from."""
    return record["spec"].get("first_weights") == "random" or record.get("weights", {}).get("as_planned", False)


def weights_that_may_know_the_galaxies(records: Records) -> Iterator[str]:
    """ConvNeXts from a file that is not Keras's: Zoobot's encoders were trained on votes for these very galaxies."""
    names = []
    for run, of_folds in records.items():
        files = [Path(path) for record in of_folds if (path := record.get("weights", {}).get("path"))]
        convnext = any(record["spec"].get("backbone", "").startswith("convnext") for record in of_folds)
        if convnext and any(file.suffix.lower() not in KERAS_SUFFIXES for file in files):
            names.append(run)
    if names:
        yield (
            f"Started from a given ConvNeXt file: {', '.join(names)}. If it is an encoder of Zoobot, it was trained on "
            f"votes for these very galaxies: its score is not one of this competition and says nothing of new galaxies."
        )


def seen_by_what_they_start_from(records: Records) -> Iterator[str]:
    """What could not be told of the galaxies that runs of another output, which these start from, were trained on."""
    starts = [record["start"] for of_folds in records.values() for record in of_folds if "start" in record]
    for sentence in dict.fromkeys(sentence for start in starts for sentence in start["untold"]):
        yield as_sentence(sentence)


def as_sentence(text: str) -> str:
    """With a capital, unless it begins with a path or a number, and a full stop."""
    capital = text[:1].upper() if text.partition(" ")[0].isalpha() else text[:1]
    return f"{capital}{text[1:]}."


def networks_of_which_nothing_is_known(store: Store, name: str, folds: Mapping[str, int]) -> Iterator[str]:
    """Networks whose predictions are gone, by which the ensemble knows them."""
    if untold := [fact for fact in calibration.untold(store, name) if fact.rpartition("/")[0] in folds]:
        such = ", ".join(untold[:3]) + (", …" if len(untold) > 3 else "")
        yield (
            f"The predictions that it was made of are gone ({such}): "
            f"whether these are still the networks that it was scored by cannot be told."
        )


def not_above_baseline(store: Store, name: str) -> Iterator[str]:
    """An ensemble no better, or not for certain, than the best baseline on the same galaxies and folds."""
    decides = metrics.deciding(store.schema())
    score = store.ensemble(name).facts().get(decides.name)
    now = {"inputs": store.inputs().facts().get("digest"), "folds": store.folds().facts().get("digest")}
    scores = {
        baseline: facts[decides.name]
        for baseline in store.baselines()
        if decides.name in (facts := store.baseline(baseline).facts()) and now.items() <= facts["made_from"].items()
    }
    if score is None or not scores:
        return
    best = min(scores, key=scores.get)
    compared = f"{scores[best]:.4f} of the baseline {best}"
    if score >= scores[best]:
        yield f"The ensemble's out-of-fold {decides.title} is {score:.4f}, no better than {compared}."
        return
    try:
        surely = _surely_better(store, store.ensemble(name), store.baseline(best))
        why = "the interval of their difference includes 0"
    except UserError as error:  # answers are given all the same
        surely, why = False, f"they cannot be compared ({error})"
    if not surely:
        compared = f"not for certain better than {compared}: {why}"
        yield f"The ensemble's out-of-fold {decides.title} is {score:.4f}, {compared}."


def _surely_better(store: Store, one: Artifact, other: Artifact) -> bool:
    """Whether the paired interval of the difference of two out-of-fold scores leaves out 0."""
    schema, labels = store.schema(), store.load_labels()
    decides, truth = metrics.deciding(schema), labels.to_numpy(np.float64)
    frames = (load_fractions(made.verified("oof.parquet"), schema) for made in (one, other))
    predicted = (aligned_to(frame, labels.index, "out-of-fold predictions").to_numpy() for frame in frames)
    errors = np.stack([decides.per_galaxy(schema, truth, made) for made in predicted])
    errors = errors[:, np.isfinite(errors).all(axis=0)]  # not of galaxies without an answer
    return stats.verdict(*stats.paired_difference(*errors, finish=decides.finish)[1:]) == "better"


def uncommitted_code(records: Records) -> Iterator[str]:
    """Networks that were trained by uncommitted code."""
    if any(r.get("made", {}).get("code", "").endswith("+") for of_folds in records.values() for r in of_folds):
        yield "Some networks were trained by code with uncommitted changes (a + after the commit)."
