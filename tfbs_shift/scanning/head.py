"""What is run for each window, behind the stem, and what of that can be shared all the same.

A layer that is linear in each position multiplies the same features with the same matrix in many
windows: the products are made once. Attention does not spoil that: where a window's own factor
scales each position (TBiNet's features), the factor scales the product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras import layers, ops

from tfbs_shift.backend.graph import Key, Step
from tfbs_shift.scanning.costs import Costs, multiplications, of_window
from tfbs_shift.scanning.stem import Setting, global_pool, is_global_pool
from tfbs_shift.scanning.units import Border, Shared, View

Tensor = Any
Values = dict[Key, Tensor]
EACH = "for each window"
_VIEWS = (layers.Flatten, layers.Reshape, layers.Dropout, layers.SpatialDropout1D)


@dataclass(frozen=True)
class Spread:
    """A tensor that is constant along an axis, held with size 1 there."""

    axis: int
    size: int


@dataclass(frozen=True, eq=False)
class Scaled:
    """Shared features times a factor for each window and position, (rows, units, 1)."""

    features: Shared


# What a tensor of the head is: whole (None), or held in one of the ways above.
Form = Shared | Spread | Scaled | None


@dataclass(frozen=True, eq=False)
class HeadStep:
    """A step, ready to run for some windows.

    Attributes:
        run: (view, tensors by key) -> outputs.
        form: that of its (only) output.
        how: said of it in a plan.
        floats: numbers a window, of its inputs and outputs.
    """

    step: Step
    run: Callable[[View, Values], list[Tensor]]
    costs: Costs | None
    form: Form = None
    how: str = EACH
    floats: int = 0


def head_step(step: Step, forms: Mapping[Key, Form], setting: Setting) -> HeadStep:
    """Prepares a step: what windows share of it is computed here, once an example."""
    layer, kind = step.operation, type(step.operation)
    inputs = [forms.get(key) for key in step.reads]
    if is_global_pool(layer) and isinstance(inputs[0], Shared):
        pool = global_pool(layer, inputs[0])

        def pooled(view: View, values: Values) -> list[Tensor]:
            return [pool(view)]

        return HeadStep(step, pooled, Costs(), how="once, as a sliding window")
    if kind in (layers.LSTM, layers.Bidirectional) and len(inputs) == 1:
        features = inputs[0].features if isinstance(inputs[0], Scaled) else inputs[0]
        if isinstance(features, Shared) and _plain_lstm(layer):
            costs = _costs_of_lstm(layer, features, setting)
            if costs.once + setting.count * costs.window <= setting.count * costs.plain:
                return _lstm(step, inputs[0], features, costs)
    if kind is layers.RepeatVector and inputs == [None]:
        return HeadStep(
            step,
            lambda view, values: [values[step.reads[0]][:, None]],
            Costs(),
            Spread(1, layer.n),
            how="not written out",
        )
    if kind is layers.Permute and isinstance(inputs[0], Spread):
        axes = (0, *layer.dims)
        return HeadStep(
            step,
            lambda view, values: [ops.transpose(values[step.reads[0]], axes)],
            Costs(),
            Spread(axes.index(inputs[0].axis), inputs[0].size),
            how="not written out",
        )
    scaled = _scaled(step, inputs)
    return scaled if scaled is not None else _plain(step, inputs)


def whole(view: View, form: Form, tensor: Tensor) -> Tensor:
    """A tensor of the head as a layer takes it."""
    if isinstance(form, Shared):
        return view.windows(form)
    if isinstance(form, Scaled):
        return view.windows(form.features) * tensor
    return tensor if form is None else ops.repeat(tensor, form.size, axis=form.axis)


def _plain(step: Step, inputs: Sequence[Form]) -> HeadStep:
    def run(view: View, values: Values) -> list[Tensor]:
        pairs = zip(step.reads, inputs, strict=True)
        return step([whole(view, form, values.get(key)) for key, form in pairs])

    each = of_window(step.operation, step.shapes[0], step.output_shapes[0])
    costs = None if each is None else Costs(each, 0, each)
    # What only reshapes, or does nothing at inference, is not written out again.
    floats = 0 if isinstance(step.operation, _VIEWS) else step.floats
    return HeadStep(step, run, costs, floats=floats)


def _scaled(step: Step, inputs: Sequence[Form]) -> HeadStep | None:
    """The product of shared features and a factor for each position, left to be multiplied."""
    if step.kind != "Multiply" or len(inputs) != 2:
        return None
    for features, factor, key, shape in (
        (inputs[0], inputs[1], step.reads[1], step.shapes[1]),
        (inputs[1], inputs[0], step.reads[0], step.shapes[0]),
    ):
        if not isinstance(features, Shared) or features.channels == 1:
            continue
        spread = factor == Spread(2, features.channels) and shape[1] == features.units
        if spread or (factor is None and tuple(shape[1:]) == (features.units, 1)):

            def run(view: View, values: Values, key: Key = key) -> list[Tensor]:
                return [values[key]]

            return HeadStep(step, run, Costs(), Scaled(features), how="left to the next layer")
    return None


# LSTM


def _plain_lstm(layer: Any) -> bool:
    if type(layer) is layers.Bidirectional:
        return (
            layer.merge_mode in ("concat", "sum", "mul", "ave")
            and _plain_lstm(layer.forward_layer)
            and _plain_lstm(layer.backward_layer)
        )
    return type(layer) is layers.LSTM and not (layer.stateful or layer.return_state)


def _ways(layer: Any) -> list[Any]:
    two = type(layer) is layers.Bidirectional
    return [layer.forward_layer, layer.backward_layer] if two else [layer]


def _costs_of_lstm(layer: Any, features: Shared, setting: Setting) -> Costs:
    products = sum(way.cell.kernel.shape[0] * way.cell.kernel.shape[1] for way in _ways(layer))
    plain = features.units * (multiplications(layer) or 0)
    positions = setting.starts + features.stride * (features.interior - 1)
    rest = (features.units - features.borders) * products
    return Costs(plain, positions * products, plain - rest)


def _lstm(step: Step, form: Form, features: Shared, costs: Costs) -> HeadStep:
    """An LSTM, its input products made once: only the recurrence is run for each window."""
    layer = step.operation
    ways = [(way, _product(features, way.cell, form is features)) for way in _ways(layer)]

    def run(view: View, values: Values) -> list[Tensor]:
        factor = values[step.reads[0]] if isinstance(form, Scaled) else None
        results = [_recurrence(way, view, gates, factor) for way, gates in ways]
        if len(results) == 1:
            return results
        forward, backward = results
        if layer.return_sequences:
            backward = ops.flip(backward, axis=1)
        if layer.merge_mode == "concat":
            return [ops.concatenate([forward, backward], axis=-1)]
        if layer.merge_mode == "mul":
            return [forward * backward]
        total = forward + backward
        return [total / 2 if layer.merge_mode == "ave" else total]

    return HeadStep(
        step, run, costs, how="input products once, recurrence for each window", floats=step.floats
    )


def _product(x: Shared, cell: Any, add_bias: bool) -> Shared:
    """What an LSTM cell makes of its inputs alone; the bias waits if a factor is to come."""
    dtype = cell.compute_dtype
    kernel = ops.cast(cell.kernel, dtype)
    bias = ops.cast(cell.bias, dtype) if add_bias and cell.use_bias else None

    def multiplied(y: Tensor) -> Tensor:
        flat = ops.reshape(ops.cast(y, dtype), (-1, x.channels))
        result = ops.matmul(flat, kernel)
        result = result if bias is None else result + bias
        return ops.reshape(result, (-1, y.shape[1], kernel.shape[1]))

    def border(begin: int, end: int) -> Border:
        return Border(end - begin, lambda view: multiplied(view.units(x, begin, end)))

    return Shared(
        multiplied(x.dense),
        x.units,
        x.stride,
        border(0, x.left.units),
        border(x.units - x.right.units, x.units),
    )


def _recurrence(layer: Any, view: View, gates: Shared, factor: Tensor | None) -> Tensor:
    """(rows, units, C), or (rows, C) of the last step."""
    rows = view.batch * view.count
    # The sequence that the loop walks along is that of the positions; what is there is looked up.
    positions = ops.arange(gates.units, dtype="float32")[None, :, None]
    sequence = ops.broadcast_to(positions, (rows, gates.units, 1))
    if factor is not None:
        sequence = ops.concatenate([sequence, ops.cast(factor, "float32")], axis=2)
    loop = layers.RNN(
        _Recurrence(layer.cell, view, gates),
        go_backwards=layer.go_backwards,
        return_sequences=layer.return_sequences,
        dtype="float32",
    )
    return loop(sequence)


class _Recurrence(layers.Layer):
    """An LSTM cell that looks up what its inputs contribute.

    Its inputs are (position) or (position, factor). The product of a window's features with the
    kernel is taken from the shared products, and scaled.
    """

    def __init__(self, cell: Any, view: View, gates: Shared):
        super().__init__(dtype="float32")
        self.cell, self.view, self.gates = cell, view, gates
        self.state_size = [cell.units, cell.units]
        self.output_size = cell.units
        self.windows = ops.swapaxes(view.windows(gates), 0, 1) if gates.borders else None
        self.built = True

    def get_initial_state(self, batch_size=None):
        zeros = ops.zeros((batch_size, self.cell.units))
        return [zeros, zeros]

    def call(self, inputs, states):
        cell, dtype = self.cell, self.cell.compute_dtype
        h, c = (ops.cast(state, dtype) for state in states)
        p = ops.cast(inputs[0, 0], "int32")
        z = self.view.unit(self.gates, p) if self.windows is None else self.windows[p]
        if inputs.shape[1] > 1:
            z = z * ops.cast(inputs[:, 1:], dtype)
            z = z + ops.cast(cell.bias, dtype) if cell.use_bias else z
        z = z + ops.matmul(h, ops.cast(cell.recurrent_kernel, dtype))
        i, f, g, o = ops.split(z, 4, axis=1)
        c = cell.recurrent_activation(f) * c + cell.recurrent_activation(i) * cell.activation(g)
        h = cell.recurrent_activation(o) * cell.activation(c)
        h, c = (ops.cast(state, "float32") for state in (h, c))  # what the loop carries
        return h, [h, c]
