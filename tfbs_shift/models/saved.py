"""Reading saved models."""

from __future__ import annotations

import importlib
import types
import warnings
import zipfile
from pathlib import Path
from typing import Any

import keras

from tfbs_shift.errors import InputError
from tfbs_shift.models.legacy import load_legacy
from tfbs_shift.models.original import keras_version, load_original, other_layers
from tfbs_shift.models.vetting import unknown_in_hdf5, vet_archive, vetted_hdf5
from tfbs_shift.text import printable


def load(path: str | Path, *, backend: str | None = None) -> keras.Model:
    """A model from a ``.keras`` file, a folder that ``train`` wrote, or an old weight file.

    Code in a file (Lambda layers, pickles) is not run, and no other file is read, whatever the
    version of Keras. Old files (``.h5``, ``.hdf5``) hold TBiNet or the paper's CNN as Keras 2 with
    Theano or tf.keras 2.x wrote them, whole models or weights alone, see
    :func:`tfbs_shift.models.original.load_original`; any other whole model is read by Keras, one of
    Keras 2 as told in :func:`tfbs_shift.models.legacy.load_legacy`, not compiled. A model that was
    compiled with what nobody has registered is read without its loss, with a warning. Layers of a
    package of your own are found once its module is imported.

    Args:
        path: file or folder.
        backend: "theano" or "tensorflow", for an old file that does not say which wrote it.

    Raises:
        InputError: nothing there, not a model that Keras can read, code in it, or weights that are
            not finite.
    """
    path = Path(path).expanduser()
    file = path / "model.keras" if path.is_dir() else path
    if not file.is_file():
        missing = "no model.keras in this folder" if path.is_dir() else "no such file or folder"
        raise InputError(f"{path}: {missing}; want a .keras file or a folder written by train")
    if file.suffix in (".h5", ".hdf5"):
        model = _from_hdf5(file, backend)
    elif file.suffix != ".keras":
        raise InputError(f"{file}: want a .keras file, or an old .h5 or .hdf5")
    elif not zipfile.is_zipfile(file):
        raise InputError(f"{file}: damaged, or no .keras file: it is no zip archive, as those are")
    else:
        model = _by_keras(file, vet_archive(file))
    # Not left to the predictions: a maximum (ReLU, pooling) may swallow a NaN.
    for weight in model.weights:
        if not bool(keras.ops.all(keras.ops.isfinite(weight))):
            name = printable(weight.path)
            raise InputError(f"{file}: {name} has weights that are no finite numbers")
    return model


def find(name: str) -> Any:
    """A model by its name: ``package.module:name``, or what :func:`load` reads.

    Of a module, which is imported, it is the attribute of this name as it is: a model, or a
    function of windows; nothing is called.

    Raises:
        InputError: as of :func:`load`; no such module or attribute, or a class.
    """
    module, colon, attribute = name.partition(":")
    words = (*module.split("."), attribute)
    if not colon or not all(map(str.isidentifier, words)) or Path(name).exists():
        return load(name)
    found = getattr(import_module(module), attribute, None)
    if found is None:
        raise InputError(f"{name}: module {module} has no {attribute}; want a model or a function")
    if isinstance(found, type):
        raise InputError(f"{name}: is a class; want a model made of it, or a function")
    if not callable(found):
        raise InputError(f"{name}: is of type {type(found).__name__}; want a model or a function")
    return found


def import_module(name: str) -> types.ModuleType:
    """Imports a module, and lets Keras find its layers by the names of their classes.

    Layers that a module registers itself are found anyway; others, as old packages have them, only
    so. None of them hides one of Keras's of the same name.

    Raises:
        InputError: it cannot be imported.
    """
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever a module does when it is imported
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{name}: cannot be imported ({reason[:200]})") from error
    known = keras.saving.get_custom_objects()
    for word, found in vars(module).items():
        own = isinstance(found, type) and issubclass(found, keras.Layer)
        if own and not found.__module__.startswith("keras.") and not hasattr(keras.layers, word):
            known.setdefault(word, found)
    return module


def _from_hdf5(file: Path, backend: str | None) -> keras.Model:
    if keras_version(file) >= 3:
        vetted_hdf5(file)
        return _by_keras(file, unknown_in_hdf5(file))
    layers = other_layers(file)
    if layers is None:
        return load_original(file, backend)
    try:
        return load_legacy(file, backend)
    except InputError as error:
        reason = str(error).removeprefix(f"{file}: ")
        names = printable(", ".join(map(str, layers)))
        raise InputError(
            f"{file}: neither TBiNet nor the paper's CNN (its layers are {names}): {reason}"
        ) from error


def _by_keras(file: Path, unknown: str | None) -> keras.Model:
    """What Keras itself reads; without its loss where that is unknown, or cannot be read."""
    if unknown is None:
        try:
            return _load_model(file, True)
        except Exception:  # Keras raises whatever its parsers raise
            unknown = "its loss or metrics"
    try:
        model = _load_model(file, False)
    except Exception as error:
        reason = printable(" ".join(str(error).split()), 200)
        raise InputError(f"{file}: Keras cannot read this model: {reason}") from error
    warnings.warn(
        f"{file}: was compiled with what Keras cannot read ({unknown}), and is loaded "
        "without its loss and metrics: name the loss (loss=, --loss), or import what registers it "
        "before (--import=MODULE in the shell)",
        stacklevel=3,
    )
    return model


def _load_model(file: Path, compiled: bool) -> keras.Model:
    with warnings.catch_warnings():
        # The optimizer of a model that was saved untrained; nobody asks for its state here.
        warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
        return keras.models.load_model(file, compile=compiled)
