"""Tensors that overlapping windows share.

A convolution or a pool turns a window into *units* along the sequence. Unit p of the window that
starts at s sees the bases around s + r * p, r the product of the strides so far. Unless padding
reaches it, it depends on the sequence alone: all windows share one *dense* tensor, and unit p of
window s lies at index s + r * (p - left) of it, ``left`` the number of units at the window's left
edge that its own padding changes. Those, and the ones at the right edge, are computed for each
window: its borders.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras import ops

Tensor = Any


@dataclass(frozen=True)
class Layout:
    """Where the units of all windows lie: everything about a shared tensor but its numbers.

    Attributes:
        windows: windows in the range.
        units: units of one window.
        channels: C.
        stride: bases from one unit to the next, r.
        left, right: units at either edge that each window has of its own: its borders.
    """

    windows: int
    units: int
    channels: int
    stride: int = 1
    left: int = 0
    right: int = 0

    @property
    def borders(self) -> int:
        """Units of a window that do not lie in the dense tensor."""
        return self.left + self.right

    @property
    def interior(self) -> int:
        """Units of a window that do."""
        return self.units - self.borders

    @property
    def dense_length(self) -> int:
        """Positions of the dense tensor."""
        return self.windows + self.stride * (self.interior - 1)


Border = Callable[["View", int, int], Tensor]
"""Computes a border of some windows, units begin..end of each: (view, begin, end) ->
(rows, end - begin, C). It is asked for a whole border at once, and only where there is one."""


def no_border(view: View, begin: int, end: int) -> Tensor:
    """The border of a layout that has none."""
    raise AssertionError("no units")


@dataclass(frozen=True, eq=False)
class SharedTensor:
    """A tensor of all windows of some examples, with what they have in common held once.

    Attributes:
        layout: where its units lie.
        dense: (B, layout.dense_length, C): unit ``layout.left`` of the first window comes first.
        border: computes the units at the edges.
    """

    layout: Layout
    dense: Tensor
    border: Border = no_border


class View:
    """Some windows of each example: what a step that is run for each window gets.

    Tensors have one row a window, B * m rows: all of the first example, then all of the next.

    Args:
        starts: ``int32`` (B, m), from 0 for the first window of the range.
        whole: they are all there are, in order, so that nothing need be picked.
    """

    def __init__(self, starts: Tensor, whole: bool):
        self.starts = starts
        self.whole = whole
        self.batch, self.count = ops.shape(starts)[0], starts.shape[1]
        self._cache: dict[tuple[int, int, int], tuple[SharedTensor, Tensor]] = {}

    @property
    def rows(self) -> Tensor:
        """B * m."""
        return self.batch * self.count

    def at_starts(self, dense: Tensor) -> Tensor:
        """One vector a start: (B, windows, ...) -> (B * m, ...)."""
        if not self.whole:
            dense = _picked(dense, self.starts)
        return ops.reshape(dense, (-1, *dense.shape[2:]))

    def units(self, x: SharedTensor, begin: int, end: int, fill: float = 0.0) -> Tensor:
        """Units begin..end of each window, (B * m, end - begin, C); outside it, ``fill``."""
        parts, layout = [], x.layout
        inner, outer = layout.left, layout.units - layout.right  # begin and end of the interior
        if begin < 0:
            parts.append(self._filled(x, min(end, 0) - begin, fill))
        for lowest, highest in ((0, inner), (inner, outer), (outer, layout.units)):
            first, last = max(begin, lowest), min(end, highest)
            if first >= last:
                continue
            if lowest == inner:
                parts.append(self._interior(x, first - inner, last - first))
            else:
                border = self._once(x, lowest, highest, x.border)
                parts.append(stretch(border, first - lowest, last - first))
        if end > layout.units:
            parts.append(self._filled(x, end - max(begin, layout.units), fill))
        if len(parts) == 1:
            return parts[0]
        return ops.concatenate(parts, axis=1) if parts else self._filled(x, 0, fill)

    def unit(self, x: SharedTensor, p: Tensor) -> Tensor:
        """Unit p of each window, (B * m, C), p a tensor; x has no borders."""
        at = ops.reshape(self.starts + x.layout.stride * p, (self.batch, self.count))
        return ops.reshape(_picked(x.dense, at), (-1, x.dense.shape[2]))

    def windows(self, x: SharedTensor) -> Tensor:
        """Whole windows, (B * m, units, C)."""
        return self._once(x, 0, x.layout.units, lambda view, begin, end: view.units(x, begin, end))

    def _once(self, x: SharedTensor, begin: int, end: int, compute: Border) -> Tensor:
        key = (id(x), begin, end)  # x is held, so that its identity stays its own
        if key not in self._cache:
            self._cache[key] = (x, compute(self, begin, end))
        return self._cache[key][1]

    def _interior(self, x: SharedTensor, first: int, count: int) -> Tensor:
        numbers = ops.arange(first, first + count, dtype="int32")
        at = self.starts[..., None] + x.layout.stride * numbers  # (B, m, count)
        at = ops.reshape(at, (self.batch, self.count * count))
        return ops.reshape(_picked(x.dense, at), (-1, count, x.dense.shape[2]))

    def _filled(self, x: SharedTensor, count: int, fill: float) -> Tensor:
        return ops.full((self.rows, count, x.dense.shape[2]), fill, x.dense.dtype)


def _picked(dense: Tensor, at: Tensor) -> Tensor:
    """Positions of each example: (B, T, ...) and ``int32`` (B, n) -> (B, n, ...)."""
    batch, length = ops.shape(dense)[0], dense.shape[1]
    at = at + length * ops.arange(batch, dtype="int32")[:, None]
    return ops.take(ops.reshape(dense, (-1, *dense.shape[2:])), at, axis=0)


def stretch(x: Tensor, first: int, count: int) -> Tensor:
    """Positions first .. first + count of (B, T, ...)."""
    return x if (first, count) == (0, x.shape[1]) else x[:, first : first + count]
