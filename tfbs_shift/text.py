"""Tables for a terminal; texts of users' files made safe for what they are written into."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_FORMULA = re.compile(r"[=@]|[+-](?![\d.]*$)")


def one_line(text: str) -> str:
    """A text whose line breaks, tabs, escapes and bytes that are no text are spelled out.

    >>> print(one_line("a\\tb\\x1b[2J"))
    a\\tb\\x1b[2J
    """
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def drawn(text: str) -> str:
    """A text as a plot shows it: no formula between dollars, and a legend has it.

    >>> drawn("_a$b$")
    ' _a\\\\$b\\\\$'
    """
    text = one_line(text).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def cell(value: Any) -> Any:
    """A value as a cell of CSV: a text that spreadsheets would run gets an apostrophe before it.

    >>> cell("=1+1"), cell("-"), cell("-1.5"), cell(-1.5)
    ("'=1+1", '-', '-1.5', -1.5)
    """
    if not isinstance(value, str):
        return value
    text = one_line(value)
    return f"'{text}" if _FORMULA.match(text) else text


def aligned(table: Sequence[Sequence[str]], *, left: int = 1, remarks: bool = False) -> str:
    """A table as lines of text: its header, a rule of dashes, its rows.

    Args:
        table: a header and rows, all of the same number of cells. What a cell has behind a line
            break stands on a line below.
        left: so many first columns are aligned left, the others right.
        remarks: the last column holds remarks of any length: aligned left, without a rule.

    >>> print(aligned([["", "shifts"], ["cnn", "0.91\\n0.90-0.92"]]))
            shifts
    ---  ---------
    cnn       0.91
         0.90-0.92
    """
    lines = [line for row in table for line in _lines(row)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    ruled = len(widths) - remarks
    shown = [
        "  ".join(
            cell.ljust(width) if i < left or i >= ruled else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    shown.insert(1, "  ".join("-" * width for width in widths[:ruled]))
    return "\n".join(shown)


def _lines(row: Sequence[str]) -> list[list[str]]:
    """The row, and below it what its cells have on a second line, if any has."""
    parts = [cell.partition("\n")[::2] for cell in row]
    lines = [[first for first, _ in parts]]
    if any(second for _, second in parts):
        lines.append([second for _, second in parts])
    return lines


def printable(text: str, length: int = 60) -> str:
    """The beginning of a text from a file, without what breaks a line or commands a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:length])
