"""A model at many starts of its window."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from tfbs_shift.backend.computing import inference, mapped
from tfbs_shift.backend.graph import graph
from tfbs_shift.backend.precision import checked, computing_in, last_layers
from tfbs_shift.models.inputs import fed
from tfbs_shift.scanning.plans import ScanPlan, windows_at_once
from tfbs_shift.scanning.schedule import Schedule
from tfbs_shift.scanning.units import Layout, SharedTensor, View
from tfbs_shift.windows import WindowRange

Tensor = Any
Columns = dict[str, Tensor]
"""Tensors of the same examples: x (b, W, C); if some starts are run alone, those, ``int32`` (b, n),
counted from the first of the range; labels y0, y1, ... (b, ...)."""

Keep = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]
"""(every output (rows, ...), labels (rows, ...) each) -> float32 (rows, F), one row a window."""


def _first(outputs: Sequence[Tensor], labels: Sequence[Tensor]) -> Tensor:
    (only,) = outputs
    return only


_BYTES = 64 * 2**20  # of activations at once
_WINDOWS = 128  # at once, for a model whose layers are not known


@dataclass(frozen=True, eq=False)
class _Kept:
    """What is kept of the outputs of some windows, whose labels may move with them."""

    keep: Keep
    moving: Sequence[int | None]
    windows: WindowRange

    def __call__(
        self, outputs: Sequence[Tensor], labels: Sequence[Tensor], starts: Tensor
    ) -> Tensor:
        """Of outputs (b * m, ...), labels (b, ...) and starts (b, m) from the range's first."""
        starts = starts + self.windows.first
        of_rows = [
            ops.repeat(y, starts.shape[1], axis=0)
            if length is None
            else windows_at(y, starts, length)
            for y, length in zip(labels, self.moving, strict=True)
        ]
        return self.keep(outputs, of_rows)


def windows_at(y: Tensor, starts: Tensor, length: int) -> Tensor:
    """Rows s .. s + length of each example for each of its starts s.

    Args:
        y: (b, T, ...).
        starts: ``int32`` (b, m), 0 .. T - length.

    Returns:
        (b * m, length, ...), all of the first example, then all of the next.
    """
    example = ops.arange(ops.shape(y)[0], dtype="int32")[:, None] * y.shape[1]
    at = ops.reshape(starts + example, (-1, 1)) + ops.arange(length, dtype="int32")
    return ops.take(ops.reshape(y, (-1, *y.shape[2:])), at, axis=0)


class ModelAtStarts:
    """The predictions of a model at several starts of its window.

    What neighbouring windows have in common is computed once an example (``plan`` says what that
    is); the rest is run for blocks of windows whose activations fit a budget, so that the memory
    does not grow with the number of examples or starts. All of that is decided here, from shapes:
    no layer is run before a call.

    Args:
        model: any Keras model (B, L, C) -> predictions, one output or several.
        windows: the geometry.
        channels: C.
        count: starts run for each example; None: all there are.
        precision: "bfloat16" lets the layers of a float32 model compute in it, but not its last.

    Raises:
        InputError: an unknown precision.
    """

    def __init__(
        self,
        model: keras.Model,
        windows: WindowRange,
        channels: int,
        count: int | None = None,
        *,
        precision: str = "float32",
    ):
        self.model = model
        self.precision = checked(precision)
        self.windows = windows
        self._sequence = Layout(len(windows), windows.window, channels)
        count = count or len(windows)
        known = graph(model)
        self._schedule = None if known is None else Schedule.of(known, self._sequence, count)
        self.plan = _plan(model, windows, count, self._schedule)

    def __call__(
        self,
        x: Tensor,
        starts: Tensor | None = None,
        *,
        labels: Sequence[Tensor] = (),
        keep: Keep = _first,
        moving: Sequence[int | None] = (),
    ) -> Tensor:
        """Runs the model.

        Args:
            x: sequences (B, W, C).
            starts: ``int32`` (B, n); None: every start.
            labels: (B, ...) each, for ``keep``.
            keep: what is kept of the predictions of some windows, each with its example's labels;
                default: the only output, (rows, K).
            moving: for each of the labels, if they are (B, P + slack, ...) and move with the
                window, P: that which starts at s has rows s .. s + P of them. None: they stay.

        Returns:
            What is kept, float32 (B, n, F).
        """
        policy = self.precision if self.precision == "float32" else f"mixed_{self.precision}"
        in_policy = computing_in(self.model, policy, but=last_layers(self.model))
        with in_policy, inference(self.model):
            prepared = [] if self._schedule is None else self._schedule.prepared_weights()
            columns = {"x": ops.cast(x, self.model.compute_dtype)}
            if starts is not None:
                columns["starts"] = starts - self.windows.first
            columns |= {f"y{i}": y for i, y in enumerate(labels)}
            lengths = [*moving, *[None] * len(labels)][: len(labels)]
            return self._run(columns, prepared, _Kept(keep, lengths, self.windows))

    def _run(self, columns: Columns, prepared: Sequence[Any], keep: _Kept) -> Tensor:
        """All B examples, a block of b at a time: float32 (B, n, F)."""
        x = columns["x"]
        count = columns["starts"].shape[1] if "starts" in columns else len(self.windows)  # n
        at_once, starts_at_once = self._block_sizes(count)
        batch = ops.shape(x)[0]  # B, a number where the backend knows it
        blocks = (batch + at_once - 1) // at_once
        at_once = (batch + blocks - 1) // blocks  # b: blocks of equal size
        if x.shape[0] is not None and blocks == 1:
            return self._run_block(columns, prepared, keep, starts_at_once)
        # (blocks * b,): the last example fills the last block up
        numbers = ops.minimum(ops.arange(blocks * at_once), batch - 1)
        names = list(columns)
        blocked = tuple(  # each (blocks, b, ...)
            ops.reshape(ops.take(column, numbers, axis=0), (blocks, at_once, *column.shape[1:]))
            for column in columns.values()
        )

        def run(block: tuple[Tensor, ...]) -> Tensor:  # each (b, ...) -> (b, n, F)
            named = dict(zip(names, block, strict=True))
            return self._run_block(named, prepared, keep, starts_at_once)

        result = mapped(run, blocked, "float32")  # (blocks, b, n, F)
        return ops.reshape(result, (-1, count, result.shape[-1]))[:batch]

    def _block_sizes(self, count: int) -> tuple[int, int]:
        """(examples at once, starts at once), for so many starts of each example."""
        windows = self.plan.rows
        if count <= windows:
            return max(1, windows // count), count
        blocks = math.ceil(count / windows)
        return 1, math.ceil(count / blocks)

    def _run_block(
        self, columns: Columns, prepared: Sequence[Any], keep: _Kept, at_once: int
    ) -> Tensor:
        """A block of b examples, m = ``at_once`` of its n starts at a time: float32 (b, n, F)."""
        x, starts = columns["x"], columns.get("starts")
        of_examples = [column for name, column in columns.items() if name.startswith("y")]
        predictions = self._shared(x, prepared)
        whole = starts is None
        if starts is None:
            starts = ops.arange(len(self.windows), dtype="int32")
            starts = ops.broadcast_to(starts, (ops.shape(x)[0], len(self.windows)))  # (b, n)

        def run(starts: Tensor, whole: bool) -> Tensor:  # (b, m) -> (b * m, F)
            outputs = [ops.cast(one, "float32") for one in predictions(View(starts, whole))]
            return keep(outputs, of_examples, starts)

        count = starts.shape[1]  # n
        if at_once >= count:
            result = run(starts, whole)  # (b * n, F)
            return ops.reshape(result, (-1, count, result.shape[-1]))
        blocks = math.ceil(count / at_once)
        numbers = [min(i, count - 1) for i in range(blocks * at_once)]  # the last fills up
        starts = ops.reshape(ops.take(starts, numbers, axis=1), (-1, blocks, at_once))
        starts = ops.swapaxes(starts, 0, 1)  # (blocks, b, m)
        results = mapped(lambda block: run(block, False), starts, "float32")
        width = results.shape[-1]  # results: (blocks, b * m, F)
        results = ops.swapaxes(ops.reshape(results, (blocks, -1, at_once, width)), 0, 1)
        return ops.reshape(results, (-1, blocks * at_once, width))[:, :count]

    def _shared(self, x: Tensor, prepared: Sequence[Any]) -> Callable[[View], list[Tensor]]:
        """Computes what the windows of x (b, W, C) share.

        Returns:
            Computes the predictions of some of them, (rows, ...) of each output.
        """
        first = self.windows.first
        dense = x[:, first : first + self._sequence.dense_length]
        sequence = SharedTensor(self._sequence, dense)
        if self._schedule is None:
            return lambda view: keras.tree.flatten(
                self.model(fed(self.model, view.windows(sequence)), training=False)
            )
        return self._schedule.share(sequence, prepared).predictions


def _plan(
    model: keras.Model, windows: WindowRange, starts: int, schedule: Schedule | None
) -> ScanPlan:
    name = getattr(model, "name", "model")
    if schedule is None:
        fallback = (
            "its layers are not known: it is no functional or Sequential model, "
            "or its class has a call of its own"
        )
        rows = windows_at_once(windows.window, _WINDOWS)
        return ScanPlan(name, windows, starts, (), rows, fallback)
    at_once = _windows_at_once(schedule.activations)
    if any(step.kind == "TorchModuleWrapper" for step in schedule.steps):
        at_once = min(
            at_once, windows_at_once(windows.window, _WINDOWS)
        )  # the module's own layers are not known
    return ScanPlan(name, windows, starts, schedule.steps, at_once)


def _windows_at_once(activations: int) -> int:
    """How many windows to run at once, of so many numbers each."""
    return min(max(_BYTES // (4 * max(1, activations)), 16), 4096)
