"""Opening HDF5 files; writing files so that nothing half-written ever bears its final name."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from tfbs_shift.errors import InputError

_SECONDS = 10.0


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``, of the same suffix, renamed to it on success.

    On failure the temporary file is removed and an earlier ``path`` is left as it was. Parent
    folders are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class Workspace:
    """Arrays that are filled row by row, in files of a folder if there is one, to go on later.

    Args:
        folder: where the ``.npy`` files are; None: in memory.
        fingerprint: what the work is. Files of other work in the folder are replaced.

    Attributes:
        done: rows that an earlier, interrupted call has filled.
    """

    def __init__(self, folder: Path | None, fingerprint: str):
        self.folder = folder
        self.fingerprint = fingerprint
        self.done = 0
        self._arrays: list[np.memmap] = []
        self._recorded = time.monotonic()
        if folder is not None and self._progress.exists():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # damaged: start over
                progress = json.loads(self._progress.read_text())
                if progress["fingerprint"] == fingerprint:
                    self.done = int(progress["rows"])
        if folder is not None and not self.done:
            self._progress.unlink(missing_ok=True)

    def array(self, name: str, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        """An array whose first ``done`` rows are filled.

        Raises:
            InputError: the file of an earlier call is not as it was left.
            OSError: no room for it on the disk.
        """
        if self.folder is None:
            return np.empty(shape, dtype)
        path = self.folder / f"{name}.npy"
        if not self.done:
            path.parent.mkdir(parents=True, exist_ok=True)
            array = np.lib.format.open_memmap(path, "w+", dtype, shape)
            _reserve(path)
        else:
            try:
                array = np.lib.format.open_memmap(path, "r+")
            except (OSError, ValueError) as error:
                raise InputError(f"{path}: damaged; remove {self.folder} to start over") from error
            if array.shape != shape or array.dtype != dtype:
                raise InputError(f"{path}: not as it was left; remove {self.folder} to start over")
        self._arrays.append(array)
        return array

    def record(self, rows: int, *, last: bool) -> None:
        """Notes that so many rows are filled; on disk every few seconds, and the last time."""
        if self.folder is None or (not last and time.monotonic() < self._recorded + _SECONDS):
            return
        for array in self._arrays:
            array.flush()
        with replacing(self._progress) as path:
            path.write_text(json.dumps({"fingerprint": self.fingerprint, "rows": rows}) + "\n")
        self._recorded = time.monotonic()

    @property
    def _progress(self) -> Path:
        assert self.folder is not None
        return self.folder / "progress.json"


def _reserve(path: Path) -> None:
    """Takes the room for a file now: a full disk would end the process when a map is written to."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                path.unlink()
                raise OSError(error.errno, error.strerror, str(path)) from error


def open_hdf5(path: Path) -> h5py.File:
    """An HDF5 file to read, in a way that suits many short rows of a contiguous dataset.

    HDF5 reads 64 KB for every short piece by default: a block of 1,024 examples of a contiguous
    train.mat (4,000 pieces of 1 KB) is read 5 times faster without.

    Raises:
        InputError: not a whole HDF5 file.
    """
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_sieve_buf_size(512)
    try:
        return h5py.File(h5py.h5f.open(str(path).encode(), h5py.h5f.ACC_RDONLY, access))
    except OSError as error:
        raise InputError(f"{path}: not a whole HDF5 file ({error})") from error
