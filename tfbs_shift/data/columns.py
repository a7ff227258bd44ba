"""Columns of examples that stay in their file: rows are read when they are asked for."""

from __future__ import annotations

import abc
import hashlib
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np

_GAP = 64
"""Wanted rows that lie further apart than this are read one run at a time."""


class Scratch(threading.local):
    """Memory that each thread uses again: the pages of new memory cost more than reading a file."""

    def __init__(self):
        self._bytes = np.empty(0, np.uint8)

    def array(self, shape: tuple[int, ...]) -> np.ndarray:
        """``uint8`` of a shape, of any content; valid until the thread asks for the next."""
        size = math.prod(shape)
        if len(self._bytes) < size:
            self._bytes = np.empty(size, np.uint8)
        return self._bytes[:size].reshape(shape)


class FileColumn(abc.ABC):
    """``uint8`` or another ``dtype``, (N, width), read from a file when sliced.

    ``column[rows]`` takes a slice, an index, indices in any order, or a mask, and returns an array;
    ``np.asarray(column)`` reads all of it.
    """

    dtype: np.dtype = np.dtype(np.uint8)
    ndim = 2
    shape: tuple[int, int]
    path: Path | None = None
    block: int = 1
    """Rows that the file keeps together: reads that begin and end at multiples cost least."""

    @abc.abstractmethod
    def read(self, begin: int, end: int) -> np.ndarray:
        """Rows begin..end, 0 <= begin < end <= N, as ``dtype`` (end - begin, width)."""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        if isinstance(rows, slice) and rows.step in (None, 1):
            begin, end, _ = rows.indices(len(self))
            return (
                self.read(begin, end) if begin < end else np.zeros((0, self.shape[1]), self.dtype)
            )
        rows = np.arange(len(self))[rows]
        if not rows.ndim:
            return self.read(int(rows), int(rows) + 1)[0]
        values = np.empty((len(rows), self.shape[1]), self.dtype)
        order = np.argsort(rows, kind="stable")
        for places in np.split(order, np.flatnonzero(np.diff(rows[order]) > _GAP) + 1):
            if len(places):
                begin, end = int(rows[places[0]]), int(rows[places[-1]]) + 1
                values[places] = self.read(begin, end)[rows[places] - begin]
        return values

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)


class Selection(FileColumn):
    """Some rows of another column.

    Args:
        column: where they are.
        rows: their indices, in the order wanted.
    """

    def __init__(self, column: FileColumn, rows: np.ndarray):
        self.column = column
        self.path = column.path
        self.rows = rows
        self.dtype = column.dtype
        self.shape = (len(rows), column.shape[1])
        self.block = column.block

    def read(self, begin: int, end: int) -> np.ndarray:
        return self.column[self.rows[begin:end]]


Column = np.ndarray | FileColumn
"""Rows in memory, or in a file until they are sliced."""


def rows_of(column: Column, rows: Any) -> Column:
    """``column[rows]`` that is read from the file only when it is sliced again."""
    if isinstance(column, FileColumn):
        return Selection(column, np.arange(len(column))[rows])
    return column[rows]


def digest_all(column: Any, digest: hashlib._Hash) -> None:
    """Adds every row of a column or array to a digest."""
    for begin in range(0, len(column), _DIGESTED):
        digest.update(np.ascontiguousarray(column[begin : begin + _DIGESTED]))


def digest_enough(column: Any, digest: hashlib._Hash) -> bool:
    """Adds what tells a column or array from others, without reading very much.

    That is every row where these are at most :data:`MUCH` bytes; else rows that are spread over all
    of it, and size and time of the file.

    Returns:
        Whether it was every row.
    """
    if math.prod(column.shape) * np.asarray(column[:1]).itemsize <= MUCH:
        digest_all(column, digest)
        return True
    for begin in np.linspace(0, len(column) - 1, _SPREAD).astype(int).tolist():
        digest.update(np.ascontiguousarray(column[begin : begin + 1]))
    if isinstance(column, FileColumn) and column.path is not None:
        about = column.path.stat()
        digest.update(f"{about.st_size} {about.st_mtime_ns}".encode())
    return False


MUCH = 2**31
_DIGESTED = 4096
"""Rows digested at once."""
_SPREAD = 4096
"""Rows of much data."""
