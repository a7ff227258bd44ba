"""Nothing known of the examples: how far predictions move."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from tfbs_shift.errors import InputError
from tfbs_shift.tasks.base import Columns, Task
from tfbs_shift.tasks.classes import Classes
from tfbs_shift.tasks.labels import Labels
from tfbs_shift.tasks.values import Values


@dataclass(frozen=True)
class Unlabelled(Task):
    """Predictions without labels. Metric: ``moved``, how far from the centre's prediction.

    A distance is in standard deviations, over examples, of the predictions at the centre, and a
    mean over outputs (of which those are left out that are the same for all examples; of only such
    ones, or of one example, there is no unit: it is NaN if anything moves). Where the
    predictions are probabilities, ``flipped`` and certificates are of calls, else certificates are
    of a tolerance, as for :class:`Values`. The labels are the predictions at the centre, and the
    loss is the squared distance from them. Where a prediction is one number it is a column, too:
    the ``probability`` of class 1, or the ``prediction``.

    Attributes:
        of: what the predictions mean; of unknown ones Values.
        deviations: standard deviations at the centre of each output, (K,); None: not known yet.
        labelled_by: what the predictions at the centre mean, if not the same.
    """

    name = "unlabelled"
    means: ClassVar = {"moved": "moved"}
    wants_centre = True

    of: Task | None = None
    deviations: tuple[float, ...] | None = None
    labelled_by: Task | None = None

    @property
    def meaning(self) -> Task:
        """What the predictions mean."""
        return Values(self.width) if self.of is None else self.of

    @property
    def columns(self) -> dict[str, type]:
        """``moved``, and the column of the prediction, if it is one number."""
        return dict.fromkeys(["moved", *filter(None, [self.meaning.score_column])], np.float32)

    @property
    def shown(self) -> str:
        return self.meaning.score_column or "moved"

    @property
    def probabilities(self) -> bool:
        return self.meaning.probabilities

    @property
    def certificate(self) -> str:
        return "constant" if self.probabilities else "within"

    @property
    def certified(self) -> str:
        return "is called as at the centre" if self.probabilities else self.meaning.certified

    @property
    def columns_of_all(self) -> dict[str, type]:
        """The column of the certificate."""
        return {self.certificate: np.bool_}

    @property
    def summaries(self) -> tuple[str, ...]:
        return self.meaning.summaries

    def fitted(self, centre: np.ndarray) -> Unlabelled:
        deviations = self.outputs(centre).std(axis=0, dtype=np.float64)
        of = self.meaning.fitted(centre)
        return replace(self, of=of, deviations=tuple(deviations.tolist()))

    def asked(self) -> Unlabelled:
        return Unlabelled(self.width, of=self.meaning.asked())

    def labels(self, y: Any, count: int) -> np.ndarray:
        """The predictions at the centre, float32 (N, K)."""
        if np.shape(y) != (count, self.width):
            raise InputError(f"predictions {np.shape(y)}: want ({count}, {self.width})")
        return np.asarray(y, np.float32)

    def unfit(self, predictions: np.ndarray) -> str:
        return self.meaning.unfit(predictions)

    def outputs(self, predictions: np.ndarray) -> np.ndarray:
        return self.meaning.outputs(predictions)

    def without_logits(self) -> Unlabelled:
        meaning = self.meaning  # averaged predictions are no logits, those at the centre may be
        return replace(self, of=meaning.without_logits(), labelled_by=self.labelled_by or meaning)

    def at_starts(self, predictions: np.ndarray, y: np.ndarray) -> Columns:
        outputs, one = self.outputs(predictions), self.meaning.score_column
        columns = {one: outputs[..., -1]} if one else {}
        deviations = np.asarray(self.deviations)
        known = deviations > 0
        centre = (self.labelled_by or self.meaning).outputs(y)
        distance = np.abs(outputs - centre[:, None])
        if not known.any():
            return {"moved": np.where(distance.any(axis=-1), np.float32(np.nan), 0), **columns}
        return {"moved": (distance[..., known] / deviations[known]).mean(axis=-1), **columns}

    def over_starts(
        self, predictions: np.ndarray, columns: Columns, weights: np.ndarray, centre: np.ndarray
    ) -> Columns:
        meaning = self.meaning
        if not isinstance(meaning, Classes):
            return meaning.over_starts(predictions, {}, weights, centre)
        # What is called at the centre stands for the class.
        called = meaning.called(predictions[np.arange(len(predictions)), centre])
        columns = meaning.at_starts(predictions, called)
        over = meaning.over_starts(predictions, columns, weights, centre)
        return {**over, "constant": columns["right"]}

    def confidence(self, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.meaning.confidence(outputs)

    def profile(
        self, outputs: np.ndarray, y: np.ndarray, label: int | None
    ) -> tuple[np.ndarray, str]:
        meaning = self.meaning
        if isinstance(meaning, Classes):
            y = meaning.called(y)
        return meaning.profile(outputs, y, label)

    def described(self) -> dict[str, Any]:
        of = self.meaning.described()
        of["predictions"] = of.pop("task")
        deviations = None if self.deviations is None else list(self.deviations)
        return {"task": self.name, **of, "deviations": deviations}

    @classmethod
    def read(cls, figures: Mapping[str, Any]) -> Unlabelled:
        of = _MEANINGS[figures["predictions"]].read(figures)
        deviations = figures.get("deviations")
        known = None if deviations is None else tuple(deviations)
        return cls(of.width, of=of, deviations=known)


_MEANINGS = {task.name: task for task in (Classes, Labels, Values)}
