"""Finding out what the predictions of a Keras model mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from tfbs_shift.errors import InputError
from tfbs_shift.tasks import Classes, Labels, OnlyLoss, Task
from tfbs_shift.tasks.losses import single_loss

_CROSSENTROPY = {"softmax": "categorical_crossentropy", "sigmoid": "binary_crossentropy"}


def inferred(
    model: keras.Model, few: Callable[[], np.ndarray], *, threshold: float = 0.5
) -> tuple[Task, Any]:
    """The task of a model, and its loss: the compiled one, or the cross-entropy that fits.

    Found out from the last layer, else from the compiled loss, else from predictions.

    Args:
        model: any Keras model with one output.
        few: predicts a few examples, (b, K); called only where the structure does not tell.
        threshold: of the task.

    Raises:
        InputError: several outputs, an output that is not (B, K), or logits without a loss.
    """
    shape = _output_shape(model, few)
    width = int(shape[1])
    loss = model.loss if getattr(model, "compiled", False) else None
    if loss is not None:
        loss = single_loss(loss, width)
    kind = activation = _last_activation(model)
    logits = False
    if kind not in _CROSSENTROPY and loss is not None:
        kind, logits = _meaning(loss)
    if kind not in _CROSSENTROPY:
        # A linear output may lie in 0..1 by chance; it is no probability for that.
        kind = "" if activation == "linear" else _looks_like(few())
    if loss is None:
        if not kind:
            raise InputError(
                f"model {model.name!r}: predictions are not probabilities; compile it with "
                "its loss (from_logits=True for logits)"
            )
        loss = keras.losses.get(_CROSSENTROPY[kind])
    if not kind:
        return OnlyLoss(width), loss
    exclusive = kind == "softmax" or width == 1
    task: Task = Classes(width, logits) if exclusive else Labels(width, logits)
    return replace(task, threshold=threshold), loss


def _output_shape(model: keras.Model, few: Callable[[], np.ndarray]) -> tuple[int | None, ...]:
    """(batch, K) of the predictions."""
    try:
        predictions = model.output
    except (AttributeError, ValueError):  # that takes a run of it
        predictions = few()
    if isinstance(predictions, dict | list | tuple):
        raise InputError(f"model {model.name!r}: has several outputs; one is wanted")
    if len(predictions.shape) != 2:
        shape = ", ".join(["batch", *map(str, predictions.shape[1:])])
        raise InputError(
            f"model {model.name!r}: predicts ({shape}); want (batch, classes or labels)"
        )
    return tuple(predictions.shape)


def _last_activation(model: keras.Model) -> str:
    """Name of the activation that makes the predictions; "" where the structure does not tell."""
    if isinstance(model, keras.Sequential):
        last = model.layers[-1] if model.layers else None
    else:
        names = getattr(model, "output_names", None) or [""]
        last = next((layer for layer in model.layers if layer.name == names[0]), None)
    if isinstance(last, keras.Model):
        return _last_activation(last)
    if isinstance(last, keras.layers.Softmax):
        return "softmax"
    return getattr(getattr(last, "activation", None), "__name__", "")


def _meaning(loss: Any) -> tuple[str, bool]:
    """(kind of prediction, whether logits) that a loss object or function stands for."""
    name = getattr(loss, "__name__", type(loss).__name__).lower().replace("_", "")
    kind = next(
        (k for word, k in (("categorical", "softmax"), ("binary", "sigmoid")) if word in name), ""
    )
    config = loss.get_config() if kind and isinstance(loss, keras.losses.Loss) else {}
    return kind, bool(config.get("from_logits", False))


def _looks_like(predictions: np.ndarray) -> str:
    if not ((predictions >= 0) & (predictions <= 1)).all():
        return ""
    sums_to_one = np.allclose(predictions.sum(axis=1), 1, atol=1e-3)
    return "softmax" if predictions.shape[1] > 1 and sums_to_one else "sigmoid"
