"""Keras callbacks of a fit: history, validation scores, checkpoints, early stopping; moving averages of weights."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from pipeline.errors import TrainingFailed
from pipeline.nn import checkpoints
from pipeline.nn.history import History


class Diverged(TrainingFailed):
    """The loss of a fold became NaN or infinite."""


def unwrapped_optimizer(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimiser itself, without the loss scaling that float16 puts around it."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def moving_averages(model: keras.Model) -> Iterator[tuple[keras.Variable, keras.Variable]]:
    """(weight, its moving average) pairs; none where the optimiser keeps no average."""
    optimizer = unwrapped_optimizer(model.optimizer)
    if optimizer.use_ema:
        yield from zip(optimizer._trainable_variables, optimizer._model_variables_moving_average, strict=True)


@contextmanager
def with_averaged_weights(model: keras.Model) -> Iterator[None]:
    """Within the block the model holds the moving averages of its weights."""
    pairs = list(moving_averages(model))
    raw = [ops.convert_to_numpy(variable).copy() for variable, _ in pairs]
    for variable, average in pairs:
        variable.assign(ops.convert_to_numpy(average))  # a copy: JAX frees the buffers of what it predicts with
    try:
        yield
    finally:
        for (variable, _), value in zip(pairs, raw, strict=True):
            variable.assign(value)


def _reseed(model: keras.Model, seed: tuple[int, ...]) -> None:
    """Reseed dropout, so that an epoch's random numbers do not depend on earlier training."""
    states = [variable for variable in model.variables if variable.name == "seed_generator_state"]
    values = np.random.SeedSequence(seed).generate_state(2 * len(states)) >> 1
    for state, value in zip(states, values.reshape(-1, 2), strict=True):
        state.assign(value.astype(state.dtype))


class EpochLogger(keras.callbacks.Callback):
    """Scores each epoch, writes its row of the history, moves the bar; stops the fold where the loss is not finite."""

    def __init__(self, history: History, phase: str, score, bar: tqdm, *, seed: tuple[int, ...], per_batch: bool):
        super().__init__()
        self.history, self.phase, self.score, self.bar = history, phase, score, bar
        self.seed, self.per_batch = seed, per_batch

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.started = time.monotonic()
        _reseed(self.model, (*self.seed, epoch))

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self.per_batch:
            self.bar.update(1)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if not math.isfinite(logs["loss"]):
            raise Diverged(f"{self.bar.desc}: the loss is {logs['loss']} in epoch {epoch + 1}; lower the learning rate")
        value = self.score(epoch + 1)
        self.history.append(
            phase=self.phase,
            epoch=epoch + 1,
            loss=logs["loss"],
            rmse=logs.get("rmse", math.nan),  # not of votes, nor where some answers are unknown
            val_rmse=value,
            learning_rate=float(self.model.optimizer.learning_rate),
            seconds=time.monotonic() - self.started,
        )
        if math.isfinite(value):
            self.bar.set_postfix_str(f"RMSE {value:.4f}", refresh=False)
        if not self.per_batch:
            self.bar.update(1)


def validation_rmse(row: dict) -> float:
    """The RMSE on the held-out galaxies of an epoch's row."""
    return row["val_rmse"]


def should_stop_early(history: History, patience: int) -> bool:
    """Whether the last `patience` epochs of fine-tuning (0: never) brought no improvement."""
    scores = [validation_rmse(row) for row in history.of_phase("fine-tune")]
    return bool(patience and scores) and len(scores) - 1 - int(np.argmin(scores)) >= patience


class KeepBest(keras.callbacks.Callback):
    """Keeps the averaged weights of the best epoch and stops after `patience` epochs without a better one."""

    def __init__(self, bare: keras.Model, model: keras.Model, history: History, path: Path, patience: int):
        super().__init__()
        self.bare, self.trained, self.history, self.path, self.patience = bare, model, history, path, patience

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        rows = self.history.of_phase("fine-tune")
        if min(rows, key=validation_rmse) is rows[-1]:
            with with_averaged_weights(self.trained):
                checkpoints.save(self.bare, self.path)
        self.model.stop_training = should_stop_early(self.history, self.patience)


class Checkpoint(keras.callbacks.Callback):
    """Saves weights, averages and optimiser state after each epoch, so that an interrupted fold can resume.

    Beside them checkpoint.sha256, a line an epoch: sha256, epochs, and the digest of their history.
    Then, unless it was the last, `between_epochs` is called with the seconds that the epoch took.
    """

    def __init__(self, path: Path, history: History, between_epochs: Callable[[float], None]):
        super().__init__()
        self.path, self.history, self.between_epochs = path, history, between_epochs

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        checkpoints.save(self.model, self.path, epoch + 1, self.history.digest(epoch + 1))
        if epoch + 1 < self.params["epochs"]:
            self.between_epochs(time.monotonic() - self.started)
