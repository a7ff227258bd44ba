"""DeepSEA's files (Zhou & Troyanskaya 2015): ``train.mat``, ``valid.mat``, ``test.mat``, labels.

train.mat is MATLAB v7.3, which is HDF5: ``trainxdata`` (L, 4, N) and ``traindata`` (labels, N), as
h5py shows them. valid.mat and test.mat are MAT v5, stored column by column, so that their bytes
have the same order. Channels A, G, C, T; an unknown base is all zeros. The second half of each set
is the reverse complement of the first, with the same labels.

Cost of a block of n HDF5 rows: 4 L n bytes read, then about ten passes over L n bytes to make codes
of them; of doubles eight times as much is read, and compared with 0 and 1. A compressed MAT v5 file
is one stream: it is inflated once, into codes (L N bytes, at most 512 MB since such a file holds no
array above 2 GB).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path

import numpy as np

from tfbs_shift.data.columns import FileColumn, Scratch
from tfbs_shift.data.examples import Examples
from tfbs_shift.data.matlab import Array, Hdf5Array, Mat5Array, mat_variables
from tfbs_shift.errors import InputError
from tfbs_shift.files import readable

TRANSCRIPTION_FACTORS = "125..814"
"""The label columns that the paper and TBiNet use, both ends included."""

_GROUPS = {"dnase": (0, 124), "tf": (125, 814), "histone": (815, 918), "all": (0, 918)}


def label_names() -> list[str]:
    """Names of DeepSEA's 919 label columns in order: ``cell|target|treatment``.

    DNase 0..124, transcription factors 125..814, histone marks 815..918. Some columns share a name.
    """
    text = (resources.files("tfbs_shift.data") / "deepsea_labels.txt").read_text()
    return [line for line in text.splitlines() if not line.startswith("#")]


def default_labels(count: int) -> str:
    """The columns used if none are named: of 919 the transcription factors, else all."""
    return TRANSCRIPTION_FACTORS if count == 919 else "all"


def select_labels(
    wanted: str | Sequence[int], names: Sequence[str] | None, count: int
) -> np.ndarray:
    """Columns that a selection means, in the order given.

    Args:
        wanted: column numbers, or items behind commas: a number (from 0), a range ``125..814``
            (both ends included), "dnase", "tf", "histone" or "all", a target (``CTCF``), or
            ``cell|target|treatment`` of which the last parts may be left out (``K562|CTCF``).
            A name that several columns share means all of them.
        names: of the columns there are; None where they are not known.
        count: how many there are.

    Raises:
        InputError: an item that means nothing, a column that is not there or is named twice.

    >>> select_labels("0,3..5", None, 6).tolist()
    [0, 3, 4, 5]
    """
    items = [i.strip() for i in wanted.split(",")] if isinstance(wanted, str) else list(wanted)
    columns: list[int] = []
    for item in items:
        columns += _columns_of(str(item), names, count)
    if not columns:
        raise InputError(f"labels {wanted!r}: no column selected")
    repeated = next((c for i, c in enumerate(columns) if c in columns[:i]), None)
    if repeated is not None:
        raise InputError(f"labels {wanted!r}: column {repeated} is selected twice")
    return np.array(columns)


def described(columns: Sequence[int] | np.ndarray, names: Sequence[str] | None) -> list[str]:
    """``number name`` of columns, as reports show them; the number alone where nothing is known."""
    return [f"{c} {names[c]}".rstrip() if names else str(c) for c in columns]


def _columns_of(item: str, names: Sequence[str] | None, count: int) -> list[int]:
    numbers = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", item)
    if numbers or item.lower() in _GROUPS:
        if item.lower() == "all":
            first, last = 0, count - 1
        elif numbers:
            first, last = int(numbers[1]), int(numbers[2] or numbers[1])
        else:
            first, last = _GROUPS[item.lower()]
        if not first <= last < count:
            raise InputError(f"labels {item!r}: want columns 0..{count - 1}, first before last")
        return list(range(first, last + 1))
    parts = item.lower().split("|")
    matching = []
    for column, name in enumerate(names or ()):
        fields = name.lower().split("|")
        if fields[: len(parts)] == parts or (len(parts) == 1 and fields[1:2] == parts):
            matching.append(column)
    if not matching:
        known = "such as K562|CTCF|None" if names else "none known for this file"
        raise InputError(
            f"labels {item!r}: no such column; want numbers, ranges such as "
            f"{TRANSCRIPTION_FACTORS}, dnase, tf, histone, all, or names, {known}"
        )
    return matching


def read_mat(path: Path, labels: str | Sequence[int] | None = None) -> Examples:
    """The examples of a ``.mat`` of DeepSEA, HDF5 or MAT v5; rows are read when they are used.

    Args:
        path: the file; it must hold one array ``<set>xdata`` and, beside it, ``<set>data``, of any
            type of number; other variables are not looked at.
        labels: columns, as :func:`select_labels` takes them; None: the 690 transcription factors
            of a file of 919 columns, all of any other.

    Raises:
        InputError: not such a file, damaged, arrays that do not fit, less stored than their shapes
            say. When rows are used: a base that is no one-hot, a label that is neither 0 nor 1.
    """
    variables = mat_variables(path)
    starts = [name[:-5] for name in variables if name.endswith("xdata")]
    pairs = [(f"{start}xdata", f"{start}data") for start in starts if f"{start}data" in variables]
    if len(pairs) != 1:
        raise InputError(
            f"{path}: its variables are {_listed(variables)}; want one pair such as trainxdata and "
            "traindata"
        )
    x, y = (variables[name]() for name in pairs[0])
    if len(x.shape) != 3 or x.shape[1] != 4 or len(y.shape) != 2 or x.shape[2] != y.shape[1]:
        raise InputError(
            f"{path}: {x.name} {x.shape} and {y.name} {y.shape}: want (length, 4, N) and "
            "(labels, N), N last as h5py shows MATLAB's arrays"
        )
    if not x.shape[0] or not x.shape[2]:
        raise InputError(f"{path}: {x.name} {x.shape}: no sequences in it")
    names = label_names()
    known = names if y.shape[0] == len(names) else None
    selection = labels if labels is not None else default_labels(y.shape[0])
    columns = select_labels(selection, known, y.shape[0])
    return Examples(
        _Codes(path, x),
        _Labels(path, y, columns),
        source=str(path),
        label_names=described(columns, known),
    )


def _listed(names: Collection[str]) -> str:
    """Some names, for a message."""
    shown = ", ".join(name if name.isprintable() else repr(name) for name in [*names][:10])
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown or "none"


class _Codes(FileColumn):
    """``uint8`` (N, L) codes from one-hot (L, 4, N), channels A, G, C, T."""

    def __init__(self, path: Path, array: Array):
        self.path = path
        self.array = array
        self.scratch = Scratch()
        self.shape = (array.shape[2], array.shape[0])
        self.block = array.block if isinstance(array, Hdf5Array) else 64

    def read(self, begin: int, end: int) -> np.ndarray:
        if isinstance(self.array, Hdf5Array):
            return self._decode(self.array.read(slice(None), begin, end), example=begin)
        return self._all[begin:end]

    @cached_property
    def _all(self) -> np.ndarray:
        """All codes of a v5 file."""
        with readable(f"{self.path}: {self.array.name} {self.array.shape}: too large"):
            codes = np.empty(self.shape, np.uint8)
        positions: list[np.ndarray] = []
        assert isinstance(self.array, Mat5Array)
        for position, plane in enumerate(self.array.planes()):
            positions.append(plane)
            if len(positions) == 8 or position + 1 == self.shape[1]:
                begin = position + 1 - len(positions)
                codes[:, begin : position + 1] = self._decode(np.array(positions), base=begin)
                positions = []
        return codes

    def _decode(self, x: np.ndarray, example: int = 0, base: int = 0) -> np.ndarray:
        """(L, 4, n) to codes (n, L); the first of them is ``base`` of ``example``.

        Bytes are transposed eight positions at a time, as words: five times faster than one by one.
        """
        length, _, count = x.shape
        if x.max() > 1:  # first: sums of larger bytes could wrap around to 0 or 1
            raise self._no_one_hot(x, example, base)
        words = self.scratch.array((-(-length // 8), count, 8))
        for j in range(min(8, length)):
            a, g, c, t = np.moveaxis(x[j::8], 1, 0)
            known = a + g
            known += c
            known += t
            if known.max() > 1:
                raise self._no_one_hot(x, example, base)
            codes = 4 - 4 * a
            codes -= 3 * c
            codes -= 2 * g
            codes -= t
            words[: len(codes), :, j] = codes  # A 0, C 1, G 2, T 3, unknown 4
        rows = words.view(np.uint64)[..., 0].T.copy()  # not the scratch itself
        return rows.view(np.uint8)[:, :length]

    def _no_one_hot(self, x: np.ndarray, example: int, base: int) -> InputError:
        """Says where."""
        position, row = np.argwhere((x > 1).any(axis=1) | (x.sum(axis=1) > 1))[0]
        return InputError(
            f"{self.path}: {self.array.name}: base {base + position} of example {example + row} "
            "(from 0) is not one-hot: want a single 1, or zeros where unknown"
        )


class _Labels(FileColumn):
    """``uint8`` (N, K): some rows of labels (labels, N)."""

    def __init__(self, path: Path, array: Array, columns: np.ndarray):
        self.path = path
        self.array = array
        self.columns = columns
        self.shape = (array.shape[1], len(columns))
        self.block = array.block if isinstance(array, Hdf5Array) else 64

    def read(self, begin: int, end: int) -> np.ndarray:
        if isinstance(self.array, Mat5Array):
            return np.unpackbits(self._all[begin:end], axis=1, count=self.shape[1])
        first = int(self.columns.min())
        values = self.array.read(slice(first, int(self.columns.max()) + 1), begin, end)
        chosen = self._checked(values, label=first, example=begin)[self.columns - first]
        return np.ascontiguousarray(chosen.T)

    @cached_property
    def _all(self) -> np.ndarray:
        """The labels wanted of a v5 file, 8 to a byte."""
        place = {int(column): i for i, column in enumerate(self.columns)}
        with readable(f"{self.path}: {self.array.name} {self.array.shape}: too large"):
            values = np.zeros((self.shape[0], -(-len(place) // 8)), np.uint8)
        assert isinstance(self.array, Mat5Array)
        for column, plane in enumerate(self.array.planes()):
            if column in place:
                i = place[column]
                values[:, i // 8] |= self._checked(plane[None], column)[0] << (7 - i % 8)
        return values

    def _checked(self, values: np.ndarray, label: int, example: int = 0) -> np.ndarray:
        """Values (labels, n), of which the first is label ``label`` of ``example``."""
        if values.max() > 1:
            column, row = np.argwhere(values > 1)[0]
            raise InputError(
                f"{self.path}: {self.array.name}: label {label + column} of example "
                f"{example + row} (from 0): labels must be 0 or 1"
            )
        return values
