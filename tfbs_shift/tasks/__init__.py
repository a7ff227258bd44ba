"""What predictions mean and how they are judged: classes, labels, values, or nothing known."""

from collections.abc import Mapping
from typing import Any

from tfbs_shift.tasks.base import OnlyLoss, Task
from tfbs_shift.tasks.classes import Classes
from tfbs_shift.tasks.labels import Labels
from tfbs_shift.tasks.unlabelled import Unlabelled
from tfbs_shift.tasks.values import Values

__all__ = ["Classes", "Labels", "OnlyLoss", "Task", "Unlabelled", "Values", "described_by"]

TASKS = {task.name: task for task in (Classes, Labels, Values, Unlabelled)}


def described_by(figures: Mapping[str, Any]) -> Task:
    """The task that ``Task.described`` put among figures; its predictions are no logits."""
    return TASKS[figures["task"]].read(figures)
