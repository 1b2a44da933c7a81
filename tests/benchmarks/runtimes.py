"""Forward passes in float32 on a CPU: Keras as the pipeline calls it, against ONNX Runtime and OpenVINO."""

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp

import keras
import numpy as np

from pipeline.core import views
from pipeline.nn import data, exporting
from pipeline.nn.ensemble_graph import exportable
from pipeline.nn.network import Scale, pool
from pipeline.plans.backbones import BACKBONES
from pipeline.plans.run import Run
from tests.benchmarks.measure import Row, compare, rate
from tests.benchmarks.networks import built_of, galaxies

NAMES = ("mobilenetv2", "efficientnetlite0", "mobilenetv3small", "efficientnetb0", "efficientnetv2b0")
NAMES += ("resnet50", "convnexttiny", "vgg16")
SIZES, BATCH = (128, 160), 64


def rows(quick: bool) -> Iterator[Row]:
    """Images a second, one view, of every backbone: ours is Keras, with the warp; the reference has none."""
    if keras.backend.backend() != "tensorflow":
        return
    for name in NAMES[:1] if quick else NAMES:
        for size in SIZES[:1] if quick else SIZES:
            yield from of_backbone(name, size)


def of_backbone(name: str, size: int) -> Iterator[Row]:
    """A row for each other runtime that is installed."""
    run = Run.model_validate({"name": name, "backbone": name, "crop": "c", "fine_tune": {"epochs": 1}})
    built, (images, _) = built_of(run, stored=size, size=size), galaxies(BATCH, size)
    model = built.for_prediction().model
    (batch,) = data.viewed_batches(images, views.view_set("single"), BATCH)
    pixels = keras.Input((size, size, 3))
    backbone = exportable(built.for_prediction().backbone)
    whole = keras.Model(pixels, built.head(pool(backbone, Scale(BACKBONES[name].scaling)(pixels), run.pooling)))
    path = _exported(whole, size)
    expected = np.asarray(model.predict_on_batch(batch))
    for runtime in filter(find_spec, RUNTIMES):
        theirs = partial(RUNTIMES[runtime](path), images.astype(np.float32))
        np.testing.assert_allclose(theirs(), expected, atol=1e-4)
        made = (rate(partial(_repeated, work), 2 * BATCH) for work in (partial(model.predict_on_batch, batch), theirs))
        note = "below 0.77 another runtime would pay"
        yield compare(f"{name} {size} px, {runtime}", *made, unit="images/s", goal=">= 0.77", note=note)


def _repeated(work: Callable[[], object]) -> None:
    work(), work()


def _exported(whole: keras.Model, size: int) -> Path:
    import onnx
    import tensorflow as tf

    path = Path(mkdtemp()) / "model.onnx"
    argument = tf.TensorSpec((None, size, size, 3), tf.float32, "pixels")
    model = exporting.converted(lambda pixels: {"answers": whole(pixels, training=False)}, [whole], argument)
    onnx.save(model, path)
    return path


def _onnxruntime(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda given: session.run(None, {"pixels": given})[0]


def _openvino(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    import openvino

    hints = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "THROUGHPUT"}
    model = openvino.Core().compile_model(str(path), "CPU", hints)
    return lambda given: model(given)[0]


RUNTIMES = {"onnxruntime": _onnxruntime, "openvino": _openvino}
