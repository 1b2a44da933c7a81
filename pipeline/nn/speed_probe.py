"""Speed of a run's network on this machine: a few steps of each kind, on random pixels."""

import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.core import views
from pipeline.core.labels import Schema
from pipeline.nn import data, fit, network, runtime
from pipeline.nn.predict import predict_views
from pipeline.plans.run import FineTune, Run

MAX_ROWS = 1500  # galaxies whose head is trained, at most
SECONDS_EACH = 2.0  # seconds of steps of a kind


class Speeds(NamedTuple):
    """What a run costs."""

    start: float  # seconds to build it and to trace its first steps
    train: float  # images a second in fine-tuning; infinite where it is not asked for
    forward: float  # views a second
    head: float  # seconds of the head's phase for one fold
    params: int
    features: int  # how many the backbone makes of an image


def measure(run: Run, schema: Schema, *, stored: int, size: int, n_train: int) -> Speeds:
    """Speeds of a run whose crops are stored at `stored` pixels and seen at `size`, with n_train galaxies a fold."""
    started = time.monotonic()
    batch = min(run.batch_size, 64) if runtime.gpus() else max(4, min(run.batch_size, round(32 * (96 / size) ** 2)))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, stored, stored, 3), np.uint8)
    labels = rng.random((batch, len(schema.columns)), np.float32)
    precision, _ = runtime.choose_precision(run.precision)
    built = network.build(run, schema, stored=stored, size=size, seed=0, trained_as=precision)
    single = views.view_set("single")
    fast = built.for_prediction()
    whole = fast.model if run.fine_tune.epochs else fast.features

    def forward() -> None:
        predict_views(whole, images, single, batch)

    forward()
    train = float("inf")
    if run.fine_tune.epochs:
        trainer = fit.Trainer(built, run, 0, images, labels, None)
        trainer.prepare("fine-tune", trainer.model, 1e-6, 1000, warmup=0.0, ema=run.fine_tune.ema)
        stream = data.training_batches(
            images,
            labels,
            rows=np.arange(batch),
            batch_size=batch,
            augment=run.augment,
            seed=(0,),
            epochs=range(10**6),
        )

        def step() -> None:
            for inputs, answers in islice(stream, 1):
                trainer.model.train_on_batch(inputs, answers)

        step()
        start = time.monotonic() - started
        train = batch * _rate(step)
    else:
        start = time.monotonic() - started
    rate = batch * _rate(forward)
    head = _head_seconds(built, run, n_train) if run.head_phase.epochs else 0.0
    return Speeds(start, train, rate, head, built.model.count_params(), built.head.input_shape[-1])


def _rate(work: Callable[[], None]) -> float:
    """How often a second `work` can be done."""
    work()
    done, started = 0, time.monotonic()
    while time.monotonic() - started < SECONDS_EACH:
        work()
        done += 1
    return done / (time.monotonic() - started)


def _head_seconds(built: network.Network, run: Run, n_train: int) -> float:
    rows = min(n_train, MAX_ROWS)
    rng = np.random.default_rng(0)
    features = rng.standard_normal((rows + 8, built.head.input_shape[-1]), np.float32)
    labels = rng.random((rows + 8, built.head.output_shape[-1]), np.float32)
    alone = run.model_copy(update={"fine_tune": FineTune()})
    trainer = fit.Trainer(built, alone, 0, np.empty((0, 1, 1, 3), np.uint8), labels, features)
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        trainer.fit(np.arange(rows), np.arange(rows, rows + 8), 0, Path(folder))
        return (time.monotonic() - started) * n_train / rows
