"""Areas under curves for many labels at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from scipy.integrate import trapezoid

from tfbs_shift.errors import InputError

_LABELS_AT_ONCE = 32


class LabelScores(NamedTuple):
    """Areas for each label, NaN where a label lacks one of the classes."""

    auroc: np.ndarray
    """float64 (K,)"""
    aupr: np.ndarray
    """float64 (K,)"""
    positives: np.ndarray
    """int64 (K,): examples that have the label"""

    @property
    def scored(self) -> np.ndarray:
        """bool (K,): the labels that have both classes."""
        return ~np.isnan(self.auroc)

    def means(self) -> dict[str, float]:
        """Means over the labels that have both classes; NaN if none has."""
        scored = self.scored
        return {
            name: float(values[scored].mean()) if scored.any() else float("nan")
            for name, values in (("auroc", self.auroc), ("aupr", self.aupr))
        }


def label_scores(
    y: np.ndarray, scores: np.ndarray, *, average_strands: bool = False
) -> LabelScores:
    """AUROC and AUPR of each label.

    AUPR is the trapezoid area under the precision-recall curve, as in the paper. Both equal
    scikit-learn's (``roc_auc_score``; ``auc`` of ``precision_recall_curve``) with one sort a label
    in place of two.

    Cost: K sorts of N numbers, on two threads; memory beside the arguments 32 columns of scores.

    Args:
        y: 0/1 (N, K).
        scores: float (N, K), a memory map too, higher = more likely 1.
        average_strands: the second half of the rows is the other strand of the first: score the
            first half with the mean of both.

    Raises:
        InputError: scores that are no numbers; an odd number of rows to average.
    """
    count, labels = y.shape
    if average_strands and count % 2:
        raise InputError(f"{count} examples: an odd number has no second half of other strands")
    half = count // 2
    areas = LabelScores(np.full(labels, np.nan), np.full(labels, np.nan), np.zeros(labels, int))

    def score_block(first: int) -> None:
        columns = slice(first, first + _LABELS_AT_ONCE)
        values, truth = np.array(scores[:, columns].T, order="C"), y[:, columns].T
        if average_strands:
            values, truth = (values[:, :half] + values[:, half:]) / 2, truth[:, :half]
        if np.isnan(values).any():
            raise InputError("some scores are no numbers (NaN)")
        for i, (one, score) in enumerate(zip(truth, values, strict=True)):
            areas.positives[first + i] = np.count_nonzero(one)
            if 0 < areas.positives[first + i] < len(one):
                areas.auroc[first + i], areas.aupr[first + i] = _areas(one, score)[:, 0]

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(score_block, range(0, labels, _LABELS_AT_ONCE)))
    return areas


def resampled_scores(y: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean AUROC and AUPR over the labels, the examples counted so many times each.

    Labels that lack a class among the examples counted are left out of that mean.

    Cost: one sort a label, and b cumulative sums of N numbers.

    Args:
        y, scores: as for :func:`label_scores`.
        counts: float64 (b, N): how often each example was drawn, in each of b resamples.

    Returns:
        float64 (2, b): mean AUROC, mean AUPR; NaN where no label has both classes.
    """
    total, scored = np.zeros((2, len(counts))), np.zeros((2, len(counts)))
    for k in range(y.shape[1]):
        one = y[:, k]
        if one.any() and not one.all():
            areas = _areas(one, np.asarray(scores[:, k]), counts)
            known = ~np.isnan(areas)
            total += np.where(known, areas, 0)
            scored += known
    return np.divide(total, scored, out=np.full_like(total, np.nan), where=scored > 0)


def _areas(y: np.ndarray, score: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """(AUROC, AUPR) of one label, (2, b): y 0/1 (N,), score (N,), counts (b, N) or each once."""
    order = np.argsort(score)[::-1]
    score = score[order]
    # Equal scores stand or fall together: count where a run of them ends.
    ends = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
    if counts is None:
        called, hits = ends[None] + 1, np.cumsum(y[order], dtype=np.int64)[None, ends]
    else:
        drawn = counts[:, order]
        called = np.cumsum(drawn, axis=1)[:, ends]
        hits = np.cumsum(drawn * y[order], axis=1)[:, ends]
    alarms = called - hits
    positives, negatives = hits[:, -1:], alarms[:, -1:]
    nothing = np.zeros_like(positives)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = np.concatenate([nothing, hits / positives], axis=1)
        # Before the first example that was drawn there is no precision: as at the start, 1.
        precision = np.where(called > 0, hits / called, 1.0)
        precision = np.concatenate([nothing + 1, precision], axis=1)
        auroc = trapezoid(recall, np.concatenate([nothing, alarms], axis=1)) / negatives[:, 0]
    aupr = trapezoid(precision, recall)
    known = ((positives > 0) & (negatives > 0))[:, 0]
    return np.where(known, [auroc, aupr], np.nan)
