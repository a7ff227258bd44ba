"""What the readers of text files share: lines, and rows whose sequences, labels and names are
checked, each mistake named with its line."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tfbs_shift import sequences
from tfbs_shift.data.examples import Examples, Intervals
from tfbs_shift.data.headers import located
from tfbs_shift.errors import InputError

Place = tuple[Path, int]
"""A file, and a line number in it from 1."""

Row = tuple[Path, int, str]
"""A sequence and where it stands: file, line number from 1, letters."""

UNLABELLED = "no labels; bound (--bound) would make every sequence class 1 of two"
"""What is noted of a file that could have been called bound."""

_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
TRUTHS = ("true", "false")
"""Words that are labels for people, in lower case."""
_MISSING = ("", "na", "nan", "n/a", "null", "none")
_MARK = "\ufeff"
"""The byte order mark, which spreadsheets and editors write first."""

_POINTER = b"version https://git-lfs.github.com/"


def text_lines(path: Path) -> Iterable[tuple[int, str]]:
    """(number from 1, line) of a text file, plain or gzipped whatever its name says.

    UTF-8, or UTF-16 with its byte order mark; such a mark is never part of a line.

    Raises:
        InputError: another encoding (with what to do), a damaged gzip file, or a mere pointer.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        opened = gzip.open if zipped else open
        with opened(path, "rb") as file:
            start = file.read(len(_POINTER))
            file.seek(0)
            if start == _POINTER:
                raise InputError(f"{path}: Git LFS's pointer, not the file itself: git lfs pull")
            utf_16 = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            encoding = "utf-16" if utf_16 else "utf-8"
            for number, line in enumerate(io.TextIOWrapper(file, encoding), start=1):
                if "\0" in line:
                    raise InputError(
                        f"{path}: line {number}: a NUL byte: UTF-16 without its mark, or no text; "
                        "save it as UTF-8"
                    )
                yield number, line.lstrip(_MARK)  # files put one after the other: a mark in each
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: truncated or damaged gzip file ({error})") from error
    except UnicodeError as error:
        raise InputError(f"{path}: not a text file in UTF-8 ({error}): save it as such") from error


def bare(path: Path) -> Path:
    """The path without the endings that say nothing of what is in it: .gz or .bgz, and .txt."""
    if path.suffix.lower() in (".gz", ".bgz"):
        path = path.with_suffix("")
    return path.with_suffix("") if path.suffix.lower() == ".txt" else path


def number(text: str) -> float | None:
    """The number that a word is, as float32 holds it, or None: finite, with a decimal point."""
    try:
        value = float(text) if "_" not in text else np.nan  # Python's own 1_000
    except ValueError:
        return None
    return value if abs(value) <= np.finfo(np.float32).max else None


def labels_of(
    texts: Sequence[Sequence[str]], places: Sequence[Place], columns: Sequence[str] | None = None
) -> np.ndarray:
    """Labels from words: classes where all are 0 or 1, else numbers.

    Args:
        texts: K words for each of N examples.
        places: where each example stands.
        columns: K names, for messages.

    Returns:
        One column: ``uint8`` one-hot (N, 2) where all are 0 or 1 (also 0.0 and 1.0), else
        ``float32`` (N, 1). Several: ``uint8`` (N, K) where all are 0 or 1, else ``float32``.

    Raises:
        InputError: a word that is no finite number, with its line.
    """
    if not texts:
        return np.zeros((0, 2), np.uint8)
    numbers = [[number(text) for text in words] for words in texts]
    binary = all(value in (0, 1, None) for values in numbers for value in values)
    for (path, line), words, values in zip(places, texts, numbers, strict=True):
        if None in values:
            k = values.index(None)
            where = (
                f" in column {columns[k]!r}" if columns and columns[k].lower() != "label" else ""
            )
            wanted = _wanted(words[k], binary)
            raise InputError(f"{path}: line {line}: label {short(words[k])!r}{where}: {wanted}")
    if not binary:
        return np.array(numbers, np.float32)
    labels = np.array(numbers, np.uint8)
    return np.eye(2, dtype=np.uint8)[labels[:, 0]] if labels.shape[1] == 1 else labels


def _wanted(text: str, binary: bool) -> str:
    """What would be right in place of a word that is no number."""
    plain = text.replace(",", "")
    if _THOUSANDS.fullmatch(text):
        decimal = f"write {plain}"
        if _DECIMAL_COMMA.fullmatch(text):
            decimal += f", or {text.replace(',', '.')} if the comma is the decimal one"
        return f"want a number without a comma: {decimal}"
    if _DECIMAL_COMMA.fullmatch(text):
        return f"want a number with a decimal point: write {text.replace(',', '.')}"
    if text.lower() in TRUTHS:
        return "want 1 (bound) for true and 0 (unbound) for false"
    wanted = "want 1 (bound) or 0 (unbound), or another number" if binary else "want a number"
    return f"{wanted}; leave the row out if there is none" if text.lower() in _MISSING else wanted


def all_bound(count: int) -> np.ndarray:
    """``uint8`` (count, 2): labels of examples that are all class 1 of two."""
    return np.tile(np.array([[0, 1]], np.uint8), (count, 1))


def examples_of(
    source: str,
    rows: Sequence[Row],
    labels: np.ndarray | None,
    names: Sequence[str] | None,
    *,
    label_names: Sequence[str] | None = None,
    headers: Sequence[str] | None = None,
    notes: tuple[str, ...] = (),
) -> Examples:
    """The examples of text files, once their sequences have been checked.

    Args:
        source: what was read.
        rows: the sequences.
        labels: of each, or None.
        names: of each, or None.
        label_names: what the labels are, or None.
        headers: what may hold coordinates (:mod:`tfbs_shift.data.headers`); None: the names.
        notes: what is to be said.

    Raises:
        InputError: no rows, sequences of several lengths, or a letter that is no DNA.
    """
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
    places, said = located(headers or names or [], length)
    return Examples(
        codes,
        labels,
        places and Intervals(places.chrom, places.start, places.start + length),
        None if names is None else np.array(names),
        source,
        label_names,
        strand=places and places.strand,
        notes=(*notes, *(f"{source}: {line}" for line in said)),
    )


def check_names(rows: Sequence[Row], names: Sequence[str]) -> None:
    """Refuses a name that stands on two lines.

    Raises:
        InputError: naming both.
    """
    seen: dict[str, int] = {}
    for (path, number, _), name in zip(rows, names, strict=True):
        earlier = seen.setdefault(name, number)
        if earlier != number:
            raise InputError(
                f"{path}: line {number}: the name {name!r} stands on line {earlier}, too"
            )


def short(text: str, length: int = 40) -> str:
    """A text for a message: its beginning, if it is long."""
    text = text.strip()
    return text if len(text) <= length else f"{text[: length - 3]}..."
