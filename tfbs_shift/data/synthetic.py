"""Synthetic bound and unbound sequences, for trying things out without a download.

Nothing here is measured data. Sites come from the JASPAR matrices of the paper's three
transcription factors (``motifs.jaspar``, see ``motifs.LICENSE.txt``).
"""

from __future__ import annotations

import numpy as np

from tfbs_shift import sequences
from tfbs_shift.data.examples import Examples
from tfbs_shift.data.matrices import as_table, read_matrices
from tfbs_shift.errors import InputError

# Share of every dinucleotide in the human genome, in percent: rows first base, columns second base,
# A, C, G, T. CpG is rare. (Both strands are counted, so AC = GT and so on.)
_DINUCLEOTIDES = np.array(
    [[9.8, 5.0, 7.0, 7.7], [7.3, 5.2, 1.0, 7.0], [5.9, 4.3, 5.2, 5.0], [6.6, 5.9, 7.3, 9.8]]
)


def synthetic(positives: int, *, length: int = 101, seed: int = 0, spread: float = 8.0) -> Examples:
    """Bound sequences with one site near the centre, and a dinucleotide shuffle of each.

    The background is a first-order Markov chain with the dinucleotide content of the human genome.
    Each bound sequence gets one site of SP1, MAFK or ZNF143 drawn base by base from its matrix, on
    either strand, its middle normally distributed around the centre of the sequence. The shuffles
    keep every dinucleotide count, as in Zeng's motif discovery data.

    Args:
        positives: number of bound sequences; there are as many unbound ones.
        length: bases a sequence, W; at least 30.
        seed: repeats the sequences.
        spread: standard deviation of the site's distance from the centre, in bp.

    Returns:
        2 * positives examples, bound and shuffled alternating, named
        ``synthetic_<i>_<TF>_<start of the site><strand>`` and the same with ``_shuf``.

    >>> examples = synthetic(2, length=40, seed=0)
    >>> examples.x.shape, examples.y.tolist()
    ((4, 40, 4), [[0, 1], [1, 0], [0, 1], [1, 0]])
    """
    if positives < 1 or length < 30:
        raise InputError(
            f"positives {positives}, length {length}: want at least 1 sequence of 30 bp"
        )
    rng = np.random.default_rng(seed)
    motifs = [(motif.name, as_table(motif.counts.normalize())) for motif in read_matrices()]
    bound = _background(positives, length, rng)
    codes, names = [], []
    for i, sequence in enumerate(bound):
        factor, table = motifs[rng.integers(len(motifs))]
        site = _draw(table, rng)
        strand = "+-"[rng.integers(2)]
        if strand == "-":
            site = sequences.reverse_complement_codes(site)
        start = round((length - len(site)) / 2 + spread * rng.standard_normal())
        start = min(max(start, 0), length - len(site))
        sequence[start : start + len(site)] = site
        name = f"synthetic_{i}_{factor}_{start}{strand}"
        codes += [sequence, sequences.dinucleotide_shuffle(sequence, rng)]
        names += [name, f"{name}_shuf"]
    y = np.tile(np.array([[0, 1], [1, 0]], np.uint8), (positives, 1))
    return Examples(np.array(codes), y, names=np.array(names), source=f"synthetic, seed {seed}")


def _background(count: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """``uint8`` (count, length) from the Markov chain, one column at a time."""
    first = _DINUCLEOTIDES.sum(axis=1) / _DINUCLEOTIDES.sum()
    following = np.cumsum(_DINUCLEOTIDES / _DINUCLEOTIDES.sum(axis=1, keepdims=True), axis=1)
    codes = np.empty((count, length), np.uint8)
    codes[:, 0] = rng.choice(4, count, p=first)
    for i in range(1, length):
        codes[:, i] = (rng.random((count, 1)) > following[codes[:, i - 1], :3]).sum(axis=1)
    return codes


def _draw(table: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One site, ``uint8`` (width,), from probabilities (width, 4)."""
    return (rng.random((len(table), 1)) > np.cumsum(table, axis=1)[:, :3]).sum(axis=1).astype("u1")
