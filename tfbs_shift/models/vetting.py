"""What a model's file may hold: settings of known layers, and numbers. Anything else is refused.

A file is read as data before Keras opens it, so that nothing in it is run and no other file is
read, whatever Keras's version does about that. What is allowed is listed: a new layer of Keras is
refused until somebody has looked at what it does when it is loaded.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import stat
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import keras

from tfbs_shift.errors import InputError
from tfbs_shift.files import open_whole_hdf5, refuse_other_files
from tfbs_shift.text import printable

Config = dict[str, Any]

# fmt: off
_LAYERS = [
    "Activation", "ActivityRegularization", "Add", "AdditiveAttention", "AlphaDropout", "Attention",
    "AugMix", "AutoContrast", "Average", "BatchNormalization", "Bidirectional", "CategoryEncoding",
    "CenterCrop", "Concatenate", "ContrastLimitedAdaptiveHistogramEqualization", "CutMix", "Dense",
    "Discretization", "Dot", "Dropout", "ELU", "EinsumDense", "Embedding", "Equalization",
    "Flatten", "GRU", "GRUCell", "GaussianDropout", "GaussianNoise", "GroupNormalization",
    "GroupQueryAttention", "HashedCrossing", "Hashing", "Identity", "InputLayer", "LSTM",
    "LSTMCell", "LayerNormalization", "LeakyReLU", "Masking", "MaxNumBoundingBoxes", "Maximum",
    "MelSpectrogram", "Minimum", "MixUp", "MultiHeadAttention", "Multiply", "Normalization",
    "PReLU", "Permute", "Pipeline", "RMSNormalization", "RNN", "RandAugment", "ReLU",
    "RepeatVector", "Rescaling", "Reshape", "Resizing", "ReversibleEmbedding", "STFTSpectrogram",
    "SimpleRNN", "SimpleRNNCell", "Softmax", "Solarization", "SpectralNormalization",
    "StackedRNNCells", "Subtract", "TimeDistributed", "UnitNormalization", "Wrapper",
    *(f"Random{what}" for what in (
        "Brightness", "ColorDegeneration", "ColorJitter", "Contrast", "Crop", "ElasticTransform",
        "Erasing", "Flip", "GaussianBlur", "Grayscale", "Hue", "Invert", "Perspective",
        "Posterization", "Rotation", "Saturation", "Sharpness", "Shear", "Translation", "Zoom")),
    *(f"{what}{n}D" for n in (1, 2, 3) for what in (
        "AdaptiveAveragePooling", "AdaptiveMaxPooling", "AveragePooling", "Conv", "ConvLSTM",
        "Cropping", "DepthwiseConv", "GlobalAveragePooling", "GlobalMaxPooling", "MaxPooling",
        "SeparableConv", "SpatialDropout", "UpSampling", "ZeroPadding")),
    *(f"Conv{n}DTranspose" for n in (1, 2, 3)),
]
# fmt: on
"""Layers of Keras that are settings and weights alone. Not among them: what holds code (Lambda,
which may name a function, and modules of PyTorch, TensorFlow and JAX), or opens files that its
settings name (vocabularies)."""

_KINDS = (
    keras.DTypePolicy, keras.Initializer, keras.Loss, keras.Metric, keras.Operation,
    keras.Optimizer, keras.Quantizer, keras.Regularizer, keras.constraints.Constraint,
    keras.optimizers.schedules.LearningRateSchedule, keras.random.SeedGenerator,
    *(kind for n in ("Float8", "Int4", "Int8")  # of newer versions
      if (kind := getattr(keras.quantizers, f"{n}QuantizationConfig", None))),
)  # fmt: skip
"""What else a model is made of. Keras's own classes of these kinds are settings alone."""

_MODELS = ("Functional", "Model", "Sequential")

_HOMES = (
    keras.layers, keras.constraints, keras.dtype_policies, keras.initializers, keras.losses,
    keras.metrics, keras.mixed_precision, keras.optimizers, keras.optimizers.schedules,
    keras.regularizers,
)  # fmt: skip
"""Where Keras looks for a class that a file names without its module."""

_FUNCTIONS = (keras.activations, keras.losses, keras.metrics, keras.ops)

_DATA = (
    "TensorShape", "__bytes__", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__",
    "__tensor__", "__tuple__",
)  # fmt: skip
"""What Keras writes in the form of objects, and is values."""

_OPERATIONS = ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer")

_NOT_KERAS = (
    "is not Keras's: register it (keras.saving.register_keras_serializable), and import its "
    "module before: --import=MODULE in the shell, import in Python (docs/own_model.md)"
)
_CODE = (
    "holds code, which is not run from a file: build the model in Python without it and load the "
    "weights there, or audit it there if you trust it (docs/own_model.md)"
)
_LEFT_OUT = (
    "is a layer that may run code or read other files when it is loaded: build the model in "
    "Python, load the weights and audit it there (docs/own_model.md)"
)
_NO_PART = (
    "is nothing that a model is made of: want layers, functions of tensors, losses, metrics and "
    "optimizers of Keras, or what --import=MODULE registers"
)

_MEMBERS = ("config.json", "metadata.json", "model.weights.h5")

_BOMB = 2**28  # bytes; less is harmless, whatever it was packed from
_EXPANSION = 100


class Objection(NamedTuple):
    """Something in a configuration that is not allowed."""

    layer: str
    """The innermost layer or model that has it."""
    what: str
    why: str
    """Reads on from ``what``."""


def vetted_hdf5(path: Path) -> Config:
    """The configuration of the model in an ``.h5`` or ``.hdf5``; the weights are vetted, too.

    Raises:
        InputError: not a whole model, code in it, parts outside the file, or what is neither
            Keras's nor registered.
    """
    with open_whole_hdf5(path) as root:
        refuse_claims(root, path.stat().st_size, path)
        text = root.attrs.get("model_config")
    if text is None:
        raise InputError(f"{path}: holds weights alone; want a whole model (model.save)")
    config = _parsed(text, path, "model_config")
    _refuse_objections(config, path, "model_config")
    return config


def unknown_in_hdf5(path: Path) -> str | None:
    """What the model in an ``.h5`` was compiled with that is not allowed, or nobody registered."""
    with open_whole_hdf5(path) as root:
        text = root.attrs.get("training_config")
    return None if text is None else _unknown(_parsed(text, path, "training_config"))


def vet_archive(path: Path) -> str | None:
    """Vets a ``.keras`` file.

    Returns:
        What the model was compiled with that is not allowed, or nobody registered; None: nothing.

    Raises:
        InputError: damaged, of Keras 2, code in it, parts outside the file, what Keras does not
            write, or what is neither Keras's nor registered.
    """
    with _archive(path) as archive:
        _refuse_keras2(archive, path)
        config = _parsed(_member(archive, "config.json", path), path, "config.json")
        _vet_weights(archive, path)
    compiled = config.pop("compile_config", None)
    _refuse_objections(config, path, "config.json")
    return _unknown(compiled)


def vet_weights(path: Path) -> None:
    """Vets a ``.keras`` file of which the weights alone are read.

    Raises:
        InputError: damaged, parts outside the file, or what Keras does not write.
    """
    with _archive(path) as archive:
        _vet_weights(archive, path)


def refuse_claims(root: h5py.File, size: int, path: Path) -> None:
    """Refuses a file with arrays that would be far larger than what is stored of them.

    Args:
        root: the file.
        size: its bytes.
        path: its name.

    Raises:
        InputError: there is such an array.
    """

    def check(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and item.nbytes > _BOMB:
            stored = min(size, item.id.get_storage_size())
            if item.nbytes > _EXPANSION * stored:
                raise InputError(
                    f"{path}: {printable(name)} claims {item.nbytes} bytes, and {stored} are "
                    "stored: damaged, or no model"
                )

    root.visititems(check)


def registered(name: Any) -> Any:
    """What is registered under a name; None if nothing is."""
    return keras.saving.get_registered_object(name) if isinstance(name, str) else None


# Configurations.


def _parsed(text: str | bytes, path: Path, name: str) -> Config:
    try:
        config = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: its {name} cannot be read ({error!r:.100})") from error
    if not isinstance(config, dict):
        raise InputError(f"{path}: its {name} cannot be read: it is no JSON object")
    return config


def _refuse_objections(config: Config, path: Path, name: str) -> None:
    try:
        objection = next(_objections(config), None)
    except (KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: its {name} cannot be read ({error!r:.100})") from error
    if objection is not None:
        layer, what, why = objection
        place = f"layer {printable(layer, 40)}: " if layer else ""
        raise InputError(f"{path}: {place}{printable(what, 100)} {why}")


def _unknown(config: Any) -> str | None:
    try:
        objection = next(_objections(config), None)
    except (KeyError, TypeError, RecursionError):
        return "something that cannot be read"
    return None if objection is None else printable(objection.what, 100)


def _objections(value: Any, layer: str = "") -> Iterator[Objection]:
    """All that is not allowed in a configuration, at any depth."""
    if isinstance(value, dict):
        if "class_name" in value:
            layer = _name(value) or layer
            found = _objection(value)
            if found is not None:
                yield Objection(layer, *found)
        value = value.values()
    elif not isinstance(value, list):
        return
    for item in value:
        if isinstance(item, dict | list):
            yield from _objections(item, layer)


def _name(part: Config) -> str:
    settings = part.get("config")
    name = settings.get("name") if isinstance(settings, dict) else None
    name = part.get("name", name)
    return name if isinstance(name, str) else ""


def _objection(part: Config) -> tuple[str, str] | None:
    """What is not allowed about an object, and why; of its settings the rest is not looked at."""
    kind = part["class_name"]
    if kind in _DATA:
        return None
    settings, module = part["config"], part.get("module")
    if kind == "__lambda__" or (kind == "Lambda" and not isinstance(settings["function"], dict)):
        return "Lambda", _CODE
    if kind in _OPERATIONS:
        return kind, (
            "is an operation of TensorFlow outside layers, which Keras 3 does not read: build the "
            "model in Python and give that the weights"
        )
    what = str(settings if kind == "function" else kind)
    place = what if module is None else f"{what} (module {module})"
    custom, found = _named(part)
    if not custom and not found:
        return place, _NOT_KERAS
    strange = [one for one in found if not _is_part(one)]
    bases = {base for one in custom + strange if isinstance(one, type) for base in one.__mro__}
    if bases & _left_out() or (strange and keras.Layer in bases):
        return what, _LEFT_OUT
    return (place, _NO_PART) if strange else None


def _named(part: Config) -> tuple[list[Any], list[Any]]:
    """All that an object may be, wherever some version of Keras looks for it.

    Returns:
        What is registered, and what is Keras's. Neither, if only somebody else's module could have
        it, which Keras would have to import.
    """
    function = part["class_name"] == "function"
    name, other = part["config"] if function else part["class_name"], part.get("registered_name")
    module = part.get("module")
    custom = registered(name if function else part.get("registered_name", name))
    if custom is None and function and module == "builtins":  # as Keras 3.6 and older wrote them
        everything = keras.saving.get_custom_objects().items()
        custom = next((one for key, one in everything if key.endswith(f">{name}")), None)
    if custom is None and not _is_keras(module):
        return [], []
    places = [*(_FUNCTIONS if function else _HOMES)]
    if module != "builtins" and module in sys.modules and _is_keras(module):
        places.append(sys.modules[module])
    names = (name, other) if function else (name,)
    found = [vars(place).get(one) for place in places for one in names]
    if not function:  # a few classes go by another name than Keras's public one
        found += [one for one in _layers() if one.__name__ == name]
        found += [keras.Model] * (name in _MODELS)
    customs = [custom] if function else [custom, registered(name)]
    return [one for one in customs if one is not None], [one for one in found if one is not None]


def _is_keras(module: Any) -> bool:
    """Whether Keras looks into a module that a file names, without importing somebody else's."""
    return module in (None, "builtins", "keras") or str(module).startswith("keras.")


def _is_part(found: Any) -> bool:
    """Whether something of Keras is what a model may be made of."""
    if not isinstance(found, type):
        return callable(found) and found in _functions()
    if issubclass(found, keras.Model):
        return found.__name__ in _MODELS
    if issubclass(found, keras.Layer):
        return found in _layers()
    return issubclass(found, _KINDS) and found.__module__.startswith("keras.")


@functools.cache
def _layers() -> set[type]:
    """Those of the listed layers that this version of Keras has, and Lambda."""
    found = {getattr(keras.layers, name, None) for name in (*_LAYERS, "Lambda")}
    return found - {None}


@functools.cache
def _left_out() -> set[type]:
    """The other layers of Keras: a class made of one loads what that loads."""
    everything = {found for found in vars(keras.layers).values() if isinstance(found, type)}
    return everything - _layers() - {keras.Layer}


@functools.cache
def _functions() -> set[Any]:
    """Functions of tensors."""
    return {
        found
        for place in _FUNCTIONS
        for name, found in vars(place).items()
        if callable(found) and name not in ("deserialize", "get", "serialize")
    }


# Archives and weights.


@contextlib.contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """A ``.keras`` file that holds what Keras writes, and no more than it has room for."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, path)
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise InputError(f"{path}: damaged, or no .keras file ({error})") from error


def _check_members(archive: zipfile.ZipFile, path: Path) -> None:
    members = archive.infolist()
    for member in members:
        name = member.filename
        if name not in _MEMBERS and not _is_asset(member):
            raise InputError(
                f"{path}: holds {printable(name)!r}, which Keras does not write; want "
                f"{', '.join(_MEMBERS)}, and files in assets/"
            )
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"{path}: {name} is packed in a way that Keras does not write")
    if len({member.filename for member in members}) < len(members):
        raise InputError(f"{path}: holds two files of the same name")
    size, room = sum(member.file_size for member in members), path.stat().st_size
    if size > _BOMB and size > _EXPANSION * room:
        raise InputError(f"{path}: {room} bytes that would become {size}: no model is packed so")


def _is_asset(member: zipfile.ZipInfo) -> bool:
    """A plain file or folder below ``assets/``."""
    name = member.filename
    plain = not {"", ".", ".."}.intersection(name.removesuffix("/").split("/"))
    plain &= not {"\\", ":"}.intersection(name) and not stat.S_ISLNK(member.external_attr >> 16)
    return name.startswith("assets/") and plain


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    if name not in archive.namelist():
        raise InputError(f"{path}: no {name} in it: not a whole .keras file (model.save)")
    return archive.read(name)


def _refuse_keras2(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuses a ``.keras`` file of Keras 2, which Keras 3 reads wrongly or not at all."""
    about = _parsed(_member(archive, "metadata.json", path), path, "metadata.json")
    version = printable(str(about.get("keras_version")), 20)
    if version.startswith("2."):
        raise InputError(
            f"{path}: written by Keras {version} (tf.keras, tf_keras), which Keras 3 does not "
            "read: save it there as .h5 (model.save('model.h5')) and give that"
        )


def _vet_weights(archive: zipfile.ZipFile, path: Path) -> None:
    contents = _member(archive, "model.weights.h5", path)
    try:
        root = h5py.File(io.BytesIO(contents), "r")
    except OSError as error:
        raise InputError(f"{path}: its model.weights.h5 is damaged ({error})") from error
    with root:
        refuse_other_files(root, path)
        refuse_claims(root, len(contents), path)
