"""Reading saved models."""

from __future__ import annotations

import re
import warnings
import zipfile
from pathlib import Path

import keras

from tfbs_shift.errors import InputError
from tfbs_shift.models.original import keras_version, load_original


def load(path: str | Path, *, backend: str | None = None) -> keras.Model:
    """A model from a ``.keras`` file, a folder that ``train`` wrote, or an old weight file.

    Code stored in the file (Lambda layers) is not run. Old files (``.h5``, ``.hdf5``) hold TBiNet
    or the paper's CNN as Keras 2 with Theano or tf.keras 2.x wrote them, whole models or weights
    alone, see :func:`tfbs_shift.models.original.load_original`; a whole model that Keras 3 wrote in
    this format is Keras's own to read.

    Args:
        path: file or folder.
        backend: "theano" or "tensorflow", for an old file that does not say which wrote it.

    Raises:
        InputError: nothing there, not a model that Keras can read, or weights that are not finite.
    """
    path = Path(path).expanduser()
    file = path / "model.keras" if path.is_dir() else path
    if not file.is_file():
        missing = "no model.keras in this folder" if path.is_dir() else "no such file or folder"
        raise InputError(f"{path}: {missing}; want a .keras file or a folder written by train")
    if file.suffix in (".h5", ".hdf5"):
        if keras_version(file) < 3:
            return load_original(file, backend)
    elif file.suffix != ".keras":
        raise InputError(f"{file}: want a .keras file, or an old .h5 or .hdf5")
    elif not zipfile.is_zipfile(file):
        raise InputError(f"{file}: damaged, or no .keras file: it is no zip archive, as those are")
    try:
        with warnings.catch_warnings():
            # The optimizer of a model that was saved untrained; nobody asks for its state here.
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            model = keras.models.load_model(file)
    except Exception as error:  # Keras raises whatever its parsers raise
        reason = " ".join(str(error).split())
        unknown = r"[Cc]ould not (?:locate|deserialize) (?:class|function) '([^']+)'"
        custom = re.search(unknown, reason)
        if custom is not None:
            reason = (
                f"{custom[1]} is not Keras's: register it "
                "(keras.saving.register_keras_serializable) and audit the model from Python "
                "(docs/own_model.md)"
            )
        elif "Lambda" in reason:
            reason = (
                "it has a Lambda layer, whose code is not run from a file: if you trust it, load "
                "it in Python with safe_mode=False and audit it there (docs/own_model.md)"
            )
        raise InputError(f"{file}: Keras cannot read this model: {reason[:300]}") from error
    # Not left to the predictions: a maximum (ReLU, pooling) may swallow a NaN.
    for weight in model.weights:
        if not bool(keras.ops.all(keras.ops.isfinite(weight))):
            raise InputError(f"{file}: {weight.path} has weights that are no finite numbers")
    return model
