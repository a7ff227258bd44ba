"""Metrics of a model under each way of shifting the window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
from keras import ops

from tfbs_shift.errors import InputError
from tfbs_shift.scanning import ScanJob, ShiftScan
from tfbs_shift.strategies import ShiftStrategy, strategy


@dataclass(frozen=True, eq=False)
class Robustness:
    """What :func:`evaluate` found.

    Metrics are ``accuracy`` and ``loss`` where each example has one class, and ``auroc``,
    ``aupr`` (means over the labels that have both classes) and ``loss`` for several labels.

    Attributes:
        scan: the losses at every start.
        right: bool (N, S), which windows are classified right; None for several labels.
        starts: ``int32`` (N,) for each strategy: the start it chose.
        strategies: metrics for each strategy, at the starts it chose.
        averaged: metrics of the prediction averaged over all starts (no loss).
        curve: for each bound r in bp, 0 up to the largest: metrics at the start of highest loss
            within r (for several labels the loss alone).
        seed: what the random strategies were drawn with.
    """

    scan: ShiftScan
    right: np.ndarray | None
    starts: dict[str, np.ndarray]
    strategies: dict[str, dict[str, float]]
    averaged: dict[str, float]
    curve: list[dict[str, float]] = field(repr=False)
    seed: int

    @property
    def right_at_every_shift(self) -> float | None:
        """The fraction of examples right at every start they may use; None for several labels."""
        if self.right is None:
            return None
        allowed = self.scan.allowed
        right = self.right if allowed is None else self.right | ~allowed
        return float(right.all(axis=1).mean())

    def to_dict(self) -> dict[str, Any]:
        """The figures in plain numbers, ready for JSON; the arrays stay behind."""
        windows = self.scan.windows
        figures = {
            "examples": len(self.scan.loss),
            "sequence_length": windows.length,
            "window": windows.window,
            "max_shift": windows.max_shift,
            "shifts": windows.shifts.tolist(),
            "seed": self.seed,
            "strategies": self.strategies,
            "averaged_over_shifts": self.averaged,
            "curve": self.curve,
        }
        if self.right is not None:
            figures["right_at_every_shift"] = self.right_at_every_shift
        return figures


def evaluate(
    model: keras.Model,
    x: np.ndarray,
    y: np.ndarray,
    *,
    window: int | None = None,
    strategies: Sequence[str | ShiftStrategy] = ("none", "random", "worst"),
    max_shift: int | None = None,
    seed: int = 0,
    protect: np.ndarray | None = None,
    batch_size: int | None = None,
    progress: bool = False,
) -> Robustness:
    """Accuracy (or AUROC and AUPR) and loss of a model under each strategy.

    The model is run at every start once (:func:`tfbs_shift.scan`); the figures are read off the
    losses. Accuracy under worst is the accuracy at the start of highest loss.

    Args:
        model, x, y, window, max_shift, protect, batch_size, progress: as for ``scan``.
        strategies: names ("none", "random", "worst", "worst_of_20") or strategy objects.
        seed: of the random draws, for strategies given by name.

    Raises:
        InputError: as ``scan``; an unknown strategy; one that is named twice; spans to protect
            under the paper's protocol, which has none.
    """
    chosen: dict[str, ShiftStrategy] = {}
    for item in strategies:
        one = strategy(item, seed=seed) if isinstance(item, str) else item
        if one.name in chosen:
            raise InputError(f"strategy {one.name!r}: given twice")
        chosen[one.name] = one
    if protect is not None and any(getattr(s, "protocol", "") == "paper" for s in chosen.values()):
        raise InputError("protect: the paper's protocol knows no spans; use protocol='exact'")
    job = ScanJob.of(model, x, y, window=window, max_shift=max_shift, protect=protect)
    if not job.outputs.kind:
        raise InputError(
            f"model {model.name!r}: its predictions are no probabilities, so there is no accuracy; "
            "scan gives its losses"
        )
    scan, right, mean = _scan(job, batch_size, progress)
    everyone = np.arange(len(scan.loss))
    columns = {name: _columns(one, scan) for name, one in chosen.items()}

    def metrics(column: np.ndarray) -> dict[str, float]:
        loss = {"loss": float(scan.loss[everyone, column].mean())}
        return loss if right is None else {"accuracy": float(right[everyone, column].mean())} | loss

    figures = {name: metrics(column) for name, column in columns.items()}
    if right is None:
        for name, column in columns.items():
            starts = scan.starts[column]
            figures[name] = _label_scores(job.y, _predict(job, starts, batch_size)) | figures[name]
        averaged = _label_scores(job.y, mean)
    else:
        outputs = replace(job.outputs, logits=False)  # the mean is one of probabilities
        averaged = {"accuracy": float(outputs.right(job.y, mean[:, None]).mean())}
    return Robustness(
        scan=scan,
        right=right,
        starts={name: scan.starts[column] for name, column in columns.items()},
        strategies=figures,
        averaged=averaged,
        curve=[{"max_shift": r} | metrics(column) for r, column in enumerate(_within_bounds(scan))],
        seed=seed,
    )


def _scan(
    job: ScanJob, batch_size: int | None, progress: bool
) -> tuple[ShiftScan, np.ndarray | None, np.ndarray]:
    """Losses, right or not, and probabilities (N, K) averaged over the starts allowed."""
    shape = (len(job.x), len(job.windows))
    loss = np.empty(shape, np.float32)
    right = np.empty(shape, bool) if job.outputs.exclusive else None
    mean = np.empty((shape[0], job.outputs.width), np.float32)
    for rows, losses, predictions in job.blocks(job.windows.starts, batch_size, progress):
        loss[rows] = losses
        if right is not None:
            right[rows] = job.outputs.right(job.y[rows], predictions)
        weights = np.ones(losses.shape) if job.allowed is None else job.allowed[rows]
        probabilities = job.outputs.probabilities(predictions)
        mean[rows] = np.einsum("ns,nsk->nk", weights, probabilities) / weights.sum(1, keepdims=True)
    return ShiftScan(job.windows, loss, job.allowed), right, mean


def _columns(one: ShiftStrategy, scan: ShiftScan) -> np.ndarray:
    """The column of the start that a strategy chooses for each example, (N,)."""
    candidates = one.candidates(len(scan.loss), scan.windows, scan.allowed)
    columns = ops.convert_to_numpy(candidates) - scan.windows.first
    if columns.shape[1] == 1:
        return columns[:, 0]
    losses = np.take_along_axis(scan.loss, columns, axis=1)
    starts = one.choose(candidates, ops.convert_to_tensor(losses), scan.windows)
    return ops.convert_to_numpy(starts) - scan.windows.first


def _within_bounds(scan: ShiftScan) -> Iterator[np.ndarray]:
    """Columns (N,) of the highest loss within r bp of the centre, for r = 0, 1, ... to the largest.

    Where a protected span forbids every shift up to r, the nearest allowed window counts.
    """
    distance = np.broadcast_to(np.abs(scan.shifts), scan.loss.shape)
    if scan.allowed is not None:
        distance = np.where(scan.allowed, distance, scan.windows.length)
    nearest = distance.min(axis=1, keepdims=True)
    for r in range(int(np.abs(scan.shifts).max()) + 1):
        yield np.where(distance <= np.maximum(r, nearest), scan.loss, -np.inf).argmax(axis=1)


def _predict(job: ScanJob, starts: np.ndarray, batch_size: int | None) -> np.ndarray:
    """Probabilities (N, K) at one start an example."""
    blocks = job.blocks(starts[:, None], batch_size)
    return np.concatenate([job.outputs.probabilities(p[:, 0]) for _, _, p in blocks])


def _label_scores(y: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """AUROC and AUPR, means over the labels that have both classes; NaN if none has.

    AUPR is the trapezoid area under the precision-recall curve, as in the paper.
    """
    from sklearn.metrics import auc, precision_recall_curve, roc_auc_score

    both = [k for k in range(y.shape[1]) if 0 < y[:, k].sum() < len(y)]
    auroc, aupr = [], []
    for k in both:
        auroc.append(roc_auc_score(y[:, k], probabilities[:, k]))
        precision, recall, _ = precision_recall_curve(y[:, k], probabilities[:, k])
        aupr.append(auc(recall, precision))
    return {
        "auroc": float(np.mean(auroc)) if both else float("nan"),
        "aupr": float(np.mean(aupr)) if both else float("nan"),
    }
