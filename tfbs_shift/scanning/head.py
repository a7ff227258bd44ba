"""What is run for each window, behind the stem, and what of that can be shared all the same.

A layer that is linear in each position multiplies the same features with the same matrix in many
windows: the products are made once. Attention does not spoil that: where a window's own factor
scales each position (TBiNet's features), the factor scales the product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from keras import layers, ops

from tfbs_shift.backend.graph import Key, Step
from tfbs_shift.scanning.costs import Costs, of_window
from tfbs_shift.scanning.lstm import costs_of_lstm, is_plain_lstm, run_lstm, shared_gates
from tfbs_shift.scanning.sliding import MAXIMUM, SUM, sliding
from tfbs_shift.scanning.units import Layout, SharedTensor, View

Tensor = Any
EACH = "for each window"
_VIEWS = (layers.Flatten, layers.Reshape, layers.Dropout, layers.SpatialDropout1D)


@dataclass(frozen=True)
class Spread:
    """A tensor that is constant along an axis, held with size 1 there."""

    axis: int
    size: int


@dataclass(frozen=True)
class Scaled:
    """Shared features times a factor for each window and position; the factor is held.

    Attributes:
        features: the key of the features.
        layout: theirs.
    """

    features: Key
    layout: Layout


# What a tensor that the head reads is: one row a window (None), or held in one of the other ways.
Form = Layout | Spread | Scaled | None

SharedTensors = Mapping[Key, SharedTensor]
Values = Mapping[Key, SharedTensor | Tensor]
"""What is held under a key, by its form: with a layout a SharedTensor; with a spread a tensor
(rows, ...), its size 1 along an axis; scaled the factor (rows, units, 1); else (rows, ...)."""

Run = Callable[[View, Values], list[Tensor]]
"""A step for the windows of a view: what it writes, each held in the step's form."""


@dataclass(frozen=True, eq=False)
class HeadStep:
    """How one step is run for each window.

    Attributes:
        step: what is run.
        costs: its multiplications; None where they are not known.
        share: computes for some examples what their windows share, and returns what runs windows.
        form: that of its (only) output.
        how: said of it in a plan.
        activations: numbers a window, of its inputs and outputs.
        reason: why it is not shared, if it reads what is.
    """

    step: Step
    costs: Costs | None
    share: Callable[[SharedTensors], Run]
    form: Form = None
    how: str = EACH
    activations: int = 0
    reason: str = ""


def plan(step: Step, forms: Mapping[Key, Form], starts: int) -> HeadStep:
    """How a step is run for each window.

    Args:
        step: any step.
        forms: those of its inputs, by key; without one: one row a window.
        starts: windows run for each example.
    """
    layer, kind = step.operation, type(step.operation)
    inputs = [forms.get(key) for key in step.reads]
    first = inputs[0]
    if _is_global_pool(layer) and len(inputs) == 1 and isinstance(first, Layout):
        how = "once, as a sliding window"
        return HeadStep(step, Costs(), partial(_pooled, step), how=how)
    if len(inputs) == 1 and isinstance(first, Layout | Scaled) and is_plain_lstm(layer):
        costs = costs_of_lstm(layer, first.layout if isinstance(first, Scaled) else first)
        if costs.worth_sharing(starts):
            return _lstm(step, first, costs)
    if kind is layers.RepeatVector and inputs == [None]:

        def repeated(view: View, values: Values) -> list[Tensor]:
            return [values[step.reads[0]][:, None]]

        return _held(step, repeated, Spread(1, layer.n), "not written out")
    if kind is layers.Permute and isinstance(first, Spread):
        axes = (0, *layer.dims)

        def permuted(view: View, values: Values) -> list[Tensor]:
            return [ops.transpose(values[step.reads[0]], axes)]

        return _held(step, permuted, Spread(axes.index(first.axis), first.size), "not written out")
    scaled = _scaled(step, inputs)
    return scaled if scaled is not None else _plain(step, inputs)


def written_out(view: View, key: Key, form: Form, values: Values) -> Tensor:
    """What is held under a key as a layer takes it, (rows, ...)."""
    held = values[key]
    if isinstance(form, Layout):
        return view.windows(held)
    if isinstance(form, Scaled):
        return view.windows(values[form.features]) * held
    return held if form is None else ops.repeat(held, form.size, axis=form.axis)


def _held(step: Step, run: Run, form: Form, how: str) -> HeadStep:
    """A step that costs nothing, for its output is not written out."""
    return HeadStep(step, Costs(), lambda shared: run, form, how)


def _plain(step: Step, inputs: Sequence[Form]) -> HeadStep:
    def run(view: View, values: Values) -> list[Tensor]:
        pairs = zip(step.reads, inputs, strict=True)
        return step([written_out(view, key, form, values) for key, form in pairs])

    each = of_window(step.operation, step.shapes[0], step.output_shapes[0])
    costs = None if each is None else Costs(each, 0, each)
    # What only reshapes, or does nothing at inference, is not written out again.
    activations = 0 if isinstance(step.operation, _VIEWS) else step.activations
    return HeadStep(step, costs, lambda shared: run, activations=activations)


def _scaled(step: Step, inputs: Sequence[Form]) -> HeadStep | None:
    """The product of shared features and a factor for each position, left to be multiplied."""
    if step.kind != "Multiply" or len(inputs) != 2:
        return None
    for i, j in ((0, 1), (1, 0)):
        features, factor, shape = inputs[i], inputs[j], step.shapes[j]
        if not isinstance(features, Layout) or features.channels == 1:
            continue
        spread = factor == Spread(2, features.channels) and shape[1] == features.units
        if spread or (factor is None and tuple(shape[1:]) == (features.units, 1)):

            def run(view: View, values: Values, key: Key = step.reads[j]) -> list[Tensor]:
                return [values[key]]

            return _held(step, run, Scaled(step.reads[i], features), "left to the next layer")
    return None


def _lstm(step: Step, form: Layout | Scaled, costs: Costs) -> HeadStep:
    key = step.reads[0]
    features = form.features if isinstance(form, Scaled) else key

    def share(shared: SharedTensors) -> Run:
        scaled = isinstance(form, Scaled)
        gates = shared_gates(step.operation, shared[features], add_bias=not scaled)

        def run(view: View, values: Values) -> list[Tensor]:
            factor = values[key] if scaled else None
            return [run_lstm(step.operation, gates, view, factor)]

        return run

    how = "input products once, recurrence for each window"
    return HeadStep(step, costs, share, how=how, activations=step.activations)


def _is_global_pool(layer: Any) -> bool:
    pools = (layers.GlobalMaxPooling1D, layers.GlobalAveragePooling1D)
    return type(layer) in pools and layer.data_format == "channels_last"


def _pooled(step: Step, shared: SharedTensors) -> Run:
    """A global pool, (rows, C): the interior is pooled once, as a sliding window."""
    layer, x = step.operation, shared[step.reads[0]]
    average = type(layer) is layers.GlobalAveragePooling1D
    combine, reduce = how = SUM if average else MAXIMUM
    dtype, layout = layer.compute_dtype, x.layout
    interior = sliding(ops.cast(x.dense, dtype), layout.interior, layout.stride, how)

    def run(view: View, values: Values) -> list[Tensor]:
        result = view.at_starts(interior)
        for begin, end in ((0, layout.left), (layout.units - layout.right, layout.units)):
            if begin < end:
                border = ops.cast(view.units(x, begin, end), dtype)
                result = combine(result, reduce(border, axis=1))
        result = result / layout.units if average else result
        return [ops.expand_dims(result, 1) if layer.keepdims else result]

    return run
