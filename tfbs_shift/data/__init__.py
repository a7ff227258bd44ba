"""Readers: every file becomes :class:`Examples`, channels A, C, G, T, whatever its own order."""

from tfbs_shift.data.examples import Examples, Intervals
from tfbs_shift.data.loading import load
from tfbs_shift.data.readers import write_zeng
from tfbs_shift.data.synthetic import synthetic

__all__ = ["Examples", "Intervals", "load", "synthetic", "write_zeng"]
