"""Metrics of a model under each way of shifting, curves, certificates, statistics, checks."""

from tfbs_shift.evaluation.artificial import controls
from tfbs_shift.evaluation.robustness import Robustness, evaluate, evaluate_part

__all__ = ["Robustness", "controls", "evaluate", "evaluate_part"]
