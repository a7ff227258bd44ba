"""Keras models: the paper's, and reading saved ones."""

from tfbs_shift.models.architectures import alphabet, attention, cnn, tbinet
from tfbs_shift.models.saved import load

__all__ = ["alphabet", "attention", "cnn", "load", "tbinet"]
