"""Classifying a catalogue, against the same networks on crops that are there already; and what it keeps in memory."""

import io
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.catalogue import columns, images
from pipeline.catalogue.classify_worker import ClassifyWorker
from pipeline.catalogue.shards import Shard
from pipeline.competition import cutout
from pipeline.core import machine
from pipeline.sky import survey
from pipeline.stages import crops, ensemble, folds, inputs, predict, train
from pipeline.store.artifacts import Store
from pipeline.store.records import Artifact
from tests.benchmarks.measure import Row, child, compare, module, once, rate

DISTINCT = 256  # images, repeated
BATCH = 64
PLAN = """
seed = 1
folds = 2
baselines = ["mean"]
[crops.half]
region = 256
size = 128
[[runs]]
name = "a"
backbone = "mobilenetv3small"
crop = "half"
input_size = 96
on_missing_weights = "random"
views = "single"
fine_tune = { epochs = 1 }
[[ensembles]]
name = "final"
runs = ["a"]
"""


def rows(folder: Path, quick: bool) -> Iterator[Row]:
    """Throughput of shards in this process; the peak of the whole command for a catalogue and for half of it."""
    store = finished(folder)
    archive = packed(folder / "catalogue-sky" / "images_training_rev1.zip", folder / "galaxies.tar")
    yield throughput(store, archive, 512 if quick else 2048)
    yield memory(store, archive, folder, 4096 if quick else 32_768)


def finished(folder: Path) -> Store:
    """The output of PLAN, up to its ensemble."""
    path, raw = folder / "catalogue.toml", folder / "catalogue-sky"
    path.write_text(PLAN)
    survey.draw(raw, n_train=DISTINCT, n_test=8, seed=1, progress=False)
    flags = ["--plan", str(path), "--output", str(folder)]
    inputs.main([*flags, "--input", str(raw)])
    for stage in (folds, crops, train, predict, ensemble):
        stage.main(flags)
    return Store(folder / "catalogue")


def packed(archive: Path, path: Path) -> Path:
    """The images of a zip as a tar."""
    source = images.open_source(str(archive))
    with tarfile.open(path, "w") as made:
        for i, name in enumerate(source.names()):
            data, info = source.read(name), tarfile.TarInfo(f"{i}.jpg")
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return path


def throughput(store: Store, archive: Path, n: int) -> Row:
    """Galaxies a second."""
    worker = ClassifyWorker(store.ensemble("final").files[0].parent, None, str(archive))
    galaxies = pd.DataFrame({"id": range(n), "image": [f"{i % DISTINCT}.jpg" for i in range(n)]})
    artifact = Artifact(store.root / "shard.json", (store.root / "shard.parquet", store.root / "shard.seen.npy"))
    shard = Shard(galaxies, artifact, {}, {}, columns.schema(store.schema(), "int64", ()))
    (crop,) = worker.classifier.crops
    data = [worker.source.read(name) for name in galaxies["image"]]
    made = np.empty((n, crop.size, crop.size, 3), np.uint8)
    member = worker.classifier.members[0]
    networks = []
    for weights in member.folds:
        predictor = member.predictor()
        predictor.load(weights)
        networks.append(predictor.fast.model)
    view = np.tile(predictor.views, (BATCH, 1, 1))

    def bare() -> None:
        with ThreadPoolExecutor(machine.cores()) as pool:
            list(pool.map(lambda i: cutout.cut(data[i], [crop], [made[i]]), range(n)))
        for network in networks:
            for i in range(0, n, BATCH):
                network.predict_on_batch({"image": made[i : i + BATCH], "view": view})

    note = f"{n:,} galaxies of a tar; reference: all decoded first, then predict_on_batch of each fold's network"
    return compare(
        "classify", rate(lambda: worker(shard), n), rate(bare, n), unit="galaxies/s", goal=">= 0.9", note=note
    )


def memory(store: Store, archive: Path, folder: Path, n: int) -> Row:
    """Peak MB of the command."""
    peaks = []
    for count in (n // 2, n):
        catalogue = folder / f"{count}.csv"
        names = [f"{i % DISTINCT}.jpg" for i in range(count)]
        pd.DataFrame({"id": range(count), "image": names}).to_csv(catalogue, index=False)
        to = ["--to", folder / f"answers{count}", "--ensemble", store.ensemble("final").files[0].parent]
        peaks.append(child(module("pipeline", "classify", catalogue, "--images", archive, *to))[1])
    note = f"{n:,} galaxies against half of them: peak of the command, once"
    return once("classify, memory", peaks[1], peaks[0], unit="MB", goal="<= 1.05", note=note, peak_mb=peaks[1])
