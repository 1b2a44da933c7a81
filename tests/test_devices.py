"""A fold trained on several devices in step: the same as on one, but for the order in which numbers are added."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = """
import json, sys
import numpy as np
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from pathlib import Path
from pipeline.config import Run
from pipeline.core import tree
from pipeline.nn import fit, network
from pipeline.nn.predict import predict_views
from pipeline.core import views

folder = Path(sys.argv[1])
run = Run(
    name="tiny", backbone="mobilenetv2", crop="wide", input_size=32, batch_size=16, dropout=0.0, precision="float32",
    head_phase={"epochs": 1}, fine_tune={"epochs": 2, "learning_rate": 2e-4, "ema": 0.9},
)
rng = np.random.default_rng(0)
images = rng.integers(0, 255, (48, 40, 40, 3), np.uint8)
labels = tree.normalise(rng.random((48, 37))).astype(np.float32)
rows = np.arange(48)
made = {}
for devices in ("one", "all"):
    built = network.build(run, stored=40, size=32, seed=1, sample=images, trained_as="float32", devices=devices)
    features = predict_views(built.for_prediction().features, images, views.named("single"), 16)
    trainer = fit.Trainer(built, run, 0, images, labels, features)
    (folder / devices).mkdir()
    facts = trainer.fit(rows[:32], rows[32:], 0, folder / devices)
    said = predict_views(built.for_prediction().model, images, views.named("single"), 16)
    made[devices] = {
        "replicas": trainer.model.distribute_strategy.num_replicas_in_sync,
        "loss": (folder / devices / "history.csv").read_text().splitlines(),
        "said": said.tolist(),
    }
print(json.dumps(made))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path_factory.mktemp("devices"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_both_devices_take_part(made):
    assert (made["one"]["replicas"], made["all"]["replicas"]) == (1, 2)


def test_the_networks_are_the_same(made):
    gap = np.abs(np.subtract(made["one"]["said"], made["all"]["said"]))
    assert gap.max() < 1e-2  # Adam's steps are as large where the gradient is nothing but rounding
    assert gap.mean() < 1e-3
    losses = [[float(line.split(",")[2]) for line in made[devices]["loss"][1:]] for devices in ("one", "all")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
