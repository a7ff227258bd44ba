"""BED files and those that look like them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tfbs_shift.data.parsing import text_lines
from tfbs_shift.errors import InputError


class BedRow(NamedTuple):
    """A line of a BED or narrowPeak file."""

    line: int
    chrom: str
    start: int
    end: int
    name: str
    strand: str
    """"+" or "-"; "+" where the file does not say"""
    summit: int | None
    """position in the chromosome, of a narrowPeak that has one"""
    label: str
    """what stands in the column of labels; "" where there is none"""


_LABELS = {"score": 5, "signalvalue": 7, "pvalue": 8, "qvalue": 9}
"""Columns from 1: BED's own score, and those of narrowPeak."""


def read_bed(path: Path, label_column: str | None = None) -> list[BedRow]:
    """The intervals of a BED file, plain or gzipped; 0-based half-open.

    A file with ten columns is a narrowPeak, whose tenth is the summit relative to the start, or -1.
    Where a line has tabs, these part its columns, else any white space.

    Args:
        path: the file.
        label_column: a column's number from 1, or score, or, of a narrowPeak, signalValue, pValue
            or qValue; None: no labels.

    Raises:
        InputError: a line that is no interval or lacks the column (named), or no such column.
    """
    rows = []
    for number, line in text_lines(path):
        if not line.strip() or line.split()[0] in ("track", "browser") or line.startswith("#"):
            continue
        fields = line.split()
        if line.count("\t") > 1:  # names may have blanks
            fields = [field.strip() for field in line.strip().split("\t")]
        try:
            chrom, start, end = fields[0], int(fields[1]), int(fields[2])
            summit = int(fields[9]) if len(fields) == 10 else -1
        except (IndexError, ValueError) as error:
            raise InputError(
                f"{path}: line {number}: want chrom, start, end (and more), not {line.strip()!r}"
            ) from error
        if not 0 <= start < end or summit >= end - start:
            raise InputError(
                f"{path}: line {number}: {chrom}:{start}-{end}"
                + (f" with summit {summit}" if summit >= 0 else "")
                + ": want 0 <= start < end, 0-based half-open, the summit inside"
            )
        name = fields[3] if len(fields) > 3 else "."
        strand = "-" if len(fields) > 5 and fields[5] == "-" else "+"
        summit_at = start + summit if summit >= 0 else None
        label = "" if label_column is None else _label(path, number, fields, label_column)
        rows.append(BedRow(number, chrom, start, end, name, strand, summit_at, label))
    if not rows:
        raise InputError(f"{path}: no intervals in it")
    return rows


def _label(path: Path, line: int, fields: list[str], label_column: str) -> str:
    """What stands in the column of labels."""
    named = _LABELS.get(label_column.lower())
    column = named or (int(label_column) if label_column.isdecimal() else 0)
    if not column:
        raise InputError(
            f"{path}: label_column {label_column!r}: want a column's number from 1, or score, or, "
            "of a narrowPeak, signalValue, pValue or qValue"
        )
    if column > len(fields) or (named and named > 5 and len(fields) != 10):
        wanted = "the 10 columns of a narrowPeak" if named and named > 5 else f"{column} or more"
        raise InputError(
            f"{path}: line {line}: {len(fields)} columns, but label_column {label_column} wants "
            f"{wanted}"
        )
    return fields[column - 1]
