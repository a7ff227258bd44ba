"""Runs a model where the strategies want it, and keeps what every start tells, block by block."""

from __future__ import annotations

import hashlib
import itertools
import math
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from keras import ops

from tfbs_shift.evaluation.curves import chunks, highest_within, nearest, radii
from tfbs_shift.files import GrowingRows, Workspace, forget, rows_done
from tfbs_shift.scanning.scans import ScanJob, ShiftScan
from tfbs_shift.strategies import ShiftStrategy

_ROWS = 2**14
"""Examples whose labels are read at once."""
_POLL = 2.0
"""Seconds between two looks at what other hosts have done."""


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


class Choices:
    """Where a model is to be run, and which of those starts each strategy takes.

    Args:
        job: model and examples.
        chosen: the strategies by name; draws are made now.

    Attributes:
        drawn: candidates ``int32`` (N, n) of the strategies that do not try every start.
        wanted: starts to run, ``int32`` (N, m); None: every start there is.
    """

    def __init__(self, job: ScanJob, chosen: Mapping[str, ShiftStrategy]):
        self.job, self.chosen = job, chosen
        windows = job.windows
        self.drawn = {
            name: one.draw(len(job.x), windows, job.allowed)
            for name, one in chosen.items()
            if not one.tries_every_start(windows)
        }
        self.wanted: np.ndarray | None = None
        if len(self.drawn) == len(chosen):
            also = np.unique(np.concatenate([one.also(windows) for one in chosen.values()]))
            also = np.broadcast_to(also, (len(job.x), len(also)))
            self.wanted = np.concatenate([*self.drawn.values(), also], axis=1)

    def at(self, rows: slice, losses: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """(name of a strategy, its starts (b,), their columns (b,)) from losses (b, m)."""
        windows = self.job.windows
        if self.wanted is None:
            run = np.broadcast_to(windows.starts, losses.shape)
        else:
            run = self.wanted[rows]
        column_at = 0
        for name, one in self.chosen.items():
            if name in self.drawn:
                candidates = self.drawn[name][rows]
            else:
                allowed = None if self.job.allowed is None else self.job.allowed[rows]
                candidates = np.asarray(one.candidates(len(losses), windows, allowed))
            columns = candidates - windows.first
            if self.wanted is not None:
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
            yield name, start, (run == start[:, None]).argmax(axis=1)


def run(
    job: ScanJob,
    chosen: Mapping[str, ShiftStrategy],
    *,
    seed: int,
    draws: int,
    folder: Path | None,
    batch_size: int | None,
    progress: bool,
    host: tuple[int, int] = (0, 1),
) -> Found | None:
    """Runs the model where the strategies want it, into memory or a folder's files.

    Several hosts fill a part each, in a folder of its own there; the first one waits for the others
    and joins the parts. None of them needs to know how the others do.

    Args:
        job: model and examples.
        chosen: the strategies by name.
        seed, draws: of the random curves of several labels.
        folder, batch_size, progress: as for ``evaluate``.
        host: (i, n): this is host i of n, which share the folder.

    Returns:
        What was found; None on other hosts than the first.
    """
    choices = Choices(job, chosen)
    count, (index, hosts) = len(job.x), host
    mark = "" if folder is None else _fingerprint(job, choices, repr((seed, draws)))
    if folder is None or hosts == 1:
        work = Workspace(folder, mark)
        found = _laid_out(job, choices, work, draws, slice(0, count))
        _fill(found, job, choices, work, slice(0, count), seed, batch_size, progress)
        return found
    if rows_done(folder, mark) == count:
        if index:
            return None
        return _laid_out(job, choices, Workspace(folder, mark), draws, slice(0, count))
    parts = {
        folder / f"host-{i}-of-{hosts}": part
        for i, part in enumerate(_parts(count, job.rows_at_once(batch_size, count), hosts))
        if part.start < part.stop
    }
    own = folder / f"host-{index}-of-{hosts}"
    if own in parts:
        work = Workspace(own, mark)
        found = _laid_out(job, choices, work, draws, parts[own])
        _fill(found, job, choices, work, parts[own], seed, batch_size, progress)
    if index:
        return None
    _wait(parts, mark)
    forget(folder)  # what one host alone had begun
    work = Workspace(folder, mark)
    found = _laid_out(job, choices, work, draws, slice(0, count))
    for some, part in parts.items():
        _join(found, _laid_out(job, choices, Workspace(some, mark), draws, part), part)
    work.record(count, last=True)
    for some in parts:
        shutil.rmtree(some)
    return found


def _parts(count: int, block: int, hosts: int) -> list[slice]:
    """The rows of each host: whole blocks, so that a row stands in its block where it always does.

    Where it stands moves the last bits of its predictions.
    """
    blocks = math.ceil(count / block)
    ends = [min(blocks * i // hosts * block, count) for i in range(hosts + 1)]
    return [slice(*pair) for pair in itertools.pairwise(ends)]


def _wait(parts: Mapping[Path, slice], mark: str) -> None:
    """Returns when the workspace of each part is filled."""
    told: list[str] = []
    while True:
        missing = [
            folder.name
            for folder, part in parts.items()
            if rows_done(folder, mark) < part.stop - part.start
        ]
        if not missing:
            return
        if missing != told:
            print(f"waiting for {', '.join(missing)}", file=sys.stderr, flush=True)
            told = missing
        time.sleep(_POLL)


def _laid_out(job: ScanJob, choices: Choices, work: Workspace, draws: int, part: slice) -> Found:
    """Room for what is found in some rows, or what was found there before."""
    count, labels, exclusive = part.stop - part.start, job.outputs.width, job.outputs.exclusive
    chosen = choices.chosen
    starts = {name: work.array(f"starts_{name}", (count,), np.int32) for name in chosen}
    loss = {name: work.array(f"loss_{name}", (count,), np.float32) for name in chosen}
    right_at, predictions = {}, {}
    every = records = None
    for name in chosen:
        if exclusive:
            right_at[name] = work.array(f"right_{name}", (count,), np.bool_)
        else:
            predictions[name] = work.array(f"predictions_{name}", (count, labels), np.float32)
    if choices.wanted is None:
        every = _every_start(work, job, part)
        if not exclusive:
            kept = work.array("record_count", (count,), np.int32)
            shape = (count, 1 + draws, len(radii(job.windows)))
            at = work.array("record_at", shape, np.uint16)
            done = int(kept[: work.done].sum(dtype=np.int64))
            records = Records(work.growing("records", labels, done), kept, at)
    return Found(starts, loss, right_at, predictions, every, records)


def _join(whole: Found, found: Found, part: slice) -> None:
    """Copies what was found in some rows."""
    for name in ("starts", "loss", "right_at", "predictions"):
        for key, values in getattr(found, name).items():
            getattr(whole, name)[key][part] = values
    if whole.every is not None and found.every is not None:
        whole.every.scan.loss[part] = found.every.scan.loss
        for name in ("right", "probability", "kept", "mean", "agreement", "wobble", "flipped"):
            if getattr(found.every, name) is not None:
                getattr(whole.every, name)[part] = getattr(found.every, name)
    if whole.records is not None and found.records is not None:
        whole.records.count[part], whole.records.at[part] = found.records.count, found.records.at
        rows = found.records.rows.all()
        for some in chunks(len(rows)):
            whole.records.rows.append(rows[some])


def _fill(
    found: Found,
    job: ScanJob,
    choices: Choices,
    work: Workspace,
    part: slice,
    seed: int,
    batch_size: int | None,
    progress: bool,
) -> None:
    """Runs the model for those of some rows that are not done yet."""
    begin = part.start + work.done
    for rows, losses, outputs in job.blocks(
        choices.wanted, batch_size, progress, begin=begin, end=part.stop
    ):
        here = slice(rows.start - part.start, rows.stop - part.start)
        probabilities = job.outputs.probabilities(outputs)
        right = None
        if job.outputs.exclusive:
            right = job.outputs.classes(outputs) == job.outputs.truth(job.y[rows])[:, None]
        everyone = np.arange(len(losses))
        for name, start, column in choices.at(rows, losses):
            found.starts[name][here], found.loss[name][here] = start, losses[everyone, column]
            if right is not None:
                found.right_at[name][here] = right[everyone, column]
            else:
                found.predictions[name][here] = probabilities[everyone, column]
        if found.every is not None:
            _note(found.every, job, rows, here, losses, outputs, probabilities, right)
        if found.records is not None:
            _record(found.records, job, rows, here, losses, probabilities, seed)
        work.record(here.stop, last=rows.stop == part.stop)


def _every_start(work: Workspace, job: ScanJob, part: slice) -> EveryStart:
    count, exclusive = part.stop - part.start, job.outputs.exclusive
    shape = (count, len(job.windows))
    return EveryStart(
        scan=ShiftScan(
            job.windows,
            work.array("loss", shape, np.float32),
            None if job.allowed is None else job.allowed[part],
        ),
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
    here: slice,
    losses: np.ndarray,
    outputs: np.ndarray,
    probabilities: np.ndarray,
    right: np.ndarray | None,
) -> None:
    """Keeps of a block, rows of the job that stand ``here``, what all starts tell."""
    allowed = None if job.allowed is None else job.allowed[rows]
    weights = np.ones(losses.shape) if allowed is None else allowed.astype(float)
    weights /= weights.sum(axis=1, keepdims=True)
    possible = weights > 0
    centre = nearest(len(losses), job.windows, allowed)
    everyone = np.arange(len(losses))
    every.scan.loss[here] = losses
    every.mean[here] = np.einsum("ns,nsk->nk", weights, probabilities)
    if right is not None and every.right is not None and every.probability is not None:
        classes = job.outputs.classes(outputs)
        truth = job.outputs.truth(job.y[rows])
        if job.outputs.width <= 2:
            probability = probabilities[..., -1]
        else:
            probability = probabilities[everyone, :, truth]
        every.right[here], every.probability[here] = right, probability
        kept = classes == classes[everyone, centre][:, None]
        share = np.stack(
            [(weights * (classes == k)).sum(axis=1) for k in range(max(2, job.outputs.width))]
        )
        every.agreement[here] = (share**2).sum(axis=0)
        every.wobble[here] = _span(probability, possible)
        every.flipped[here] = (~kept & possible).any(axis=1)
    else:
        calls = probabilities > 0.5
        same = calls == calls[everyone, centre][:, None]
        kept = same.all(axis=2)
        share = np.einsum("ns,nsk->nk", weights, calls)
        every.agreement[here] = (share**2 + (1 - share) ** 2).mean(axis=1)
        every.wobble[here] = _span(probabilities, possible[..., None]).mean(axis=1)
        every.flipped[here] = (~same & possible[..., None]).any(axis=1).mean(axis=1)
    every.kept[here] = kept


def _span(values: np.ndarray, possible: np.ndarray) -> np.ndarray:
    """Highest minus lowest over axis 1."""
    highest = np.where(possible, values, -np.inf).max(axis=1)
    return highest - np.where(possible, values, np.inf).min(axis=1)


def _record(
    records: Records,
    job: ScanJob,
    rows: slice,
    here: slice,
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
    records.at[here] = at.reshape(columns.shape)
    records.count[here] = needed.sum(axis=1)
    records.rows.append(probabilities[needed])


def _fingerprint(job: ScanJob, choices: Choices, about: str) -> str:
    """What tells this evaluation from another: model, examples (some of many), starts."""
    digest = hashlib.sha256(
        repr((job.windows, list(choices.chosen), tuple(job.x.shape), about)).encode()
    )
    ends = [np.asarray(job.x[rows]) for rows in (slice(0, 1000), slice(-1000, None))]
    allowed = [] if job.allowed is None else [job.allowed]
    labels = [job.y[begin : begin + _ROWS] for begin in range(0, len(job.y), _ROWS)]
    for array in (*job.model.get_weights(), *ends, *allowed, *labels, *choices.drawn.values()):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
