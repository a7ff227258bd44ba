"""Rules for layers that treat every position by itself, and all alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

from tfbs_shift.backend.graph import Step
from tfbs_shift.scanning.costs import Costs, multiplications
from tfbs_shift.scanning.rules import NotShared, Rule, check_worth
from tfbs_shift.scanning.units import Layout, SharedTensor, View, stretch

Tensor = Any

# Position by position, whatever their settings (but an activation).
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


def is_pointwise(step: Step) -> bool:
    """Whether a step treats every position by itself, and all alike.

    Raises:
        NotShared: its activation may not.
    """
    operation, kind = step.operation, type(step.operation)
    if isinstance(operation, keras.Layer):
        return _is_pointwise_layer(operation)
    if not (kind.__module__.startswith("keras.") and kind.__name__ in _OPERATIONS):
        return False
    # Constants may differ from position to position: those of the call, and the operation's own.
    args, kwargs = step.arguments
    own = [value for name, value in vars(operation).items() if not name.startswith("_")]
    constants = [a for a in (*args, *kwargs.values()) if not keras.backend.is_keras_tensor(a)]
    return all(np.ndim(a) == 0 for a in constants + own)


def check_activation(layer: Any) -> None:
    """Raises NotShared unless a layer's activation treats every position by itself."""
    function = layer.activation
    if isinstance(function, keras.Layer) and not _is_pointwise_layer(function):
        raise NotShared("its activation is a layer that may mix positions")
    module = getattr(function, "__module__", None) or type(function).__module__
    if function is not None and module.split(".")[0] not in ("keras", __package__.split(".")[0]):
        raise NotShared("its activation is none of Keras's, and may mix positions")


def pointwise(step: Step, inputs: Sequence[Layout], starts: int) -> Rule:
    """The rule for a step that :func:`is_pointwise`, of any number of inputs.

    Raises:
        NotShared: the inputs do not lie alike, or nothing is gained.
    """
    if len({(x.units, x.stride) for x in inputs}) > 1:
        raise NotShared("its inputs have different strides or lengths")
    first = inputs[0]
    left = max(x.left for x in inputs)
    right = max(x.right for x in inputs)
    if left + right >= first.units:
        raise NotShared("padding reaches every position")
    channels = _channels(step.operation, [x.channels for x in inputs])
    layout = Layout(first.windows, first.units, channels, first.stride, left, right)
    weights = multiplications(step.operation) or 0
    costs = Costs(layout.units * weights, layout.dense_length * weights, layout.borders * weights)
    check_worth(costs, starts)
    return _Pointwise(layout, costs, step)


@dataclass(frozen=True, eq=False)
class _Pointwise(Rule):
    step: Step

    def apply(self, inputs: Sequence[SharedTensor], prepared: Any) -> SharedTensor:
        # The borders are the widest of the inputs': of the others some interior is left out.
        layout = self.layout
        dense = [
            stretch(x.dense, layout.stride * (layout.left - x.layout.left), layout.dense_length)
            for x in inputs
        ]

        def border(view: View, begin: int, end: int) -> Tensor:
            return self.step([view.units(x, begin, end) for x in inputs])[0]

        return SharedTensor(layout, self.step(dense)[0], border)


def _is_pointwise_layer(layer: Any) -> bool:
    kind = type(layer)  # a subclass may do something else
    if kind in (layers.Activation, layers.Dense):
        check_activation(layer)
    if kind in _POINTWISE:
        return True
    if kind in (layers.Concatenate, layers.Softmax, layers.BatchNormalization):
        return layer.axis in (-1, 2)
    if kind in (layers.LayerNormalization, layers.UnitNormalization) or kind is getattr(
        layers, "RMSNormalization", None
    ):
        axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
        return all(axis in (-1, 2) for axis in axes)
    return kind is layers.PReLU and 1 in (layer.shared_axes or ())


def _channels(layer: Any, inputs: Sequence[int]) -> int:
    if type(layer) is layers.Dense:
        return layer.units
    return sum(inputs) if type(layer) is layers.Concatenate else max(inputs)
