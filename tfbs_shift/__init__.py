"""Does a network's answer change when its DNA window moves a few bases?

``tfbs_shift`` measures that exactly (the loss of any model at every start of its window),
trains against it (windows chosen by the model's own loss inside the compiled step), and shows it.
It re-implements and extends Pap & Megyeri, ICAART 2022 (doi:10.5220/0010769100003116).

Importing the package loads neither TensorFlow nor Keras: the names below do, on first use.
"""

import importlib
from typing import TYPE_CHECKING

from tfbs_shift.errors import InputError

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tfbs_shift import data, models, reports, sequences, windows
    from tfbs_shift.evaluation import (
        Details,
        Execution,
        Robustness,
        Shifts,
        audit,
        controls,
        evaluate,
    )
    from tfbs_shift.reports.exploring import explore
    from tfbs_shift.scanning import ScanPlan, ShiftScan, plan_scan, scan
    from tfbs_shift.strategies import NoShift, PaperWorstShift, RandomShift, WorstShift
    from tfbs_shift.tasks.outputs import Output
    from tfbs_shift.training.auditing import ShiftAudit
    from tfbs_shift.training.trainer import ShiftTrainer

_MODULES = ("data", "models", "reports", "sequences", "windows")
_HOME = {
    "Details": "evaluation",
    "Execution": "evaluation",
    "NoShift": "strategies",
    "Output": "tasks.outputs",
    "PaperWorstShift": "strategies",
    "RandomShift": "strategies",
    "Robustness": "evaluation",
    "ScanPlan": "scanning",
    "ShiftAudit": "training.auditing",
    "ShiftScan": "scanning",
    "ShiftTrainer": "training.trainer",
    "Shifts": "evaluation",
    "WorstShift": "strategies",
    "audit": "evaluation",
    "controls": "evaluation",
    "evaluate": "evaluation",
    "explore": "reports.exploring",
    "plan_scan": "scanning",
    "scan": "scanning",
}

__all__ = [
    "Details",
    "Execution",
    "InputError",
    "NoShift",
    "Output",
    "PaperWorstShift",
    "RandomShift",
    "Robustness",
    "ScanPlan",
    "ShiftAudit",
    "ShiftScan",
    "ShiftTrainer",
    "Shifts",
    "WorstShift",
    "audit",
    "controls",
    "data",
    "evaluate",
    "explore",
    "models",
    "plan_scan",
    "reports",
    "scan",
    "sequences",
    "windows",
]


def __getattr__(name: str):
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
