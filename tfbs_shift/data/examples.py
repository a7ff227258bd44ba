"""Labelled sequences in one form, whatever file they came from."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfbs_shift import sequences
from tfbs_shift.data.batches import batches
from tfbs_shift.data.columns import (
    Column,
    FileColumn,
    digest_all,
    digest_enough,
    rows_of,
)
from tfbs_shift.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf


class Intervals(NamedTuple):
    """Where the sequences lie in a genome: 0-based half-open, one row an example."""

    chrom: np.ndarray
    """str (N,)"""
    start: np.ndarray
    """int64 (N,); below 0, or with an end beyond the chromosome's, where N was padded"""
    end: np.ndarray
    """int64 (N,)"""

    def rows(self, rows: Any) -> Intervals:
        """The intervals of some rows."""
        return Intervals(*(column[rows] for column in self))


@dataclass(frozen=True, eq=False)
class Examples:
    """Sequences of one length, with their labels where they have any.

    Args:
        codes: ``uint8`` (N, W), 0..3 = A, C, G, T and 4 = unknown; an array, or a column of a file
            that is read when it is sliced.
        labels: ``uint8`` (N, K), zeros and ones, or ``float32`` (N, K), numbers; likewise. For
            bound/unbound data K = 2 and column 1 is "bound". None: nothing is known of them.
        intervals: genome coordinates, or None where the file has none. A shuffled negative bears
            the coordinates of the sequence it was made from.
        names: str (N,), the identifiers in the file, or None where it has none.
        source: what was read, for messages and run folders.
        label_names: what the K labels are, or None where the file does not say.
        summits: ``int64`` (N,), the base of each sequence that is its peak's summit, 0-based; None
            where there are none.
        strand: str (N,), "-" where the sequence is the reverse complement of its interval, else
            "+"; None: "+" everywhere.
        chromosomes: bp of each chromosome by the name it has in ``intervals``; None: not known.
        notes: what a reader found and was not told, a line each, for people.
    """

    codes: Column
    labels: Column | None
    intervals: Intervals | None = None
    names: np.ndarray | None = None
    source: str = ""
    label_names: Sequence[str] | None = None
    strand: np.ndarray | None = None
    summits: np.ndarray | None = None
    chromosomes: Mapping[str, int] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        columns = [self.labels, self.names, self.strand, self.summits, *(self.intervals or ())]
        if any(c is not None and len(c) != len(self.codes) for c in columns):
            raise InputError(f"{self.source}: sequences, labels and names differ in number")

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def length(self) -> int:
        """Bases stored per example, W."""
        return self.codes.shape[1]

    @cached_property
    def x(self) -> np.ndarray:
        """``uint8`` one-hot (N, W, 4), channels A, C, G, T; made on first use, 4 N W bytes."""
        return sequences.one_hot(np.asarray(self.codes))

    @cached_property
    def y(self) -> np.ndarray | None:
        """(N, K): the labels, read from their file on first use, N K bytes or 4 N K; or None."""
        return None if self.labels is None else np.asarray(self.labels)

    def labelled(self) -> Column:
        """The labels, for what cannot do without.

        Raises:
            InputError: there are none.
        """
        if self.labels is None:
            raise InputError(f"{self.source}: has no labels, which are needed here")
        return self.labels

    def one_hot(self, alphabet: str = sequences.ACGT) -> OneHot:
        """``uint8`` (N, W, 4), made as it is sliced; for ``scan`` and ``evaluate`` at any size."""
        return OneHot(self.codes, alphabet)

    @property
    def in_file(self) -> bool:
        """Whether the sequences stay in their file until they are used."""
        return isinstance(self.codes, FileColumn)

    def rows(self, rows: Any) -> Examples:
        """Some of the examples, in the order of ``rows`` (a slice, indices or a mask)."""
        return replace(
            self,
            codes=rows_of(self.codes, rows),
            labels=None if self.labels is None else rows_of(self.labels, rows),
            intervals=None if self.intervals is None else self.intervals.rows(rows),
            names=None if self.names is None else self.names[rows],
            strand=None if self.strand is None else self.strand[rows],
            summits=None if self.summits is None else self.summits[rows],
        )

    def paired_strands(self, *, rows: int | None = None) -> bool:
        """Whether the second half is the reverse complement of the first, with the same labels.

        Args:
            rows: compare so many of the first half, evenly spread, and not all of it.
        """
        half, odd = divmod(len(self), 2)
        if odd or not half:
            return False
        step = 1 if rows is None else max(1, half // rows)
        labels = np.zeros(len(self), np.uint8) if self.labels is None else self.labels
        return sequences.first_unpaired(self.codes, labels, step=step) is None

    def two_classes(self) -> bool:
        """Whether labels are one-hot (N, 2) without names, column 1 being "bound"."""
        if self.labels is None or self.labels.shape[1] != 2 or self.label_names is not None:
            return False
        return bool((np.sort(self.labels[:]) == [0, 1]).all())

    def negatives(self) -> str | None:
        """What class 0 of two is: "shuffled" from class 1, or "genomic"; None where not known.

        A dinucleotide shuffle has exactly the counts of its original. Where sets were split at
        random not every original is here; but of unrelated sequences hardly any two agree.
        """
        if self.in_file or self.length < 20 or not self.two_classes():
            return None
        codes = np.asarray(self.codes).astype(np.int64)
        pairs = 5 * codes[:, :-1] + codes[:, 1:]
        counts = [np.bincount(row, minlength=25).tobytes() for row in pairs]
        bound = np.asarray(self.labels)[:, 1] == 1
        if bound.all() or not bound.any():
            return None
        labelled = list(zip(counts, bound, strict=True))
        originals = {count for count, is_bound in labelled if is_bound}
        shuffled = [count in originals for count, is_bound in labelled if not is_bound]
        return "shuffled" if np.mean(shuffled) > 0.02 else "genomic"

    def checksum(self) -> str:
        """A line that tells these examples from others: SHA-256 of every sequence and label."""
        return self._checksum

    def fingerprint(self) -> str:
        """The checksum; of what is much in a file: of some rows, size and time of the file."""
        return self._fingerprint

    @cached_property
    def _checksum(self) -> str:
        digest = hashlib.sha256()
        for column in self._columns():
            digest_all(column, digest)
        return f"sha256 {digest.hexdigest()[:16]}"

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        all_of = [digest_enough(column, digest) for column in self._columns()]
        what = "sha256" if all(all_of) else "sha256 of some rows, size and time"
        return f"{what} {digest.hexdigest()[:16]}"

    def _columns(self) -> list[Column]:
        return [self.codes] if self.labels is None else [self.codes, self.labels]

    def described(self) -> dict[str, Any]:
        """What these examples are, for the record: ``source``, ``checksum``, ``negatives``."""
        return {
            "source": self.source,
            "checksum": self.checksum(),
            "negatives": self.negatives(),
        }

    def as_dataset(
        self,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int | None = None,
        alphabet: str = sequences.ACGT,
        shard: tuple[int, int] = (0, 1),
    ) -> tf.data.Dataset:
        """Batches (x, y) for ``fit``: ``uint8`` (B, W, 4) and (B, K); the last may be smaller.

        Rows of an order that :func:`tfbs_shift.data.batches.batches` gives; of examples that stay
        in a file they are read block by block as they are used.

        Args:
            batch_size: examples a batch.
            shuffle: a new order in each epoch.
            seed: repeats the orders, epoch by epoch.
            alphabet: order of the channels, as the model reads them (``models.alphabet``).
            shard: (i, n): only part i of n disjoint parts, for several workers; with ``shuffle``
                all must have the same seed.

        Raises:
            InputError: there are no labels.
        """
        from tfbs_shift.backend import computing

        columns = (self.codes, self.labelled())
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        epochs = itertools.count()

        def epoch() -> Iterator[tuple[np.ndarray, ...]]:
            return batches(
                columns, batch_size, shuffle=shuffle, seed=seed, epoch=next(epochs), shard=shard
            )

        count: int | None = math.ceil(len(range(shard[0], len(self), shard[1])) / batch_size)
        if self.in_file and shard[1] > 1:  # the last, smaller block falls to any of the shards
            count = None
        table = sequences.one_hot(np.arange(sequences.UNKNOWN + 1), alphabet)
        return computing.one_hot_dataset(epoch, columns, table, count)


class OneHot:
    """``uint8`` (N, W, 4) from codes, made when sliced: 4 bytes a base only for rows in use.

    Args:
        codes: ``uint8`` (N, W), an array or a column of a file.
        alphabet: order of the channels.
    """

    dtype = np.dtype(np.uint8)
    ndim = 3

    def __init__(self, codes: Column, alphabet: str = sequences.ACGT):
        self.codes = codes
        self.alphabet = alphabet
        self.shape = (*codes.shape, 4)

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: Any) -> np.ndarray:
        return sequences.one_hot(self.codes[rows], self.alphabet)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)
