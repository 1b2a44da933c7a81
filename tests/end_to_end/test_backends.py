"""The pipeline on JAX and PyTorch: every stage, and TensorFlow predicting with the weights made there."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.store.artifacts import Store

ROOT = Path(__file__).parents[2]
PLAN = """
seed = 3
folds = 2
sky = { train = 96, test = 24 }

[crops.central]
region = 256
size = 40

[defaults]
crop = "central"
input_size = 32
on_missing_weights = "random"
batch_size = 16
views = "flips4"
head_phase = { epochs = 2 }

[[runs]]
name = "head"
backbone = "mobilenetv3small"

[[runs]]
name = "fine"
backbone = "efficientnetlite0"
fine_tune = { epochs = 3, ema = 0.9, layer_decay = 0.8, patience = 2 }

[[runs]]
name = "further"
backbone = "efficientnetlite0"
start_from = "fine"
precision = "mixed_bfloat16"
head_phase = { epochs = 0 }
fine_tune = { epochs = 2, ema = 0.9, drop_path = 0.1 }

[[ensembles]]
name = "final"
runs = ["head", "further"]
"""


def pipeline(backend: str, *words: object) -> str:
    """The log of `python -m pipeline` on this backend."""
    surroundings = {"KERAS_BACKEND": backend, "https_proxy": "http://127.0.0.1:9"}
    made = subprocess.run(
        [sys.executable, "-m", "pipeline", *map(str, words)],
        cwd=ROOT,
        env=os.environ | surroundings,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    return made.stderr + made.stdout


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_what_another_backend_trains_tensorflow_predicts_with(tmp_path, backend):
    pytest.importorskip(backend)
    plan = tmp_path / "smoke.toml"
    plan.write_text(PLAN)
    given = ("--output", tmp_path / "out")
    log = pipeline(backend, plan, *given)
    assert "submission" in log
    assert "tpu" not in log.lower()
    store = Store(tmp_path / "out" / "smoke")
    folds = [(run, fold) for run in ("head", "fine", "further") for fold in range(2)]
    assert {store.trained(*key).record()["backend"] for key in folds} == {backend}
    there = [answers(store, *key) for key in folds]
    pipeline("tensorflow", "predict", "--plan", plan, *given, "--force", "--yes")
    for key, one in zip(folds, there, strict=True):
        other = answers(store, *key)
        assert not np.array_equal(one, other), "nothing was predicted anew"
        np.testing.assert_allclose(one, other, atol=1e-4)


def answers(store: Store, run: str, fold: int) -> np.ndarray:
    """Vote fractions of the validation and the test galaxies."""
    folder = store.predicted(run, fold).record_path.parent
    return np.concatenate([pd.read_parquet(folder / f"{part}.parquet").to_numpy() for part in ("valid", "test")])
