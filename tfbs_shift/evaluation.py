"""Metrics of a model under each way of shifting the window."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from tfbs_shift.errors import InputError
from tfbs_shift.files import Workspace
from tfbs_shift.metrics import LabelScores, label_scores
from tfbs_shift.scanning import ScanJob, ShiftScan
from tfbs_shift.strategies import ShiftStrategy, strategy
from tfbs_shift.windows import WindowRange

_ROWS = 2**14
"""Examples whose starts are drawn, or bounds applied, at once."""


@dataclass(frozen=True, eq=False)
class Robustness:
    """What :func:`evaluate` found.

    Metrics are ``accuracy`` and ``loss`` where each example has one class, and ``auroc``,
    ``aupr`` (means over the labels that have both classes) and ``loss`` for several labels.

    Attributes:
        windows: the geometry: sequence length, window, bound.
        starts: ``int32`` (N,) for each strategy: the start it chose.
        strategies: metrics for each strategy, at the starts it chose.
        scores: AUROC and AUPR of every label for each strategy; empty unless there are several.
        predictions: float32 (N, K) probabilities for each strategy; empty unless there are several
            labels. Memory maps if ``evaluate`` was given a folder.
        seed: what the random strategies were drawn with.
        average_strands: whether ``scores`` are of the mean prediction of both strands.
        label_names: what the labels are, where known.
        scan: the losses at every start; None, like the next two, unless some strategy needs all.
        right: bool (N, S), which windows are classified right; None for several labels, too.
        averaged: metrics of the prediction averaged over all starts (no loss).
        curve: for each bound r in bp, 0 up to the largest: metrics at the start of highest loss
            within r (for several labels the loss alone); empty where ``scan`` is None.
    """

    windows: WindowRange
    starts: dict[str, np.ndarray]
    strategies: dict[str, dict[str, float]]
    scores: dict[str, LabelScores]
    predictions: dict[str, np.ndarray] = field(repr=False)
    seed: int
    average_strands: bool
    label_names: Sequence[str] | None = field(repr=False)
    scan: ShiftScan | None
    right: np.ndarray | None
    averaged: dict[str, float] | None
    curve: list[dict[str, float]] = field(repr=False)

    @property
    def right_at_every_shift(self) -> float | None:
        """The fraction of examples right at every start they may use; None where not known."""
        if self.right is None or self.scan is None:
            return None
        allowed = self.scan.allowed
        right = self.right if allowed is None else self.right | ~allowed
        return float(right.all(axis=1).mean())

    @property
    def left_out(self) -> list[str]:
        """The labels that lack one of the classes, and so have no AUROC: names or numbers."""
        if not self.scores:
            return []
        scored = next(iter(self.scores.values())).scored
        names = self.label_names or [str(k) for k in range(len(scored))]
        return [names[k] for k in np.flatnonzero(~scored).tolist()]

    def to_dict(self) -> dict[str, Any]:
        """The figures in plain numbers, ready for JSON; the arrays stay behind."""
        windows = self.windows
        figures = {
            "examples": len(next(iter(self.starts.values()))),
            "sequence_length": windows.length,
            "window": windows.window,
            "max_shift": windows.max_shift,
            "shifts": windows.shifts.tolist(),
            "seed": self.seed,
            "strategies": self.strategies,
            "curve": self.curve,
        }
        if self.averaged is not None:
            figures["averaged_over_shifts"] = self.averaged
        if self.right_at_every_shift is not None:
            figures["right_at_every_shift"] = self.right_at_every_shift
        if self.scores:
            figures["labels"] = len(next(iter(self.scores.values())).auroc)
            figures["labels_left_out"] = self.left_out
            figures["average_strands"] = self.average_strands
        return figures


def evaluate(
    model: keras.Model,
    x: Any,
    y: Any,
    *,
    window: int | None = None,
    strategies: Sequence[str | ShiftStrategy] = ("none", "random", "worst"),
    max_shift: int | None = None,
    seed: int = 0,
    protect: np.ndarray | None = None,
    average_strands: bool = False,
    label_names: Sequence[str] | None = None,
    folder: Path | None = None,
    batch_size: int | None = None,
    progress: bool = False,
) -> Robustness:
    """Accuracy (or AUROC and AUPR) and loss of a model under each strategy.

    Accuracy under worst is the accuracy at the start of highest loss; AUROC and AUPR likewise, the
    loss being the mean over labels. If a strategy tries every start (worst), the model is run at
    every start once, and the curve and what else needs all of them is read off the losses. If none
    does, only the starts that the strategies draw are run.

    Cost: N * S runs of the model, or N times the starts drawn. Memory beside x and y: (N, S) losses
    (455,024 * 201: 366 MB) and for several labels (N, K) predictions for each strategy, on disk if
    there is a ``folder``.

    Args:
        model, x, y, window, max_shift, protect, batch_size, progress: as for ``scan``.
        strategies: names ("none", "random", "worst", "worst_of_20") or strategy objects.
        seed: of the random draws, for strategies given by name.
        average_strands: for several labels: score the mean prediction of both strands, the second
            half of the rows being the reverse complement of the first (checked), as TBiNet's own
            test does; each strand's window is chosen by itself. The loss stays that of all rows.
        label_names: K names, for what is said about labels.
        folder: keep losses and predictions in files there while they are made. The same call with
            the same folder goes on where an interrupted one stopped.

    Raises:
        InputError: as ``scan``; no strategy, an unknown one, or one that is named twice; spans to
            protect under the paper's protocol, which has none; strands that are no pairs.
    """
    chosen = _strategies(strategies, seed)
    if protect is not None and any(getattr(s, "protocol", "") == "paper" for s in chosen.values()):
        raise InputError("protect: the paper's protocol knows no spans; use protocol='exact'")
    job = ScanJob.of(model, x, y, window=window, max_shift=max_shift, protect=protect)
    if not job.outputs.kind:
        raise InputError(
            f"model {model.name!r}: its predictions are no probabilities, so there is no accuracy; "
            "scan gives its losses"
        )
    if average_strands:
        _check_strands(job)
    found = _run(job, chosen, folder, batch_size, progress)
    scores = {}
    if not job.outputs.exclusive:
        truth = np.asarray(job.y)
        scores = {
            name: label_scores(truth, found.predictions[name], average_strands=average_strands)
            for name in found.predictions
        }
    figures = {}
    for name in chosen:
        loss = {"loss": float(found.loss[name].mean(dtype=np.float64))}
        right = found.right_at.get(name)
        metrics = scores[name].means() if right is None else {"accuracy": float(right.mean())}
        figures[name] = metrics | loss
    averaged = None
    if found.mean is not None:
        if job.outputs.exclusive:
            outputs = replace(job.outputs, logits=False)  # the mean is one of probabilities
            averaged = {"accuracy": float(outputs.right(job.y, found.mean[:, None]).mean())}
        else:
            mean = label_scores(truth, found.mean, average_strands=average_strands)
            averaged = mean.means()
    return Robustness(
        windows=job.windows,
        starts=found.starts,
        strategies=figures,
        scores=scores,
        predictions=found.predictions,
        seed=seed,
        average_strands=average_strands,
        label_names=label_names,
        scan=found.scan,
        right=found.right,
        averaged=averaged,
        curve=[] if found.scan is None else _curve(found.scan, found.right),
    )


def _strategies(given: Sequence[str | ShiftStrategy], seed: int) -> dict[str, ShiftStrategy]:
    chosen: dict[str, ShiftStrategy] = {}
    for item in given:
        one = strategy(item, seed=seed) if isinstance(item, str) else item
        if one.name in chosen:
            raise InputError(f"strategy {one.name!r}: given twice")
        chosen[one.name] = one
    if not chosen:
        raise InputError("strategies: want one or more of none, random, worst, worst_of_<n>")
    return chosen


@dataclass(frozen=True, eq=False)
class _Found:
    """What running the model gave, for each strategy and, if every start was run, for all."""

    starts: dict[str, np.ndarray]
    loss: dict[str, np.ndarray]
    right_at: dict[str, np.ndarray]
    predictions: dict[str, np.ndarray]
    scan: ShiftScan | None
    right: np.ndarray | None
    mean: np.ndarray | None


def _run(
    job: ScanJob,
    chosen: Mapping[str, ShiftStrategy],
    folder: Path | None,
    batch_size: int | None,
    progress: bool,
) -> _Found:
    """Runs the model where the strategies want it, into memory or a folder's files."""
    count, windows = len(job.x), job.windows
    labels, exclusive = job.outputs.width, job.outputs.exclusive
    drawn = {n: _drawn(s, job) for n, s in chosen.items() if not s.tries_every_start(windows)}
    every = len(drawn) < len(chosen)
    work = Workspace(folder, "" if folder is None else _fingerprint(job, chosen, drawn))
    starts = {name: work.array(f"starts_{name}", (count,), np.int32) for name in chosen}
    loss = {name: work.array(f"loss_{name}", (count,), np.float32) for name in chosen}
    right_at, predictions = {}, {}
    scan = right = mean = None
    for name in chosen:
        if exclusive:
            right_at[name] = work.array(f"right_{name}", (count,), np.bool_)
        else:
            predictions[name] = work.array(f"predictions_{name}", (count, labels), np.float32)
    if every:
        shape = (count, len(windows))
        scan = ShiftScan(windows, work.array("loss", shape, np.float32), job.allowed)
        right = work.array("right", shape, np.bool_) if exclusive else None
        mean = work.array("mean", (count, labels), np.float32)
        wanted = None
    else:
        parts = list(drawn.values())
        if any(getattr(one, "protocol", "") == "paper" for one in chosen.values()):
            parts.append(np.full((count, 1), windows.first, np.int32))  # chosen though not drawn
        wanted = np.concatenate(parts, axis=1)

    for rows, losses, outputs in job.blocks(wanted, batch_size, progress, begin=work.done):
        run = np.broadcast_to(windows.starts, losses.shape) if wanted is None else wanted[rows]
        probabilities = job.outputs.probabilities(outputs)
        hits = job.outputs.right(job.y[rows], outputs) if exclusive else None
        everyone = np.arange(len(losses))
        at = 0
        for name, one in chosen.items():
            if name in drawn:
                candidates = drawn[name][rows]
            else:
                allowed = None if job.allowed is None else job.allowed[rows]
                candidates = np.asarray(one.candidates(len(losses), windows, allowed))
            columns = candidates - windows.first
            if not every:
                columns = np.broadcast_to(at + np.arange(candidates.shape[1]), candidates.shape)
                at += candidates.shape[1]
            start = candidates[:, 0]
            if candidates.shape[1] > 1:
                among = np.take_along_axis(losses, columns, axis=1)
                chosen_start = one.choose(
                    ops.convert_to_tensor(candidates), ops.convert_to_tensor(among), windows
                )
                start = ops.convert_to_numpy(chosen_start)
            column = (run == start[:, None]).argmax(axis=1)
            starts[name][rows], loss[name][rows] = start, losses[everyone, column]
            if hits is not None:
                right_at[name][rows] = hits[everyone, column]
            else:
                predictions[name][rows] = probabilities[everyone, column]
        if scan is not None and mean is not None:
            scan.loss[rows] = losses
            if right is not None:
                right[rows] = hits
            weights = np.ones(losses.shape) if job.allowed is None else job.allowed[rows]
            total = np.einsum("ns,nsk->nk", weights, probabilities)
            mean[rows] = total / weights.sum(axis=1, keepdims=True)
        work.record(rows.stop, last=rows.stop == count)
    return _Found(starts, loss, right_at, predictions, scan, right, mean)


def _drawn(one: ShiftStrategy, job: ScanJob) -> np.ndarray:
    """The starts among which a strategy chooses, ``int32`` (N, n)."""
    count, windows = len(job.x), job.windows
    if getattr(one, "protocol", "") == "paper":  # one draw for the whole test set
        drawn = ops.convert_to_numpy(one.candidates(1, windows))
        return np.broadcast_to(drawn, (count, drawn.shape[1]))
    parts = []
    for begin in range(0, count, _ROWS):
        allowed = None if job.allowed is None else job.allowed[begin : begin + _ROWS]
        some = one.candidates(min(_ROWS, count - begin), windows, allowed)
        parts.append(ops.convert_to_numpy(some))
    return np.concatenate(parts)


def _fingerprint(
    job: ScanJob, chosen: Mapping[str, ShiftStrategy], drawn: Mapping[str, np.ndarray]
) -> str:
    """What tells this evaluation from another: model, examples (some of many), starts."""
    digest = hashlib.sha256(repr((job.windows, list(chosen), tuple(job.x.shape))).encode())
    ends = [np.asarray(job.x[rows]) for rows in (slice(0, 1000), slice(-1000, None))]
    allowed = [] if job.allowed is None else [job.allowed]
    labels = [job.y[begin : begin + _ROWS] for begin in range(0, len(job.y), _ROWS)]
    for array in (*job.model.get_weights(), *ends, *allowed, *labels, *drawn.values()):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _check_strands(job: ScanJob) -> None:
    """The second half of the rows must be the other strand of the first."""
    half, odd = divmod(len(job.x), 2)
    if odd:
        raise InputError(f"average_strands: {len(job.x)} examples are no pairs of strands")
    for begin in range(0, half, 1024):
        rows = np.arange(begin, min(begin + 1024, half))
        one, other = slice(begin, rows[-1] + 1), slice(half + begin, half + rows[-1] + 1)
        # In either channel order the complement of channel i is channel 3 - i.
        same = (np.asarray(job.x[one])[:, ::-1, ::-1] == np.asarray(job.x[other])).all(axis=(1, 2))
        same &= (np.asarray(job.y[one]) == np.asarray(job.y[other])).all(axis=1)
        if not same.all():
            i = int(rows[~same][0])
            raise InputError(
                f"average_strands: example {half + i} is not the reverse complement of example "
                f"{i} with the same labels"
            )


def _curve(scan: ShiftScan, right: np.ndarray | None) -> list[dict[str, float]]:
    """Metrics at the start of highest loss within r bp of the centre, r = 0, 1, ... to the largest.

    Where a protected span forbids every shift up to r, the nearest allowed window counts.
    """
    total = np.zeros((int(np.abs(scan.shifts).max()) + 1, 2))
    for begin in range(0, len(scan.loss), _ROWS):
        rows = slice(begin, begin + _ROWS)
        loss = scan.loss[rows]
        everyone = np.arange(len(loss))
        distance = np.broadcast_to(np.abs(scan.shifts), loss.shape)
        if scan.allowed is not None:
            distance = np.where(scan.allowed[rows], distance, scan.windows.length)
        nearest = distance.min(axis=1, keepdims=True)
        for r in range(len(total)):
            column = np.where(distance <= np.maximum(r, nearest), loss, -np.inf).argmax(axis=1)
            total[r, 0] += loss[everyone, column].sum(dtype=np.float64)
            if right is not None:
                total[r, 1] += right[rows][everyone, column].sum()
    loss, accuracy = (total / len(scan.loss)).T
    return [
        {"max_shift": r}
        | ({} if right is None else {"accuracy": float(accuracy[r])})
        | {"loss": float(loss[r])}
        for r in range(len(total))
    ]
