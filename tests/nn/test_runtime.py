"""The machine: quiet start whatever is imported first, memory that is kept, precision with its reason."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.nn import runtime

ROOT = Path(__file__).parents[2]

FITS = """
import resource, sys
import numpy as np
from pipeline.nn import {first}
import keras

wide = keras.layers.Dense(200_000)  # one output of 50 MB, freed after each step
model = keras.Sequential([keras.Input((4,)), wide, keras.layers.Dense(1)])
model.compile("sgd", "mse")
batches = ((np.ones((64, 4), "float32"), np.ones((64, 1), "float32")) for _ in range(60))
faults = []
note = keras.callbacks.LambdaCallback(
    on_train_batch_end=lambda batch, logs: faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
)
model.fit(batches, steps_per_epoch=40, epochs=1, verbose=0, callbacks=[note])
print(faults[-1] - faults[9])
"""


@pytest.fixture(
    scope="module",
    params=["fit", pytest.param("runtime", marks=pytest.mark.slow), pytest.param("data", marks=pytest.mark.slow)],
)
def fitted(request) -> subprocess.CompletedProcess:
    """A process of its own that imports one of our modules before anything else and trains on a generator."""
    command = [sys.executable, "-c", FITS.format(first=request.param)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)


def test_tensorflow_greets_nobody(fitted):
    assert fitted.stderr == ""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_a_step_asks_the_kernel_for_no_new_memory(fitted):
    pages_of_one_output = 64 * 200_000 * 4 / 4096
    assert int(fitted.stdout) < 3 * pages_of_one_output  # over thirty steps; handed back each time: thirty outputs


@pytest.mark.parametrize("gpus", [0, 1])
def test_the_plan_chooses_the_precision(monkeypatch, gpus):
    monkeypatch.setattr(runtime, "gpus", lambda: gpus)
    for wanted in ("float32", "mixed_float16", "mixed_bfloat16"):
        policy, reason = runtime.choose_precision(wanted)
        assert policy == wanted
        assert reason.startswith("the plan says so")


@pytest.mark.parametrize("flags", [{"avx512_bf16", "amx_bf16"}, {"avx2"}, set()])
def test_a_cpu_trains_and_predicts_in_float32_whatever_it_can_do(monkeypatch, flags):
    monkeypatch.setattr(runtime, "gpus", lambda: 0)
    monkeypatch.setattr(runtime.machine, "cpu_flags", lambda: frozenset(flags))
    assert runtime.choose_precision("auto")[0] == "float32"
    assert runtime.prediction_precision("mixed_bfloat16") == "float32"


@pytest.mark.parametrize(("flags", "slow"), [({"avx512_bf16"}, False), ({"avx2"}, True), (set(), False)])
def test_half_precision_that_a_cpu_has_not_is_told(monkeypatch, flags, slow):
    monkeypatch.setattr(runtime, "gpus", lambda: 0)
    monkeypatch.setattr(runtime.machine, "cpu_flags", lambda: frozenset(flags))
    assert ("no arithmetic" in runtime.choose_precision("mixed_bfloat16")[1]) is slow
    assert runtime.choose_precision("float32")[1] == "the plan says so"


def test_on_a_gpu_prediction_stays_in_the_precision_of_training(monkeypatch):
    monkeypatch.setattr(runtime, "gpus", lambda: 1)
    assert runtime.prediction_precision("mixed_bfloat16") == "mixed_bfloat16"


def test_a_name_has_its_own_seed_the_same_everywhere():
    assert runtime.derived_seed(7, "vgg16") == runtime.derived_seed(7, "vgg16")
    assert len({runtime.derived_seed(seed, name) for seed in (1, 2) for name in ("a", "b")}) == 4
