"""A model as everything above sees it: windows in, predictions out."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from tfbs_shift.backend import computing
from tfbs_shift.scanning.plans import ScanPlan, windows_at_once
from tfbs_shift.tasks.inferring import Clues, Judged
from tfbs_shift.windows import WindowRange

Tensor = Any
Run = Callable[[Any, Any, Sequence[Any], np.ndarray], np.ndarray]
_WINDOWS = 256  # at once, at most, of a model that runs each by itself


@dataclass(frozen=True)
class Request:
    """What is to be run of each example.

    Attributes:
        windows: the geometry.
        channels: C of the sequences.
        tries: starts run for each example; None: every start there is.
        losses, predictions: which are wanted.
        precision: what the windows are computed in.
        moving: of labels that move with the window the positions of their output, else None.
    """

    windows: WindowRange
    channels: int
    tries: int | None = None
    losses: bool = True
    predictions: bool = True
    precision: str = "float32"
    moving: tuple[int | None, ...] = ()


class Predictor(abc.ABC):
    """A model that reads windows (n, L, C) and predicts something of each.

    Attributes:
        name: what to call it.
        channels: C that it reads; None: not known.
        alphabet: the order of the channels.
        stride: bp between the positions of its coarsest layer; 1 where not known.
        args: what else it reads of each example, (N, ...) each.
    """

    name: str
    channels: int | None
    alphabet: str
    stride: int = 1
    args: Sequence[Any] = ()

    @abc.abstractmethod
    def window(self, given: int | None = None) -> int:
        """L; ``given`` where the model itself does not know.

        Raises:
            InputError: neither tells it, or they differ.
        """

    @abc.abstractmethod
    def clues(self, windows: np.ndarray) -> Clues:
        """What the model tells of its predictions.

        Args:
            windows: a few windows (n, L, C), to predict where nothing else tells.
        """

    @abc.abstractmethod
    def run(self, windows: np.ndarray, rows: np.ndarray | None = None) -> list[np.ndarray]:
        """Every output, float32 (n, ...), of windows (n, L, C).

        Args:
            windows: the windows.
            rows: (n,) the examples that they are of, where there are ``args``.
        """

    @abc.abstractmethod
    def at_starts(self, request: Request, judged: Judged) -> Run:
        """A function (x (B, W, C), starts ``int32`` (B, n) or None for all, labels (B, ...) each,
        rows (B,)) -> float32 (B, n, F): the loss and the predictions at each start, as wanted.

        Devices share the rows, so B is a multiple of their number.
        """

    @abc.abstractmethod
    def plan(self, request: Request) -> ScanPlan:
        """What of a request is shared between windows, and what it costs."""

    @abc.abstractmethod
    def state(self) -> Iterable[np.ndarray]:
        """Its weights, where they are known: what tells it from another model."""


class OnHost:
    """Loss and predictions of windows whose outputs are arrays.

    Args:
        request: what is wanted.
        judged: how outputs are judged.
    """

    def __init__(self, request: Request, judged: Judged):
        self._request, self._judged = request, judged
        count = len(judged.outputs.names) if judged.total else 1
        self._loss = computing.compiled(
            lambda *columns: judged.loss(columns[:count], columns[count:])
        )

    def __call__(
        self, outputs: Sequence[np.ndarray], starts: Any, labels: Sequence[Any]
    ) -> np.ndarray:
        """Of outputs (B * n, ...), starts (B, n) or None for all, labels (B, ...)."""
        request, windows = self._request, self._request.windows
        count = len(windows) if starts is None else starts.shape[1]
        example = np.repeat(np.arange(len(outputs[0]) // count), count)
        at = np.resize(windows.starts, len(example)) if starts is None else np.ravel(starts)
        of_rows = labels_at(labels, example, at, request.moving)
        numbers = self.rows(outputs, of_rows)
        return numbers.reshape(-1, count, numbers.shape[1])

    def rows(self, outputs: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> np.ndarray:
        """Of some windows, float32 (rows, F)."""
        request, judged = self._request, self._judged
        if judged.total:
            return ops.convert_to_numpy(self._loss(*outputs, *labels))[:, None]
        condensed = judged.output.condensed(outputs, judged.outputs)
        condensed = np.asarray(ops.convert_to_numpy(condensed), np.float32)
        if not request.losses:
            return condensed
        loss = ops.convert_to_numpy(self._loss(condensed, *labels))[:, None]
        return np.concatenate([loss, condensed], axis=1) if request.predictions else loss


def labels_at(
    labels: Sequence[Any], example: np.ndarray, at: np.ndarray, moving: Sequence[int | None]
) -> list[np.ndarray]:
    """Labels of some windows.

    Args:
        labels: (B, ...) each.
        example: (rows,) whose window it is.
        at: (rows,) where it begins.
        moving: of labels that move with the window the positions of their output, else None.
    """
    lengths = [*moving, *[None] * len(labels)][: len(labels)]
    return [
        np.asarray(y)[example]
        if length is None
        else np.asarray(y)[example[:, None], at[:, None] + np.arange(length)]
        for y, length in zip(labels, lengths, strict=True)
    ]


class EveryWindow(Predictor):
    """A model of which nothing is known but what it predicts: each window is run by itself.

    Attributes:
        reason: why nothing is shared.
    """

    reason: str

    def at_starts(self, request: Request, judged: Judged) -> Run:
        windows, measure = request.windows, OnHost(request, judged)

        def run(x: Any, starts: Any, labels: Sequence[Any], rows: np.ndarray) -> np.ndarray:
            x = np.asarray(x)
            if starts is None:
                starts = np.broadcast_to(windows.starts, (len(x), len(windows)))
            count = starts.shape[1]
            example, at = np.repeat(np.arange(len(x)), count), np.ravel(starts)
            size = min(windows_at_once(windows.window, _WINDOWS), len(at))
            numbers = []
            for first in range(0, len(at), size):
                filled = np.arange(first, first + size) % len(at)  # one shape for all blocks
                whose, where = example[filled], at[filled]
                bases = where[:, None] + np.arange(windows.window)
                outputs = self.run(x[whose[:, None], bases], rows[whose])
                of_rows = labels_at(labels, whose, where, request.moving)
                numbers.append(measure.rows(outputs, of_rows))
            together = np.concatenate(numbers)[: len(at)]
            return together.reshape(len(x), count, together.shape[1])

        return run

    def plan(self, request: Request) -> ScanPlan:
        windows = request.windows
        rows = windows_at_once(windows.window, _WINDOWS)
        return ScanPlan(self.name, windows, request.tries or len(windows), (), rows, self.reason)
