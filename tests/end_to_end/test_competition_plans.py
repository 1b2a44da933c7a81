"""The plans for the full data: as they are shipped, and trained to the submission with everything made small."""

import json
import re
import sys

import keras
import pandas as pd
import pytest

from pipeline.plans import config, layers
from pipeline.stages import crops, ensemble, folds, inputs, predict, submit, train
from pipeline.store.artifacts import Store
from tests.builders import competition_files

SMALLER = {  # what is made small, and nothing else
    r"folds = 5": 'folds = 2\nbaselines = ["mean"]',
    r"size = 280\b": "size = 40",
    r"size = 360\b": "size = 50",
    r"input_size = 224": "input_size = 32",
    r"input_size = 288": "input_size = 40",
    r"batch_size = \d+": "batch_size = 8",
    r"epochs = [1-9]\d*": "epochs = 1",
    r'backbone = "convnext\w+"': 'backbone = "convnexttiny"',
    r'backbone = "efficientnetv2s"': 'backbone = "efficientnetv2b0"',
    r"\[defaults\]": '[defaults]\non_missing_weights = "random"',
}


def test_what_is_blended_has_gone_on_at_more_pixels():
    plan = config.load_plan("competition")
    blended = {plan.run(name) for blend in plan.ensembles for name in blend.runs}
    for run in blended:
        first = plan.run(run.start_from)
        assert plan.input_size(first) < plan.input_size(run)
        assert first not in blended
        assert run.fine_tune.layer_decay == first.fine_tune.layer_decay
        assert run.fine_tune.drop_path == first.fine_tune.drop_path


def test_the_benchmarks_name_runs_of_these_plans():
    from tests.benchmarks import gpu

    for run, plan in gpu.RUNS.items():
        assert config.load_plan(plan).input_size(config.load_plan(plan).run(run)) == gpu.SIZE


@pytest.fixture
def small_convnext(monkeypatch):
    """Keras's ConvNeXt-Tiny with a block or two in each stage, under its own name."""
    make = sys.modules[keras.applications.ConvNeXtTiny.__module__].ConvNeXt

    def small(**how):
        return make(depths=[1, 1, 2, 1], projection_dims=[16, 16, 32, 32], name="convnext_tiny", **how)

    monkeypatch.setattr(keras.applications, "ConvNeXtTiny", small)


@pytest.mark.slow
@pytest.mark.usefixtures("small_convnext")
@pytest.mark.parametrize("name", ["competition", "competition-classic"])
def test_the_plan_trains_to_its_submission(name, tmp_path):
    text = layers.plan_path(name).read_text(encoding="utf-8")
    for pattern, small in SMALLER.items():
        text = re.sub(pattern, small, text)
    (tmp_path / "small.toml").write_text(text)
    ids, test_ids = tuple(range(100_001, 100_025)), tuple(range(300_001, 300_007))
    raw = competition_files.write(
        tmp_path / "raw",
        table=competition_files.labels(ids),
        sample=competition_files.labels(test_ids) * 0,
        train=competition_files.images(ids),
        test=competition_files.images(test_ids),
    )
    flags = ["--plan", str(tmp_path / "small.toml"), "--output", str(tmp_path / "output")]
    inputs.main([*flags, "--input", str(raw)])
    for stage in (folds, crops, train, predict, ensemble, submit):
        stage.main(flags)
    plan, store = config.load_plan(str(tmp_path / "small.toml")), Store(tmp_path / "output" / "small")
    shipped = config.load_plan(name)
    for run in plan.runs:
        record = store.trained(run.name, 1).record()
        assert record["weights"].get("start_from") == shipped.run(run.name).start_from
        tune = shipped.run(run.name).fine_tune
        assert record["spec"]["fine_tune"].get("layer_decay", 1) == tune.layer_decay
        assert record["spec"]["fine_tune"].get("drop_path") == tune.drop_path
        assert 0 < record["val_rmse"] < 0.5
    blend = json.loads(store.ensemble("final").record_path.read_text())
    assert blend["spec"]["runs"] == list(shipped.ensembles[0].runs)
    rows = pd.read_csv(store.submission("final").files[0], index_col=0)
    assert sorted(rows.index) == list(test_ids)
    assert rows.to_numpy().min() >= 0
    assert rows.to_numpy().max() <= 1
