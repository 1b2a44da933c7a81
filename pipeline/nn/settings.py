"""Environment of Keras and TensorFlow, set before either is imported: which of the user's settings count.

The backend is the user's choice (KERAS_BACKEND, else keras.json, else TensorFlow) where it is installed. Image
format, float type and epsilon are fixed by the pipeline; variables that cut training short are removed.
"""

import importlib.util
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core import machine
from pipeline.errors import UserError
from pipeline.plans.backbones import keras_folder

log = logging.getLogger(__name__)
BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}  # those of Keras's that can train
LIMITS = ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH", "KERAS_NNX_ENABLED")  # removed
FLAGS = ("XLA_FLAGS", "TF_XLA_FLAGS")  # XLA ends the process where it does not know one
FLAG_TESTS = {
    "tensorflow": "import tensorflow as tf; tf.function(lambda x: x + 1, jit_compile=True)(tf.zeros(1))",
    "jax": "import jax; jax.numpy.zeros(1) + 1",
}


def prepare_environment() -> None:
    """Set the environment for Keras's first import; UserError where it makes that impossible."""
    for name in LIMITS:
        os.environ.pop(name, None)
    os.environ["KERAS_NNX_ENABLED"] = "false"  # keras.json may say otherwise
    os.environ["KERAS_BACKEND"] = backend = choose_backend()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # off by default without AVX-512; 1.5x the training step there
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX takes GPU memory as it needs it
    if (flags := machine.cpu_flags()) and "avx" not in flags:
        raise UserError(f"this processor has no AVX, which {BACKENDS[backend]}'s packages are built for: use another")
    _try_flags(backend)


@contextmanager
def explain_import_errors() -> Iterator[None]:
    """Around Keras's first import: errors become UserError, since their cause is the installation or environment."""
    try:
        yield
    except Exception as error:
        what = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        backend = os.environ["KERAS_BACKEND"]
        raise UserError(
            f"Keras cannot be started on {BACKENDS[backend]} ({what}): mend or delete {_file()} if that is what it "
            f"speaks of, else install the packages of requirements.txt anew"
        ) from error


def choose_backend() -> str:
    """The user's backend; TensorFlow, with a warning, where that is not installed."""
    asked, by = os.environ.get("KERAS_BACKEND"), "KERAS_BACKEND"
    if not asked:
        asked, by = _in_file(), str(_file())
    if asked not in BACKENDS:
        raise UserError(f"{by} asks for {asked!r}; expected a backend that can train: {', '.join(BACKENDS)}")
    if importlib.util.find_spec(asked):
        return asked
    if not importlib.util.find_spec("tensorflow"):
        raise UserError("TensorFlow is not installed: .venv/bin/python -m pip install -r requirements.txt")
    log.warning("%s asks for %s, which is not installed here: Keras runs on TensorFlow", by, BACKENDS[asked])
    return "tensorflow"


def _file() -> Path:
    return keras_folder() / "keras.json"


def _in_file() -> str:
    """The backend in keras.json; its other settings are ignored here."""
    try:
        content = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    found = content.get("backend") if isinstance(content, dict) else None
    return found or "tensorflow"


def _try_flags(backend: str) -> None:
    """UserError where the user's flags for XLA end a process that starts with them."""
    given = {name: os.environ[name] for name in FLAGS if os.environ.get(name)}
    if not given or backend not in FLAG_TESTS:
        return
    trial = subprocess.run(
        [sys.executable, "-c", FLAG_TESTS[backend]], capture_output=True, text=True, errors="replace"
    )
    if trial.returncode:
        flags = " and ".join(f"{name}={value}" for name, value in given.items())
        why = (trial.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"{BACKENDS[backend]} does not start with {flags} in the environment: {why[:300]}; unset it")
