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
each; not in older files), ``made_from``, ``counts``.
All arrays are contiguous: 4.4 million rows of 1,200 bp and 919 labels take 2.4 GB, and a row is one
piece of 400 bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from tfbs_shift import sequences
from tfbs_shift.data.columns import FileColumn
from tfbs_shift.data.deepsea import default_labels, described, select_labels
from tfbs_shift.data.examples import Examples, Intervals
from tfbs_shift.errors import InputError
from tfbs_shift.files import open_hdf5, replacing

FORMAT = "tfbs_shift examples 1"

STATUS = ("nowhere", "placed", "same flanks", "several places", "by position")
"""Of a row: found nowhere; in one place; in several whose flanks are the same, of which the first
is stored; in several whose flanks differ; in several, of which a positions file named one. Rows
found nowhere or in several places have unknown flanks, and are left out when the file is read."""

PLACED = np.array([False, True, True, False, True])

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
        InputError: a byte that is no three bases.
    """
    if packed.size and packed.max() >= len(_TRIPLETS):
        raise InputError(f"codes: a byte above {len(_TRIPLETS) - 1}")
    return _TRIPLETS[packed].reshape(len(packed), 3 * packed.shape[1])[:, :length]


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
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(
            format=FORMAT,
            length=length,
            labels=len(label_names),
            chromosomes=np.array(list(chromosomes), h5py.string_dtype()),
            bases=np.array(list(chromosomes.values()), np.int64),
            made_from=made_from,
            counts=json.dumps(counts),
        )
        file["label_names"] = np.array(label_names, h5py.string_dtype())
        for name, values in columns.items():
            file[name] = values
    return counts


def made_from(path: Path) -> str | None:
    """What such a file was made from; None of other files."""
    try:
        with h5py.File(path, "r") as file:
            return str(file.attrs["made_from"])
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
    if file.attrs.get("format") != FORMAT:
        raise InputError(f"{path}: not written by tfbs-shift extend (or by another version of it)")
    try:
        length, count = int(file.attrs["length"]), int(file.attrs["labels"])
        names = [name.decode() for name in file["label_names"][:]]
        chromosomes = np.array(file.attrs["chromosomes"], dtype=str)
        bases = file.attrs.get("bases")
        columns = select_labels(
            labels if labels is not None else default_labels(count), names, count
        )
        status, start = file["status"][:], file["start"][:]
        chrom, reverse = file["chrom"][:], file["strand"][:]
        codes = _Codes(path, file["codes"], length)
        label_column = _Labels(file["labels"], columns, count)
    except KeyError as error:
        raise InputError(f"{path}: damaged: {error}") from error
    placed = PLACED[np.minimum(status, len(PLACED) - 1)]
    if not placed.any():
        raise InputError(f"{path}: none of its {len(placed)} rows was found in the genome")
    examples = Examples(
        codes,
        label_column,
        Intervals(chromosomes[chrom], start, start + length),
        source=f"{path} ({placed.sum()} of {len(placed)} rows placed)",
        label_names=described(columns, names),
        strand=np.where(reverse == 1, "-", "+"),
        chromosomes=None if bases is None else dict(zip(chromosomes, bases, strict=True)),
    )
    return examples if placed.all() else examples.rows(placed)


class _Codes(FileColumn):
    """``uint8`` (N, W) codes."""

    block = 64

    def __init__(self, path: Path, dataset: h5py.Dataset, length: int):
        self.path = path
        self.dataset = dataset
        self.shape = (len(dataset), length)

    def read(self, begin: int, end: int) -> np.ndarray:
        try:
            return unpack(self.dataset[begin:end], self.shape[1])
        except (OSError, InputError) as error:
            raise InputError(f"{self.path}: rows {begin}..{end}: damaged ({error})") from error


class _Labels(FileColumn):
    """``uint8`` (N, K) of some columns."""

    block = 64

    def __init__(self, dataset: h5py.Dataset, columns: np.ndarray, count: int):
        self.dataset = dataset
        self.columns = columns
        self.count = count
        self.shape = (len(dataset), len(columns))

    def read(self, begin: int, end: int) -> np.ndarray:
        rows = np.unpackbits(self.dataset[begin:end], axis=1, count=self.count)
        return rows[:, self.columns]
