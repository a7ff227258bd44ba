"""What tools write into the headers of sequences they cut from a genome: coordinates, strand, name.

A header is understood whole or not at all. Whether its coordinates are 0-based half-open or 1-based
inclusive is told by the length of the sequence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tfbs_shift.data import chromosomes

_CHROM = r"(?P<chrom>HLA-[\w*:]+|[\w.\-*]+?)"
_SPAN = r"(?P<start>\d[\d,]*)-(?P<end>\d[\d,]*)"
_FORMS = [
    re.compile(form)
    for form in (
        # bedtools getfasta: chr1:5-15, chr1:5-15(-), name::chr1:5-15(-); so bed2fasta of MEME and,
        # without strand, twoBitToFa. samtools faidx: chr1:6-15, chr1:6-15/rc or (-). GRanges:
        # chr1:6-15:-. Zeng et al. 2016: chr1:6-15_shuf, a shuffle of what is there.
        rf"(?:(?P<name>\S.*)::)?{_CHROM}:{_SPAN}"
        r"(?:\((?P<strand>[-+.*])\)|:(?P<granges>[-+*])|(?P<turned>/rc))?(?P<shuffled>_shuf)?",
        # UCSC: hg19_dna range=chr1:6-15 5'pad=0 3'pad=0 strand=- repeatMasking=none
        rf"(?P<name>\S+) range={_CHROM}:{_SPAN}(?: [35]'pad=\d+)*(?: strand=(?P<strand>[-+]))?"
        r"(?: repeatMasking=\w+)?",
        # Ensembl: 1 dna:chromosome chromosome:GRCh38:1:6:15:-1 REF; its REST server only the third
        r"(?:(?P<name>\S+) (?:\S+ )?)?\w+:[\w.\-]+:(?P<chrom>[\w.\-]+):(?P<start>\d+):(?P<end>\d+):"
        r"(?P<strand>1|-1)(?: .*)?",
        # Galaxy: hg19_chr1_5_15_-, which MEME reads, too; a name may follow
        r"[A-Za-z]+[\d.]+_(?P<chrom>\w+?)_(?P<start>\d+)_(?P<end>\d+)_(?P<strand>[-+])"
        r"(?: (?P<name>\S+))?",
        # NCBI, of the reverse strand (else as samtools): NC_000001.11:c15-6
        r"(?P<chrom>[\w.]+):(?P<turned>c)(?P<end>\d+)-(?P<start>\d+)",
    )
]

_SPAN_ANYWHERE = re.compile(r":\d[\d,]*-\d")


class Header(NamedTuple):
    """What a header says."""

    name: str | None
    """the name that stands beside the coordinates"""
    chrom: str
    start: int
    """as it is written, from 0 or from 1"""
    end: int
    strand: str
    """"-" where the sequence is the reverse complement, else "+\""""

    def first(self, length: int) -> int | None:
        """The 0-based start that fits a sequence of ``length`` bp; None: none does."""
        start = {length: self.start, length - 1: self.start - 1}.get(self.end - self.start, -1)
        return start if start >= 0 else None

    def place(self) -> str:
        """The coordinates as a name."""
        return f"{self.chrom}:{self.start}-{self.end}({self.strand})"


class Located(NamedTuple):
    """Where sequences lie."""

    chrom: np.ndarray
    """str (N,)"""
    start: np.ndarray
    """int64 (N,), 0-based"""
    strand: np.ndarray | None
    """str (N,), "+" or "-"; None: all are "+\""""


def parsed(header: str) -> Header | None:
    """What a header (without ``>``) says, or None if it is in no known form.

    >>> parsed("peak 7::chr1:5-15(-)")
    Header(name='peak 7', chrom='chr1', start=5, end=15, strand='-')
    >>> parsed("gene of chr1:5-15")
    """
    for text in dict.fromkeys((header, *header.split(maxsplit=1)[:1])):
        for form in _FORMS:
            if match := form.fullmatch(text):
                found = match.groupdict()
                marks = [found.get(each) for each in ("strand", "granges", "turned")]
                strand = "-" if any(mark in ("-", "-1", "/rc", "c") for mark in marks) else "+"
                start, end = (int(found[each].replace(",", "")) for each in ("start", "end"))
                return Header(found.get("name"), found["chrom"], start, end, strand)
    return None


def names_of(headers: Sequence[str]) -> list[str]:
    """The name of each: what stands beside coordinates, or else the first word of the header.

    Where those of a file are not distinct: first words, or else coordinates, if they are.
    """
    words = [header.split()[0] for header in headers]
    known = [parsed(header) for header in headers]
    named = [(one and one.name) or word for one, word in zip(known, words, strict=True)]
    places = [one.place() if one else word for one, word in zip(known, words, strict=True)]
    distinct = (each for each in (named, words, places) if len(set(each)) == len(each))
    return next(distinct, words)


def located(headers: Sequence[str], length: int) -> tuple[Located | None, list[str]]:
    """Where sequences of ``length`` bp lie, if every header says so; and what is to be said.

    Each chromosome gets one name, the first that is written.
    """
    if not headers:
        return None, []
    known = [parsed(header) for header in headers]
    starts = [None if one is None else one.first(length) for one in known]
    if None in starts:
        return None, list(_not_located(headers, known, starts, length))
    names = chromosomes.unified(one.chrom for one in known if one)
    chrom = np.array([names[one.chrom] for one in known if one], str)
    strand = np.array([one.strand for one in known if one], str)
    found = Located(chrom, np.array(starts, np.int64), strand if (strand == "-").any() else None)
    return found, [said] if (said := chromosomes.renamed(names)) else []


def _not_located(
    headers: Sequence[str],
    known: Sequence[Header | None],
    starts: Sequence[int | None],
    length: int,
) -> Iterator[str]:
    """Why coordinates that some headers have are not used."""
    count = sum(one is not None for one in known)
    where = starts.index(None)
    if not count:
        if _SPAN_ANYWHERE.search(headers[where]):
            yield f"names such as {headers[where]!r}: in no form whose coordinates are understood"
        return
    problem = (
        f"{headers[where]!r} has none"
        if known[where] is None
        else f"{headers[where]!r} is not {length} bp, as its sequence is"
    )
    yield f"{count} of {len(headers)} names have coordinates, which are not used: {problem}"
