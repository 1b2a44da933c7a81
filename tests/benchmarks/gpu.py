"""Networks of the competition plans at 224 pixels on a GPU: a training step, 8 views, the largest batch."""

from collections.abc import Iterator

from pipeline.nn import data, fit, runtime
from pipeline.plans.config import load_plan
from pipeline.plans.run import Run
from tests.benchmarks.files import COMPETITION
from tests.benchmarks.measure import Row, once
from tests.benchmarks.networks import built_of, eight_views, feed, galaxies

RUNS = dict.fromkeys(("vgg16", "resnet50", "efficientnetb0"), "competition-classic")  # run -> its plan
RUNS |= dict.fromkeys(("efficientnetv2s-224", "convnextbase-224"), "competition")
SIZE = 224


def rows(quick: bool) -> Iterator[Row]:
    """Rows of every run; RuntimeError where there is no GPU."""
    if not runtime.gpus():
        raise RuntimeError("no GPU is seen by Keras's backend here; nothing is extrapolated from a CPU")
    for name, plan in RUNS.items():
        run = load_plan(plan).run(name)
        fed = feed(run, SIZE, steps=10 if quick else 50)
        yield fed
        epoch = COMPETITION[0] / fed.ours, COMPETITION[0] / fed.reference
        yield once(f"{name}, epoch of 61,578", *epoch, unit="s", goal="<= 1.05", note="from the row above")
        yield eight_views(run, SIZE, n=256 if quick else 1024, batches=(64, 128, 256))
        if not quick:
            sizes = _largest_batch(run), run.batch_size
            yield once(f"{name}, largest batch", *sizes, unit="images", goal=">= 1", note="reference: the plan's")


def _largest_batch(run: Run, limit: int = 4096) -> int:
    """The largest power of two times the plan's batch that a training step has memory for."""
    batch = run.batch_size
    while batch * 2 <= limit and _fits(run.model_copy(update={"batch_size": batch * 2})):
        batch *= 2
    return batch


def _fits(run: Run) -> bool:
    images, labels = galaxies(run.batch_size, SIZE)
    built = built_of(run, stored=SIZE, size=SIZE)
    trainer = fit.Trainer(built, run, 1, images, labels, None)
    trainer.prepare("fine-tune", trainer.model, 1e-5, 1000, warmup=0.0, ema=0.999)
    batches = data.training_batches(
        images, labels, rows=range(len(images)), batch_size=len(images), augment=run.augment, seed=(1,), epochs=range(2)
    )
    try:
        for inputs, answers in batches:
            trainer.model.train_on_batch(inputs, answers)
    except Exception as error:  # each backend has its own
        if any(word in str(error).lower() for word in ("memory", "exhausted", "oom")):
            return False
        raise
    return True
