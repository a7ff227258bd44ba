"""What Keras has no public name for, beside what ``graph`` and ``precision`` need."""

from __future__ import annotations

from typing import Any

import keras


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
    """The weights that the losses of a compiled model were given; None where there are none."""
    config = getattr(model, "_compile_config", None)
    return None if config is None else config.config.get("loss_weights")


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


def structure(model: keras.Model) -> list[tuple[Any, str]]:
    """Every layer and variable of a model, and what each computes in.

    A graph that was traced from a model serves as long as these are the same objects: new values of
    the variables are seen by it, another layer, variable or policy is not.
    """
    objects = [(layer, layer.dtype_policy.name) for layer in every_layer(model)]
    return [*objects, *((variable, str(variable.dtype)) for variable in model.variables)]
