"""Readers of the small files people keep labelled sequences in.

Each reader turns one file (or pair) into :class:`Examples` and knows nothing of splits. A mistake
in a file raises :class:`InputError` with one line that names the file and the row.
"""

from __future__ import annotations

import csv
import gzip
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from tfbs_shift import sequences
from tfbs_shift.data.examples import Examples, Intervals
from tfbs_shift.errors import InputError

Row = tuple[Path, int, str]
"""A sequence and where it stands: file, line number from 1, letters."""

_COORDINATES = re.compile(r"([^:\s]+):(\d+)-(\d+)")


def read_zeng(path: Path) -> Examples:
    """A ``train.data`` or ``test.data`` of Zeng et al. 2016, plain or gzipped.

    Each line is ``>chr20:42901189-42901289 SEQUENCE 1``, fields split by any white space, the
    coordinates 1-based inclusive (hg19). The label is 1 for a bound window and 0 for the other
    class, ``_shuf`` in the name marking a dinucleotide shuffle.
    """
    names, rows, labels = [], [], []
    for number, line in text_lines(path):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 3 or not fields[0].startswith(">"):
            raise InputError(
                f"{path}: line {number}: want '>name SEQUENCE label', not {_short(line)!r}"
            )
        names.append(fields[0][1:])
        rows.append((path, number, fields[1]))
        labels.append(_label(fields[2], path, number))
    _check_names(rows, names)
    return _examples(str(path), rows, labels, names)


def write_zeng(examples: Examples, path: Path) -> None:
    """Writes two-class examples, which must have names, as :func:`read_zeng` reads them."""
    if examples.names is None:
        raise InputError(f"{examples.source}: no names to write")
    letters = sequences.decode(np.asarray(examples.codes))
    with path.open("w") as file:
        for name, sequence, label in zip(examples.names, letters, examples.y[:, 1], strict=True):
            file.write(f">{name} {sequence} {label}\n")


def read_csv(path: Path) -> Examples:
    """A CSV or TSV with the columns ``sequence`` and ``label``; its header tells what parts them.

    Comma, tab or semicolon. Other columns are left alone, but for an optional ``name`` or ``id``.
    Labels are 0 or 1.
    """
    header = next((line for _, line in text_lines(path)), "")
    delimiter = next((each for each in "\t;" if each in header), ",")
    reader = csv.DictReader(
        (line for _, line in text_lines(path)), delimiter=delimiter, strict=True
    )
    columns = {(name or "").strip().lower(): name for name in reader.fieldnames or []}
    if not {"sequence", "label"} <= columns.keys():
        raise InputError(
            f"{path}: line 1: want a header with the columns sequence and label, "
            f"not {_short(delimiter.join(reader.fieldnames or []))!r}"
        )
    name_column = columns.get("name", columns.get("id"))
    names, rows, labels = [], [], []
    try:
        for record in reader:
            number = reader.line_num
            if None in record or None in record.values():  # too many fields, or too few
                raise InputError(
                    f"{path}: line {number}: want {len(columns)} fields, as the header has"
                )
            rows.append((path, number, record[columns["sequence"]].strip()))
            labels.append(_label(record[columns["label"]].strip(), path, number))
            names.append(record[name_column].strip() if name_column else "")
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num}: {error}") from error
    if not name_column:
        return _examples(str(path), rows, labels, None)
    _check_names(rows, names)
    return _examples(str(path), rows, labels, names)


def read_fasta_pair(bound: Path, unbound: Path) -> Examples:
    """Bound sequences (class 1) from one FASTA, unbound ones (class 0) from another.

    Plain or gzipped; case, line breaks and IUPAC letters are as users have them. A header that
    begins with ``chr:start-end`` gives coordinates, 0-based half-open or 1-based inclusive, as
    the length of the sequence tells.
    """
    names: list[str] = []
    rows: list[Row] = []
    labels: list[int] = []
    for path, label in ((bound, 1), (unbound, 0)):
        records = list(_fasta(path))
        if not records:
            raise InputError(f"{path}: no sequences in it")
        new_rows = [(path, number, sequence) for number, _, sequence in records]
        new_names = [name for _, name, _ in records]
        _check_names(new_rows, new_names)
        rows += new_rows
        names += new_names
        labels += [label] * len(records)
    return _examples(f"{bound},{unbound}", rows, labels, names)


def read_fasta(path: Path) -> np.ndarray:
    """The sequences of one FASTA, all of one length: codes ``uint8`` (N, W)."""
    rows = [(path, number, sequence) for number, _, sequence in _fasta(path)]
    return np.asarray(_examples(str(path), rows, [0] * len(rows), None).codes)


def read_npz(path: Path, split: str) -> Examples:
    """The paper's authors' ``.npz``: ``arr_0..arr_3`` = train x, train y, test x, test y.

    x is one-hot (N, 1, W, 4) or (N, W, 4), channels A, C, G, T; y is (N, K), zeros and ones.

    Args:
        path: the file.
        split: "train" or "test".
    """
    first = {"train": 0, "test": 2}[split]
    names = [f"arr_{first}", f"arr_{first + 1}"]
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for name in names:
                if name not in arrays.files:
                    raise InputError(
                        f"{path}: no array {name} in it, only {', '.join(arrays.files)}; want "
                        "arr_0..arr_3 = train x, train y, test x, test y"
                    )
            x, y = (arrays[name] for name in names)
    except InputError:
        raise
    except (zipfile.BadZipFile, EOFError, zlib.error, ValueError) as error:
        raise InputError(f"{path}: not a whole .npz file of plain arrays ({error})") from error
    fits = x.ndim == 3 or (x.ndim == 4 and x.shape[1] == 1)
    if not fits or x.shape[-1] != 4 or y.ndim != 2 or len(x) != len(y) or not x.size:
        raise InputError(
            f"{path}: {names[0]} {x.shape} and {names[1]} {y.shape}: "
            "want x (N, W, 4) or (N, 1, W, 4) and y (N, K)"
        )
    if not ((y == 0) | (y == 1)).all():
        raise InputError(f"{path}: {names[1]}: labels must be 0 or 1")
    try:
        codes = sequences.from_one_hot(x[:, 0] if x.ndim == 4 else x)
    except InputError as error:
        raise InputError(f"{path}: {names[0]}: {error}") from error
    return Examples(codes, y.astype(np.uint8), source=str(path))


def _examples(source: str, rows: list[Row], labels: list[int], names: list[str] | None) -> Examples:
    """The examples of two-class text files, once their sequences have been checked."""
    if not rows:
        raise InputError(f"{source}: no sequences in it")
    first_path, first, sequence = rows[0]
    length = len(sequence)
    if not length:
        raise InputError(f"{first_path}: line {first}: the sequence is empty")
    for path, number, sequence in rows:
        if len(sequence) != length:
            place = f"line {first}" if path == first_path else f"line {first} of {first_path}"
            raise InputError(
                f"{path}: line {number}: {len(sequence)} bp, but {place} has {length}: "
                "all sequences must have one length"
            )
    try:
        codes = sequences.encode([sequence for _, _, sequence in rows])
    except InputError:  # find the line, now that there is one to find
        for path, number, sequence in rows:
            try:
                sequences.encode(sequence)
            except InputError as error:
                reason = str(error).partition(": ")[2]  # without its "sequence 1"
                raise InputError(f"{path}: line {number}: {reason}") from error
        raise
    return Examples(
        codes,
        np.eye(2, dtype=np.uint8)[labels],
        None if names is None else _intervals(names, length),
        None if names is None else np.array(names),
        source,
    )


def _check_names(rows: list[Row], names: list[str]) -> None:
    seen: dict[str, int] = {}
    for (path, number, _), name in zip(rows, names, strict=True):
        earlier = seen.setdefault(name, number)
        if earlier != number:
            raise InputError(
                f"{path}: line {number}: the name {name!r} stands on line {earlier}, too"
            )


def _intervals(names: list[str], length: int) -> Intervals | None:
    """Coordinates from the names, or None if any name has none that fits the length."""
    matches = [match for match in map(_COORDINATES.match, names) if match]
    if len(matches) < len(names):
        return None
    chrom = np.array([match[1] for match in matches])
    start, end = (np.array([int(match[i]) for match in matches], np.int64) for i in (2, 3))
    one_based = end - start + 1 == length  # inclusive ends
    if not (one_based | (end - start == length)).all():
        return None
    return Intervals(chrom, start - one_based, end)


def _fasta(path: Path) -> Iterator[tuple[int, str, str]]:
    """(line number of the header, name, sequence) for every record."""
    header, name = 0, ""
    parts: list[str] = []
    for number, line in text_lines(path):
        line = line.strip()
        if line.startswith(">"):
            if header:
                yield header, name, "".join(parts)
            header, name, parts = number, line[1:].split(maxsplit=1)[0] if line[1:] else "", []
            if not name:
                raise InputError(f"{path}: line {number}: a header without a name")
        elif line and not header:
            raise InputError(f"{path}: line {number}: want a FASTA header '>name' before sequence")
        else:
            parts.append(line)
    if header:
        yield header, name, "".join(parts)


def _label(text: str, path: Path, number: int) -> int:
    if text not in ("0", "1", "0.0", "1.0"):  # as pandas writes them beside a missing one
        raise InputError(
            f"{path}: line {number}: label {_short(text)!r}: want 1 (bound) or 0 (unbound)"
        )
    return int(text[0])


def text_lines(path: Path) -> Iterable[tuple[int, str]]:
    """(number from 1, line) of a text file, plain or gzipped whatever its name says."""
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rt") if zipped else path.open("rt") as file:
            yield from enumerate(file, start=1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: truncated or damaged gzip file ({error})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file ({error.reason})") from error


def _short(text: str) -> str:
    text = text.strip()
    return text if len(text) <= 40 else f"{text[:37]}..."
