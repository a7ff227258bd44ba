"""DNA letters, codes and one-hot arrays.

Codes are ``uint8``: the index of a letter in the alphabet, or :data:`UNKNOWN` for N and the other
IUPAC ambiguity letters. One-hot arrays have one channel a letter, and an unknown base is all zeros
(as in DeepSEA's files). Everything here is plain numpy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tfbs_shift.errors import InputError

ACGT = "ACGT"
"""Channel order of our readers and of the paper's CNN."""
AGCT = "AGCT"
"""Channel order of DeepSEA's files and of TBiNet."""
UNKNOWN = 4
"""Code of a base that is not known."""

_AMBIGUOUS = "NRYSWKMBDHV"
_COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A"}
_BAD = 255
_PAIRS = 1024
"""Pairs of strands compared at once."""


def _check_alphabet(alphabet: str) -> str:
    if sorted(alphabet) != sorted(ACGT):
        raise InputError(f"alphabet {alphabet!r}: must hold the letters A, C, G and T once each")
    return alphabet


def _letter_codes(alphabet: str) -> np.ndarray:
    """Table (256,) from ASCII to codes; 255 marks a letter that is not DNA."""
    table = np.full(256, _BAD, np.uint8)
    for letters, codes in ((alphabet, range(4)), (_AMBIGUOUS, [UNKNOWN] * len(_AMBIGUOUS))):
        for letter, code in zip(letters, codes, strict=True):
            table[ord(letter)] = table[ord(letter.lower())] = code
    return table


def encode(sequences: str | Iterable[str], alphabet: str = ACGT) -> np.ndarray:
    """Letters to codes.

    Args:
        sequences: one sequence, or several of one length. Upper or lower case (soft-masked);
            N and the other IUPAC ambiguity letters become :data:`UNKNOWN`.
        alphabet: order of the letters; the code is the index in it.

    Returns:
        ``uint8`` (L,) for one sequence, (N, L) for several.

    Raises:
        InputError: a letter that is not DNA (U included), or sequences of different lengths.

    >>> encode("ACgtN").tolist()
    [0, 1, 2, 3, 4]
    """
    if isinstance(sequences, str):
        return encode([sequences], alphabet)[0]
    rows = list(sequences)
    if not rows:
        return np.zeros((0, 0), np.uint8)
    length = len(rows[0])
    for i, row in enumerate(rows):
        if len(row) != length:
            raise InputError(
                f"sequence {i + 1}: {len(row)} bp, but sequence 1 has {length}: "
                "all must have one length"
            )
    # "replace" turns whatever is not ASCII into "?", which is refused below like other letters.
    text = np.frombuffer("".join(rows).encode("ascii", "replace"), np.uint8)
    codes = _letter_codes(_check_alphabet(alphabet))[text].reshape(len(rows), length)
    if (codes == _BAD).any():
        i, column = (int(index) for index in np.argwhere(codes == _BAD)[0])
        letter = rows[i][column]
        hint = "RNA? write T for U" if letter in "Uu" else "want A, C, G, T, N or an IUPAC letter"
        raise InputError(f"sequence {i + 1}: letter {letter!r} at position {column + 1}: {hint}")
    return codes


def decode(codes: np.ndarray, alphabet: str = ACGT) -> str | list[str]:
    """Codes to upper-case letters, the inverse of :func:`encode`; unknown bases become N.

    Args:
        codes: ``uint8`` (L,) or (N, L), values 0..4.
        alphabet: order of the letters.

    Returns:
        A string for (L,), a list of N strings for (N, L).

    >>> decode(np.array([0, 1, 2, 3, 4]))
    'ACGTN'
    """
    codes = np.asarray(codes)
    letters = np.frombuffer((_check_alphabet(alphabet) + "N").encode(), np.uint8)
    if codes.size and (codes.min() < 0 or codes.max() > UNKNOWN):
        raise InputError(f"codes must lie in 0..{UNKNOWN}, not {codes.min()}..{codes.max()}")
    rows = [row.tobytes().decode() for row in letters[np.atleast_2d(codes)]]
    return rows[0] if codes.ndim == 1 else rows


def one_hot(codes: np.ndarray, alphabet: str = ACGT) -> np.ndarray:
    """Codes (..., L) to ``uint8`` one-hot (..., L, 4); an unknown base is all zeros.

    Args:
        codes: integers 0..4 = A, C, G, T, unknown.
        alphabet: order of the channels.

    >>> one_hot(np.array([1, 4])).tolist()
    [[0, 1, 0, 0], [0, 0, 0, 0]]
    >>> one_hot(np.array([1]), "AGCT").tolist()
    [[0, 0, 1, 0]]
    """
    codes = np.asarray(codes)
    rows = np.ascontiguousarray(reorder(np.eye(UNKNOWN + 1, 4, dtype=np.uint8), ACGT, alphabet))
    # The four bytes of a base as one word: ten times faster than four.
    words = np.take(rows.view(np.uint32)[:, 0], codes)
    return words[..., None].view(np.uint8)


def from_one_hot(x: np.ndarray) -> np.ndarray:
    """One-hot (..., L, 4) to codes (..., L), the inverse of :func:`one_hot`.

    Raises:
        InputError: the last axis is not 4 wide, it holds no real numbers, or a base is neither
            one-hot nor all zeros.
    """
    x = np.asarray(x)
    if x.ndim < 2 or x.shape[-1] != 4:
        raise InputError(f"one-hot sequences must have shape (..., length, 4), not {x.shape}")
    if x.dtype.kind not in "biuf":
        raise InputError(f"one-hot sequences must hold numbers, not {x.dtype}")
    known = x.sum(axis=-1)
    if not (((x == 0) | (x == 1)).all() and (known <= 1).all()):
        raise InputError("one-hot sequences must hold a single 1 a base, or zeros where unknown")
    return np.where(known == 1, x.argmax(axis=-1), UNKNOWN).astype(np.uint8)


def reorder(x: np.ndarray, source: str, target: str) -> np.ndarray:
    """One-hot (..., 4) with channels in the order ``source``, as a view or copy in ``target``.

    >>> reorder(np.array([[0, 1, 0, 0]]), "ACGT", "AGCT").tolist()
    [[0, 0, 1, 0]]
    """
    _check_alphabet(source)
    _check_alphabet(target)
    x = np.asarray(x)
    return x if source == target else x[..., [source.index(letter) for letter in target]]


def reverse_complement(x: np.ndarray, alphabet: str = ACGT) -> np.ndarray:
    """The other strand of one-hot sequences (..., L, 4), read 5' to 3'.

    Shifting a window by +s on one strand is shifting it by -s on the other.
    """
    swap = [alphabet.index(_COMPLEMENT[letter]) for letter in _check_alphabet(alphabet)]
    return np.asarray(x)[..., ::-1, :][..., swap]


def reverse_complement_codes(codes: np.ndarray, alphabet: str = ACGT) -> np.ndarray:
    """The other strand of codes (..., L); unknown bases stay unknown.

    >>> decode(reverse_complement_codes(encode("AACGN")))
    'NCGTT'
    """
    swap = [alphabet.index(_COMPLEMENT[letter]) for letter in _check_alphabet(alphabet)]
    return np.array([*swap, UNKNOWN], np.uint8)[np.asarray(codes)[..., ::-1]]


def first_unpaired(x: Any, y: Any, *, step: int = 1) -> int | None:
    """The first row whose partner, half of all rows later, is not its other strand.

    Args:
        x: codes (2n, L) in A, C, G, T, or one-hot (2n, L, 4) in A, C, G, T or A, G, C, T. It need
            only have a length and be sliced, and is read a block at a time.
        y: (2n, ...) labels, likewise; those of partners must be the same.
        step: 1: compare every row; k: every k-th one.

    Returns:
        A row in 0..n - 1; None: n + i is the reverse complement of i, with its labels, for all i.

    Raises:
        InputError: an odd number of rows.

    >>> first_unpaired(encode(["AAC", "AAA", "GTT", "TTA"]), np.zeros(4))
    1
    """
    half, odd = divmod(len(x), 2)
    if odd:
        raise InputError(f"{len(x)} examples are no pairs of strands")
    for begin in range(0, half, _PAIRS * step):
        end = min(begin + _PAIRS * step, half)
        rows, partners = slice(begin, end, step), slice(half + begin, half + end, step)
        block = np.asarray(x[rows])
        # One-hot: in either order of channels the complement of channel i is channel 3 - i.
        other = reverse_complement_codes(block) if block.ndim == 2 else block[:, ::-1, ::-1]
        pairs = ((other, np.asarray(x[partners])), (np.asarray(y[rows]), np.asarray(y[partners])))
        differs = [(a != b).reshape(len(a), -1).any(axis=1) for a, b in pairs]
        unpaired = np.flatnonzero(differs[0] | differs[1])
        if len(unpaired):
            return begin + int(unpaired[0]) * step
    return None


def dinucleotide_shuffle(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random sequence with exactly the same count of every dinucleotide.

    Every such sequence that begins (and so ends) with the same base is equally likely: the
    sequence is a walk over its bases, and a uniform walk over the same edges needs the last edge
    out of each base to form a random tree into the last base (Altschul & Erickson 1985). The tree
    is drawn as loop-erased random walks (Wilson 1996).

    Args:
        codes: ``uint8`` (L,), values 0..4. Unknown bases count as a fifth letter.
        rng: source of the draws.

    Returns:
        ``uint8`` (L,), first and last base as in ``codes``.
    """
    codes = np.asarray(codes)
    if len(codes) < 3:
        return codes.copy()
    followers = {int(base): codes[1:][codes[:-1] == base].tolist() for base in np.unique(codes)}
    end = int(codes[-1])
    last_step: dict[int, int] = {}
    in_tree = {end}
    for base in followers:
        at = base
        while at not in in_tree:  # overwriting an earlier choice is what erases the loops
            last_step[at] = followers[at][rng.integers(len(followers[at]))]
            at = last_step[at]
        at = base
        while at not in in_tree:
            in_tree.add(at)
            at = last_step[at]
    for base, successors in followers.items():
        if base in last_step:
            successors.remove(last_step[base])
        rng.shuffle(successors)
        if base in last_step:
            successors.append(last_step[base])
    walk = [int(codes[0])]
    used = dict.fromkeys(followers, 0)
    while used[walk[-1]] < len(followers[walk[-1]]):
        base = walk[-1]
        walk.append(followers[base][used[base]])
        used[base] += 1
    return np.array(walk, codes.dtype)
