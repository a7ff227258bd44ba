"""Batches of rows, in memory or read from a file while they are used.

Cost: each row is read once an epoch, in whole blocks. Memory: two pools (one read while one is
used) of :data:`POOL_BYTES` each, whatever the size of the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from tfbs_shift.data.columns import Column, FileColumn
from tfbs_shift.errors import InputError

POOL_BYTES = 2**27

Batch = tuple[np.ndarray, ...]


def block_rows(columns: Sequence[Column]) -> int:
    """Rows to read at once: a multiple of what each column keeps together, if that is not much."""
    blocks = [column.block if isinstance(column, FileColumn) else 1 for column in columns]
    together = math.lcm(*blocks)
    return together if together <= 4096 else max(blocks)


def batches(
    columns: Sequence[Column],
    batch_size: int,
    *,
    shuffle: bool = False,
    seed: int = 0,
    epoch: int = 0,
    begin: int = 0,
    shard: tuple[int, int] = (0, 1),
    pool_rows: int | None = None,
) -> Iterator[Batch]:
    """One epoch of batches, rows of all columns together; the last batch may be smaller.

    Shuffled, rows in memory are permuted. Of a file, blocks are drawn from all of it in random
    order, as many as a pool holds, and the rows of a pool are permuted. What varies slowly along a
    file (labels of neighbouring bins) so reaches each batch from as many places as the pool has
    blocks.

    Args:
        columns: of the same number of rows.
        batch_size: rows a batch.
        shuffle: as described, else in the order of the file.
        seed, epoch: give the order, the same in any process.
        begin: batches of the epoch to leave out, those done before an interruption. Pools that
            they fill are not read.
        shard: (i, n): part i of n, 0 <= i < n; the parts are disjoint and together they are
            everything. Their sizes differ by one block at most.
        pool_rows: rows a pool, rounded to whole blocks; None: as many as :data:`POOL_BYTES` hold.

    Raises:
        InputError: ``batch_size`` or ``shard`` is out of range.
    """
    if batch_size < 1:
        raise InputError(f"batch_size {batch_size}: must be at least 1")
    order = np.random.default_rng((seed, epoch))
    skipped = begin * batch_size
    if not any(isinstance(column, FileColumn) for column in columns):
        count = len(columns[0])
        numbers = _shard(order.permutation(count) if shuffle else np.arange(count), shard)
        for first in range(skipped, len(numbers), batch_size):
            rows = numbers[first : first + batch_size]
            yield tuple(column[rows] for column in columns)
        return
    block = block_rows(columns)
    row_bytes = sum(math.prod(column.shape[1:]) * column.dtype.itemsize for column in columns)
    per_pool = max(1, (pool_rows or POOL_BYTES // row_bytes) // block)
    blocks = np.arange(math.ceil(len(columns[0]) / block))
    if shuffle:
        order.shuffle(blocks)
    blocks = _shard(blocks, shard)
    if not len(blocks):
        return

    def planned() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Blocks of each pool, and the order of its rows from the first that is wanted on."""
        left = skipped
        for pool in np.array_split(blocks, math.ceil(len(blocks) / per_pool)):
            spans = np.minimum(np.stack([pool, pool + 1]) * block, len(columns[0]))
            count = int((spans[1] - spans[0]).sum())
            rows = order.permutation(count) if shuffle else np.arange(count)
            if left < count:
                yield np.sort(pool), rows[left:]
            left = max(0, left - count)

    def read(pool: np.ndarray) -> Batch:
        return _read(columns, pool, block)

    rest: Batch = tuple(np.empty((0, *column.shape[1:]), column.dtype) for column in columns)
    for pool, rows in _ahead(read, planned()):
        at = min(batch_size - len(rest[0]), len(rows))  # fill up what the pool before left
        first_rows = (column[rows[:at]] for column in pool)
        rest = tuple(np.concatenate(pair) for pair in zip(rest, first_rows, strict=True))
        if len(rest[0]) < batch_size:
            continue
        yield rest
        for first in range(at, len(rows) - batch_size + 1, batch_size):
            yield tuple(column[rows[first : first + batch_size]] for column in pool)
            at = first + batch_size
        rest = tuple(column[rows[at:]] for column in pool)
        del pool  # before the next one is waited for
    if len(rest[0]):
        yield rest


def _shard(numbers: np.ndarray, shard: tuple[int, int]) -> np.ndarray:
    index, shards = shard
    if not 0 <= index < shards:
        raise InputError(f"shard {shard}: want (i, n) with 0 <= i < n")
    return numbers[index::shards]


def _read(columns: Sequence[Column], blocks: np.ndarray, block: int) -> Batch:
    """The rows of some blocks, in order; neighbouring blocks in one piece."""
    count = len(columns[0])
    # A few MB at once stay in the processor's cache and, reused, cost no page faults.
    step = block * max(1, 512 // block)
    runs = np.split(blocks, np.flatnonzero(np.diff(blocks) > 1) + 1)
    spans = [(int(run[0]) * block, min((int(run[-1]) + 1) * block, count)) for run in runs]
    rows = sum(end - begin for begin, end in spans)
    pool = tuple(np.empty((rows, *column.shape[1:]), column.dtype) for column in columns)
    for column, values in zip(columns, pool, strict=True):
        at = 0
        for begin, end in spans:
            for first in range(begin, end, step):
                last = min(first + step, end)
                values[at : at + last - first] = column[first:last]
                at += last - first
    return pool


def _ahead(
    read: Callable[[np.ndarray], Batch], planned: Iterator[tuple[np.ndarray, np.ndarray]]
) -> Iterator[tuple[Batch, np.ndarray]]:
    """Pools and the order of their rows, each read in a thread while the one before is used."""
    with ThreadPoolExecutor(1) as thread:
        coming: tuple[Future[Batch], np.ndarray] | None = None
        for pool, rows in planned:
            coming, ready = (thread.submit(read, pool), rows), coming
            if ready is not None:
                yield ready[0].result(), ready[1]
                del ready  # or the pool would stay while the next two are there
        if coming is not None:
            yield coming[0].result(), coming[1]
