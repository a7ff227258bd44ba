"""Reading saved models."""

from __future__ import annotations

import warnings
from pathlib import Path

import keras

from tfbs_shift.errors import InputError


def load(path: str | Path) -> keras.Model:
    """A model from a ``.keras`` file or from the folder that ``tfbs-shift train`` wrote.

    Code stored in the file (Lambda layers) is not run.

    Raises:
        InputError: nothing there, or not a model that Keras can read.
    """
    path = Path(path).expanduser()
    file = path / "model.keras" if path.is_dir() else path
    if not file.is_file():
        missing = "no model.keras in this folder" if path.is_dir() else "no such file or folder"
        raise InputError(f"{path}: {missing}; want a .keras file or a folder written by train")
    if file.suffix != ".keras":
        raise InputError(f"{file}: want a .keras file, as model.save('name.keras') writes it")
    try:
        with warnings.catch_warnings():
            # The optimizer of a model that was saved untrained; nobody asks for its state here.
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            return keras.models.load_model(file)
    except Exception as error:  # Keras raises whatever its parsers raise
        reason = " ".join(str(error).split())
        raise InputError(f"{file}: Keras cannot read this model: {reason[:300]}") from error
