"""Motif matrices by name: those of the package, and those of files."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import numpy as np
from Bio.motifs.jaspar import Motif
from Bio.motifs.matrix import GenericPositionMatrix

from tfbs_shift import sequences
from tfbs_shift.data.motif_files import read_motifs
from tfbs_shift.data.parsing import short
from tfbs_shift.errors import InputError


def read_matrices(path: Path | None = None, motif_format: str | None = None) -> list[Motif]:
    """The matrices of a file, in its order.

    Args:
        path: the file; None: the matrices of the package (SP1, MAFK, ZNF143).
        motif_format: its format, as :func:`tfbs_shift.data.motif_files.read_motifs` takes it; None:
            what it looks like.

    Raises:
        InputError: no such file, or a mistake in it.
    """
    if path is None:
        with resources.as_file(resources.files("tfbs_shift.data") / "motifs.jaspar") as own:
            return read_motifs(own)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return read_motifs(path, motif_format)


def read_matrix(name: str, motif_format: str | None = None) -> Motif:
    """One matrix: by name of those in the package, or from ``FILE`` or ``FILE:NAME``.

    Args:
        name: in a file, its name or identifier (as written, else in any case).
        motif_format: the file's, as for :func:`read_matrices`.

    Raises:
        InputError: no such file or matrix, several in a file and none named, or a mistake in it.
    """
    path, wanted = _file_and_name(name)
    if path is None and motif_format is not None:
        raise InputError(
            f"motif {name}: motif_format {motif_format} is for a file, and none is so named"
        )
    known = read_matrices(path, motif_format)
    matching = known
    if wanted:
        matching = [motif for motif in known if wanted in _names(motif)] or [
            motif for motif in known if wanted.upper() in map(str.upper, _names(motif))
        ]
    if len(matching) != 1:
        number = "no such matrix" if not matching else "several such matrices"
        listed = ", ".join(
            f"{motif.name} ({motif.matrix_id})" if motif.matrix_id != motif.name else motif.name
            for motif in (matching if wanted and matching else known)
        )
        raise InputError(
            f"motif {name}: {number} in {path or 'the matrices of the package'}; it has "
            f"{short(listed, 500)}: name one"
        )
    return matching[0]


def _names(motif: Motif) -> list[str]:
    return [motif.name, motif.matrix_id, *(motif.acc or ())]


def _file_and_name(name: str) -> tuple[Path | None, str]:
    """The file, and the matrix in it; names may hold colons (``FILE:RXRA::VDR``), as files may."""
    ends = [len(name), *(i for i in reversed(range(len(name))) if name[i] == ":")]
    for end in ends:
        path = Path(name[:end]).expanduser()
        if path.is_file():
            return path, name[end + 1 :]
    path, colon, wanted = re.sub("(?<!:):(?!:)", "\0", name, count=1).partition("\0")
    is_file = colon or "/" in path or re.search(r"\.[A-Za-z]\w*$", path)  # not MA0079.3
    return (Path(path).expanduser(), wanted) if is_file else (None, name)


def as_table(matrix: GenericPositionMatrix) -> np.ndarray:
    """``float64`` (width, 4) of counts, shares or scores, a column each for A, C, G, T."""
    return np.array([matrix[base] for base in sequences.ACGT], np.float64).T
