"""The loss of each example, by whatever was given to ``compile``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from tfbs_shift.errors import InputError

Tensor = Any


def single_loss(loss: Any, width: int, flat_labels: bool = False) -> Any:
    """The loss object or function behind what ``compile`` was given.

    Args:
        loss: a Keras loss, its name, a function (y, predictions), or a list or dict with one.
        width: K of the predictions (B, K).
        flat_labels: labels are class numbers, which tells what "crossentropy" stands for.

    Raises:
        InputError: no loss, or several.
    """
    if loss is None:
        raise InputError("the model has no loss: give one to compile")
    if isinstance(loss, dict | list | tuple):
        values = list(loss.values()) if isinstance(loss, dict) else list(loss)
        if len(values) != 1:
            raise InputError(f"{len(values)} losses: want a model with one output and one loss")
        loss = values[0]
    if loss in ("crossentropy", "ce"):  # what Keras makes of them
        if width == 1:
            loss = "binary_crossentropy"
        elif flat_labels:
            loss = "sparse_categorical_crossentropy"
        else:
            loss = "categorical_crossentropy"
    return keras.losses.get(loss)


def example_loss(loss: Any, y: Tensor, predictions: Tensor) -> Tensor:
    """The loss of each example, float32 (B,), before any weighting or averaging over examples.

    Args:
        loss: what was given to ``compile``: a Keras loss, its name, a function (y, predictions),
            or a list or dict with one of these.
        y: labels (B, ...), as ``fit`` takes them for this loss.
        predictions: (B, K).

    Raises:
        InputError: several losses, or a loss that has no value for each example.
    """
    flat = len(y.shape) == 1 or y.shape[-1] == 1
    loss = single_loss(loss, predictions.shape[-1], flat)
    predictions = ops.cast(predictions, "float32")
    y = ops.cast(y, "float32")
    if len(y.shape) == 1 and len(predictions.shape) == 2 and predictions.shape[1] == 1:
        y = ops.expand_dims(y, 1)
    function = loss.call if isinstance(loss, keras.losses.Loss) else loss  # call: not reduced
    value = function(y, predictions)
    if len(value.shape) == 0:
        name = getattr(loss, "name", getattr(loss, "__name__", loss))
        raise InputError(f"loss {name}: gives one number a batch; want one for each example")
    return ops.mean(ops.reshape(value, (ops.shape(value)[0], -1)), axis=1)


def loss_of(loss: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """What to ``keep`` of predictions at many starts: their loss alone, (rows, K) -> (rows, 1)."""
    return lambda predictions, y: example_loss(loss, y, predictions)[:, None]


def is_sparse(loss: Any) -> bool:
    """Whether a loss object or function wants class numbers, by its name as Keras names its own."""
    return "sparse" in getattr(loss, "__name__", type(loss).__name__).lower()
