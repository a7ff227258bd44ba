"""Genomes in FASTA files, and windows of them that a BED file names."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyfaidx

from tfbs_shift import sequences
from tfbs_shift.data.beds import BedRow, read_bed
from tfbs_shift.data.examples import Examples, Intervals
from tfbs_shift.data.parsing import UNLABELLED, all_bound, labels_of
from tfbs_shift.errors import InputError

_PIECE = 2**22
"""Bases fetched at once: reading a bgzipped file takes time quadratic in it."""


class Genome:
    """A FASTA, plain or bgzipped; its index, ``.fai`` beside it, is made where it is missing.

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
        names: dict[str, str | None] = {"indexname": None, "gzi_indexname": None}
        if not os.access(path.parent, os.W_OK) and not Path(f"{path}.fai").exists():
            self._folder = tempfile.TemporaryDirectory()
            names = {key: str(Path(self._folder.name) / key) for key in names}
        try:
            self._fasta = pyfaidx.Faidx(str(path), **names)
        except (pyfaidx.UnsupportedCompressionFormat, ImportError) as error:
            raise InputError(
                f"{path}: compressed, but not by bgzip: gunzip it, or bgzip it ({error})"
            ) from error
        except (ValueError, pyfaidx.FastaIndexingError, pyfaidx.IndexNotFoundError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path}: not a FASTA that can be indexed: {reason}") from error
        self.lengths = {name: int(entry.rlen) for name, entry in self._fasta.index.items()}
        if not self.lengths:
            raise InputError(f"{path}: no sequences in it")

    def name_of(self, chrom: str) -> str:
        """The name in the file of a chromosome, which may be written with or without "chr".

        Raises:
            InputError: it has no such sequence.
        """
        for name in (chrom, f"chr{chrom}", chrom.removeprefix("chr")):
            if name in self.lengths:
                return name
        known = ", ".join(list(self.lengths)[:3])
        raise InputError(f"chromosome {chrom!r} is not in {self.path}, which has {known}, ...")

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
            letters = str(self._fasta.fetch(name, begin + 1, stop).seq)
            try:
                codes[begin - start : stop - start] = sequences.encode(letters)
            except (InputError, ValueError) as error:
                raise InputError(
                    f"{self.path}: {name}:{begin}-{stop}: not DNA, or the index is of another "
                    f"file ({error})"
                ) from error
        return codes


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
    said = len(beds) > 1, label_column is not None, bound
    if sum(said) > 1:
        raise InputError(
            f"{', '.join(map(str, beds))}: what are the labels? want one of two files (bound and "
            "unbound), label_column (--label_column), and bound (--bound)"
        )
    genome = Genome(fasta)
    read = [read_bed(path, label_column) for path in beds]
    rows = [(path, row) for path, bed in zip(beds, read, strict=True) for row in bed.rows]
    notes = tuple(note for bed in read for note in bed.notes)
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
    chrom = np.array([row.chrom for _, row in rows])
    return Examples(
        codes,
        labels,
        Intervals(chrom, starts, starts + codes.shape[1]),
        names if len(np.unique(names)) == len(names) else None,
        ",".join(map(str, [*beds, fasta])),
        [label_column] if label_column and labels.shape[1] == 1 else None,
        strand=strand,
        summits=summits,
        notes=notes if labels is not None else (*notes, f"{beds[0].name}: {UNLABELLED}"),
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
            codes[i] = genome.codes(row.chrom, start - flank, start + width + flank)
        except InputError as error:
            raise InputError(f"{path}: line {row.line}: {error}") from error
    return codes, starts


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
