"""Sums and maxima over a sliding window, in few passes."""

from __future__ import annotations

from collections.abc import Callable
from operator import add
from typing import Any

from keras import ops

from tfbs_shift.scanning.units import stretch

Tensor = Any

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
