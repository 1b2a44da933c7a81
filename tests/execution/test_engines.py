"""The same work by worker processes and by Ray: every task once, mistakes told, results those of one process."""

import os
import shutil
import sys
import time
from functools import partial

import numpy as np
import pandas as pd
import pytest

from pipeline import cli
from pipeline.errors import UserError
from pipeline.execution import engines
from pipeline.stages import train
from pipeline.store.artifacts import Store


@pytest.fixture(autouse=True)
def _ray_knows_this_file():
    """Its workers find the project, not its tests."""
    ray = pytest.importorskip("ray")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Squares:
    """A worker without networks."""

    def __init__(self, folder, workers=1):
        self.folder, self.workers = folder, workers
        (folder / str(os.getpid())).touch()

    def __call__(self, number: int) -> int:
        if number == 13:
            raise UserError("13 has no square")
        if number == -1:
            os._exit(9)
        until = time.monotonic() + 120
        while len(list(self.folder.iterdir())) < self.workers and time.monotonic() < until:
            time.sleep(0.02)  # on a busy machine one could have done everything before the other is there
        return number * number


@pytest.mark.parametrize("how", [{}, {"workers": 2}, {"engine": "ray", "workers": 2}], ids=str)
def test_every_task_is_done_once_by_as_many_workers_as_asked_for(tmp_path, how):
    asked = []

    def tasks():
        for number in range(12):
            asked.append(number)
            yield number

    made = engines.each(partial(Squares, tmp_path, how.get("workers", 1)), tasks(), **how)
    first = next(made)
    assert len(asked) < 12  # a million of them are not asked for at once
    assert sorted([first, *made]) == [number * number for number in range(12)]
    assert len(list(tmp_path.iterdir())) == how.get("workers", 1)


@pytest.mark.parametrize("engine", engines.NAMES)
def test_a_mistake_in_a_worker_is_told_as_it_is(tmp_path, engine):
    with pytest.raises(UserError, match=r"^13 has no square$"):
        list(engines.each(partial(Squares, tmp_path), [1, 13, 2], engine=engine, workers=2))


def test_a_worker_that_dies_is_told(tmp_path):
    with pytest.raises(UserError, match="worker processes died"):
        list(engines.each(partial(Squares, tmp_path), [1, -1, 2], workers=2))


def test_each_worker_has_a_gpu_of_its_own(monkeypatch):
    seen = []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    number = engines.multiprocessing.get_context("spawn").Value("i", 0)
    for _ in range(3):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
        engines._begin(lambda: seen.append(os.environ["CUDA_VISIBLE_DEVICES"]), number, 3)
    assert seen == ["2", "5", "2"]


@pytest.mark.parametrize("text", ["0", "-1", "two"])
def test_workers_are_a_number_above_0(text, capsys):
    parser = cli.parser("x")
    engines.add_flags(parser, "workers")
    with pytest.raises(SystemExit):
        parser.parse_args(["--plan", "demo", "--workers", text])
    assert "expected a number above 0" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("how", [["--workers", "2"], ["--engine", "ray"]], ids=" ".join)
def test_folds_trained_as_tasks_are_those_of_one_process(survey, tmp_path, how):
    for name in ("inputs", "crops"):
        shutil.copytree(survey.store.root / name, tmp_path / "survey" / name)
    for name in ("folds.json", "folds.csv"):
        shutil.copy(survey.store.root / name, tmp_path / "survey" / name)
    train.main([*survey.flags[:2], "--output", str(tmp_path), *how])
    store = Store(tmp_path / "survey")
    for run in ("head", "fine"):
        for fold in range(2):
            mine, other = (pd.read_csv(s.trained(run, fold).files[1]) for s in (store, survey.store))
            np.testing.assert_allclose(mine["rmse"], other["rmse"], rtol=1e-4)
            one, two = (s.trained(run, fold).record()["val_rmse"] for s in (store, survey.store))
            assert one == pytest.approx(two, rel=1e-4)
