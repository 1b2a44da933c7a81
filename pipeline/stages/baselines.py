"""Stage 3 of 9: baselines, scored out of fold on the same folds as the networks.

reads   crops/<crop>/train.npy, folds.csv, inputs/labels.parquet
writes  baselines/<name>/oof.parquet, baseline.json

"mean" predicts the mean of the other folds for every galaxy. "central-pixel" is the idea of the competition's own
benchmark: the mean of galaxies with a similar central colour. "ridge", "random-forest" and "svm" use the
hand-made features of core.morphology, as was usual before convolutional networks. Images set aside are
excluded from fitting and get the mean. No model is fitted on the fold that it predicts.

    ./run.sh baselines --plan demo [--run NAME] [--force]
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from tqdm import tqdm

from pipeline import cli
from pipeline.core import metrics, morphology, tree
from pipeline.core.labels import Schema
from pipeline.core.metrics import filled
from pipeline.execution.shared_work import SharedWork
from pipeline.plans.config import Plan
from pipeline.plans.crops import IMAGE_SIDE
from pipeline.store import dependencies
from pipeline.store.artifacts import Store
from pipeline.store.fractions import aligned_to, fractions_frame, save_fractions

log = logging.getLogger(__name__)
CENTRE = 10  # pixels of the competition's image on each side of the central patch
LEAST_PROBABILITY = 0.01  # of a class
CHUNK = 512  # images per task

Model = Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]  # (x, y, x to predict, seed) -> answers


def mean_answer(x: np.ndarray, y: np.ndarray, x_new: np.ndarray, seed: int) -> np.ndarray:
    """The mean of the answers y (n, c) for each row of x_new (m, d): (m, c)."""
    return np.tile(y.mean(axis=0), (len(x_new), 1))


def similar_centres(x: np.ndarray, y: np.ndarray, x_new: np.ndarray, seed: int) -> np.ndarray:
    """The mean answer of the sqrt(n) galaxies whose central colour (n, 3) is nearest: (m, c)."""
    from sklearn.neighbors import KNeighborsRegressor

    return KNeighborsRegressor(max(1, round(len(x) ** 0.5))).fit(x, y).predict(x_new)


def ridge(x: np.ndarray, y: np.ndarray, x_new: np.ndarray, seed: int) -> np.ndarray:
    """Ridge regression on features (n, d), their squares and products; the penalty is chosen by leave-one-out."""
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    products = PolynomialFeatures(2, include_bias=False)
    model = make_pipeline(*_standardise(), products, StandardScaler(), RidgeCV(np.logspace(1, 4, 7)))
    return model.fit(x, y).predict(x_new)


def random_forest(x: np.ndarray, y: np.ndarray, x_new: np.ndarray, seed: int) -> np.ndarray:
    """200 trees on all answers at once, leaves of at least 5 galaxies (Breiman 2001, Mach. Learn. 45, 5)."""
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(200, min_samples_leaf=5, max_features=1 / 3, n_jobs=-1, random_state=seed)
    return forest.fit(x, y).predict(x_new)


def svm(x: np.ndarray, y: np.ndarray, x_new: np.ndarray, seed: int) -> np.ndarray:
    """One support vector regression per answer, with a Gaussian kernel in Nystroem's approximation.

    An exact kernel machine takes time with the square of the number of galaxies, for each answer of each fold. So 200
    galaxies stand for the kernel (Williams & Seeger 2001, NIPS 13, 682), and on these the machine is linear; its loss
    is the squared epsilon-insensitive one, since the score is a squared error. On 1,500 galaxies it scores better than
    the exact machine with the plain loss.
    """
    from joblib import parallel_config
    from sklearn.kernel_approximation import Nystroem
    from sklearn.multioutput import MultiOutputRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVR

    kernel = Nystroem(gamma=0.7 / x.shape[1], n_components=min(200, len(x)), random_state=seed)
    loss = "squared_epsilon_insensitive"
    machine = LinearSVR(loss=loss, epsilon=0.02, C=1.0, dual=False, tol=1e-3, max_iter=300, random_state=seed)
    model = make_pipeline(*_standardise(), kernel, MultiOutputRegressor(machine, n_jobs=-1))
    with parallel_config(backend="threading"):  # LinearSVR lets other threads run; processes would copy the features
        return model.fit(x, y).predict(x_new)


def _standardise() -> tuple:
    """Mean 0, standard deviation 1, and no value beyond 4 of these: ratios of small numbers have long tails."""
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    return StandardScaler(), FunctionTransformer(partial(np.clip, a_min=-4, a_max=4))


MODELS: dict[str, tuple[str, Model]] = {  # name -> (its input, a key of INPUTS; its model)
    "mean": ("nothing", mean_answer),
    "central-pixel": ("centres", similar_centres),
    "ridge": ("features", ridge),
    "random-forest": ("features", random_forest),
    "svm": ("features", svm),
}


@dataclass(frozen=True)
class Galaxies:
    """The training galaxies."""

    images: np.ndarray  # (n, s, s, 3) uint8
    ids: np.ndarray  # (n,)
    answers: np.ndarray  # (n, c)
    fold: np.ndarray  # (n,)
    usable: np.ndarray  # (n,) bool: not set aside
    centre: int  # pixels on each side of the central patch
    schema: Schema
    _inputs: dict[str, tuple[np.ndarray, float]] = field(default_factory=dict)

    def model_input(self, input_name: str) -> tuple[np.ndarray, float]:
        """The input (n, d) of a model, by its key of `INPUTS`, and the seconds it took to compute."""
        if input_name not in self._inputs:
            started = time.monotonic()
            array = INPUTS[input_name](self)
            self._inputs[input_name] = array, time.monotonic() - started
        return self._inputs[input_name]

    def features(self) -> np.ndarray:
        """Hand-made features (n, f)."""
        pieces = [self.images[start : start + CHUNK] for start in range(0, len(self.images), CHUNK)]
        with ThreadPoolExecutor() as pool:  # numpy lets other threads run
            measured = pool.map(morphology.measure, pieces)
            bar = tqdm(measured, total=len(pieces), desc="features", unit="chunk", leave=False)
            return np.concatenate(list(bar))


INPUTS: dict[str, Callable[[Galaxies], np.ndarray]] = {
    "nothing": lambda galaxies: np.empty((len(galaxies.ids), 0)),
    "centres": lambda galaxies: morphology.centre_colour(galaxies.images, galaxies.centre),
    "features": Galaxies.features,
}


def load(plan: Plan, store: Store) -> Galaxies:
    """The training galaxies and folds of the baselines of a plan."""
    name = plan.crop_of_baselines()
    crop = plan.crops[name]
    images, ids = store.load_crops(name, "train")
    answers = aligned_to(store.load_labels(), ids, f"crops/{name}/train").to_numpy(np.float64)
    fold = store.load_folds().loc[ids].to_numpy()
    aside = store.set_aside(name, "train")
    centre = max(1, round(CENTRE * crop.size / crop.pixels(IMAGE_SIDE)))
    centre += (crop.size - centre) % 2  # the patch lies in the middle
    return Galaxies(images, ids, answers, fold, ~np.isin(ids, aside), centre, store.schema())


def out_of_fold(galaxies: Galaxies, features: np.ndarray, model: Model, seed: int) -> np.ndarray:
    """Answers (n, c) in [0, 1] from features (n, d): each fold's from a model of the other folds' usable galaxies."""
    predicted = np.empty_like(galaxies.answers)
    for fold in np.unique(galaxies.fold):
        own, others = galaxies.fold == fold, (galaxies.fold != fold) & galaxies.usable
        known = filled(galaxies.answers[others])
        predicted[own] = known.mean(axis=0)
        rows = own & galaxies.usable
        predicted[rows] = model(features[others], known, features[rows], seed)
    return as_answers(galaxies.schema, predicted)


def as_answers(schema: Schema, predicted: np.ndarray) -> np.ndarray:
    """What a regression predicts (n, c) as answers: in [0, 1], of classes as probabilities."""
    made = np.clip(predicted, 0, 1)
    if schema.describes_classes:  # none of them so sure of itself that one error decides
        made = tree.normalise(schema, np.maximum(made, LEAST_PROBABILITY))
    return made


def build(unit: dependencies.Unit, galaxies: Galaxies, seed: int) -> float:
    """Save one baseline's out-of-fold predictions; returns their score."""
    input_name, model = MODELS[unit.run]
    features, measuring = galaxies.model_input(input_name)
    started = time.monotonic()
    predicted = out_of_fold(galaxies, features, model, seed)
    decides, seconds = metrics.deciding(galaxies.schema), measuring + time.monotonic() - started
    score = decides.of(decides.per_galaxy(galaxies.schema, galaxies.answers, predicted))
    unit.artifact.begin()
    frame = fractions_frame(galaxies.ids, predicted, galaxies.schema)
    save_fractions(unit.artifact.files[0], frame, galaxies.schema)
    unit.finish(**{decides.name: score}, seconds=seconds, params=None)
    log.info("%-10s %-24s %s %.4f  %.1f s", "baselines", unit.run, decides.title, score, seconds)
    return score


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    request = cli.parse(cli.parser(__doc__), argv, select=("run",), of="baseline")
    todo = request.to_do(dependencies.baselines(request.plan, request.store))
    if todo:
        galaxies, shared = load(request.plan, request.store), SharedWork("baselines")
        for unit in todo:
            with shared.making(unit.label):
                build(unit, galaxies, request.plan.seed)
        shared.tell(todo)
