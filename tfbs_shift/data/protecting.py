"""Spans that must stay inside the window: a summit, a motif, given bases.

The paper's "we exclude slices that would interfere with the motif" (section 2.2).
"""

from __future__ import annotations

import re

import numpy as np
from Bio.motifs.jaspar import Motif

from tfbs_shift.data.examples import Examples
from tfbs_shift.data.matrices import as_table, read_matrix
from tfbs_shift.errors import InputError
from tfbs_shift.windows import WindowRange

_EQUAL = 1e-9
"""Scores that differ by fewer bits are equal: their sums are rounded."""


def protected_spans(
    examples: Examples,
    what: str,
    windows: WindowRange,
    *,
    motif: str | Motif | None = None,
    motif_format: str | None = None,
) -> np.ndarray:
    """A span of each sequence, for ``scan(protect=)`` and ``evaluate(protect=)``.

    Args:
        examples: the sequences.
        what: "summit" (the base at the summit of a narrowPeak's interval), "summit:K" (and K bp on
            either side, as far as some window holds them), "motif" (the best hit of a matrix on
            either strand, among places that some window holds), or "START-END", bases of every
            sequence, 0-based half-open.
        windows: the windows among which there is to choose.
        motif: for "motif" the name of a matrix that comes with the package (SP1, MAFK, ZNF143), a
            file with one matrix (JASPAR, MEME, HOMER, TRANSFAC or a plain table of counts or
            probabilities), or FILE:NAME; or what :func:`tfbs_shift.data.matrices.read_matrix` read.
        motif_format: the file's, as :func:`tfbs_shift.data.motif_files.read_motifs` takes it; None:
            what it looks like.

    Returns:
        ``int64`` (N, 2), 0-based half-open.

    Raises:
        InputError: none of these; no summits known; no such matrix; a span that no window holds.
    """
    count = len(examples)
    first, end = windows.first, windows.last + windows.window  # what any window holds
    if what == "motif":
        if motif is None:
            raise InputError(
                "protect motif: which matrix? give motif: SP1, MAFK, ZNF143 or a file of motifs"
            )
        if isinstance(motif, str):
            motif = read_matrix(motif, motif_format)
        return best_hits(np.asarray(examples.codes), motif, windows)
    if motif is not None:
        name = motif if isinstance(motif, str) else motif.name
        raise InputError(f"motif {name}: only with protect motif, not {what}")
    if match := re.fullmatch(r"summit(?::(\d+))?", what):
        if examples.summits is None:
            raise InputError(
                f"protect {what}: {examples.source} has no summits (want narrowPeak files whose "
                "tenth column has one in every row, or MACS's _summits.bed)"
            )
        around = int(match[1] or 0)
        summits = np.asarray(examples.summits, np.int64)
        spans = np.stack([summits - around, summits + around + 1], axis=1)
        # As far as some window holds them; a summit that no window holds is refused by `keeping`.
        held = (summits >= first) & (summits < end)
        spans[held] = np.clip(spans[held], first, end)
        return np.clip(spans, 0, windows.length)
    if match := re.fullmatch(r"(\d+)-(\d+)", what):
        return np.tile(np.array([[int(match[1]), int(match[2])]], np.int64), (count, 1))
    raise InputError(f"protect {what!r}: want summit, summit:K, motif or START-END")


def best_hits(codes: np.ndarray, motif: Motif, windows: WindowRange) -> np.ndarray:
    """Where a matrix fits best, by log-odds on either strand, among places some window holds.

    Args:
        codes: ``uint8`` (N, W).
        motif: counts of bases, and the pseudocounts to add to them; its log-odds are against equal
            shares of bases.
        windows: the windows.

    Returns:
        ``int64`` (N, 2), 0-based half-open, the first of equals (less than 1e-9 bits apart) on both
        strands; a sequence in which every place has an unknown base gets the middle one.

    Raises:
        InputError: the matrix is longer than the window.
    """
    table = as_table(motif.counts.normalize(motif.pseudocounts).log_odds())
    width = len(table)
    if width > windows.window:
        raise InputError(f"motif {motif.name}: {width} bp, longer than the window {windows.window}")
    first, end = windows.first, windows.last + windows.window
    places = end - first - width + 1
    score = np.full((2, len(codes), places), 0.0)
    # The complement of code i is 3 - i.
    for strand, scores in enumerate((table, table[::-1, ::-1])):
        unknown = np.full((width, 1), -np.inf)
        for i, row in enumerate(np.concatenate([scores, unknown], axis=1)):
            score[strand] += row[codes[:, first + i : first + i + places]]
    best = score.max(axis=0)
    # Not the highest: equal sums of other numbers, or in another order, are rounded differently.
    at = (best >= best.max(axis=1, keepdims=True) - _EQUAL).argmax(axis=1)
    at = np.where(np.isfinite(best).any(axis=1), at, (places - 1) // 2) + first
    return np.stack([at, at + width], axis=1).astype(np.int64)
