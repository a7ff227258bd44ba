"""Tables of sequences, as spreadsheets and pandas write them: CSV and TSV, plain or gzipped."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfbs_shift.data.examples import Examples
from tfbs_shift.data.parsing import (
    UNLABELLED,
    Row,
    all_bound,
    check_names,
    examples_of,
    labels_of,
    number,
    short,
    text_lines,
)
from tfbs_shift.errors import InputError

_SEQUENCE = ("sequence", "seq", "sequences", "dna")
_LABEL = ("label", "labels", "target", "y")
_NAME = ("name", "id", "seq_id", "sequence_id")
_DNA = re.compile(r"[ACGTN]{8,}", re.IGNORECASE)
_LOOKED_AT = 100
"""Rows that are looked at to find columns."""

Record = tuple[int, list[str]]
"""A line number from 1, and the fields there."""


class _Columns(NamedTuple):
    """Numbers of columns, from 0."""

    sequence: int
    labels: list[int]
    name: int | None
    found: str
    """which of them were found under names of their own, for people; "" where none"""


def read_csv(
    path: Path,
    *,
    sequence_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    bound: bool = False,
) -> Examples:
    """A table with a header: its first line tells whether comma, tab or semicolon parts columns.

    Args:
        path: the file. An optional column name, id, seq_id or sequence_id (in any case) names the
            rows; other columns are left alone.
        sequence_column: its name; None: sequence, else seq, sequences or dna, else the only column
            that begins with a DNA word of 8 letters or more.
        label_column: a name, several behind commas or as a sequence, or "" for no labels; None:
            label, else labels, target or y, else the only other column of numbers, if there is one.
        bound: without labels, all are class 1 of two.

    Returns:
        Labels as :func:`tfbs_shift.data.parsing.labels_of` says; None where there is no column of
        them. ``label_names`` are the columns' names, but for two classes. ``notes`` tell what was
        found under other names than sequence and label.

    Raises:
        InputError: a mistake (named with its line), no or several columns that could be meant, or
            ``bound`` with labels.
    """
    header, records = _table(path)
    first = list(itertools.islice(records, _LOOKED_AT))
    if not first:
        raise InputError(f"{path}: no sequences in it")
    columns = _columns(path, header, [fields for _, fields in first], sequence_column, label_column)
    rows, words, names = [], [], []
    for line, fields in itertools.chain(first, records):
        rows.append((path, line, fields[columns.sequence]))
        words.append([fields[k] for k in columns.labels])
        if columns.name is not None:
            names.append(fields[columns.name])
    if columns.name is not None:
        check_names(rows, names)
    labels, label_names = _labels(path, [header[k] for k in columns.labels], words, rows, bound)
    found = [columns.found] if columns.found else []
    if labels is None and label_column is None:
        found.append(UNLABELLED)
    return examples_of(
        str(path),
        rows,
        labels,
        names if columns.name is not None else None,
        label_names=label_names,
        notes=(f"{path.name}: {', '.join(found)}",) if found else (),
    )


def _labels(
    path: Path, columns: list[str], words: list[list[str]], rows: list[Row], bound: bool
) -> tuple[np.ndarray | None, list[str] | None]:
    """Labels, and what they are, from the words in some columns."""
    if not columns:
        return all_bound(len(rows)) if bound else None, None
    if bound:
        raise InputError(
            f"{path}: bound is for files without labels, but column {columns[0]!r} has them: leave "
            "it out (an empty label_column, --label_column=, reads no labels)"
        )
    labels = labels_of(words, [row[:2] for row in rows], columns)
    return labels, columns if len(columns) == labels.shape[1] else None


def _table(path: Path) -> tuple[list[str], Iterator[Record]]:
    """The header, and the rows as they are read; all without white space around fields."""
    lines = (line for _, line in text_lines(path))
    head = next(lines, "")
    unquoted = re.sub(r'"[^"]*"', "", head)
    delimiter = next((each for each in "\t;" if each in unquoted), ",")
    reader = csv.reader(itertools.chain([head], lines), delimiter=delimiter, strict=True)

    def stripped() -> Iterator[Record]:
        try:
            for fields in reader:
                if fields:
                    yield reader.line_num, [field.strip() for field in fields]
        except csv.Error as error:
            raise InputError(f"{path}: line {reader.line_num}: {error}") from error

    records = stripped()
    _, header = next(records, (1, []))
    if not any(header):
        raise InputError(f"{path}: line 1: want a header with the columns sequence and label")

    def whole() -> Iterator[Record]:
        for line, fields in records:
            if len(fields) != len(header):
                raise InputError(
                    f"{path}: line {line}: want {len(header)} fields, as the header has"
                )
            yield line, fields

    return header, whole()


def _columns(
    path: Path,
    header: list[str],
    rows: list[list[str]],
    sequence_column: str | None,
    label_column: str | Sequence[str] | None,
) -> _Columns:
    """Which columns are meant, by the names given and, else, by the first rows."""
    names = next((each for each in (_alike(header, word) for word in _NAME) if each), [])
    if sequence_column is not None:
        sequence = _named(path, header, sequence_column)
    else:
        sequences = _found(header, _SEQUENCE, lambda k: bool(_DNA.fullmatch(rows[0][k])))
        if len(sequences) != 1:
            raise InputError(_which(path, header, sequences, "sequences", "sequence_column"))
        (sequence,) = sequences
    if label_column is not None:
        labels = [_named(path, header, name) for name in _split(header, label_column)]
        if len(set(labels)) < len(labels):
            raise InputError(f"{path}: label_column {label_column!r}: the same column twice")
    else:
        taken = {sequence, *names, *(k for k, name in enumerate(header) if not name)}
        labels = _found(
            header,
            _LABEL,
            lambda k: k not in taken and any(number(row[k]) is not None for row in rows),
        )
        if len(labels) > 1:
            raise InputError(_which(path, header, labels, "labels", "label_column"))
    found = []
    if sequence_column is None and header[sequence].lower() != _SEQUENCE[0]:
        found.append(f"sequences from column {header[sequence]!r}")
    if label_column is None and labels and header[labels[0]].lower() != _LABEL[0]:
        found.append(f"labels from column {header[labels[0]]!r}")
    names = [k for k in names if k not in (sequence, *labels)]
    if len(names) > 1:
        raise InputError(f"{path}: line 1: {len(names)} columns {header[names[0]]!r}: want one")
    return _Columns(sequence, labels, names[0] if names else None, ", ".join(found))


def _alike(header: list[str], name: str) -> list[int]:
    """The columns of a name, in any case."""
    return [k for k, each in enumerate(header) if each.lower() == name.lower()]


def _named(path: Path, header: list[str], name: str) -> int:
    """The column of a name: exactly it, or else in any case."""
    columns = [k for k, each in enumerate(header) if each == name] or _alike(header, name)
    if len(columns) == 1:
        return columns[0]
    problem = f"{len(columns)} columns" if columns else "no column"
    raise InputError(f"{path}: line 1: {problem} {name!r}; the columns are {', '.join(header)}")


def _split(header: list[str], names: str | Sequence[str]) -> list[str]:
    """The names, several behind commas unless that is one column's name."""
    if not isinstance(names, str):
        return list(names)
    if not names.strip():
        return []
    return [names] if names in header else [name.strip() for name in names.split(",")]


def _found(header: list[str], words: Sequence[str], looks: Callable[[int], bool]) -> list[int]:
    """Columns that could be meant: of the first word, else of any word, else by their looks."""
    return (
        _alike(header, words[0])
        or [k for word in words for k in _alike(header, word)]
        or [k for k in range(len(header)) if looks(k)]
    )


def _which(path: Path, header: list[str], columns: list[int], what: str, argument: str) -> str:
    """What to say where not exactly one column could be meant."""
    could = " or ".join(repr(header[k]) for k in columns)
    problem = f"are the {what} in {could}?" if columns else f"no column has the {what}:"
    listed = short(", ".join(header), 120)
    return (
        f"{path}: line 1: {problem} name it by {argument}, --{argument}; the columns are {listed}"
    )
