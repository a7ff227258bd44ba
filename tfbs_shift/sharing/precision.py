"""Layers that compute in another precision for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

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
def computing_in(model: keras.Model, precision: str) -> Iterator[None]:
    """The layers of a float32 model compute in ``precision`` inside; the weights stay float32.

    Layers that have a policy of their own (mixed, float16, quantized) keep it.
    """
    changed = []
    if precision != "float32":
        for layer in model._flatten_layers():
            if layer.dtype_policy.name == "float32":
                changed.append((layer, layer.dtype_policy))
                layer.dtype_policy = f"mixed_{precision}"
    try:
        yield
    finally:
        for layer, policy in changed:
            layer.dtype_policy = policy
