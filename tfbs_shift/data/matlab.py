"""Arrays of ``uint8`` in MATLAB files, v7.3 (HDF5) and v5, without loading them.

MATLAB stores arrays column by column: a matrix that it calls (N, 4, L) lies in both kinds of file
as C-ordered (L, 4, N), which is the shape given here.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np

from tfbs_shift.data.columns import Scratch
from tfbs_shift.errors import InputError
from tfbs_shift.files import open_hdf5


@dataclass(frozen=True)
class Hdf5Array:
    """An array of a v7.3 file, which can be read anywhere."""

    path: Path
    dataset: h5py.Dataset
    scratch: Scratch = field(default_factory=Scratch)

    @property
    def name(self) -> str:
        """What MATLAB calls it."""
        return self.dataset.name[1:]

    @property
    def shape(self) -> tuple[int, ...]:
        """As h5py shows it."""
        return self.dataset.shape

    @property
    def block(self) -> int:
        """Entries of the last axis that are best read together: whole chunks, if not too long.

        A contiguous array has each of its rows in another place, whatever is read of it: short
        pieces cost as much as long ones.
        """
        together = self.dataset.chunks[-1] if self.dataset.chunks else 1024
        return min(-(-256 // together) * together, 16384)

    def read(self, rows: slice, begin: int, end: int) -> np.ndarray:
        """``uint8`` ``[rows, ..., begin:end]``, valid until the thread reads again."""
        count = len(range(*rows.indices(self.shape[0])))
        values = self.scratch.array((count, *self.shape[1:-1], end - begin))
        try:
            typed = values.view(self.dataset.dtype)
            self.dataset.read_direct(typed, np.s_[rows, ..., begin:end])
            return values
        except OSError as error:
            raise InputError(
                f"{self.path}: {self.name}: examples {begin}..{end} cannot be read ({error})"
            ) from error


@dataclass(frozen=True)
class Mat5Array:
    """An array of a v5 file, which is read from its beginning: it may be one compressed stream."""

    path: Path
    name: str
    shape: tuple[int, ...]
    element: int
    """Where its element begins in the file, in bytes."""
    before: int
    """Bytes of the element, inflated, before the values."""

    def planes(self) -> Iterator[np.ndarray]:
        """``uint8`` ``array[0]``, ``array[1]``, ..."""
        size = int(np.prod(self.shape[1:], dtype=np.int64))
        with self.path.open("rb") as file:
            try:
                stream = _contents(file, self.element)
                stream.read(self.before)
                for _ in range(self.shape[0]):
                    plane = np.frombuffer(stream.read(size), np.uint8)
                    yield plane.reshape(self.shape[1:])
            except (zlib.error, EOFError, ValueError) as error:
                raise InputError(f"{self.path}: {self.name}: damaged or truncated") from error


def mat_arrays(path: Path) -> dict[str, Hdf5Array | Mat5Array]:
    """The arrays of a ``.mat`` file by name; in a v5 file those of bytes alone.

    Raises:
        InputError: neither kind of file, or a damaged one.
    """
    if h5py.is_hdf5(path):
        items = open_hdf5(path).items()
        datasets = {
            name: item for name, item in items if isinstance(item, h5py.Dataset) and item.ndim
        }
        for name, item in datasets.items():
            if item.dtype not in (np.uint8, np.int8, np.bool_):
                raise InputError(f"{path}: {name}: {item.dtype} values; want uint8")
        return {name: Hdf5Array(path, item) for name, item in datasets.items()}
    try:
        return {array.name: array for array in _mat5_arrays(path)}
    except (zlib.error, struct.error, EOFError) as error:
        raise InputError(f"{path}: a damaged or truncated MAT v5 file") from error


# The v5 format (MathWorks, "MAT-File Format"): a header of 128 bytes, then elements. Each has a tag
# of 8 bytes, type and size; or of 4, the size in the upper half, if its data is 4 bytes at most. A
# matrix is an element made of elements: flags, dimensions, name, values. A compressed element is a
# zlib stream of one.
_MATRIX, _COMPRESSED = 14, 15
_BYTES = (1, 2)


def _mat5_arrays(path: Path) -> Iterator[Mat5Array]:
    with path.open("rb") as file:
        if file.read(128)[126:] != b"IM":
            raise InputError(f"{path}: neither an HDF5 (MATLAB v7.3) nor a MAT v5 file")
        end = path.stat().st_size
        at = 128
        while at < end:
            file.seek(at)
            kind, size = struct.unpack("<II", file.read(8))
            if at + 8 + size > end:
                raise InputError(f"{path}: truncated: {end} bytes, want {at + 8 + size}")
            if kind in (_MATRIX, _COMPRESSED):
                stream = _contents(file, at)
                _element(stream)  # flags
                shape = struct.unpack(f"<{len(raw := _element(stream)) // 4}i", raw)
                name = _element(stream).decode("ascii", "replace")
                values, count = _tag(stream)
                if values in _BYTES and count == np.prod(shape, dtype=np.int64):
                    yield Mat5Array(path, name, shape[::-1], at, stream.given)
            at += 8 + size


class _Stream:
    """The bytes of a matrix element, inflated if need be."""

    def __init__(self, file: BinaryIO, compressed: bool):
        self.file = file
        self.inflater = zlib.decompressobj() if compressed else None
        self.given = 0

    def read(self, size: int) -> bytes:
        """``size`` bytes; EOFError if there are fewer."""
        parts = []
        missing = size
        while missing:
            if self.inflater is None:
                part = self.file.read(missing)
            else:
                packed = self.inflater.unconsumed_tail or self.file.read(2**20)
                part = self.inflater.decompress(packed, missing)
                if packed and not part and not self.inflater.eof:
                    continue
            if not part:
                raise EOFError("the file ends too early")
            parts.append(part)
            missing -= len(part)
        self.given += size
        return b"".join(parts)


def _contents(file: BinaryIO, at: int) -> _Stream:
    """What the matrix element at byte ``at`` holds, after its tag."""
    file.seek(at)
    compressed = struct.unpack("<II", file.read(8))[0] == _COMPRESSED
    stream = _Stream(file, compressed)
    if compressed:
        stream.read(8)
        stream.given = 0
    return stream


def _tag(stream: _Stream) -> tuple[int, int]:
    """(type, bytes) of the next element, whose data comes next."""
    kind, short = struct.unpack("<HH", stream.read(4))
    return (kind, short) if short else (kind, struct.unpack("<I", stream.read(4))[0])


def _element(stream: _Stream) -> bytes:
    """The data of the next element, and on to the one after it."""
    begin = stream.given
    data = stream.read(_tag(stream)[1])
    stream.read(-(stream.given - begin) % 8)
    return data
