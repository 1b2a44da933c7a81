"""What a plan trains and, with --estimate, what it costs on this machine.

reads   inputs/labels.parquet and inputs/sample.csv where stage 0 has run; else the plan says how many galaxies, or
        they are as many as the competition's
writes  nothing

The estimate builds every network and times a few of its steps on pixels of noise, since no speed depends on what is
in a picture: about ten seconds a run on a GPU or for small images. Hours are of the whole plan from nothing.

    ./run.sh plan --plan demo [--estimate] [--price PER_HOUR]
"""

import contextlib
import io
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline import cli
from pipeline.competition import cutout
from pipeline.core import machine, views
from pipeline.plans.config import Plan, Run
from pipeline.store.artifacts import Store
from pipeline.store.environment import peak_memory

if TYPE_CHECKING:
    from pipeline.nn.speed_probe import Speeds

COMPETITION = (61_578, 79_975)  # training and test galaxies
FEW = 600  # galaxies that baselines are timed on
STAGES, MAP = 10, 5.0  # seconds that the map of a run's features takes


class Cost(NamedTuple):
    """What a run, or the rest of a plan, takes."""

    seconds: float
    disk: float  # bytes
    memory: float  # bytes


def galaxies(plan: Plan, store: Store) -> tuple[int, int]:
    """How many training and test galaxies there are, or will be."""
    if store.inputs().exists():
        return len(store.load_labels()), len(store.load_sample()[1])
    return (plan.sky.train, plan.sky.test) if plan.sky else COMPETITION


def cost_of_run(run: Run, speeds: "Speeds", n: int, m: int, folds: int) -> Cost:
    """A run's cost with n training and m test galaxies."""
    from pipeline.nn.fit import SCORED_EPOCHS

    seen, epochs, fold = len(views.view_set(run.views)), run.fine_tune.epochs, n * (folds - 1) / folds
    took = 3 * speeds.start + folds * speeds.head + MAP  # built by train, by predict and by insight
    if run.head_phase.epochs:
        took += n * (1 if epochs else seen) / speeds.forward
    if epochs:
        scored = epochs if run.fine_tune.patience else min(epochs, SCORED_EPOCHS)
        took += folds * epochs * fold / speeds.train + (scored * n + (n + folds * m) * seen) / speeds.forward
    else:
        took += m * seen / speeds.forward
    features = 4 * n * speeds.features if run.head_phase.epochs else 0
    weights = 4 * speeds.params
    disk = folds * weights + 4 * weights + features + 4 * 37 * (n + folds * m)
    return Cost(took, disk, 3 * features + 16 * weights)


def cost_of_other_stages(plan: Plan, n: int, m: int) -> Cost:
    """Everything but the networks: drawing, crops, baselines, the start of each stage."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "pipeline", "folds", "--help"], check=True, stdout=subprocess.DEVNULL)
    took = STAGES * (time.monotonic() - began)
    disk = sum((n + m) * crop.size**2 * 3 for crop in plan.crops.values())
    if plan.sky:
        from pipeline.sky.survey import BYTES_PER_GALAXY

        took += (n + m) * _seconds_to_draw()
        disk += (n + m) * BYTES_PER_GALAXY
    took += (n + m) * _seconds_to_cut(plan) + _seconds_of_baselines(plan) * n / FEW
    return Cost(took, disk, 0)


def _seconds_to_draw(few: int = 32, many: int = 160) -> float:
    """A galaxy's; by the difference of two skies, which leaves out the start of the processes that draw."""
    return max(0.0, _seconds_of_sky(many) - _seconds_of_sky(few)) / (many - few)


def _seconds_of_sky(n: int) -> float:
    from pipeline.sky import survey

    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        survey.draw(Path(folder), n_train=n - 1, n_test=1, seed=0, progress=False)
        return time.monotonic() - began


def _seconds_to_cut(plan: Plan, n: int = 200) -> float:
    import cv2

    smooth = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (424, 424, 3), np.uint8), (0, 0), 4)
    jpeg, crops = cv2.imencode(".jpg", smooth)[1].tobytes(), list(plan.crops.values())
    sizes = [(crop.size, crop.size, 3) for crop in crops]
    with ThreadPoolExecutor(machine.cores()) as pool:
        began = time.monotonic()
        list(pool.map(lambda _: cutout.cut(jpeg, crops, [np.empty(size, np.uint8) for size in sizes]), range(n)))
        return (time.monotonic() - began) / n


def _seconds_of_baselines(plan: Plan) -> float:
    from pipeline.stages import baselines

    rng = np.random.default_rng(0)
    size = plan.crops[plan.crop_of_baselines()].size
    answers, fold = rng.random((FEW, 37)), np.arange(FEW) % plan.folds
    images = rng.integers(0, 256, (FEW, size, size, 3), np.uint8)
    few = baselines.Galaxies(images, np.arange(FEW), answers, fold, np.ones(FEW, bool), 4)
    began = time.monotonic()
    for name in plan.baselines:
        sight, model = baselines.MODELS[name]
        baselines.out_of_fold(few, few.seen(sight)[0], model, 0)
    return time.monotonic() - began


def _told(seconds: float) -> str:
    if seconds < 5400:
        return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.0f} s"
    return f"{seconds / 3600:.1f} h"


def table(plan: Plan, store: Store, *, estimate: bool, price: float | None) -> Iterator[str]:
    """The lines to print, each as soon as it is known."""
    n, m = galaxies(plan, store)
    yield f"{plan.name}: {n:,} training and {m:,} test galaxies, {plan.folds} folds"
    costs = []
    if estimate:
        costs.append(cost_of_other_stages(plan, n, m))
        what = "drawing, crops, baselines" if plan.sky else "crops, baselines"
        yield _line(what, costs[0], price)
    for run in plan.runs:
        size, epochs = plan.input_size(run), f"{run.head_phase.epochs} + {run.fine_tune.epochs} epochs"
        what = f"{run.name:<16} {run.backbone:<16} {size:>4} px  {epochs}"
        if not estimate:
            yield f"  {what}"
            continue
        from pipeline.nn import speed_probe

        stored, n_train = plan.crops[run.crop].size, n * (plan.folds - 1) // plan.folds
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            speeds = speed_probe.measure(run, stored=stored, size=size, n_train=n_train)
        costs.append(cost_of_run(run, speeds, n, m, plan.folds))
        yield _line(what, costs[-1], price)
    if estimate:
        memory = peak_memory() + max(cost.memory for cost in costs)
        whole = Cost(sum(cost.seconds for cost in costs), sum(cost.disk for cost in costs), memory)
        yield f"{_line('in all', whole, price)}  {memory / 1e9:.1f} GB memory"


def _line(what: str, cost: Cost, price: float | None) -> str:
    money = f"  {price * cost.seconds / 3600:>9.2f}" if price else ""
    return f"  {what:<56}{_told(cost.seconds):>9}  {cost.disk / 1e9:>7.2f} GB disk{money}"


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    made = cli.parser(__doc__)
    made.add_argument("--estimate", action="store_true", help="time a few steps of every run, then say what all costs")
    made.add_argument("--price", type=float, help="what an hour of this machine costs, in any currency")
    request = cli.parse(made, argv)
    options = request.options
    logging.getLogger("pipeline.nn").setLevel(logging.WARNING)  # the probe's own training is nobody's news
    for line in table(request.plan, request.store, estimate=options.estimate, price=options.price):
        print(line, flush=True)
