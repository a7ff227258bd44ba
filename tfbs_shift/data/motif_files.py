"""Files of motif matrices: JASPAR, MEME, HOMER, TRANSFAC and plain tables of numbers.

Biopython reads most of these, but says no line of a mistake, rounds MEME's probabilities to counts,
cuts names at blanks, and takes any numbers for counts. What is read here are its motifs.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from Bio.motifs.jaspar import Motif

from tfbs_shift import sequences
from tfbs_shift.data.parsing import number, short, text_lines
from tfbs_shift.errors import InputError

FORMATS = ("jaspar", "homer", "meme", "transfac", "rows", "columns")
_BY_ROWS = {"jaspar": True, "rows": True, "homer": False, "columns": False}
"""Whether a row of numbers is that of a base, or else of a position."""

_PSEUDOCOUNT = 0.8  # a base, as JASPAR's own scans
_SITES, _PSEUDOCOUNT_ALONE = 20.0, 0.1 / 4  # MEME's nsites and FIMO's --motif-pseudo, unless given
_ROUNDED = 0.02
"""How far from 1 four probabilities of two decimals may be together."""
_UNEVEN = 1.1
"""How much more sites one position of fractional counts may have than another."""

_IUPAC = frozenset("ACGTNRYSWKMBDHV")
_LABEL = re.compile(r"[A-Za-z]")
_NUMBER = re.compile(r"[-+.]*\d|[-+]?(nan|inf)\b", re.IGNORECASE)
_NAMING = re.compile(r"(?:Motif|TF Name|Gene|Protein):?\s+(\S+)")
"""Lines above the matrices of CIS-BP and UniPROBE that name them."""

Lines = Sequence[tuple[int, str]]


class _Row(NamedTuple):
    line: int
    label: str
    """the base, or the consensus, before the numbers; "" without"""
    numbers: list[float]


class _Matrix(NamedTuple):
    """A matrix as it stands in a file."""

    line: int
    names: list[str]
    """the identifier, the name, others"""
    table: np.ndarray
    """``float64`` (width, 4), a column each for A, C, G, T"""
    sites: float | None = None
    """of how many sites the probabilities are, if the file says that"""
    shares: bool = False
    """the format has probabilities only"""


def read_motifs(path: Path, motif_format: str | None = None) -> list[Motif]:
    """The matrices of a file, in its order.

    A matrix holds counts of sites, or, if all positions sum to 1, probabilities. Probabilities are
    turned into counts of as many sites as the file says (MEME's nsites), else of 20. ``counts`` are
    those, ``pseudocounts`` what is to be added to them: 0.8 a base, as JASPAR's own scans do; but
    0.1 in all for probabilities of unknown sites (so that none is below 0.0012), which are
    FIMO's and MEME's own defaults. ``comment`` tells how the matrix was read.

    Args:
        path: the file, plain or gzipped.
        motif_format: "jaspar" or "rows" (a row of numbers each for A, C, G and T), "homer" or
            "columns" (a row a position, with numbers for A, C, G and T: also cluster-buster,
            CIS-BP, HOCOMOCO), "meme" or "transfac"; None: what it looks like.

    Raises:
        InputError: another alphabet, log-odds, rows of other lengths, numbers that are neither
            counts nor probabilities (each with its line), or no matrix.
    """
    lines = [(row, line.strip()) for row, line in text_lines(path)]
    if motif_format not in (None, *FORMATS):
        raise InputError(f"motif_format {motif_format!r}: want one of {', '.join(FORMATS)}")
    if motif_format is None:
        motif_format = _format_of(path, lines)
    if motif_format == "meme":
        matrices = _meme(path, lines)
    elif motif_format == "transfac":
        matrices = _transfac(path, lines)
    else:
        matrices = _plain(path, lines, _BY_ROWS.get(motif_format))
    if not matrices:
        raise InputError(
            f"{path}: no matrix in it: want one in the format of JASPAR, MEME, HOMER or TRANSFAC, "
            "or a table of numbers"
        )
    stem = path.name.split(".")[0]
    unnamed = [stem] if len(matrices) == 1 else [f"{stem}_{i + 1}" for i in range(len(matrices))]
    return [_motif(path, m, m.names or [name]) for m, name in zip(matrices, unnamed, strict=True)]


def _format_of(path: Path, lines: Lines) -> str:
    """What a file looks like; "" for rows or columns of numbers."""
    texts = [line for _, line in lines if line]
    if texts and texts[0].startswith("<"):
        raise InputError(f"{path}: XML or HTML: want the text output, such as meme.txt")
    if any(re.match(r"MEME version|letter-probability matrix|log-odds matrix", t) for t in texts):
        return "meme"
    if any(re.match(r"P[0O]\s", text) for text in texts):
        return "transfac"
    return ""


def _motif(path: Path, matrix: _Matrix, names: list[str]) -> Motif:
    """A matrix, checked, as Biopython's."""
    identifier, name = names[0], names[min(1, len(names) - 1)]
    place = f"{path}: line {matrix.line}: motif {name}"
    table, pseudocount = matrix.table, _PSEUDOCOUNT
    note = f"counts of {table.sum(axis=1).max():g} sites"
    if _are_shares(place, table, matrix.shares):
        table = table * (matrix.sites or _SITES)
        note = f"probabilities, of {matrix.sites or _SITES:g} sites"
        if not matrix.sites:
            note += " (the file does not say of how many)"
            pseudocount = _PSEUDOCOUNT_ALONE
    motif = Motif(
        identifier,
        name,
        counts={base: table[:, k].tolist() for k, base in enumerate(sequences.ACGT)},
        acc=names,
        comment=f"{len(table)} bp, {note}",
    )
    motif.pseudocounts = pseudocount
    return motif


def _are_shares(place: str, table: np.ndarray, only: bool) -> bool:
    """Whether numbers are probabilities, or else counts.

    Raises:
        InputError: they are neither.
    """
    sums = table.sum(axis=1)
    if (table < 0).any():
        raise InputError(
            f"{place}: numbers below 0, as log-odds have them: want the counts or probabilities "
            "that they were made from"
        )
    if not sums.all():
        raise InputError(f"{place}: position {int(sums.argmin()) + 1} has nothing but zeros")
    off = abs(sums - 1) > _ROUNDED
    if not off.any():
        return True
    whole = (table == table.round()).all()
    if only or not (whole or (sums.min() > 1 + _ROUNDED and sums.max() <= _UNEVEN * sums.min())):
        position = int(off.argmax())
        raise InputError(
            f"{place}: position {position + 1} sums to {sums[position]:g}: want probabilities that "
            "sum to 1" + ("" if only else ", or counts of as many sites at each position")
        )
    return False


def _numbers(path: Path, line: int, words: Sequence[str]) -> list[float]:
    values = [number(word) for word in words]
    if None in values:
        word = words[values.index(None)]
        raise InputError(f"{path}: line {line}: {short(word)!r}: want a number")
    return values


def _rows(path: Path, lines: Lines, end: str) -> list[tuple[int, str]]:
    """The lines that begin with numbers, up to an empty one or one that begins with a pattern.

    Raises:
        InputError: they end at any other line.
    """
    rows = list(itertools.takewhile(lambda each: _NUMBER.match(each[1]), lines))
    for line, text in lines[len(rows) : len(rows) + 1]:
        if text and not re.match(end, text):
            raise InputError(f"{path}: line {line}: {short(text)!r}: want a row of numbers")
    return rows


def _even(path: Path, rows: list[_Row]) -> int:
    """How many numbers each row has.

    Raises:
        InputError: a row has others than the first.
    """
    first = rows[0]
    for row in rows:
        if len(row.numbers) != len(first.numbers):
            raise InputError(
                f"{path}: line {row.line}: {len(row.numbers)} numbers, but line {first.line} has "
                f"{len(first.numbers)}"
            )
    return len(first.numbers)


def _order(path: Path, line: int, words: Sequence[str]) -> str | None:
    """The bases of the columns, from a header such as Pos A C G T; None: it is none.

    Raises:
        InputError: those of RNA.
    """
    letters = "".join(words[-4:]).upper()
    if len(words) not in (4, 5) or len(letters) != 4:
        return None
    if sorted(letters) == sorted("ACGU"):
        raise InputError(f"{path}: line {line}: RNA: want A, C, G and T; write T for U")
    return letters if sorted(letters) == sorted(sequences.ACGT) else None


def _in_order(rows: list[list[float]], order: str) -> np.ndarray:
    """A table with columns in some order, in that of A, C, G, T."""
    return np.array(rows, np.float64)[:, [order.index(base) for base in sequences.ACGT]]


class _Block:
    """Rows of numbers that belong together, and what stands above them."""

    def __init__(self, line: int, title: str | None = None):
        self.line = line
        self.title = title
        """behind >; None without"""
        self.names: list[str] = []
        self.order: str | None = None
        self.rows: list[_Row] = []
        self.bracketed = False
        """rows are written as JASPAR's: A [ 1 2 3 ]"""

    def name(self, text: str, order: str | None) -> None:
        """Takes a line above the numbers: the bases of the columns, or a name."""
        naming = _NAMING.match(text)
        if order:
            self.order = order
        elif naming:
            self.names.append(naming[1])
        elif not self.names:
            self.names = text.split(maxsplit=1)


def _plain(path: Path, lines: Lines, by_rows: bool | None) -> list[_Matrix]:
    """The matrices of a file whose rows are those of bases (JASPAR), or of positions (HOMER)."""
    blocks = [_Block(0)]
    for line, text in lines:
        block = blocks[-1]
        if text.startswith("#"):
            continue
        if text.startswith(">"):
            blocks.append(_Block(line, text[1:].strip()))
        elif not text and block.rows and block.title is None:
            blocks.append(_Block(line + 1))
        elif text:
            words = re.sub(r"[\[\]|:]", " ", text).split() or [text]
            label = words[0] if _LABEL.fullmatch(words[0]) and len(words) > 1 else ""
            if _NUMBER.match(words[1] if label else words[0]):
                numbers = _numbers(path, line, words[1:] if label else words)
                block.rows.append(_Row(line, label, numbers))
                block.bracketed |= any(mark in text for mark in "[|:")
                continue
            if block.rows and block.title is not None:
                raise InputError(f"{path}: line {line}: {short(text)!r}: want numbers")
            if block.rows:
                blocks.append(_Block(line))
            order = _order(path, line, words)
            if order:
                blocks[-1].line = line
            blocks[-1].name(text, order)
    return [_of_block(path, block, by_rows) for block in blocks if _is_matrix(path, block)]


def _is_matrix(path: Path, block: _Block) -> bool:
    """Whether there is anything below a title.

    Raises:
        InputError: there is not, where there must be.
    """
    if not block.rows and (block.title is not None or block.order):
        raise InputError(f"{path}: line {block.line}: no rows of numbers below this line")
    return bool(block.rows)


def _of_block(path: Path, block: _Block, by_rows: bool | None) -> _Matrix:
    """The matrix of a block, its rows turned into positions."""
    names, is_homer = (block.names, False) if block.title is None else _title(block.title)
    line = block.rows[0].line if block.title is None else block.line
    place = f"{path}: line {line}"
    length = _even(path, block.rows)
    letters = "".join(row.label for row in block.rows).upper()
    if sorted(letters) == sorted("ACGU"):
        raise InputError(f"{place}: RNA: want A, C, G and T; write T for U")
    of_bases = None if by_rows is False else _of_bases(block, letters)
    of_positions = None if by_rows is True else _of_positions(block, letters)
    if of_bases is None and of_positions is None:
        wanted = {
            None: "four rows, for A, C, G and T, or rows of four numbers",
            True: "four rows, for A, C, G and T",
            False: "rows of four numbers, for A, C, G and T",
        }[by_rows]
        labelled = f" ({short(', '.join(letters))})" if letters else ""
        raise InputError(
            f"{place}: {len(block.rows)} rows{labelled} of {length} numbers: want {wanted}"
        )
    if of_bases is not None and of_positions is not None:
        even = [_has_equal_sums(table) for table in (of_bases, of_positions)]
        if not (is_homer or block.bracketed) and even[0] == even[1]:
            raise InputError(
                f"{place}: are these {len(block.rows)} rows those of bases or of positions? say "
                "motif_format (--motif_format) rows or columns"
            )
        by_rows = block.bracketed or (even[0] and not is_homer)
    table = of_bases if of_positions is None or by_rows else of_positions
    return _Matrix(line, names, table)


def _of_bases(block: _Block, letters: str) -> np.ndarray | None:
    """The table, if its rows could be those of bases."""
    bases = letters or sequences.ACGT
    if len(block.rows) != 4 or sorted(bases) != sorted(sequences.ACGT) or block.order:
        return None
    return _in_order(np.array([row.numbers for row in block.rows]).T.tolist(), bases)


def _of_positions(block: _Block, letters: str) -> np.ndarray | None:
    """The table, if its rows could be those of positions, which may be numbered."""
    numbers = [row.numbers for row in block.rows]
    length = len(numbers[0])
    if length == 5 and [row[0] - numbers[0][0] for row in numbers] == list(range(len(numbers))):
        numbers, length = [row[1:] for row in numbers], 4
    if length != 4 or len(letters) not in (0, len(numbers)) or not set(letters) <= _IUPAC:
        return None
    return _in_order(numbers, block.order or sequences.ACGT)


def _has_equal_sums(table: np.ndarray) -> bool:
    """Whether all positions have as many sites, or are probabilities."""
    sums = table.sum(axis=1)
    return bool(np.ptp(sums) <= 2 * _ROUNDED * sums.max())


def _title(title: str) -> tuple[list[str], bool]:
    """The names behind >, and whether it is HOMER's: consensus, name, threshold."""
    fields = title.split("\t") if "\t" in title else title.split()
    if len(fields) > 2 and number(fields[2]) is not None:
        return [fields[1].strip()], True
    return title.split(maxsplit=1), False


def _meme(path: Path, lines: Lines) -> list[_Matrix]:
    """The letter-probability matrices of MEME, DREME and STREME, in the full or minimal format."""
    for line, text in lines:
        if text.startswith("ALPHABET"):
            _check_alphabet(path, line, text)
    motifs = [i for i, (_, text) in enumerate(lines) if re.match(r"MOTIF\s", text)]
    sections = itertools.pairwise([*(motifs or [0]), len(lines)])
    matrices = [_of_meme(path, lines[begin:end]) for begin, end in sections]
    return [matrix for matrix in matrices if matrix]


def _check_alphabet(path: Path, line: int, text: str) -> None:
    letters = re.match(r"ALPHABET\s*=\s*(\w+)", text)
    if letters[1] != sequences.ACGT if letters else '"DNA"' not in text and "DNA-LIKE" not in text:
        raise InputError(f"{path}: line {line}: {short(text)!r}: want DNA, ALPHABET= ACGT")


def _of_meme(path: Path, lines: Lines) -> _Matrix | None:
    """The matrix between a MOTIF line and the next; None: there is none, as in a list of motifs."""
    heads = [i for i, (_, text) in enumerate(lines) if text.startswith("letter-probability matrix")]
    if not heads:
        scores = [line for line, text in lines if text.startswith("log-odds matrix")]
        if scores:
            raise InputError(
                f"{path}: line {scores[0]}: log-odds: want the letter-probability matrix they were "
                "made from"
            )
        return None
    if len(heads) > 1:
        raise InputError(f"{path}: line {lines[heads[1]][0]}: a second matrix of one motif")
    line, head = lines[heads[0]]
    says = dict(re.findall(r"(\w+)\s*=\s*(\S+)", head))
    below = list(itertools.dropwhile(lambda each: not each[1], lines[heads[0] + 1 :]))
    rows = [
        _Row(row, "", _numbers(path, row, text.split()))
        for row, text in _rows(path, below, r"MOTIF\s|URL\s|[-*#]|log-odds")
    ]
    width, sites = _numbers(path, line, [says.get("w", str(len(rows))), says.get("nsites", "0")])
    if not rows or len(rows) != width:
        raise InputError(f"{path}: line {line}: {len(rows)} rows below {short(head, 60)!r}")
    if _even(path, rows) != 4:
        raise InputError(
            f"{path}: line {rows[0].line}: want 4 numbers, for A, C, G and T, not "
            f"{len(rows[0].numbers)}"
        )
    title = re.sub(r"\s+width\s*=.*", "", lines[0][1])
    names = title.split()[1:] if title.startswith("MOTIF") else []
    table = np.array([row.numbers for row in rows], np.float64)
    return _Matrix(lines[0][0], names, table, sites if sites > 0 else None, shares=True)


def _transfac(path: Path, lines: Lines) -> list[_Matrix]:
    """The matrices of TRANSFAC's records, and JASPAR's and RSAT's in its format."""
    records: list[list[tuple[int, str]]] = [[]]
    for line, text in lines:
        if text.startswith("//"):
            records.append([])
        else:
            records[-1].append((line, text))
    matrices = [_of_transfac(path, record) for record in records]
    return [matrix for matrix in matrices if matrix]


def _of_transfac(path: Path, lines: Lines) -> _Matrix | None:
    """The matrix of a record, if it has one."""
    heads = [i for i, (_, text) in enumerate(lines) if re.match(r"P[0O]\s", text)]
    if not heads:
        return None
    line, head = lines[heads[-1]]
    columns = len(head.split())
    order = _order(path, line, head.split()[:5])
    if order is None or len(heads) > 1:
        wanted = "one matrix a record, // between them" if order else "P0 A C G T"
        raise InputError(f"{path}: line {line}: {short(head)!r}: want {wanted}")
    rows = []
    for row, text in _rows(path, lines[heads[0] + 1 :], r"[A-Z][A-Z0-9]\b"):
        words = text.split()
        if columns == 5 and words[-1].isalpha():  # the consensus
            words.pop()
        if len(words) != columns:
            more = f", and what {short(head)!r} has more" if columns > 5 else ""
            raise InputError(
                f"{path}: line {row}: {short(text)!r}: want a position and 4 numbers{more}"
            )
        rows.append(_numbers(path, row, words[1:5]))
    if not rows:
        raise InputError(f"{path}: line {line}: no rows of numbers below this line")
    says = dict(text.split(maxsplit=1) for _, text in lines if re.match(r"(AC|ID|NA)\s+\S", text))
    names = [says[key] for key in ("AC", "NA", "ID") if key in says]
    return _Matrix(line, names, _in_order(rows, order))
