"""Old HDF5 files without an old Keras: written by hand, and computed by numpy alone."""

import json
from pathlib import Path

import h5py
import numpy as np


def write(path: Path, config, weights: dict, *, backend="tensorflow", version="2.1.3") -> Path:
    """A whole model: its configuration, and {layer: {name: array}} in the file's order."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["model_config"] = version, json.dumps(config)
        if backend is not None:
            file.attrs["backend"] = backend
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = np.array([name.encode() for name in weights])
        for layer, arrays in weights.items():
            one = group.create_group(layer)
            names = [name if "/" in name else f"{layer}/{name}" for name in arrays]
            one.attrs["weight_names"] = np.array([name.encode() for name in names])
            for name, array in zip(names, arrays.values(), strict=True):
                one[name] = np.asarray(array, "float32")
    return path


def part(kind: str, name: str, *reads: str, **config) -> dict:
    """A layer of a configuration; what it reads makes it one of a functional model."""
    nodes = [[[one, 0, 0, {}] for one in reads]] if reads else []
    return {"class_name": kind, "name": name, "config": {"name": name, **config},
            "inbound_nodes": nodes}  # fmt: skip


def conv(name: str, *reads: str, filters: int, width: int, **config) -> dict:
    settings = {"filters": filters, "kernel_size": [width], "strides": [1], "padding": "valid",
                "dilation_rate": [1], "activation": "linear", "use_bias": True}  # fmt: skip
    return part("Conv1D", name, *reads, **{**settings, **config})


def functional(*parts: dict, outputs: str) -> dict:
    return {
        "class_name": "Model",
        "config": {
            "name": "model_1",
            "layers": list(parts),
            "input_layers": [[parts[0]["name"], 0, 0]],
            "output_layers": [[outputs, 0, 0]],
        },
    }


def _softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


ACTIVATIONS = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "hard_sigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "softmax": _softmax,
}


def _conv1d(config, arrays, x, theano):
    kernel, bias = arrays
    if theano:  # which turned the kernel round when it ran it
        kernel = kernel[::-1]
    (step,), width = config["dilation_rate"], kernel.shape[0]
    reach = step * (width - 1)
    if config["padding"] == "same":
        x = np.pad(x, ((0, 0), (reach // 2, reach - reach // 2), (0, 0)))
    length = x.shape[1] - reach
    return sum(x[:, i * step : i * step + length] @ kernel[i] for i in range(width)) + bias


def _lstm(config, arrays, x):
    kernel, recurrent, bias = arrays
    gate, act = ACTIVATIONS[config["recurrent_activation"]], ACTIVATIONS[config["activation"]]
    h = c = np.zeros((len(x), config["units"]))
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, axis=-1)
        c = gate(f) * c + gate(i) * act(g)
        h = gate(o) * act(c)
    return h


def _gru(config, arrays, x):
    """The reset gate before the product, as Keras 2 had it."""
    kernel, recurrent, bias = arrays
    gate, act = ACTIVATIONS[config["recurrent_activation"]], ACTIVATIONS[config["activation"]]
    h = np.zeros((len(x), config["units"]))
    rz, rr, rh = np.split(recurrent, 3, axis=-1)
    for t in range(x.shape[1]):
        xz, xr, xh = np.split(x[:, t] @ kernel + bias, 3, axis=-1)
        z, r = gate(xz + h @ rz), gate(xr + h @ rr)
        h = z * h + (1 - z) * act(xh + (r * h) @ rh)
    return h


def _bidirectional(config, arrays, x):
    inner, half = config["layer"]["config"], len(arrays) // 2
    return np.concatenate(
        [_lstm(inner, arrays[:half], x), _lstm(inner, arrays[half:], x[:, ::-1])], axis=-1
    )


def _batch_norm(config, arrays, x):
    gamma, beta, mean, variance = arrays
    return gamma * (x - mean) / np.sqrt(variance + config["epsilon"]) + beta


def _pool(config, x):
    (size,) = np.ravel(config["pool_size"])
    x = x[:, : x.shape[1] // size * size]
    return x.reshape(len(x), -1, size, x.shape[-1]).max(axis=2)


def _apply(kind, config, arrays, xs, theano):
    x = xs[0]
    y = {
        "Conv1D": lambda: _conv1d(config, arrays, x, theano),
        "Dense": lambda: x @ arrays[0] + arrays[1],
        "LSTM": lambda: _lstm(config, arrays, x),
        "GRU": lambda: _gru(config, arrays, x),
        "Bidirectional": lambda: _bidirectional(config, arrays, x),
        "BatchNormalization": lambda: _batch_norm(config, arrays, x),
        "Activation": lambda: x,
        "ReLU": lambda: np.maximum(x, 0),
        "Dropout": lambda: x,
        "Flatten": lambda: x.reshape(len(x), -1),
        "MaxPooling1D": lambda: _pool(config, x),
        "GlobalMaxPooling1D": lambda: x.max(axis=1),
        "GlobalAveragePooling1D": lambda: x.mean(axis=1),
        "Cropping1D": lambda: x[:, config["cropping"][0] : x.shape[1] - config["cropping"][1]],
        "Add": lambda: sum(xs),
        "Concatenate": lambda: np.concatenate(xs, axis=-1),
    }[kind]()
    recurrent = kind in ("LSTM", "GRU")
    return y if recurrent else ACTIVATIONS[config.get("activation", "linear")](y)


def predict(path: Path, x: np.ndarray) -> np.ndarray:
    """What the model in an old file predicts of x, from its configuration and arrays alone."""
    with h5py.File(path) as file:
        config, theano = json.loads(file.attrs["model_config"]), file.attrs["backend"] == "theano"
        group = file["model_weights"]
        arrays = {
            name: [np.float64(one[w]) for w in one.attrs["weight_names"]]
            for name, one in group.items()
        }
    parts = config["config"]
    parts = parts["layers"] if isinstance(parts, dict) else parts
    return _run(parts, arrays, np.float64(x), theano, config["class_name"] == "Sequential")


def _run(parts, arrays, x, theano, sequential):
    tensors, last = {}, x
    for one in parts:
        kind, config = one["class_name"], one["config"]
        if kind == "InputLayer":
            tensors[config["name"], 0] = x
            continue
        calls = [None] if sequential else one["inbound_nodes"]
        for number, reads in enumerate(calls):
            xs = [last] if sequential else [tensors[read[0], read[1]] for read in reads]
            if kind == "Sequential":  # its calls are counted from 1, its arrays are one layer's
                (own,) = [p for p in config if p["class_name"] == "Conv1D"]
                inner = {own["config"]["name"]: arrays[one["name"]]}
                last = _run(config, inner, xs[0], theano, True)
                tensors[one["name"], number + 1] = last
            else:
                last = _apply(kind, config, arrays.get(config["name"]), xs, theano)
                tensors[config["name"], number] = last
    return last
