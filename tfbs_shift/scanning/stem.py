"""What of a network commutes with moving the window: which layers its stem is made of.

Each rule is decided from the layouts of the inputs; what it computes turns shared tensors into a
shared tensor. Costs are counted in multiplications of matrix products: those of one example, of one
window, and of one window if nothing were shared.
"""

from __future__ import annotations

from collections.abc import Sequence

from keras import layers

from tfbs_shift.backend.graph import Step
from tfbs_shift.scanning.convolution import CONVOLUTIONS, convolution
from tfbs_shift.scanning.neighbours import cropping, padding, pooling
from tfbs_shift.scanning.positions import is_pointwise, pointwise
from tfbs_shift.scanning.rules import NotShared, Rule
from tfbs_shift.scanning.units import Layout


def plan(step: Step, inputs: Sequence[Layout], starts: int) -> Rule:
    """How a step of the stem is computed once for all windows of an example.

    Args:
        step: a step with one output.
        inputs: the layouts of its inputs.
        starts: windows run for each example.

    Raises:
        NotShared: the layer mixes positions or is not known, or sharing would not pay.
    """
    layer, kind = step.operation, type(step.operation)  # a subclass may do something else
    if getattr(layer, "quantization_mode", None) is not None:
        raise NotShared("it is quantized")
    if len(inputs) == 1 and kind in CONVOLUTIONS:
        return convolution(layer, inputs[0], starts)
    if len(inputs) == 1 and kind in (layers.MaxPooling1D, layers.AveragePooling1D):
        return pooling(layer, inputs[0])
    if kind is layers.ZeroPadding1D:
        return padding(layer, inputs[0])
    if kind is layers.Cropping1D:
        return cropping(layer, inputs[0])
    if is_pointwise(step):
        return pointwise(step, inputs, starts)
    raise NotShared("mixes positions, or is not known not to")
