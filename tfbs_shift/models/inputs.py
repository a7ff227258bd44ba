"""What a Keras model reads, and how one that reads another form is fed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from tfbs_shift.backend.internals import loss_weights
from tfbs_shift.errors import InputError
from tfbs_shift.models.architectures import alphabet

Tensor = Any
Shape = tuple[int | None, ...]

_CHANNELS = 4


def input_shape(model: keras.Model) -> Shape:
    """(batch, length, channels) that a model reads, None for each that is free or not known.

    One input in a list or dict is one input.

    Raises:
        InputError: several inputs, or an input that is no sequence; with the way to have it read.
    """
    shapes = _shapes(model)
    if shapes is None:
        return (None, None, None)
    name = f"model {model.name!r}"
    if len(shapes) > 1:
        listed = ", ".join(f"{key} {shape}" for key, shape in shapes.items())
        raise InputError(
            f"{name}: has several inputs ({listed[:150]}); one sequence is wanted: give the others "
            "values, constant={NAME: value}, or args= where each example has its own"
        )
    (shape,) = shapes.values()
    layout = _layout_of(shape)
    if layout == "NCL":
        raise InputError(
            f"{name}: reads {shape[2] or 'any number of'} channels: its input is {shape}, its axes "
            "swapped: give layout='NCL'"
        )
    if layout is not None or len(shape) != 3:
        way = "" if layout is None else f": give layout={layout!r}"
        way = ": if it reads integers, give layout='NL'" if len(shape) == 2 else way
        raise InputError(f"{name}: reads {shape}; want (batch, length, channels){way}")
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
        wraps = isinstance(getattr(model, "model", None), keras.Model)  # as evoaug's RobustModel
        wrapped = ", or, as it wraps a model, audit its .model" if wraps else ""
        raise InputError(f"model {model.name!r}: its input length is free: give window{wrapped}")
    return length


def fed(model: keras.Model, x: Any) -> Any:
    """x as a model with one input takes it: in a list or dict, if it was made with one.

    Keras takes the bare tensor, too, and warns at each call.
    """
    try:
        structure = model.input
    except (AttributeError, ValueError):  # subclassed, Sequential, never called
        return x
    if not isinstance(structure, dict | list | tuple):
        return x
    return keras.tree.map_structure(lambda _: x, structure)


def as_read(
    model: keras.Model,
    layout: str | None = None,
    constant: Mapping[str, Any] | None = None,
    window: int | None = None,
) -> keras.Model:
    """A Keras model (B, L, C) that feeds another as that one reads; of the same weights.

    Args:
        model: any Keras model.
        layout: the axes that it reads, in their order: N (examples, first), L (length), C
            (channels) and a 1 for each axis of size 1: "NLC" (as here), "NCL", "NL1C", "N1LC", ...
            "NL" are integers, the place of the base in the model's alphabet (:func:`alphabet`), or
            4 for an unknown base. None: "NLC".
        constant: values of the other inputs of a model with several, by name, the same for every
            example: shapes without the batch axis, or a number for all elements.
        window: L, where the model itself does not say it.

    Returns:
        A functional model (B, L, C) around ``model``, with its compiled loss; ``model`` itself
        where there is nothing to change.

    Raises:
        InputError: no such layout, one that is not the model's, or constants that do not fit.

    >>> as_read(keras.Sequential([keras.Input((4, 90)), layers.Flatten()]), "NCL").input_shape
    (None, 90, 4)
    """
    constants = dict(constant or {})
    if not constants and layout in (None, "NLC"):
        return model
    shapes = _shapes(model)
    name, shape = _sequence_input(model, shapes, constants)
    layout = _checked(layout or "NLC", shape, model)
    length = window if shape is None else shape[layout.index("L")]
    sequence = keras.Input((length, _CHANNELS), name=f"sequence_{alphabet(model)}")
    x = _tokens(sequence) if layout == "NL" else _arranged(sequence, layout)
    if constants:
        types = {tensor.name: tensor.dtype for tensor in model.inputs}
        given = {name: ops.cast(x, types[name]) if layout == "NL" else x}
        for key, value in constants.items():
            given[key] = Constant(_value(key, value, shapes[key]).astype(types[key]))(sequence)
        x = keras.tree.map_structure(lambda own: given[own.name], model.input)
    else:
        x = fed(model, x)
    try:
        outputs = model(x)
    except Exception as error:  # of a model that is not known to read this
        reason = " ".join(str(error).split())
        raise InputError(
            f"model {model.name!r}: cannot be called with layout {layout!r} and window {length}: "
            f"{reason[:150]}"
        ) from error
    if isinstance(outputs, list | tuple) and len(outputs) == 1:
        (outputs,) = outputs
    reading = keras.Model(sequence, outputs, name=model.name)
    loss = getattr(model, "loss", None)
    if loss is not None and (not isinstance(loss, dict) or isinstance(outputs, dict)):
        reading.compile(loss=loss, loss_weights=loss_weights(model))
    return reading


def _shapes(model: keras.Model) -> dict[str, Shape] | None:
    """The shapes of a model's inputs by their names; None where they are not known."""
    inputs = getattr(model, "inputs", None)
    if inputs:
        return {tensor.name: tuple(tensor.shape) for tensor in inputs}
    try:
        shape = model.input_shape
    except (AttributeError, ValueError):  # subclassed, or a Sequential that was never built
        return None
    found = shape.items() if isinstance(shape, dict) else enumerate(_listed(shape))
    return {str(key): tuple(one) for key, one in found}


def _listed(shape: Any) -> list:
    """A shape, or several, as a list of shapes."""
    several = shape and isinstance(shape[0], tuple | list)
    return list(shape) if several else [shape]


def _layout_of(shape: Shape) -> str | None:
    """The layout that a shape is surely in, if it is another than (batch, length, channels)."""
    sizes = list(shape[1:])
    if len(sizes) == 2 and sizes[0] == _CHANNELS and sizes[1] != _CHANNELS:
        return "NCL"
    if len(sizes) == 1:
        return None
    if len(sizes) < 3 or sizes.count(_CHANNELS) != 1 or sizes.count(1) != len(sizes) - 2:
        return None
    return "N" + "".join({1: "1", _CHANNELS: "C"}.get(size, "L") for size in sizes)


def _sequence_input(
    model: keras.Model, shapes: dict[str, Shape] | None, constants: Mapping[str, Any]
) -> tuple[str, Shape | None]:
    """(name, shape) of the one input that has no constant."""
    if shapes is None:
        if constants:
            raise InputError(
                f"model {model.name!r}: the names of its inputs are not known, as it is no "
                "functional model: call it in a function of windows instead of giving constant"
            )
        return "", None
    unknown = sorted(set(constants) - set(shapes))
    if unknown:
        raise InputError(
            f"constant: model {model.name!r} has no input {unknown[0]!r}; want some of "
            f"{', '.join(shapes)}"
        )
    left = [name for name in shapes if name not in constants]
    if len(left) != 1:
        listed = ", ".join(f"{name} {shapes[name]}" for name in left) or "none"
        raise InputError(
            f"constant: of the inputs of model {model.name!r} one must be left, which reads the "
            f"sequence; left are: {listed[:150]}"
        )
    return left[0], shapes[left[0]]


def _checked(layout: str, shape: Shape | None, model: keras.Model) -> str:
    """The layout, if it is one and that of the input."""
    check_layout(layout)
    if shape is None:
        return layout
    sizes = dict(zip(layout, shape, strict=False))
    dummies = [size for axis, size in zip(layout, shape, strict=False) if axis == "1"]
    fits = len(layout) == len(shape) and all(size in (1, None) for size in dummies)
    if not fits or sizes.get("C") not in (_CHANNELS, None):
        raise InputError(f"layout {layout!r}: but model {model.name!r} reads {shape}")
    return layout


def check_layout(layout: str) -> None:
    """Raises InputError for a word that is no layout, see :func:`as_read`."""
    axes = layout.replace("1", "")
    if layout != "NL" and (layout[:1] != "N" or sorted(axes[1:]) != ["C", "L"]):
        raise InputError(
            f"layout {layout!r}: want N, then L and C in any order with a 1 for each axis of size "
            "1 (NLC, NCL, NL1C, N1LC, ...), or NL of integers"
        )


def _arranged(x: Tensor, layout: str) -> Tensor:
    """x (B, L, C) in a layout."""
    if layout.index("C") < layout.index("L"):
        x = layers.Permute((2, 1))(x)
    if "1" not in layout:
        return x
    sizes = {"L": -1, "C": _CHANNELS, "1": 1}
    return layers.Reshape([sizes[axis] for axis in layout[1:]])(x)


def _tokens(x: Tensor) -> Tensor:
    """x (B, L, C) as integers (B, L): the channel that is 1, or C where none is."""
    known = ops.max(x, axis=-1) > 0.5
    return ops.where(known, ops.cast(ops.argmax(x, axis=-1), "int32"), _CHANNELS)


def _value(name: str, value: Any, shape: Shape) -> np.ndarray:
    """A constant input of the shape (without the batch axis) that a model reads."""
    array = np.asarray(value)
    wanted = shape[1:]
    if array.ndim == 0 and None not in wanted:
        return np.full(wanted, array)
    fits = array.ndim == len(wanted) and all(
        size in (None, own) for size, own in zip(wanted, array.shape, strict=True)
    )
    if not fits:
        raise InputError(
            f"constant[{name!r}]: has shape {array.shape}; want {wanted}, the same for every "
            "example"
        )
    return array


class Constant(layers.Layer):
    """The same value for each example of a batch."""

    def __init__(self, value: np.ndarray):
        super().__init__(dtype=value.dtype.name, autocast=False)
        self.value = value

    def call(self, x: Tensor) -> Tensor:
        value = ops.convert_to_tensor(self.value)
        return ops.broadcast_to(value, (ops.shape(x)[0], *self.value.shape))

    def compute_output_spec(self, x: Tensor) -> keras.KerasTensor:
        return keras.KerasTensor((x.shape[0], *self.value.shape), self.value.dtype.name)


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
    check_layout(layout)
    if layout == "NL":
        return np.where(windows.any(axis=2), windows.argmax(axis=2), windows.shape[2])
    letters = layout.replace("1", "")
    moved = windows if letters == "NLC" else windows.transpose(0, 2, 1)
    shape = iter(moved.shape)
    return moved.reshape([1 if letter == "1" else next(shape) for letter in layout])
