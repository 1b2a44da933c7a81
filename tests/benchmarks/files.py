"""Stages without a network: crops against the JPEG decoder, ensemble and submit at the competition's size, start-up."""

import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import simplejpeg

from pipeline.competition import source_files
from pipeline.core import machine
from pipeline.plans.config import load_plan
from pipeline.sky import survey
from pipeline.stages import crops, inputs
from pipeline.store.artifacts import Store
from tests.benchmarks.measure import Row, child, compare, module, once, rate
from tests.builders import competition_files as tiny
from tests.builders import fabricated, finished_plan, stage_outputs

COMPETITION = (61_578, 79_975)  # training and test galaxies
CROPS = """
seed = 1
folds = 2
baselines = ["mean"]
[crops.half]
region = 256
size = 128
[[runs]]
name = "a"
backbone = "vgg16"
crop = "half"
on_missing_weights = "random"
head_phase = { epochs = 1 }
[[ensembles]]
name = "final"
runs = ["a"]
"""


def crop_rows(folder: Path, given: Path | None, quick: bool) -> Iterator[Row]:
    """JPEG bytes -> array on disk, against decoding the same bytes at half scale and writing nothing."""
    galaxies = given or folder / "sky"
    if not given:
        n = 400 if quick else 2000
        survey.draw(galaxies, n_train=n, n_test=n // 4, seed=1, progress=False)
    plan = folder / "crops.toml"
    plan.write_text(CROPS)
    flags = ["--plan", str(plan), "--output", str(folder)]
    inputs.main([*flags, "--input", str(galaxies)])
    files = source_files.find(galaxies)
    jpegs = []
    for path in (files.train, files.test):
        with source_files.Images(path) as images:
            jpegs += [images.read(one) for one in images.ids]

    def decode(some: list[bytes]) -> None:
        space = bytearray(424 * 424 * 3)
        for one in some:
            simplejpeg.decode_jpeg(one, "RGB", min_height=212, min_width=212, min_factor=2, buffer=space)

    def bare() -> None:
        with ThreadPoolExecutor(machine.cores()) as pool:
            list(pool.map(decode, np.array_split(np.array(jpegs, object), 64)))

    block = np.zeros((256, 128, 128, 3), np.uint8)

    def write() -> None:
        with open(folder / "written", "wb") as file:
            for _ in range(len(jpegs) // len(block)):
                file.write(block)
            os.fsync(file.fileno())
        (folder / "written").unlink()

    def bare_and_written() -> None:
        with ThreadPoolExecutor(1) as writer:
            done = writer.submit(write)
            bare()
            done.result()

    _, peak = child(module("pipeline", "crops", *flags, "--force"))
    ours = rate(lambda: crops.main([*flags, "--force"]), len(jpegs))
    note = (
        f"{len(jpegs):,} images from {'the given files' if given else 'drawn zips'}; reference decodes, writes nothing"
    )
    yield compare("crops", ours, rate(bare, len(jpegs)), unit="images/s", goal=">= 0.8", note=note, peak_mb=peak)
    note = "the same; reference decodes and, at the same time, writes as many bytes"
    yield compare("crops, written", ours, rate(bare_and_written, len(jpegs)), unit="images/s", goal=">= 0.8", note=note)


def memory_row(folder: Path) -> Iterator[Row]:
    """Crops of as many images as the competition has (one JPEG under many names), against a tenth of them."""
    peaks = {}
    for share in (10, 1):
        n_train, n_test = (n // share for n in COMPETITION)
        place = folder / f"share{share}"
        place.mkdir()
        flags = tiny.plan(place)
        ids = tuple(range(100_001, 100_001 + n_train)), tuple(range(900_001, 900_001 + n_test))
        image = tiny.jpeg(tiny.galaxy(1))
        train, test = (dict.fromkeys((f"{one}.jpg" for one in side), image) for side in ids)
        raw = tiny.write(
            place / "raw", table=tiny.labels(ids[0]), sample=tiny.labels(ids[1]) * 0, train=train, test=test
        )
        child(module("pipeline", "inputs", *flags, "--input", raw))
        peaks[share] = child(module("pipeline", "crops", *flags))[1]
        shutil.rmtree(place)
    note = f"{sum(COMPETITION):,} images against a tenth: peak of crops, once; what grows is the list of their names"
    yield once("crops, memory", peaks[1], peaks[10], unit="MB", goal="<= 2", note=note, peak_mb=peaks[1])


def big_rows(folder: Path, quick: bool) -> Iterator[Row]:
    """Ensemble and submit of 12 runs x 5 folds at the competition's size; a tenth of the galaxies where quick."""
    n, m = (size // 10 if quick else size for size in COMPETITION)
    names = [f"r{i}" for i in range(12)]
    runs = "".join(f'[[runs]]\nname = "{name}"\nbackbone = "vgg16"\ncrop = "half"\n' for name in names)
    text = CROPS.split("[[runs]]")[0].replace("folds = 2", "folds = 5") + "[defaults]\nhead_phase = { epochs = 1 }\n"
    path = folder / "big.toml"
    path.write_text(f'{text}{runs}[[ensembles]]\nname = "final"\nruns = {names}\n')
    plan, store = load_plan(str(path)), Store(folder / "big")
    rng, truth = np.random.default_rng(1), stage_outputs.votes(n)
    fold_of = np.arange(n) % plan.folds
    stage_outputs.inputs(store, truth, stage_outputs.sample(m))
    stage_outputs.folds(store, fold_of)
    base = stage_outputs.votes(m, seed=1).astype(np.float32)
    for i, name in enumerate(names):
        oof = np.clip(truth + rng.normal(0, 0.1 + i / 100, truth.shape), 0, 1).astype(np.float32)
        noise = rng.normal(0, 0.01, (plan.folds, 1, base.shape[1])).astype(np.float32)
        stage_outputs.predictions(store, name, fold_of, oof, list(np.clip(base + noise, 0, 1)))
    flags = ["--plan", path, "--output", folder, "--force"]
    made = [child(module("pipeline", stage, *flags)) for stage in ("ensemble", "submit")]
    took, peak = sum(one[0] for one in made), max(one[1] for one in made)
    note = f"{n:,} + {m:,} rows, 12 runs x 5 folds, once; reference: the promise of 60 s (and 4,000 MB)"
    yield once("ensemble + submit", took, 60.0, unit="s", goal="<= 1", note=note, peak_mb=peak)


def report_rows(folder: Path, quick: bool) -> Iterator[Row]:
    """The whole report at the competition's size, of two made-up runs; a tenth of the galaxies where quick."""
    n = COMPETITION[0] // 10 if quick else COMPETITION[0]
    (folder / "report").mkdir()
    path, _, _ = finished_plan.make(folder / "report", n=n, folds=5)
    took, peak = child(module("pipeline", "report", "--plan", path, "--output", folder / "report" / "output"))
    note = f"{n:,} galaxies, 2 runs and 2 ensembles, once; reference: the promise of 180 s (and 4,000 MB)"
    yield once("report", took, 180.0, unit="s", goal="<= 1", note=note, peak_mb=peak)


def start_rows(folder: Path, quick: bool) -> Iterator[Row]:
    """Start-up of stages that need no network, nothing to do, against importing pandas."""
    path = fabricated.write_plan(folder)
    plan, store = load_plan(str(path)), Store(folder / "mine")
    fabricated.complete(plan, store)
    for stage in ("ensemble", "status") if quick else ("folds", "ensemble", "submit", "status"):
        command = module("pipeline", stage, "--plan", path, "--output", folder)
        yield compare(
            f"start of {stage}",
            lambda command=command: child(command)[0],
            lambda: child([sys.executable, "-c", "import pandas"])[0],
            unit="s",
            goal="<= 2",
            note="nothing to do; reference: python -c 'import pandas'",
        )
