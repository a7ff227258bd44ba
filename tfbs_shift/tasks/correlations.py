"""Correlations of many outputs at once, of examples counted so many times each."""

from __future__ import annotations

import numpy as np


def pearson(y: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Pearson's correlation of two values, each example counted so many times.

    Args:
        y, scores: (N,) or (b, N), one row a resample.
        counts: float64 (b, N).

    Returns:
        float64 (b,), NaN where one of the two is constant.
    """
    total = counts.sum(axis=1)
    one, two = (
        value - (np.sum(counts * value, axis=1) / total)[:, None]
        for value in (np.asarray(v, np.float64) for v in (y, scores))
    )
    together, first, second = (np.sum(counts * v, axis=1) for v in (one * two, one**2, two**2))
    size = np.sqrt(first) * np.sqrt(second)
    # A value that is constant but for rounding has no correlation.
    constant = [_constant(value, counts) for value in (y, scores)]
    known = (size > 0) & ~constant[0] & ~constant[1]
    return np.divide(together, size, out=np.full(len(counts), np.nan), where=known)


def _constant(value: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Whether all examples that are counted have the same value, (b,)."""
    drawn = counts > 0
    highest = np.where(drawn, value, -np.inf).max(axis=1)
    return highest == np.where(drawn, value, np.inf).min(axis=1)


def midranks(value: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Ranks from 1 of examples that stand in a resample so many times; equal values share theirs.

    Cost: one sort, and a cumulative sum of N numbers for each resample.

    Args:
        value: (N,).
        counts: float64 (b, N).

    Returns:
        float64 (b, N): of an example that is not counted, any number.
    """
    order = np.argsort(value, kind="stable")
    ordered = value[order]
    ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(value) - 1)
    last = np.cumsum(counts[:, order], axis=1)[:, ends]  # how many up to each run of equals
    before = np.concatenate([np.zeros((len(counts), 1)), last[:, :-1]], axis=1)
    of_run = (before + last + 1) / 2
    ranks = np.empty(counts.shape)
    run = np.searchsorted(ends, np.arange(len(value)))
    ranks[:, order] = of_run[:, run]
    return ranks


def correlations(y: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Pearson's and Spearman's correlation of each output.

    Args:
        y, scores: (N, K).
        counts: float64 (b, N): how often each example is counted, in each of b resamples.

    Returns:
        float64 (2, K, b), NaN where labels or predictions are constant.
    """
    results = np.empty((2, y.shape[1], len(counts)))
    for k in range(y.shape[1]):
        truth, score = (np.asarray(v[:, k], np.float64) for v in (y, scores))
        results[0, k] = pearson(truth, score, counts)
        results[1, k] = pearson(midranks(truth, counts), midranks(score, counts), counts)
    return results
