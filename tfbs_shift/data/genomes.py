"""Genomes in FASTA files, and windows of them that a BED file names."""

from __future__ import annotations

import bisect
import contextlib
import re
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyfaidx
from Bio import bgzf

from tfbs_shift import sequences
from tfbs_shift.data import chromosomes
from tfbs_shift.data.beds import BedRow, read_bed
from tfbs_shift.data.examples import Examples, Intervals
from tfbs_shift.data.parsing import UNLABELLED, all_bound, labels_of
from tfbs_shift.errors import InputError

_PIECE = 2**22
"""Bases fetched at once: reading a bgzipped file takes time quadratic in it."""

_MOST_BETWEEN = 2**16
"""Bytes between two sequences of a FASTA, at most."""
_HEADER = re.compile(rb"\s*(?:;[^\n]*\n\s*)*>\s*(\S+)(?:[^\S\n][^\n]*)?\n")

_ZIPPED = (".gz", ".bgz")
"""Names of what pyfaidx takes for compressed."""
_GZIP = b"\x1f\x8b"
_TWO_BIT = (b"\x1a\x41\x27\x43", b"\x43\x27\x41\x1a")  # of either byte order

_HG19_CHR1, _HG19_CHRM = 249_250_621, 16_571


class Genome:
    """A FASTA, plain or bgzipped. An index beside it is used if it fits, and else made: beside it,
    or, where that cannot be, for this process alone.

    Letters may be lower case (soft-masked); N and other IUPAC letters are unknown bases. Not to be
    shared between threads: one object each.

    Args:
        path: the FASTA; compressed by bgzip its name ends with .gz or .bgz.

    Attributes:
        lengths: bp of each sequence, by name, in the order of the file.

    Raises:
        InputError: no such file, or not a FASTA that can be indexed.
    """

    def __init__(self, path: Path):
        self.path = path
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        self._fasta = _indexed(path)
        self.lengths = {name: int(entry.rlen) for name, entry in self._fasta.index.items()}
        if not self.lengths:
            raise InputError(f"{path}: no sequences in it")
        self._alike: dict[str, list[str]] = {}
        for name in self.lengths:
            self._alike.setdefault(chromosomes.key(name), []).append(name)

    def name_of(self, chrom: str) -> str:
        """The name in the file of a chromosome, which may be written with or without "chr".

        Raises:
            InputError: it has no such sequence, or several.
        """
        if chrom in self.lengths:
            return chrom
        alike = self._alike.get(chromosomes.key(chrom), [])
        if len(alike) > 1:
            raise InputError(f"chromosome {chrom!r}: is it {' or '.join(alike)} of {self.path}?")
        if not alike:
            known = ", ".join(list(self.lengths)[:3])
            raise InputError(
                f"chromosome {chrom!r} is not in {self.path}, which has {known}, ...: is it of "
                "another build of the genome?"
            )
        if chromosomes.key(chrom) == "MT" and self._other_mitochondrion(chrom, alike[0]):
            raise InputError(
                f"chromosome {chrom!r} is not {alike[0]} of {self.path}: hg19's chrM (NC_001807, "
                f"{_HG19_CHRM} bp) is another sequence than GRCh37's MT (NC_012920)"
            )
        return alike[0]

    def _other_mitochondrion(self, chrom: str, name: str) -> bool:
        """Whether M is hg19's and MT is GRCh37's, which differ in length and order."""
        if chrom.endswith("T"):
            return self.lengths[name] == _HG19_CHRM
        first = self.lengths.get(next(iter(self._alike.get("1", [])), ""))
        return first == _HG19_CHR1 and self.lengths[name] != _HG19_CHRM

    def codes(self, chrom: str, start: int, end: int) -> np.ndarray:
        """``uint8`` (end - start,): a window, 0-based half-open, unknown beyond the ends.

        Raises:
            InputError: no such chromosome, a window wholly outside it, or a letter that is no DNA.
        """
        name = self.name_of(chrom)
        length = self.lengths[name]
        if start >= end or end <= 0 or start >= length:
            raise InputError(f"window {chrom}:{start}-{end}: not in 0..{length}, its chromosome")
        codes = np.full(end - start, sequences.UNKNOWN, np.uint8)
        for begin in range(max(0, start), min(end, length), _PIECE):
            stop = min(begin + _PIECE, end, length)
            try:
                letters = str(self._fasta.fetch(name, begin + 1, stop).seq)
            except Exception as error:  # pyfaidx passes on whatever reading ends in
                raise InputError(
                    f"{self.path}: {name}:{begin}-{stop}: cannot be read: {_reason(error)}"
                ) from error
            try:
                codes[begin - start : stop - start] = sequences.encode(letters)
            except (InputError, ValueError) as error:
                raise InputError(
                    f"{self.path}: {name}:{begin}-{stop}: not DNA, or damaged ({error})"
                ) from error
        return codes


def _indexed(path: Path) -> pyfaidx.Faidx:
    """The FASTA with an index that fits it."""
    _check_start(path)
    indices = [Path(f"{path}.fai")]
    if path.suffix.lower() in _ZIPPED:
        indices.append(Path(f"{path}.gzi"))
    if all(index.is_file() for index in indices):
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an index older than its FASTA is put to the test
            fasta = pyfaidx.Faidx(str(path), rebuild=False)
            if _fits(fasta):
                return fasta
    try:
        try:
            return _made(path, indices, path.parent)
        except OSError:  # no room or no permission
            return _made(path, indices, None)
    except (pyfaidx.UnsupportedCompressionFormat, ImportError) as error:
        raise InputError(
            f"{path}: compressed, but not by bgzip: gunzip it, or bgzip it ({_reason(error)})"
        ) from error
    except pyfaidx.FastaIndexingError as error:
        raise InputError(
            f"{path}: not a FASTA that can be indexed: {_reason(error)}; the lines of a sequence "
            "must have one length, and none be blank: seqkit seq -w 60 writes them so"
        ) from error
    except Exception as error:  # pyfaidx passes on whatever reading ends in
        raise InputError(f"{path}: not a FASTA that can be indexed: {_reason(error)}") from error


def _check_start(path: Path) -> None:
    """Refuses what begins as a file of another format."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {_reason(error)}") from error
    if start in _TWO_BIT:
        raise InputError(f"{path}: 2bit, and no FASTA: twoBitToFa makes one of it")
    if start.startswith(_GZIP) and path.suffix.lower() not in _ZIPPED:
        raise InputError(f"{path}: compressed, but not named so: gunzip it, or bgzip it to a .gz")


def _made(path: Path, indices: list[Path], folder: Path | None) -> pyfaidx.Faidx:
    """The FASTA with a new index, left beside it if ``folder`` is where it is.

    Raises:
        OSError: nothing can be written there.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".index-") as name:
        written = [Path(name) / index.name for index in indices]
        names = dict(zip(("indexname", "gzi_indexname"), map(str, written), strict=False))
        fasta = pyfaidx.Faidx(str(path), **names)
        if not _fits(fasta):
            raise ValueError("a sequence is not where its index says")
        if folder is not None:
            for new, index in zip(written, indices, strict=True):
                new.replace(index)
    return fasta


def _fits(fasta: pyfaidx.Faidx) -> bool:
    """Whether an index is of this file: a header before each sequence, and no more after the last.

    Cost: a look at the file for each sequence.
    """
    at = 0
    for name, entry in sorted(fasta.index.items(), key=lambda item: item[1].offset):
        header = _HEADER.fullmatch(_bytes(fasta, at, entry.offset - at))
        if header is None or header[1] != name.encode():
            return False
        at = entry.offset
        if entry.rlen:
            lines, rest = divmod(entry.rlen - 1, entry.lenc)
            at += lines * entry.lenb + rest + 1
    return not _bytes(fasta, at, _MOST_BETWEEN).strip()


def _bytes(fasta: pyfaidx.Faidx, at: int, size: int) -> bytes:
    """Bytes of the file, inflated, ``size`` of them or less; b"" where no header can be as long."""
    if not 0 <= size <= _MOST_BETWEEN:
        return b""
    if fasta.file.__class__ is bgzf.BgzfReader:
        block = fasta.gzi_index[max(0, bisect.bisect_left(fasta.gzi_index, at) - 1)]
        at = bgzf.make_virtual_offset(block.cstart, at - block.ustart)
    fasta.file.seek(at)
    return fasta.file.read(size)


def _reason(error: Exception) -> str:
    """What a library says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def read_windows(
    beds: Sequence[Path],
    fasta: Path,
    *,
    length: int | None = None,
    flank: int = 0,
    label_column: str | None = None,
    bound: bool = False,
) -> Examples:
    """Windows of a genome around the intervals of BED files.

    Args:
        beds: one file, with no or other labels; or two, bound (class 1) and unbound.
        fasta: the genome.
        length: bp around the summit of each interval, or its middle (start + end) // 2 where it has
            none. That base is number length // 2 of them, from 0, on the forward strand; of strand
            "-", the same bases read backwards, number (length - 1) // 2. None: the interval as it
            is, which then must be of one length.
        flank: bp added on either side. N where a chromosome ends.
        label_column: of one file, what its labels are, as for :func:`read_bed`. None: it has none.
        bound: all intervals of one file are class 1 of two.

    Returns:
        Sequences of ``length + 2 * flank`` bp; those of strand "-" reverse-complemented. With
        summits, if every interval has one.

    Raises:
        InputError: a mistake in a file (named with its line), intervals of several lengths, or two
            of what says what the labels are.
    """
    if flank < 0 or (length is not None and length < 1):
        raise InputError(f"length {length}, flank {flank}: want 1 bp or more, and 0 or more")
    if len(set(beds)) < len(beds):
        raise InputError(f"{beds[0]}: is it bound or unbound? want two files")
    said = len(beds) > 1, label_column is not None, bound
    if sum(said) > 1:
        raise InputError(
            f"{', '.join(map(str, beds))}: what are the labels? want one of two files (bound and "
            "unbound), label_column (--label_column), and bound (--bound)"
        )
    genome = Genome(fasta)
    read = [read_bed(path, label_column) for path in beds]
    rows = [(path, row) for path, bed in zip(beds, read, strict=True) for row in bed.rows]
    labels = _labels(rows, beds, label_column, bound)
    codes, starts = _cut(genome, rows, length, flank)
    strand = np.array([row.strand for _, row in rows])
    reverse = strand == "-"
    codes[reverse] = sequences.reverse_complement_codes(codes[reverse])
    names = np.array([row.name for _, row in rows])
    summits = None
    if all(row.summit is not None for _, row in rows):
        summits = np.array([row.summit for _, row in rows], np.int64) - starts
        summits[reverse] = codes.shape[1] - 1 - summits[reverse]
    chroms = {chrom: genome.name_of(chrom) for chrom in dict.fromkeys(row.chrom for _, row in rows)}
    notes = [note for bed in read for note in bed.notes]
    if labels is None:
        notes.append(f"{beds[0].name}: {UNLABELLED}")
    if renamed := chromosomes.renamed(chroms):
        notes.append(f"{', '.join(bed.name for bed in beds)}: {renamed}, as in {fasta.name}")
    return Examples(
        codes,
        labels,
        Intervals(
            np.array([chroms[row.chrom] for _, row in rows]), starts, starts + codes.shape[1]
        ),
        names if len(np.unique(names)) == len(names) else None,
        ",".join(map(str, [*beds, fasta])),
        [label_column] if label_column and labels.shape[1] == 1 else None,
        strand=strand,
        summits=summits,
        chromosomes=genome.lengths,
        notes=tuple(notes),
    )


def _cut(
    genome: Genome, rows: Sequence[tuple[Path, BedRow]], length: int | None, flank: int
) -> tuple[np.ndarray, np.ndarray]:
    """Codes ``uint8`` (N, W) on the forward strand, and starts ``int64`` (N,), of the windows."""
    width = length or rows[0][1].end - rows[0][1].start
    codes = np.empty((len(rows), width + 2 * flank), np.uint8)
    starts = np.empty(len(rows), np.int64)
    for i, (path, row) in enumerate(rows):
        middle = row.summit if row.summit is not None else (row.start + row.end) // 2
        start = row.start if length is None else middle - width // 2
        if length is None and row.end - row.start != width:
            raise InputError(
                f"{path}: line {row.line}: {row.end - row.start} bp, but the first interval has "
                f"{width}: give length, the bp to take around each summit or middle"
            )
        starts[i] = start - flank
        try:
            _inside(genome, row)
            codes[i] = genome.codes(row.chrom, start - flank, start + width + flank)
        except InputError as error:
            raise InputError(f"{path}: line {row.line}: {error}") from error
    return codes, starts


def _inside(genome: Genome, row: BedRow) -> None:
    """Refuses an interval that is not in its chromosome, wherever its window may be."""
    name = genome.name_of(row.chrom)
    length = genome.lengths[name]
    if row.end > length:
        raise InputError(
            f"{row.chrom}:{row.start}-{row.end} ends beyond {name} of {genome.path}, {length} bp: "
            "are the intervals of another build of the genome?"
        )


def _labels(
    rows: Sequence[tuple[Path, BedRow]],
    beds: Sequence[Path],
    label_column: str | None,
    bound: bool,
) -> np.ndarray | None:
    """Labels of intervals, by the one of three things that says what they are."""
    if label_column is not None:
        places = [(path, row.line) for path, row in rows]
        return labels_of([[row.label] for _, row in rows], places)
    if len(beds) > 1:
        return np.eye(2, dtype=np.uint8)[[int(path == beds[0]) for path, _ in rows]]
    return all_bound(len(rows)) if bound else None
