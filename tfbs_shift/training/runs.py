"""A run: training into a folder that holds all that repeats it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import keras
import numpy as np

import tfbs_shift
from tfbs_shift import models
from tfbs_shift.backend import computing, devices
from tfbs_shift.data import Examples
from tfbs_shift.errors import InputError
from tfbs_shift.files import replacing
from tfbs_shift.scanning.scans import ScanJob
from tfbs_shift.strategies import ShiftStrategy
from tfbs_shift.training.callbacks import KeepBest, Pace, Report, Resume, Validate
from tfbs_shift.training.checkpoints import Checkpoints, State
from tfbs_shift.training.feeding import Feed
from tfbs_shift.training.trainer import ShiftTrainer
from tfbs_shift.training.validating import Validation
from tfbs_shift.windows import WindowRange


def train(
    model: keras.Model,
    training: Examples,
    validation: Examples,
    strategy: ShiftStrategy,
    monitored: Mapping[str, ShiftStrategy],
    out: Path,
    *,
    flagfile: str,
    window: int,
    monitor: str | None = None,
    max_shift: int | None = None,
    epochs: int = 100,
    batch_size: int = 64,
    learning_rate: float = 5e-5,
    patience: int = 25,
    lr_patience: int = 5,
    seed: int = 0,
    precision: str = "float32",
    save_every: int = 1000,
    log_dir: Path | None = None,
    profile: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: bool = False,
) -> keras.Model:
    """Trains as the paper does, into a run folder; goes on where an interrupted call stopped.

    The folder gets ``flags.txt``, ``history.csv``, ``checkpoints/`` (the best model so far, and the
    last two states of the run) and, at the end, ``model.keras``; nothing, if the arguments do not
    fit. A call with the same arguments goes on from the last whole state. On a CPU the run then
    ends with the bits of one that was never interrupted; only the rates in ``history.csv`` differ.

    Adam; early stopping, the best weights and the schedule (the learning rate times 0.25 after
    ``lr_patience`` epochs without a gain of 1e-4) follow the validation loss under ``monitor``.
    Defaults are the paper's for its small data sets. What is validated is the loss of the data:
    without L1 and L2, in float32, on the same random windows in each epoch.

    Called inside ``devices.distributed``, with a model that was made there, several devices
    share each batch; of several hosts the first one writes.

    Args:
        model: softmax, one or several sigmoids, or compiled with its loss.
        training, validation: examples of one length, ``window`` or more.
        strategy: how training windows are chosen.
        monitored: how validation windows are chosen, by name; metrics of each go to the history.
        out: the run folder. ``checkpoints/best.keras`` is the best model so far at any moment.
        flagfile: what ``flags.txt`` is to hold; tells one run from another.
        window: bases the model reads.
        monitor: which of ``monitored`` decides; None: the first.
        max_shift: the largest absolute shift, in bp; None: every start.
        epochs: at most.
        batch_size, learning_rate: of the training; examples of all devices together.
        patience: epochs without a gain after which training stops.
        lr_patience: epochs without a gain after which the learning rate falls; 0: it never does.
        seed: order of the examples.
        precision: "float32", "mixed_bfloat16" or "mixed_float16": what the steps compute in.
        save_every: steps between two states inside an epoch.
        log_dir: a folder for TensorBoard, which must be installed, and TensorFlow.
        profile: put a profile of ten steps there, too.
        callbacks: Keras callbacks, after those named above. Of those that follow a metric, ``best``
            and ``wait`` outlast an interruption. Where a run goes on inside an epoch, that one and
            the others are two trainings to them.
        progress: show bars on standard error.

    Returns:
        The trained model, as saved.

    Raises:
        InputError: model and data do not fit, the folder holds another run, or the loss is no
            number any more.
        Interrupted: a signal has ended the run; its state is saved.
    """
    windows = WindowRange(training.length, window, max_shift)
    if validation.length != training.length:
        raise InputError(
            f"{validation.source}: {validation.length} bp, but the training sequences have "
            f"{training.length}"
        )
    if log_dir is not None and importlib.util.find_spec("tensorboard") is None:
        raise InputError(f"log_dir {log_dir}: needs TensorBoard: pip install tensorboard")
    checkpoints = Checkpoints(out / "checkpoints")
    state = checkpoints.latest()
    if state is not None:
        _check_same_run(out, flagfile)
    devices.together("new run" if state is None else f"state {state.epoch}-{state.step}")
    writes = devices.host()[0] == 0
    x = validation.one_hot(models.alphabet(model))
    job = ScanJob.of(model, x, validation.labels, window=window, max_shift=max_shift, protect=None)
    labels = job.outputs.labels(training.labels, len(training))
    feed = Feed(
        training.codes, labels, batch_size, seed=seed, replicas=devices.replicas(),
        host=devices.host(),
    )  # fmt: skip
    trainer = ShiftTrainer(model, strategy, window=window, max_shift=max_shift, dtype=precision)
    trainer.compile(
        keras.optimizers.Adam(learning_rate),
        job.outputs.loss,
        metrics=["accuracy"] if job.outputs.exclusive else [],
        jit_compile=computing.gains_from_xla(),
    )
    tries = strategy.count(windows)
    best_file = checkpoints.folder / "best.keras"
    best = KeepBest(best_file if writes else None)
    follow: list[keras.callbacks.Callback] = [
        keras.callbacks.EarlyStopping(patience=patience, mode="min"),
        best,
        *callbacks,
    ]
    if lr_patience:
        follow.insert(
            0,
            keras.callbacks.ReduceLROnPlateau(
                factor=0.25, patience=lr_patience, min_delta=1e-4, mode="min"
            ),
        )
    watching: list[keras.callbacks.Callback] = []
    if writes and log_dir is not None:
        watching.append(
            keras.callbacks.TensorBoard(str(log_dir), profile_batch=(11, 20) if profile else 0)
        )
    if writes:
        watching.append(Report(epochs))
    resume = Resume(
        checkpoints if writes else None, state or State(), feed, follow, epochs=epochs,
        every=save_every, history=out / "history.csv" if writes else None,
    )  # fmt: skip
    if writes:
        with replacing(out / "flags.txt") as file:
            file.write_text(flagfile)
        if state is None:
            best_file.unlink(missing_ok=True)  # of a run that left no state
        else:
            print(f"going on at epoch {state.epoch + 1}, step {state.step}")
    progress = progress and writes
    if computing.name() == "tensorflow":  # Keras feeds it by from_generator
        computing.keep_freed_memory()
    told = [
        Pace(feed, tries + 1 if tries > 1 else 1, epochs, progress=progress),
        Validate(
            Validation(job, monitored), monitor or next(iter(monitored)), progress=progress
        ),
        *follow,
        *watching,
        resume,
    ]  # fmt: skip
    with resume, computing.reading_errors():
        for first, last in resume.spans():
            # Not shuffled by Keras: the feed's order is the seed's.
            trainer.fit(
                feed, initial_epoch=first, epochs=last, shuffle=False, verbose=0, callbacks=told
            )
    devices.together("the end")  # the best model is written
    if not best_file.exists():
        raise InputError(
            f"learning_rate {learning_rate}: training diverged, the loss is no number any more"
        )
    model.load_weights(best_file)
    if writes:
        resume.write_history()
        with replacing(out / "model.keras") as file:
            model.save(file)
        for file in checkpoints.files:  # an end needs no way on
            file.unlink()
    return model


_FREE = ("data", "epochs", "save_every", "log_dir", "profile")
"""Flags that may change when a run goes on: its steps stay what they are."""


def _check_same_run(out: Path, flagfile: str) -> None:
    """Raises InputError unless an unfinished run in a folder has the flags and the data of ours."""
    path = out / "flags.txt"
    if not path.is_file():
        return
    other = path.read_text()
    theirs, ours = parse_flags(other), parse_flags(flagfile)
    for name in sorted((theirs.keys() | ours.keys()) - set(_FREE)):
        if theirs.get(name) != ours.get(name):
            raise InputError(
                f"{out}: holds an unfinished run with {name} {theirs.get(name)}, not "
                f"{ours.get(name)}; give the same to go on, or choose another folder"
            )
    sums = [re.findall(r"sha256.* ([0-9a-f]{16})", text) for text in (other, flagfile)]
    if sums[0] != sums[1]:
        raise InputError(f"{out}: holds an unfinished run on other data; choose another folder")


def settings(folder: Path) -> dict[str, str | int | float | bool]:
    """The flags that a run folder was trained with, by name; {} where there is no such folder.

    Those that were not given have their defaults, which flags.txt holds as well.
    """
    file = folder / "flags.txt"
    return parse_flags(file.read_text()) if file.is_file() else {}


def parse_flags(flagfile: str) -> dict[str, str | int | float | bool]:
    """The values in the text of a flagfile, by name."""
    found: dict[str, str | int | float | bool] = {}
    for line in flagfile.splitlines():
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
        f"{computing.version()}, Keras {keras.__version__}, numpy {np.__version__}, "
        f"h5py {h5py.__version__}",
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs; computed on "
        f"{computing.hardware()}",
    ]
    if devices.replicas() > 1:
        lines.append(f"batches shared by {devices.replicas()} devices of {devices.host()[1]} hosts")
    for part in parts:
        line = f"{part.source}: {len(part)} examples of {part.length} bp, {part.checksum()}"
        if part.in_file and part.paired_strands(rows=64):
            line += ", the second half the other strand of the first"
        lines.append(line)
    return lines
