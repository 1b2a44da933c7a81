"""Killed at random moments, driver or workers, here or on Ray, classification ends with the very same table."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.builders import competition_files as tiny

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
DRIVER = """
from pipeline.commands import classify
from pipeline import program
from pipeline.catalogue import galaxies
galaxies.ROWS = 8
program.start(classify.main)
"""
N, KILLS = 120, 10


@pytest.fixture(scope="module")
def flags(survey, tmp_path_factory) -> list[str]:
    """A catalogue of 120 rows on 12 images."""
    folder = tmp_path_factory.mktemp("catalogue")
    tiny.folder_of(folder / "images", {f"{i}.jpg": survey.images[i] for i in survey.test_ids})
    images = [f"{survey.test_ids[i % 12]}.jpg" for i in range(N)]
    pd.DataFrame({"id": range(N), "image": images}).to_csv(folder / "galaxies.csv", index=False)
    return [str(folder / "galaxies.csv"), "--images", str(folder / "images"), "--ensemble", str(survey.ensemble)]


def start(flags: list[str], to: Path, *more: str, **environment: str) -> subprocess.Popen:
    command = [sys.executable, "-c", DRIVER, *flags, "--to", str(to), *more]
    with open(log_of(to), "w") as log:
        return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)} | environment, stderr=log)


def log_of(to: Path) -> Path:
    """Where what the last process says goes: a pipe that nobody reads would stop it when full."""
    return to.with_suffix(".log")


@pytest.fixture(scope="module")
def whole(flags, tmp_path_factory) -> tuple[pd.DataFrame, float]:
    """(the table of an uninterrupted run, the seconds that it took)."""
    to, began = tmp_path_factory.mktemp("whole") / "answers.parquet", time.monotonic()
    made = start(flags, to)
    assert made.wait() == 0, log_of(to).read_text()
    return pd.read_parquet(to), time.monotonic() - began


def children(pid: int) -> list[int]:
    """Processes that a process has started, and those that they have started."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(a): int(b) for a, b in (line.split() for line in listed.splitlines())}
    found = [child for child, parent in parents.items() if parent == pid]
    return found + [grandchild for child in found for grandchild in children(child)]


def all_gone(processes: list[int]) -> bool:
    """Whether all of these have ended, a while after who made them was killed."""
    end = time.monotonic() + 30
    while (left := [pid for pid in processes if Path(f"/proc/{pid}").exists()]) and time.monotonic() < end:
        time.sleep(0.2)
    return not left


HOWS = {"local": ("--workers", "2"), "ray": ("--engine", "ray", "--workers", "2")}


@pytest.mark.parametrize("how", HOWS.values(), ids=HOWS)
def test_killed_ten_times_it_ends_as_the_uninterrupted(flags, whole, tmp_path, how):
    table, seconds = whole
    chance, to = random.Random(1), tmp_path / "answers.parquet"
    for kill in range(KILLS):
        process = start(flags, to, *how)
        end = time.monotonic() + chance.uniform(1, 2 * seconds)
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        below = children(process.pid) if process.poll() is None else []
        victim = chance.choice(below) if kill % 2 and below else process.pid
        for pid in [victim] if process.poll() is None else []:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.5)
        if process.poll() is None:  # it goes on without that worker, or is about to say that it cannot
            process.kill()
        process.wait()
        assert "ray" in how or all_gone(below)  # Ray's own agents take a minute
    done = start(flags, to, *how)
    assert done.wait() == 0, log_of(to).read_text()
    pd.testing.assert_frame_equal(pd.read_parquet(to), table, atol=1e-6)
    assert not [path for path in tmp_path.rglob(".*") if path.suffix in (".partial", ".tmp")]


def test_a_lost_node_of_two_costs_nothing(flags, whole, tmp_path):
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        second = cluster.add_node(num_cpus=1)
        to = tmp_path / "answers"
        process = start(flags, to, "--engine", "ray", "--workers", "2", RAY_ADDRESS=cluster.address)
        while process.poll() is None and len(list(to.glob("*.parquet"))) < 3:
            time.sleep(0.02)
        assert process.poll() is None, log_of(to).read_text()
        cluster.remove_node(second, allow_graceful=False)
        assert process.wait(300) == 0, log_of(to).read_text()
        assert "a worker was lost (1 so far)" in log_of(to).read_text()
    finally:
        cluster.shutdown()
    made = pd.concat(pd.read_parquet(path) for path in sorted(to.glob("*.parquet"))).reset_index(drop=True)
    pd.testing.assert_frame_equal(made, whole[0], atol=1e-6)
