"""Functions of images as files that other programs read: ONNX, SavedModel, LiteRT. TensorFlow backend only."""

import json
import logging
import warnings
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np

from pipeline.errors import UserError
from pipeline.nn.ensemble_graph import EnsembleGraph
from pipeline.plans.crops import IMAGE_SIDE

INPUT, OUTPUT = "images", "vote_fractions"
AXIS = "galaxies"  # name of the first axis of both, of any length
IMAGE = (IMAGE_SIDE, IMAGE_SIDE, 3)
OPSET = 17


def require_packages(form: str) -> None:
    """UserError where the packages or the backend that writing "onnx" or "saved-model" needs are missing."""
    if keras.backend.backend() != "tensorflow":
        raise UserError(f"export needs Keras on TensorFlow, not on {keras.backend.backend()}: unset KERAS_BACKEND")
    if form == "onnx" and not all(map(find_spec, ("tf2onnx", "onnxruntime"))):
        raise UserError(
            "--format onnx needs tf2onnx and onnxruntime: .venv/bin/python -m pip install -r requirements-extra.txt"
        )


def to_onnx(answer: EnsembleGraph, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write the function as ONNX, with metadata and a name for the axis that may have any length."""
    import onnx

    model = converted(lambda images: {OUTPUT: answer(images)}, answer.networks, _signature())
    for value, shape in ((model.graph.input[0], IMAGE), (model.graph.output[0], (len(answer.schema.columns),))):
        kind = value.type.tensor_type.elem_type
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, kind, (AXIS, *shape)))
    onnx.helper.set_model_props(model, dict(metadata or {}))
    onnx.save(model, path)


def converted(function: Callable, networks: Iterable[keras.Model], argument):
    """The ONNX model of a function of one tensor (a TensorSpec) that calls these networks.

    Their weights are arguments of what is converted and become the file's constants afterwards: every step of the
    converter's optimizers would copy constants, 60 times the weights in the end.
    """
    import onnx
    import tensorflow as tf
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.WARNING)
    variables = [variable for network in networks for variable in network.weights]
    weights = {f"weight_{i}": variable for i, variable in enumerate(variables)}

    def stateless(given, *values):
        with keras.StatelessScope(zip(variables, values, strict=True)):
            return function(given)

    signature = [argument, *(tf.TensorSpec(v.shape, v.dtype, name) for name, v in weights.items())]
    model, _ = tf2onnx.convert.from_function(tf.function(stateless), signature, opset=OPSET)
    asked = {value.name for value in model.graph.input}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.asarray(v), name) for name, v in weights.items() if name in asked
    )
    del model.graph.input[1:]
    return model


def run_onnx(path: Path, images: np.ndarray) -> np.ndarray:
    """What an ONNX file answers, one image after the other."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; its warnings are of how it optimizes
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run([OUTPUT], {INPUT: image[None]})[0] for image in images])


def to_saved_model(answer: EnsembleGraph, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write the function as a SavedModel, with metadata in assets.extra/metadata.json."""
    import tensorflow as tf

    module = tf.Module()
    module.networks = answer.networks  # whose variables are saved
    module.serve = tf.function(lambda images: {OUTPUT: answer(images)}, input_signature=[_signature()])
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve})
    (path / "assets.extra").mkdir()
    (path / "assets.extra" / "metadata.json").write_text(json.dumps(dict(metadata or {}), indent=1), encoding="utf-8")


def run_saved_model(path: Path, images: np.ndarray) -> np.ndarray:
    """What a SavedModel that was just written answers."""
    import tensorflow as tf

    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    return serve(tf.constant(images))[OUTPUT].numpy()


def to_litert(answer: EnsembleGraph, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write the function of one galaxy as a LiteRT file, of the operations that every runtime has, without metadata."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    traced = tf.function(lambda images: {OUTPUT: answer(images)}).get_concrete_function(_signature(galaxies=1))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([convert_variables_to_constants_v2(traced)])
    path.write_bytes(converter.convert())


def run_litert(path: Path, images: np.ndarray) -> np.ndarray:
    """What a LiteRT file answers, one image after the other."""
    import tensorflow as tf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it moves to another package
        interpreter = tf.lite.Interpreter(str(path))
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()

    def answer(image: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(given["index"], image[None])
        interpreter.invoke()
        return interpreter.get_tensor(made["index"])

    return np.concatenate([answer(image) for image in images])


def _signature(galaxies: int | None = None):
    import tensorflow as tf

    return tf.TensorSpec((galaxies, *IMAGE), tf.uint8, INPUT)


FORMATS = {  # how to write, how to ask
    "onnx": (to_onnx, run_onnx),
    "saved-model": (to_saved_model, run_saved_model),
    "litert": (to_litert, run_litert),
}
