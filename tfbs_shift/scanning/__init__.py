"""A model at many starts of its window, computing once what the windows have in common."""

from tfbs_shift.scanning.plans import ScanPlan
from tfbs_shift.scanning.scans import ShiftScan, plan_scan, scan

__all__ = ["ScanPlan", "ShiftScan", "plan_scan", "scan"]
