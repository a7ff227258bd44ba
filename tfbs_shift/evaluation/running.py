"""Runs a model where the strategies want it, and keeps what every start tells, block by block."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from keras import ops

from tfbs_shift.evaluation.curves import highest_within, nearest, radii
from tfbs_shift.files import GrowingRows, Workspace
from tfbs_shift.scanning import ScanJob, ShiftScan
from tfbs_shift.strategies import ShiftStrategy

_ROWS = 2**14
"""Examples whose starts are drawn at once."""


@dataclass(frozen=True, eq=False)
class EveryStart:
    """What running every start told of each example.

    Attributes:
        scan: the losses.
        right: bool (N, S), exclusive classes only, else None.
        probability: float32 (N, S), exclusive classes only: of class 1 if there are two, else of
            the true class.
        kept: bool (N, S): the class, or the call (above 0.5) of every label, is that of No Shift.
        mean: float32 (N, K): the prediction averaged over starts.
        agreement: float32 (N,): how often two independent random starts agree on the class (mean
            over labels).
        wobble: float32 (N,): highest minus lowest probability (mean over labels).
        flipped: float32 (N,): 1 where some start's class is not that of No Shift (the share of
            such labels).
    """

    scan: ShiftScan
    right: np.ndarray | None
    probability: np.ndarray | None
    kept: np.ndarray
    mean: np.ndarray
    agreement: np.ndarray
    wobble: np.ndarray
    flipped: np.ndarray


@dataclass(frozen=True, eq=False)
class Records:
    """Predictions of several labels at the few starts that curves need.

    Curve 0 is that of the highest loss within r bp, curve d > 0 that of the d-th random shift. The
    random shifts of an example are nested: that of r is the start of highest priority within r.

    Attributes:
        rows: float32 (M, K), the starts of example 0, then those of example 1, ...
        count: (N,) how many an example has: about ln S a curve.
        at: (N, 1 + D, R + 1): which of its example's rows.
    """

    rows: GrowingRows
    count: np.ndarray
    at: np.ndarray

    def predictions(self, curve: int, r: int) -> np.ndarray:
        """float32 (N, K) at the start that a curve takes within r bp."""
        first = np.cumsum(self.count, dtype=np.int64) - self.count
        return self.rows.all()[first + self.at[:, curve, r]]


@dataclass(frozen=True, eq=False)
class Found:
    """For each strategy the start it chose, its loss, and whether it is right there or what was
    predicted (several labels); and, if every start was run, what all of them told."""

    starts: dict[str, np.ndarray]
    loss: dict[str, np.ndarray]
    right_at: dict[str, np.ndarray]
    predictions: dict[str, np.ndarray]
    every: EveryStart | None
    records: Records | None


def run(
    job: ScanJob,
    chosen: Mapping[str, ShiftStrategy],
    *,
    seed: int,
    draws: int,
    folder: Path | None,
    batch_size: int | None,
    progress: bool,
) -> Found:
    """Runs the model where the strategies want it, into memory or a folder's files.

    Args:
        job: model and examples.
        chosen: the strategies by name.
        seed, draws: of the random curves of several labels.
        folder, batch_size, progress: as for ``evaluate``.
    """
    count, windows = len(job.x), job.windows
    labels, exclusive = job.outputs.width, job.outputs.exclusive
    drawn = {n: _drawn(s, job) for n, s in chosen.items() if not s.tries_every_start(windows)}
    all_run = len(drawn) < len(chosen)
    about = repr((seed, draws))
    work = Workspace(folder, "" if folder is None else _fingerprint(job, chosen, drawn, about))
    starts = {name: work.array(f"starts_{name}", (count,), np.int32) for name in chosen}
    loss = {name: work.array(f"loss_{name}", (count,), np.float32) for name in chosen}
    right_at, predictions = {}, {}
    every = records = wanted = None
    for name in chosen:
        if exclusive:
            right_at[name] = work.array(f"right_{name}", (count,), np.bool_)
        else:
            predictions[name] = work.array(f"predictions_{name}", (count, labels), np.float32)
    if all_run:
        every = _every_start(work, job)
        if not exclusive:
            kept = work.array("record_count", (count,), np.int32)
            at = work.array("record_at", (count, 1 + draws, len(radii(windows))), np.uint16)
            done = int(kept[: work.done].sum(dtype=np.int64))
            records = Records(work.growing("records", labels, done), kept, at)
    else:
        parts = list(drawn.values())
        if any(getattr(one, "protocol", "") == "paper" for one in chosen.values()):
            parts.append(np.full((count, 1), windows.first, np.int32))  # chosen though not drawn
        wanted = np.concatenate(parts, axis=1)

    for rows, losses, outputs in job.blocks(wanted, batch_size, progress, begin=work.done):
        run = np.broadcast_to(windows.starts, losses.shape) if wanted is None else wanted[rows]
        probabilities = job.outputs.probabilities(outputs)
        right = None
        if exclusive:
            right = job.outputs.classes(outputs) == job.outputs.truth(job.y[rows])[:, None]
        everyone = np.arange(len(losses))
        column_at = 0
        for name, one in chosen.items():
            if name in drawn:
                candidates = drawn[name][rows]
            else:
                allowed = None if job.allowed is None else job.allowed[rows]
                candidates = np.asarray(one.candidates(len(losses), windows, allowed))
            columns = candidates - windows.first
            if not all_run:
                columns = np.broadcast_to(
                    column_at + np.arange(candidates.shape[1]), candidates.shape
                )
                column_at += candidates.shape[1]
            start = candidates[:, 0]
            if candidates.shape[1] > 1:
                among = np.take_along_axis(losses, columns, axis=1)
                chosen_start = one.choose(
                    ops.convert_to_tensor(candidates), ops.convert_to_tensor(among), windows
                )
                start = ops.convert_to_numpy(chosen_start)
            column = (run == start[:, None]).argmax(axis=1)
            starts[name][rows], loss[name][rows] = start, losses[everyone, column]
            if right is not None:
                right_at[name][rows] = right[everyone, column]
            else:
                predictions[name][rows] = probabilities[everyone, column]
        if every is not None:
            _note(every, job, rows, losses, outputs, probabilities, right)
        if records is not None:
            _record(records, job, rows, losses, probabilities, seed)
        work.record(rows.stop, last=rows.stop == count)
    return Found(starts, loss, right_at, predictions, every, records)


def _every_start(work: Workspace, job: ScanJob) -> EveryStart:
    count, exclusive = len(job.x), job.outputs.exclusive
    shape = (count, len(job.windows))
    return EveryStart(
        scan=ShiftScan(job.windows, work.array("loss", shape, np.float32), job.allowed),
        right=work.array("right", shape, np.bool_) if exclusive else None,
        probability=work.array("probability", shape, np.float32) if exclusive else None,
        kept=work.array("kept", shape, np.bool_),
        mean=work.array("mean", (count, job.outputs.width), np.float32),
        agreement=work.array("agreement", (count,), np.float32),
        wobble=work.array("wobble", (count,), np.float32),
        flipped=work.array("flipped", (count,), np.float32),
    )


def _note(
    every: EveryStart,
    job: ScanJob,
    rows: slice,
    losses: np.ndarray,
    outputs: np.ndarray,
    probabilities: np.ndarray,
    right: np.ndarray | None,
) -> None:
    """Keeps of a block what all starts tell."""
    allowed = None if job.allowed is None else job.allowed[rows]
    weights = np.ones(losses.shape) if allowed is None else allowed.astype(float)
    weights /= weights.sum(axis=1, keepdims=True)
    possible = weights > 0
    centre = nearest(len(losses), job.windows, allowed)
    everyone = np.arange(len(losses))
    every.scan.loss[rows] = losses
    every.mean[rows] = np.einsum("ns,nsk->nk", weights, probabilities)
    if right is not None and every.right is not None and every.probability is not None:
        classes = job.outputs.classes(outputs)
        truth = job.outputs.truth(job.y[rows])
        if job.outputs.width <= 2:
            probability = probabilities[..., -1]
        else:
            probability = probabilities[everyone, :, truth]
        every.right[rows], every.probability[rows] = right, probability
        kept = classes == classes[everyone, centre][:, None]
        share = np.stack(
            [(weights * (classes == k)).sum(axis=1) for k in range(max(2, job.outputs.width))]
        )
        every.agreement[rows] = (share**2).sum(axis=0)
        every.wobble[rows] = _span(probability, possible)
        every.flipped[rows] = (~kept & possible).any(axis=1)
    else:
        calls = probabilities > 0.5
        same = calls == calls[everyone, centre][:, None]
        kept = same.all(axis=2)
        share = np.einsum("ns,nsk->nk", weights, calls)
        every.agreement[rows] = (share**2 + (1 - share) ** 2).mean(axis=1)
        every.wobble[rows] = _span(probabilities, possible[..., None]).mean(axis=1)
        every.flipped[rows] = (~same & possible[..., None]).any(axis=1).mean(axis=1)
    every.kept[rows] = kept


def _span(values: np.ndarray, possible: np.ndarray) -> np.ndarray:
    """Highest minus lowest over axis 1."""
    highest = np.where(possible, values, -np.inf).max(axis=1)
    return highest - np.where(possible, values, np.inf).min(axis=1)


def _record(
    records: Records,
    job: ScanJob,
    rows: slice,
    losses: np.ndarray,
    probabilities: np.ndarray,
    seed: int,
) -> None:
    """Keeps of a block the predictions that curves need."""
    allowed = None if job.allowed is None else job.allowed[rows]
    draws = records.at.shape[1] - 1
    # A generator for each example: its draws do not depend on how examples were grouped.
    priorities = np.empty((draws, *losses.shape))
    for i, row in enumerate(range(rows.start, rows.stop)):
        priorities[:, i] = np.random.default_rng([seed, row]).random((draws, losses.shape[1]))
    columns = np.stack(
        [highest_within(v, job.windows, allowed) for v in (losses, *priorities)], axis=1
    )
    needed = np.zeros(losses.shape, bool)
    np.put_along_axis(needed, columns.reshape(len(losses), -1), True, axis=1)
    number = needed.cumsum(axis=1) - 1
    at = np.take_along_axis(number, columns.reshape(len(losses), -1), axis=1)
    records.at[rows] = at.reshape(columns.shape)
    records.count[rows] = needed.sum(axis=1)
    records.rows.append(probabilities[needed])


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
    job: ScanJob,
    chosen: Mapping[str, ShiftStrategy],
    drawn: Mapping[str, np.ndarray],
    about: str,
) -> str:
    """What tells this evaluation from another: model, examples (some of many), starts."""
    digest = hashlib.sha256(repr((job.windows, list(chosen), tuple(job.x.shape), about)).encode())
    ends = [np.asarray(job.x[rows]) for rows in (slice(0, 1000), slice(-1000, None))]
    allowed = [] if job.allowed is None else [job.allowed]
    labels = [job.y[begin : begin + _ROWS] for begin in range(0, len(job.y), _ROWS)]
    for array in (*job.model.get_weights(), *ends, *allowed, *labels, *drawn.values()):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
