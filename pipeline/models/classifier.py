"""A finished ensemble as a function of images: its networks, crops and weights, found from its folder alone."""

import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.core import blend, conformal, tree, views
from pipeline.core.labels import Schema
from pipeline.errors import Damaged, UserError
from pipeline.models.predictor import Predictor, Progress, no_progress
from pipeline.plans.crops import Crop
from pipeline.plans.run import Run
from pipeline.store import backbone_graphs, calibration, network_caveats
from pipeline.store.artifacts import Store
from pipeline.store.records import Artifact

log = logging.getLogger(__name__)
MAX_LISTED = 8  # ensembles that a message lists
BELOW = {  # how many folders up -> where ensembles are looked for below that one
    0: ("ensembles/*", "*/ensembles/*"),
    1: ("*", "ensembles/*", "*/ensembles/*"),
    2: ("*", "ensembles/*"),
    3: ("*/ensembles/*",),
}


class Member(NamedTuple):
    """One run of the ensemble."""

    run: Run
    crop: Crop
    folds: tuple[Path, ...]  # weights of each fold's network
    precision: str
    schema: Schema
    random: bool  # whether it started from random weights

    def predictor(self) -> Predictor:
        """A network of the run, to be loaded with the weights of a fold."""
        size = self.run.input_size or self.crop.size
        return Predictor(self.run, self.schema, stored=self.crop.size, size=size, precision=self.precision)


class Answers(NamedTuple):
    """Predictions of the ensemble for n galaxies."""

    joint: np.ndarray  # float32 (n, c) vote fractions, every sum of the tree holding
    spread: np.ndarray  # float32 (n, c) their standard deviation over runs, folds and views
    between_runs: np.ndarray  # float32 (n, c) variance between the runs of one fold, the mean over folds
    between_folds: np.ndarray  # float32 (n, c) variance between the blends of one fold each
    features: np.ndarray  # float32 (n, d) of `Classifier.compares`, its network of fold 0, of the images as they are


class SeenByFolds(NamedTuple):
    """What the networks of a run's folds say of n galaxies."""

    mean: np.ndarray  # float32 (n, c) over folds and views
    square: np.ndarray  # float64 (n, c) mean of the squares over folds and views
    by_fold: list[np.ndarray]  # float32 (n, c) each: the mean over the views of a fold
    features: np.ndarray  # float32 (n, d) of fold 0, of the images as they are


def view_set_of(requested: str | None) -> str | None:
    """The name of the view set; UserError where it is unknown."""
    try:
        return None if requested is None else views.view_set_name(requested)
    except ValueError as error:
        raise UserError(f"--views: {error}") from None


class Classifier:
    """The ensemble at OUTPUT/PLAN/ensembles/NAME; UserError where it is missing, incomplete or damaged.

    `view_set` replaces each run's own views, `only` selects a single run. Networks are built at
    the first call of `answer`.
    """

    def __init__(self, folder: Path, view_set: str | None = None, only: str | None = None):
        folder = folder.expanduser().resolve()
        self.folder, self.store = folder, Store(folder.parent.parent)
        ensemble = self.store.ensemble(folder.name)
        if not ensemble.exists():
            raise UserError(f"expected an ensemble such as OUTPUT/PLAN/ensembles/NAME, not {folder}: {_listed(folder)}")
        made_from = verified_record(ensemble, f"an ensemble such as {folder}")["made_from"]
        self.schema = self.store.schema()
        self.digest, blended = ensemble.digest(), ensemble.fact("weights", dict)
        weights = blended if only is None else {only: 1.0}
        if unknown := set(weights) - set(blended):
            raise UserError(f"--run {unknown.pop()}: {folder} is made of {', '.join(blended)}")
        calibration.require_networks(self.store, folder.name, weights)
        folds = {name: sum(source.startswith(f"{name}/fold") for source in made_from) for name in weights}
        self.members = [trained_member(self.store, self.schema, name, folds[name], view_set) for name in weights]
        # whose features tell how alike galaxies are: the first, but for one that has seen these galaxies alone
        self.compares = next((i for i, member in enumerate(self.members) if not member.random), 0)
        self.weights = np.array(list(weights.values()))
        self.crops = list(dict.fromkeys(member.crop for member in self.members))
        self.caveats = network_caveats.of_ensemble(self.store, folder.name, folds)
        self._predictors: dict[str, Predictor] = {}

    @property
    def name(self) -> str:
        """PLAN/ensembles/NAME."""
        return "/".join(self.folder.parts[-3:])

    def log_caveats(self, stage: str) -> None:
        """Say in the log what to know before its answers are used."""
        for sentence in self.caveats:
            log.warning("%-10s CAVEAT: %s", stage, sentence)

    def answer(self, images: dict[Crop, np.ndarray]) -> Answers:
        """Answers for the same n galaxies as uint8 (n, size, size, 3) at each of `crops`."""
        seen = [self._of_member(member, images[member.crop]) for member in self.members]
        means, squares, by_fold = zip(*((one.mean, one.square, one.by_fold) for one in seen), strict=True)
        stack, share = np.stack(means), _per_run(self.weights)
        variance = np.tensordot(share, squares, 1) - np.tensordot(share, stack, 1) ** 2
        spread = np.sqrt(np.maximum(variance, 0))
        joint = tree.project(self.schema, blend.mix(self.schema, stack, self.weights))
        of_folds = [np.stack(runs) for runs in zip(*by_fold, strict=True)]
        between_runs = np.mean([conformal.run_variance(runs, share) for runs in of_folds], axis=0)
        between_folds = np.var([blend.mix(self.schema, runs, self.weights) for runs in of_folds], axis=0)
        parts = (joint, spread, between_runs, between_folds, seen[self.compares].features)
        return Answers(*(part.astype(np.float32) for part in parts))

    def features(self, images: np.ndarray, progress: Progress = no_progress) -> np.ndarray:
        """`Answers.features` of crops uint8 (n, size, size, 3) of `compares`, without their answers."""
        member = self.members[self.compares]
        predictor = self._predictor(member)
        predictor.load(member.folds[0], keep=True)
        return predictor.features_unturned(images, progress)

    def set_precision(self, precision: str) -> None:
        """Let all networks compute in this precision instead of that of training; call before the first answer."""
        self.members = [member._replace(precision=precision) for member in self.members]

    def _of_member(self, member: Member, images: np.ndarray) -> SeenByFolds:
        """What the networks of a run's folds say, and the features of fold 0."""
        predictor, seen = self._predictor(member), []
        for weights in member.folds:
            predictor.load(weights, keep=True)
            seen.append(predictor.see(images, seen[0] if seen else None))
        means = [one.mean for one in seen]
        total = sum(mean.astype(np.float64) for mean in means)
        square = sum(one.square for one in seen) / len(seen)
        return SeenByFolds((total / len(seen)).astype(np.float32), square, means, seen[0].features)

    def _predictor(self, member: Member) -> Predictor:
        if member.run.name not in self._predictors:
            self._predictors[member.run.name] = member.predictor()
        return self._predictors[member.run.name]


def _listed(folder: Path) -> str:
    """The ensembles at, above or below a folder, nearest first, as a phrase."""
    places = [folder, *folder.parents][: len(BELOW)]
    found = [e for i, place in enumerate(places) for where in BELOW[i] for e in place.glob(f"{where}/ensemble.json")]
    there = dict.fromkeys(str(record.parent) for record in found if record.parent.parent.name == "ensembles")
    return f"those that exist: {', '.join(list(there)[:MAX_LISTED])}" if there else "there is none near it"


def _per_run(weights: np.ndarray) -> np.ndarray:
    """(runs,) from (runs,) or (runs, q)."""
    return weights if weights.ndim == 1 else weights.mean(axis=1)


def trained_member(store: Store, schema: Schema, name: str, folds: int, view_set: str | None) -> Member:
    """A run of an ensemble, by the records of its folds."""
    trained = [store.trained(name, fold) for fold in range(folds)]
    for fold, artifact in enumerate(trained):
        verified_record(artifact, f"fold {fold} of {name}")
    if not trained:
        raise UserError(f"{store.root / 'runs' / name} holds no trained network that the ensemble was made of")
    spec = {key: value for key, value in trained[0].fact("spec", dict).items() if key in Run.model_fields}
    run = Run.model_validate(spec)
    for fold, artifact in enumerate(trained):
        backbone_graphs.require_graph(run, artifact.required(), f"fold {fold} of {name}", store)
    if view_set is None:  # which training does not depend on
        view_set = store.predicted(name, 0).fact("spec", dict).get("views", "dihedral8")
    run = run.model_copy(update={"views": view_set})
    crop = store.crops(run.crop, "train").fact("spec", dict)
    size = Crop.model_validate({key: crop[key] for key in Crop.model_fields if key in crop})
    paths = tuple(artifact.verified("model.weights.h5") for artifact in trained)
    random = trained[0].facts().get("weights", {}).get("source") == "random"
    return Member(run, size, paths, trained[0].fact("precision", str), schema, random)


def verified_record(artifact: Artifact, what: str) -> dict[str, Any]:
    """The record of an artifact whose files match it; UserError otherwise."""
    if artifact.record() is None:
        raise UserError(f"expected {what}, and {artifact.record_path} is missing")
    try:
        artifact.verify()
    except Damaged as error:
        raise Damaged(f"{what} cannot be used: {error}") from None
    return artifact.required()
