"""What every task is asked."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from tfbs_shift.errors import InputError

Columns = dict[str, np.ndarray]

_NO_PROBABILITIES = "the model's predictions are no probabilities"


@dataclass(frozen=True)
class Task(abc.ABC):
    """What predictions mean and how they are judged: the metrics of one kind, in one place.

    Predictions (n, S, K), of n examples at S starts, and labels become named *columns*; columns
    become metrics. Two kinds of metric there are: ``means`` of a column over examples (accuracy),
    and ``statistics`` of all examples' labels and *scores* together (areas, correlations). A new
    metric is an entry in one of them; for a statistic, a line in ``per_label`` and ``resampled``.

    Attributes:
        name: what ``robustness.json`` and ``task=`` call it.
        means: the column that each metric is the mean of, beside ``loss``.
        columns: type of each column (n, S) that predictions and labels give at any start.
        columns_of_all: type of each further column (n, S), known where every start was run.
        certificate: the column of bool that a certificate is of: an example's is the largest r
            within which it holds at every window.
        certified: that in words: every window within r ...
        shown: the column to draw over shifts, "loss" if there is no better.
        summaries: the columns (N,) of ``over_starts``, beside those of all.
        probabilities: predictions are some, once logits are none.
        error: what :meth:`surprise` is called.
        wants_centre: the predictions at the centre must be known before the others are judged.
        width: K.
        logits: predictions are before the softmax or sigmoid.
        threshold: the probability from which on "yes" is called.
    """

    name: ClassVar[str]
    means: ClassVar[Mapping[str, str]] = {}
    columns: ClassVar[Mapping[str, type]] = {}
    columns_of_all: ClassVar[Mapping[str, type]] = {}
    certificate: ClassVar[str] = ""
    certified: ClassVar[str] = ""
    shown: ClassVar[str] = "loss"
    summaries: ClassVar[tuple[str, ...]] = ("consistency", "wobble", "flipped")
    probabilities: ClassVar[bool] = True
    error: ClassVar[str] = "cross-entropy"
    wants_centre: ClassVar[bool] = False

    width: int
    logits: bool = False
    threshold: float = 0.5

    def __post_init__(self):
        if not 0 < self.threshold < 1:
            raise InputError(f"threshold {self.threshold}: want a probability between 0 and 1")

    @property
    def statistics(self) -> tuple[str, ...]:
        """Metrics of all examples together, in order."""
        return ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """All metrics, in the order in which they are shown."""
        return (*self.means, *self.statistics, "loss")

    @property
    def scored(self) -> int:
        """Numbers of an example that ``statistics`` want of its predictions; 0: none."""
        return 0

    @property
    def score_column(self) -> str:
        """The column that is the score, where an example has one; "" where scores are apart."""
        return ""

    @property
    def scores_apart(self) -> bool:
        """Whether the scores are columns of their own."""
        return bool(self.scored) and not self.score_column

    @abc.abstractmethod
    def labels(self, y: Any, count: int) -> Any:
        """Labels of ``count`` examples in one form, (N, K), checked against the predictions.

        Raises:
            InputError: they do not fit the examples or the predictions.
        """

    def fitted(self, centre: np.ndarray) -> Task:
        """The task once the predictions at the centre, (N, K), are known."""
        return self

    def asked(self) -> Task:
        """The task as it was before the predictions at the centre were known."""
        return self

    def unfit(self, predictions: np.ndarray) -> str:
        """What predictions (..., K) are that they should not be; "" if they may be judged."""
        return ""

    def for_loss(self, loss: Any, y: Any) -> Any:
        """Labels, as :meth:`labels` has them, in the form that a loss object takes."""
        return y

    def outputs(self, predictions: np.ndarray) -> np.ndarray:
        """Predictions (..., K) in the unit in which they are averaged: logits as probabilities."""
        return predictions

    def without_logits(self) -> Task:
        """The task of what :meth:`outputs` gives."""
        return replace(self, logits=False)

    def at_starts(self, predictions: np.ndarray, y: np.ndarray) -> Columns:
        """``columns`` of predictions (n, S, K), (n, S) each; y as :meth:`labels` has it."""
        return {}

    def scores(self, predictions: np.ndarray) -> np.ndarray:
        """What ``statistics`` want, float32 (n, S, :attr:`scored`)."""
        return np.empty((*predictions.shape[:-1], 0), np.float32)

    def over_starts(
        self, predictions: np.ndarray, columns: Columns, weights: np.ndarray, centre: np.ndarray
    ) -> Columns:
        """What all starts together tell of each example.

        Args:
            predictions: (n, S, K) at every start.
            columns: what :meth:`at_starts` gave for them.
            weights: float64 (n, S), rows that sum to 1; 0 where a start may not be used.
            centre: (n,) the column of No Shift's start.

        Returns:
            ``columns_of_all`` (n, S), and ``summaries`` (n,).
        """
        return {}

    def per_label(
        self, y: np.ndarray, scores: np.ndarray, *, average_strands: bool = False
    ) -> Columns:
        """``statistics`` of each label or output, float64 (K,), NaN where one has none; and what
        else is to be said of each: the number of its ``positives``, its ``mse``.

        Args:
            y: labels (N, ...) as :meth:`labels` has them.
            scores: (N, ``scored``), a memory map too.
            average_strands: the second half of the rows is the other strand of the first.
        """
        return {}

    def resampled(self, y: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """``statistics``, means over labels, of examples counted so many times each.

        Args:
            y, scores: as for :meth:`per_label`.
            counts: float64 (b, N).

        Returns:
            float64 (number of statistics, b).
        """
        return np.empty((0, len(counts)))

    def surprise(self, y: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """How wrong each example is, (N,): the ``error`` of what :meth:`outputs` gave for one
        window each."""
        raise InputError(_NO_PROBABILITIES)

    def confidence(self, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How sure predictions (N, K) are, and whether they call the example bound, (N,) each."""
        raise InputError(_NO_PROBABILITIES)

    def profile(
        self, outputs: np.ndarray, y: np.ndarray, label: int | None
    ) -> tuple[np.ndarray, str]:
        """One curve to show of one example, and what it is of.

        Args:
            outputs: (S, K), what :meth:`outputs` gave.
            y: its labels, as :meth:`labels` has them, (1, ...).
            label: which of several; None: the one that moves most.

        Raises:
            InputError: no such label.
        """
        raise InputError(_NO_PROBABILITIES)

    def described(self) -> dict[str, Any]:
        """The task in plain values, for ``robustness.json``; :meth:`read` reads it back."""
        return {"task": self.name}

    @classmethod
    def read(cls, figures: Mapping[str, Any]) -> Task:
        """The task that :meth:`described` put among figures; its predictions are no logits."""
        return cls(figures[cls.name], threshold=figures["threshold"])


@dataclass(frozen=True)
class OnlyLoss(Task):
    """Predictions of which only a loss is known: they can be scanned and trained, not judged."""

    name = ""

    def labels(self, y: Any, count: int) -> Any:
        if len(y) != count:
            raise InputError(f"{count} sequences, but {len(y)} labels")
        return np.asarray(y)


def span(values: np.ndarray, possible: np.ndarray) -> np.ndarray:
    """Highest minus lowest over axis 1, where it is possible."""
    highest = np.where(possible, values, -np.inf).max(axis=1)
    return highest - np.where(possible, values, np.inf).min(axis=1)


def column_to_show(outputs: np.ndarray, label: int | None) -> int:
    """Which of several outputs (S, K): the one asked for, else the one that moves most.

    Raises:
        InputError: no such output.
    """
    if label is None:
        return int(np.ptp(outputs, axis=0).argmax())
    if not 0 <= label < outputs.shape[1]:
        raise InputError(f"label {label}: want 0..{outputs.shape[1] - 1}")
    return label


def improbable(outputs: np.ndarray) -> str:
    """What is no probability among outputs; "" if all may be."""
    low, high = float(outputs.min()), float(outputs.max())
    if low >= 0 and high <= 1:  # false of NaN
        return ""
    return f"lie in {low:.4g}..{high:.4g}, and so are no probabilities"


def numbers(y: Any) -> np.ndarray:
    """Labels as an array.

    Raises:
        InputError: they are no numbers.
    """
    y = np.asarray(y)
    if y.dtype.kind not in "biuf":
        raise InputError(f"labels of type {y.dtype}: want numbers")
    return y


def binary_labels(y: np.ndarray, known: str) -> None:
    """Checks that labels are 0 or 1.

    Args:
        y: any shape, a block of them.
        known: what they are to be, for the message.

    Raises:
        InputError: some are not.
    """
    y = numbers(y)
    if ((y == 0) | (y == 1)).all():
        return
    if np.isnan(y).any():
        raise InputError(f"labels: some are no numbers (NaN); want {known}; leave those out")
    wrong = ", fractions among them" if (np.mod(y, 1) != 0).any() else ""
    low, high = float(y.min()), float(y.max())
    hint = "for numbers as labels give task='values'"
    if set(np.unique(y).tolist()) <= {-1, 1}:
        hint = "want 0 where they are -1"
    elif set(np.unique(y).tolist()) <= {1, 2}:
        hint = "want 0 and 1 where they are 1 and 2"
    raise InputError(f"labels {low:g}..{high:g}{wrong}: want {known}; {hint}")


def clipped(probabilities: np.ndarray) -> np.ndarray:
    """Float64, a hair away from 0 and 1, so that logarithms are finite."""
    return np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
