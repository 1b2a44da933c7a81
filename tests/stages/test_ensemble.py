"""Stage 6: known blends of known predictions."""

import numpy as np
import pytest

from pipeline.core import blend, tree
from pipeline.core.metrics import rmse
from pipeline.errors import UserError
from pipeline.stages import ensemble
from pipeline.store.artifacts import Store
from pipeline.store.fractions import load_fractions
from tests.builders import fabricated, stage_outputs
from tests.builders.galaxy_zoo_2 import GZ2

N, M = 600, 40
TRUTH = stage_outputs.votes(N).astype(np.float32)
FOLD = np.arange(N) % 2


def noisy(width: float, seed: int, n: int = N) -> np.ndarray:
    """The truth and independent normal noise of that width."""
    noise = np.random.default_rng(seed).normal(0, width, (n, 37))
    return (stage_outputs.votes(n) + noise).astype(np.float32)


def prepared(folder) -> Store:
    """A store with two runs, of noise 0.1 and 0.2; their test predictions of the two folds differ."""
    store = Store(folder / "output" / "mine")
    stage_outputs.inputs(store, TRUTH, stage_outputs.sample(M))
    stage_outputs.folds(store, FOLD)
    for run, width in (("a", 0.1), ("b", 0.2)):
        tests = [noisy(width, 10 + fold, M) for fold in range(2)]
        stage_outputs.predictions(store, run, FOLD, noisy(width, ord(run)), tests)
    return store


def run(folder, method: str, *flags: str) -> Store:
    path = fabricated.write_plan(folder, ('method = "mean"', f'method = "{method}"'))
    ensemble.main(["--plan", str(path), "--output", str(folder / "output"), *flags])
    return Store(folder / "output" / "mine")


def rewrite(store: Store, run: str, fold: int, file: int, rows: slice) -> None:
    """One table of predictions with only these rows, as if it had been written so."""
    artifact = store.predicted(run, fold)
    path = artifact.files[file]
    load_fractions(path, GZ2).iloc[rows].to_parquet(path)
    artifact.finish({}, {})


@pytest.fixture
def store(tmp_path):
    return prepared(tmp_path)


def test_noise_of_a_tenth_and_a_fifth_gets_weights_near_four_to_one(tmp_path, store):
    run(tmp_path, "convex", "--run", "both")
    record = store.ensemble("both").record()
    assert record["weights"]["a"] == pytest.approx(0.8, abs=0.02)
    assert record["weights"]["b"] == pytest.approx(0.2, abs=0.02)
    assert record["rmse_before_projection"] == pytest.approx((0.8**2 * 0.01 + 0.2**2 * 0.04) ** 0.5, rel=0.02)
    assert record["rmse"] < record["rmse_before_projection"]


def test_the_out_of_fold_blend_is_cross_fitted_and_scored_as_saved(tmp_path, store):
    run(tmp_path, "convex", "--run", "both")
    oof = load_fractions(store.ensemble("both").files[0], GZ2).to_numpy()
    stack = np.stack([noisy(0.1, ord("a")), noisy(0.2, ord("b"))])
    for fold in (0, 1):
        weights = blend.convex_weights(GZ2, stack[:, fold != FOLD], TRUTH[fold != FOLD])
        expected = tree.project(GZ2, blend.mix(GZ2, stack[:, fold == FOLD], weights))
        np.testing.assert_allclose(oof[fold == FOLD], expected, atol=1e-6)
    assert store.ensemble("both").record()["rmse"] == pytest.approx(rmse(TRUTH, oof), rel=1e-6)


def test_the_test_blend_is_the_weighted_mean_of_the_means_over_folds(tmp_path, store):
    run(tmp_path, "mean", "--run", "both")
    test = load_fractions(store.ensemble("both").files[1], GZ2)
    assert test.index.tolist() == stage_outputs.ids(M, 500_000).tolist()
    parts = [noisy(width, 10 + fold, M) for width in (0.1, 0.2) for fold in range(2)]
    np.testing.assert_allclose(test.to_numpy(), tree.project(GZ2, np.mean(parts, axis=0)), atol=1e-5)
    assert tree.violations(GZ2, test.to_numpy()).max() < 1e-5


def test_rows_are_joined_by_id_not_by_position(tmp_path, store):
    rewrite(store, "b", 1, 1, slice(None, None, -1))
    run(tmp_path, "mean", "--run", "both")
    parts = [noisy(width, 10 + fold, M) for width in (0.1, 0.2) for fold in range(2)]
    test = load_fractions(store.ensemble("both").files[1], GZ2)
    np.testing.assert_allclose(test, tree.project(GZ2, np.mean(parts, axis=0)), atol=1e-5)


def test_best_takes_a_fitted_blend_where_it_wins_and_tells_all_scores(tmp_path, store):
    run(tmp_path, "best", "--run", "both")
    record = store.ensemble("both").record()
    assert record["method"] == "convex"
    assert list(record["scores"]) == list(blend.METHODS)
    assert record["scores"]["convex"] == pytest.approx(record["rmse_before_projection"], rel=1e-5)
    assert record["scores"]["convex"] < record["scores"]["mean"]


def test_an_ensemble_of_one_run_is_that_run_on_the_tree(tmp_path, store):
    run(tmp_path, "mean", "--run", "alone")
    oof = load_fractions(store.ensemble("alone").files[0], GZ2)
    np.testing.assert_allclose(oof, tree.project(GZ2, noisy(0.1, ord("a"))), atol=1e-6)
    assert store.ensemble("both").record() is None


def test_missing_galaxies_are_named(tmp_path, store):
    rewrite(store, "a", 0, 0, slice(1, None))
    with pytest.raises(UserError, match=r"out-of-fold predictions: 1 galaxies are missing \(such as \[100000\]\)"):
        run(tmp_path, "mean", "--run", "both")
    assert store.ensemble("both").record() is None


def test_other_test_galaxies_in_one_fold_are_named(tmp_path, store):
    rewrite(store, "a", 1, 1, slice(None, -2))
    with pytest.raises(UserError, match=r"test\.parquet of a/fold1: 2 galaxies are missing"):
        run(tmp_path, "mean", "--run", "both")
