"""Arrays of zeros and ones in MATLAB files, v7.3 (HDF5) and v5, without loading them.

MATLAB stores arrays column by column: a matrix that it calls (N, 4, L) lies in both kinds of file
as C-ordered (L, 4, N), which is the shape given here. Whatever type of number it is, bytes come of
it, and what is neither 0 nor 1 is no smaller than 2.
"""

from __future__ import annotations

import itertools
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import h5py
import numpy as np

from tfbs_shift.data.columns import Scratch
from tfbs_shift.errors import InputError
from tfbs_shift.files import MOST_INFLATED, hdf5_array, hdf5_text, open_hdf5, readable


@dataclass(frozen=True)
class Hdf5Array:
    """An array of a v7.3 file, which can be read anywhere."""

    path: Path
    name: str
    dataset: h5py.Dataset
    scratch: Scratch = field(default_factory=Scratch)

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
        with readable(f"{self.path}: {self.name}: examples {begin}..{end} cannot be read"):
            values = self.scratch.array((count, *self.shape[1:-1], end - begin))
            if self.dataset.dtype.itemsize == 1:
                typed = values.view(self.dataset.dtype)
                self.dataset.read_direct(typed, np.s_[rows, ..., begin:end])
                return values
            # Doubles are eight times as large: block by block.
            inside = range((begin // self.block + 1) * self.block, end, self.block)
            for first, last in itertools.pairwise([begin, *inside, end]):
                numbers = self.dataset[rows, ..., first:last]
                values[..., first - begin : last - begin] = _as_bytes(numbers)
            return values


@dataclass(frozen=True)
class Mat5Array:
    """An array of a v5 file, which is read from its beginning: it may be one compressed stream."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    """As stored, which may be narrower than MATLAB's class."""
    element: int
    """Where its element begins in the file, in bytes."""
    before: int
    """Bytes of the element, inflated, before the values."""
    order: str
    """Of bytes: "<" or ">"."""

    def planes(self) -> Iterator[np.ndarray]:
        """``uint8`` ``array[0]``, ``array[1]``, ..."""
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        damaged = f"{self.path}: {self.name}: damaged or truncated"
        with self.path.open("rb") as file:
            with readable(damaged):
                stream = _Element(file, self.element, self.order)
                stream.read(self.before)
            for _ in range(self.shape[0]):
                with readable(damaged):
                    numbers = np.frombuffer(stream.read(size), self.dtype)
                    plane = _as_bytes(numbers.reshape(self.shape[1:]))
                yield plane
            with readable(damaged):
                stream.finish()


Array = Hdf5Array | Mat5Array


def _as_bytes(numbers: np.ndarray) -> np.ndarray:
    """``uint8``: 0 and 1 as they are, for anything else a byte above 1."""
    if numbers.itemsize == 1:
        return numbers.view(np.uint8)
    ones = numbers == 1
    values = ones.view(np.uint8)
    if np.count_nonzero(numbers) != np.count_nonzero(ones):
        values[(numbers != 0) & ~ones] = 255
    return values


def mat_variables(path: Path) -> dict[str, Callable[[], Array]]:
    """What opens each variable of a ``.mat`` file, by name.

    To open a variable raises InputError, if it is no full array of real numbers, or less is stored
    than its size says. A variable that is not opened may be anything.

    Raises:
        InputError: neither v7.3 nor v5, or damaged.
    """
    with readable(f"{path}: cannot be read"), path.open("rb") as file:
        head = file.read(128)
    if head[124:] in _V5:
        with readable(f"{path}: a damaged or truncated MAT v5 file"):
            return dict(_mat5_variables(path, _V5[head[124:]]))
    if not h5py.is_hdf5(path):
        what = (
            "a MAT v4 file" if _is_v4(head) else "neither an HDF5 (MATLAB v7.3) nor a MAT v5 file"
        )
        raise InputError(f"{path}: {what}; want one that MATLAB saved with -v7.3 or -v7")
    file = open_hdf5(path)
    with readable(f"{path}: not a whole HDF5 file"):
        names = [name for name in file if isinstance(name, str)]  # bytes that are no UTF-8
        return {name: partial(_hdf5_array, path, file, name) for name in names}


def _unfit(path: Path, name: str, what: str) -> InputError:
    return InputError(f"{path}: {name}: {what}; want a full array of numbers, 0 and 1")


# ---- v7.3 ----

_NUMBERS = {"double", "single", "logical"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}


def _hdf5_array(path: Path, file: h5py.File, name: str) -> Hdf5Array:
    dataset = hdf5_array(file, name)
    with readable(f"{path}: {name}: cannot be read"):
        kind = hdf5_text(dataset.attrs.get("MATLAB_class", "double"))
        if kind not in _NUMBERS:
            raise _unfit(path, name, f"a MATLAB {kind}")
        if dataset.attrs.get("MATLAB_empty", 0):
            raise _unfit(path, name, "empty")
        if dataset.dtype.kind not in "biuf" or not dataset.ndim:
            raise _unfit(path, name, f"{dataset.dtype} {dataset.shape}")
    return Hdf5Array(path, name, dataset)


# ---- v5 (MathWorks, "MAT-File Format") ----
# A header of 128 bytes, then elements. Each has a tag of 8 bytes, type and size; or of 4, the size
# in the upper half, if its data is 4 bytes at most. A matrix is an element made of elements: flags,
# dimensions, name, values. A compressed element is a zlib stream of one. Values are stored in the
# narrowest type that holds them, whatever the class of the array.

_V5 = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
"""Version and mark of the byte order, as they end the header."""
_MATRIX, _COMPRESSED = 14, 15
_TYPES = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_CLASSES = {1: "cell", 2: "struct", 3: "object", 4: "char", 5: "sparse matrix"}
_FIRST_NUMBER, _LAST_NUMBER = 6, 15
_COMPLEX = 0x0800
_MOST_HEADER = 2**12
"""Bytes of dimensions or name; MATLAB's names have 63 letters at most."""


def _is_v4(head: bytes) -> bool:
    """Whether a file begins as v4: byte order, type and shape in five words, and no text."""
    for order in "<>":
        if len(head) >= 20:
            kind, rows, columns, imaginary, name = struct.unpack(f"{order}5i", head[:20])
            known = kind % 10 <= 2 and kind // 10 % 10 <= 5 and kind // 100 in (0, 10)
            if known and rows >= 0 and columns >= 0 and imaginary in (0, 1) and 1 <= name <= 64:
                return True
    return False


def _mat5_variables(path: Path, order: str) -> Iterator[tuple[str, Callable[[], Array]]]:
    names = set()
    with path.open("rb") as file:
        end = path.stat().st_size
        at = 128
        while at < end:
            file.seek(at)
            kind, size = struct.unpack(f"{order}II", file.read(8))
            if at + 8 + size > end:
                raise InputError(f"{path}: truncated: {end} bytes, want {at + 8 + size}")
            if kind in (_MATRIX, _COMPRESSED):
                name = _Header.read(_Element(file, at, order)).name
                if name and name in names:
                    raise InputError(f"{path}: {name}: there twice; want it once")
                if name:
                    names.add(name)
                    yield name, partial(_mat5_array, path, at, order)
            at += 8 + size


def _mat5_array(path: Path, at: int, order: str) -> Mat5Array:
    with path.open("rb") as file:
        with readable(f"{path}: a damaged or truncated MAT v5 file"):
            stream = _Element(file, at, order)
            name, kind, flags, shape = _Header.read(stream)
        with readable(f"{path}: {name}: damaged or truncated"):
            if not _FIRST_NUMBER <= kind <= _LAST_NUMBER or flags & _COMPLEX:
                raise _unfit(path, name, _CLASSES.get(kind, "complex numbers"))
            values, size = stream.tag()
            dtype = np.dtype(_TYPES[values]).newbyteorder(order)
            wanted = math.prod(shape) * dtype.itemsize
            if size != wanted or min(shape) < 0 or not size <= stream.left < size + 8:
                raise InputError(
                    f"{path}: {name} {shape}: damaged or truncated: takes {wanted} bytes, but "
                    f"{min(size, stream.left)} are stored"
                )
    return Mat5Array(path, name, shape[::-1], dtype, at, stream.given, order)


class _Element:
    """The bytes of the matrix element at byte ``at``, after its tag, inflated if need be."""

    def __init__(self, file: BinaryIO, at: int, order: str):
        file.seek(at)
        self.file = file
        self.order = order
        kind, self.packed = struct.unpack(f"{order}II", file.read(8))
        self.inflater = zlib.decompressobj() if kind == _COMPRESSED else None
        self.given, self.left = 0, self.packed
        if self.inflater is not None:
            most = MOST_INFLATED * self.packed
            self.left = 8
            kind, self.left = struct.unpack(f"{order}II", self.read(8))
            self.given = 0
            if kind != _MATRIX or self.left > most:
                raise EOFError(f"{self.left} bytes said to be in {self.packed} compressed ones")

    def read(self, size: int) -> bytes:
        """``size`` bytes; EOFError, before memory is taken, if there are fewer."""
        if size > self.left:
            raise EOFError(f"{size} bytes wanted, {self.left} left")
        parts = []
        missing = size
        while missing:
            part = self._some(missing)
            parts.append(part)
            missing -= len(part)
        self.given += size
        self.left -= size
        return b"".join(parts)

    def _some(self, most: int) -> bytes:
        """Between 1 and ``most`` bytes."""
        if self.inflater is None:
            part = self.file.read(most)
        else:
            part = b""
            while not part and not self.inflater.eof and (packed := self._packed()):
                part = self.inflater.decompress(packed, most)
        if not part:
            raise EOFError("the file ends too early")
        return part

    def _packed(self) -> bytes:
        """Compressed bytes that wait to be inflated."""
        if self.inflater.unconsumed_tail:
            return self.inflater.unconsumed_tail
        packed = self.file.read(min(2**16, self.packed))
        self.packed -= len(packed)
        return packed

    def finish(self) -> None:
        """Reads what is left: a compressed stream ends with a checksum of all of it."""
        self.read(self.left)
        if self.inflater is not None:
            while not self.inflater.eof:
                packed = self._packed()
                if not packed or self.inflater.decompress(packed, 1):
                    raise EOFError("more or less compressed than its tag says")

    def tag(self) -> tuple[int, int]:
        """(type, bytes) of the next element, whose data comes next."""
        (kind,) = struct.unpack(f"{self.order}I", self.read(4))
        if kind >> 16:
            return kind & 0xFFFF, kind >> 16
        return kind, struct.unpack(f"{self.order}I", self.read(4))[0]

    def element(self) -> bytes:
        """The data of the next element, and on to the one after it."""
        begin = self.given
        size = self.tag()[1]
        if size > _MOST_HEADER:
            raise EOFError(f"a header of {size} bytes")
        data = self.read(size)
        self.read(-(self.given - begin) % 8)
        return data


class _Header(NamedTuple):
    """What a matrix says before its values."""

    name: str
    """ "" of what has no name, or has it elsewhere (function handles, objects of new classes)."""
    kind: int
    flags: int
    shape: tuple[int, ...]

    @classmethod
    def read(cls, stream: _Element) -> _Header:
        flags = struct.unpack(f"{stream.order}II", stream.element())[0]
        kind = flags & 0xFF
        if kind not in _CLASSES and not _FIRST_NUMBER <= kind <= _LAST_NUMBER:
            return cls("", kind, flags, ())
        raw = stream.element()
        shape = struct.unpack(f"{stream.order}{len(raw) // 4}i", raw)
        return cls(stream.element().decode("ascii", "replace"), kind, flags, shape)
