"""What a model is worth on the same windows again and again, while it trains."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tfbs_shift.evaluation.running import Choices
from tfbs_shift.scanning.scans import ScanJob
from tfbs_shift.strategies import ShiftStrategy
from tfbs_shift.tasks.areas import label_scores


class Validation:
    """Loss and accuracy (AUROC and AUPR of several labels) of a model under some strategies.

    Random starts are drawn once: each call sees the same windows, so that what changes is the
    model. One run of the model serves all strategies.

    Args:
        job: the model and its examples.
        chosen: strategies by name.
    """

    def __init__(self, job: ScanJob, chosen: Mapping[str, ShiftStrategy]):
        self.job = job
        self._choices = Choices(job, chosen)

    def __call__(self, *, progress: bool = False) -> dict[str, dict[str, float]]:
        """The metrics of each strategy; the loss is that of the data, without L1 and L2."""
        job, count, outputs = self.job, len(self.job.x), self.job.outputs
        names = list(self._choices.chosen)
        loss = {name: np.empty(count, np.float32) for name in names}
        right = {name: np.empty(count, np.bool_) for name in names}
        width = 0 if outputs.exclusive else outputs.width
        found = {name: np.empty((count, width), np.float32) for name in names}
        for rows, losses, predictions in job.blocks(self._choices.wanted, None, progress):
            everyone = np.arange(len(losses))
            for name, _, column in self._choices.at(rows, losses):
                loss[name][rows] = losses[everyone, column]
                there = predictions[everyone, column]
                if outputs.exclusive:
                    right[name][rows] = outputs.classes(there) == outputs.truth(job.y[rows])
                else:
                    found[name][rows] = outputs.probabilities(there)
        metrics = {name: {"loss": float(loss[name].mean(dtype=np.float64))} for name in names}
        for name in names:
            if outputs.exclusive:
                metrics[name]["accuracy"] = float(right[name].mean())
            elif outputs.kind:
                scores = label_scores(np.asarray(job.y), found[name]).means()
                metrics[name] |= {metric: float(scores[metric]) for metric in ("auroc", "aupr")}
        return metrics
