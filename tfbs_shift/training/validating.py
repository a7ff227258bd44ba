"""What a model is worth on the same windows again and again, while it trains."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tfbs_shift.evaluation import figures
from tfbs_shift.evaluation.running import Choices
from tfbs_shift.scanning.jobs import ScanJob
from tfbs_shift.strategies import ShiftStrategy
from tfbs_shift.tasks.base import Columns


class Validation:
    """The metrics of a model under some strategies.

    Random starts are drawn once: each call sees the same windows, so that what changes is the
    model. One run of the model serves all strategies.

    Args:
        job: the model and its examples.
        strategies: by name.
    """

    def __init__(self, job: ScanJob, strategies: Mapping[str, ShiftStrategy]):
        self.job = job
        self._choices = Choices(job, strategies)

    def __call__(self, *, progress: bool = False) -> dict[str, dict[str, float]]:
        """The metrics of each strategy; the loss is that of the data, without L1 and L2."""
        job, task = self.job, self.job.task
        blocks: dict[str, list[Columns]] = {name: [] for name in self._choices.strategies}
        for rows, losses, predictions in job.blocks(self._choices.wanted, None, progress):
            _, _, chosen = self._choices.columns(rows, losses, predictions)
            for name, columns in chosen.items():
                blocks[name].append(columns)
        metrics = {}
        for name, parts in blocks.items():
            columns = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
            per_label = {}
            if task.scored:
                per_label = task.per_label(np.asarray(job.y), columns["scores"])
            metrics[name] = figures.metrics(task, columns, per_label)
        return metrics
