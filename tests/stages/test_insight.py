"""The stage that looks inside: what it keeps, of which galaxies, and that it does nothing twice."""

import numpy as np
import pytest

from pipeline.core import classes
from pipeline.errors import UserError
from pipeline.nn import predict as nn_predict
from pipeline.plans.config import load_plan
from pipeline.stages import folds, insight, predict, train
from pipeline.store import dependencies
from pipeline.store.artifacts import Store
from pipeline.store.fractions import load_fractions
from tests.builders import fabricated, stage_outputs
from tests.builders.galaxy_zoo_2 import GZ2

N = 40


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(flags, store) of a small plan, trained on pixels of noise."""
    folder = tmp_path_factory.mktemp("insight")
    path = fabricated.write_plan(
        folder,
        ("sky = { train = 24, test = 6 }", ""),
        ("region = 128", "region = 256"),  # as that of the builder
        ('backbone = "vgg16"\ncrop = "big"', 'backbone = "mobilenetv2"\ncrop = "small"'),
        ('[[runs]]\nname = "a"', '[defaults]\non_missing_weights = "random"\n[[runs]]\nname = "a"'),
        ("fine_tune = { epochs = 2 }", 'fine_tune = { epochs = 1 }\nviews = "single"'),
    )
    plan = load_plan(str(path))
    store, rng = Store(folder / "out" / plan.name), np.random.default_rng(0)
    stage_outputs.inputs(store, stage_outputs.votes(N), stage_outputs.sample(5))
    pixels = rng.integers(0, 256, (N, 32, 32, 3), np.uint8)
    aside = {"train": [int(stage_outputs.ids(N)[3])]}
    stage_outputs.crops(store, "small", train=pixels, test=pixels[:5], aside=aside)
    flags = ["--plan", str(path), "--output", str(folder / "out")]
    folds.main(flags)
    for run in ("a", "b"):
        train.main([*flags, "--run", run])
    insight.main(flags)
    return flags, store


def load(store: Store, run: str) -> dict[str, np.ndarray]:
    with np.load(store.insight(run).files[0], allow_pickle=False) as file:
        return dict(file)


@pytest.mark.parametrize("run", ["a", "b"])
def test_what_is_kept(made, run):
    arrays = load(made[1], run)
    k, n = len(arrays["ids"]), len(arrays["feature_ids"])
    assert arrays["seen"].shape == (k, 32, 32, 3)
    assert arrays["predicted"].shape == (k, 37)
    assert arrays["cam"].shape[:2] == arrays["cam_answers"].shape == (k, 3)
    assert arrays["features"].shape[0] == n == len(arrays["map"])
    for i in range(3):
        level = arrays[f"level_{i}"]
        assert level.shape[0] == k
        assert (level.min(), level.max()) == (0, 1)
    assert all(np.isfinite(array).all() for name, array in arrays.items() if name != "level_names")


def test_all_galaxies_were_held_out_and_could_be_used(made):
    _, store = made
    arrays, fold_of = load(store, "b"), store.load_folds()
    aside = stage_outputs.ids(N)[3]
    expected = set(fold_of.index[fold_of == 0]) - {aside}
    assert set(arrays["feature_ids"].tolist()) == expected
    assert set(arrays["ids"].tolist()) <= expected


def test_the_answers_are_those_of_the_stage_that_predicts(made):
    flags, store = made
    predict.main([*flags, "--run", "b"])
    arrays = load(store, "b")
    whole = load_fractions(store.predicted("b", 0).files[0], GZ2).loc[arrays["ids"]].to_numpy()
    np.testing.assert_allclose(arrays["predicted"], whole, atol=2e-3)


def test_a_second_call_does_nothing_and_force_makes_the_same(made):
    flags, store = made
    before, stamp = load(store, "a"), store.insight("a").files[0].stat().st_mtime_ns
    insight.main(flags)
    assert store.insight("a").files[0].stat().st_mtime_ns == stamp
    insight.main([*flags, "--run", "a", "--force", "--yes"])
    after = load(store, "a")
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)


def test_without_a_network_it_says_so(tmp_path):
    path = fabricated.write_plan(tmp_path)
    with pytest.raises(UserError, match="waits for"):
        insight.main(["--plan", str(path), "--output", str(tmp_path)])


def test_of_each_kind_takes_the_clearest_of_each_class():
    votes = stage_outputs.votes(500, seed=3)
    chosen = insight.representative_galaxies(GZ2, votes)
    true = classes.true_class(GZ2, votes)
    assert len(set(chosen.tolist())) == len(chosen)
    for row in chosen[:-1]:
        own = GZ2.class_columns[true[row]]
        assert votes[row, own] == votes[true == true[row], own].max()
    assert votes[chosen[-1], GZ2.index["Class6.1"]] >= np.sort(votes[:, GZ2.index["Class6.1"]])[-len(chosen)]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7])
def test_few_galaxies_have_a_map(n):
    components, flat = insight.embed(np.random.default_rng(n).random((n, 12), np.float32))
    assert len(components) == n
    assert flat.shape == (n, 2)
    assert np.isfinite(components).all()
    assert np.isfinite(flat).all()


@pytest.mark.parametrize(
    "features",
    [np.zeros((40, 6)), np.full((40, 6), 0.1), np.arange(40)[:, None] * np.eye(1, 6), np.arange(40.0)[:, None]],
    ids=["dead", "constant", "one alive", "one"],
)
def test_features_that_hardly_differ_have_a_map(features):
    components, flat = insight.embed(features.astype(np.float32))
    assert flat.shape == (40, 2)
    assert np.isfinite(components).all()
    assert np.isfinite(flat).all()


@pytest.mark.parametrize("factor", [np.nan, np.inf, 1e30])
def test_a_network_whose_features_overflow_is_told(made, monkeypatch, factor):
    flags, store = made
    plan, seen = load_plan(flags[1]), nn_predict.predict_views

    def overflowing(*arguments, **more):
        return factor * (1 + seen(*arguments, **more))

    monkeypatch.setattr(nn_predict, "predict_views", overflowing)
    unit = next(unit for unit in dependencies.insight(plan, store) if unit.run == "a")
    with pytest.raises(UserError, match=r"run a: what its network makes of (\d+) of \1 galaxies is .*--weights"):
        insight.compute_arrays(unit, plan, store)


def test_channels_are_shown_that_differ_between_galaxies_not_those_with_the_strongest_frame():
    rng = np.random.default_rng(0)
    maps = 0.01 * rng.random((5, 6, 6, 20))
    maps[:, 0, :, 8:] += 40  # a bright frame, the same in all galaxies but for little
    maps[..., 8:] += 0.5 * rng.random((5, 6, 6, 12))
    for channel in range(8):
        maps[channel % 5, 2:4, 2:4, channel] += 1  # something of one galaxy's own
    chosen = insight.most_varied(maps)
    assert chosen.shape == (5, 6, 6, insight.CHANNELS)
    for i in range(insight.CHANNELS):
        galaxy, *place = np.unravel_index(chosen[..., i].argmax(), chosen.shape[:3])
        assert 2 <= min(place) <= max(place) < 4
        others = np.delete(chosen[..., i], galaxy, axis=0)
        assert others.max() < 0.1
