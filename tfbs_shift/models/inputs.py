"""What a Keras model reads."""

from __future__ import annotations

import keras
import numpy as np

from tfbs_shift.errors import InputError


def input_shape(model: keras.Model) -> tuple[int | None, ...]:
    """(batch, length, channels) that a model reads, None for each that is free or not known.

    Raises:
        InputError: several inputs, or an input that is no sequence.
    """
    try:
        shape = model.input_shape
    except (AttributeError, ValueError):  # subclassed, or a Sequential that was never built
        return (None, None, None)
    if isinstance(shape, dict | list) or (shape and isinstance(shape[0], tuple)):
        raise InputError(f"model {model.name!r}: has several inputs; one sequence is wanted")
    if len(shape) != 3:
        raise InputError(f"model {model.name!r}: reads {shape}; want (batch, length, channels)")
    return shape


def input_window(model: keras.Model, window: int | None = None) -> int:
    """The number of bases a model reads, L.

    Args:
        model: any Keras model with one input (B, L, channels).
        window: needed where the model's input length is free or it was never built, and else
            either None or equal to the model's own.

    Raises:
        InputError: several inputs, an input that is no sequence, or a window that does not fit.
    """
    own = input_shape(model)[1]
    if own is not None and window not in (None, own):
        raise InputError(f"window {window}: but model {model.name!r} reads {own} bp")
    length = own if own is not None else window
    if length is None:
        raise InputError(f"model {model.name!r}: its input length is free: give window")
    return length


def laid_out(windows: np.ndarray, layout: str) -> np.ndarray:
    """Windows (n, L, C) in another order of axes.

    Args:
        windows: the windows.
        layout: a word of N (first), L, C, each once, and 1 for an axis of that size: "NLC" (as they
            are), "NCL", "NL1C", "N1LC", ...; or "NL": integers 0..3, the channel of each base, 4
            where it is none.

    Raises:
        InputError: no such layout.
    """
    if layout == "NL":
        return np.where(windows.any(axis=2), windows.argmax(axis=2), windows.shape[2])
    letters = layout.replace("1", "")
    if sorted(letters) != sorted("NLC") or not layout.startswith("N"):
        raise InputError(
            f"layout {layout!r}: want a word of N (first), L, C and 1, such as NLC, NCL, NL1C; or "
            "NL for integers"
        )
    moved = windows if letters == "NLC" else windows.transpose(0, 2, 1)
    shape = iter(moved.shape)
    return moved.reshape([1 if letter == "1" else next(shape) for letter in layout])


def as_read(model, layout=None, constant=None):
    raise NotImplementedError
