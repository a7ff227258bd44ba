"""What Keras has no public name for, beside what ``graph`` and ``precision`` need."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tfbs_shift.backend import computing


def input_names(model: keras.Model) -> list[str]:
    """The names that a model's first input goes by; none where the model was never built.

    A Sequential model makes its input anew; the name that was given is its first layer's.
    """
    inputs = getattr(model, "inputs", None)  # a subclassed model has none
    names = [inputs[0].name] if inputs else []
    return names + [layer.name for layer in getattr(model, "_layers", [])[:1]]


def make_variables(trainer: keras.Model, batch: Any) -> None:
    """Makes the variables of a compiled model's optimizer and metrics, as its first step would.

    Args:
        trainer: a compiled model.
        batch: what ``fit`` would give to the step.
    """
    trainer._symbolic_build(data_batch=batch)


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
    layers = model._flatten_layers(include_self=False)
    objects = [(layer, layer.dtype_policy.name) for layer in layers]
    return [*objects, *((variable, str(variable.dtype)) for variable in model.variables)]
