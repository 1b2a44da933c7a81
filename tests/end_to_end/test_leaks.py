"""Nothing is known of a galaxy that its own picture does not say: shuffled votes teach nothing, copies share a fold."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pipeline.competition import duplicates
from pipeline.competition.checks import copies_in
from pipeline.competition.source_files import find
from pipeline.core import stats
from pipeline.core.metrics import rmse
from pipeline.report import caveats, leaderboard
from pipeline.stages import baselines, crops, ensemble, folds, inputs, predict, train
from pipeline.store.artifacts import Store
from pipeline.store.fractions import load_fractions
from tests.builders import competition_files as tiny
from tests.builders import finished_plan
from tests.builders.galaxy_zoo_2 import GZ2

N = 160
PLAN = """
seed = 1
folds = 2
baselines = ["mean", "ridge"]
[crops.small]
region = 424
size = 32
[defaults]
crop = "small"
backbone = "vgg16"
on_missing_weights = "random"
head_phase = { epochs = 2 }
[[runs]]
name = "a"
[[runs]]
name = "b"
pooling = "max"
[[ensembles]]
name = "final"
runs = ["a", "b"]
method = "per-question"
"""


def flags(folder: Path) -> list[str]:
    (folder / "leaks.toml").write_text(PLAN)
    return ["--plan", str(folder / "leaks.toml"), "--output", str(folder / "output")]


@pytest.fixture(scope="module")
def shuffled(tmp_path_factory) -> Store:
    """Every picture stands under two names with the same votes, which have nothing to do with it; all stages run."""
    folder = tmp_path_factory.mktemp("leaks")
    ids = tuple(range(100_000, 100_000 + N))
    picture = {i: tiny.jpeg(tiny.galaxy(i // 2, side=106)) for i in ids}
    votes = tiny.labels(ids).to_numpy().reshape(N // 2, 2, 37)[:, :1].repeat(2, axis=1).reshape(N, 37)
    table = pd.DataFrame(votes, index=tiny.labels(ids).index, columns=tiny.labels(ids).columns)
    test = {"300001.jpg": picture[ids[0]]} | {f"{i}.jpg": tiny.jpeg(tiny.galaxy(i, side=106)) for i in tiny.TEST[:1]}
    test |= {"300010.jpg": tiny.jpeg(tiny.galaxy(3000, side=106))}
    raw = tiny.write(folder / "raw", table=table, train={f"{i}.jpg": p for i, p in picture.items()}, test=test)
    inputs.main([*flags(folder), "--input", str(raw)])
    for stage in (folds, crops, baselines, train, predict, ensemble):
        stage.main(flags(folder))
    return Store(folder / "output" / "leaks")


def test_votes_that_pictures_cannot_tell_are_answered_no_better_than_by_the_mean(shuffled):
    truth = shuffled.load_labels()

    def score(path: Path) -> float:
        return rmse(truth.to_numpy(), load_fractions(path, GZ2).loc[truth.index].to_numpy())

    mean = score(shuffled.baseline("mean").files[0])
    assert score(shuffled.baseline("ridge").files[0]) > mean
    for run in ("a", "b"):
        parts = [load_fractions(shuffled.predicted(run, fold).files[0], GZ2) for fold in (0, 1)]
        assert rmse(truth.to_numpy(), pd.concat(parts).loc[truth.index].to_numpy()) > mean
    assert score(shuffled.ensemble("final").files[0]) > mean


def test_copies_share_a_fold_and_are_told(shuffled):
    fold = shuffled.load_folds().to_numpy().reshape(-1, 2)
    assert (fold[:, 0] == fold[:, 1]).all()
    assert 0.3 < fold.mean() < 0.7
    first, second = duplicates.caveats(shuffled.inputs().record())
    assert first.startswith("1 images are in training and test both (such as GalaxyID 100000 and ")
    assert second.startswith("80 training images have several GalaxyIDs")


@pytest.mark.parametrize("zipped", [True, False])
def test_copies_are_found_in_zips_and_folders(tmp_path, zipped):
    train, test = tiny.images(tiny.TRAIN), tiny.images(tiny.TEST)
    train["100008.jpg"] = test["300010.jpg"] = train["200001.jpg"]
    files = find(tiny.write(tmp_path, train=train, test=test, zipped=zipped))
    found = copies_in(files)
    assert found == {"train": [[100008, 200001]], "across": [[100008, 200001, 300010]]}


def test_a_competition_without_copies_has_none(tmp_path):
    files = find(tiny.write(tmp_path))
    assert copies_in(files) == {"train": [], "across": []}
    assert duplicates.caveats({}) == []


def _scored_anew(entry: leaderboard.Entry) -> leaderboard.Entry:
    return replace(entry, interval=stats.bootstrap_rmse(entry.errors, 0))


def test_a_score_below_the_noise_of_the_votes_is_a_worry(tmp_path):
    _, plan, store = finished_plan.make(tmp_path)
    board = leaderboard.score_all(plan, store)
    assert list(caveats.below_vote_noise(board)) == []
    board.best("run").errors[:] = 1e-6  # as if it answered with the held-out votes themselves
    board = replace(board, entries=tuple(_scored_anew(entry) for entry in board.entries))
    (told,) = caveats.below_vote_noise(board)
    assert "labels have leaked into training" in told
