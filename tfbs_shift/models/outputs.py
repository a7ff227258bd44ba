"""What a Keras model reads, what its predictions mean, and its loss for each example."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy import special

from tfbs_shift.errors import InputError

Tensor = Any
Loss = Callable[[Tensor, Tensor], Tensor]


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
    loss = _single_loss(loss, y, predictions)
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


def _single_loss(loss: Any, y: Tensor, predictions: Tensor) -> Any:
    """The loss object or function behind what ``compile`` was given."""
    if loss is None:
        raise InputError("the model has no loss: give one to compile")
    if isinstance(loss, dict | list | tuple):
        values = list(loss.values()) if isinstance(loss, dict) else list(loss)
        if len(values) != 1:
            raise InputError(f"{len(values)} losses: want a model with one output and one loss")
        loss = values[0]
    if loss in ("crossentropy", "ce"):  # what Keras makes of them
        if predictions.shape[-1] == 1:
            loss = "binary_crossentropy"
        elif len(y.shape) == 1 or y.shape[-1] == 1:
            loss = "sparse_categorical_crossentropy"
        else:
            loss = "categorical_crossentropy"
    return keras.losses.get(loss)


@dataclass(frozen=True)
class Outputs:
    """The meaning of a model's predictions (B, K).

    Attributes:
        kind: "softmax" (one class of K), "sigmoid" (K labels), or "" where only a custom loss is
            known.
        width: K.
        logits: predictions are before the softmax or sigmoid.
        loss: the compiled loss (object or function), or the cross-entropy that fits.
    """

    kind: str
    width: int
    logits: bool
    loss: Any

    @classmethod
    def of(cls, model: keras.Model, windows: np.ndarray) -> Outputs:
        """Finds out from the last layer, else from the compiled loss, else from predictions.

        Args:
            model: any Keras model with one output.
            windows: a few examples (B, L, channels) to predict.

        Raises:
            InputError: several outputs, an output that is not (B, K), or logits without a loss.
        """

        def predicted() -> Tensor:
            return model(ops.cast(windows, model.compute_dtype), training=False)

        predictions = _symbolic_output(model)
        if predictions is None:
            predictions = predicted()
        if isinstance(predictions, dict | list | tuple):
            raise InputError(f"model {model.name!r}: has several outputs; one is wanted")
        if len(predictions.shape) != 2:
            shape = ", ".join(["batch", *map(str, predictions.shape[1:])])
            raise InputError(
                f"model {model.name!r}: predicts ({shape}); want (batch, classes or labels)"
            )
        loss = model.loss if getattr(model, "compiled", False) else None
        if loss is not None:
            loss = _single_loss(loss, predictions, predictions)
        kind = activation = _last_activation(model)
        logits = False
        if kind not in ("softmax", "sigmoid") and loss is not None:
            kind, logits = _meaning(loss)
        if kind not in ("softmax", "sigmoid"):
            few = ops.convert_to_numpy(ops.cast(predicted(), "float32"))
            # A linear output may lie in 0..1 by chance; it is no probability for that.
            kind = "" if activation == "linear" else _looks_like(few)
        if loss is None:
            if not kind:
                raise InputError(
                    f"model {model.name!r}: predictions are not probabilities; compile it with "
                    "its loss (from_logits=True for logits)"
                )
            crossentropy = {"softmax": "categorical_crossentropy", "sigmoid": "binary_crossentropy"}
            loss = keras.losses.get(crossentropy[kind])
        return cls(kind, int(predictions.shape[1]), logits, loss)

    @property
    def exclusive(self) -> bool:
        """One class an example (softmax or one sigmoid), so that it is either right or wrong."""
        return self.kind == "softmax" or (self.kind == "sigmoid" and self.width == 1)

    def labels(self, y: Any, count: int) -> Any:
        """Labels in the form that the loss takes.

        A softmax takes one-hot (N, K) or class numbers (N,); one sigmoid takes 0/1 as (N,) or
        (N, 1), or one-hot (N, 2) whose column 1 is the positive class; several sigmoids take
        (N, K).

        Raises:
            InputError: the labels do not fit the examples or the predictions.
        """
        if len(y) != count:
            raise InputError(f"{count} sequences, but {len(y)} labels")
        if not self.exclusive and y.shape == (count, self.width):
            return y  # as it is: labels of many examples may stay in their file
        y = np.asarray(y)
        flat = y.reshape(count) if y.shape in ((count,), (count, 1)) else None
        if self.kind == "softmax":
            if flat is not None:
                if not (np.mod(flat, 1) == 0).all() or flat.min() < 0 or flat.max() >= self.width:
                    raise InputError(
                        f"labels {flat.min()}..{flat.max()}: want classes 0..{self.width - 1}"
                    )
                one_hot = np.eye(self.width, dtype=np.float32)[flat.astype(int)]
            else:
                one_hot = y
            if one_hot.shape == (count, self.width):
                if not np.allclose(one_hot.sum(axis=1), 1):
                    raise InputError(
                        "labels: some examples have several of them or none, and a softmax wants "
                        "one class each; want a model that ends in sigmoids, such as tbinet"
                    )
                return one_hot.argmax(axis=1) if self._sparse else one_hot
        elif self.exclusive:
            if y.shape == (count, 2) and (y.sum(axis=1) == 1).all():
                flat = y[:, 1]
            if flat is not None:
                return flat[:, None]
        elif not self.kind:
            return y
        raise InputError(f"labels {y.shape}: the model predicts ({count}, {self.width})")

    @property
    def _sparse(self) -> bool:
        return "sparse" in getattr(self.loss, "__name__", type(self.loss).__name__).lower()

    def classes(self, predictions: np.ndarray) -> np.ndarray:
        """The class that predictions (..., K) name, where they are exclusive: ``int64`` (...)."""
        if self.width == 1:
            return (predictions[..., 0] > (0.0 if self.logits else 0.5)).astype(np.int64)
        return predictions.argmax(axis=-1)

    def truth(self, y: np.ndarray) -> np.ndarray:
        """The class of each example, ``int64`` (N,), where they are exclusive; y as :meth:`labels`
        has it."""
        if self.width == 1:
            return (y[:, 0] > 0.5).astype(np.int64)
        return y.astype(np.int64) if y.ndim == 1 else y.argmax(axis=1)

    def probabilities(self, predictions: np.ndarray) -> np.ndarray:
        """Predictions (..., K) as probabilities, which logits are not."""
        if not self.logits:
            return predictions
        if self.kind == "softmax":
            return special.softmax(predictions, axis=-1)
        return special.expit(predictions)


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


def _symbolic_output(model: keras.Model) -> Any:
    """What a model is known to return (symbolic tensors), None if that takes a run of it."""
    try:
        return model.output
    except (AttributeError, ValueError):
        return None


def _looks_like(predictions: np.ndarray) -> str:
    if not ((predictions >= 0) & (predictions <= 1)).all():
        return ""
    sums_to_one = np.allclose(predictions.sum(axis=1), 1, atol=1e-3)
    return "softmax" if predictions.shape[1] > 1 and sums_to_one else "sigmoid"
