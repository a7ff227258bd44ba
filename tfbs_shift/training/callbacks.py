"""What happens around the steps of a run: throughput, validation, best model, checkpoints."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
from tqdm.auto import tqdm

from tfbs_shift.backend import computing, devices
from tfbs_shift.backend.internals import make_variables
from tfbs_shift.errors import Interrupted
from tfbs_shift.files import replacing
from tfbs_shift.training.checkpoints import State, assign, attributes_of, set_attributes, values_of
from tfbs_shift.training.feeding import Feed
from tfbs_shift.training.folders import RunFolder
from tfbs_shift.training.settings import Settings
from tfbs_shift.training.validating import Validation

_REFRESH_SECONDS = 1.0

RATES = ("steps_per_second", "examples_per_second", "windows_per_second")
"""The columns of ``history.csv`` that no seed repeats."""


class Throughput(keras.callbacks.Callback):
    """Steps, examples and windows a second in the epoch's logs; a bar with the time left.

    The clock starts after the first step, which compiles.

    Args:
        feed: gives the batches.
        candidates: windows whose loss a step computes for an example, to choose one; 1: none.
        epochs: at most.
        progress: show the bar on standard error.
    """

    def __init__(self, feed: Feed, candidates: int, epochs: int, *, progress: bool):
        super().__init__()
        self.feed, self.epochs, self.progress = feed, epochs, progress
        self.windows = candidates + 1 if candidates > 1 else 1  # and the one that is trained on
        self._bar: Any = None
        self._steps = 0
        self._started = self._refreshed = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self._steps = 0
        self._started = self._refreshed = time.perf_counter()
        self._bar = tqdm(
            total=len(self.feed), initial=self.feed.first_step, unit="step", leave=False,
            desc=f"epoch {epoch + 1}/{self.epochs}", disable=not self.progress,
        )  # fmt: skip

    # Not at the end of a step: Keras would then wait for the device after each.
    def on_train_batch_begin(self, batch, logs=None):
        now = time.perf_counter()
        if batch == 1:
            self._started, self._steps = now, 0
        if batch:
            self._steps += batch > 1
            self._bar.update()
        if self.progress and now > self._refreshed + _REFRESH_SECONDS and batch > 1:
            self._refreshed = now
            rates = self._rates(now)
            metrics = self.model.get_metrics_result()
            postfix = {name: f"{float(value):.4g}" for name, value in metrics.items()}
            postfix |= {k.replace("_per_second", "/s"): f"{rates[k]:,.0f}" for k in RATES[1:]}
            self._bar.set_postfix(postfix, refresh=False)

    def on_epoch_end(self, epoch, logs=None):
        self._bar.close()
        self._steps += 1
        logs.update(self._rates(time.perf_counter()))

    def on_train_end(self, logs=None):
        if self._bar is not None:
            self._bar.close()

    def _rates(self, now: float) -> dict[str, float]:
        steps = self._steps / max(now - self._started, 1e-9)
        examples = steps * self.feed.batch_size
        return dict(zip(RATES, (steps, examples, examples * self.windows), strict=True))


class Validate(keras.callbacks.Callback):
    """Validation metrics of each strategy in the epoch's logs.

    ``val_<metric>`` is that of ``monitor``, which early stopping and the like follow;
    ``val_<strategy>_<metric>`` that of each.
    """

    def __init__(self, validation: Validation, monitor: str, *, progress: bool):
        super().__init__()
        self.validation, self.monitor, self.progress = validation, monitor, progress

    def on_epoch_end(self, epoch, logs=None):
        results = self.validation(progress=self.progress)
        logs.update({f"val_{metric}": value for metric, value in results[self.monitor].items()})
        for strategy, metrics in results.items():
            logs.update({f"val_{strategy}_{metric}": value for metric, value in metrics.items()})


class KeepBest(keras.callbacks.Callback):
    """Saves the model whenever ``val_loss`` is the lowest so far; ends training that diverged.

    It has where a loss is no finite number: that of validation, or of training, since a maximum
    (ReLU, pooling) may swallow the NaN that the weights make. A scaled loss (float16) may overflow
    in a step, which is then left out, and training goes on.

    Args:
        path: of the best model; None: this process saves none.
    """

    def __init__(self, path: Path | None):
        super().__init__()
        self.path = path
        self.best = math.inf
        self.best_epoch = -1

    def on_epoch_end(self, epoch, logs=None):
        losses = [logs["val_loss"]]
        if not isinstance(self.model.optimizer, keras.optimizers.LossScaleOptimizer):
            losses.append(logs["loss"])
        if not all(map(math.isfinite, losses)):
            print(f"epoch {epoch + 1}: the loss is no number any more; training ends")
            self.model.stop_training = True
        elif logs["val_loss"] < self.best:
            self.best, self.best_epoch = logs["val_loss"], epoch
            if self.path is not None:
                with replacing(self.path) as file:
                    self.model.save(file)


class EpochSummary(keras.callbacks.Callback):
    """One line an epoch on standard output; ``epochs`` at most."""

    def __init__(self, epochs: int):
        super().__init__()
        self.epochs = epochs
        self._started: float | None = None
        self._epochs_done = 0

    def on_epoch_begin(self, epoch, logs=None):
        if self._started is None:
            self._started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self._epochs_done += 1
        left = (time.perf_counter() - self._started) / self._epochs_done
        left *= 0 if self.model.stop_training else self.epochs - epoch - 1
        values = [
            f"{name.removesuffix('_per_second')}{'/s' if name in RATES else ''} "
            + (f"{value:,.0f}" if name in RATES else f"{value:.4g}")
            for name, value in logs.items()
        ]
        line = f"epoch {epoch + 1}/{self.epochs}: {', '.join(values)}"
        print(line + (f"; at most {_duration(left)} left" if left else ""), flush=True)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


class Resume(keras.callbacks.Callback):
    """Saves the state of the run, and puts an earlier one back; the last of the callbacks.

    An epoch that goes on inside is shorter than the others, and wants a ``fit`` of its own: Keras
    gives all epochs of one as many steps. ``spans`` has the epochs of each.

    Args:
        folder: where states and history are written.
        state: where to go on.
        feed: gives the batches.
        callbacks: those whose attributes belong to the state.
        settings: the last epoch, and the steps between states inside an epoch; each epoch's end
            makes one, too.
    """

    def __init__(
        self,
        folder: RunFolder,
        state: State,
        feed: Feed,
        callbacks: Sequence[keras.callbacks.Callback],
        settings: Settings,
    ):
        super().__init__()
        self.folder, self.state, self.feed = folder, state, feed
        self.callbacks, self.settings = list(callbacks), settings
        self._hosts = devices.host()[1]
        self._signal: int | None = None  # that asked the run to end
        self._handlers: dict[int, Any] = {}

    def spans(self) -> Iterator[tuple[int, int]]:
        """(first epoch, last epoch + 1) of each ``fit`` that is wanted."""
        while not self.state.ended and self.state.epoch < self.settings.epochs:
            first = self.state.epoch
            self.feed.begin(first, self.state.step)
            yield first, first + 1 if self.state.step else self.settings.epochs

    def on_train_begin(self, logs=None):
        for callback, attributes in zip(self.callbacks, self.state.callbacks, strict=False):
            set_attributes(callback, attributes)

    def on_epoch_begin(self, epoch, logs=None):
        if self.state.values:
            # With TensorFlow the first step makes the variables of optimizer and metrics.
            make_variables(self.model, self.feed[0])
            assign(self.model, self.state.values)
            self.state.values = []
            if not self.state.step:
                self.model.reset_metrics()
        self.feed.begin(epoch, self.state.step)

    def on_train_batch_begin(self, batch, logs=None):
        step = self.feed.first_step + batch
        if self._hosts > 1 and devices.asked_to_stop(self.state.epoch * len(self.feed) + step):
            self._signal = signal.SIGTERM
        if batch and (self._signal or step % self.settings.save_every == 0):
            self.state.step = step
            self._save()
        if step + 1 == len(self.feed):
            self.feed.end()
        computing.seed_step(self.feed.seed, self.state.epoch, step)

    def on_epoch_end(self, epoch, logs=None):
        self.state.history.append({"epoch": epoch, **{k: float(v) for k, v in logs.items()}})
        self.state.epoch, self.state.step = epoch + 1, 0
        self.state.ended = bool(self.model.stop_training) or epoch + 1 >= self.settings.epochs
        self.folder.write_history(self.state.history)
        self._save()

    def _save(self) -> None:
        self.state.callbacks = [attributes_of(callback) for callback in self.callbacks]
        if self.folder.writes:
            self.state.values = values_of(self.model)
            self.folder.save(self.state)
            self.state.values = []
        if self._signal:
            raise Interrupted(self._signal)

    def __enter__(self) -> Resume:
        """Lets SIGTERM and the first Ctrl-C end the run after the step in progress.

        Of several hosts JAX takes the signal, and tells all of them to end after the same step.
        """
        if self._hosts == 1 and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame) -> None:
        if self._signal:
            raise KeyboardInterrupt
        self._signal = number
