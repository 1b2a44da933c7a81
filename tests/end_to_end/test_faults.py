"""Killed, terminated, out of disk: real processes, at every rename they do; the submission is the same to the byte."""

import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from pipeline import cli
from pipeline.commands import status
from pipeline.plans.config import load_plan
from pipeline.store import dependencies
from pipeline.store.artifacts import Store

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PLAN = """
seed = 1
folds = 2
sky = { train = 40, test = 12 }
baselines = ["mean", "ridge"]
[crops.near]
region = 256
size = 64
[defaults]
crop = "near"
on_missing_weights = "random"
views = "flips4"
[[runs]]
name = "head"
backbone = "mobilenetv3small"
head_phase = { epochs = 2 }
[[runs]]
name = "tuned"
backbone = "mobilenetv3small"
input_size = 48
batch_size = 4
head_phase = { epochs = 1 }
fine_tune = { epochs = 3, from_layer = "expanded_conv_9_expand" }
[[runs]]
name = "on"
backbone = "mobilenetv3small"
start_from = "tuned"
batch_size = 4
fine_tune = { epochs = 2, from_layer = "expanded_conv_9_expand" }
[[ensembles]]
name = "final"
runs = ["head", "tuned", "on"]
"""
KILLED_AT_RENAME = """
import os, runpy, signal, sys
left = int(sys.argv[1])

def hook(event, arguments):
    global left
    if event == "os.rename":
        left -= 1
        if left == 0:
            os.killpg(0, signal.SIGKILL)

sys.addaudithook(hook)
sys.argv = sys.argv[1:]
runpy.run_module("pipeline", run_name="__main__", alter_sys=True)
"""


class Machine:
    """A folder with the plan, on which stages are run as programs."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "faults.toml").write_text(PLAN)
        self.flags = ["--plan", str(folder / "faults.toml"), "--output", str(folder / "output")]
        self.store = Store(folder / "output" / "faults")

    def start(self, stage: str, *, rename: int = 0, largest: int | None = None) -> subprocess.Popen:
        """The stage in a process group of its own: killed at that rename (from 1), unable to write larger files."""
        command = ["-c", KILLED_AT_RENAME, str(rename), stage] if rename else ["-m", "pipeline", stage]

        def limit() -> None:
            if largest is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

        return subprocess.Popen(
            [sys.executable, *command, *self.flags],
            cwd=ROOT,
            env=os.environ | {"KERAS_HOME": str(self.folder / "keras"), "https_proxy": "http://127.0.0.1:9"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=limit,
        )

    def run(self, stage: str, **how: int) -> tuple[int, str]:
        """(exit code, what was said) of the stage, run to its end."""
        process = self.start(stage, **how)
        _, said = process.communicate(timeout=300)
        return process.returncode, said

    def finish(self, stage: str) -> None:
        code, said = self.run(stage)
        assert code == 0, said

    def records(self) -> dict[str, int]:
        """When the record of each complete artifact was written."""
        return {str(path): path.stat().st_mtime_ns for path in self.store.root.rglob("*.json") if vouches(path)}

    def submission(self) -> bytes:
        return self.store.submission("final").files[0].read_bytes()


def vouches(path: Path) -> bool:
    try:
        return "digest" in json.loads(path.read_text())
    except ValueError:
        return False


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Machine:
    machine = Machine(tmp_path_factory.mktemp("undisturbed"))
    for stage in dependencies.STAGES:
        machine.finish(stage)
    return machine


def epochs(machine: Machine) -> dict[str, list[float]]:
    """The seconds that each epoch took, by which it is known again."""
    found = machine.store.root.glob("runs/*/fold*/history.csv")
    return {str(path): pd.read_csv(path)["seconds"].tolist() for path in found if path.stat().st_size}


def test_killed_at_every_rename(undisturbed, tmp_path):
    """kill -9 at the first rename, then at the second of what is left, and so on: nothing complete is made again."""
    machine, kills = Machine(tmp_path), 0
    for stage in dependencies.STAGES:
        rename = 1
        while (code := machine.run(stage, rename=rename)[0]) == -signal.SIGKILL:
            kills, rename = kills + 1, rename + 1
        assert code == 0
    assert kills >= 25
    assert machine.submission() == undisturbed.submission()


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_at_any_moment(undisturbed, tmp_path, sent, code):
    """At random times in every stage; what was complete stays as it was, epochs included."""
    machine, dice, codes = Machine(tmp_path), random.Random(int(sent)), set()
    for stage in dependencies.STAGES:
        for _ in range(4 if stage == "train" else 1):
            process = machine.start(stage)
            time.sleep(dice.uniform(1.5, 9 if stage in ("train", "predict", "insight") else 3))
            before, trained = machine.records(), epochs(machine)
            os.killpg(process.pid, sent)
            began = time.monotonic()
            process.communicate(timeout=60)
            assert time.monotonic() - began < 20
            codes.add(process.returncode)
            assert before.items() <= machine.records().items()
            for path, seconds in trained.items():
                assert epochs(machine)[path][: len(seconds) - 1] == seconds[:-1]
        machine.finish(stage)
    assert code in codes
    assert codes <= {0, code, -sent}  # a busy machine may not have come to our handler of the signal yet
    assert machine.submission() == undisturbed.submission()


def test_killed_while_weights_are_written(undisturbed, tmp_path):
    machine, hits = Machine(tmp_path), 0
    for stage in list(dependencies.STAGES)[: list(dependencies.STAGES).index("train")]:
        machine.finish(stage)
    for pattern in ("fold*/.checkpoint.weights.h5", "fold*/.*.model.weights.h5"):
        process = machine.start("train")
        while process.poll() is None:
            if any(machine.store.root.glob(f"runs/*/{pattern}")):
                os.killpg(process.pid, signal.SIGKILL)
                hits += 1
                break
            time.sleep(0.0005)
        process.communicate()
    assert hits == 2
    for stage in list(dependencies.STAGES)[list(dependencies.STAGES).index("train") :]:
        machine.finish(stage)
    assert machine.submission() == undisturbed.submission()


def test_no_room_on_the_disk(undisturbed, tmp_path):
    """Files may not grow beyond a size, smaller ones first: one sentence, exit code 2, and it goes on afterwards."""
    machine, refused = Machine(tmp_path), set()
    for stage in dependencies.STAGES:
        for largest in (100, 3_000, 30_000, 300_000):
            code, said = machine.run(stage, largest=largest)
            if code:
                assert code == 2, said
                assert "error: no room to write" in said, said
                assert "Traceback" not in said
                refused.add(stage)
        machine.finish(stage)
    assert refused == set(dependencies.STAGES)
    assert machine.submission() == undisturbed.submission()


def test_rot_is_named_before_it_is_used_and_force_mends_it(undisturbed):
    """One flipped bit in the middle of each kind of file."""
    plan, store = load_plan(undisturbed.flags[1]), undisturbed.store
    for stage, path, user in (
        ("inputs", store.inputs().files[0], "folds"),
        ("folds", store.folds().files[0], "baselines"),
        ("crops", store.crops("near", "train").files[0], "train"),
        ("train", store.trained("tuned", 1).files[0], "predict"),
        ("predict", store.predicted("on", 0).files[1], "ensemble"),
        ("ensemble", store.ensemble("final").files[1], "submit"),
    ):
        before = path.read_bytes()
        rotten = bytearray(before)
        rotten[len(rotten) // 2] ^= 1
        path.write_bytes(rotten)
        users = [unit for unit in dependencies.all_units(plan, store) if unit.stage == user]
        for unit in users:
            unit.artifact.record_path.unlink(missing_ok=True)
        code, said = undisturbed.run(user)
        assert (code, "is not what was written" in said, str(path) in said) == (2, True, True), said
        assert f"./run.sh {stage} --plan" in said
        undisturbed.flags += ["--yes", "--force"]
        undisturbed.finish(stage)
        undisturbed.flags.remove("--force")
        for later in list(dependencies.STAGES)[list(dependencies.STAGES).index(stage) :]:
            undisturbed.finish(later)
        undisturbed.flags.remove("--yes")
        assert path.read_bytes() == before or stage in ("train", "predict")


def test_a_run_that_diverges_is_left_out_and_named(tmp_path):
    """And what was to start from it, with it; the ensemble goes on with the rest."""
    machine = Machine(tmp_path)
    path = tmp_path / "faults.toml"
    text = path.read_text().replace("input_size = 48\n", "input_size = 48\nweight_decay = 1e30\n")
    path.write_text(text)
    for stage in ("inputs", "folds", "crops", "baselines"):
        machine.finish(stage)
    code, said = machine.run("train")
    assert code == 2
    assert "4 of 6 folds failed: runs/tuned/fold0: " in said
    assert "lower the learning rate" in said
    path.write_text('on_failed_run = "leave-out"\n' + text)
    for stage in ("train", "predict", "insight", "ensemble", "submit", "report"):
        machine.finish(stage)
    html = machine.store.report().files[2].read_text()
    assert "tuned is left out, also of the ensembles: its training failed (fold 0: " in html
    assert "on is left out, also of the ensembles" in html
    assert list(machine.store.ensemble("final").record()["weights"]) == ["head"]
    said = "\n".join(status.table(cli.parse(cli.parser("status"), machine.flags)))
    assert "predict    2 of 2 complete, without on, tuned" in said
    assert not re.search("changed|outdated", said), "what was made of the rest is what the plan asks for"
