"""Keras models: the paper's, and reading saved ones."""

from tfbs_shift.models.architectures import cnn
from tfbs_shift.models.saved import load

__all__ = ["cnn", "load"]
