"""What a plan trains and, with --estimate, what it costs on this machine.

reads   inputs/labels.parquet and inputs/sample.csv where stage 0 has run; else the numbers of galaxies of the
        plan's [sky], or of the competition
writes  nothing

The estimate takes at most a minute and a half; on a GPU, for which XLA compiles each network, up to three and a half.
Every backbone is timed on small images of noise, since speed does not depend on what is in them, and that is scaled to
the run's images; steps of the real network are timed where the time allows. A run's uncertainty stands behind its time.
Hours are for the whole plan from scratch.

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
from tqdm import tqdm

from pipeline import cli
from pipeline.competition import cutout
from pipeline.core import flag_types, machine, views
from pipeline.core.durations import duration
from pipeline.core.labels import Schema
from pipeline.errors import UserError
from pipeline.labelled import part
from pipeline.plans import label_schemas
from pipeline.plans.config import Plan
from pipeline.plans.run import Run
from pipeline.store.artifacts import Store
from pipeline.store.environment import peak_memory

if TYPE_CHECKING:
    from pipeline.nn.speed_probe import Speeds

COMPETITION = (61_578, 79_975)  # training and test galaxies
BASELINE_SAMPLE = 300  # galaxies that baselines are timed on
STAGES, MAP_SECONDS = 10, 5.0  # seconds that the map of a run's features takes
OTHERS = 0.2  # uncertainty of what is no network, as a share of the seconds
COPIES = 4.0  # of a batch's activations that are in memory in training: 4.0 to 4.2 at 160 and 192 pixels on a CPU
FREED = 0.3  # the same in a forward pass, which soon frees them: `frozen`


class Cost(NamedTuple):
    """Cost of a run, or of the rest of a plan."""

    seconds: float
    disk: float  # bytes that stay
    memory: float  # bytes
    uncertainty: float = OTHERS  # of the seconds, as a share
    checkpoint: float = 0.0  # bytes on disk while a fold is trained


def _are_counted(plan: Plan, store: Store) -> bool:
    """Whether it is known how many galaxies there are: of own labels stage 0 tells."""
    return store.inputs().exists() or plan.labels in (None, label_schemas.DEFAULT)


def galaxy_counts(plan: Plan, store: Store) -> tuple[int, int]:
    """How many training and test galaxies there are, or will be."""
    if not _are_counted(plan, store):
        raise UserError(f"how many galaxies there are is known after {store.command('inputs', '--input', 'DIR')}")
    found = (plan.sky.train, plan.sky.test) if plan.sky else COMPETITION
    if store.inputs().exists():
        of = store.inputs().facts().get("of")
        found = (of["train"], of["test"]) if of else (len(store.load_labels()), len(store.load_sample()[1]))
    return part.size(plan.galaxies, found[0]), part.size(plan.galaxies, found[1])


def schema_of(plan: Plan, store: Store) -> Schema:
    """What the galaxies are, or will be, labelled with."""
    if store.inputs().exists() or plan.labels is None:
        return store.schema()
    return label_schemas.load_schema(plan.labels)


def cost_of_run(run: Run, speeds: "Speeds", n: int, m: int, folds: int, answers: int) -> Cost:
    """A run's cost with n training and m test galaxies, of so many answers each."""
    from pipeline.nn.fit import SCORED_EPOCHS

    n_views, epochs, fold = len(views.view_set(run.views)), run.fine_tune.epochs, n * (folds - 1) / folds
    seconds = 3 * speeds.start + folds * speeds.head + MAP_SECONDS  # built by train, by predict and by insight
    if run.head_phase.epochs:
        seconds += n * (1 if epochs else n_views) / speeds.forward
    if epochs:
        scored = epochs if run.fine_tune.patience else min(epochs, SCORED_EPOCHS)
        seconds += folds * epochs * fold / speeds.train + (scored * n + (n + folds * m) * n_views) / speeds.forward
    else:
        seconds += m * n_views / speeds.forward
    features = 4 * n * speeds.features if run.head_phase.epochs else 0
    weights = 4 * speeds.params
    disk = folds * weights + features + 4 * answers * (n + folds * m)
    return Cost(seconds, disk, 3 * features + 16 * weights, checkpoint=4 * weights if epochs else 0.0)


def memory_of_a_step(run: Run, activations: float) -> float:
    """Bytes that a batch takes besides the weights, of so many activations an image, in float32."""
    return 4 * run.batch_size * activations * (COPIES if run.fine_tune.epochs else FREED)


def cost_of_other_stages(plan: Plan, schema: Schema, n: int, m: int) -> Cost:
    """Everything but the networks: rendering, crops, baselines, start-up of each stage."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "pipeline", "folds", "--help"], check=True, stdout=subprocess.DEVNULL)
    seconds = STAGES * (time.monotonic() - began)
    disk = sum((n + m) * crop.size**2 * 3 for crop in plan.crops.values())
    if plan.sky:
        from pipeline.sky.survey import BYTES_PER_GALAXY

        seconds += (n + m) * _seconds_to_draw()
        disk += (n + m) * BYTES_PER_GALAXY
    seconds += (n + m) * _seconds_to_cut(plan) + _seconds_of_baselines(plan, schema) * n / BASELINE_SAMPLE
    return Cost(seconds, disk, 0)


def _seconds_to_draw(few: int = 32, many: int = 160) -> float:
    """Per galaxy; the difference of two renderings, which excludes the start-up of processes."""
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


def _seconds_of_baselines(plan: Plan, schema: Schema) -> float:
    from pipeline.stages import baselines

    rng = np.random.default_rng(0)
    size = plan.crops[plan.crop_of_baselines()].size
    answers, fold = rng.random((BASELINE_SAMPLE, len(schema.columns))), np.arange(BASELINE_SAMPLE) % plan.folds
    images = rng.integers(0, 256, (BASELINE_SAMPLE, size, size, 3), np.uint8)
    ids, usable = np.arange(BASELINE_SAMPLE), np.ones(BASELINE_SAMPLE, bool)
    few = baselines.Galaxies(images, ids, answers, fold, usable, 4, schema)
    began = time.monotonic()
    for name in plan.baselines:
        input_name, model = baselines.MODELS[name]
        baselines.out_of_fold(few, few.model_input(input_name)[0], model, 0)
    return time.monotonic() - began


def label(run: Run, plan: Plan) -> str:
    """A run and what is trained of it."""
    epochs = f"{run.head_phase.epochs} + {run.fine_tune.epochs} epochs"
    names = max(len(run.name) for run in plan.runs)
    backbones = max(len(run.backbone) for run in plan.runs)
    return f"{run.name:<{names}} {run.backbone:<{backbones}} {plan.input_size(run):>4} px  {epochs}"


def _what_is_trained(plan: Plan) -> Iterator[str]:
    yield from (f"  {label(run, plan)}" for run in plan.runs)
    yield from (f"  ensemble {ensemble.name} of {', '.join(ensemble.runs)}" for ensemble in plan.ensembles)


def table(plan: Plan, store: Store, *, estimate: bool, price: float | None) -> Iterator[str]:
    """The lines to print, each as soon as it is known."""
    if not estimate and not _are_counted(plan, store):
        yield f"{plan.name}: {plan.folds} folds of the galaxies that stage 0 will find"
        yield from _what_is_trained(plan)
        return
    schema, (n, m) = schema_of(plan, store), galaxy_counts(plan, store)
    yield f"{plan.name}: {n:,} training and {m:,} test galaxies, {plan.folds} folds"
    if not estimate:
        yield from _what_is_trained(plan)
        return
    what = "rendering, crops, baselines" if plan.sky else "crops, baselines"
    width = max(len(text) for text in (what, *(label(run, plan) for run in plan.runs)))
    yield f"  {'':<{width}}  {'time':>13}  {'':<6}  {'disk':>10}{'  price' if price else ''}"
    costs = []
    with tqdm(total=1 + 2 * len(plan.runs), desc="estimate", unit="probe", leave=False) as bar:

        def told(text: str, cost: Cost) -> str:
            costs.append(cost)
            bar.update()
            bar.clear()
            return _line(text, cost, price, width)

        with contextlib.redirect_stderr(io.StringIO()):  # their progress bars
            others = cost_of_other_stages(plan, schema, n, m)
        yield told(what, others)
        from pipeline.nn.run_speeds import Prober

        prober = Prober(plan, schema, n)
        for run in plan.runs:
            prober.look(run)
            bar.update()
        for run in sorted(plan.runs, key=lambda run: prober.probes[run.backbone].layers):  # those soonest built first
            speeds, uncertainty = prober.speeds(run)
            cost = cost_of_run(run, speeds, n, m, plan.folds, len(schema.columns))
            memory = cost.memory + memory_of_a_step(run, prober.activations(run))
            yield told(label(run, plan), cost._replace(uncertainty=uncertainty, memory=memory))
    yield _in_all(costs, price, width)


def _in_all(costs: list[Cost], price: float | None, width: int) -> str:
    seconds = sum(cost.seconds for cost in costs)
    uncertainty = sum(cost.seconds * cost.uncertainty for cost in costs) / seconds  # one machine: they err together
    memory = peak_memory() + max(cost.memory for cost in costs)
    disk = sum(cost.disk for cost in costs) + max(cost.checkpoint for cost in costs)
    whole = Cost(seconds, disk, memory, uncertainty)
    low, high = (duration(seconds * factor) for factor in (1 - uncertainty, 1 + uncertainty))
    return f"{_line('in all', whole, price, width)}\n  that is {low} to {high}; up to {memory / 1e9:.1f} GB of memory"


def _line(what: str, cost: Cost, price: float | None, width: int) -> str:
    money = f"  {price * cost.seconds / 3600:,.2f}" if price else ""
    spread = f"± {cost.uncertainty:.0%}".replace("%", " %")
    return f"  {what:<{width}}  {duration(cost.seconds):>13}  {spread:<6}  {cost.disk / 1e9:>7.2f} GB{money}"


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__, makes=False)
    parser.add_argument("--estimate", action="store_true", help="time a few steps of every run, then print the cost")
    parser.add_argument("--price", type=flag_types.amount, help="what an hour of this machine costs, in any currency")
    request = cli.parse(parser, argv)
    options = request.options
    cli.require_with(parser, options, price="estimate")
    logging.getLogger("pipeline.nn").setLevel(logging.WARNING)  # hide the logs of the probe's training
    for line in table(request.plan, request.store, estimate=options.estimate, price=options.price):
        print(line, flush=True)
