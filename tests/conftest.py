"""One small network for all tests of pipeline.nn: building and tracing it is what takes time."""

import ctypes
import gc
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tests.builders.galaxy_zoo_2 import GZ2


def pytest_collection_modifyitems(items):
    """What needs the survey comes first, so that one of several processes makes it for all."""
    items.sort(key=lambda item: "survey" not in item.fixturenames)


@pytest.fixture(autouse=True)
def memory_returned(request):
    """After a test that takes minutes, mostly of a large network, its graphs and arrays are freed."""
    yield
    if request.node.get_closest_marker("slow") and "keras" in sys.modules:
        sys.modules["keras"].backend.clear_session()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(scope="session")
def tiny():
    """48 spots of light, their answers, and a MobileNetV2 of random weights that sees 32 of their 40 pixels."""
    from pipeline.core import tree
    from pipeline.nn import network
    from pipeline.plans.run import Run

    run = Run(
        name="tiny",
        backbone="mobilenetv2",
        crop="wide",
        input_size=32,
        batch_size=16,
        dropout=0.3,
        precision="float32",
        head_phase={"epochs": 2, "learning_rate": 1e-3},
        fine_tune={"epochs": 2, "learning_rate": 2e-4, "from_layer": "block_16_project", "ema": 0.9},
    )
    rng = np.random.default_rng(0)
    bright, width = rng.uniform(40, 250, 48), rng.uniform(2, 9, 48)
    y, x = np.mgrid[:40, :40] - 19.5
    light = bright[:, None, None] * np.exp(-(x**2 + y**2) / (2 * width[:, None, None] ** 2))
    images = np.repeat(light[..., None], 3, axis=3).astype(np.uint8)
    answers = rng.uniform(0.48, 0.52, (48, 37))
    answers[:, 0] = 3 * (bright / 250) ** 2
    labels = tree.normalise(GZ2, answers).astype(np.float32)
    built = network.build(
        run, GZ2, stored=40, size=32, seed=1, sample=images, trained_as="float32"
    )  # looks for no weights
    return SimpleNamespace(run=run, network=built, images=images, labels=labels)


SURVEY = """
seed = 1
folds = 2
baselines = ["mean"]
[crops.half]
region = 256
size = 64
[crops.wide]
region = 424
size = 48
[defaults]
backbone = "mobilenetv2"
on_missing_weights = "random"
batch_size = 16
[[runs]]
name = "head"
crop = "half"
views = "flips4"
head_phase = { epochs = 1 }
[[runs]]
name = "fine"
crop = "wide"
input_size = 32
pooling = "multi"
views = "dihedral8"
fine_tune = { epochs = 1 }
[[ensembles]]
name = "final"
runs = ["head", "fine"]
method = "per-question"
"""


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window; tests that need it are skipped where there is none."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium on the PATH")
    with driver.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def survey(tmp_path_factory):
    """A plan that went through all stages up to its ensemble, on 30 training and 12 test images of 424 pixels."""
    from pipeline.stages import crops, ensemble, folds, inputs, predict, train
    from pipeline.store.artifacts import Store
    from tests.builders import competition_files

    folder = tmp_path_factory.mktemp("survey")
    (folder / "survey.toml").write_text(SURVEY)
    ids, test_ids = tuple(range(100_001, 100_031)), tuple(range(300_001, 300_013))
    images = {i: competition_files.jpeg(competition_files.galaxy(i)) for i in (*ids, *test_ids)}
    raw = competition_files.write(
        folder / "raw",
        table=competition_files.labels(ids),
        sample=competition_files.labels(test_ids) * 0,
        train={f"{i}.jpg": images[i] for i in ids},
        test={f"{i}.jpg": images[i] for i in test_ids},
    )
    flags = ["--plan", str(folder / "survey.toml"), "--output", str(folder / "output")]
    inputs.main([*flags, "--input", str(raw)])
    for stage in (folds, crops, train, predict, ensemble):
        stage.main(flags)
    store = Store(folder / "output" / "survey")
    return SimpleNamespace(
        flags=flags,
        raw=raw,
        store=store,
        ensemble=store.ensemble("final").files[0].parent,
        images=images,
        test_ids=test_ids,
    )
