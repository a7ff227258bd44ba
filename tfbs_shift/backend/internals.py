"""What Keras has no public name for, beside what ``graph`` and ``precision`` need."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tfbs_shift.backend import computing


def input_names(model: keras.Model) -> list[str]:
    """The names that a model's inputs go by; none where the model was never built.

    A Sequential model makes its input anew; the name that was given is its first layer's, or that
    of the first layer's input, if it is a model.
    """
    inputs = getattr(model, "inputs", None)  # a subclassed model has none
    names = [tensor.name for tensor in inputs or ()]
    names += [layer.name for layer in getattr(model, "_layers", [])[:1]]
    if isinstance(model, keras.Sequential) and isinstance((model.layers or [None])[0], keras.Model):
        names += input_names(model.layers[0])
    return names


def loss_weights(model: keras.Model) -> Any:
    """What was given to ``compile`` as ``loss_weights``."""
    return getattr(model._compile_loss, "_user_loss_weights", None)


_ONLY_RESHAPE = (
    keras.layers.Dropout, keras.layers.Flatten, keras.layers.Reshape, keras.layers.Identity,
)  # fmt: skip
_WITH_ACTIVATION = (
    keras.layers.Dense, keras.layers.EinsumDense, keras.layers.Conv1D, keras.layers.Conv2D,
    keras.layers.SeparableConv1D, keras.layers.Activation,
)  # fmt: skip


def output_activations(model: keras.Model, window: int | None) -> list[str]:
    """Name of the activation that makes each output of a model; "" where that is not sure.

    Of a subclassed model the call is followed symbolically: what it is made of tells.

    Args:
        model: any Keras model.
        window: the bases it reads, for one whose input is not known.
    """
    outputs = _symbolic_outputs(model, None if window is None else (1, window, 4))
    return [_activation(output) for output in outputs]


def _symbolic_outputs(model: keras.Model, shape: tuple[int | None, ...] | None) -> list[Any]:
    """What a model predicts, as tensors that know where they come from.

    Args:
        model: any Keras model.
        shape: of an input, for one whose class has a call of its own.
    """
    if type(model).call.__module__.startswith("keras."):
        outputs = getattr(model, "outputs", None)
        if not outputs and isinstance(model, keras.Sequential) and model.layers:
            return [_Last(model.layers[-1])]
        return list(outputs or [])
    if shape is None:
        return []
    try:
        return keras.tree.flatten(model.call(keras.KerasTensor(shape)))
    except Exception:  # made of more than Keras can follow
        return []


def _inputs(history: Any) -> list[Any]:
    """The tensors that an operation was called with."""
    return history.operation._inbound_nodes[history.node_index].input_tensors


class _Last:
    """The output of a layer that was never called."""

    def __init__(self, layer: Any):
        self.layer = layer


def _activation(output: Any) -> str:
    history = getattr(output, "_keras_history", None)
    if isinstance(output, _Last):
        operation = output.layer
    elif history is None:
        return ""
    else:
        operation = history.operation
    if isinstance(operation, keras.Model):
        reads = None if history is None else _inputs(history)[0].shape
        inner = _symbolic_outputs(operation, reads)
        number = 0 if history is None else history.tensor_index
        return _activation(inner[number]) if number < len(inner) else ""
    kind = type(operation)
    if kind in _ONLY_RESHAPE and history is not None:
        found = _activation(_inputs(history)[0])
        reshaped = kind in (keras.layers.Flatten, keras.layers.Reshape)
        return "" if found == "softmax" and reshaped else found
    if kind.__name__ == "Softmax" and kind.__module__.startswith("keras."):  # layer or operation
        return "softmax" if operation.axis in (-1, len(output.shape) - 1) else ""
    if kind in (keras.layers.ReLU, keras.layers.LeakyReLU):
        return "relu"
    if kind is keras.layers.TimeDistributed:
        operation, kind = operation.layer, type(operation.layer)
    if kind in _WITH_ACTIVATION:
        return getattr(operation.activation, "__name__", "")
    own = kind.__module__.startswith("keras.")  # keras.ops.sigmoid is an operation Sigmoid
    return kind.__name__.lower() if own and kind.__name__ in ("Sigmoid", "Softplus") else ""


def make_variables(trainer: keras.Model, batch: Any) -> None:
    """Makes the variables of a compiled model's optimizer and metrics, as its first step would.

    Args:
        trainer: a compiled model.
        batch: what ``fit`` would give to the step.
    """
    trainer._symbolic_build(data_batch=batch)


def every_layer(model: keras.Layer) -> list[keras.Layer]:
    """The layers of a model or layer, those inside others too, each once."""
    return list(model._flatten_layers(include_self=False))


def beside_weights(model: keras.Model) -> list[np.ndarray]:
    """What a model computes with that are no weights: the buffers of PyTorch modules inside it.

    Running means of a wrapped module are some: Keras knows nothing of them.
    """
    if computing.name() != "torch":
        return []
    found = [buffer for layer in model._flatten_layers() for buffer in layer.buffers()]
    different = {id(buffer): buffer for buffer in found}.values()
    return [keras.ops.convert_to_numpy(buffer) for buffer in different]


def structure(model: keras.Model) -> list[tuple[Any, str]]:
    """Every layer and variable of a model, and what each computes in.

    A graph that was traced from a model serves as long as these are the same objects: new values of
    the variables are seen by it, another layer, variable or policy is not.
    """
    objects = [(layer, layer.dtype_policy.name) for layer in every_layer(model)]
    return [*objects, *((variable, str(variable.dtype)) for variable in model.variables)]
