"""Several labels for each example, each there or not: sigmoids (multilabel)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import special

from tfbs_shift.data.columns import FileColumn
from tfbs_shift.errors import InputError
from tfbs_shift.tasks.areas import label_scores, resampled_scores
from tfbs_shift.tasks.base import (
    Columns,
    Task,
    binary_labels,
    clipped,
    column_to_show,
    improbable,
    span,
)

_ROWS = 2**14
"""Labels checked at once."""


@dataclass(frozen=True)
class Labels(Task):
    """K labels, each by itself. Metrics: ``auroc``, ``aupr``, means over labels with both classes.

    A certificate is of constancy, column ``constant``: all K calls (a probability above
    ``threshold``) are those of the centre window, since "every label right" is hardly ever true of
    hundreds.
    """

    name = "labels"
    columns_of_all: ClassVar = {"constant": np.bool_}
    certificate, certified = "constant", "keeps every label's call"

    @property
    def statistics(self) -> tuple[str, ...]:
        return ("auroc", "aupr")

    @property
    def scored(self) -> int:
        return self.width

    def labels(self, y: Any, count: int) -> Any:
        """0/1 (N, K), as they are: those of many examples may stay in their file."""
        if len(y) != count:
            raise InputError(f"{count} sequences, but {len(y)} labels")
        if tuple(np.shape(y)) != (count, self.width):
            raise InputError(f"labels {np.shape(y)}: the model predicts ({count}, {self.width})")
        if not isinstance(y, FileColumn):  # bits that a reader unpacks are nothing else
            for begin in range(0, count, _ROWS):
                binary_labels(np.asarray(y[begin : begin + _ROWS]), "0 or 1 for each label")
        return y

    def unfit(self, predictions: np.ndarray) -> str:
        return "" if self.logits else improbable(predictions)

    def outputs(self, predictions: np.ndarray) -> np.ndarray:
        return special.expit(predictions) if self.logits else predictions

    def scores(self, predictions: np.ndarray) -> np.ndarray:
        return self.outputs(predictions)

    def over_starts(
        self, predictions: np.ndarray, columns: Columns, weights: np.ndarray, centre: np.ndarray
    ) -> Columns:
        probabilities, possible = self.outputs(predictions), weights > 0
        calls = probabilities > self.threshold
        same = calls == calls[np.arange(len(calls)), centre][:, None]
        share = np.einsum("ns,nsk->nk", weights, calls)
        return {
            "constant": same.all(axis=2),
            "consistency": (share**2 + (1 - share) ** 2).mean(axis=1),
            "wobble": span(probabilities, possible[..., None]).mean(axis=1),
            "flipped": (~same & possible[..., None]).any(axis=1).mean(axis=1),
        }

    def per_label(
        self, y: np.ndarray, scores: np.ndarray, *, average_strands: bool = False
    ) -> Columns:
        return label_scores(np.asarray(y), scores, average_strands=average_strands)._asdict()

    def resampled(self, y: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
        return resampled_scores(np.asarray(y), scores, counts)

    def surprise(self, y: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        p = clipped(outputs)
        return -np.where(y > 0.5, np.log(p), np.log(1 - p)).mean(axis=1)

    def confidence(self, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        highest = outputs.max(axis=1)
        return highest, highest > self.threshold

    def profile(
        self, outputs: np.ndarray, y: np.ndarray, label: int | None
    ) -> tuple[np.ndarray, str]:
        column = column_to_show(outputs, label)
        return outputs[:, column], f"label {column}"

    def described(self) -> dict[str, Any]:
        return {"task": self.name, "labels": self.width, "threshold": self.threshold}
