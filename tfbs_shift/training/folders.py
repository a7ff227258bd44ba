"""The folder of a run: what is in it, and whether a run goes on there."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path

import keras

from tfbs_shift.backend import devices
from tfbs_shift.errors import InputError
from tfbs_shift.files import replacing, write_rows
from tfbs_shift.training.checkpoints import Checkpoints, State


class RunFolder:
    """The files of a run.

    Args:
        path: the folder; it need not exist.
        flagfile: what ``flags.txt`` is to hold; tells one run from another.

    Attributes:
        checkpoints: the states of the run.
        best: the file of the best model so far.
        writes: this process writes the files: it is the first of several hosts, or alone.
    """

    def __init__(self, path: Path, flagfile: str):
        self.path, self.flagfile = path, flagfile
        self.checkpoints = Checkpoints(path / "checkpoints")
        self.best = self.checkpoints.folder / "best.keras"
        self.writes = devices.host()[0] == 0

    def unfinished(self) -> State | None:
        """The state from which a run goes on; None: it is a new one.

        Raises:
            InputError: the folder holds a run with other flags or data, or other hosts see another.
        """
        state = self.checkpoints.latest()
        if state is not None:
            self._check_same_run(state)
        devices.together("new run" if state is None else f"state {state.epoch}-{state.step}")
        return state

    def is_done(self) -> bool:
        """Whether the run has ended here, with these flags; what its end left over is removed."""
        earlier = self.path / "flags.txt"
        if not (self.path / "model.keras").is_file() or not earlier.is_file():
            return False
        if parse_flags(earlier.read_text(encoding="utf-8")) != parse_flags(self.flagfile):
            return False
        self._remove_states()
        return True

    def begin(self, state: State | None) -> None:
        """Writes the flags, and says where a run goes on."""
        if not self.writes:
            return
        with replacing(self.path / "flags.txt") as file:
            file.write_text(self.flagfile, encoding="utf-8")
        if state is None:
            self.best.unlink(missing_ok=True)  # of a run that left no state
        else:
            print(f"going on at epoch {state.epoch + 1}, step {state.step}")

    def save(self, state: State) -> None:
        """Writes a state, with the flags that it is of.

        Raises:
            InputError: the folder has been removed, or emptied.
        """
        if not (self.path / "flags.txt").is_file():
            raise InputError(f"{self.path}: was removed, or emptied, while the run wrote to it")
        state.flagfile = self.flagfile
        self.checkpoints.save(state)

    def write_history(self, rows: Sequence[dict[str, float]]) -> None:
        """Writes a row for each epoch that is done."""
        if self.writes:
            write_rows(self.path / "history.csv", rows)

    def write_model(self, model: keras.Model) -> None:
        """Writes the trained model; the states have then served their turn."""
        if not self.writes:
            return
        with replacing(self.path / "model.keras") as file:
            model.save(file)
        self._remove_states()

    def _remove_states(self) -> None:
        for file in self.checkpoints.files:
            file.unlink(missing_ok=True)

    def _check_same_run(self, state: State) -> None:
        """Raises InputError unless the unfinished run has the flags and the data of ours."""
        path = self.path / "flags.txt"
        earlier = state.flagfile
        if not earlier and path.is_file():  # states of older versions have none
            earlier = path.read_text(encoding="utf-8")
        if not earlier:
            return
        theirs, ours = parse_flags(earlier), parse_flags(self.flagfile)
        for name in sorted((theirs.keys() | ours.keys()) - set(_FREE)):
            if theirs.get(name) != ours.get(name):
                raise InputError(
                    f"{self.path}: holds an unfinished run with {name} {theirs.get(name)}, not "
                    f"{ours.get(name)}; give the same to go on, or choose another folder"
                )
        if _checksums(earlier) != _checksums(self.flagfile):
            raise InputError(
                f"{self.path}: holds an unfinished run on other data; choose another folder"
            )


_FREE = ("data", "epochs", "save_every", "log_dir", "profile")
"""Flags that may change when a run goes on: its steps stay what they are."""


def _checksums(flagfile: str) -> list[str]:
    """Those of the data, from the comments."""
    return re.findall(r"sha256.* ([0-9a-f]{16})", flagfile)


def parse_flags(flagfile: str) -> dict[str, str | int | float | bool]:
    """The values in the text of a flagfile, by name."""
    values: dict[str, str | int | float | bool] = {}
    for line in flagfile.splitlines():
        if line.startswith("--"):
            name, equals, value = line[2:].partition("=")
            if equals:
                values[name] = _number_or_text(value)
            else:
                values[name.removeprefix("no")] = not name.startswith("no")
    return values


def _number_or_text(value: str) -> str | int | float:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(value)
    return value
