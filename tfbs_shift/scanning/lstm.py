"""An LSTM whose input products windows share: only its recurrence is run for each window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from keras import layers, ops

from tfbs_shift.scanning.costs import Costs, multiplications
from tfbs_shift.scanning.units import Layout, SharedTensor, View

Tensor = Any


def is_plain_lstm(layer: Any) -> bool:
    """Whether a layer is an LSTM, or two, that runs from fresh states and returns outputs alone."""
    if type(layer) is layers.Bidirectional:
        return (
            layer.merge_mode in ("concat", "sum", "mul", "ave")
            and is_plain_lstm(layer.forward_layer)
            and is_plain_lstm(layer.backward_layer)
        )
    return type(layer) is layers.LSTM and not (layer.stateful or layer.return_state)


def costs_of_lstm(layer: Any, features: Layout) -> Costs:
    """Of a plain LSTM: its input products once, its recurrence for each window."""
    products = sum(way.cell.kernel.shape[0] * way.cell.kernel.shape[1] for way in _ways(layer))
    plain = features.units * (multiplications(layer) or 0)
    return Costs(plain, features.dense_length * products, plain - features.interior * products)


def shared_gates(layer: Any, features: SharedTensor, *, add_bias: bool) -> list[SharedTensor]:
    """What each way of a plain LSTM makes of its inputs alone, 4 x its units as channels.

    The bias waits if a factor is to come.
    """
    return [_gates(way.cell, features, add_bias) for way in _ways(layer)]


def run_lstm(
    layer: Any, gates: Sequence[SharedTensor], view: View, factor: Tensor | None
) -> Tensor:
    """A plain LSTM for some windows, (rows, units, C), or (rows, C) of the last step.

    Args:
        gates: what ``shared_gates`` returned.
        factor: by what each window scales its features, (rows, units, 1); None: by nothing.
    """
    results = [
        _recurrence(way, view, own, factor) for way, own in zip(_ways(layer), gates, strict=True)
    ]
    if len(results) == 1:
        return results[0]
    forward, backward = results
    if layer.return_sequences:
        backward = ops.flip(backward, axis=1)
    if layer.merge_mode == "concat":
        return ops.concatenate([forward, backward], axis=-1)
    if layer.merge_mode == "mul":
        return forward * backward
    total = forward + backward
    return total / 2 if layer.merge_mode == "ave" else total


def _ways(layer: Any) -> list[Any]:
    two = type(layer) is layers.Bidirectional
    return [layer.forward_layer, layer.backward_layer] if two else [layer]


def _gates(cell: Any, x: SharedTensor, add_bias: bool) -> SharedTensor:
    dtype = cell.compute_dtype
    kernel = ops.cast(cell.kernel, dtype)
    bias = ops.cast(cell.bias, dtype) if add_bias and cell.use_bias else None

    def multiplied(y: Tensor) -> Tensor:
        flat = ops.reshape(ops.cast(y, dtype), (-1, y.shape[2]))
        result = ops.matmul(flat, kernel)
        result = result if bias is None else result + bias
        return ops.reshape(result, (-1, y.shape[1], kernel.shape[1]))

    def border(view: View, begin: int, end: int) -> Tensor:
        return multiplied(view.units(x, begin, end))

    layout = replace(x.layout, channels=kernel.shape[1])
    return SharedTensor(layout, multiplied(x.dense), border)


def _recurrence(layer: Any, view: View, gates: SharedTensor, factor: Tensor | None) -> Tensor:
    """(rows, units, C), or (rows, C) of the last step."""
    rows, units = view.rows, gates.layout.units
    # The sequence that the loop walks along is that of the positions; what is there is looked up.
    positions = ops.arange(units, dtype="float32")[None, :, None]
    sequence = ops.broadcast_to(positions, (rows, units, 1))
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

    def __init__(self, cell: Any, view: View, gates: SharedTensor):
        super().__init__(dtype="float32")
        self.cell, self.view, self.gates = cell, view, gates
        self.state_size = [cell.units, cell.units]
        self.output_size = cell.units
        self.windows = ops.swapaxes(view.windows(gates), 0, 1) if gates.layout.borders else None
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
