"""Metrics of a model under each way of shifting, curves, certificates, statistics, checks."""

from tfbs_shift.evaluation.artificial import controls
from tfbs_shift.evaluation.audits import audit
from tfbs_shift.evaluation.robustness import Robustness, evaluate
from tfbs_shift.evaluation.settings import Details, Execution, Shifts

__all__ = ["Details", "Execution", "Robustness", "Shifts", "audit", "controls", "evaluate"]
