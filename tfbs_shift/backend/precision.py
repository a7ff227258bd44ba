"""Layers that compute in another precision for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import keras

from tfbs_shift.errors import InputError

PRECISIONS = ("float32", "bfloat16")


def checked(precision: str) -> str:
    """``precision`` itself.

    Raises:
        InputError: it is none of ``PRECISIONS``.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r}: want one of {', '.join(PRECISIONS)}")
    return precision


@contextlib.contextmanager
def computing_in(model: keras.Model, policy: str, *, but: Sequence[Any] = ()) -> Iterator[None]:
    """The layers of a float32 model compute under a policy inside; the weights stay float32.

    So do penalties on outputs: float16 ends at 65,504, which a sum of squares soon exceeds, and
    Keras cannot add terms of several types. Layers that have a policy of their own (mixed, float16,
    quantized) keep it.

    Args:
        model: any Keras model.
        policy: "float32" (nothing changes), "mixed_bfloat16" or "mixed_float16".
        but: layers that stay as they are.
    """
    changed = []
    if policy != "float32":
        for layer in model._flatten_layers():
            if layer.dtype_policy.name == "float32" and not any(layer is one for one in but):
                changed.append((layer, layer.dtype_policy, layer.activity_regularizer))
                layer.dtype_policy = policy
                if layer.activity_regularizer is not None:
                    layer.activity_regularizer = partial(_in_float32, layer.activity_regularizer)
    try:
        yield
    finally:
        for layer, own, penalty in changed:
            layer.dtype_policy, layer.activity_regularizer = own, penalty


def _in_float32(penalty: Callable[[Any], Any], outputs: Any) -> Any:
    return penalty(keras.ops.cast(outputs, "float32"))


def last_layers(model: keras.Model) -> list[Any]:
    """The layers that make the predictions, so far as the structure tells.

    Probabilities of 8 or 11 bits leave no loss near 0 and no gradient near 1: the last layer of a
    network that trains in low precision computes in float32.
    """
    if isinstance(model, keras.Sequential):
        layers = model.layers[-1:]
    else:
        outputs = getattr(model, "outputs", None) or []
        layers = [output._keras_history.operation for output in outputs]
    return [
        last
        for layer in layers
        for last in (last_layers(layer) if isinstance(layer, keras.Model) else [layer])
    ]
