"""What losses at every start say about every bound r on the shift: plain numpy.

Everywhere here r runs over 0, 1, ... R bp, R being the largest absolute shift of the range. Where a
protected span forbids every window within r, an example keeps the allowed window nearest to the
centre, as No Shift does.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tfbs_shift.windows import WindowRange, nearest

_ROWS = 2**14
"""Examples at once."""


def radii(windows: WindowRange) -> range:
    """Every bound r: 0 .. R."""
    return range(int(np.abs(windows.shifts).max()) + 1)


def chunks(count: int) -> Iterator[slice]:
    """Rows to work on at once."""
    for begin in range(0, count, _ROWS):
        yield slice(begin, min(begin + _ROWS, count))


def highest_within(
    values: np.ndarray, windows: WindowRange, allowed: np.ndarray | None = None
) -> np.ndarray:
    """For every r the column of the highest value among windows shifted by at most r bp.

    Of equal values the smallest start wins, as in ``ShiftScan.worst_start``.

    Cost: one pass over the values. A running maximum over S values in random order changes only
    about ln S times, so the columns of all r are a few different ones.

    Args:
        values: (N, S), losses or random priorities; one column a start.
        windows: the geometry.
        allowed: bool (N, S) or None.

    Returns:
        ``int32`` (N, R + 1).
    """
    everyone = np.arange(len(values))
    column = nearest(len(values), windows, allowed)
    best = values[everyone, column]
    chosen = np.empty((len(values), len(radii(windows))), np.int32)
    distance = np.abs(windows.shifts)
    for r in radii(windows):
        for new in np.flatnonzero(distance == r):
            value = values[:, new]
            better = (value > best) | ((value == best) & (new < column))
            if allowed is not None:
                better &= allowed[:, new]
            column = np.where(better, new, column)
            best = np.where(better, value, best)
        chosen[:, r] = column
    return chosen


def random_within(
    values: np.ndarray, windows: WindowRange, allowed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The mean over examples of a value at uniform random shifts of at most r bp, for every r.

    Exact moments, no draws: each example draws its shift by itself, so the variance of their mean
    is the sum of the examples' variances over N^2.

    Args:
        values: (N, S), losses or whether right; one column a start.
        windows, allowed: as in :func:`highest_within`.

    Returns:
        (expectation, standard deviation over draws), float64 (R + 1,) each.
    """
    size = len(radii(windows))
    mean, variance = np.zeros(size), np.zeros(size)
    distance = np.abs(windows.shifts)
    for rows in chunks(len(values)):
        some = np.asarray(values[rows], np.float64)
        permitted = None if allowed is None else allowed[rows]
        centre = some[np.arange(len(some)), nearest(len(some), windows, permitted)]
        count, total, squares = (np.zeros(len(some)) for _ in range(3))
        for r in range(size):
            for new in np.flatnonzero(distance == r):
                weight = 1.0 if permitted is None else permitted[:, new]
                count += weight
                total += weight * some[:, new]
                squares += weight * some[:, new] ** 2
            few = np.maximum(count, 1)
            one = np.where(count > 0, total / few, centre)
            mean[r] += one.sum()
            variance[r] += np.maximum(np.where(count > 0, squares / few - one**2, 0), 0).sum()
    return mean / len(values), np.sqrt(variance) / len(values)


def certificates(
    right: np.ndarray, windows: WindowRange, allowed: np.ndarray | None = None
) -> np.ndarray:
    """Per example the largest r such that every allowed window shifted by at most r bp is right.

    Every window was run, so this is a proof by enumeration about these windows of this sequence,
    and about no others.

    Args:
        right: bool (N, S).
        windows, allowed: as in :func:`highest_within`.

    Returns:
        ``int32`` (N,): -1 where No Shift's window is wrong already, R where every window is right.
    """
    distance = np.abs(windows.shifts)
    certified = np.empty(len(right), np.int32)
    for rows in chunks(len(right)):
        some = None if allowed is None else allowed[rows]
        wrong = ~right[rows] if some is None else ~right[rows] & some
        first_wrong = np.where(wrong, distance, len(radii(windows))).min(axis=1)
        centre = nearest(len(wrong), windows, some)
        certified[rows] = np.where(wrong[np.arange(len(wrong)), centre], -1, first_wrong - 1)
    return certified
