"""Two-phase fit of one network, fold after fold: head on frozen features, then fine-tuning with a moving average.

The network is built and traced once; a fold starts by putting back its first weights and optimiser state.
"""

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from pipeline.core import views
from pipeline.core.counts import training_counts
from pipeline.core.metrics import mean_answers, rmse
from pipeline.nn import checkpoints, data, layer_decay, loss, runtime
from pipeline.nn.callbacks import (
    Checkpoint,
    EpochLogger,
    KeepBest,
    moving_averages,
    should_stop_early,
    unwrapped_optimizer,
    validation_rmse,
    with_averaged_weights,
)
from pipeline.nn.head import Start, start_at_mean, start_at_regression
from pipeline.nn.history import History
from pipeline.nn.network import Network
from pipeline.nn.predict import predict_head, predict_views
from pipeline.plans.run import Run

log = logging.getLogger(__name__)
SCORED_EPOCHS = 5  # epochs of a fold that are validated, where early stopping does not need every epoch


class Trainer:
    """Trains one run's network once per fold."""

    def __init__(
        self,
        network: Network,
        run: Run,
        seed: int,
        images: np.ndarray,
        labels: np.ndarray,
        features: np.ndarray | None,
        votes: np.ndarray | None = None,
        between_epochs: Callable[[float], None] = lambda seconds: None,
    ):
        """images uint8 (n, s, s, 3), labels float32 (n, c), NaN where unknown, of all training galaxies, rows alike.

        `votes` (n, q) are numbers of votes of each question, where these are what is learnt; else None.

        features (n, d): of the frozen backbone, averaged over the run's views; None where the head has no phase.
        `between_epochs` is called between epochs of fine-tuning with the seconds of the last; what it raises ends
        the fit, which resumes from there at the next call.
        """
        self.network, self.run, self.seed = network, run, seed
        self.between_epochs = between_epochs
        self.starts: dict[int, Start] = {}  # fold -> where its head starts; the same for all runs of these features
        self.images, self.labels, self.features, self.votes = images, labels, features, votes
        self.masked = bool(np.isnan(labels).any())
        self.model = keras.Model(network.model.inputs, network.model.outputs)  # compiled; network.model stays bare
        self._first = network.model.get_weights()
        self._compiled: dict[
            str, tuple[int, list[np.ndarray]]
        ] = {}  # phase -> steps_per_execution, its optimiser's variables

    def begin_from(self, backbone: list[np.ndarray]) -> None:
        """Let fits start from these weights of the backbone, as its `get_weights` gives them, with a new head."""
        self.network.model.set_weights(self._first)
        self.network.backbone.set_weights(backbone)
        self._first = self.network.model.get_weights()
        self.starts.clear()

    def fit(
        self, train: np.ndarray, valid: np.ndarray, fold: int, folder: Path, start: Path | None = None
    ) -> dict[str, Any]:
        """Train on rows `train`, score on rows `valid`, leave the network with the fold's weights; returns facts.

        `start` is a file of whole-network weights to start from, instead of the first weights of backbone and head.
        history.csv and the checkpoint go to `folder`: an interrupted fold resumes after its last complete epoch.
        Raises Diverged where the loss is not finite.
        """
        started = time.monotonic()
        checkpoint = folder / "checkpoint.weights.h5"
        history = History(folder / "history.csv", resume=checkpoint.is_file())
        self.network.model.set_weights(self._first)
        start_at_mean(self.network.head, mean_answers(self.labels[train]))
        if start:
            self.network.model.load_weights(start)
        if self.run.head_phase.epochs and not history.rows:
            self._fit_head(train, valid, fold, history)
        if self.run.fine_tune.epochs:
            self._fine_tune(train, valid, fold, checkpoint, history)
        checkpoints.remove(folder)
        seconds = sum(row["seconds"] for row in history.rows)
        facts = {"train_seconds": seconds, "wall_seconds": time.monotonic() - started, "epochs": len(history.rows)}
        kept = (
            min(history.of_phase("fine-tune"), key=validation_rmse) if self.run.fine_tune.patience else history.rows[-1]
        )
        return facts | {"val_rmse": validation_rmse(kept)}

    def _fit_head(self, train: np.ndarray, valid: np.ndarray, fold: int, history: History) -> None:
        """First phase: the head on the frozen backbone's features."""
        head, phase, batch_size = self.network.head, self.run.head_phase, max(self.run.batch_size, 64)
        steps = data.steps_per_epoch(len(train), batch_size)
        total = steps * phase.epochs
        self.prepare("head", head, phase.learning_rate, total, warmup=0.0, ema=0.0, steps_per_execution=steps)
        start = start_at_regression(head, self.features[train], self.labels[train], self.starts.get(fold))
        if start and fold not in self.starts:
            self.starts[fold] = start
            what = "logistic regression" if self.network.schema.describes_classes else "ridge"
            log.info("train      %s fold %d: head starts at %s, penalty %.3g", self.run.name, fold, what, start[2])

        def score(epoch: int) -> float:
            return rmse(self.labels[valid], predict_head(head, self.features[valid]))

        bar = tqdm(total=phase.epochs, desc=f"{self.run.name} fold {fold} head", unit="epoch", leave=False)
        stream = data.feature_batches(
            self.features,
            self._targets(train),
            rows=train,
            batch_size=batch_size,
            seed=(self.seed, fold, 2),
            epochs=phase.epochs,
        )
        head.fit(
            stream,
            steps_per_epoch=steps,
            epochs=phase.epochs,
            verbose=0,
            callbacks=[EpochLogger(history, "head", score, bar, seed=(self.seed, fold, 0), per_batch=False)],
        )
        bar.close()

    def _fine_tune(self, train: np.ndarray, valid: np.ndarray, fold: int, checkpoint: Path, history: History) -> None:
        """Second phase: the backbone from the chosen layer on, on randomly warped images."""
        run, phase = self.run, self.run.fine_tune
        steps = data.steps_per_epoch(len(train), run.batch_size)
        total = steps * phase.epochs
        self.prepare("fine-tune", self.model, phase.learning_rate, total, warmup=phase.warmup, ema=phase.ema)
        if checkpoint.is_file():
            self.model.load_weights(checkpoint)
        done = int(unwrapped_optimizer(self.model.optimizer).iterations) // steps
        history.truncate("fine-tune", done)
        stream = data.training_batches(
            self.images,
            self._targets(train),
            rows=train,
            batch_size=run.batch_size,
            augment=run.augment,
            seed=(self.seed, fold),
            epochs=range(done, phase.epochs),
        )
        seen = views.view_set("single")

        every = 1 if phase.patience else math.ceil(phase.epochs / SCORED_EPOCHS)

        def score(epoch: int) -> float:
            if epoch % every and epoch != phase.epochs:
                return math.nan
            with with_averaged_weights(self.model):
                model = self.network.for_prediction().model
                return rmse(self.labels[valid], predict_views(model, self.images[valid], seen, 2 * run.batch_size))

        bar = tqdm(total=total, initial=done * steps, desc=f"{run.name} fold {fold}", unit="step", leave=False)
        best = checkpoint.with_name("best.weights.h5")
        keep = [KeepBest(self.network.model, self.model, history, best, phase.patience)] if phase.patience else []
        epoch = EpochLogger(history, "fine-tune", score, bar, seed=(self.seed, fold, 1), per_batch=True)
        if done < phase.epochs and not should_stop_early(history, phase.patience):
            self.model.fit(
                stream,
                steps_per_epoch=steps,
                epochs=phase.epochs,
                initial_epoch=done,
                verbose=0,
                callbacks=[epoch, *keep, Checkpoint(checkpoint, history, self.between_epochs)],
            )
        else:  # interrupted after its last epoch
            self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        bar.close()
        if best.is_file():
            self.network.model.load_weights(best)

    def _targets(self, train: np.ndarray) -> np.ndarray:
        """What the loss compares answers with (n, c): the labels, or numbers of votes, scaled by rows `train`."""
        schema = self.network.schema
        if self.votes is not None:
            return training_counts(schema, self.labels, self.votes, train)
        return np.nan_to_num(self.labels) if self.masked and self.run.loss == "votes" else self.labels

    def prepare(
        self,
        phase: str,
        model: keras.Model,
        rate: float,
        total: int,
        *,
        warmup: float,
        ema: float,
        steps_per_execution: int = 1,
    ) -> None:
        """Compile once per phase; for each fold put the optimiser's variables back to their first values.

        `steps_per_execution`: see Keras; a step of a head is shorter than the way back to Python.
        """
        compiled_for, first = self._compiled.get(phase, (0, []))
        if compiled_for != steps_per_execution:
            self._compile(
                model,
                _cosine(rate, total, warmup),
                ema,
                steps_per_execution=steps_per_execution,
            )
            first = [ops.convert_to_numpy(v).copy() for v in model.optimizer.variables]
            self._compiled[phase] = steps_per_execution, first
        for variable, value in zip(model.optimizer.variables, first, strict=True):
            variable.assign(value)
        for variable, average in moving_averages(model):
            average.assign(ops.convert_to_numpy(variable))  # a copy: JAX would let both share one buffer, and free it

    def _compile(self, model: keras.Model, rate: Any, ema: float, *, steps_per_execution: int) -> None:
        optimizer = self._optimizer(model, rate, use_ema=ema > 0, ema_momentum=ema or 0.99)
        model.compile(
            optimizer,
            loss.get_loss(self.run.loss, self.network.schema, masked=self.masked),
            metrics=[keras.metrics.RootMeanSquaredError(name="rmse")] if self.votes is None and not self.masked else [],
            jit_compile=runtime.use_xla(whole_network=model is not self.network.head),
            steps_per_execution=steps_per_execution,
        )
        model.optimizer.build(model.trainable_variables)

    def _optimizer(self, model: keras.Model, rate: Any, **ema: Any) -> keras.optimizers.Optimizer:
        decay = self.run.fine_tune.layer_decay
        if decay == 1 or model is self.network.head:
            return keras.optimizers.AdamW(rate, weight_decay=self.run.weight_decay, **ema)
        factors = layer_decay.factors(self.network.backbone, model.trainable_variables, decay)
        return layer_decay.LayerwiseAdamW(rate, self.run.weight_decay, factors, **ema)


def _cosine(rate: float, total: int, warmup: float) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up over a share of the steps, then cosine decay to 1 %."""
    first = round(total * warmup)
    if not first:
        return keras.optimizers.schedules.CosineDecay(rate, total, alpha=0.01)
    return keras.optimizers.schedules.CosineDecay(
        rate / 100,
        max(1, total - first),
        alpha=0.01,
        warmup_target=rate,
        warmup_steps=first,
    )
