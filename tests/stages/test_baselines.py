"""Baselines on small drawn images: honest folds, better than nothing where there is something to see."""

import numpy as np
import pytest

from pipeline import cli
from pipeline.core import tree
from pipeline.core.metrics import rmse
from pipeline.stages import baselines
from pipeline.store import dependencies
from pipeline.store.artifacts import Store
from pipeline.store.fractions import aligned_to, load_fractions
from tests.builders import fabricated, stage_outputs
from tests.builders.galaxy_zoo_2 import GZ2

N, SIDE = 60, 32


def sky(n: int = N) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 32, 32, 3) of round and of elongated galaxies, red and blue, and votes (n, 37) that say so."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    ratio = rng.uniform(0.25, 1, n)
    grey = 200 * np.exp(-(x**2 + (y / ratio[:, None, None]) ** 2) / 50)
    colour = np.stack([ratio, np.full(n, 0.8), 1.1 - ratio], axis=1)
    images = np.clip(grey[..., None] * colour[:, None, None] + rng.normal(8, 2, (n, SIDE, SIDE, 3)), 0, 255)
    asked = np.full((n, 37), 0.5)
    asked[:, GZ2.index["Class1.1"]], asked[:, GZ2.index["Class1.2"]] = ratio, 1 - ratio
    return images.astype(np.uint8), tree.normalise(GZ2, asked)


def galaxies(answers: np.ndarray | None = None, aside: tuple[int, ...] = ()) -> baselines.Galaxies:
    images, votes = sky()
    usable = ~np.isin(np.arange(N), aside)
    return baselines.Galaxies(
        images, stage_outputs.ids(N), votes if answers is None else answers, np.arange(N) % 3, usable, 2, GZ2
    )


def predicted(name: str, of: baselines.Galaxies) -> np.ndarray:
    sight, model = baselines.MODELS[name]
    return baselines.out_of_fold(of, of.model_input(sight)[0], model, seed=1)


@pytest.mark.parametrize("name", ["mean", "central-pixel", "ridge", "svm"])
def test_no_answer_of_a_fold_is_seen_by_what_predicts_it(name):
    of = galaxies()
    changed = of.answers.copy()
    own = of.fold == 1
    changed[own] = changed[own][::-1] * 0.5
    before, after = predicted(name, of), predicted(name, galaxies(changed))
    np.testing.assert_array_equal(after[own], before[own])
    assert not np.array_equal(after[~own], before[~own])


def test_mean_is_the_mean_of_the_other_folds():
    of = galaxies()
    expected = np.stack([of.answers[of.fold != fold].mean(axis=0) for fold in of.fold])
    np.testing.assert_allclose(predicted("mean", of), expected)


def test_whoever_sees_the_images_beats_the_mean():
    of = galaxies()
    score = {name: rmse(of.answers, predicted(name, of)) for name in baselines.MODELS}
    for name in ("central-pixel", "ridge", "random-forest", "svm"):
        assert score[name] < 0.7 * score["mean"], score


def test_images_set_aside_teach_nothing_and_get_the_mean():
    of = galaxies(aside=(0, 7))
    strange = of.answers.copy()
    strange[[0, 7]] = 1 - strange[[0, 7]]
    made = predicted("ridge", of)
    np.testing.assert_array_equal(predicted("ridge", galaxies(strange, aside=(0, 7))), made)
    others = (of.fold != 0) & of.usable
    np.testing.assert_allclose(made[0], of.answers[others].mean(axis=0))


def test_predictions_stay_in_range():
    for name in ("ridge", "svm"):
        made = predicted(name, galaxies())
        assert made.min() >= 0
        assert made.max() <= 1


@pytest.fixture
def store(tmp_path):
    """Stages 0 to 2 of a plan; its folder is tmp_path."""
    images, votes = sky()
    plan = fabricated.plan(tmp_path)
    store = Store(tmp_path / "output" / plan.name)
    stage_outputs.inputs(store, votes, stage_outputs.sample(4))
    stage_outputs.folds(store, np.arange(N) % 2)
    stage_outputs.crops(store, "big", train=images, test=images[:4], aside={"train": [int(stage_outputs.ids(N)[5])]})
    return store


def test_the_stage_writes_every_baseline_once(store, tmp_path, caplog):
    arguments = ["--plan", str(tmp_path / "mine.toml"), "--output", str(tmp_path / "output")]
    with caplog.at_level("INFO"):
        baselines.main(arguments)
    labels = store.load_labels()
    for name in ("mean", "ridge"):
        artifact = store.baseline(name)
        oof = aligned_to(load_fractions(artifact.files[0], GZ2), labels.index, name)
        record = artifact.record()
        assert record["rmse"] == pytest.approx(rmse(labels.to_numpy(), oof.to_numpy()), abs=1e-6)
        assert record["seconds"] >= 0
        assert record["params"] is None
        assert f"{record['rmse']:.4f}" in caplog.text
    made = store.baseline("ridge").files[0].stat().st_mtime_ns
    baselines.main(arguments)
    assert store.baseline("ridge").files[0].stat().st_mtime_ns == made


def test_one_baseline_can_be_chosen(store, tmp_path):
    baselines.main(["--plan", str(tmp_path / "mine.toml"), "--output", str(tmp_path / "output"), "--run", "mean"])
    assert store.baseline("mean").record()
    assert store.baseline("ridge").record() is None


def test_all_names_of_the_configuration_have_a_model():
    from pipeline.plans.config import BASELINES

    assert tuple(baselines.MODELS) == BASELINES
    assert {unit.stage for unit in dependencies.baselines(cli.load_plan("smoke"), Store("nowhere"))} == {"baselines"}
