"""Tables of sequences, as spreadsheets and pandas write them: CSV and TSV, plain or gzipped."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfbs_shift.data.delimited import read_delimited
from tfbs_shift.data.examples import Examples
from tfbs_shift.data.parsing import (
    TRUTHS,
    UNLABELLED,
    Row,
    all_bound,
    check_names,
    examples_of,
    labels_of,
    number,
    short,
)
from tfbs_shift.errors import InputError

_SEQUENCE = ("sequence", "seq", "sequences", "dna")
_LABEL = ("label", "labels", "target", "y")
_NAME = ("name", "id", "seq_id", "sequence_id")
_NO_LABEL = re.compile(r"(unnamed: \d+|index|chr|chrom|chromosome|start|end|length)", re.IGNORECASE)
"""Numbers that are no labels unless they are named: pandas's index, places, sizes."""
_DNA = re.compile(r"[ACGTN]{8,}", re.IGNORECASE)
_LOOKED_AT = 100
"""Rows that are looked at to find columns."""


class _Columns(NamedTuple):
    """Numbers of columns, from 0."""

    sequence: int
    labels: list[int]
    names: list[int]
    """those that could name the rows, the first choice first"""
    found: list[str]
    """which of them were found under names of their own, for people"""


def read_csv(
    path: Path,
    *,
    sequence_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    bound: bool = False,
) -> Examples:
    """A table with a header: its first line tells whether comma, tab or semicolon parts columns.

    A field is quoted where it is so from end to end, quotes in it doubled; between tabs any other
    quote is a letter like others (5' and 3'' marks), elsewhere an opening one must close. Blank
    lines, comments (#) above the header and Excel's ``sep=;`` are no rows; every other line is one,
    or part of one whose quoted field has line breaks.

    Args:
        path: the file. An optional column name, id, seq_id or sequence_id (in any case; the first
            of them in which no name stands twice) names the rows; other columns are left alone.
        sequence_column: its name; None: sequence, else seq, sequences or dna, else the only column
            that begins with a DNA word of 8 letters or more.
        label_column: a name, several behind commas or as a sequence, or "" for no labels; None:
            label, else labels, target or y, else the only other column of numbers, if there is one
            (an index, chromosome, start, end or length is none).
        bound: without labels, all are class 1 of two.

    Returns:
        Labels as :func:`tfbs_shift.data.parsing.labels_of` says; None where there is no column of
        them. ``label_names`` are the columns' names, but for two classes. ``notes`` tell what was
        found under other names than sequence and label.

    Raises:
        InputError: a mistake (named with its line), no or several columns that could be meant, no
            header, or ``bound`` with labels.
    """
    place, header, records = read_delimited(path, _SEQUENCE)
    first = list(itertools.islice(records, _LOOKED_AT))
    if not first:
        raise InputError(f"{path}: no sequences in it")
    columns = _columns(
        place, header, [fields for _, fields in first], sequence_column, label_column
    )
    rows, words = [], []
    names: list[list[str]] = [[] for _ in columns.names]
    for line, fields in itertools.chain(first, records):
        rows.append((path, line, fields[columns.sequence]))
        words.append([fields[k] for k in columns.labels])
        for k, of_column in zip(columns.names, names, strict=True):
            of_column.append(fields[k])
    labels, label_names = _labels(path, [header[k] for k in columns.labels], words, rows, bound)
    found = list(columns.found)
    chosen = _chosen_names([header[k] for k in columns.names], names, rows, found)
    if labels is None and label_column is None:
        found.append(UNLABELLED)
    return examples_of(
        str(path),
        rows,
        labels,
        chosen,
        label_names=label_names,
        notes=(f"{path.name}: {', '.join(found)}",) if found else (),
    )


def _chosen_names(
    columns: list[str], names: list[list[str]], rows: list[Row], found: list[str]
) -> list[str] | None:
    """The first column of names in which all differ; said in ``found`` if it is not the first."""
    if not columns:
        return None
    for column, those in zip(columns, names, strict=True):
        if len(set(those)) == len(rows):
            if column != columns[0]:
                found.append(f"names from column {column!r} ({columns[0]!r} repeats some)")
            return those
    try:
        check_names(rows, names[0])
    except InputError as error:
        raise InputError(
            f"{error}: want another in each row of column {columns[0]!r}, or another header for it"
        ) from error
    return names[0]


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


def _columns(
    place: str,
    header: list[str],
    rows: list[list[str]],
    sequence_column: str | None,
    label_column: str | Sequence[str] | None,
) -> _Columns:
    """Which columns are meant, by the names given and, else, by the first rows."""
    names = [k for word in _NAME for k in _alike(header, word)]
    if sequence_column is not None:
        sequence = _named(place, header, sequence_column)
    else:
        sequences = _found(header, _SEQUENCE, lambda k: bool(_DNA.fullmatch(rows[0][k])))
        if len(sequences) != 1:
            raise InputError(_which(place, header, sequences, "sequences", "sequence_column"))
        (sequence,) = sequences
    if label_column is not None:
        labels = [_named(place, header, name) for name in _split(header, label_column)]
        if len(set(labels)) < len(labels):
            raise InputError(f"{place}: label_column {label_column!r}: the same column twice")
    else:
        nameless = (k for k, name in enumerate(header) if not name or _NO_LABEL.fullmatch(name))
        taken = {sequence, *names, *nameless}
        labels = _found_labels(header, rows, taken)
        if len(labels) > 1:
            raise InputError(_which(place, header, labels, "labels", "label_column"))
    found = []
    if sequence_column is None and header[sequence].lower() != _SEQUENCE[0]:
        found.append(f"sequences from column {header[sequence]!r}")
    if label_column is None and labels and header[labels[0]].lower() != _LABEL[0]:
        found.append(f"labels from column {header[labels[0]]!r}")
    names = [k for k in names if k not in (sequence, *labels)]
    for k, after in itertools.pairwise(names):
        if header[k].lower() == header[after].lower():
            raise InputError(f"{place}: 2 columns {header[k]!r}: want one of that name")
    return _Columns(sequence, labels, names, found)


def _found_labels(header: list[str], rows: list[list[str]], taken: set[int]) -> list[int]:
    """Columns of labels: by name, else those of numbers, else of true and false."""

    def holds(is_label: Callable[[str], bool]) -> Callable[[int], bool]:
        return lambda k: k not in taken and any(is_label(row[k]) for row in rows)

    return _found(header, _LABEL, holds(lambda word: number(word) is not None)) or _found(
        header, (), holds(lambda word: word.lower() in TRUTHS)
    )


def _alike(header: list[str], name: str) -> list[int]:
    """The columns of a name, in any case."""
    return [k for k, each in enumerate(header) if each.lower() == name.lower()]


def _named(place: str, header: list[str], name: str) -> int:
    """The column of a name: exactly it, or else in any case."""
    columns = [k for k, each in enumerate(header) if each == name] or _alike(header, name)
    if len(columns) == 1:
        return columns[0]
    problem = f"{len(columns)} columns" if columns else "no column"
    raise InputError(f"{place}: {problem} {name!r}; the columns are {', '.join(header)}")


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
        [k for word in words[:1] for k in _alike(header, word)]
        or [k for word in words for k in _alike(header, word)]
        or [k for k in range(len(header)) if looks(k)]
    )


def _which(place: str, header: list[str], columns: list[int], what: str, argument: str) -> str:
    """What to say where not exactly one column could be meant."""
    if len({header[k] for k in columns}) == 1:
        return f"{place}: {len(columns)} columns {header[columns[0]]!r}: want one of that name"
    could = " or ".join(repr(header[k]) for k in columns)
    problem = f"are the {what} in {could}?" if columns else f"no column has the {what}:"
    listed = short(", ".join(header), 120)
    return f"{place}: {problem} name it by {argument}, --{argument}; the columns are {listed}"
