"""The leaderboard against the same numbers computed here from the Parquet files."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pipeline.core import metrics
from pipeline.errors import UserError
from pipeline.report import leaderboard, leaderboard_text
from tests.builders import finished_plan


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return finished_plan.make(tmp_path_factory.mktemp("plan"))


@pytest.fixture(scope="module")
def frame(made):
    _, plan, store = made
    return leaderboard.score_all(plan, store).frame().set_index("name")


def from_files(store, kind, name):
    """(truth, predictions, folds), read without the pipeline's own code."""
    if kind == "run":
        files = [store.root / "runs" / name / f"fold{k}" / "valid.parquet" for k in range(3)]
    else:
        files = [store.root / f"{kind}s" / name / "oof.parquet"]
    oof = pd.concat([pd.read_parquet(file) for file in files])
    truth = pd.read_parquet(store.root / "inputs" / "labels.parquet")
    folds = pd.read_csv(store.root / "folds.csv").set_index("GalaxyID")["fold"]
    return truth.to_numpy(float), oof.loc[truth.index].to_numpy(float), folds.loc[truth.index].to_numpy()


@pytest.mark.parametrize(
    ("kind", "name"), [("run", "vgg16"), ("baseline", "mean"), ("baseline", "ridge"), ("ensemble", "final")]
)
def test_scores_are_those_of_the_files(made, frame, kind, name):
    truth, predicted, folds = from_files(made[2], kind, name)
    row, squared = frame.loc[name], (truth - predicted) ** 2
    assert row["kind"] == kind
    assert row["rmse"] == pytest.approx(np.sqrt(squared.mean()), abs=1e-6)
    assert row["fold_std"] == pytest.approx(np.std([np.sqrt(squared[folds == k].mean()) for k in range(3)]), abs=1e-6)
    assert row["beyond_noise"] ** 2 + metrics.vote_noise(truth, 44) ** 2 == pytest.approx(row["rmse"] ** 2, rel=1e-4)
    error_of_mean_square = squared.mean(axis=1).std() / np.sqrt(len(truth))
    width = 2 * 1.96 * error_of_mean_square / (2 * row["rmse"])
    assert row["rmse_low"] < row["rmse"] < row["rmse_high"]
    assert row["rmse_high"] - row["rmse_low"] == pytest.approx(width, rel=0.15)


def test_costs(frame):
    vgg, net, final = frame.loc["vgg16"], frame.loc["efficientnetb0"], frame.loc["final"]
    assert (vgg["params"], net["params"], final["params"]) == (14_000_000, 4_000_000, 18_000_000)
    assert (vgg["train_seconds"], final["train_seconds"]) == (38.0, 76.0)  # 5 of them its features
    assert (vgg["images_per_second"], net["images_per_second"], final["images_per_second"]) == (100, 300, 75)
    assert pd.isna(frame.loc["ridge", "params"])


def test_what_a_run_starts_from_is_part_of_its_cost_and_counts_once(made):
    _, plan, store = made
    first, second = plan.runs
    chained = plan.model_copy(update={"runs": (first, second.model_copy(update={"start_from": first.name}))})
    frame = leaderboard.score_all(chained, store).frame().set_index("name")
    assert (frame.loc[first.name, "train_seconds"], frame.loc[second.name, "train_seconds"]) == (38.0, 76.0)
    assert frame.loc["final", "train_seconds"] == 76.0


def test_gain_by_views_is_one_view_less_all(frame):
    assert frame.loc["efficientnetb0", "views_gain"] == pytest.approx(
        0.1 - frame.loc["efficientnetb0", "rmse"], abs=2e-6
    )
    assert frame["views_gain"].notna().sum() == 1


def test_sorted_by_score_with_the_promised_columns(made):
    frame = leaderboard.score_all(*made[1:]).frame()
    assert ",".join(frame.columns) == (
        "name,kind,rmse,rmse_low,rmse_high,beyond_noise,fold_std,views_gain,accuracy5,params,train_seconds,images_per_second,kaggle_public,kaggle_private"
    )
    assert frame["rmse"].is_monotonic_increasing
    assert len(frame) == 6


def test_a_table_survives_its_file(made, tmp_path):
    frame = leaderboard.score_all(*made[1:]).frame()
    frame.to_csv(tmp_path / "leaderboard.csv", index=False)
    back = leaderboard.read(tmp_path / "leaderboard.csv")
    pd.testing.assert_frame_equal(back, frame, check_dtype=False)
    assert leaderboard_text.to_text(back) == leaderboard_text.to_text(frame)


def test_a_model_fitted_in_less_than_a_millisecond_did_not_take_no_time_at_all(made):
    board = leaderboard.score_all(*made[1:])
    fast = replace(board, entries=tuple(replace(entry, train_seconds=4e-4) for entry in board.entries))
    assert leaderboard_text.to_text(fast.frame()).count("< 0.1 s") == len(board.entries)


def test_text_is_aligned_and_markdown_is_a_table(made):
    frame = leaderboard.score_all(*made[1:]).frame()
    head, *rows = leaderboard_text.to_text(frame).splitlines()
    assert all(row.index(frame["kind"][i]) == head.index("kind") for i, row in enumerate(rows))
    for scored in (frame, frame.assign(kaggle_public=0.08123, name=["convnextbase-wide-and-much-else"] * len(frame))):
        assert (
            max(map(len, leaderboard_text.to_text(scored.assign(train_seconds=9e5, params=10**9)).splitlines())) <= 100
        )
    lines = leaderboard_text.to_markdown(frame).splitlines()
    assert lines[0].startswith("| name | kind | rmse |")
    assert {line.count("|") for line in lines} == {len(frame.columns) - 2 + 1}, "nothing was sent to Kaggle"


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        ("runs/vgg16/fold1/predictions.json", r"predict --plan made-up.toml --output \S+ --run vgg16 --fold 1`"),
        ("runs/vgg16/fold2/run.json", r"train --plan made-up.toml --output \S+ --run vgg16 --fold 2`"),
        ("runs/vgg16/fold1/valid.parquet", r"valid.parquet is missing.*--fold 1 --force`"),
        ("baselines/ridge/baseline.json", r"baselines --plan made-up.toml --output \S+ --run ridge`"),
        ("ensembles/final/ensemble.json", r"ensemble --plan made-up.toml --output \S+ --run final`"),
    ],
)
def test_what_is_missing_is_named_with_the_command_that_makes_it(tmp_path, lost, told):
    _, plan, store = finished_plan.make(tmp_path, n=30)
    (store.root / lost).unlink()
    with pytest.raises(UserError, match=told):
        leaderboard.score_all(plan, store)


def test_a_galaxy_without_a_prediction_is_an_error(tmp_path):
    _, plan, store = finished_plan.make(tmp_path, n=30)
    artifact = store.baseline("ridge")
    pd.read_parquet(artifact.files[0]).iloc[1:].to_parquet(artifact.files[0])
    artifact.finish({}, {}, seconds=1)
    with pytest.raises(UserError, match="1 galaxies are missing"):
        leaderboard.score_all(plan, store)
