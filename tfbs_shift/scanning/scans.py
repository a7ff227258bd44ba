"""A model at every start of its window.

Cost of a scan: for each of N examples, what its S windows have in common once, the rest S times
(``plan_scan`` says how much that is; for a model whose layers are not known, S forward passes).
Memory beyond the inputs and the (N, S) losses: the activations of some windows, whatever N and S.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from keras import ops
from tqdm.auto import tqdm

from tfbs_shift.backend import devices
from tfbs_shift.backend.precision import checked
from tfbs_shift.errors import InputError
from tfbs_shift.models.outputs import Outputs, example_loss, input_shape, input_window
from tfbs_shift.scanning.engine import ModelAtStarts, ScanPlan
from tfbs_shift.windows import WindowRange

Tensor = Any
_BATCH_SIZE = 128


@dataclass(frozen=True, eq=False)
class ShiftScan:
    """Losses at every start.

    Attributes:
        windows: the geometry: sequence length, window, bound.
        loss: float32 (N, S), one column a start.
        allowed: bool (N, S) where spans are protected: the windows that hold the example's span;
            None where every window may be used.
        screening: what was done in bfloat16, if anything was.
    """

    windows: WindowRange
    loss: np.ndarray
    allowed: np.ndarray | None = None
    screening: Screening | None = None

    @property
    def starts(self) -> np.ndarray:
        """``int32`` (S,): where the window begins, ascending."""
        return self.windows.starts

    @property
    def shifts(self) -> np.ndarray:
        """``int32`` (S,): signed distance from the centre window, in bp."""
        return self.windows.shifts

    @property
    def worst_start(self) -> np.ndarray:
        """``int32`` (N,): the start of the highest loss, the smallest of equals."""
        return self.starts[self._worst]

    @property
    def worst_loss(self) -> np.ndarray:
        """float32 (N,): the highest loss."""
        return self.loss[np.arange(len(self.loss)), self._worst]

    @property
    def _worst(self) -> np.ndarray:
        loss = self.loss if self.allowed is None else np.where(self.allowed, self.loss, -np.inf)
        return loss.argmax(axis=1)


@dataclass(frozen=True, eq=False)
class Screening:
    """How the worst starts were found among losses computed in bfloat16.

    A start is computed again in float32 unless its bfloat16 loss, corrected by what the example's
    losses are off by on average and granted an error beyond that, stays below the example's highest
    float32 loss. The error granted is twice the largest seen, relative to ``l * (1 + |log l|)`` for
    a loss l: that is about what a relative error of the logit makes of it. So it is measured, on
    all starts computed twice (every start of about 16 examples among them), and not proved.

    Attributes:
        again: bool (N, S): the losses that are float32; the others are bfloat16.
        largest_error: the largest |bfloat16 - float32| seen.
        bound: the relative error granted, beyond the example's usual one.
        unsure: bool (N,): examples where some loss is not finite, so that nothing is guaranteed.
    """

    again: np.ndarray
    largest_error: float
    bound: float
    unsure: np.ndarray

    def __str__(self) -> str:
        count, total = int(self.again.sum()), self.again.size
        unsure = int(self.unsure.sum())
        return (
            f"{count} of {total} losses ({count / total:.1%}) computed again in float32; largest "
            f"error of bfloat16 {self.largest_error:.2g}, {self.bound:.2g} granted (relative); "
            f"{unsure} examples without guarantee"
        )


def plan_scan(
    model: keras.Model,
    sequence_length: int,
    *,
    window: int | None = None,
    max_shift: int | None = None,
    tries: int | None = None,
) -> ScanPlan:
    """What a scan of a model shares between windows, what it costs, and where sharing ends.

    Args:
        model: any Keras model with one input (B, L, channels).
        sequence_length: bases stored per example, W.
        window: the model's input length L, where that is free or not known.
        max_shift: the largest absolute shift, in bp; None: every start.
        tries: starts run for each example, where they are fewer than all.

    Returns:
        A plan: print it, or read ``plain_flops`` and ``shared_flops`` of one example, ``steps``
        and ``stem_ends``.

    Raises:
        InputError: the window does not fit the model or the sequences.

    >>> import tfbs_shift as ts
    >>> plan = ts.plan_scan(ts.models.cnn(75), 101)
    >>> plan.shared_flops < plan.plain_flops
    True
    """
    windows = WindowRange(sequence_length, input_window(model, window), max_shift)
    count = None if tries is None else min(tries, len(windows))
    return ModelAtStarts(model, windows, input_shape(model)[2] or 4, count).plan


def scan(
    model: keras.Model,
    x: Any,
    y: Any,
    *,
    window: int | None = None,
    max_shift: int | None = None,
    protect: np.ndarray | None = None,
    batch_size: int | None = None,
    precision: str = "float32",
    progress: bool = False,
) -> ShiftScan:
    """The loss of a model at every start of its window, for each example.

    Args:
        model: any Keras model (B, L, channels) -> (B, K) with one input and one output: softmax,
            one or several sigmoids, or logits if compiled with their loss.
        x: sequences (N, W, channels), W >= L, one-hot in the model's own channel order; anything
            that can be sliced (numpy, h5py, memmap): read block by block.
        y: labels: (N, K), class numbers (N,), or for one sigmoid one-hot (N, 2) as well.
        window: the model's input length L, where that is free or not known.
        max_shift: the largest absolute shift, in bp; None: every start 0..W - L.
        protect: integers (N, 2): a span of each sequence, 0-based half-open, that must stay inside
            the window (see :meth:`WindowRange.keeping`).
        batch_size: examples a block; changes speed and memory, not the losses.
        precision: "bfloat16" runs every start in it and then, in float32, every start that could
            be the worst, so that ``worst_loss`` and ``worst_start`` are those of float32; all else
            in ``loss`` is approximate (see ``screening``). Fast only where the processor multiplies
            bfloat16 itself (AMX, most GPUs).
        progress: show a bar on standard error.

    Returns:
        The losses: per example the compiled loss if the model is compiled, else categorical
        cross-entropy for a softmax, mean binary cross-entropy for sigmoids.

    Raises:
        InputError: model, window, sequences, labels or spans do not fit each other.

    >>> import tfbs_shift as ts
    >>> test = ts.data.synthetic(4, length=40)
    >>> found = ts.scan(ts.models.cnn(30), test.x, test.y)
    >>> found.loss.shape, found.shifts.tolist()
    ((8, 11), [-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5])
    """
    job = ScanJob.of(model, x, y, window=window, max_shift=max_shift, protect=protect)
    job = replace(job, precision=checked(precision))
    loss = np.empty((len(x), len(job.windows)), np.float32)
    for rows, losses, _ in job.blocks(None, batch_size, progress, predictions=False):
        loss[rows] = losses
    screening = None if precision == "float32" else _screen(job, loss, progress)
    return ShiftScan(job.windows, loss, job.allowed, screening)


@dataclass(frozen=True, eq=False)
class ScanJob:
    """A model and the examples to run it on, checked against each other."""

    model: keras.Model
    outputs: Outputs
    x: Any
    y: np.ndarray
    windows: WindowRange
    allowed: np.ndarray | None
    precision: str = "float32"

    @classmethod
    def of(
        cls,
        model: keras.Model,
        x: Any,
        y: Any,
        *,
        window: int | None,
        max_shift: int | None,
        protect: np.ndarray | None,
    ) -> ScanJob:
        """Checks everything once; arguments as in :func:`scan`."""
        if len(x.shape) != 3 or not x.shape[0]:
            raise InputError(f"sequences {tuple(x.shape)}: want (N, length, channels), N above 0")
        windows = WindowRange(int(x.shape[1]), input_window(model, window), max_shift)
        channels = input_shape(model)[2]
        if channels not in (None, x.shape[2]):
            wrong = f"sequences {tuple(x.shape)}: the model reads {channels} channels"
            if input_shape(model)[1] == x.shape[2]:
                wrong += f": its input is (batch, {x.shape[2]}, {channels}), its axes swapped?"
            raise InputError(wrong)
        allowed = None if protect is None else windows.keeping(protect)
        if allowed is not None and len(allowed) != len(x):
            raise InputError(f"{len(x)} sequences, but {len(allowed)} protected spans")
        centre = slice(windows.centre, windows.centre + windows.window)
        outputs = Outputs.of(model, np.asarray(x[:8])[:, centre])
        return cls(model, outputs, x, outputs.labels(y, len(x)), windows, allowed)

    def blocks(
        self,
        starts: np.ndarray | None,
        batch_size: int | None = None,
        progress: bool = False,
        *,
        begin: int = 0,
        end: int | None = None,
        rows: np.ndarray | None = None,
        predictions: bool = True,
    ) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Runs the model at given starts, block by block.

        Args:
            starts: ``int32`` (N, n); None: every start there is.
            batch_size: examples a block, on each of the devices that share it; None: 128.
            progress: show a bar on standard error.
            begin, end: the examples to run; None: to the last.
            rows: ascending numbers (N,) of the examples to run, with repeats; None: all.
            predictions: they are wanted, too.

        Yields:
            (rows of the block, losses (b, n), predictions (b, n, K or 0)), float32.
        """
        count = len(self.x) if rows is None else len(rows)
        size = self.rows_at_once(batch_size, count)
        tried = None if starts is None else starts.shape[1]
        run = self._compiled(tried, predictions)
        columns = [self.x, self.y]
        end = count if end is None else end
        with tqdm(total=end - begin, unit="ex", disable=not progress, desc="scan") as bar:
            for first in range(begin, end, size):
                some = slice(first, min(first + size, end))
                if rows is None:
                    block = [np.asarray(column[some]) for column in columns]
                else:
                    block = [_picked(column, rows[some]) for column in columns]
                if starts is not None:
                    block.append(starts[some])
                filled = some.stop - first
                if filled < size:  # keep one shape, so that one graph serves all blocks
                    block = [column[np.arange(size) % filled] for column in block]
                kept = ops.convert_to_numpy(run(*block))[:filled]
                bar.update(filled)
                yield some, kept[..., 0], kept[..., 1:]

    def rows_at_once(self, batch_size: int | None, count: int) -> int:
        """Rows of a block of ``blocks`` over ``count`` rows, all devices together."""
        replicas = devices.replicas()
        return replicas * min(batch_size or _BATCH_SIZE, math.ceil(count / replicas))

    def _compiled(self, tried: int | None, predictions: bool) -> Callable:
        """(x, y, starts if some are tried) -> (B, n, 1 + K or 1): losses, predictions."""
        loss, channels = self.outputs.loss, int(self.x.shape[2])
        kept = self.model.__dict__.setdefault("_tfbs_shift_scans", {})  # nothing Keras would save
        replicas = devices.replicas()
        key = (self.windows, channels, tried, self.precision, predictions, loss, replicas)
        if key not in kept:
            at_starts = ModelAtStarts(
                self.model, self.windows, channels, tried, precision=self.precision
            )

            def keep(found, y):
                losses = loss_of(loss)(found, y)
                return ops.concatenate([losses, found], axis=1) if predictions else losses

            def run(x, y, *starts):
                return at_starts(x, *starts, y=y, keep=keep)

            kept[key] = devices.compiled(run, self.model.variables)
        return kept[key]


def _picked(column: Any, rows: np.ndarray) -> np.ndarray:
    """Rows of something that can be sliced, numbers ascending, with repeats."""
    first = int(rows[0])
    return np.asarray(column[first : int(rows[-1]) + 1])[rows - first]


def loss_of(loss: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """What to ``keep`` of predictions in a :class:`ModelAtStarts`: their loss alone, (rows, 1)."""
    return lambda predictions, y: example_loss(loss, y, predictions)[:, None]


def _screen(job: ScanJob, loss: np.ndarray, progress: bool) -> Screening:
    """Replaces bfloat16 losses by float32 ones wherever a start could be the worst."""
    job = replace(job, precision="float32")
    allowed = np.ones(loss.shape, bool) if job.allowed is None else job.allowed
    rough = loss.copy()
    finite = np.maximum(np.nan_to_num(rough), 1e-7)
    scale = finite * (1 + np.abs(np.log(finite)))
    unsure = ~np.isfinite(rough).all(axis=1)
    again = np.zeros(loss.shape, bool)
    error = np.zeros(loss.shape, np.float32)  # where computed again
    # Some examples at every start, all examples at the start that looks worst: what errors are.
    wanted = np.zeros(loss.shape, bool)
    wanted[:: max(1, len(loss) // 16)] = True
    wanted[np.arange(len(loss)), np.where(allowed, rough, -np.inf).argmax(axis=1)] = True
    bound = 0.0
    while wanted.any():
        rows, columns = np.nonzero(wanted)
        starts = job.windows.starts[columns, None]
        for some, exact, _ in job.blocks(starts, None, progress, rows=rows, predictions=False):
            loss[rows[some], columns[some]] = exact[:, 0]
        again |= wanted
        unsure |= ~np.isfinite(np.where(again, loss, 0)).all(axis=1)
        error[wanted] = np.nan_to_num(loss - rough, posinf=0, neginf=0)[wanted]
        usual = error.sum(axis=1, keepdims=True) / again.sum(axis=1, keepdims=True)
        apart = np.where(again, np.abs(error - usual), 0)
        bound = max(bound, 2 * float((apart / scale).max()))
        best = np.where(again & allowed, loss, -np.inf).max(axis=1, keepdims=True)
        wanted = allowed & ~again & ~(rough + usual + bound * scale < best)
    return Screening(again, float(np.abs(error).max()), bound, unsure)


def crop(x: Tensor, starts: Tensor, windows: WindowRange) -> Tensor:
    """One window an example: (B, W, ...) and ``int32`` (B,) -> (B, L, ...), of any dtype."""
    first = ops.arange(ops.shape(x)[0], dtype="int32") * windows.length + starts
    rows = first[:, None] + ops.arange(windows.window, dtype="int32")
    return ops.take(ops.reshape(x, (-1, *x.shape[2:])), rows, axis=0)
