"""What the networks cost beside their own arithmetic: feeding, augmenting, folds, views, number formats."""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import mkdtemp

import keras
import numpy as np

from pipeline.core import views
from pipeline.nn import data, fit, network, runtime
from pipeline.nn.augment import Warp
from pipeline.nn.predict import predict_views
from pipeline.plans.run import Run
from tests.benchmarks.measure import Row, compare, once, rate, seconds
from tests.builders.galaxy_zoo_2 import GZ2

AUGMENT = {"rotation": 180, "zoom": 1.2, "shift": 0.04, "flip": True}
BATCH = 32


def _run(backbone: str, **more) -> Run:
    made = {"name": backbone, "backbone": backbone, "crop": "c", "batch_size": BATCH}
    return Run.model_validate(made | {"augment": AUGMENT, "fine_tune": {"epochs": 1}} | more)


def galaxies(n: int, stored: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise in the shape of crops (n, stored, stored, 3) and labels (n, 37): no stage's speed depends on pixels."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, stored, stored, 3), np.uint8), rng.random((n, 37), np.float32)


def built_of(run: Run, *, stored: int, size: int) -> network.Network:
    """A network at random weights: none are looked for."""
    precision, _ = runtime.choose_precision(run.precision)
    return network.build(run, GZ2, stored=stored, size=size, seed=1, trained_as=precision)


def bare(built: network.Network, run: Run, size: int) -> keras.Model:
    """The same network on pixels that are ready: no warp."""
    pixels = keras.Input((size, size, 3))
    scaled = built.features.get_layer("scale")(pixels)
    pooled = keras.layers.GlobalAveragePooling2D(dtype="float32")(built.backbone(scaled))
    return keras.Model(pixels, built.head(pooled), name=f"bare_{run.backbone}")


def feed_rows(quick: bool) -> Iterator[Row]:
    """The hardest to feed on a CPU."""
    yield feed(_run("mobilenetv3small"), 96, steps=8 if quick else 30)
    if not quick:
        yield feed(_run("efficientnetb0"), 128, steps=15)


def feed(run: Run, size: int, steps: int) -> Row:
    """A training step on the augmented stream, against the same step on one resident batch without augmentation."""
    stored, batch = size * 5 // 4, run.batch_size
    images, labels = galaxies(20 * batch, stored)
    built = built_of(run, stored=stored, size=size)
    trainer = fit.Trainer(built, run, 1, images, labels, None)
    trainer.prepare("fine-tune", trainer.model, 1e-5, 1000, warmup=0.0, ema=0.99)
    resident = bare(built, run, size)
    resident.compile(
        keras.optimizers.AdamW(1e-5, use_ema=True),
        "mean_squared_error",
        metrics=[keras.metrics.RootMeanSquaredError()],
        jit_compile=runtime.use_xla(),
    )
    pixels = keras.ops.convert_to_tensor(images[:batch, :size, :size].astype(np.float32))
    answers = keras.ops.convert_to_tensor(labels[:batch])
    stream = _stream(images, labels, run)

    def theirs() -> None:
        for _ in range(steps):
            resident.train_on_batch(pixels, answers)

    made = rate(partial(_train, trainer.model, stream, steps), steps * batch), rate(theirs, steps * batch)
    note = "reference: one resident batch, no augmentation"
    return compare(f"feed {run.backbone} {size} px", *made, unit="images/s", goal=">= 0.95", note=note)


def _stream(images: np.ndarray, labels: np.ndarray, run: Run) -> Iterator[data.Batch]:
    rows, epochs = np.arange(len(images)), range(10**6)
    return data.training_batches(
        images, labels, rows=rows, batch_size=run.batch_size, augment=run.augment, seed=(1,), epochs=epochs
    )


def notebook_rows(folder: Path, quick: bool) -> Iterator[Row]:
    """Augmented batches of 128 pixels a second, against two pipelines that decode JPEG files each epoch."""
    if keras.backend.backend() != "tensorflow":
        return
    import cv2
    import pandas as pd
    import tensorflow as tf

    n, size = 160 if quick else 640, 128
    images, labels = galaxies(n, 160)
    for i in range(n):
        smooth = cv2.GaussianBlur(cv2.resize(images[i], (424, 424)), (0, 0), 6)  # noise makes huge files
        cv2.imwrite(str(folder / f"{i}.jpg"), smooth)
    warp = Warp(size)
    stream = _stream(images, labels, _run("mobilenetv2"))

    def ours() -> None:
        for batch, _ in islice(stream, n // BATCH):
            warp(keras.ops.convert_to_tensor(batch["image"]), keras.ops.convert_to_tensor(batch["view"]))

    frame = pd.DataFrame(labels, columns=list(GZ2.columns)).assign(name=[f"{i}.jpg" for i in range(n)])
    generator = tf.keras.preprocessing.image.ImageDataGenerator(
        rotation_range=180, zoom_range=0.2, horizontal_flip=True, vertical_flip=True
    )
    flow = generator.flow_from_dataframe(
        frame,
        folder,
        "name",
        list(GZ2.columns),
        target_size=(size, size),
        class_mode="raw",
        batch_size=BATCH,
        verbose=0,
    )
    dataset = _tf_data(tf, [str(folder / name) for name in frame["name"]], size)
    for name, goal, theirs in (
        ("flow_from_dataframe", ">= 10", lambda: [next(flow) for _ in range(n // BATCH)]),
        ("tf.data and four random layers", ">= 5", lambda: [None for _ in dataset]),
    ):
        note = "input alone, no network; reference decodes JPEG files each epoch"
        made = rate(ours, n), rate(theirs, n)
        yield compare(f"input against {name}", *made, unit="images/s", goal=goal, note=note)


def _tf_data(tf, paths: list[str], size: int):
    """JPEG -> resize -> flip, rotate, zoom, shift; all cores, prefetched."""
    change = keras.Sequential(
        [
            keras.layers.RandomFlip(),
            keras.layers.RandomRotation(0.5),
            keras.layers.RandomZoom(0.2),
            keras.layers.RandomTranslation(0.04, 0.04),
        ]
    )

    def read(path):
        return tf.image.resize(tf.io.decode_jpeg(tf.io.read_file(path), channels=3), (size, size))

    made = tf.data.Dataset.from_tensor_slices(paths).map(read, tf.data.AUTOTUNE).batch(BATCH)
    return made.map(lambda batch: change(batch, training=True), tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def head_rows(quick: bool) -> Iterator[Row]:
    """15 epochs x 5 folds of a head: features computed once, against the backbone run in every epoch."""
    epochs, folds, size = 15, 5, 96 if quick else 128
    images, labels = galaxies(128 if quick else 1024, size)
    run = _run("mobilenetv2", head_phase={"epochs": epochs}, fine_tune={"epochs": 0})
    built = built_of(run, stored=size, size=size)
    fold_of = np.arange(len(images)) % folds
    features = partial(predict_views, built.for_prediction().features, images, views.view_set("single"), 64)

    def ours() -> None:
        trainer = fit.Trainer(built, run, 1, images, labels, features())
        for fold in range(folds):
            trainer.fit(np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold), fold, Path(mkdtemp()))

    share = (folds - 1) / folds  # of the galaxies are in an epoch
    per_epoch = seconds(features)
    note = "reference: a forward pass of its galaxies in each epoch, timed once and multiplied"
    yield compare(
        "head, 15 epochs x 5 folds",
        lambda: 1 / seconds(ours)(),
        lambda: 1 / (per_epoch() * share * epochs * folds),
        unit="sweeps/s",
        goal=">= 20",
        note=note,
    )


def fold_rows(quick: bool) -> Iterator[Row]:
    """From nothing to the end of the first step of a run's first fold, and of its second."""
    size, run = 96, _run("mobilenetv3small" if quick else "efficientnetb0")
    images, labels = galaxies(2 * BATCH, size)
    half = np.arange(BATCH), np.arange(BATCH, BATCH + 4)
    kept: list[fit.Trainer] = []

    def first() -> None:
        built = built_of(run, stored=size, size=size)
        kept[:] = [fit.Trainer(built, run, 1, images, labels, None)]
        kept[0].fit(*half, 0, Path(mkdtemp()))

    def second() -> None:
        kept[0].fit(*half, 1, Path(mkdtemp()))

    facts = {
        "unit": "s",
        "goal": "<= 0.1",
        "note": f"{run.backbone}, build + trace + one step + score, against reset + one step + score",
    }
    building = seconds(first)()
    if quick:
        yield once("second fold's start", seconds(second)(), building, **facts)
    else:
        yield compare("second fold's start", seconds(second), seconds(first), **facts)


def view_rows(quick: bool) -> Iterator[Row]:
    """MobileNetV2, as the laptop plan has it."""
    run, batches = _run("mobilenetv2"), (16, 32) if quick else (16, 32, 64)
    yield eight_views(run, 128, n=32 if quick else 256, batches=batches)
    if not quick:
        yield eight_views(run, 128, n=256, batches=batches, folded=True)


def eight_views(run: Run, size: int, n: int, batches: tuple[int, ...], folded: bool = False) -> Row:
    """Eight views of a galaxy, against eight passes of a bare loop at its best batch size.

    The bare loop has the network as Keras builds it or, the harder measure, ours without normalisations.
    """
    stored = size * 5 // 4
    images, _ = galaxies(n, stored)
    built = built_of(run, stored=stored, size=size)
    as_built = run.model_copy(update={"fine_tune": run.fine_tune.model_copy(update={"batch_norm": "train"})})
    model = bare(built if folded else built_of(as_built, stored=stored, size=size), run, size)
    ready = images[:, :size, :size].astype(np.float32)

    def loop(batch: int) -> None:
        for start in range(0, n, batch):
            model.predict_on_batch(ready[start : start + batch])

    for batch in batches:
        loop(batch)
    best = min(batches, key=lambda batch: seconds(partial(loop, batch))())
    which = "folded as ours" if folded else "as Keras builds it"
    return compare(
        f"8 views {run.backbone} {size} px",
        seconds(lambda: predict_views(built.for_prediction().model, images, views.view_set("dihedral8"), 64)),
        lambda: 8 * seconds(partial(loop, best))(),
        unit="s",
        goal="<= 1.05",
        note=f"{n} galaxies; reference: 8 x single view, no warp, batch {best}, network {which}",
    )


def precision_rows(quick: bool) -> Iterator[Row]:
    """The precision that the rule chooses, against the better of both: a training step."""
    size, batch = (32, 4) if quick else (96, 16)
    for backbone in ("vgg16",) if quick else ("vgg16", "resnet50", "efficientnetb0"):
        timed = {}
        for precision in ("float32", "mixed_bfloat16"):
            run = _run(backbone, precision=precision, batch_size=batch)
            images, labels = galaxies(batch, size)
            built = built_of(run, stored=size, size=size)
            trainer = fit.Trainer(built, run, 1, images, labels, None)
            trainer.prepare("fine-tune", trainer.model, 1e-5, 1000, warmup=0.0, ema=0.0)
            timed[precision] = rate(partial(_train, trainer.model, _stream(images, labels, run), 2), 2 * batch)
        chosen, reason = runtime.choose_precision("auto")
        other = next(precision for precision in timed if precision != chosen)
        note = f"{chosen} ({reason}) against {other}, batch {batch} at {size} px"
        yield compare(f"precision of {backbone}", timed[chosen], timed[other], unit="images/s", goal=">= 1", note=note)


def _train(model: keras.Model, batches: Iterator[data.Batch], steps: int) -> None:
    for batch in islice(batches, steps):
        model.train_on_batch(*batch)
