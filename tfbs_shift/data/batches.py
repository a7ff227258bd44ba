"""Batches of rows that are read from a file while they are used.

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
    shard: tuple[int, int] = (0, 1),
    pool_rows: int | None = None,
) -> Iterator[Batch]:
    """One epoch of batches, rows of all columns together; the last batch may be smaller.

    Shuffled, blocks are drawn from the whole file in random order, as many as a pool holds, and
    the rows of a pool are permuted. What varies slowly along a file (labels of neighbouring bins)
    so reaches each batch from as many places as the pool has blocks.

    Args:
        columns: of the same number of rows.
        batch_size: rows a batch.
        shuffle: as described, else in the order of the file.
        seed, epoch: give the order, the same in any process.
        shard: (i, n): part i of n, 0 <= i < n; the parts are disjoint and together they are
            everything. Their sizes differ by one block at most.
        pool_rows: rows a pool, rounded to whole blocks; None: as many as :data:`POOL_BYTES` hold.

    Raises:
        InputError: ``batch_size`` or ``shard`` is out of range.
    """
    if batch_size < 1:
        raise InputError(f"batch_size {batch_size}: must be at least 1")
    block = block_rows(columns)
    width = sum(column.shape[1] for column in columns)
    per_pool = max(1, (pool_rows or POOL_BYTES // width) // block)
    order = np.random.default_rng((seed, epoch))
    blocks = _blocks(len(columns[0]), block, shard, order if shuffle else None)
    if not len(blocks):
        return
    pools = iter(np.array_split(blocks, math.ceil(len(blocks) / per_pool)))

    def read(pool: np.ndarray) -> Batch:
        return _read(columns, np.sort(pool), block)

    rest: Batch = tuple(np.empty((0, column.shape[1]), np.uint8) for column in columns)
    for pool in _ahead(read, pools):
        count = len(pool[0])
        rows = order.permutation(count) if shuffle else np.arange(count)
        at = min(batch_size - len(rest[0]), count)  # fill up what the pool before left
        first = (column[rows[:at]] for column in pool)
        rest = tuple(np.concatenate(pair) for pair in zip(rest, first, strict=True))
        if len(rest[0]) < batch_size:
            continue
        yield rest
        for begin in range(at, count - batch_size + 1, batch_size):
            yield tuple(column[rows[begin : begin + batch_size]] for column in pool)
            at = begin + batch_size
        rest = tuple(column[rows[at:]] for column in pool)
        del pool  # before the next one is waited for
    if len(rest[0]):
        yield rest


def batch_count(
    columns: Sequence[Column], batch_size: int, shard: tuple[int, int] = (0, 1)
) -> int | None:
    """How many batches an unshuffled epoch has, and a shuffled one, unless it is a shard's."""
    if shard[1] > 1:  # the last, smaller block falls to another shard in each epoch
        return None
    return math.ceil(len(columns[0]) / batch_size)


def _blocks(
    count: int, block: int, shard: tuple[int, int], order: np.random.Generator | None
) -> np.ndarray:
    index, shards = shard
    if not 0 <= index < shards:
        raise InputError(f"shard {shard}: want (i, n) with 0 <= i < n")
    blocks = np.arange(math.ceil(count / block))
    if order is not None:
        order.shuffle(blocks)
    return blocks[index::shards]


def _read(columns: Sequence[Column], blocks: np.ndarray, block: int) -> Batch:
    """The rows of some blocks, in order; neighbouring blocks in one piece."""
    count = len(columns[0])
    # A few MB at once stay in the processor's cache and, reused, cost no page faults.
    step = block * max(1, 512 // block)
    runs = np.split(blocks, np.flatnonzero(np.diff(blocks) > 1) + 1)
    spans = [(int(run[0]) * block, min((int(run[-1]) + 1) * block, count)) for run in runs]
    rows = sum(end - begin for begin, end in spans)
    pool = tuple(np.empty((rows, column.shape[1]), np.uint8) for column in columns)
    for column, values in zip(columns, pool, strict=True):
        at = 0
        for begin, end in spans:
            for first in range(begin, end, step):
                last = min(first + step, end)
                values[at : at + last - first] = column[first:last]
                at += last - first
    return pool


def _ahead(read: Callable[[np.ndarray], Batch], pools: Iterator[np.ndarray]) -> Iterator[Batch]:
    """Pools, each read in a thread while the one before is used."""
    with ThreadPoolExecutor(1) as thread:
        coming: Future[Batch] | None = None
        for pool in pools:
            coming, ready = thread.submit(read, pool), coming
            if ready is not None:
                yield ready.result()
                del ready  # or the pool would stay while the next two are there
        if coming is not None:
            yield coming.result()
