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
from operator import add
from typing import Any

from keras import ops

Tensor = Any


@dataclass(frozen=True, eq=False)
class Border:
    """The units at one edge of each window: how many, and how to compute them for some windows."""

    units: int
    of: Callable[[View], Tensor]  # -> (rows, units, C)


def _nothing(view: View) -> Tensor:
    raise AssertionError("no units")


NO_BORDER = Border(0, _nothing)


@dataclass(frozen=True, eq=False)
class Shared:
    """A tensor of all windows, with what they have in common held once.

    Attributes:
        dense: (B, starts + stride * (interior - 1), C): unit ``left.units`` of the first window
            comes first.
        units: units of one window.
        stride: bases from one unit to the next, r.
        left, right: the borders.
    """

    dense: Tensor
    units: int
    stride: int = 1
    left: Border = NO_BORDER
    right: Border = NO_BORDER

    @property
    def interior(self) -> int:
        """Units of a window that lie in the dense tensor."""
        return self.units - self.left.units - self.right.units

    @property
    def borders(self) -> int:
        """Units of a window that do not."""
        return self.left.units + self.right.units

    @property
    def channels(self) -> int:
        """C."""
        return self.dense.shape[2]


class View:
    """Some windows of each example: what a step that is run for each window gets.

    Args:
        starts: ``int32`` (B, m), from 0 for the first window of the range.
        whole: they are all there are, in order, so that nothing need be picked.
    """

    def __init__(self, starts: Tensor, whole: bool):
        self.starts = starts
        self.whole = whole
        self.batch, self.count = ops.shape(starts)[0], starts.shape[1]
        self._cache: dict[int, tuple[Any, Tensor]] = {}

    def at_starts(self, dense: Tensor) -> Tensor:
        """One vector a start: (B, starts, ...) -> (B * m, ...)."""
        if not self.whole:
            dense = _rows(dense, self.starts)
        return ops.reshape(dense, (-1, *dense.shape[2:]))

    def units(self, x: Shared, begin: int, end: int, fill: float = 0.0) -> Tensor:
        """Units begin..end of each window, (B * m, end - begin, C); outside it, ``fill``."""
        parts = []
        limits = (0, x.left.units, x.units - x.right.units, x.units)
        if begin < 0:
            parts.append(self._fill(x, min(end, 0) - begin, fill))
        for k, border in enumerate((x.left, None, x.right)):
            first, last = max(begin, limits[k]), min(end, limits[k + 1])
            if first < last:
                if border is None:
                    parts.append(self._interior(x, first - limits[1], last - first))
                else:
                    units = self._border(border)
                    parts.append(stretch(units, first - limits[k], last - first))
        if end > x.units:
            parts.append(self._fill(x, end - max(begin, x.units), fill))
        if len(parts) == 1:
            return parts[0]
        return ops.concatenate(parts, axis=1) if parts else self._fill(x, 0, fill)

    def unit(self, x: Shared, p: Tensor) -> Tensor:
        """Unit p of each window, (B * m, C), p a tensor; x has no borders."""
        at = ops.reshape(self.starts + x.stride * p, (self.batch, self.count))
        return ops.reshape(_rows(x.dense, at), (-1, x.channels))

    def windows(self, x: Shared) -> Tensor:
        """Whole windows, (B * m, units, C)."""
        return self._once(x, lambda: self.units(x, 0, x.units))

    def _border(self, border: Border) -> Tensor:
        return self._once(border, lambda: border.of(self))

    def _once(self, key: Any, compute: Callable[[], Tensor]) -> Tensor:
        # The key is held, so that its identity stays its own.
        if id(key) not in self._cache:
            self._cache[id(key)] = (key, compute())
        return self._cache[id(key)][1]

    def _interior(self, x: Shared, first: int, count: int) -> Tensor:
        at = self.starts[..., None] + x.stride * ops.arange(first, first + count, dtype="int32")
        at = ops.reshape(at, (self.batch, self.count * count))
        return ops.reshape(_rows(x.dense, at), (-1, count, x.channels))

    def _fill(self, x: Shared, count: int, fill: float) -> Tensor:
        return ops.full((self.batch * self.count, count, x.channels), fill, x.dense.dtype)


def _rows(dense: Tensor, at: Tensor) -> Tensor:
    """Rows of each example: (B, T, ...) and ``int32`` (B, n) -> (B, n, ...)."""
    batch, length = ops.shape(dense)[0], dense.shape[1]
    at = at + length * ops.arange(batch, dtype="int32")[:, None]
    return ops.take(ops.reshape(dense, (-1, *dense.shape[2:])), at, axis=0)


def stretch(x: Tensor, first: int, count: int) -> Tensor:
    """Positions first .. first + count."""
    return x if (first, count) == (0, x.shape[1]) else x[:, first : first + count]


# (of two, of all along an axis)
SUM: tuple[Callable, Callable] = (add, ops.sum)
MAXIMUM: tuple[Callable, Callable] = (ops.maximum, ops.max)


def sliding(x: Tensor, width: int, dilation: int, how: tuple[Callable, Callable]) -> Tensor:
    """Sum or maximum of ``width`` positions, ``dilation`` apart, from each position on.

    (B, T, C) -> (B, T - dilation * (width - 1), C). The number of passes over x is logarithmic in
    the width: spans of 1, 2, 4, ... positions are combined.
    """
    combine, reduce = how
    length = x.shape[1] - dilation * (width - 1)
    if dilation == 1 and 1 < length <= width:
        # Few windows: what all have in common is combined once, what each has more cumulatively.
        common = reduce(x[:, length - 1 : width], axis=1, keepdims=True)
        before = ops.flip(_cumulative(ops.flip(x[:, : length - 1], 1), combine), 1)
        after = _cumulative(x[:, width:], combine)
        first = combine(common, before[:, :1])
        middle = combine(combine(common, before[:, 1:]), after[:, :-1])
        return ops.concatenate([first, middle, combine(common, after[:, -1:])], axis=1)
    result, done, span, size = None, 0, x, 1
    while True:
        if width & size:
            part = stretch(span, dilation * done, length)
            result = part if result is None else combine(result, part)
            done += size
        if done == width:
            return result
        step = dilation * size
        span = combine(span[:, :-step], span[:, step:])
        size *= 2


def _cumulative(x: Tensor, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Each position combined with all before it."""
    step = 1
    while step < x.shape[1]:
        x = ops.concatenate([x[:, :step], combine(x[:, step:], x[:, :-step])], axis=1)
        step *= 2
    return x
