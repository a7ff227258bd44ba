"""The state of a training run on disk, so that an interrupted run goes on as if it had not been."""

from __future__ import annotations

import json
import sys
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from tfbs_shift.errors import InputError
from tfbs_shift.files import replacing

_LAST_STATES = 2


@dataclass
class State:
    """Where a run is.

    Attributes:
        epoch, step: the epoch in progress (from 0), and how many of its steps are done.
        values: of every variable of model, optimizer, metrics and draws, in the trainer's order.
        history: one row for each epoch that is done.
        callbacks: the attributes of each callback that go back to the epochs so far.
        ended: training is over; only its end remains to be written.
        flagfile: of the run that it is of.
    """

    epoch: int = 0
    step: int = 0
    values: list[np.ndarray] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    callbacks: list[dict[str, Any]] = field(default_factory=list)
    ended: bool = False
    flagfile: str = ""


class Checkpoints:
    """The last states of a run, in files ``state-EPOCH-STEP.npz`` of a folder.

    Cost of one: the weights and two moments of each (12 bytes a weight with Adam), copied from the
    device and written.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def files(self) -> list[Path]:
        """Oldest first."""
        return sorted(self.folder.glob("state-*.npz"))

    def save(self, state: State) -> None:
        """Writes a state, and removes all but the last two.

        Raises:
            OSError: no room for it, say; the states before it are whole.
        """
        about = {
            name: getattr(state, name)
            for name in ("epoch", "step", "history", "callbacks", "ended", "flagfile")
        }
        arrays = {f"value{i:05d}": value for i, value in enumerate(state.values)}
        text = np.frombuffer(json.dumps(about).encode(), np.uint8)
        path = self.folder / f"state-{state.epoch:06d}-{state.step:09d}.npz"
        # Not numpy's savez: on a full disk it leaves open what complains once more when freed.
        with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
            for name, array in {"about": text, **arrays}.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
        last = [file for file in self.files if file <= path][-_LAST_STATES:]
        for file in set(self.files) - set(last):  # one ahead of us was damaged
            file.unlink()

    def latest(self) -> State | None:
        """The last whole state; None if there is none. Damaged ones are named on standard error."""
        for path in reversed(self.files):
            try:
                with np.load(path, allow_pickle=False) as file:
                    about = json.loads(file["about"].tobytes())
                    count = len(file.files) - 1
                    values = [file[f"value{i:05d}"] for i in range(count)]
                return State(values=values, **about)
            except (OSError, ValueError, KeyError, TypeError, EOFError,
                    zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
                reason = " ".join(str(error).split()) or type(error).__name__
                print(f"{path}: damaged ({reason}); going on from the one before", file=sys.stderr)
        return None


def variables(trainer: keras.Model) -> list[Any]:
    """All that a step changes: weights, draws, dropout's seeds, optimizer, metrics; each once."""
    with_repeats = [*trainer.variables, *trainer.optimizer.variables, *trainer.metrics_variables]
    return list({id(variable): variable for variable in with_repeats}.values())


def values_of(trainer: keras.Model) -> list[np.ndarray]:
    """The values of :func:`variables`, copied."""
    return [np.array(ops.convert_to_numpy(variable)) for variable in variables(trainer)]


def assign(trainer: keras.Model, values: list[np.ndarray]) -> None:
    """Gives :func:`variables` the values of a state.

    Raises:
        InputError: they are of another model or optimizer.
    """
    targets = variables(trainer)
    if [tuple(v.shape) for v in targets] != [value.shape for value in values]:
        raise InputError("the checkpoint is of another model or optimizer")
    for variable, value in zip(targets, values, strict=True):
        variable.assign(value)


_ATTRIBUTES = ("best", "wait", "cooldown_counter", "best_epoch", "stopped_epoch")
"""What Keras's callbacks that follow a metric (early stopping, schedules, checkpoints) change."""


def attributes_of(callback: keras.callbacks.Callback) -> dict[str, Any]:
    """The attributes of a callback that go back to earlier epochs, as JSON can hold them."""
    values = {name: getattr(callback, name) for name in _ATTRIBUTES if hasattr(callback, name)}
    return {
        name: value if value is None or isinstance(value, int) else float(value)
        for name, value in values.items()
    }


def set_attributes(callback: keras.callbacks.Callback, attributes: dict[str, Any]) -> None:
    """Gives a callback the attributes that :func:`attributes_of` found earlier."""
    for name, value in attributes.items():
        setattr(callback, name, value)
