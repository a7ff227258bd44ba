"""Runs a model where the strategies want it, and keeps what was seen of each example."""

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

from tfbs_shift.data.columns import digest_enough
from tfbs_shift.evaluation.curves import chunks, highest_within, radii
from tfbs_shift.evaluation.settings import Execution
from tfbs_shift.files import GrowingRows, Workspace, forget, rows_done
from tfbs_shift.scanning.jobs import ScanJob
from tfbs_shift.scanning.scans import ShiftScan
from tfbs_shift.strategies import ShiftStrategy
from tfbs_shift.tasks import Unlabelled
from tfbs_shift.tasks.base import Columns
from tfbs_shift.tasks.losses import described_loss, is_of_keras
from tfbs_shift.windows import nearest

_ROWS = 2**14
"""Labels hashed at once."""
_FRACTION = 2**12
"""Steps in a number's last factor of two that tell one function from another."""
_POLL = 2.0
"""Seconds between two looks at what other hosts have done."""


@dataclass(frozen=True, eq=False)
class Records:
    """Scores of the few starts that curves need.

    Curve 0 is that of the highest loss within r bp, curve d > 0 that of the d-th random shift. The
    random shifts of an example are nested: that of r is the start of highest priority within r.

    Attributes:
        rows: float32 (M, ``task.scored``), the starts of example 0, then those of example 1, ...
        count: (N,) how many an example has: about ln S a curve.
        at: (N, 1 + D, R + 1): which of its example's rows.
    """

    rows: GrowingRows
    count: np.ndarray
    at: np.ndarray

    def scores(self, curve: int, r: int) -> np.ndarray:
        """float32 (N, ``task.scored``) at the start that a curve takes within r bp."""
        first = np.cumsum(self.count, dtype=np.int64) - self.count
        return self.rows.all()[first + self.at[:, curve, r]]


@dataclass(frozen=True, eq=False)
class Observations:
    """What was seen of each example, in named columns.

    Attributes:
        chosen: for each strategy its ``start`` ``int32`` (N,), and there the ``loss`` float32 (N,),
            the task's columns (N,), and its ``scores`` float32 (N, ``task.scored``), if it has any.
        every: if every start was run, ``loss`` float32 (N, S), the task's columns and its columns
            of all, (N, S) each; else empty.
        over: if so, what all starts of an example together tell, float32: the task's summaries
            (N,), and ``mean`` and ``variance`` (N, K) of the prediction over starts.
        records: if so, and if the task has scores, those that curves need.
    """

    chosen: dict[str, Columns]
    every: Columns
    over: Columns
    records: Records | None

    def scan(self, job: ScanJob) -> ShiftScan | None:
        """The losses at every start, if all were run."""
        return ShiftScan(job.windows, self.every["loss"], job.allowed) if self.every else None


class Choices:
    """Where a model is to be run, and which of those starts each strategy takes.

    Args:
        job: model and examples.
        strategies: by name; draws are made now.

    Attributes:
        drawn: candidates ``int32`` (N, n) of the strategies that do not try every start.
        wanted: starts to run, ``int32`` (N, m); None: every start there is.
    """

    def __init__(self, job: ScanJob, strategies: Mapping[str, ShiftStrategy]):
        self.job, self.strategies = job, strategies
        windows, count = job.windows, len(job.x)
        self.drawn = {
            name: one.draw(count, windows, job.allowed)
            for name, one in strategies.items()
            if not one.tries_every_start(windows)
        }
        self.wanted: np.ndarray | None = None
        if len(self.drawn) == len(strategies):
            also = sorted({int(s) for one in strategies.values() for s in one.also(windows)})
            also_run = np.broadcast_to(np.array(also, np.int32), (count, len(also)))
            self.wanted = np.concatenate([*self.drawn.values(), also_run], axis=1)

    def at(self, rows: slice, losses: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """(name of a strategy, its starts (b,), their columns (b,)) from losses (b, m)."""
        windows = self.job.windows
        if self.wanted is None:
            run = np.broadcast_to(windows.starts, losses.shape)
        else:
            run = self.wanted[rows]
        column_at = 0
        for name, one in self.strategies.items():
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

    def columns(
        self, rows: slice, losses: np.ndarray, predictions: np.ndarray
    ) -> tuple[Columns, np.ndarray, dict[str, Columns]]:
        """What a block says at every start that was run, and at the one each strategy takes.

        Args:
            rows: of the job.
            losses: (b, m).
            predictions: (b, m, K).

        Returns:
            columns (b, m); scores (b, m, ``task.scored``); and for each strategy ``start``, the
            same columns (b,), and ``scores`` (b, ``task.scored``) if the task has any.
        """
        task, everyone = self.job.task, np.arange(len(losses))
        columns = {"loss": losses, **task.at_starts(predictions, self.job.y[rows])}
        scores = task.scores(predictions)
        chosen = {}
        for name, start, column in self.at(rows, losses):
            there = {key: values[everyone, column] for key, values in columns.items()}
            if task.scored:
                there["scores"] = scores[everyone, column]
            chosen[name] = {"start": start, **there}
        return columns, scores, chosen


def run(
    job: ScanJob,
    strategies: Mapping[str, ShiftStrategy],
    *,
    seed: int,
    draws: int,
    execution: Execution,
) -> Observations | None:
    """Runs the model where the strategies want it, into memory or a folder's files.

    Several hosts fill a part each, in a folder of its own there; the first one waits for the others
    and joins the parts. None of them needs to know how the others do.

    Args:
        job: model and examples.
        strategies: by name.
        seed, draws: of the random curves of statistics.
        execution: how.

    Returns:
        What was seen; None on other hosts than the first.
    """
    choices = Choices(job, strategies)
    count, folder, (index, hosts) = len(job.x), execution.folder, execution.host
    fingerprint = "" if folder is None else _fingerprint(job, choices, repr((seed, draws)))

    def laid_out(work: Workspace, part: slice) -> Observations:
        return _laid_out(job, choices, work, draws, part)

    def filled(folder: Path | None, part: slice) -> Observations:
        work = Workspace(folder, fingerprint)
        seen = laid_out(work, part)
        _fill(seen, job, choices, work, part, seed, execution)
        return seen

    everything = slice(0, count)
    if folder is None or hosts == 1:
        return filled(folder, everything)
    if rows_done(folder, fingerprint) == count:
        return None if index else laid_out(Workspace(folder, fingerprint), everything)
    parts = {
        folder / f"host-{i}-of-{hosts}": part
        for i, part in enumerate(
            _parts(count, job.rows_at_once(execution.batch_size, count), hosts)
        )
        if part.start < part.stop
    }
    own = folder / f"host-{index}-of-{hosts}"
    if own in parts:
        filled(own, parts[own])
    if index:
        return None
    _wait(parts, fingerprint)
    forget(folder)  # what one host alone had begun
    work = Workspace(folder, fingerprint)
    whole = laid_out(work, everything)
    for path, part in parts.items():
        _join(whole, laid_out(Workspace(path, fingerprint), part), part)
    work.record(count, last=True)
    for path in parts:
        shutil.rmtree(path)
    return whole


def _parts(count: int, block: int, hosts: int) -> list[slice]:
    """The rows of each host: whole blocks, so that a row stands in its block where it always does.

    Where it stands moves the last bits of its predictions.
    """
    blocks = math.ceil(count / block)
    ends = [min(blocks * i // hosts * block, count) for i in range(hosts + 1)]
    return [slice(*pair) for pair in itertools.pairwise(ends)]


def _wait(parts: Mapping[Path, slice], fingerprint: str) -> None:
    """Returns when the workspace of each part is filled."""
    announced: list[str] = []
    while True:
        missing = [
            folder.name
            for folder, part in parts.items()
            if rows_done(folder, fingerprint) < part.stop - part.start
        ]
        if not missing:
            return
        if missing != announced:
            print(f"waiting for {', '.join(missing)}", file=sys.stderr, flush=True)
            announced = missing
        time.sleep(_POLL)


def _laid_out(
    job: ScanJob, choices: Choices, work: Workspace, draws: int, part: slice
) -> Observations:
    """Room for what is seen of some rows, or what was seen of them before."""
    count, task = part.stop - part.start, job.task

    def room(types: Mapping[str, type], *shape: int, of: str = "") -> Columns:
        return {
            name: work.array(f"{name}{of}", (count, *shape), kind) for name, kind in types.items()
        }

    chosen = {
        name: room({"start": np.int32, "loss": np.float32, **task.columns}, of=f"_{name}")
        for name in choices.strategies
    }
    if task.scored:
        for name, columns in chosen.items():
            path = f"predictions_{name}"
            columns["scores"] = work.array(path, (count, task.scored), np.float32)
    if choices.wanted is not None:
        return Observations(chosen, {}, {}, None)
    types = {"loss": np.float32, **task.columns, **task.columns_of_all}
    every = room(types, len(job.windows))
    over = room(dict.fromkeys(task.summaries, np.float32))
    over |= room({"mean": np.float32, "variance": np.float32}, task.width)
    records = None
    if task.scored:
        number = work.array("record_count", (count,), np.int32)
        shape = (count, 1 + draws, len(radii(job.windows)))
        at = work.array("record_at", shape, np.uint16)
        done = int(number[: work.done].sum(dtype=np.int64))
        records = Records(work.growing("records", task.scored, done), number, at)
    return Observations(chosen, every, over, records)


def _join(whole: Observations, seen: Observations, part: slice) -> None:
    """Copies what was seen of some rows."""
    pairs = [(whole.every, seen.every), (whole.over, seen.over)]
    pairs += [(columns, seen.chosen[name]) for name, columns in whole.chosen.items()]
    for into, columns in pairs:
        for name, values in columns.items():
            into[name][part] = values
    if whole.records is not None and seen.records is not None:
        whole.records.count[part], whole.records.at[part] = seen.records.count, seen.records.at
        rows = seen.records.rows.all()
        for block in chunks(len(rows)):
            whole.records.rows.append(rows[block])


def _fill(
    seen: Observations,
    job: ScanJob,
    choices: Choices,
    work: Workspace,
    part: slice,
    seed: int,
    execution: Execution,
) -> None:
    """Runs the model for those of some rows that are not done yet."""
    begin = part.start + work.done
    for rows, losses, predictions in job.blocks(
        choices.wanted, execution.batch_size, execution.progress, begin=begin, end=part.stop
    ):
        here = slice(rows.start - part.start, rows.stop - part.start)
        job.check_finite(losses, rows.start)
        columns, scores, chosen = choices.columns(rows, losses, predictions)
        for name, there in chosen.items():
            _put(seen.chosen[name], there, here)
        if seen.every:
            over = _over_starts(job, rows, columns, predictions)
            _put(seen.every, {**columns, **over}, here)
            _put(seen.over, over, here)
        if seen.records is not None:
            _record(seen.records, job, rows, here, losses, scores, seed)
        work.record(here.stop, last=rows.stop == part.stop)


def _put(into: Columns, columns: Columns, here: slice) -> None:
    for name, values in into.items():
        values[here] = columns[name]


def _over_starts(job: ScanJob, rows: slice, columns: Columns, predictions: np.ndarray) -> Columns:
    """What all starts together tell of the examples of a block, and their mean prediction."""
    allowed = None if job.allowed is None else job.allowed[rows]
    weights = np.ones(predictions.shape[:2]) if allowed is None else allowed.astype(float)
    weights /= weights.sum(axis=1, keepdims=True)
    centre = nearest(len(predictions), job.windows, allowed)
    over = job.task.over_starts(predictions, columns, weights, centre)
    outputs = job.task.outputs(predictions)
    mean = np.einsum("ns,nsk->nk", weights, outputs)
    variance = np.einsum("ns,nsk->nk", weights, (outputs - mean[:, None]) ** 2)
    return {**over, "mean": mean, "variance": variance}


def _record(
    records: Records,
    job: ScanJob,
    rows: slice,
    here: slice,
    losses: np.ndarray,
    scores: np.ndarray,
    seed: int,
) -> None:
    """Keeps of a block, rows of the job that stand ``here``, the scores that curves need."""
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
    records.rows.append(scores[needed])


def _fingerprint(job: ScanJob, choices: Choices, about: str) -> str:
    """What tells this evaluation from another: model, examples, starts."""
    output, losses = job.judged.output, [one.loss for one in job.judged.loss.losses]
    which = getattr(output.which, "__qualname__", output.which)
    known = (
        job.task.asked(),
        (which, output.positions, list(map(described_loss, losses))),
        job.windows,
        list(choices.strategies),
        tuple(job.x.shape),
        getattr(job.x, "alphabet", ""),
        about,
    )
    digest = hashlib.sha256(repr(known).encode())
    digest_enough(getattr(job.x, "codes", job.x), digest)
    allowed = [] if job.allowed is None else [job.allowed]
    labels = [job.y[begin : begin + _ROWS] for begin in range(0, len(job.y), _ROWS)]
    if isinstance(job.task, Unlabelled):
        labels = []  # the model's own predictions, which a GPU may round differently each time
    state = list(job.predictor.state())
    if job.judged.on_host or not state or not all(map(is_of_keras, losses)):
        state += map(_rounded, job.few())  # a function is known by what it says
    args = [np.asarray(arg) for arg in job.predictor.args]
    for array in (*state, *args, *allowed, *labels, *choices.drawn.values()):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _rounded(values: np.ndarray) -> np.ndarray:
    """Numbers to three digits: a GPU may round the last ones differently each time."""
    fraction, exponent = np.frexp(values)
    return np.ldexp(np.round(fraction * _FRACTION) / _FRACTION, exponent)
