"""Readers of the small files people keep labelled sequences in.

Each reader turns one file (or pair) into :class:`Examples` and knows nothing of splits. A mistake
in a file raises :class:`InputError` with one line that names the file and the row.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from tfbs_shift import sequences
from tfbs_shift.data.examples import Examples
from tfbs_shift.data.headers import names_of
from tfbs_shift.data.parsing import (
    UNLABELLED,
    Row,
    all_bound,
    check_names,
    examples_of,
    labels_of,
    short,
    text_lines,
)
from tfbs_shift.errors import InputError
from tfbs_shift.files import MOST_INFLATED, readable


def read_zeng(path: Path) -> Examples:
    """A ``train.data`` or ``test.data`` of Zeng et al. 2016, plain or gzipped.

    Each line is ``>chr20:42901189-42901289 SEQUENCE 1``, fields split by any white space, the
    coordinates 1-based inclusive (hg19). The label is 1 for a bound window and 0 for the other
    class, ``_shuf`` in the name marking a dinucleotide shuffle; or labels are numbers, as soon as
    one is neither (:func:`tfbs_shift.data.parsing.labels_of`).
    """
    names, rows, labels = [], [], []
    for number, line in text_lines(path):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 3 or not fields[0].startswith(">"):
            raise InputError(
                f"{path}: line {number}: want '>name SEQUENCE label', not {short(line)!r}"
            )
        names.append(fields[0][1:])
        rows.append((path, number, fields[1]))
        labels.append([fields[2]])
    check_names(rows, names)
    return examples_of(str(path), rows, labels_of(labels, [row[:2] for row in rows]), names)


def write_zeng(examples: Examples, path: Path) -> None:
    """Writes examples as :func:`read_zeng` reads them.

    Args:
        examples: with names, and labels of two classes or one number each.
        path: the file.

    Raises:
        InputError: no names, or no or other labels.
    """
    if examples.names is None:
        raise InputError(f"{examples.source}: no names to write")
    y = np.asarray(examples.labelled())
    if y.shape[1] == 1:
        labels = y[:, 0]
    elif examples.two_classes():
        labels = y[:, 1]
    else:
        raise InputError(
            f"{examples.source}: labels {y.shape}: want two classes, one-hot (N, 2), or a number "
            "each, (N, 1)"
        )
    letters = sequences.decode(np.asarray(examples.codes))
    with path.open("w") as file:
        for name, sequence, label in zip(examples.names, letters, labels, strict=True):
            file.write(f">{name} {sequence} {label}\n")


def read_fasta_pair(bound: Path, unbound: Path) -> Examples:
    """Bound sequences (class 1) from one FASTA, unbound ones (class 0) from another.

    Plain or gzipped; case, line breaks, blank lines, IUPAC letters and a ``*`` behind a sequence
    are as users have them. Headers as tools write them give coordinates, strands and names
    (:mod:`tfbs_shift.data.headers`).
    """
    files = [_fasta_rows(path) for path in (bound, unbound)]
    rows, names, headers = (files[0][i] + files[1][i] for i in range(3))
    is_bound = np.repeat([1, 0], [len(rows) for rows, *_ in files])
    labels = np.eye(2, dtype=np.uint8)[is_bound]
    return examples_of(f"{bound},{unbound}", rows, labels, names, headers=headers)


def read_fasta(path: Path, *, bound: bool = False) -> Examples:
    """The sequences of one FASTA, as of a pair, without labels.

    Args:
        path: the file.
        bound: all are class 1 of two.
    """
    rows, names, headers = _fasta_rows(path)
    labels, notes = (all_bound(len(rows)), ()) if bound else (None, (f"{path.name}: {UNLABELLED}",))
    return examples_of(str(path), rows, labels, names, headers=headers, notes=notes)


def read_npz(path: Path, split: str) -> Examples:
    """The paper's authors' ``.npz``: ``arr_0..arr_3`` = train x, train y, test x, test y.

    x is one-hot (N, 1, W, 4) or (N, W, 4), channels A, C, G, T; y is (N, K), zeros and ones, or
    any numbers, which become ``float32``.

    Args:
        path: the file.
        split: "train" or "test".
    """
    first = {"train": 0, "test": 2}[split]
    names = [f"arr_{first}", f"arr_{first + 1}"]
    with readable(f"{path}: not a whole .npz file of plain arrays"):
        x, y = _npz_arrays(path, names)
    fits = x.ndim == 3 or (x.ndim == 4 and x.shape[1] == 1)
    if not fits or x.shape[-1] != 4 or y.ndim != 2 or len(x) != len(y) or not (x.size and y.size):
        raise InputError(
            f"{path}: {names[0]} {x.shape} and {names[1]} {y.shape}: "
            "want x (N, W, 4) or (N, 1, W, 4) and y (N, K)"
        )
    if y.dtype.kind not in "biuf" or not (abs(y) <= np.finfo(np.float32).max).all():
        raise InputError(f"{path}: {names[1]}: labels must be finite numbers")
    y = y.astype(np.uint8 if ((y == 0) | (y == 1)).all() else np.float32)
    try:
        codes = sequences.from_one_hot(x[:, 0] if x.ndim == 4 else x)
    except InputError as error:
        raise InputError(f"{path}: {names[0]}: {error}") from error
    return Examples(codes, y, source=str(path))


def _npz_arrays(path: Path, names: Sequence[str]) -> Iterator[np.ndarray]:
    """Some arrays of an ``.npz``, read when no header claims more than is stored."""
    with zipfile.ZipFile(path) as file:
        there = [member.filename.removesuffix(".npy") for member in file.infolist()]
        for name in names:
            if there.count(name) != 1:
                what = "two arrays" if name in there else "no array"
                raise InputError(
                    f"{path}: {what} {name} in it, of {', '.join(there[:10])}; want arr_0..arr_3 = "
                    "train x, train y, test x, test y"
                )
        for name in names:
            member = file.getinfo(f"{name}.npy")
            with file.open(member) as array:
                _check_npy(f"{path}: {name}", array, member, path.stat().st_size)
            with file.open(member) as array:
                yield np.lib.format.read_array(array, allow_pickle=False)


def _check_npy(place: str, array: IO[bytes], member: zipfile.ZipInfo, size: int) -> None:
    """Whether the header of an array, in a file of ``size`` bytes, says what is stored."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"{place}: compressed in another way than numpy.savez_compressed does")
    version = np.lib.format.read_magic(array)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise InputError(f"{place}: version {version}, which only names of fields need")
    shape, _, dtype = read(array)
    if dtype.hasobject:
        raise InputError(f"{place}: Python objects; want a plain array of numbers")
    inflated = 1 if member.compress_type == zipfile.ZIP_STORED else MOST_INFLATED
    most = min(member.file_size, inflated * min(member.compress_size, size))
    wanted = array.tell() + math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or wanted != member.file_size or wanted > most:
        raise InputError(
            f"{place}: damaged or truncated: {dtype} {shape} takes {wanted} bytes, but at most "
            f"{most} are stored"
        )


def _fasta_rows(path: Path) -> tuple[list[Row], list[str], list[str]]:
    """The sequences of a FASTA, their names, of which no two are the same, and their headers."""
    records = list(_fasta(path))
    if not records:
        raise InputError(f"{path}: no sequences in it")
    rows = [(path, line, sequence) for line, _, sequence in records]
    headers = [header for _, header, _ in records]
    names = names_of(headers)
    check_names(rows, names)
    return rows, names, headers


def _fasta(path: Path) -> Iterator[tuple[int, str, str]]:
    """(line number of the header, header, sequence) for every record."""
    at, header = 0, ""
    parts: list[str] = []
    for number, line in text_lines(path):
        line = line.strip()
        if line.startswith(">"):
            if at:
                yield at, header, "".join(parts).removesuffix("*")
            at, header, parts = number, line[1:].strip(), []
            if not header:
                raise InputError(f"{path}: line {number}: a header without a name")
        elif line and not at:
            words = line.split()
            hint = ""
            if len(words) > 2 and words[1].isdecimal() and words[2].isdecimal():
                hint = " (a BED? such a file is named .bed, .narrowPeak or the like)"
            raise InputError(
                f"{path}: line {number}: want a FASTA header '>name' before sequence{hint}"
            )
        else:
            parts.append(line)
    if at:
        yield at, header, "".join(parts).removesuffix("*")
