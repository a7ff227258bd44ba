"""A model at many starts of its window, computing once what the windows have in common."""

from tfbs_shift.sharing.engine import ModelAtStarts as ModelAtStarts
from tfbs_shift.sharing.plans import ScanPlan as ScanPlan
