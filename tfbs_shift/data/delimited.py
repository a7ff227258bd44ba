"""Text in columns between commas, tabs or semicolons: its header, and its rows, none of them lost.

A field is quoted where it is so from end to end, quotes in it doubled. Between tabs any other quote
is a letter like others (the marks of 5' and 3"), elsewhere one that opens a field must close it.
Python's ``csv`` cannot tell these apart, reads on over line ends, and stops at 131,072 letters.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tfbs_shift.data.parsing import short, text_lines
from tfbs_shift.errors import InputError

Record = tuple[int, list[str]]
"""A line number from 1, and the fields there."""

_DELIMITERS = "\t;,"
_DECLARED = re.compile(r'"?sep=([\t;,])"?')
"""What Excel takes from a first line, and writes there."""
_QUOTED = re.compile(r' *"([^"]*(?:""[^"]*)*)" *')


def read_delimited(path: Path, known: Sequence[str]) -> tuple[str, list[str], Iterator[Record]]:
    """The header of a table, and its rows as they are read.

    Blank lines, comments (#) above the header and Excel's ``sep=;`` are no rows; every other line
    is one, or part of one whose quoted field has line breaks.

    Args:
        path: the file.
        known: what a column of sequences is called, in lower case.

    Returns:
        Where the header is (for messages), its fields, and the rows, of as many fields; all without
        white space around.

    Raises:
        InputError: no header (of what its rows look like), columns parted by blanks. While rows are
            read: other fields than the header has, a quote that does not close.
    """
    lines = ((row, line.rstrip("\n")) for row, line in text_lines(path) if line.strip())
    row, head = next(lines, (1, ""))
    declared = _DECLARED.fullmatch(head)
    if declared:
        row, head = next(lines, (row, ""))
    comment = (row, "")
    while head.startswith("#"):
        comment, (row, head) = (row, head.lstrip("# ")), next(lines, (row, ""))
    if _has(known, comment[1]) and not _has(known, head):
        # Many tools write the header of a table as a comment: #name, sequence, label.
        lines = itertools.chain([(row, head)] if head else [], lines)
        row, head = comment
    place = f"{path}: line {row}"
    delimiter = declared[1] if declared else _delimiter(head, known)
    first = next(lines, None)
    if delimiter not in head and first and all(len(line.split()) > 1 for line in (head, first[1])):
        raise InputError(f"{place}: columns parted by blanks: want commas, tabs or semicolons")
    header = _fields(head, delimiter)
    if header is None:
        raise InputError(f"{place}: a quote that does not close")
    if not any(header) or header[0].startswith(">"):
        hint = "; a FASTA is named .fa" if any(header) else ""
        raise InputError(f"{place}: want a header with the columns sequence and label{hint}")
    if any("\t" in name for name in header):
        raise InputError(f"{place}: columns parted by tabs and by {delimiter!r}: want one of them")
    letters = next((field for field in header if _is_dna(field)), None)
    if letters:
        raise InputError(
            f"{place}: {short(letters)!r} is a sequence: want a header above it, with the columns "
            "sequence and label"
        )
    rows = itertools.chain([first], lines) if first else lines
    return place, header, _records(path, rows, header, delimiter)


def _has(known: Sequence[str], head: str, delimiters: str = _DELIMITERS) -> bool:
    """Whether a line is a header with one of the known names."""
    return any(name.strip(' "').lower() in known for name in re.split(f"[{delimiters}]", head))


def _delimiter(head: str, known: Sequence[str]) -> str:
    """What parts the columns of a header: it leaves a known name, or most columns."""
    unquoted = re.sub(r'"[^"]*"', "", head)
    there = [delimiter for delimiter in _DELIMITERS if delimiter in unquoted]
    return max(there, key=lambda each: (_has(known, head, each), unquoted.count(each)), default=",")


def _is_dna(field: str) -> bool:
    """Whether a field is a sequence and no name of a column."""
    letters = field.strip(' "').upper()
    return (
        len(letters) > 7
        and not letters.strip("ACGTUNRYSWKMBDHV")
        and sum(map(letters.count, "ACGTUN")) >= 0.75 * len(letters)  # backward is a word
    )


def _records(
    path: Path, lines: Iterator[tuple[int, str]], header: list[str], delimiter: str
) -> Iterator[Record]:
    """The rows below the header; each line is one of them, or in one."""
    width = len(header)
    for i, (row, line) in enumerate(lines):
        fields = _fields(line, delimiter, width)
        if fields is None:
            fields = _fields_of_lines(f"{path}: line {row}", line, lines, delimiter, width)
        if len(fields) != width:
            hint = "" if i else _hint(width, fields)
            raise InputError(
                f"{path}: line {row}: want {width} fields, as the header has, not "
                f"{len(fields)}{hint}"
            )
        if any(fields):  # a row of nothing but commas is what spreadsheets leave below a table
            yield row, fields


def _hint(width: int, fields: list[str]) -> str:
    """What people do that gives the first row one field more than the header."""
    if len(fields) != width + 1:
        return ""
    if not fields[-1]:
        return ": it ends with a delimiter that the header lacks"
    return ": row names of R? write.table(..., col.names=NA) gives them a header"


def _fields(line: str, delimiter: str, width: int | None = None) -> list[str] | None:
    """The fields of a line; None where a quoted one does not close, which tabs know nothing of.

    Args:
        line: without its end.
        delimiter: between fields.
        width: how many fields there should be.
    """
    if '"' not in line:
        return [field.strip() for field in line.split(delimiter)]
    if delimiter == "\t":
        fields = line.split("\t")
        if width in (None, len(fields)):
            return [_unquoted(field) for field in fields]
    fields, at = [], 0
    while at <= len(line):
        quoted = _QUOTED.match(line, at)
        if quoted and line[quoted.end() : quoted.end() + 1] in ("", delimiter):
            fields.append(quoted[1].replace('""', '"').strip())
            at = quoted.end() + 1
            continue
        end = line.find(delimiter, at)
        field = line[at : len(line) if end < 0 else end].strip()
        if field.startswith('"') and delimiter != "\t":
            return None
        fields.append(field)
        at = len(line) + 1 if end < 0 else end + 1
    return fields


def _unquoted(field: str) -> str:
    """A field without quotes around it, if it is quoted as a writer of tables does that."""
    quoted = _QUOTED.fullmatch(field)
    return (quoted[1].replace('""', '"') if quoted else field).strip()


def _fields_of_lines(
    place: str,
    line: str,
    lines: Iterator[tuple[int, str]],
    delimiter: str,
    width: int,
) -> list[str]:
    """The fields of a row whose quoted field has line breaks, from its first line on.

    Raises:
        InputError: the quote closes nowhere, or behind lines that are rows by themselves.
    """
    parts, whole = [line], int(line.count(delimiter) >= width - 1)
    is_open = line.count('"') % 2 > 0
    while is_open and whole < 2:
        _, line = next(lines, (0, None))
        if line is None:
            break
        parts.append(line)
        whole += line.count(delimiter) >= width - 1
        is_open ^= line.count('"') % 2 > 0
    fields = _fields("\n".join(parts), delimiter)
    if fields is None or whole > 1:
        raise InputError(
            f"{place}: a quoted field that does not close before the next row: want quotes at both "
            "ends of a field, those in it doubled"
        )
    return fields
