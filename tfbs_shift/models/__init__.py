"""Keras models: the paper's, and reading saved ones."""

from tfbs_shift.models.architectures import alphabet, attention, cnn, tbinet
from tfbs_shift.models.saved import find, import_module, load

__all__ = ["alphabet", "attention", "cnn", "find", "import_module", "load", "tbinet"]
