"""Weight files of the original stacks: Keras 2 with Theano, and tf.keras 2.x.

They are read as data with h5py, arrays in the order the file states, sizes from the arrays. No
layer is rebuilt from the file's configuration, so that no code in it is run.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import keras
import numpy as np

from tfbs_shift.errors import InputError
from tfbs_shift.files import open_whole_hdf5
from tfbs_shift.models.architectures import cnn_of_sizes, tbinet_of_sizes
from tfbs_shift.models.vetting import refuse_claims
from tfbs_shift.text import printable

# fmt: off
_TBINET = [
    "Conv1D", "MaxPooling1D", "Dropout", "Dense", "Permute", "Activation", "Permute", "Lambda",
    "RepeatVector", "Permute", "Multiply", "Bidirectional", "Dropout", "Flatten", "Dense",
    "Activation", "Dense", "Activation",
]
_CNN = ["Conv", "ReLU", "Conv", "ReLU", "GlobalMaxPooling", "Dense", "Dropout", "Dense"]
# fmt: on
_TBINET_SETTINGS = {
    "activation": ["relu", "linear", "softmax", "linear", "relu", "linear", "sigmoid"],
    "recurrent_activation": ["hard_sigmoid"],
    "pool_size": [13],
    "padding": ["valid", "valid"],
}
_CNN_SETTINGS = {
    "activation": ["linear", "linear", "relu", "softmax"],
    "padding": ["same", "same"],
}
_PLAIN = {"strides": 1, "dilation_rate": 1, "use_bias": True}  # of the convolutions of both
_POOL = 13
_OLD_NAMES = {
    "InputLayer": "input",
    "MaxPooling1D": "max_pooling1d",
    "RepeatVector": "repeat_vector",
    "ReLU": "re_lu",
    "GlobalMaxPooling1D": "global_max_pooling1d",
}
"""What Keras 2 names layers after, where it is not the class in lower case."""


class OriginalFile(NamedTuple):
    """What a file holds."""

    backend: str
    """"theano" or "tensorflow": whose convention the kernels are in."""
    arrays: list[np.ndarray]
    layers: list[str] | None
    """Class names of the layers but the input, where the file has its configuration."""
    window: int | None
    """Input length, where the file has its configuration."""
    layer_names: list[str]


def load_original(path: Path, backend: str | None = None) -> keras.Model:
    """TBiNet or the paper's CNN from an ``.h5``/``.hdf5`` file, full model or weights only.

    A convolution kernel of a Theano file is reversed along its length (Theano convolves, others
    correlate). The CNN is read from the Conv1D and from the older Conv2D (1, k) layout. A file of
    weights alone does not tell the window: the CNN then has a free length, TBiNet the roundest
    length that gives its number of pooled positions (1000, 900).

    Args:
        path: the file.
        backend: "theano" or "tensorflow", needed if and only if the file does not say.

    Raises:
        InputError: not such a file, damaged, another network, or no backend stated.
    """
    file = _read(path, backend)
    ranks = [array.ndim for array in file.arrays]
    if ranks == [3, 1, 2, 1, 2, 2, 1, 2, 2, 1, 2, 1, 2, 1]:
        model, arrays = _tbinet(file, path)
    elif ranks in ([3, 1, 3, 1, 2, 1, 2, 1], [4, 1, 4, 1, 2, 1, 2, 1]):
        model, arrays = _cnn(file, path)
    else:
        shapes = ", ".join(str(array.shape) for array in file.arrays)
        if len(shapes) > 150:
            shapes = f"{shapes[:150]}... ({len(ranks)} arrays)"
        raise InputError(f"{path}: neither TBiNet nor the paper's CNN; its arrays are {shapes}")
    wanted = [tuple(weight.shape) for weight in model.weights]
    if wanted != [array.shape for array in arrays]:
        raise InputError(
            f"{path}: array shapes do not fit each other as those of {model.name}: want {wanted}, "
            f"not {[array.shape for array in arrays]}"
        )
    if not all(np.isfinite(array).all() for array in arrays):
        raise InputError(f"{path}: some weights are no finite numbers")
    model.set_weights(arrays)
    return model


def save_original(model: keras.Model, path: Path, backend: str = "tensorflow") -> None:
    """Weights in the file layout of the original stacks, for their ``load_weights``.

    Groups, names, order and types are those of ``save_weights`` of tf.keras 2.1, or of Keras 2.2.4
    with Theano. The network itself is built by the original's own code, as in TBiNet's notebook. A
    "tensorflow" file is read rightly by both stacks, and by later ones; the kernels of a "theano"
    file are reversed, which only the two old stacks undo.

    Args:
        model: a TBiNet or the paper's CNN, of any sizes.
        path: the ``.h5`` or ``.hdf5`` to write.
        backend: "tensorflow" or "theano".

    Raises:
        InputError: another network, or an unknown backend.
    """
    if backend not in ("theano", "tensorflow"):
        raise InputError(f"backend {backend!r}: want theano or tensorflow")
    layers = list(model.layers)
    kinds = [type(layer).__name__ for layer in layers]
    tbinet = ["InputLayer", *("Reshape" if kind == "Lambda" else kind for kind in _TBINET)]
    cnn = [kind.removesuffix("1D") for kind in kinds if kind not in ("InputLayer", "Dropout")]
    if kinds != tbinet:
        if cnn != [kind for kind in _CNN if kind != "Dropout"]:
            raise InputError(f"model {model.name!r}: neither TBiNet nor the paper's CNN")
        if layers[-1].activation is not keras.activations.softmax:
            raise InputError(
                f"model {model.name!r}: predicts {layers[-1].name}, and the original's code knows "
                "classes alone"
            )
        layers = layers[1:]  # theirs is a Sequential, which has no input layer
    tensorflow = backend == "tensorflow"
    counts: Counter[str] = Counter()

    def numbered(kind: str) -> str:
        """Keras's name of the next layer of a kind; tf.keras gives the first no number."""
        number = counts[kind] + (not tensorflow or kind == "input")
        counts[kind] += 1
        return f"{kind}_{number}" if number else kind

    with h5py.File(path, "w") as file:
        names = []
        for layer in layers:
            kind = _OLD_NAMES.get(type(layer).__name__, type(layer).__name__.lower())
            name = "attention" if kind == "reshape" else numbered(kind)
            names.append(name.encode())
            leaves = ["kernel", "bias"] if layer.weights else []
            if kind == "bidirectional":
                lstm = numbered("lstm")
                leaves = [
                    f"{way}_{lstm}/{leaf}"
                    for way in ("forward", "backward")
                    for leaf in ("kernel", "recurrent_kernel", "bias")
                ]
            leaves = [f"{name}/{leaf}{':0' * tensorflow}" for leaf in leaves]
            group = file.create_group(name)
            # As theirs: strings of a fixed length, and for a layer without weights no strings.
            group.attrs["weight_names"] = np.array([leaf.encode() for leaf in leaves])
            for leaf, array in zip(leaves, layer.get_weights(), strict=True):
                kernel = array.ndim == 3
                group[leaf] = _correlating(array, backend) if kernel else array
        file.attrs["layer_names"] = np.array(names)
        version = "2.2.4-tf" if tensorflow else "2.2.4"
        for key, value in (("backend", backend), ("keras_version", version)):
            file.attrs.create(key, value.encode(), dtype=h5py.string_dtype("ascii"))


def keras_version(path: Path) -> int:
    """The major version of the Keras that wrote an ``.h5`` or ``.hdf5``; 2 where it does not say.

    Raises:
        InputError: no HDF5 file.
    """
    try:
        with open_whole_hdf5(path) as root:
            version = _text(root.attrs.get("keras_version", "2")).partition(".")[0]
    except OSError as error:
        raise InputError(f"{path}: not a whole HDF5 file of Keras 2 weights ({error})") from error
    return int(version) if version.isdecimal() else 2


def other_layers(path: Path) -> list[str] | None:
    """Class names of the layers of a whole model that is neither of the two networks.

    None where it is one of them, or where nothing says that it is another: then what
    :func:`load_original` has to say of the file is right.
    """
    try:
        with open_whole_hdf5(path) as root:
            config = json.loads(_text(root.attrs["model_config"]))["config"]
        parts = config["layers"] if isinstance(config, dict) else config
        parts = [part for part in parts if part["class_name"] != "InputLayer"]
        kinds = [part["class_name"] for part in parts]
        for expected, settings in ((_TBINET, _TBINET_SETTINGS), (_CNN, _CNN_SETTINGS)):
            dropout = expected is _TBINET or "Dropout" in kinds
            if _same_kinds(kinds, [name for name in expected if dropout or name != "Dropout"]):
                return None if _has_settings(parts, settings) else kinds
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return kinds


def _has_settings(parts: list[dict], expected: dict[str, list]) -> bool:
    """Whether layers compute what those of a network do: the same classes can do otherwise."""
    configs = [part["config"] for part in parts]
    inner = [config["layer"]["config"] for config in configs if "layer" in config]  # the LSTM
    for key, values in expected.items():
        found = [config[key] for config in (*configs, *inner) if key in config]
        found = found[: len(values)] if key == "activation" else list(np.ravel(found))
        if found != values:
            return False
    convolutions = [part["config"] for part in parts if part["class_name"].startswith("Conv")]
    return all(
        (np.ravel(config.get(key, value)) == value).all()
        for config in convolutions
        for key, value in _PLAIN.items()
    )


def _tbinet(file: OriginalFile, path: Path) -> tuple[keras.Model, list[np.ndarray]]:
    _check_layers(file, _TBINET, path)
    kernel, recurrent, hidden, out = (file.arrays[i] for i in (0, 5, 10, 12))
    width, _, filters = kernel.shape
    units = recurrent.shape[0]
    positions = hidden.shape[0] // (2 * units)
    smallest = positions * _POOL + width - 1
    window = file.window or _roundest(smallest, smallest + _POOL - 1)
    if window not in range(smallest, smallest + _POOL):
        raise InputError(
            f"{path}: its input of {window} bp does not give the {positions} positions that its "
            "hidden layer reads"
        )
    model = tbinet_of_sizes(window, width, filters, units, hidden.shape[1], out.shape[1])
    return model, [_correlating(kernel, file.backend), *file.arrays[1:]]


def _cnn(file: OriginalFile, path: Path) -> tuple[keras.Model, list[np.ndarray]]:
    regularized = any(name.startswith("dropout") for name in file.layer_names)
    _check_layers(file, [name for name in _CNN if regularized or name != "Dropout"], path)
    arrays = list(file.arrays)
    for i in (0, 2):
        if arrays[i].ndim == 4 and arrays[i].shape[0] != 1:
            raise InputError(f"{path}: kernel {arrays[i].shape}: want (1, length, in, out)")
        kernel = arrays[i][0] if arrays[i].ndim == 4 else arrays[i]
        arrays[i] = _correlating(kernel, file.backend)
    model = cnn_of_sizes(
        file.window,
        (arrays[0].shape[0], arrays[2].shape[0]),
        (arrays[0].shape[2], arrays[2].shape[2]),
        arrays[4].shape[1],
        arrays[6].shape[1],
        regularized,
    )
    return model, arrays


def _correlating(kernel: np.ndarray, backend: str) -> np.ndarray:
    """A kernel (length, in, out) of a backend as TensorFlow applies it, or the other way round."""
    return kernel[::-1] if backend == "theano" else kernel


def _roundest(low: int, high: int) -> int:
    """The multiple of the highest power of ten in low..high, the smallest of equals."""
    for step in (1000, 100, 10):
        multiple = -(-low // step) * step
        if multiple <= high:
            return multiple
    return low


def _check_layers(file: OriginalFile, expected: Sequence[str], path: Path) -> None:
    """The stated layers must be those of the network: other layers compute something else."""
    if file.layers is None:
        return
    if not _same_kinds(file.layers, expected):
        kinds = printable(", ".join(file.layers), 200)
        raise InputError(f"{path}: its layers are {kinds}; want {list(expected)}")


def _same_kinds(kinds: Sequence[str], expected: Sequence[str]) -> bool:
    classes = [name.removesuffix("1D").removesuffix("2D") for name in kinds]
    return classes == [name.removesuffix("1D") for name in expected]


def _read(path: Path, backend: str | None) -> OriginalFile:
    try:
        with open_whole_hdf5(path) as root:
            refuse_claims(root, path.stat().st_size, path)
            group = root.get("model_weights", root)
            if "layer_names" not in group.attrs:
                raise InputError(f"{path}: no layer_names in it: not a file of Keras 2 weights")
            names = [_text(name) for name in group.attrs["layer_names"]]
            # Order stands in these lists alone: a group iterates by the alphabet.
            arrays = [
                np.asarray(group[name][_text(weight)], np.float32)
                for name in names
                for weight in group[name].attrs["weight_names"]
            ]
            stated = group.attrs.get("backend", root.attrs.get("backend"))
            config = root.attrs.get("model_config")
    except (OSError, KeyError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a whole HDF5 file of Keras 2 weights ({error})") from error
    stated = None if stated is None else _text(stated)
    if stated is None and backend is None:
        raise InputError(
            f"{path}: does not say which backend wrote it, and Theano's kernels are reversed: "
            "give backend, theano or tensorflow"
        )
    if stated is not None and backend not in (None, stated):
        raise InputError(f"{path}: backend {backend!r} given, but the file says {stated!r}")
    used = stated or backend
    if used not in ("theano", "tensorflow"):
        raise InputError(f"{path}: backend {used!r}: want theano or tensorflow")
    layers, window = (None, None) if config is None else _structure(_text(config), path)
    return OriginalFile(used, arrays, layers, window, names)


def _structure(config: str, path: Path) -> tuple[list[str], int | None]:
    """(class names but the input, input length) from the configuration, which is only read."""
    try:
        parts = json.loads(config)["config"]
        parts = parts["layers"] if isinstance(parts, dict) else parts
        shape = parts[0]["config"]["batch_input_shape"]  # (None, L, 4) or (None, 1, L, 4)
        names = [part["class_name"] for part in parts if part["class_name"] != "InputLayer"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(f"{path}: its model_config cannot be read ({error!r})") from error
    return names, shape[-2]


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
