"""Our own ``.h5``: examples with coordinates, compact, in rows that can be read anywhere.

======================  ============================================================================
``codes``               ``uint8`` (N, ceil(W / 3)): three bases a byte, 25 a + 5 b + c with A, C, G,
                        T, unknown = 0..4; the last byte is filled up with unknown bases
``labels``              ``uint8`` (N, ceil(K / 8)): ``numpy.packbits`` of each row
``chrom``               ``int32`` (N,): index in the attribute ``chromosomes``, -1 where not placed
``start``               ``int64`` (N,): 0-based start of the stored sequence
``strand``              ``uint8`` (N,): 1 where the sequence is the reverse complement
``status``              ``uint8`` (N,): see :data:`STATUS`
``label_names``         K names
======================  ============================================================================

Attributes: ``format``, ``length`` (W), ``labels`` (K), ``chromosomes`` (names), ``bases`` (bp of
each; not in older files), ``made_from``, ``counts``. Strings are of fixed length; arrays are in
chunks of 64 rows, each with a checksum (Fletcher32), so that damage is found when it is read. 4.4
million rows of 1,200 bp and 919 labels take 2.4 GB.
"""

from __future__ import annotations

import contextlib
import json
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from tfbs_shift import sequences
from tfbs_shift.data.columns import FileColumn
from tfbs_shift.data.deepsea import default_labels, described, select_labels
from tfbs_shift.data.examples import Examples, Intervals
from tfbs_shift.errors import InputError
from tfbs_shift.files import hdf5_array, hdf5_text, open_hdf5, readable, replacing

FORMAT = "tfbs_shift examples 1"

STATUS = ("nowhere", "placed", "same flanks", "several places", "by position")
"""Of a row: found nowhere; in one place; in several whose flanks are the same, of which the first
is stored; in several whose flanks differ; in several, of which a positions file named one. Rows
found nowhere or in several places have unknown flanks, and are left out when the file is read."""

PLACED = np.array([False, True, True, False, True])

_CHUNK = 64
"""Rows that have a checksum together, and are read together."""

_LONGEST = 2**40
"""bp; beyond any chromosome."""

_BYTES = np.arange(125, dtype=np.uint8)
_TRIPLETS = np.stack([_BYTES // 25, _BYTES // 5 % 5, _BYTES % 5], axis=1)


def pack(codes: np.ndarray) -> np.ndarray:
    """Codes (N, W) to ``uint8`` (N, ceil(W / 3)), three bases a byte."""
    count, length = codes.shape
    filled = np.full((count, -(-length // 3) * 3), sequences.UNKNOWN, np.uint8)
    filled[:, :length] = codes
    return 25 * filled[:, 0::3] + 5 * filled[:, 1::3] + filled[:, 2::3]


def unpack(packed: np.ndarray, length: int) -> np.ndarray:
    """The inverse of :func:`pack`.

    Raises:
        ValueError: a byte that is no three bases, or known bases after the last.
    """
    if packed.size and packed.max() >= len(_TRIPLETS):
        raise ValueError(f"codes: a byte above {len(_TRIPLETS) - 1}")
    codes = _TRIPLETS[packed].reshape(len(packed), 3 * packed.shape[1])
    if (codes[:, length:] != sequences.UNKNOWN).any():
        raise ValueError(f"codes: more than {length} bases")
    return codes[:, :length]


def layout(count: int, length: int, labels: int) -> dict[str, tuple[tuple[int, ...], type]]:
    """Shape and type of each array with a row an example.

    Args:
        count: rows, N.
        length: bp of each, W.
        labels: labels of each, K.
    """
    return {
        "codes": ((count, -(-length // 3)), np.uint8),
        "labels": ((count, -(-labels // 8)), np.uint8),
        "chrom": ((count,), np.int32),
        "start": ((count,), np.int64),
        "strand": ((count,), np.uint8),
        "status": ((count,), np.uint8),
    }


def write_stored(
    path: Path,
    columns: Mapping[str, np.ndarray],
    length: int,
    label_names: Sequence[str],
    chromosomes: Mapping[str, int],
    made_from: str,
) -> dict[str, int]:
    """Writes such a file, under a temporary name until it is whole.

    Args:
        path: the file.
        columns: the arrays of :func:`layout`, by name.
        length: bp of each row, W.
        label_names: K names.
        chromosomes: what ``chrom`` indexes, names and bp.
        made_from: says so.

    Returns:
        How many rows have each :data:`STATUS`.

    Raises:
        OSError: no room on the disk.
    """
    numbers = np.bincount(columns["status"], minlength=len(STATUS)).tolist()
    counts = dict(zip(STATUS, numbers, strict=True))
    # What describes the arrays has checksums from version 1.10 of HDF5's format on. Strings are of
    # fixed length: those of any have none, and HDF5 looks without end for some that are damaged.
    with replacing(path) as temporary, h5py.File(temporary, "w", libver="v110") as file:
        file.attrs.update(
            format=np.bytes_(FORMAT),
            length=length,
            labels=len(label_names),
            chromosomes=np.char.encode(np.array(list(chromosomes), str), "utf-8"),
            bases=np.array(list(chromosomes.values()), np.int64),
            made_from=np.bytes_(made_from),
            counts=np.bytes_(json.dumps(counts)),
        )
        file["label_names"] = np.char.encode(np.array(label_names, str), "utf-8")
        for name, values in columns.items():
            chunk = (min(_CHUNK, len(values)), *values.shape[1:])
            file.create_dataset(name, data=values, chunks=chunk, fletcher32=True)
    return counts


def made_from(path: Path) -> str | None:
    """What such a file was made from; None of other files."""
    try:
        with h5py.File(path, "r") as file:
            return hdf5_text(file.attrs["made_from"])
    except (OSError, KeyError):
        return None


def read_stored(path: Path, labels: str | Sequence[int] | None = None) -> Examples:
    """The placed rows of such a file; codes and labels are read when they are used.

    Args:
        path: the file.
        labels: columns, as for :func:`tfbs_shift.data.deepsea.read_mat`.

    Raises:
        InputError: another kind of file, or a damaged one.
    """
    file = open_hdf5(path)
    with readable(f"{path}: damaged"):
        if hdf5_text(file.attrs.get("format")) != FORMAT:
            raise InputError(
                f"{path}: not written by tfbs-shift extend (or by another version of it)"
            )
        length, count = (operator.index(file.attrs[name]) for name in ("length", "labels"))
        chromosomes = np.array([hdf5_text(name) for name in file.attrs["chromosomes"]])
        bases = file.attrs.get("bases")
        arrays, names = _arrays(path, file, length, count)
        status, start, chrom, reverse = (
            arrays[name][:] for name in ("status", "start", "chrom", "strand")
        )
        _check_ranges(path, length, len(chromosomes), status, start, chrom, reverse)
        if np.bincount(status, minlength=len(STATUS)).tolist() != _counts(file):
            raise InputError(f"{path}: damaged: status: not the counts that were noted")
    columns = select_labels(labels if labels is not None else default_labels(count), names, count)
    placed = PLACED[status]
    if not placed.any():
        raise InputError(f"{path}: none of its {len(placed)} rows was found in the genome")
    examples = Examples(
        _Codes(path, arrays["codes"], length),
        _Labels(path, arrays["labels"], columns, count),
        Intervals(chromosomes[chrom], start, start + length),
        source=f"{path} ({placed.sum()} of {len(placed)} rows placed)",
        label_names=described(columns, names),
        strand=np.where(reverse == 1, "-", "+"),
        chromosomes=None if bases is None else dict(zip(chromosomes, bases, strict=True)),
    )
    return examples if placed.all() else examples.rows(placed)


def _arrays(
    path: Path, file: h5py.File, length: int, count: int
) -> tuple[dict[str, h5py.Dataset], list[str]]:
    """The arrays of :func:`layout`, of the shapes that the attributes say, and names of labels."""
    names = [name.decode() for name in hdf5_array(file, "label_names")[:]]
    rows = len(hdf5_array(file, "codes"))
    if length < 1 or len(names) != count:
        raise InputError(
            f"{path}: damaged: {length} bp and {len(names)} names of {count} labels; want 1 bp or "
            "more and a name for each label"
        )
    arrays = {}
    for name, (shape, dtype) in layout(rows, length, count).items():
        array = arrays[name] = hdf5_array(file, name)
        if array.shape != shape or array.dtype != dtype:
            raise InputError(
                f"{path}: damaged: {name}: {array.dtype} {array.shape}; want "
                f"{np.dtype(dtype)} {shape}"
            )
    return arrays, names


def _counts(file: h5py.File) -> list[int]:
    """How many rows of each status were written."""
    counts = json.loads(file.attrs["counts"])
    return [counts[name] for name in STATUS]


def _check_ranges(
    path: Path,
    length: int,
    chromosomes: int,
    status: np.ndarray,
    start: np.ndarray,
    chrom: np.ndarray,
    strand: np.ndarray,
) -> None:
    """Whether each row says what can be; those that have no place have chromosome and start -1."""
    placed = PLACED[np.minimum(status, len(PLACED) - 1)]
    for name, values, lowest, highest in (
        ("status", status, 0, len(STATUS) - 1),
        ("strand", strand, 0, 1),
        ("chrom", chrom[placed], 0, chromosomes - 1),
        ("start", start[placed], 1 - length, _LONGEST),
        ("chrom", chrom[~placed], -1, -1),
        ("start", start[~placed], -1, -1),
    ):
        if values.size and (values.min() < lowest or values.max() > highest):
            raise InputError(
                f"{path}: damaged: {name}: {values.min()}..{values.max()}; want {lowest}..{highest}"
            )


class _Codes(FileColumn):
    """``uint8`` (N, W) codes."""

    block = _CHUNK

    def __init__(self, path: Path, dataset: h5py.Dataset, length: int):
        self.path = path
        self.dataset = dataset
        self.shape = (len(dataset), length)

    def read(self, begin: int, end: int) -> np.ndarray:
        with _rows(self.path, begin, end):
            return unpack(self.dataset[begin:end], self.shape[1])


class _Labels(FileColumn):
    """``uint8`` (N, K) of some columns."""

    block = _CHUNK

    def __init__(self, path: Path, dataset: h5py.Dataset, columns: np.ndarray, count: int):
        self.path = path
        self.dataset = dataset
        self.columns = columns
        self.count = count
        self.shape = (len(dataset), len(columns))

    def read(self, begin: int, end: int) -> np.ndarray:
        with _rows(self.path, begin, end):
            rows = np.unpackbits(self.dataset[begin:end], axis=1)
            if rows[:, self.count :].any():
                raise ValueError(f"labels: more than {self.count}")
        return rows[:, self.columns]


def _rows(path: Path, begin: int, end: int) -> contextlib.AbstractContextManager[None]:
    """Where rows are read."""
    return readable(f"{path}: rows {begin}..{end}: damaged")
