"""How sure figures are: bootstrap intervals and tests for pairs, on scipy's."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 1000
FEWEST_GROUPS = 5
"""Groups that are resampled; of fewer, intervals would say more of the draws than of the data."""
_NUMBERS = 2**22
"""Counts drawn at once."""


class ConfidenceIntervals(NamedTuple):
    """Percentile bootstrap intervals of several figures at once, float64 (F,) each; NaN: none."""

    low: np.ndarray
    high: np.ndarray


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray],
    groups: int,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> ConfidenceIntervals:
    """95% intervals of figures when groups (examples, chromosomes) are drawn anew.

    Args:
        statistic: (b, G) how often each group was drawn, float64 -> (F, b) figures.
        groups: G. With fewer than two there is nothing to resample: NaN.
        resamples: how many times.
        seed: of the draws.
    """
    if groups < 2:
        figures = statistic(np.ones((1, groups)))[:, 0]
        return ConfidenceIntervals(np.full(len(figures), np.nan), np.full(len(figures), np.nan))

    def counted(drawn: np.ndarray, axis: int) -> np.ndarray:
        drawn = np.atleast_2d(drawn)
        flat = drawn + groups * np.arange(len(drawn))[:, None]
        counts = np.bincount(flat.ravel(), minlength=len(drawn) * groups)
        return statistic(counts.reshape(len(drawn), groups).astype(np.float64))

    with warnings.catch_warnings():
        # A figure that is the same in every resample (all right, say) has an interval of width 0.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            (np.arange(groups),),
            counted,
            n_resamples=resamples,
            batch=max(1, min(resamples, _NUMBERS // groups)),
            vectorized=True,
            axis=-1,
            confidence_level=CONFIDENCE,
            method="percentile",
            random_state=np.random.default_rng(seed),
        )
    interval = result.confidence_interval
    return ConfidenceIntervals(np.atleast_1d(interval.low), np.atleast_1d(interval.high))


def resampling_groups(chrom: np.ndarray | None) -> np.ndarray | None:
    """What to resample, so that neighbours in a genome, which are alike, go together.

    Args:
        chrom: (N,) chromosome of each example; None: not known.

    Returns:
        ``chrom``; None, that is to resample examples, where it is not known or has fewer than
        :data:`FEWEST_GROUPS` chromosomes.
    """
    if chrom is None or len(np.unique(chrom)) < FEWEST_GROUPS:
        return None
    return np.asarray(chrom)


def of_means(
    values: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> ConfidenceIntervals:
    """ConfidenceIntervals of means over examples.

    Args:
        values: (N, F), one column a figure.
        groups: (N,) what each example belongs to, drawn as wholes; None: examples are drawn.
        seed, resamples: as for :func:`bootstrap`.
    """
    sums = np.asarray(values, np.float64)
    sizes = np.ones(len(sums))
    if groups is not None:
        names, index = np.unique(groups, return_inverse=True)
        sizes = np.bincount(index, minlength=len(names)).astype(np.float64)
        sums = np.stack([np.bincount(index, column, len(names)) for column in sums.T], axis=1)
    return bootstrap(
        lambda counts: (counts @ sums / (counts @ sizes)[:, None]).T,
        len(sums),
        resamples=resamples,
        seed=seed,
    )


class Repeats(NamedTuple):
    """Repeated measurements of N examples, summed up."""

    number: np.ndarray
    """(N,) how many each has"""
    mean: np.ndarray
    """(N, K)"""
    variance: np.ndarray
    """(N, K), of the population: divided by the number"""


def reliability(repeats: Repeats, counts: np.ndarray | None = None) -> np.ndarray:
    """The share of the variance that lies between examples: intraclass correlation, one-way.

    ICC(1) of Shrout & Fleiss 1979, from mean squares of an analysis of variance; for numbers of
    repeats that differ as in Donner 1986. A mean over the K measured things, of which those are
    left out that have no variance at all.

    Args:
        repeats: the measurements.
        counts: float64 (b, N): how often each example is counted; None: once.

    Returns:
        float64 (b,); NaN without two examples or two repeats of one.
    """
    counts = np.ones((1, len(repeats.number))) if counts is None else counts
    mean = np.asarray(repeats.mean, np.float64)
    mean = mean - mean.mean(axis=0)
    weights = counts * repeats.number  # (b, N)
    examples, total = counts.sum(axis=1), weights.sum(axis=1)
    grand = weights @ mean / total[:, None]  # (b, K)
    between = weights @ mean**2 - total[:, None] * grand**2
    within = weights @ np.asarray(repeats.variance, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = between / (examples - 1)[:, None]
        within = within / (total - examples)[:, None]
        usual = (total - (weights @ repeats.number) / total) / (examples - 1)
        share = (between - within) / (between + (usual - 1)[:, None] * within)
    known = np.isfinite(share)
    number = known.sum(axis=1)
    sums = np.where(known, share, 0).sum(axis=1)
    return np.divide(sums, number, out=np.full(len(sums), np.nan), where=number > 0)


def of_reliability(
    repeats: Repeats, groups: np.ndarray, *, seed: int, resamples: int
) -> tuple[float, float]:
    """The interval of :func:`reliability`, examples drawn anew by their groups (N,)."""
    names, index = np.unique(groups, return_inverse=True)
    interval = bootstrap(
        lambda counts: reliability(repeats, counts[:, index])[None],
        len(names),
        resamples=resamples,
        seed=seed,
    )
    return float(interval.low[0]), float(interval.high[0])


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """McNemar's exact p-value for two models that are right or wrong on the same examples.

    Args:
        first, second: bool (N,).
    """
    only_first = int(np.count_nonzero(first & ~second))
    only_second = int(np.count_nonzero(second & ~first))
    if not only_first + only_second:
        return 1.0
    return float(stats.binomtest(only_first, only_first + only_second).pvalue)


def paired_test(first: np.ndarray, second: np.ndarray) -> float:
    """The p-value for two models on the same examples.

    McNemar's exact test of bool (N,), right or wrong; else Wilcoxon's signed-rank test of how wrong
    each is, float (N,), two-sided.
    """
    if first.dtype == bool:
        return mcnemar(first, second)
    change = second.astype(np.float64) - first
    if not change.any():
        return 1.0
    return float(stats.wilcoxon(change).pvalue)


def corrected(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """p-values of several tests, corrected to control the false discovery rate.

    Benjamini and Hochberg 1995. NaN, a test that could not be made, stays NaN and does not count.
    """
    values = np.asarray(p, np.float64)
    made = ~np.isnan(values)
    q = np.full(values.shape, np.nan)
    if made.any():
        q[made] = stats.false_discovery_control(values[made])
    return q
