"""A model at every start of its window.

Cost of a scan: N * S forward passes of the model, S = number of starts. Memory beyond the inputs
and the (N, S) losses: the activations of ``batch_size`` windows for each core that runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops
from tqdm.auto import tqdm

from tfbs_shift.backend import compiled
from tfbs_shift.errors import InputError
from tfbs_shift.models.outputs import Outputs, example_loss, input_shape, input_window
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
    """

    windows: WindowRange
    loss: np.ndarray
    allowed: np.ndarray | None = None

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


def scan(
    model: keras.Model,
    x: Any,
    y: Any,
    *,
    window: int | None = None,
    max_shift: int | None = None,
    protect: np.ndarray | None = None,
    batch_size: int | None = None,
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
        progress: show a bar on standard error.

    Returns:
        The losses: per example the compiled loss if the model is compiled, else categorical
        cross-entropy for a softmax, mean binary cross-entropy for sigmoids.

    Raises:
        InputError: model, window, sequences, labels or spans do not fit each other.
    """
    job = ScanJob.of(model, x, y, window=window, max_shift=max_shift, protect=protect)
    loss = np.empty((len(x), len(job.windows)), np.float32)
    for rows, losses, _ in job.blocks(job.windows.starts, batch_size, progress):
        loss[rows] = losses
    return ShiftScan(job.windows, loss, job.allowed)


@dataclass(frozen=True, eq=False)
class ScanJob:
    """A model and the examples to run it on, checked against each other."""

    model: keras.Model
    outputs: Outputs
    x: Any
    y: np.ndarray
    windows: WindowRange
    allowed: np.ndarray | None

    @classmethod
    def of(
        cls,
        model: keras.Model,
        x: Any,
        y: np.ndarray,
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
            raise InputError(f"sequences {tuple(x.shape)}: the model reads {channels} channels")
        allowed = None if protect is None else windows.keeping(protect)
        if allowed is not None and len(allowed) != len(x):
            raise InputError(f"{len(x)} sequences, but {len(allowed)} protected spans")
        centre = slice(windows.centre, windows.centre + windows.window)
        outputs = Outputs.of(model, np.asarray(x[:8])[:, centre])
        return cls(model, outputs, x, outputs.labels(y, len(x)), windows, allowed)

    def blocks(
        self,
        starts: np.ndarray,
        batch_size: int | None = None,
        progress: bool = False,
        *,
        begin: int = 0,
    ) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Runs the model at given starts, block by block.

        Args:
            starts: ``int32`` (n,) for all examples or (N, n).
            batch_size: examples a block; None: 128.
            progress: show a bar on standard error.
            begin: the first example; those before it are done.

        Yields:
            (rows of the block, losses (b, n), predictions (b, n, K)), float32.
        """
        count = len(self.x)
        size = min(batch_size or _BATCH_SIZE, count)
        starts = np.broadcast_to(starts, (count, starts.shape[-1]))

        def run(x, y, starts):
            def one(windows):
                predictions = ops.cast(self.model(windows, training=False), "float32")
                return example_loss(self.outputs.loss, y, predictions), predictions

            return at_starts(one, ops.cast(x, self.model.compute_dtype), starts, self.windows)

        run = compiled(run)
        bar = tqdm(total=count, initial=begin, unit="ex", disable=not progress, desc="scan")
        with bar:
            for first in range(begin, count, size):
                rows = slice(first, min(first + size, count))
                block = [np.asarray(column[rows]) for column in (self.x, self.y, starts)]
                filled = rows.stop - first
                if filled < size:  # keep one shape, so that one graph serves all blocks
                    block = [column[np.arange(size) % filled] for column in block]
                losses, predictions = run(*map(ops.convert_to_tensor, block))
                bar.update(filled)
                yield (
                    rows,
                    ops.convert_to_numpy(losses)[:filled],
                    ops.convert_to_numpy(predictions)[:filled],
                )


def at_starts(
    function: Callable[[Tensor], Any], x: Tensor, starts: Tensor, windows: WindowRange
) -> Any:
    """``function`` of the windows at each of several starts, one start after the other.

    Args:
        function: (B, L, C) -> tensors (B, ...).
        x: sequences (B, W, C).
        starts: ``int32`` (B, n).
        windows: the geometry of x.

    Returns:
        What ``function`` returns, with an axis n after the first: (B, n, ...). The memory is that
        of B windows for each core that runs, whatever n.
    """
    if starts.shape[1] == 1:
        results = function(crop(x, starts[:, 0], windows))
        return keras.tree.map_structure(lambda result: ops.expand_dims(result, 1), results)
    results = ops.map(lambda column: function(crop(x, column, windows)), ops.transpose(starts))
    return keras.tree.map_structure(lambda result: ops.swapaxes(result, 0, 1), results)


def crop(x: Tensor, starts: Tensor, windows: WindowRange) -> Tensor:
    """One window an example: (B, W, C) and ``int32`` (B,) -> (B, L, C), of any dtype."""
    batch, channels = ops.shape(x)[0], x.shape[2]
    first = ops.arange(batch, dtype="int32") * windows.length + starts
    rows = first[:, None] + ops.arange(windows.window, dtype="int32")
    return ops.take(ops.reshape(x, (-1, channels)), rows, axis=0)
