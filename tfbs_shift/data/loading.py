"""``load``: finds out what it was given and reads it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tfbs_shift.data import beds, deepsea, genomes, readers, stored, tables
from tfbs_shift.data.examples import Examples
from tfbs_shift.data.parsing import bare
from tfbs_shift.errors import InputError

SPLITS = ("train", "valid", "test")

_CSV = (".csv", ".tsv")
_FASTA = (".fa", ".fasta", ".fna", ".fas", ".ffn", ".fsa")
_READERS = (
    ((".data",), readers.read_zeng),
    (_CSV, tables.read_csv),
    ((".h5",), stored.read_stored),
    ((".mat",), deepsea.read_mat),
)
_OPTIONS = {
    "labels": "DeepSEA's files",
    "length": "BED files (.bed, .narrowPeak and the like) with a genome",
    "flank": "BED files (.bed, .narrowPeak and the like) with a genome",
    "sequence_column": "tables (CSV, TSV)",
    "label_column": "tables (CSV, TSV) and one BED file with a genome",
    "bound": "what has no labels (one FASTA, one BED file with a genome, a CSV or TSV)",
}
_STEMS = {"train": ("train",), "valid": ("valid", "val", "dev"), "test": ("test",)}
_FORMS = (
    "a Zeng folder (train.data, test.data), a folder of train/dev/test .csv, an .npz or a folder "
    "with one, a .csv with sequence,label, a FASTA or a pair bound.fa,unbound.fa, BED files and a "
    "genome (bound.bed,unbound.bed,hg19.fa), or DeepSEA's .mat files"
)


def load(
    path: str | Path | Sequence[str | Path],
    split: str = "test",
    *,
    labels: str | Sequence[int] | None = None,
    length: int | None = None,
    flank: int | None = None,
    sequence_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    bound: bool = False,
) -> Examples:
    """Sequences, mostly labelled, from any of the forms people keep them in.

    ============================================  =========================  ====================
    ``path``                                      training examples          test examples
    ============================================  =========================  ====================
    Zeng folder                                   ``train.data[.gz]``        ``test.data[.gz]``
    the authors' ``.npz``, or a folder with one   ``arr_0, arr_1``           ``arr_2, arr_3``
    folder of CSV files                           ``train.csv[.gz]``         ``test.csv[.gz]``
    one ``.csv``/``.tsv``/``.data`` file          the file                   the file
    FASTA pair, "bound.fa,unbound.fa" or a tuple  the pair                   the pair
    one FASTA                                     the file, without labels   the file
    DeepSEA folder                                ``train.mat``              ``test.mat``
    folder of ``.h5`` that ``extend`` wrote       ``train.h5``               ``test.h5``
    one ``.mat`` or ``.h5`` file                  the file                   the file
    BED and genome, "peaks.bed,hg19.fa"           all, without labels        all intervals
    "bound.bed,unbound.bed,hg19.fa"               all intervals              all intervals
    ============================================  =========================  ====================

    Where the data has no validation set of its own (``dev``, ``valid`` or ``val.csv``), "valid"
    is a tenth of the training examples and "train" the other nine, split as in the paper:
    scikit-learn's ``train_test_split(test_size=0.1, random_state=9)``. A single file is no
    held-out data: its "test" is all of it, for a model that was trained on something else. Of
    DeepSEA's files nothing is held out but ``valid.mat``; their rows are read when they are used.

    Labels in text that are all 0 or 1 are two classes, ``uint8`` one-hot (N, 2); else they are
    numbers, ``float32`` (N, 1). Several columns are (N, K), ``uint8`` if all are 0 or 1. What was
    found and not given is told in ``notes``.

    Args:
        path: what to read; text files may be gzipped.
        split: "train", "valid" or "test".
        labels: of DeepSEA's files, which label columns, as
            :func:`tfbs_shift.data.deepsea.select_labels` takes them; None: the 690 transcription
            factors, 125..814.
        length: of BED files, the bp to take around each summit (of a narrowPeak, or MACS's
            ``_summits.bed``) or middle; None: the intervals as they are.
        flank: of BED files, bp added on either side; None: 0.
        sequence_column: of CSV and TSV files, the name of the column of sequences; None: sequence,
            else seq, sequences or dna, else the only one that begins with 8 letters of DNA or more.
        label_column: of CSV and TSV files, the column of labels, or several, behind commas or as a
            sequence; "": no labels; None: label, else labels, target or y, else the only other
            column of numbers (no index, chromosome, start, end or length), else no labels. Of one
            BED file, the number of a column from 1, or score, or, of a narrowPeak, broadPeak or
            gappedPeak, signalValue, pValue or qValue, or, of a bedGraph, value; None: no labels.
        bound: of a file without labels, call all examples class 1 of two.

    Raises:
        InputError: nothing known is there, a file has a mistake (named with its line), a column is
            missing or could be several, or the kind of file has no such choice.
    """
    if split not in SPLITS:
        raise InputError(f"split {split!r}: want one of {', '.join(SPLITS)}")
    parts = _parts(path)
    held_out = "valid" in parts or split == "test"
    part = split if held_out else "train"
    if part not in parts:
        raise InputError(f"{path}: no {part} set in it, only {', '.join(parts)}")
    examples = _read(
        parts[part], path, labels=labels, length=length, flank=flank,
        sequence_column=sequence_column, label_column=label_column, bound=bound or None,
    )  # fmt: skip
    if held_out:
        return examples
    if examples.in_file:  # a random tenth of a file that is read in order would be read in pieces
        if split == "valid":
            raise InputError(f"{path}: no valid set in it, only {', '.join(parts)}")
        return examples
    return examples.rows(_paper_split(len(examples), examples.source)[split])


def _read(read: Callable[..., Examples], path: Any, **options: Any) -> Examples:
    """Reads with the options that were given, each of which only some kinds of file have."""
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in inspect.signature(read).parameters:
            paths = [path] if isinstance(path, str | Path) else path
            files = ",".join(map(str, paths))
            raise InputError(f"{files}: {name} is for {_OPTIONS[name]} only")
    return read(**given)


def _parts(path: str | Path | Sequence[str | Path]) -> dict[str, Callable[..., Examples]]:
    """How to read each split that ``path`` has."""
    if isinstance(path, str) and "," in path and not Path(path).exists():
        path = [part.strip() for part in path.split(",")]
    if not isinstance(path, str | Path):
        return _several([Path(part).expanduser() for part in path])
    path = Path(path).expanduser()
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    return _folder(path) if path.is_dir() else _file(path)


def _file(path: Path) -> dict[str, Callable[..., Examples]]:
    suffix = _suffix(path)
    if suffix == ".npz":
        return _npz(path)
    if suffix in beds.ENDINGS:
        raise InputError(
            f"{path}: a BED has no sequences: give the genome, too, {path.name},hg19.fa"
        )
    if suffix in _FASTA:
        return _one_file(partial(readers.read_fasta, path))
    for kinds, read in _READERS:
        if suffix in kinds:
            return _one_file(partial(read, path))
    endings = ", ".join((*_FASTA[:2], *(ending for kinds, _ in _READERS for ending in kinds)))
    raise InputError(
        f"{path}: do not know this kind of file by the end of its name ({endings}, .npz); want "
        f"{_FORMS}"
    )


def _folder(path: Path) -> dict[str, Callable[..., Examples]]:
    files = sorted(file for file in path.iterdir() if file.is_file())
    parts: dict[str, Callable[..., Examples]] = {}
    for kinds, read in _READERS:
        for split, stems in _STEMS.items():
            matching = [f for f in files if _suffix(f) in kinds and bare(f).stem.lower() in stems]
            if len(matching) > 1:
                names = " and ".join(file.name for file in matching[:2])
                raise InputError(f"{path}: both {names} could be its {split} set: keep one")
            for file in matching:
                parts[split] = partial(read, file)
        if parts:
            return parts
    arrays = [file for file in files if _suffix(file) == ".npz"]
    if len(arrays) == 1:
        return _npz(arrays[0])
    raise InputError(f"{path}: found no data in this folder; want {_FORMS}")


def _several(paths: list[Path]) -> dict[str, Callable[..., Examples]]:
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: no such file")
    intervals = [path for path in paths if _suffix(path) in beds.ENDINGS]
    if intervals:
        if intervals != paths[:-1] or len(intervals) > 2:
            raise InputError(
                f"{', '.join(map(str, paths))}: want one BED file or two, bound,unbound, and then "
                "the FASTA of the genome"
            )
        return _one_file(partial(genomes.read_windows, intervals, paths[-1]))
    if len(paths) != 2:
        raise InputError(
            f"{', '.join(map(str, paths))}: want two FASTA files, bound,unbound, or BED files and "
            "a genome"
        )
    return _one_file(partial(readers.read_fasta_pair, *paths))


def _one_file(read: Callable[[], Examples]) -> dict[str, Callable[..., Examples]]:
    return {"train": read, "test": read}


def _npz(path: Path) -> dict[str, Callable[..., Examples]]:
    return {split: partial(readers.read_npz, path, split) for split in ("train", "test")}


def _suffix(path: Path) -> str:
    """The suffix that tells the kind of file, before a ``.gz``, in small letters."""
    return bare(path).suffix.lower()


def _paper_split(count: int, source: str) -> dict[str, np.ndarray]:
    from sklearn.model_selection import train_test_split

    if count < 2:
        raise InputError(f"{source}: {count} example is too few to hold out a validation set")
    train, valid = train_test_split(np.arange(count), test_size=0.1, random_state=9)
    return {"train": train, "valid": valid}
