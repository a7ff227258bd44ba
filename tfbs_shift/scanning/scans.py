"""A model at every start of its window.

Cost of a scan: for each of N examples, what its S windows have in common once, the rest S times
(``plan_scan`` says how much that is; for a model whose layers are not known, S forward passes).
Memory beyond the inputs and the (N, S) losses: the activations of some windows, whatever N and S.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from keras import ops

from tfbs_shift.backend.precision import checked
from tfbs_shift.scanning.jobs import ScanJob
from tfbs_shift.scanning.plans import ScanPlan
from tfbs_shift.scanning.predictors import Request, predictor
from tfbs_shift.scanning.screening import Screening, screen
from tfbs_shift.windows import WindowRange

Tensor = Any


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
    one = predictor(model)
    windows = WindowRange(sequence_length, one.window(window), max_shift)
    count = None if tries is None else min(tries, len(windows))
    return one.plan(Request(windows, one.channels or 4, count))


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
    screening = None if precision == "float32" else screen(job, loss, progress)
    return ShiftScan(job.windows, loss, job.allowed, screening)


def crop(x: Tensor, starts: Tensor, windows: WindowRange) -> Tensor:
    """One window an example: (B, W, ...) and ``int32`` (B,) -> (B, L, ...), of any dtype."""
    first = ops.arange(ops.shape(x)[0], dtype="int32") * windows.length + starts
    rows = first[:, None] + ops.arange(windows.window, dtype="int32")
    return ops.take(ops.reshape(x, (-1, *x.shape[2:])), rows, axis=0)
