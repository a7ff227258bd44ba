"""What of a network commutes with moving the window: rules for the layers of its stem.

Each rule turns shared inputs into a shared output, or says why it can't be one. Costs are counted
in multiplications of matrix products: those of one example, of one window, and of one window if
nothing were shared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from tfbs_shift.backend.graph import Step
from tfbs_shift.scanning.costs import Costs, multiplications
from tfbs_shift.scanning.units import (
    MAXIMUM,
    NO_BORDER,
    SUM,
    Border,
    Shared,
    View,
    sliding,
    stretch,
)

Tensor = Any

# Position by position, whatever their settings.
_POINTWISE = (
    layers.Activation,
    layers.ReLU,
    layers.LeakyReLU,
    layers.ELU,
    layers.Dropout,
    layers.SpatialDropout1D,
    layers.AlphaDropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.ActivityRegularization,
    layers.Identity,
    layers.Dense,
)
_MERGING = (
    layers.Add,
    layers.Subtract,
    layers.Multiply,
    layers.Average,
    layers.Maximum,
    layers.Minimum,
)
# Element by element: what `keras.ops` functions leave in a functional model.
_OPERATIONS = {
    *("Absolute", "Add", "Celu", "Clip", "Divide", "Elu", "Exp", "Gelu", "HardSigmoid"),
    *("HardSilu", "HardTanh", "LeakyRelu", "Log", "Log1p", "Maximum", "Minimum", "Multiply"),
    *("Negative", "Power", "Relu", "Relu6", "Selu", "Sigmoid", "Silu", "Softplus", "Softsign"),
    *("Sqrt", "Square", "Subtract", "Tanh", "TrueDivide"),
}
_TAPS_FROM_CHANNELS = 32  # below, adding up products costs more than multiplying again


class NotShared(Exception):
    """Why a step's output is computed for each window."""


@dataclass(frozen=True, eq=False)
class Setting:
    """What the rules are told.

    Attributes:
        starts: windows in the range.
        count: of them run for each example.
        recipes: filled by a first run: what steps make of their weights alone, by step.
        made: what the recipes made, so that it is made once and not for each block of examples.
    """

    starts: int
    count: int
    recipes: dict[Step, Callable[[], Any]] = field(default_factory=dict)
    made: Mapping[Step, Any] = field(default_factory=dict)

    def of_weights(self, step: Step, recipe: Callable[[], Any]) -> Any:
        """The result of a recipe that reads nothing but weights."""
        if step in self.made:
            return self.made[step]
        self.recipes[step] = recipe
        return recipe()


def shared(step: Step, inputs: Sequence[Shared], setting: Setting) -> tuple[Shared, Costs]:
    """The output of a step of the stem, and what it costs.

    Raises:
        NotShared: the layer mixes positions or is not known, or sharing would not pay.
    """
    layer = step.operation
    kind = type(layer)  # a subclass may do something else
    if getattr(layer, "quantization_mode", None) is not None:
        raise NotShared("it is quantized")
    if len(inputs) == 1 and kind in (
        layers.Conv1D,
        layers.DepthwiseConv1D,
        layers.SeparableConv1D,
    ):
        return _convolution(step, inputs[0], setting)
    if len(inputs) == 1 and kind in (layers.MaxPooling1D, layers.AveragePooling1D):
        return _pooling(layer, inputs[0], setting), Costs()
    if kind is layers.ZeroPadding1D:
        return _padding(layer, inputs[0]), Costs()
    if kind is layers.Cropping1D:
        return _cropping(layer, inputs[0], setting), Costs()
    if _elementwise(step, inputs):
        return _pointwise(step, inputs, setting)
    raise NotShared("mixes positions, or is not known not to")


def is_global_pool(layer: Any) -> bool:
    """Whether a layer is a global pool: it ends the stem, as a sliding window."""
    pools = (layers.GlobalMaxPooling1D, layers.GlobalAveragePooling1D)
    return type(layer) in pools and layer.data_format == "channels_last"


def global_pool(layer: Any, x: Shared) -> Callable[[View], Tensor]:
    """What computes a global pool for some windows, (rows, C); the interior is pooled once."""
    average = type(layer) is layers.GlobalAveragePooling1D
    combine, reduce = how = SUM if average else MAXIMUM
    dtype = layer.compute_dtype
    interior = sliding(ops.cast(x.dense, dtype), x.interior, x.stride, how)

    def of(view: View) -> Tensor:
        result = view.at_starts(interior)
        for begin, end in ((0, x.left.units), (x.units - x.right.units, x.units)):
            if begin < end:
                border = ops.cast(view.units(x, begin, end), dtype)
                result = combine(result, reduce(border, axis=1))
        result = result / x.units if average else result
        return ops.expand_dims(result, 1) if layer.keepdims else result

    return of


# Layers that read neighbours


@dataclass(frozen=True)
class _Taps:
    """Which input units an output unit reads: p * stride - pad + dilation * 0..width-1."""

    width: int
    stride: int
    dilation: int
    pad: int
    pad_right: int

    @classmethod
    def of(cls, units: int, width: int, stride: int, dilation: int, padding: str) -> _Taps:
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

    def moved(self, x: Shared) -> tuple[int, int, int]:
        """(units, left, right) of the output, left and right those that borders reach."""
        units = (x.units + self.pad_right - self.end(0)) // self.stride + 1
        left = max(0, math.ceil((x.left.units + self.pad) / self.stride))
        last = x.units - x.right.units - self.end(0)  # how far the first interior unit may go
        right = units - 1 - last // self.stride
        if units < 1 or left + max(right, 0) >= units:
            raise NotShared("padding reaches every position")
        return units, left, max(right, 0)


def _local(
    x: Shared,
    taps: _Taps,
    setting: Setting,
    apply: Callable[[Tensor, int, int], Tensor],
    fill: float = 0.0,
    finish: Callable[[Tensor, slice], Tensor] = lambda y, units: y,
) -> Shared:
    """A layer that reads neighbours, its borders recomputed for each window.

    Args:
        apply: (tensor (B, T, C), stride, dilation) -> (B, T', C'), without padding.
        fill: what the padding holds.
        finish: what is done to output units that padding reaches, by their numbers.
    """
    units, left, right = taps.moved(x)
    dense = _interior(x, taps, units - left - right, left, setting)
    dense = apply(dense, 1, x.stride * taps.dilation)

    def border(begin: int, end: int) -> Border:
        def of(view: View) -> Tensor:
            slab = view.units(x, taps.first(begin), taps.end(end - 1), fill)
            return finish(apply(slab, taps.stride, taps.dilation), slice(begin, end))

        return Border(end - begin, of) if begin < end else NO_BORDER

    return Shared(
        dense, units, x.stride * taps.stride, border(0, left), border(units - right, units)
    )


def _interior(x: Shared, taps: _Taps, count: int, left: int, setting: Setting) -> Tensor:
    """What of the dense tensor ``count`` interior outputs read, in all windows."""
    length = setting.starts + x.stride * (taps.stride * (count - 1) + taps.end(0) - taps.first(0))
    return stretch(x.dense, x.stride * (taps.first(left) - x.left.units), length - x.stride)


def _convolution(step: Step, x: Shared, setting: Setting) -> tuple[Shared, Costs]:
    layer = step.operation
    _channels_last(layer)
    if not _known_activation(layer):
        raise NotShared("its activation is none of Keras's, and may mix positions")
    (width,), (stride,), (dilation,) = layer.kernel_size, layer.strides, layer.dilation_rate
    taps = _Taps.of(x.units, width, stride, dilation, layer.padding)
    units, left, right = taps.moved(x)
    interior = units - left - right
    positions = setting.starts + x.stride * stride * (interior - 1)
    weights = multiplications(layer) or 0

    def activated(y: Tensor) -> Tensor:
        y = y if layer.bias is None else y + ops.cast(layer.bias, y.dtype)
        return y if layer.activation is None else layer.activation(y)

    if type(layer) is layers.Conv1D and layer.groups == 1:
        edges = _edges(layer, x, taps)
        # Matrices of wide dilations would be mostly zeros.
        if sum(edge.products for edge in edges) <= (left + right) * width:
            return _dense_convolution(step, x, taps, edges, setting, activated)
    costs = Costs(units * weights, positions * weights, (left + right) * weights)
    _worth(costs, setting)

    def apply(y: Tensor, stride: int, dilation: int) -> Tensor:
        y = ops.cast(y, layer.compute_dtype)
        cast = [ops.cast(w, y.dtype) for w in _kernels(layer)]
        function = {1: ops.conv, 2: ops.separable_conv}[len(cast)]
        if type(layer) is layers.DepthwiseConv1D:
            function = ops.depthwise_conv
        return activated(function(y, *cast, strides=stride, dilation_rate=dilation))

    return _local(x, taps, setting, apply), costs


def _kernels(layer: Any) -> list[Any]:
    if type(layer) is layers.SeparableConv1D:
        return [layer.depthwise_kernel, layer.pointwise_kernel]
    return [layer.kernel]


def _shares_taps(layer: Any, x: Shared, taps: _Taps) -> bool:
    """Whether products of the interior with single taps are made for the borders."""
    return (
        x.borders > 0
        and taps.stride == taps.dilation == 1
        and x.interior >= taps.width
        and layer.kernel.shape[1] >= _TAPS_FROM_CHANNELS
    )


def _edges(layer: Any, x: Shared, taps: _Taps) -> list[_Edge]:
    """The left and the right edge of a Conv1D's output."""
    units, left, right = taps.moved(x)
    border, inner = x.left.units, x.units - x.right.units
    if not _shares_taps(layer, x, taps):
        border, inner = x.units, 0
    return [
        _Edge.of(taps, 0, left, 0, border, layer.kernel.shape),
        _Edge.of(taps, units - right, units, inner, x.units, layer.kernel.shape),
    ]


def _dense_convolution(
    step: Step,
    x: Shared,
    taps: _Taps,
    edges: Sequence[_Edge],
    setting: Setting,
    activated: Callable[[Tensor], Tensor],
) -> tuple[Shared, Costs]:
    """Conv1D. What neighbouring windows multiply alike is multiplied once.

    An output unit at a window's edge reads units of the input's border, which are the window's own,
    and units of its interior, which all windows share. The products of the latter with each tap of
    the kernel are made once and added up along the kernel (``_partial_sums``); the former are one
    small matrix product a window.
    """
    layer = step.operation
    units, left, right = taps.moved(x)
    interior = units - left - right
    weights = layer.kernel.shape[1] * layer.kernel.shape[2]
    plain = units * taps.width * weights
    positions = setting.starts + x.stride * taps.stride * (interior - 1)
    share_taps = _shares_taps(layer, x, taps)
    dense_positions = x.dense.shape[1] if share_taps else positions
    costs = Costs(
        plain, dense_positions * taps.width * weights, sum(e.products for e in edges) * weights
    )
    _worth(costs, setting)

    kernel = ops.cast(layer.kernel, layer.compute_dtype)
    if share_taps:
        source = ops.cast(x.dense, kernel.dtype)
        dense, lefts, rights = _partial_sums(source, kernel, x.stride, left, right, setting.starts)
    else:
        source = ops.cast(_interior(x, taps, interior, left, setting), kernel.dtype)
        dilation = x.stride * taps.dilation
        dense = ops.conv(source, kernel, dilation_rate=dilation)
        lefts = rights = None

    def matrices() -> list[list[Tensor]]:
        kernel = ops.cast(layer.kernel, layer.compute_dtype)  # as it is when this is called
        return [edge.matrices(kernel) for edge in edges]

    own = setting.of_weights(step, matrices)

    def border(edge: _Edge, matrices: Sequence[Tensor], sums: Tensor | None) -> Border:
        def of(view: View) -> Tensor:
            slab = view.units(x, edge.lowest, edge.highest)
            slab = ops.cast(slab, kernel.dtype)
            y = edge.multiplied(slab, matrices, view.batch * view.count)
            return activated(y if sums is None else y + view.at_starts(sums))

        return Border(edge.end - edge.begin, of) if edge.begin < edge.end else NO_BORDER

    result = Shared(
        activated(dense),
        units,
        x.stride * taps.stride,
        border(edges[0], own[0], lefts),
        border(edges[1], own[1], rights),
    )
    return result, costs


@dataclass(frozen=True)
class _Edge:
    """Output units begin..end of a convolution at a window's edge, as matrix products.

    Attributes:
        lowest, highest: the input units of which a matrix product is made.
        groups: (outputs from, to, inputs from, to): few outputs at a time, for a whole edge's
            matrix would be mostly zeros.
    """

    taps: _Taps
    begin: int
    end: int
    lowest: int
    highest: int
    groups: tuple[tuple[int, int, int, int], ...]

    @classmethod
    def of(
        cls,
        taps: _Taps,
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

    def multiplied(self, slab: Tensor, matrices: Sequence[Tensor], rows: Tensor) -> Tensor:
        """(rows, highest - lowest, C) -> (rows, end - begin, filters)."""
        channels, parts = slab.shape[2], []
        for (p, last, a, b), matrix in zip(self.groups, matrices, strict=True):
            part = stretch(slab, a - self.lowest, b - a)
            part = ops.matmul(ops.reshape(part, (rows, (b - a) * channels)), matrix)
            parts.append(ops.reshape(part, (rows, last - p, matrix.shape[1] // (last - p))))
        return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=1)


def _partial_sums(
    x: Tensor, kernel: Tensor, stride: int, left: int, right: int, starts: int
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """A convolution of the dense tensor, and the parts of it that windows' edges need.

    Args:
        x: (B, T, C), T at least starts + stride * (width - 1).
        stride: distance of the kernel's taps.
        left, right: outputs of a window that borders reach. The one next to the interior reads
            one unit fewer of it than the kernel has taps, the next two fewer, and so on.

    Returns:
        (the convolution (B, T', filters); for the outputs at the left edge the sums over those
        last taps that read shared units, (B, starts, left, filters); at the right edge likewise
        over first taps).
    """
    width, channels, filters = kernel.shape
    flat = ops.reshape(x, (-1, channels))
    products = [
        ops.reshape(ops.matmul(flat, kernel[j]), (-1, x.shape[1], filters)) for j in range(width)
    ]
    last = [ops.zeros_like(products[0]), products[-1]]  # last i taps, by the first one's position
    for j in range(width - 2, -1, -1):
        before = last[-1][:, stride:]
        last.append(products[j][:, : before.shape[1]] + before)
    lefts = [last[max(0, width - i)][:, :starts] for i in range(left, 0, -1)]
    ends = [y[:, y.shape[1] - starts - stride * max(0, width - 2) :] for y in products]
    first = [ops.zeros_like(ends[0]), ends[0]]  # first i taps, by the last one's position
    for j in range(1, width - 1):
        before = first[-1][:, :-stride]
        first.append(ends[j][:, -before.shape[1] :] + before)
    rights = [first[max(0, width - i)][:, -starts:] for i in range(1, right + 1)]
    return (
        last[-1],
        ops.stack(lefts, axis=2) if left else None,
        ops.stack(rights, axis=2) if right else None,
    )


def _pooling(layer: Any, x: Shared, setting: Setting) -> Shared:
    _channels_last(layer)
    (width,), (stride,) = layer.pool_size, layer.strides
    taps = _Taps.of(x.units, width, stride, 1, layer.padding)
    average = type(layer) is layers.AveragePooling1D

    def apply(y: Tensor, stride: int, dilation: int) -> Tensor:
        y = ops.cast(y, layer.compute_dtype)
        y = sliding(y, width, dilation, SUM if average else MAXIMUM)
        y = y if stride == 1 else y[:, ::stride]
        return y / width if average else y

    def finish(y: Tensor, units: slice) -> Tensor:
        if not average:
            return y
        numbers = range(units.start, units.stop)  # the mean is one of what there is
        there = [min(x.units, taps.end(p)) - max(0, taps.first(p)) for p in numbers]
        return y * ops.cast(width / np.array(there)[:, None], y.dtype)

    return _local(x, taps, setting, apply, 0.0 if average else -np.inf, finish)


def _padding(layer: Any, x: Shared) -> Shared:
    before, after = layer.padding
    left = Border(before + x.left.units, lambda view: view.units(x, -before, x.left.units))
    begin, end = x.units - x.right.units, x.units + after
    right = Border(end - begin, lambda view: view.units(x, begin, end))
    return replace(x, units=x.units + before + after, left=left, right=right)


def _cropping(layer: Any, x: Shared, setting: Setting) -> Shared:
    before, after = layer.cropping
    inner = x.units - x.right.units
    left = Border(max(0, x.left.units - before), lambda view: view.units(x, before, x.left.units))
    right = Border(
        max(0, x.right.units - after), lambda view: view.units(x, inner, x.units - after)
    )
    first = max(before, x.left.units)
    interior = min(x.units - after, inner) - first
    if interior < 1:
        raise NotShared("crops away all that windows share")
    dense = stretch(
        x.dense,
        x.stride * (first - x.left.units),
        setting.starts + x.stride * (interior - 1),
    )
    return replace(x, dense=dense, units=x.units - before - after, left=left, right=right)


# Layers that read one position


def _elementwise(step: Step, inputs: Sequence[Shared]) -> bool:
    """Whether a step treats every position by itself, and all alike."""
    layer, kind = step.operation, type(step.operation)
    if kind in (layers.Activation, layers.Dense) and not _known_activation(layer):
        raise NotShared("its activation is none of Keras's, and may mix positions")
    if kind in _POINTWISE:
        return True
    if kind in _MERGING:
        return True
    if kind in (layers.Concatenate, layers.Softmax, layers.BatchNormalization):
        return layer.axis in (-1, 2)
    if kind in (layers.LayerNormalization, layers.UnitNormalization) or kind is getattr(
        layers, "RMSNormalization", None
    ):
        axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
        return all(axis in (-1, 2) for axis in axes)
    if kind is layers.PReLU:
        return 1 in (layer.shared_axes or ())
    if kind.__module__.startswith("keras.") and kind.__name__ in _OPERATIONS:
        args, kwargs = step.arguments
        others = [a for a in keras.tree.flatten([args, kwargs]) if a is not None]
        others = [a for a in others if not keras.backend.is_keras_tensor(a)]
        return all(isinstance(a, str) or np.ndim(a) == 0 for a in others)
    return False


def _known_activation(layer: Any) -> bool:
    function = layer.activation
    module = getattr(function, "__module__", None) or type(function).__module__
    return function is None or module.split(".")[0] in ("keras", __package__.split(".")[0])


def _pointwise(step: Step, inputs: Sequence[Shared], setting: Setting) -> tuple[Shared, Costs]:
    if len({(x.units, x.stride) for x in inputs}) > 1:
        raise NotShared("its inputs have different strides or lengths")
    units = inputs[0].units
    left = max(x.left.units for x in inputs)
    right = max(x.right.units for x in inputs)
    if left + right >= units:
        raise NotShared("padding reaches every position")

    def border(begin: int, end: int) -> Border:
        def of(view: View) -> Tensor:
            return step([view.units(x, begin, end) for x in inputs])[0]

        return Border(end - begin, of) if begin < end else NO_BORDER

    interior = units - left - right
    weights = multiplications(step.operation) or 0
    positions = setting.starts + inputs[0].stride * (interior - 1)
    costs = Costs(units * weights, positions * weights, (left + right) * weights)
    _worth(costs, setting)
    dense = step([stretch(x.dense, x.stride * (left - x.left.units), positions) for x in inputs])[0]
    edges = border(0, left), border(units - right, units)
    return Shared(dense, units, inputs[0].stride, *edges), costs


def _worth(costs: Costs, setting: Setting) -> None:
    if costs.once + setting.count * costs.window > setting.count * costs.plain:
        raise NotShared(f"sharing would cost more than {setting.count} windows do")


def _channels_last(layer: Any) -> None:
    if layer.data_format != "channels_last":
        raise NotShared("its data format is channels_first")
