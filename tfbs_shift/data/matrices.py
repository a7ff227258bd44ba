"""Motif matrices in JASPAR's format, read by Biopython."""

from __future__ import annotations

import io
from importlib import resources
from pathlib import Path

import numpy as np
from Bio import motifs
from Bio.motifs.jaspar import Motif
from Bio.motifs.matrix import GenericPositionMatrix

from tfbs_shift import sequences
from tfbs_shift.errors import InputError


def read_matrices(path: Path | None = None) -> list[Motif]:
    """The matrices of a file, in its order.

    Args:
        path: the file; None: the matrices of the package (SP1, MAFK, ZNF143).

    Raises:
        InputError: no such file, or not this format.
    """
    if path is None:
        text = (resources.files("tfbs_shift.data") / "motifs.jaspar").read_text()
    elif path.is_file():
        text = path.read_text(encoding="utf-8", errors="replace")
    else:
        raise InputError(f"{path}: no such file")
    try:
        return list(motifs.parse(io.StringIO(text), "jaspar"))
    except (ValueError, KeyError, IndexError, AttributeError) as error:
        raise InputError(f"{path}: not in JASPAR's format ({error})") from error


def read_matrix(name: str) -> Motif:
    """One matrix: by name of those in the package, or from ``FILE`` or ``FILE:NAME``.

    Raises:
        InputError: no such file or matrix, several in a file and none named, or not this format.
    """
    path, _, wanted = name.rpartition(":")
    if Path(name).expanduser().is_file():
        path, wanted = name, ""
    known = read_matrices(Path(path).expanduser() if path else None)
    matching = known
    if wanted:
        matching = [
            motif for motif in known
            if wanted.upper() in ((motif.name or "").upper(), (motif.matrix_id or "").upper())
        ]  # fmt: skip
    if len(matching) != 1:
        number = "no such matrix" if not matching else "several such matrices"
        listed = ", ".join(f"{motif.name} ({motif.matrix_id})" for motif in known) or "none"
        raise InputError(
            f"motif {name}: {number} in {path or 'the matrices of the package'}; it has {listed}: "
            "name one"
        )
    return matching[0]


def as_table(matrix: GenericPositionMatrix) -> np.ndarray:
    """``float64`` (width, 4) of counts, shares or scores, a column each for A, C, G, T."""
    return np.array([matrix[base] for base in sequences.ACGT], np.float64).T
