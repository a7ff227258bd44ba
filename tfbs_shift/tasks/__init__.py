"""What predictions mean and how they are judged: classes, labels."""

from collections.abc import Mapping
from typing import Any

from tfbs_shift.tasks.base import OnlyLoss, Task
from tfbs_shift.tasks.classes import Classes
from tfbs_shift.tasks.labels import Labels

__all__ = ["Classes", "Labels", "OnlyLoss", "Task", "described_by"]

TASKS = {task.name: task for task in (Classes, Labels)}


def described_by(figures: Mapping[str, Any]) -> Task:
    """The task that ``Task.described`` put among figures; its predictions are no logits."""
    kind = TASKS[figures["task"]]
    return kind(figures[kind.name], threshold=figures["threshold"])
