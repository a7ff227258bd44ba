"""Where in the range the loss is high, and whether that follows the network's stride."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from tfbs_shift.scanning.scans import ShiftScan

_MOVED = 1e-6
"""Losses of an example that differ by less have no worst."""
_ROWS = 5000


def worst_shifts(scan: ShiftScan) -> dict[str, Any]:
    """Where the worst windows lie: at the edges of the range or anywhere?

    Returns:
        ``examples``: how many have their worst window at each of ``shifts``; ``ties``: examples
        left out because their loss is the same everywhere; ``at_the_edges``: the share at the two
        outermost starts, ``at_the_edges_if_anywhere`` what it were if all starts were alike;
        ``p_uniform``: of a chi-squared test for that (None where examples have bounds of their
        own, or are too few: under 5 a start).
    """
    loss, size = scan.loss, len(scan.starts)
    if scan.allowed is None:
        spread = loss.max(axis=1) - loss.min(axis=1)
    else:
        spread = np.where(scan.allowed, loss, -np.inf).max(axis=1)
        spread = spread - np.where(scan.allowed, loss, np.inf).min(axis=1)
    moved = spread > _MOVED
    counts = np.bincount(scan.worst_start[moved] - scan.starts[0], minlength=size)
    number = int(moved.sum())
    testable = scan.allowed is None and size > 1 and number >= 5 * size
    return {
        "examples": counts.tolist(),
        "ties": int((~moved).sum()),
        "at_the_edges": float(counts[[0, -1]].sum() / number) if number and size > 2 else None,
        "at_the_edges_if_anywhere": 2 / size if size > 2 else None,
        "p_uniform": float(stats.chisquare(counts).pvalue) if testable else None,
    }


def phase(scan: ShiftScan, stride: int) -> dict[str, Any] | None:
    """How the loss depends on the shift modulo the stride of the network.

    Every start counts, also one that a protected span forbids: this is about the network.

    Args:
        scan: the losses.
        stride: bp between the positions of its coarsest layer.

    Returns:
        None if the stride is 1 or does not fit into the range; else ``stride`` in bp; ``loss``:
        the mean at each phase (shift mod stride), as the difference from the example's mean;
        ``explained``: the share of the variance of losses within examples that phases explain;
        ``explained_by_chance``: what as many groups of shifts at random would.
    """
    size = len(scan.starts)
    if stride < 2 or stride >= size:
        return None
    total = np.zeros(size)
    within = between = 0.0
    phases = np.mod(scan.shifts, stride)
    members = np.bincount(phases, minlength=stride)
    for begin in range(0, len(scan.loss), _ROWS):
        loss = scan.loss[begin : begin + _ROWS].astype(np.float64)
        loss = loss - loss.mean(axis=1, keepdims=True)
        total += loss.sum(axis=0)
        means = np.stack([loss[:, phases == k].mean(axis=1) for k in range(stride)], axis=1)
        between += float((means**2 * members).sum())
        within += float((loss**2).sum())
    by_phase = np.bincount(phases, total, stride) / members / len(scan.loss)
    return {
        "stride": stride,
        "loss": by_phase.tolist(),
        "explained": between / within if within else None,
        "explained_by_chance": (stride - 1) / (size - 1),
    }


def change_by_distance(values: np.ndarray) -> np.ndarray:
    """Mean absolute change of a value between windows d bp apart, d = 0 .. S - 1.

    A network that pools changes less at multiples of its stride. Of many examples sample thousand,
    evenly spread, are taken.

    Args:
        values: (N, S), losses or probabilities.
    """
    sample = np.asarray(values[:: max(1, len(values) // _ROWS)], np.float64)
    size = sample.shape[1]
    return np.array(
        [np.abs(sample[:, d:] - sample[:, : size - d]).mean() if d else 0.0 for d in range(size)]
    )
