"""Rules for convolutions.

What neighbouring windows multiply alike is multiplied once, in a ``Conv1D`` even at their edges: an
output unit there reads units of the input's border, which are the window's own, and units of its
interior, which all windows share. The products of the latter with each tap of the kernel are made
once and added up along the kernel (``_partial_sums``); the former are one small matrix product a
window. Other convolutions are run again over each window's edges.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import layers, ops

from tfbs_shift.scanning.costs import Costs, multiplications
from tfbs_shift.scanning.neighbours import Local, Taps
from tfbs_shift.scanning.positions import check_activation
from tfbs_shift.scanning.rules import Rule, check_channels_last, check_worth
from tfbs_shift.scanning.units import Layout, SharedTensor, View, stretch

Tensor = Any

CONVOLUTIONS = (layers.Conv1D, layers.DepthwiseConv1D, layers.SeparableConv1D)
_TAPS_FROM_CHANNELS = 32  # below, adding up products costs more than multiplying again


def convolution(layer: Any, x: Layout, starts: int) -> Rule:
    """The rule for one of ``CONVOLUTIONS``.

    Raises:
        NotShared: it reads channels for positions, its activation or its padding mixes positions,
            or sharing would not pay for so many starts.
    """
    check_channels_last(layer)
    check_activation(layer)
    (width,), (stride,), (dilation,) = layer.kernel_size, layer.strides, layer.dilation_rate
    taps = Taps.of(x.units, width, stride, dilation, layer.padding)
    depthwise = type(layer) is layers.DepthwiseConv1D
    channels = x.channels * layer.depth_multiplier if depthwise else layer.filters
    layout = taps.output(x, channels)
    weights = multiplications(layer) or 0
    rule: Rule | None = None
    if type(layer) is layers.Conv1D and layer.groups == 1:
        rule = _with_edges(layer, x, taps, layout)
    if rule is None:
        once, each = layout.dense_length * weights, layout.borders * weights
        rule = _Convolution(layout, Costs(layout.units * weights, once, each), layer, taps)
    check_worth(rule.costs, starts)
    return rule


def _activated(layer: Any, y: Tensor) -> Tensor:
    y = y if layer.bias is None else y + ops.cast(layer.bias, y.dtype)
    return y if layer.activation is None else layer.activation(y)


@dataclass(frozen=True, eq=False)
class _Convolution(Local):
    """Of any kind."""

    def unpadded(self, y: Tensor, stride: int, dilation: int) -> Tensor:
        layer, kind = self.layer, type(self.layer)
        if kind is layers.SeparableConv1D:
            function, kernels = ops.separable_conv, [layer.depthwise_kernel, layer.pointwise_kernel]
        else:
            function = ops.depthwise_conv if kind is layers.DepthwiseConv1D else ops.conv
            kernels = [layer.kernel]
        y = ops.cast(y, layer.compute_dtype)
        kernels = [ops.cast(kernel, y.dtype) for kernel in kernels]
        return _activated(layer, function(y, *kernels, strides=stride, dilation_rate=dilation))


def _with_edges(layer: Any, x: Layout, taps: Taps, layout: Layout) -> Rule | None:
    """The rule for a Conv1D, unless its edges' matrices were larger than the edges' windows."""
    shape = layer.kernel.shape
    shares_taps = (
        x.borders > 0
        and taps.stride == taps.dilation == 1
        and x.interior >= taps.width
        and shape[1] >= _TAPS_FROM_CHANNELS
    )
    # Of the input's units these are multiplied for each window: its borders, or all.
    left_end, right_begin = (x.left, x.units - x.right) if shares_taps else (x.units, 0)
    begin = layout.units - layout.right
    left = _Edge.of(taps, 0, layout.left, 0, left_end, shape)
    right = _Edge.of(taps, begin, layout.units, right_begin, x.units, shape)
    products = left.products + right.products
    if products > layout.borders * taps.width:  # a wide dilation's would be mostly zeros
        return None
    weights = shape[1] * shape[2]
    positions = x.dense_length if shares_taps else layout.dense_length
    costs = Costs(
        layout.units * taps.width * weights, positions * taps.width * weights, products * weights
    )
    return _ConvolutionWithEdges(layout, costs, layer, taps, left, right, shares_taps)


@dataclass(frozen=True, eq=False)
class _ConvolutionWithEdges(Rule):
    """Conv1D, its edges small matrix products.

    Attributes:
        left, right: the edges of its output.
        shares_taps: whether products of the interior with single taps are made for the edges.
    """

    layer: Any
    taps: Taps
    left: _Edge
    right: _Edge
    shares_taps: bool

    def prepared_weights(self) -> tuple[list[Tensor], list[Tensor]]:
        """The matrices of both edges."""
        kernel = ops.cast(self.layer.kernel, self.layer.compute_dtype)
        return self.left.matrices(kernel), self.right.matrices(kernel)

    def apply(
        self, inputs: Sequence[SharedTensor], prepared: tuple[list[Tensor], list[Tensor]]
    ) -> SharedTensor:
        (x,) = inputs
        layer, layout = self.layer, self.layout
        kernel = ops.cast(layer.kernel, layer.compute_dtype)
        lefts = rights = None
        if self.shares_taps:
            source = ops.cast(x.dense, kernel.dtype)
            dense, lefts, rights = _partial_sums(source, kernel, x.layout.stride, layout)
        else:
            source = ops.cast(self.taps.read_by_interior(x, layout), kernel.dtype)
            dense = ops.conv(source, kernel, dilation_rate=x.layout.stride * self.taps.dilation)

        def border(view: View, begin: int, end: int) -> Tensor:
            at_left = begin == 0
            edge, matrices = (self.left, prepared[0]) if at_left else (self.right, prepared[1])
            sums = lefts if at_left else rights
            read = ops.cast(view.units(x, edge.lowest, edge.highest), kernel.dtype)
            y = edge.multiplied(read, matrices, view.rows)
            return _activated(layer, y if sums is None else y + view.at_starts(sums))

        return SharedTensor(layout, _activated(layer, dense), border)


@dataclass(frozen=True)
class _Edge:
    """Output units begin..end of a convolution at a window's edge, as matrix products.

    Attributes:
        lowest, highest: the input units of which a matrix product is made.
        groups: (outputs from, to, inputs from, to): few outputs at a time, for a whole edge's
            matrix would be mostly zeros.
    """

    taps: Taps
    begin: int
    end: int
    lowest: int
    highest: int
    groups: tuple[tuple[int, int, int, int], ...]

    @classmethod
    def of(
        cls,
        taps: Taps,
        begin: int,
        end: int,
        lowest: int,
        highest: int,
        kernel: tuple[int, int, int],
    ) -> _Edge:
        lowest = max(lowest, taps.first(begin), 0)
        highest = max(lowest, min(highest, taps.end(end - 1)))
        size = max(math.ceil(256 / kernel[2]), math.ceil(64 / kernel[1]))
        groups = []
        for p in range(begin, end, size):
            last = min(p + size, end)
            a = min(max(lowest, taps.first(p)), highest)
            groups.append((p, last, a, max(a, min(highest, taps.end(last - 1)))))
        return cls(taps, begin, end, lowest, highest, tuple(groups))

    @property
    def products(self) -> int:
        """Pairs of an output and an input unit."""
        return sum((last - p) * (b - a) for p, last, a, b in self.groups)

    def matrices(self, kernel: Tensor) -> list[Tensor]:
        """((inputs * C), (outputs * filters)) for each group: the kernel's taps where they go."""
        width, channels, filters = kernel.shape
        padded = ops.concatenate([kernel, ops.zeros_like(kernel[:1])], axis=0)
        result = []
        for p, last, a, b in self.groups:
            offset = (
                np.arange(a, b)[:, None] + self.taps.pad - np.arange(p, last) * self.taps.stride
            )
            tap, rest = np.divmod(offset, self.taps.dilation)
            tap = np.where((rest == 0) & (tap >= 0) & (tap < width), tap, width)
            matrix = ops.take(padded, tap.astype("int32"), axis=0)
            matrix = ops.transpose(matrix, (0, 2, 1, 3))
            result.append(ops.reshape(matrix, ((b - a) * channels, (last - p) * filters)))
        return result

    def multiplied(self, read: Tensor, matrices: Sequence[Tensor], rows: Tensor) -> Tensor:
        """(rows, highest - lowest, C) -> (rows, end - begin, filters)."""
        channels, parts = read.shape[2], []
        for (p, last, a, b), matrix in zip(self.groups, matrices, strict=True):
            part = stretch(read, a - self.lowest, b - a)
            part = ops.matmul(ops.reshape(part, (rows, (b - a) * channels)), matrix)
            parts.append(ops.reshape(part, (rows, last - p, matrix.shape[1] // (last - p))))
        return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=1)


def _partial_sums(
    x: Tensor, kernel: Tensor, stride: int, output: Layout
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """A convolution of the dense tensor, and the parts of it that windows' edges need.

    Args:
        x: (B, T, C), T at least windows + stride * (width - 1).
        kernel: (width, C, filters).
        stride: distance of the kernel's taps.
        output: the layout. Of the outputs of a window that borders reach the one next to the
            interior reads one unit fewer of it than the kernel has taps, the next two fewer, and
            so on.

    Returns:
        (the convolution (B, T', filters); for the outputs at the left edge the sums over those
        last taps that read shared units, (B, windows, left, filters); at the right edge likewise
        over first taps).
    """
    width, channels, filters = kernel.shape
    windows, left, right = output.windows, output.left, output.right
    flat = ops.reshape(x, (-1, channels))
    products = [
        ops.reshape(ops.matmul(flat, kernel[j]), (-1, x.shape[1], filters)) for j in range(width)
    ]
    last = [ops.zeros_like(products[0]), products[-1]]  # last i taps, by the first one's position
    for j in range(width - 2, -1, -1):
        before = last[-1][:, stride:]
        last.append(products[j][:, : before.shape[1]] + before)
    lefts = [last[max(0, width - i)][:, :windows] for i in range(left, 0, -1)]
    ends = [y[:, y.shape[1] - windows - stride * max(0, width - 2) :] for y in products]
    first = [ops.zeros_like(ends[0]), ends[0]]  # first i taps, by the last one's position
    for j in range(1, width - 1):
        before = first[-1][:, :-stride]
        first.append(ends[j][:, -before.shape[1] :] + before)
    rights = [first[max(0, width - i)][:, -windows:] for i in range(1, right + 1)]
    return (
        last[-1],
        ops.stack(lefts, axis=2) if left else None,
        ops.stack(rights, axis=2) if right else None,
    )
