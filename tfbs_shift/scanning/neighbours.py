"""Rules for layers whose units read neighbours: pools, padding, and what convolutions need, too."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from keras import layers, ops

from tfbs_shift.backend.computing import pads_means_with_copies
from tfbs_shift.scanning.costs import Costs
from tfbs_shift.scanning.rules import NotShared, Rule, check_channels_last
from tfbs_shift.scanning.sliding import MAXIMUM, SUM, sliding
from tfbs_shift.scanning.units import Layout, SharedTensor, View, stretch

Tensor = Any


@dataclass(frozen=True)
class Taps:
    """Which input units an output unit reads: p * stride - pad + dilation * 0..width-1."""

    width: int
    stride: int
    dilation: int
    pad: int
    pad_right: int

    @classmethod
    def of(cls, units: int, width: int, stride: int, dilation: int, padding: str) -> Taps:
        """From Keras's ``padding``, for an input of so many units."""
        reach = dilation * (width - 1)
        if padding == "causal":
            return cls(width, stride, dilation, reach, 0)
        if padding != "same":
            return cls(width, stride, dilation, 0, 0)
        total = max((math.ceil(units / stride) - 1) * stride + reach + 1 - units, 0)
        return cls(width, stride, dilation, total // 2, total - total // 2)

    def first(self, p: int) -> int:
        """The first input unit that output unit p reads."""
        return p * self.stride - self.pad

    def end(self, p: int) -> int:
        """One behind the last."""
        return self.first(p) + self.dilation * (self.width - 1) + 1

    def output(self, x: Layout, channels: int) -> Layout:
        """The output's layout: its borders are what padding or the input's borders reach.

        Raises:
            NotShared: that is every unit.
        """
        units = (x.units + self.pad_right - self.end(0)) // self.stride + 1
        left = max(0, math.ceil((x.left + self.pad) / self.stride))
        last = x.units - x.right - self.end(0)  # how far the first interior unit may go
        right = max(0, units - 1 - last // self.stride)
        if units < 1 or left + right >= units:
            raise NotShared("padding reaches every position")
        return Layout(x.windows, units, channels, x.stride * self.stride, left, right)

    def read_by_interior(self, x: SharedTensor, output: Layout) -> Tensor:
        """What the interior units of the output read of the input's dense tensor."""
        reach = self.end(0) - self.first(0) - 1
        first = x.layout.stride * (self.first(output.left) - x.layout.left)
        return stretch(x.dense, first, output.dense_length + x.layout.stride * reach)


@dataclass(frozen=True, eq=False)
class Local(Rule):
    """A layer that reads neighbours, its borders recomputed for each window."""

    layer: Any
    taps: Taps

    fill = 0.0
    """What the padding holds."""

    @abstractmethod
    def unpadded(self, y: Tensor, stride: int, dilation: int) -> Tensor:
        """The layer without padding: (rows, T, C) -> (rows, T', C')."""

    def finished(self, y: Tensor, units: range) -> Tensor:
        """What is done to these units of a border, (rows, units, C'), that padding may reach."""
        return y

    def apply(self, inputs: Sequence[SharedTensor], prepared: Any) -> SharedTensor:
        (x,) = inputs
        taps = self.taps
        dense = taps.read_by_interior(x, self.layout)
        dense = self.unpadded(dense, 1, x.layout.stride * taps.dilation)

        def border(view: View, begin: int, end: int) -> Tensor:
            read = view.units(x, taps.first(begin), taps.end(end - 1), self.fill)
            return self.finished(self.unpadded(read, taps.stride, taps.dilation), range(begin, end))

        return SharedTensor(self.layout, dense, border)


def pooling(layer: Any, x: Layout) -> Rule:
    """The rule for a maximum or mean of neighbours, of any width, stride and padding.

    Raises:
        NotShared: it pools channels, its padding reaches every position, or counts in a mean.
    """
    check_channels_last(layer)
    (width,), (stride,) = layer.pool_size, layer.strides
    taps = Taps.of(x.units, width, stride, 1, layer.padding)
    layout = taps.output(x, x.channels)
    if type(layer) is layers.AveragePooling1D:
        if pads_means_with_copies(taps.pad, taps.pad_right):
            raise NotShared("its padding counts, with this backend")
        return _AveragePooling(layout, Costs(), layer, taps, x.units)
    return _MaxPooling(layout, Costs(), layer, taps)


@dataclass(frozen=True, eq=False)
class _MaxPooling(Local):
    fill = -np.inf

    def unpadded(self, y: Tensor, stride: int, dilation: int) -> Tensor:
        y = sliding(ops.cast(y, self.layer.compute_dtype), self.taps.width, dilation, MAXIMUM)
        return y if stride == 1 else y[:, ::stride]


@dataclass(frozen=True, eq=False)
class _AveragePooling(Local):
    """A mean of what there is: padding does not count."""

    input_units: int

    def unpadded(self, y: Tensor, stride: int, dilation: int) -> Tensor:
        y = sliding(ops.cast(y, self.layer.compute_dtype), self.taps.width, dilation, SUM)
        y = y if stride == 1 else y[:, ::stride]
        return y / self.taps.width

    def finished(self, y: Tensor, units: range) -> Tensor:
        taps = self.taps
        there = [min(self.input_units, taps.end(p)) - max(0, taps.first(p)) for p in units]
        return y * ops.cast(taps.width / np.array(there)[:, None], y.dtype)


def padding(layer: Any, x: Layout) -> Rule:
    """The rule for zeros at both ends.

    Raises:
        NotShared: it pads channels.
    """
    check_channels_last(layer)
    before, after = layer.padding
    layout = replace(x, units=x.units + before + after, left=x.left + before, right=x.right + after)
    return _Renumbered(layout, Costs(), -before)


def cropping(layer: Any, x: Layout) -> Rule:
    """The rule for units cut off at both ends.

    Raises:
        NotShared: no interior unit is left.
    """
    before, after = layer.cropping
    left, right = max(0, x.left - before), max(0, x.right - after)
    layout = replace(x, units=x.units - before - after, left=left, right=right)
    if layout.interior < 1:
        raise NotShared("crops away all that windows share")
    return _Renumbered(layout, Costs(), before)


@dataclass(frozen=True, eq=False)
class _Renumbered(Rule):
    """Units stay what they are, but bear other numbers; zeros where there were none.

    Attributes:
        offset: the input's unit that becomes unit 0.
    """

    offset: int

    def apply(self, inputs: Sequence[SharedTensor], prepared: Any) -> SharedTensor:
        (x,) = inputs
        first = self.layout.left + self.offset - x.layout.left
        dense = stretch(x.dense, x.layout.stride * first, self.layout.dense_length)

        def border(view: View, begin: int, end: int) -> Tensor:
            return view.units(x, begin + self.offset, end + self.offset)

        return SharedTensor(self.layout, dense, border)
