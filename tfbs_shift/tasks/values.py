"""Numbers to predict: activities, peak heights, counts (regression)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from tfbs_shift.errors import InputError
from tfbs_shift.tasks.base import Columns, Task, column_to_show, numbers, span
from tfbs_shift.tasks.correlations import correlations

_TOLERATED = 0.1
"""Of a standard deviation of the predictions at the centre, where no tolerance is given."""


@dataclass(frozen=True)
class Values(Task):
    """K numbers. Metrics: ``pearson``, ``spearman`` (means over outputs that have one), ``mse``.

    A certificate is of constancy, column ``within``: all K predictions are those of the centre
    window, give or take the tolerance. ``wobble`` is the highest minus the lowest prediction, a
    mean over outputs, in the unit of the predictions, as the tolerance is.

    Attributes:
        tolerance: of each output, (K,); None: not known yet.
        relative: the tolerance is a tenth of the standard deviation of the centre's predictions.
    """

    name = "values"
    means: ClassVar = {"mse": "squared_error"}
    columns_of_all: ClassVar = {"within": np.bool_}
    certificate, certified = "within", "predicts what the centre does, within the tolerance"
    summaries = ("wobble",)
    probabilities = False
    error = "squared error"
    wants_centre = True

    tolerance: tuple[float, ...] | None = None
    relative: bool = False

    def __post_init__(self):
        if self.tolerance is not None and not all(0 <= t < np.inf for t in self.tolerance):
            raise InputError(f"tolerance {self.tolerance[0]:g}: must be a number, 0 or more")

    @property
    def columns(self) -> dict[str, type]:
        """``squared_error``, a mean over outputs; and the ``prediction``, if it is one number."""
        one = {"prediction": np.float32} if self.width == 1 else {}
        return one | {"squared_error": np.float32}

    @property
    def shown(self) -> str:
        return "prediction" if self.width == 1 else "loss"

    @property
    def statistics(self) -> tuple[str, ...]:
        return ("pearson", "spearman")

    @property
    def metrics(self) -> tuple[str, ...]:
        return (*self.statistics, *self.means, "loss")

    @property
    def scored(self) -> int:
        return self.width

    @property
    def score_column(self) -> str:
        return "prediction" if self.width == 1 else ""

    def fitted(self, centre: np.ndarray) -> Values:
        if self.tolerance is not None:
            return self
        spread = _TOLERATED * centre.std(axis=0, dtype=np.float64)
        return replace(self, tolerance=tuple(spread.tolist()), relative=True)

    def asked(self) -> Values:
        return replace(self, tolerance=None, relative=False) if self.relative else self

    def labels(self, y: Any, count: int) -> np.ndarray:
        """Float32 (N, K), from numbers of that shape, or (N,) for one output."""
        if len(y) != count:
            raise InputError(f"{count} sequences, but {len(y)} labels")
        y = numbers(y)
        if self.width == 1 and y.ndim == 1:
            y = y[:, None]
        if y.shape != (count, self.width):
            raise InputError(f"labels {y.shape}: the model predicts ({count}, {self.width}) values")
        wrong = np.flatnonzero(~np.isfinite(y).all(axis=1))
        if len(wrong):
            raise InputError(
                f"labels: those of {len(wrong)} examples, the first of them {wrong[0]}, are no "
                "finite numbers; leave these examples out"
            )
        return y.astype(np.float32, copy=False)

    def at_starts(self, predictions: np.ndarray, y: np.ndarray) -> Columns:
        difference = predictions - y[:, None]
        columns = {"squared_error": np.mean(difference**2, axis=2)}
        return columns | ({"prediction": predictions[..., 0]} if self.width == 1 else {})

    def scores(self, predictions: np.ndarray) -> np.ndarray:
        return predictions

    def over_starts(
        self, predictions: np.ndarray, columns: Columns, weights: np.ndarray, centre: np.ndarray
    ) -> Columns:
        if self.tolerance is None:
            raise InputError("tolerance: not known before the predictions at the centre are")
        own = predictions[np.arange(len(predictions)), centre][:, None]
        tolerance = np.asarray(self.tolerance, np.float32)
        return {
            "within": (np.abs(predictions - own) <= tolerance).all(axis=2),
            "wobble": span(predictions, weights[..., None] > 0).mean(axis=1),
        }

    def per_label(
        self, y: np.ndarray, scores: np.ndarray, *, average_strands: bool = False
    ) -> Columns:
        y, scores = np.asarray(y, np.float64), np.asarray(scores, np.float64)
        if average_strands:
            half = len(y) // 2
            y, scores = y[:half], (scores[:half] + scores[half:]) / 2
        found = correlations(y, scores, np.ones((1, len(y))))[..., 0]
        return {"pearson": found[0], "spearman": found[1], "mse": ((y - scores) ** 2).mean(axis=0)}

    def resampled(self, y: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
        found = correlations(np.asarray(y), np.asarray(scores), counts)
        known = ~np.isnan(found)
        number = known.sum(axis=1)
        total = np.where(known, found, 0).sum(axis=1)
        return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)

    def surprise(self, y: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        return ((outputs - y).astype(np.float64) ** 2).mean(axis=1)

    def profile(
        self, outputs: np.ndarray, y: np.ndarray, label: int | None
    ) -> tuple[np.ndarray, str]:
        column = column_to_show(outputs, label)
        return outputs[:, column], f"output {column}" if self.width > 1 else "prediction"

    def described(self) -> dict[str, Any]:
        tolerance = None if self.tolerance is None else list(self.tolerance)
        return {
            "task": self.name,
            "outputs": self.width,
            "tolerance": tolerance,
            "tolerance_is_relative": self.relative,
        }

    @classmethod
    def read(cls, figures: Mapping[str, Any]) -> Values:
        tolerance = figures.get("tolerance")
        known = None if tolerance is None else tuple(tolerance)
        return cls(figures["outputs"], tolerance=known, relative=figures["tolerance_is_relative"])
