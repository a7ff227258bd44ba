"""Batches for ``fit``: an order that seed, epoch and step give, whatever computes and wherever."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator

import keras
import numpy as np

from tfbs_shift.data.batches import batches
from tfbs_shift.data.columns import Column
from tfbs_shift.errors import InputError


class Feed(keras.utils.PyDataset):
    """Shuffled batches of codes ``uint8`` (B, W) and labels (B, K), epoch after epoch.

    One byte a base goes to the device; a :class:`ShiftTrainer` makes it one-hot there.

    Args:
        codes, labels: columns of the same number of rows, in memory or in a file.
        batch_size: examples a step, of all hosts together.
        seed: gives the orders.
        replicas: devices that share a batch, of all hosts. It is a multiple of them; so is the last
            one of an epoch, of which up to replicas - 1 examples are left out for that.
        host: (i, n): this is host i of n, and gives that part of each batch.

    Raises:
        InputError: the batch does not divide among the replicas, or there are too few examples.
    """

    def __init__(
        self,
        codes: Column,
        labels: Column,
        batch_size: int,
        *,
        seed: int,
        replicas: int = 1,
        host: tuple[int, int] = (0, 1),
    ):
        super().__init__()
        if batch_size % replicas:
            raise InputError(
                f"batch_size {batch_size}: must be a multiple of the {replicas} devices"
            )
        self.columns = (codes, labels)
        self.batch_size, self.seed, self.replicas, self.host = batch_size, seed, replicas, host
        self._steps = math.ceil(len(codes) // replicas * replicas / batch_size)
        if not self._steps:
            raise InputError(f"{len(codes)} training examples: fewer than {replicas} devices")
        self.begin(0)
        self._batches: Iterator[tuple[np.ndarray, ...]] = iter(())
        self._next: tuple[int, int] | None = None  # epoch and step of the iterator's next batch
        self._lock = threading.Lock()  # Keras looks at a first batch while the next are prepared

    def __len__(self) -> int:
        """Steps of an epoch."""
        return self._steps

    def begin(self, epoch: int, step: int = 0) -> None:
        """What comes next: batch 0 is that step of that epoch."""
        self.epoch, self.first_step = epoch, step
        self._last_begun = self._last_read = False

    def end(self) -> None:
        """The last step has begun: its batch is the last until the next ``begin``.

        Keras begins to read an epoch again as soon as it is over, and throws that away.
        """
        self._last_begun = True

    @property
    def num_batches(self) -> int:
        """Steps that are left of the epoch."""
        return 0 if self._last_begun and self._last_read else self._steps - self.first_step

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        step = self.first_step + index
        with self._lock:
            if self._next != (self.epoch, step):
                self._batches = batches(
                    self.columns, self.batch_size, shuffle=True, seed=self.seed, epoch=self.epoch,
                    begin=step,
                )  # fmt: skip
            batch = next(self._batches)
            self._next = (self.epoch, step + 1)
            if step + 1 == self._steps:  # let go of what is read ahead
                self._next, self._batches, self._last_read = None, iter(()), True
        host, hosts = self.host
        rows = len(batch[0]) // self.replicas * self.replicas
        ours = slice(rows * host // hosts, rows * (host + 1) // hosts)
        return tuple(column[ours] for column in batch)
