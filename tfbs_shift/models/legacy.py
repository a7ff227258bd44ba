"""Whole models in HDF5, as Keras 2 and tf.keras wrote them, by Keras's own classes.

A configuration of Keras 2, once it is vetted, is brought into the form that Keras 3 reads; what
Keras 3 would read with another meaning is set right, or said.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from tfbs_shift.backend.internals import every_layer
from tfbs_shift.errors import InputError
from tfbs_shift.files import open_whole_hdf5
from tfbs_shift.models.architectures import keras2_hard_sigmoid
from tfbs_shift.models.vetting import Config, registered, vetted_hdf5
from tfbs_shift.text import printable

_MODELS = {"Functional": keras.Model, "Model": keras.Model, "Sequential": keras.Sequential}

_INNER = ("layer", "backward_layer", "cell", "cells")
"""Settings of wrappers that are layers themselves."""

_FORMER: dict[str, tuple] = {
    "dynamic": (False,),
    "fused": (None, True, False),
    "implementation": (0, 1, 2),
    "input_dtype": (None, "float32"),
    "ragged": (False, None),
    "renorm": (False,),
    "time_major": (False,),
    "virtual_batch_size": (None,),
}
"""Settings that Keras 3 no longer has, with the values at which they changed nothing."""

_INHERITED = {
    "DepthwiseConv": ("groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"),
    "SeparableConv": ("groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"),
    "MultiHeadAttention": ("query_shape", "key_shape", "value_shape"),
}
"""Settings that layers wrote without using them, by how their classes' names begin."""


def load_legacy(path: Path, backend: str | None = None) -> keras.Model:
    """A whole model that Keras 2 or tf.keras wrote, not compiled.

    Kernels of a Theano file are reversed (Theano convolves, others correlate), ``hard_sigmoid`` is
    clip(0.2 x + 0.5, 0, 1) as it was. Layers get their weights by their names.

    Args:
        path: the file.
        backend: "theano" or "tensorflow", for a file that does not say which wrote it.

    Raises:
        InputError: as of :func:`tfbs_shift.models.vetting.vetted_hdf5`; written by Keras 1; or
            Keras cannot read it.
    """
    config = vetted_hdf5(path)
    with open_whole_hdf5(path) as root:
        version = printable(_text(root.attrs.get("keras_version", "2")), 20)
        stated = root.attrs.get("backend", backend)
    if version.startswith("1."):
        raise InputError(f"{path}: written by Keras {version}; load and save it in Keras 2 first")
    try:
        layers = list(_parts(config))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: its model_config cannot be read ({error!r:.100})") from error
    convolutions = [part for part in layers if "Conv" in part["class_name"]]
    if convolutions and stated is None:
        raise InputError(
            f"{path}: does not say which backend wrote it, and Theano's kernels are reversed: "
            "give backend, theano or tensorflow"
        )
    theano = stated is not None and _text(stated) == "theano"
    if theano:
        _check_theano(layers, path)
    try:
        part = _part(config)
        model = _class(part).from_config(part["config"])
        _check_order(model, path)
        model.load_weights(path, by_name=True)
    except InputError:
        raise
    except Exception as error:  # Keras raises whatever its parsers raise
        reason = printable(" ".join(str(error).split()), 150)
        raise InputError(
            f"{path}: Keras {keras.__version__} cannot read this model of Keras {version}: {reason}"
        ) from error
    if theano:
        _reverse_kernels(model)
    return model


def _class(part: Config) -> Any:
    """The class of a layer or model; None of one that is neither Keras's nor registered."""
    name = part["class_name"]
    custom = registered(part.get("registered_name")) or registered(name)
    if custom is not None or name in _MODELS:
        return custom or _MODELS[name]
    found = getattr(keras.layers, name, None)
    return found if isinstance(found, type) and issubclass(found, keras.Layer) else None


def _parts(part: Config) -> Iterator[Config]:
    """A layer or model and all within it; models in the order of their layers."""
    yield part
    config = part["config"]
    for inner in config if isinstance(config, list) else config.get("layers", ()):
        yield from _parts(inner)
    if isinstance(config, dict):
        for key in _INNER:
            inner = config.get(key)
            for one in inner if isinstance(inner, list) else [inner]:
                if isinstance(one, dict):
                    yield from _parts(one)


# From the form of Keras 2 to that of Keras 3.


def _part(part: Config) -> Config:
    """A layer or model of Keras 2, as Keras 3 reads it."""
    kind, config = part["class_name"], part["config"]
    if isinstance(config, list):  # Sequential, before Keras 2.2.3
        config = {"layers": config}
        if "name" in part:
            config["name"] = part["name"]
    if kind in _MODELS or "layers" in config:
        return {**part, "config": _model(kind, config)}
    return {**part, "config": _layer(kind, config)}


def _model(kind: str, config: Config) -> Config:
    layers = [_part(part) for part in config["layers"]]
    if kind == "Sequential":
        first = config["layers"][0]
        settings = first["config"] if isinstance(first["config"], dict) else {}
        if first["class_name"] != "InputLayer" and "batch_input_shape" in settings:
            given = {"batch_shape": settings["batch_input_shape"], "name": f"{_name(first)}_input"}
            given["dtype"] = settings.get("input_dtype") or "float32"
            layers.insert(0, {"class_name": "InputLayer", "config": given})
        return {"name": config.get("name", "sequential"), "layers": layers}
    # Keras 3 counts the calls of a nested Sequential from 0, Keras 2 from 1.
    nested = {_name(part) for part in config["layers"] if part["class_name"] == "Sequential"}
    layers = [
        {**part, "inbound_nodes": _counted_from_0(part.get("inbound_nodes", []), nested)}
        for part in layers
    ]
    ends = {key: _counted_from_0(config[key], nested) for key in ("input_layers", "output_layers")}
    # One tensor was one tensor, though it was written as a list of one.
    ends = {key: end[0] if _is_list_of_one(end) else end for key, end in ends.items()}
    return {**config, "layers": layers, **ends}


def _is_list_of_one(end: Any) -> bool:
    return isinstance(end, list) and len(end) == 1 and isinstance(end[0], list)


def _name(part: Config) -> str:
    return part.get("name") or part["config"]["name"]


def _counted_from_0(value: Any, nested: set[str]) -> Any:
    """References [layer, call, output, ...] at any depth, calls of ``nested`` one lower."""
    if isinstance(value, dict):
        return {key: _counted_from_0(item, nested) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    if len(value) >= 3 and isinstance(value[0], str) and isinstance(value[1], int):
        lower = value[0] in nested and value[1] > 0
        return [value[0], value[1] - lower, *(_counted_from_0(item, nested) for item in value[2:])]
    return [_counted_from_0(item, nested) for item in value]


def _layer(kind: str, config: Config) -> Config:
    """The settings of a layer."""
    settings = dict(config)
    shape = settings.pop("batch_input_shape", None)
    if kind == "InputLayer":
        settings["batch_shape"] = shape or settings.pop("batch_shape", None)
    if kind in ("GRU", "GRUCell"):
        settings.setdefault("reset_after", False)  # Keras 3's default is another
    unused = next((keys for name, keys in _INHERITED.items() if kind.startswith(name)), ())
    for key, value in list(settings.items()):
        if key in unused or (key in _FORMER and value in _FORMER[key]):
            del settings[key]
        elif key in _INNER and isinstance(value, list):
            settings[key] = [_inner(one) for one in value]
        elif key in _INNER and isinstance(value, dict):
            settings[key] = _inner(value)
        elif key == "dtype" and isinstance(value, dict):  # tf.keras's Policy
            settings[key] = value["config"]["name"]
        elif key.endswith("activation") and value == "hard_sigmoid":
            settings[key] = keras.saving.serialize_keras_object(keras2_hard_sigmoid)
    return settings


def _inner(part: Config) -> Config:
    """A layer inside another, which Keras 3 wants with its module."""
    if "class_name" not in part or registered(part["class_name"]):
        return part
    named = {"module": "keras.layers", "registered_name": None, **_part(part)}
    return {key: value for key, value in named.items() if key != "build_config"}


def _check_order(model: keras.Model, path: Path) -> None:
    """The file's layers must be the model's, and inside nested models in the same order."""
    with open_whole_hdf5(path) as root:
        group = root.get("model_weights", root)
        written = {name: _attribute(group[name], "weight_names")
                   for name in _attribute(group, "layer_names")}  # fmt: skip
    layers = {layer.name: layer for layer in model.layers if layer.weights}
    if {name for name, weights in written.items() if weights} != set(layers):
        raise InputError(f"{path}: the layers that have weights are not those of its model_config")
    for name, layer in layers.items():
        inner = {one.name for one in every_layer(layer)} if hasattr(layer, "layers") else set()
        ours = layer.trainable_weights + layer.non_trainable_weights
        if [_owner(w.path, inner) for w in ours] != [_owner(w, inner) for w in written[name]]:
            raise InputError(f"{path}: the weights of {name} are in another order than Keras reads")


def _owner(weight: str, layers: set[str]) -> str | None:
    """The innermost of some layers that a weight's path names."""
    return next((name for name in reversed(weight.split("/")) if name in layers), None)


def _attribute(group: h5py.Group, name: str) -> list[str]:
    """A list of names, which is in several attributes where it is long."""
    if name in group.attrs:
        return [_text(item) for item in group.attrs[name]]
    parts: list[str] = []
    for i in range(len(group.attrs)):
        if f"{name}{i}" in group.attrs:
            parts += [_text(item) for item in group.attrs[f"{name}{i}"]]
    return parts


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


# Theano.

_REVERSED = {"Conv1D": 1, "Conv2D": 2, "Conv3D": 3}
"""Convolutions whose kernels are known to be reversed in Theano's files: along so many axes."""


def _check_theano(layers: list[Config], path: Path) -> None:
    """Refuses kernels that nobody knows how to turn; warns of ends that Theano padded otherwise."""
    for part in layers:
        kind, settings = part["class_name"], part["config"]
        if "Conv" in kind and kind not in _REVERSED:
            raise InputError(
                f"{path}: written with Theano, and how {kind}'s kernels are to be turned is not "
                f"known; want only {', '.join(_REVERSED)}"
            )
        if not isinstance(settings, dict) or settings.get("padding") != "same":
            continue
        sizes = np.ravel(settings.get("kernel_size", settings.get("pool_size", 1)))
        if (sizes % 2 == 0).any() or math.prod(np.ravel(settings.get("strides") or 1)) > 1:
            warnings.warn(
                f"{path}: layer {_name(part)} pads its ends as TensorFlow does, one position "
                "beside what Theano did, which wrote the file",
                stacklevel=4,
            )


def _reverse_kernels(model: keras.Model) -> None:
    for layer in every_layer(model):
        axes = _REVERSED.get(type(layer).__name__)
        if axes is not None:
            kernel = keras.ops.convert_to_numpy(layer.kernel)
            layer.kernel.assign(np.flip(kernel, tuple(range(axes))))
