"""A run: training into a folder that holds all that repeats it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import keras

from tfbs_shift import models
from tfbs_shift.backend import computing, devices
from tfbs_shift.data import Examples
from tfbs_shift.errors import InputError
from tfbs_shift.models.inputs import input_window
from tfbs_shift.models.vetting import vet_weights
from tfbs_shift.scanning.jobs import ScanJob
from tfbs_shift.strategies import ShiftStrategy
from tfbs_shift.tasks.inferring import Meaning
from tfbs_shift.training.callbacks import EpochSummary, KeepBest, Resume, Throughput, Validate
from tfbs_shift.training.checkpoints import State
from tfbs_shift.training.feeding import Feed
from tfbs_shift.training.folders import RunFolder, parse_flags
from tfbs_shift.training.settings import Settings
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
    settings: Settings,
    *,
    flagfile: str,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: bool = False,
) -> keras.Model:
    """Trains as the paper does, into a run folder; goes on where an interrupted call stopped.

    The folder gets ``flags.txt``, ``history.csv``, ``checkpoints/`` (the best model so far, the
    last two states) and, at the end, ``model.keras``; nothing, if the arguments do not fit. The
    same call goes on from the last whole state. On a CPU the run then ends with the bits of one
    that was never interrupted; only the rates in ``history.csv`` differ. Inside
    ``devices.distributed``, with a model that was made there, several devices share each batch; of
    several hosts the first one writes.

    Args:
        model: softmax, one or several sigmoids, or compiled with its loss.
        training, validation: examples of one length, the window's or more.
        strategy: how training windows are chosen.
        monitored: how validation windows are chosen, by name; metrics of each go to the history.
        out: the run folder.
        settings: how the run trains: a ``tfbs_shift.training.settings.Settings``.
        flagfile: what ``flags.txt`` is to hold; tells one run from another.
        callbacks: Keras callbacks, after the run's own. Of those that follow a metric, ``best``
            and ``wait`` outlast an interruption; a cut epoch's rest is a training of its own.
        progress: show bars on standard error.

    Returns:
        The trained model, as saved.

    Raises:
        InputError: model and data do not fit, the folder holds another run, or training diverged.
        Interrupted: a signal has ended the run; its state is saved.
    """
    windows = _windows(model, training, validation, settings)
    folder = RunFolder(out, flagfile)
    state = folder.unfinished()
    job = _validation_job(model, validation, windows, Meaning(None, settings.task, settings.loss))
    feed = _feed(training, job, settings)
    trainer = _compiled(model, strategy, job, settings)
    progress = progress and folder.writes
    stateful = [*_following_loss(settings, folder), *callbacks]
    resume = Resume(folder, state or State(), feed, stateful, settings)
    all_callbacks = [
        Throughput(feed, strategy.count(windows), settings.epochs, progress=progress),
        Validate(Validation(job, monitored), _monitor(settings, monitored), progress=progress),
        *stateful,
        *(_logging(settings) if folder.writes else ()),
        resume,
    ]
    folder.begin(state)
    _fit(trainer, feed, all_callbacks, resume)
    return _finish(model, folder, resume.state, settings)


def _windows(
    model: keras.Model, training: Examples, validation: Examples, settings: Settings
) -> WindowRange:
    """The windows of both sets, once it is sure that they are the same."""
    window = input_window(model, settings.window)
    windows = WindowRange(training.length, window, settings.max_shift)
    if validation.length != training.length:
        raise InputError(
            f"{validation.source}: {validation.length} bp, but the training sequences have "
            f"{training.length}"
        )
    return windows


def _monitor(settings: Settings, monitored: Mapping[str, ShiftStrategy]) -> str:
    """The name of the strategy that decides."""
    monitor = settings.monitor or next(iter(monitored))
    if monitor not in monitored:
        raise InputError(f"monitor {monitor!r}: is not validated; want {', '.join(monitored)}")
    return monitor


def _validation_job(
    model: keras.Model, validation: Examples, windows: WindowRange, meaning: Meaning
) -> ScanJob:
    """The model and what it is validated on, checked against each other."""
    x = validation.one_hot(models.alphabet(model))
    if validation.labels is None:
        raise InputError(f"{validation.source}: has no labels, and training needs them")
    return ScanJob.of(
        model, x, validation.labels, window=windows.window, max_shift=windows.max_shift,
        meaning=meaning,
    )  # fmt: skip


def _feed(training: Examples, job: ScanJob, settings: Settings) -> Feed:
    """This host's part of the training batches."""
    labels = job.task.labels(training.labels, len(training))
    return Feed(
        training.codes, job.task.for_loss(job.loss, labels), settings.batch_size,
        seed=settings.seed, replicas=devices.replicas(), host=devices.host(),
    )  # fmt: skip


def _compiled(
    model: keras.Model, strategy: ShiftStrategy, job: ScanJob, settings: Settings
) -> ShiftTrainer:
    trainer = ShiftTrainer(
        model, strategy, window=settings.window, max_shift=settings.max_shift,
        dtype=settings.precision,
    )  # fmt: skip
    trainer.compile(
        keras.optimizers.Adam(settings.learning_rate),
        job.loss,
        metrics=["accuracy"] if "accuracy" in job.task.means else [],
        jit_compile=computing.gains_from_xla(),
    )
    return trainer


def _following_loss(settings: Settings, folder: RunFolder) -> list[keras.callbacks.Callback]:
    """Callbacks that act on the validation loss: schedule, early stopping, the best model."""
    following: list[keras.callbacks.Callback] = [
        keras.callbacks.EarlyStopping(patience=settings.patience, mode="min"),
        KeepBest(folder.best if folder.writes else None),
    ]
    if settings.lr_patience:
        schedule = keras.callbacks.ReduceLROnPlateau(
            factor=0.25, patience=settings.lr_patience, min_delta=1e-4, mode="min"
        )
        following.insert(0, schedule)
    return following


def _logging(settings: Settings) -> list[keras.callbacks.Callback]:
    """Callbacks that show the epoch's logs."""
    summary = EpochSummary(settings.epochs)
    if settings.log_dir is None:
        return [summary]
    log_dir = str(Path(settings.log_dir).expanduser())
    steps = (11, 20) if settings.profile else 0
    return [keras.callbacks.TensorBoard(log_dir, profile_batch=steps), summary]


def _fit(
    trainer: ShiftTrainer, feed: Feed, callbacks: list[keras.callbacks.Callback], resume: Resume
) -> None:
    """Keras's ``fit``, as often as the run wants it."""
    if computing.name() == "tensorflow":  # Keras feeds it by from_generator
        computing.keep_freed_memory()
    with resume, computing.reading_errors():
        for first, last in resume.spans():
            # Not shuffled by Keras: the feed's order is the seed's.
            trainer.fit(
                feed, initial_epoch=first, epochs=last, shuffle=False, verbose=0,
                callbacks=callbacks,
            )  # fmt: skip


def _finish(model: keras.Model, folder: RunFolder, state: State, settings: Settings) -> keras.Model:
    """Gives the model the best weights, and writes what a run ends with."""
    devices.together("the end")  # the best model is written
    if not folder.best.exists():
        raise InputError(
            f"learning_rate {settings.learning_rate}: training diverged, the loss is no number any "
            "more"
        )
    vet_weights(folder.best)
    model.load_weights(folder.best)
    folder.write_history(state.history)
    folder.write_model(model)
    return model


def settings(folder: Path) -> dict[str, str | int | float | bool]:
    """The flags that a run folder was trained with, by name; {} where there is no such folder.

    Those that were not given have their defaults, which flags.txt holds as well.
    """
    file = folder / "flags.txt"
    return parse_flags(file.read_text()) if file.is_file() else {}
