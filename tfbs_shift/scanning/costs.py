"""What layers cost: multiplications of matrix products.

Everything else (activations, pools, additions) is proportional to the tensors' sizes and small
beside them in the networks at hand; where it is not, the figures say nothing about time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from keras import layers

Shape = tuple[int | None, ...]

_PER_POSITION = (
    layers.Conv1D,
    layers.Conv2D,
    layers.DepthwiseConv1D,
    layers.Dense,
    layers.SeparableConv1D,
)


@dataclass(frozen=True)
class Costs:
    """Multiplications of a step.

    Attributes:
        plain: for a window, if nothing is shared.
        once: for an example, whatever the number of windows.
        window: for a window.
    """

    plain: int = 0
    once: int = 0
    window: int = 0

    def worth_sharing(self, starts: int) -> bool:
        """Whether so many windows of an example cost no more shared than by themselves."""
        return self.once + starts * self.window <= starts * self.plain


def multiplications(layer: Any) -> int | None:
    """For one position of the output (one step of the sequence for an LSTM); None: not known."""
    if isinstance(layer, layers.Bidirectional):
        one, other = multiplications(layer.forward_layer), multiplications(layer.backward_layer)
        return None if one is None or other is None else one + other
    if isinstance(layer, layers.LSTM | layers.GRU | layers.SimpleRNN):
        return _size(layer.cell.kernel) + _size(layer.cell.recurrent_kernel)
    if isinstance(layer, layers.SeparableConv1D):
        return _size(layer.depthwise_kernel) + _size(layer.pointwise_kernel)
    if isinstance(layer, _PER_POSITION):
        return _size(layer.kernel)
    if any(len(weight.shape) > 1 for weight in getattr(layer, "trainable_weights", ())):
        return None
    return 0


def of_window(layer: Any, inputs: Shape, outputs: Shape) -> int | None:
    """For one window, given the shapes of the layer's first input and output, the batch first."""
    recurrent = isinstance(
        layer, layers.LSTM | layers.GRU | layers.SimpleRNN | layers.Bidirectional
    )
    positions = inputs[1:2] if recurrent else outputs[1:-1]
    each = multiplications(layer)
    return None if each is None else each * math.prod(size or 1 for size in positions)


def _size(weight: Any) -> int:
    return math.prod(weight.shape)
