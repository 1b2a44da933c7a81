"""Stage 6 of 9: activations, Grad-CAM and feature maps of the networks.

reads   runs/<run>/fold0/model.weights.h5, crops/<crop>/train.npy, folds.csv, inputs/labels.parquet
writes  runs/<run>/insight.npz:
        ids (k,)                     representative galaxies
        seen uint8 (k, s, s, 3)      input of the network; predicted float32 (k, c)
        level_names (3,), level_0 … level_2 float16 (k, side, side, 8): activations of an early, a middle and a late
                                     layer, the channels that differ most between galaxies, each between 0 and 1
        cam_answers (k, 3), cam float16 (k, 3, side, side): up to three leading answers and their Grad-CAM
        feature_ids (n,), features float32 (n, d), map float32 (n, 2): pooled features of up to 3,000 galaxies, their
                                     leading 64 principal components, and a 2-D embedding (t-SNE)

All galaxies were held out of the network shown, that of fold 0. The report, which needs no Keras, draws from this.

    ./run.sh insight --plan demo [--run NAME] [--force]
"""

import logging
import time

import numpy as np
from tqdm import tqdm

from pipeline import cli
from pipeline.core import classes, tree, views
from pipeline.core.labels import Schema
from pipeline.errors import UserError
from pipeline.execution.shared_work import SharedWork
from pipeline.plans.config import Plan
from pipeline.store import dependencies
from pipeline.store.artifacts import Store
from pipeline.store.records import atomic

log = logging.getLogger(__name__)
MAX_GALAXIES, COMPONENTS, CHANNELS, PERPLEXITY, STEPS, SEED = 3000, 64, 8, 30, 500, 0
MIN_GALAXIES = 5  # for t-SNE
RELATIVE_NOISE = 1e-6  # of the largest feature: a smaller deviation is a rounding error


def held_out(store: Store, crop: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rows of the crops (n,), ids (n,), votes (n, c)) of the galaxies of fold 0 whose image could be used."""
    _, ids = store.load_crops(crop, "train")
    aside = store.set_aside(crop, "train")
    rows = np.flatnonzero((store.load_folds().loc[ids].to_numpy() == 0) & ~np.isin(ids, aside))
    return rows, ids[rows], store.load_labels().loc[ids[rows]].to_numpy()


def representative_galaxies(schema: Schema, votes: np.ndarray) -> np.ndarray:
    """Rows of votes (n, c): the clearest galaxy of each class, and of the second question that all are asked.

    The last is another one, that most would give its first answer: in Galaxy Zoo 2 the oddest. Without such a question
    it is the one whose class is least clear.
    """
    known = np.nan_to_num(votes, nan=-1)
    kinds = [
        np.where(classes.true_class(schema, votes) == i, known[:, column], -1)
        for i, column in enumerate(schema.class_columns)
    ]
    chosen = [int(kind.argmax()) for kind in kinds if kind.max() >= 0]
    others = [part.start for part, above in zip(schema.slices[1:], schema.parents[1:], strict=True) if not above]
    other = known[:, others[0]].copy() if others else -known[:, schema.class_columns].max(axis=1)
    other[chosen] = -2
    return np.array([*chosen, int(other.argmax())])


def most_varied(maps: np.ndarray) -> np.ndarray:
    """The 8 channels of maps (k, h, w, c) that differ most between galaxies, each scaled to [0, 1]: float16.

    By how much they differ times its share in all variance: a strong channel may well show the same in every galaxy,
    such as the frame that padding draws.
    """
    between, whole = maps.var(axis=0).mean(axis=(0, 1)), maps.var(axis=(0, 1, 2))
    channels = np.argsort(-(between**2) / np.maximum(whole, 1e-12), kind="stable")[:CHANNELS]
    chosen = maps[..., channels]
    low, high = chosen.min(axis=(0, 1, 2)), chosen.max(axis=(0, 1, 2))
    return ((chosen - low) / np.maximum(high - low, 1e-12)).astype(np.float16)


def embed(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(leading principal components float32 (n, up to 64), map float32 (n, 2)) of finite features (n, d).

    Where fewer than five galaxies, or features that do not differ, make t-SNE meaningless, the map is that of the
    first two components.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    nowhere = np.zeros((len(features), 2), np.float32)
    if len(features) < 2:
        return nowhere, nowhere
    deviation = features.std(axis=0, dtype=np.float64)
    if deviation.max() <= RELATIVE_NOISE * np.abs(features).max() + 1e-12:
        return nowhere, nowhere
    standard = (features - features.mean(axis=0, dtype=np.float64)) / np.maximum(deviation, 1e-3 * deviation.max())
    components = PCA(min(COMPONENTS, *standard.shape), random_state=SEED).fit_transform(standard.astype(np.float32))
    if len(features) < MIN_GALAXIES or components.shape[1] < 2:
        flat = np.pad(components, ((0, 0), (0, 2)))[:, :2]
        return components.astype(np.float32), flat.astype(np.float32)
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    with threadpool_limits(1):  # on a busy machine threads that wait for each other are ten times slower
        tsne = TSNE(init="pca", perplexity=perplexity, max_iter=STEPS, random_state=SEED)
        flat = tsne.fit_transform(components)
    return components.astype(np.float32), flat.astype(np.float32)


def compute_arrays(unit: dependencies.Unit, plan: Plan, store: Store) -> dict[str, np.ndarray]:
    """The arrays of one run, as the stage's docstring lists them."""
    from pipeline.nn import activations, network
    from pipeline.nn.predict import predict_views, require_plausible

    schema, run, trained = store.schema(), plan.run(unit.run), store.trained(unit.run, 0)
    stored, size = plan.crops[run.crop].size, plan.input_size(run)
    built = network.build(run, schema, stored=stored, size=size, seed=0, trained_as="float32")
    built.model.load_weights(trained.verified("model.weights.h5"))
    images, _ = store.load_crops(run.crop, "train")
    rows, ids, votes = held_out(store, run.crop)
    if not len(rows):
        raise UserError(f"insight of {run.name}: fold 0 holds no galaxy whose image could be used; choose fewer folds")
    kinds, single = representative_galaxies(schema, votes), views.view_set("single")
    shown = np.asarray(images[rows[kinds]])
    predicted = predict_views(built.model, shown, single, len(shown))
    names, answers = activations.representative_layers(built.backbone), tree.leading_answers(schema, predicted)
    sampled = np.sort(np.random.default_rng(SEED).permutation(len(rows))[:MAX_GALAXIES])
    with tqdm(total=len(sampled), desc=unit.label, unit="galaxy", leave=False) as bar:
        features = predict_views(built.for_prediction().features, images[rows[sampled]], single, 64, bar.update)
    components, flat = embed(require_plausible(features, run.name))
    maps = activations.activations(built, shown, names)
    return {
        "ids": ids[kinds],
        "seen": activations.network_input(built, shown).round().astype(np.uint8),
        "predicted": predicted,
        "level_names": np.array(names),
        **{f"level_{i}": most_varied(level) for i, level in enumerate(maps)},
        "cam_answers": answers,
        "cam": activations.GradCam(built, run, len(shown))(shown, answers).astype(np.float16),
        "feature_ids": ids[sampled],
        "features": components,
        "map": flat,
    }


def build(unit: dependencies.Unit, plan: Plan, store: Store) -> None:
    """Save what the report shows of one run."""
    started = time.monotonic()
    arrays = compute_arrays(unit, plan, store)
    unit.artifact.begin()
    with atomic(unit.artifact.files[0]) as path, open(path, "wb") as file:
        np.savez_compressed(file, **arrays)
    unit.finish(seconds=time.monotonic() - started)
    log.info("insight    %-24s %d galaxies on the map", unit.run, len(arrays["map"]))


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    request = cli.parse(cli.parser(__doc__), argv, select=("run",)).without_failed_runs()
    todo, shared = request.to_do(dependencies.insight(request.plan, request.store)), SharedWork("insight")
    for unit in todo:
        with shared.making(unit.label):
            build(unit, request.plan, request.store)
    shared.tell(todo)
