"""Labelled sequences in one form, whatever file they came from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tfbs_shift import sequences
from tfbs_shift.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf


class Intervals(NamedTuple):
    """Where the sequences lie in a genome: 0-based half-open, strand +, one row an example."""

    chrom: np.ndarray
    """str (N,)"""
    start: np.ndarray
    """int64 (N,)"""
    end: np.ndarray
    """int64 (N,)"""

    def rows(self, rows: np.ndarray) -> Intervals:
        """The intervals of some rows."""
        return Intervals(*(column[rows] for column in self))


@dataclass(frozen=True, eq=False)
class Examples:
    """Sequences of one length with their labels.

    Args:
        codes: ``uint8`` (N, W), 0..3 = A, C, G, T and 4 = unknown.
        y: ``uint8`` (N, K). For bound/unbound data K = 2 and column 1 is "bound".
        intervals: genome coordinates, or None where the file has none. A shuffled negative bears
            the coordinates of the sequence it was made from.
        names: str (N,), the identifiers in the file, or None where it has none.
        source: what was read, for messages and run folders.
    """

    codes: np.ndarray
    y: np.ndarray
    intervals: Intervals | None = None
    names: np.ndarray | None = None
    source: str = ""

    def __post_init__(self):
        columns = [self.y, self.names, *(self.intervals or ())]
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
        return sequences.one_hot(self.codes)

    def rows(self, rows: np.ndarray) -> Examples:
        """Some of the examples, in the order of ``rows`` (indices or a mask)."""
        return Examples(
            self.codes[rows],
            self.y[rows],
            None if self.intervals is None else self.intervals.rows(rows),
            None if self.names is None else self.names[rows],
            self.source,
        )

    def as_dataset(
        self,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int | None = None,
        alphabet: str = sequences.ACGT,
    ) -> tf.data.Dataset:
        """Batches (x, y) for ``fit``: ``uint8`` (B, W, 4) and (B, K); the last may be smaller.

        Args:
            batch_size: examples a batch.
            shuffle: a new permutation of all examples in each epoch.
            seed: repeats the permutations.
            alphabet: order of the channels, as the model reads them (``models.alphabet``).
        """
        import tensorflow as tf

        letters = sequences.one_hot(np.arange(sequences.UNKNOWN + 1))
        table = tf.constant(sequences.reorder(letters, sequences.ACGT, alphabet))
        dataset = tf.data.Dataset.from_tensor_slices((self.codes, self.y))
        if shuffle:
            dataset = dataset.shuffle(max(1, len(self)), seed=seed, reshuffle_each_iteration=True)
        dataset = dataset.batch(batch_size)
        dataset = dataset.map(lambda codes, y: (tf.gather(table, tf.cast(codes, tf.int32)), y))
        return dataset.prefetch(tf.data.AUTOTUNE)
