"""A plan with all stages complete but the report: synthetic votes and predictions, records as the stages write them."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.core import blend, metrics, tree
from pipeline.plans.backbones import BACKBONES
from pipeline.plans.config import Plan, load_plan
from pipeline.store.artifacts import Store
from pipeline.store.fractions import fractions_frame
from tests.builders import stage_outputs
from tests.builders.galaxy_zoo_2 import GZ2

PLAN = """
seed = 5
folds = {folds}
sky = {{ train = {n}, test = 20 }}
corrupt_images = "set-aside"
baselines = ["mean", "ridge"]
[crops.central]
region = 256
size = 32
[defaults]
crop = "central"
head_phase = {{ epochs = 2 }}
[[runs]]
name = "vgg16"
backbone = "vgg16"
[[runs]]
name = "efficientnetb0"
backbone = "efficientnetb0"
fine_tune = {{ epochs = 4 }}
[[ensembles]]
name = "final"
runs = ["vgg16", "efficientnetb0"]
[[ensembles]]
name = "by-question"
runs = ["vgg16", "efficientnetb0"]
method = "per-question"
"""
NOISE = {"ridge": 0.12, "vgg16": 0.08, "efficientnetb0": 0.05}


def votes(rng: np.random.Generator, n: int) -> np.ndarray:
    """Vote fractions (n, 37) with clear majorities, on which every sum of the tree holds."""
    shares = [rng.dirichlet([0.35] * len(question.answers), n) for question in GZ2.questions]
    return tree.to_joint(GZ2, np.concatenate(shares, axis=1))


def make(folder: Path, n: int = 90, folds: int = 3) -> tuple[Path, Plan, Store]:
    """(path of the plan, the plan, its store under folder/output)."""
    path = folder / "made-up.toml"
    path.write_text(PLAN.format(n=n, folds=folds))
    plan = load_plan(str(path))
    store, rng = Store(folder / "output" / plan.name), np.random.default_rng(1)
    ids, truth, fold_of = 100_000 + 3 * np.arange(n), votes(rng, n), np.arange(n) % folds
    _inputs(store, ids, truth, fold_of)
    noisy = {name: np.clip(truth + rng.normal(0, sigma, truth.shape), 0, 1) for name, sigma in NOISE.items()}
    noisy["mean"] = np.tile(truth.mean(axis=0), (n, 1))
    for seconds, name in enumerate(plan.baselines, 1):
        stage_outputs.write(
            store.baseline(name), {"oof.parquet": fractions_frame(ids, noisy[name], GZ2)}, seconds=seconds, rmse=0.1
        )
    for run in plan.runs:
        stage_outputs.write(store.features(run.name), {"features.npy": ""}, seconds=5.0, images_per_second=100.0)
        for fold in range(folds):
            _fold(store, run.name, fold, fractions_frame(ids, noisy[run.name], GZ2)[fold_of == fold])
    for spec in plan.ensembles:
        stack = np.stack([noisy[run] for run in spec.runs])
        method, scores = blend.best_method(GZ2, stack, truth, fold_of) if spec.method == "best" else (spec.method, {})
        weights = dict(zip(spec.runs, blend.METHODS[method](GZ2, stack, truth).tolist(), strict=True))
        oof = blend.cross_fitted(GZ2, stack, truth, fold_of, blend.METHODS[method])
        facts = {"method": method, "weights": weights, "scores": scores, "rmse": metrics.rmse(truth, oof)}
        frames = {"oof.parquet": fractions_frame(ids, oof, GZ2), "test.parquet": fractions_frame(ids, oof, GZ2)}
        stage_outputs.write(store.ensemble(spec.name), frames, **facts)
        stage_outputs.write(store.submission(spec.name), {f"{spec.name}.csv": "made up\n"}, rows=20)
    return path, plan, store


def _inputs(store: Store, ids: np.ndarray, truth: np.ndarray, fold_of: np.ndarray) -> None:
    stage_outputs.inputs(store, truth, fractions_frame(ids, np.zeros_like(truth), GZ2).reset_index(), ids)
    stage_outputs.folds(store, fold_of, ids)
    pixels = np.random.default_rng(3).integers(0, 256, (len(ids), 32, 32, 3), np.uint8)
    for split in ("train", "test"):
        facts = {"set_aside": [int(ids[4])] if split == "train" else [], "seconds": 1.5, "images_per_second": 1400}
        stage_outputs.split_crops(store, "central", split, pixels, ids, **facts)


def _fold(store: Store, run: str, fold: int, valid: pd.DataFrame) -> None:
    epochs = 2 if run == "vgg16" else 6
    down = 0.2 * np.exp(-np.arange(epochs) / 2) + 0.08 + 0.004 * fold
    history = pd.DataFrame({"phase": (["head"] * 2 + ["fine-tune"] * 4)[:epochs], "epoch": np.arange(epochs)})
    history = history.assign(loss=down**2, rmse=down, val_rmse=down + 0.01, learning_rate=1e-3, seconds=2.0)
    history.loc[0, "rmse"] = np.nan
    weights = {"source": "random"} if run == "vgg16" else {"source": "imagenet", "sha256": "ab" * 32}
    facts = {"weights": weights, "params": 14_000_000 if run == "vgg16" else 4_000_000, "train_seconds": 10.0 + fold}
    facts |= {
        "precision": "float32",
        "precision_reason": "no GPU here",
        "epochs": epochs,
        "val_rmse": 0.1,
        "n_valid": len(valid),
    }
    files = {"model.weights.h5": "", "history.csv": history.to_csv(index=False)}
    stage_outputs.write(store.trained(run, fold), files, {"graph": BACKBONES[run].graph}, **facts)
    rate = 1000.0 if run == "vgg16" else 300.0  # of the former only the head
    frames = {"valid.parquet": valid, "test.parquet": valid}
    stage_outputs.write(store.predicted(run, fold), frames, seconds=1.0, images_per_second=rate, rmse=0.1)
