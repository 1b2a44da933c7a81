"""The machine: Keras's start, devices, memory growth, seeds and number formats, each decision with its reason."""

import ctypes
import gc
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from pipeline.core import machine
from pipeline.errors import TrainingFailed, arose_from
from pipeline.nn import settings

settings.prepare_environment()


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Drop what C++ writes to file descriptor 2: TensorFlow greets there before any setting of ours reaches it."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


with _without_stderr(), settings.explain_import_errors():
    import keras

    keras.config.set_image_data_format("channels_last")  # whatever the user's keras.json says
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.disable_traceback_filtering()  # which also hides the error that led to the one shown

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        for _gpu in tf.config.list_physical_devices("GPU"):  # memory as it is needed; must stand before first use
            tf.config.experimental.set_memory_growth(_gpu, True)
        tf.function(lambda x: x + 1, jit_compile=True)(tf.zeros(1))  # starts devices and XLA, with their greetings
        list(tf.data.Dataset.from_generator(list, tf.int32))  # sets glibc's trim threshold, once: ours comes after
        logging.getLogger("tensorflow").setLevel(logging.ERROR)  # counts our several models as "retracing"
        logging.getLogger("absl").setLevel(logging.ERROR)  # by which TensorFlow tells how it exports
    logging.getLogger("jax").setLevel(logging.WARNING)  # tells which of its devices are not there


def _keep_freed_memory() -> None:
    """Let glibc keep large freed buffers for reuse instead of handing each back to the kernel at every step.

    On a CPU each operation allocates its output anew; unmapped and faulted in again page by page, that took over
    half of a training step of MobileNetV2 (2.6x measured). Up to 2 GB stay with the process. mallopt(3).
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt:
        mallopt(-4, 0)  # M_MMAP_MAX: no allocation by mmap
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD, in bytes


_keep_freed_memory()
warnings.filterwarnings("ignore", message=".*`shuffle=True` was passed.*")  # our stream is shuffled
warnings.filterwarnings("ignore", message=".*`input_shape` is undefined or non-square.*")  # weights fit any size

log = logging.getLogger(__name__)
HALF_ON_CPU = {"mixed_bfloat16": {"avx512_bf16", "amx_bf16"}, "mixed_float16": {"avx512_fp16", "amx_fp16"}}  # by any


@cache
def gpus() -> int:
    """Number of GPUs that the backend sees."""
    if keras.backend.backend() == "tensorflow":
        return len(tf.config.list_physical_devices("GPU"))
    if keras.backend.backend() == "jax":
        import jax

        return sum(device.platform == "gpu" for device in jax.devices())
    import torch

    return torch.cuda.device_count()


def choose_precision(wanted: str) -> tuple[str, str]:
    """(dtype policy, reason) to train by: as the plan says; where it says "auto", half precision on GPUs only.

    On a CPU bfloat16 makes dense convolutions up to 1.7 times as fast and costs accuracy: only for who asks for it.
    """
    if wanted == "auto":
        return _gpu_precision() if gpus() else ("float32", "a CPU computes in half precision only where the plan asks")
    can = machine.cpu_flags()
    if wanted in HALF_ON_CPU and can and not can & HALF_ON_CPU[wanted] and not gpus():
        return wanted, "the plan says so, though this CPU has no arithmetic for it: float32 would be faster"
    return wanted, "the plan says so"


def prediction_precision(trained: str) -> str:
    """The dtype policy of prediction for a network trained by that one: on a CPU always float32, as its weights are."""
    return trained if gpus() else "float32"


def _gpu_precision() -> tuple[str, str]:
    if keras.backend.backend() != "tensorflow":
        return "mixed_bfloat16", "the GPU computes in bfloat16, which needs no loss scaling"
    details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
    major, minor = details.get("compute_capability", (0, 0))
    if major >= 8:
        return "mixed_bfloat16", f"compute capability {major}.{minor} has bfloat16, which needs no loss scaling"
    if major >= 7:
        return "mixed_float16", f"compute capability {major}.{minor} has float16 tensor cores"
    return "float32", f"compute capability {major}.{minor} has no half-precision tensor cores"


def determinism() -> str:
    """How reproducible training is here, for the records."""
    if gpus():
        return "GPU kernels add in any order: the same seed gives weights that differ in their last digits"
    return "on a CPU of this kind the same seed and libraries give the same weights to the last bit"


def derived_seed(seed: int, name: str) -> int:
    """A 31-bit seed derived from a seed and a name, the same on every machine."""
    return int(np.random.SeedSequence((seed, *name.encode())).generate_state(1)[0] >> 1)


def with_halved_batches(work: Callable[[int], Any], batch_size: int, least: int) -> tuple[Any, int]:
    """(result of `work`, batch size used): the batch size is halved as long as memory does not suffice.

    TrainingFailed where that would go below `least`.
    """
    while True:
        try:
            return work(batch_size), batch_size
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if batch_size // 2 < least:
                raise TrainingFailed(
                    f"batches of {batch_size} do not fit into the memory; choose a smaller backbone or input_size"
                ) from None
        batch_size //= 2
        gc.collect()
        log.warning("out of memory: batches of %d from here on", batch_size)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an exception of Python or of a backend arose since memory is exhausted."""
    names = "ResourceExhaustedError", "OutOfMemoryError", "MemoryError"
    return any(type(one).__name__ in names or "RESOURCE_EXHAUSTED" in str(one) for one in arose_from(error))


def use_xla(*, whole_network: bool = True) -> bool:
    """Whether XLA compiles a training step: of a whole network on a GPU; on a CPU that makes it slower.

    On JAX always: without it each operation of each step is dispatched, and at first compiled, on its own.
    """
    return keras.backend.backend() == "jax" or (whole_network and bool(gpus()))
