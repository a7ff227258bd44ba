"""A run: training into a folder that holds all that repeats it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import keras
import numpy as np
import tensorflow as tf

import tfbs_shift
from tfbs_shift import models, sequences
from tfbs_shift.data import Examples
from tfbs_shift.errors import InputError
from tfbs_shift.files import replacing
from tfbs_shift.models.outputs import Outputs
from tfbs_shift.strategies import ShiftStrategy
from tfbs_shift.training import ShiftTrainer
from tfbs_shift.windows import WindowRange


def train(
    model: keras.Model,
    training: Examples,
    validation: Examples,
    strategy: ShiftStrategy,
    validation_strategy: ShiftStrategy,
    out: Path,
    *,
    flagfile: str,
    window: int,
    max_shift: int | None = None,
    epochs: int = 100,
    batch_size: int = 64,
    learning_rate: float = 5e-5,
    patience: int = 25,
    lr_patience: int = 5,
    seed: int = 0,
) -> keras.Model:
    """Trains as the paper does, into a run folder.

    The folder gets ``flags.txt``, ``history.csv``, ``checkpoints/`` and, at the end,
    ``model.keras``; nothing, if the arguments do not fit.

    Adam; early stopping on the validation loss, the best weights kept; the learning rate times
    0.25 after ``lr_patience`` epochs without a gain of 1e-4. Defaults are the paper's for its small
    data sets.

    Args:
        model: softmax, one or several sigmoids, or compiled with its loss.
        training, validation: examples of one length, ``window`` or more.
        strategy, validation_strategy: how windows are chosen.
        out: the run folder. ``checkpoints/best.keras`` is the best model so far at any moment.
        flagfile: what ``flags.txt`` is to hold.
        window: bases the model reads.
        max_shift: the largest absolute shift, in bp; None: every start.
        epochs: at most.
        batch_size, learning_rate: of the training.
        patience: epochs without a gain after which training stops.
        lr_patience: epochs without a gain after which the learning rate falls; 0: it never does.
        seed: order of the examples.

    Returns:
        The trained model, as saved.

    Raises:
        InputError: model and data do not fit, or the loss is no number any more.
    """
    windows = WindowRange(training.length, window, max_shift)
    if validation.length != training.length:
        raise InputError(
            f"{validation.source}: {validation.length} bp, but the training sequences have "
            f"{training.length}"
        )
    centre = training.codes[:8][:, windows.centre : windows.centre + window]
    alphabet = models.alphabet(model)
    few = sequences.reorder(sequences.one_hot(centre), sequences.ACGT, alphabet)
    outputs = Outputs.of(model, few)
    batches = [
        dataclasses.replace(part, labels=outputs.labels(part.labels, len(part))).as_dataset(
            batch_size, shuffle=shuffle, seed=seed, alphabet=alphabet
        )
        for part, shuffle in ((training, True), (validation, False))
    ]
    trainer = ShiftTrainer(model, strategy, validation_strategy, window=window, max_shift=max_shift)
    trainer.compile(
        keras.optimizers.Adam(learning_rate),
        outputs.loss,
        metrics=["accuracy"] if outputs.exclusive else [],
        # XLA takes longer to compile on a CPU than it gains in a short run.
        jit_compile="auto" if tf.config.list_physical_devices("GPU") else False,
    )
    with replacing(out / "flags.txt") as file:
        file.write_text(flagfile)
    schedule = keras.callbacks.ReduceLROnPlateau(factor=0.25, patience=lr_patience, min_delta=1e-4)
    with _input_errors():
        trainer.fit(
            batches[0],
            validation_data=batches[1],
            epochs=epochs,
            shuffle=False,  # the dataset shuffles itself
            verbose=1 if sys.stdout.isatty() else 2,
            callbacks=[
                keras.callbacks.TerminateOnNaN(),
                *([schedule] if lr_patience else []),
                _KeepBest(out / "checkpoints" / "best.keras"),
                keras.callbacks.CSVLogger(str(out / "history.csv")),
                keras.callbacks.EarlyStopping(patience=patience, restore_best_weights=True),
            ],
        )
    if not all(np.isfinite(weight).all() for weight in model.get_weights()):
        raise InputError(
            f"learning_rate {learning_rate}: training diverged, the weights are no numbers any more"
        )
    with replacing(out / "model.keras") as file:
        model.save(file)
    return model


@contextlib.contextmanager
def _input_errors() -> Iterator[None]:
    """Raises what went wrong in reading as it was: tf.data makes an error of its own of it."""
    try:
        yield
    except tf.errors.OpError as error:
        found = re.search(r"InputError: ([^\n]+)", error.message)
        if not found:
            raise
        raise InputError(found[1]) from error


class _KeepBest(keras.callbacks.Callback):
    """Saves the model whenever the validation loss is the lowest so far."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self.best = float("inf")

    def on_epoch_end(self, epoch, logs=None):
        loss = logs.get("val_loss", float("nan"))  # absent when the epoch was cut short
        if loss < self.best:
            self.best = loss
            with replacing(self.path) as file:
                self.model.save(file)


def settings(folder: Path) -> dict[str, str | int | float | bool]:
    """The flags that a run folder was trained with, by name; {} where there is no such folder.

    Those that were not given have their defaults, which flags.txt holds as well.
    """
    file = folder / "flags.txt"
    if not file.is_file():
        return {}
    found: dict[str, str | int | float | bool] = {}
    for line in file.read_text().splitlines():
        if line.startswith("--"):
            name, given, value = line[2:].partition("=")
            if not given:
                found[name.removeprefix("no")] = not name.startswith("no")
            else:
                found[name] = _plain(value)
    return found


def _plain(value: str) -> str | int | float:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(value)
    return value


def provenance(*parts: Examples) -> list[str]:
    """Lines that say what a run was made with: versions, machine, and the data's checksum."""
    lines = [
        f"tfbs-shift {tfbs_shift.__version__}, Python {platform.python_version()}, "
        f"TensorFlow {tf.__version__}, Keras {keras.__version__}, numpy {np.__version__}, "
        f"h5py {h5py.__version__}",
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, "
        f"{len(tf.config.list_physical_devices('GPU'))} GPUs",
    ]
    for part in parts:
        line = f"{part.source}: {len(part)} examples of {part.length} bp, {part.checksum()}"
        if part.in_file and part.paired_strands(rows=64):
            line += ", the second half the other strand of the first"
        lines.append(line)
    return lines
