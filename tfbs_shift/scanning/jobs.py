"""Examples to run a model on at many starts, block by block."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops
from tqdm.auto import tqdm

from tfbs_shift.backend import devices
from tfbs_shift.errors import InputError
from tfbs_shift.scanning.predictors import Predictor, Request, predictor
from tfbs_shift.tasks import Task
from tfbs_shift.windows import WindowRange

_BATCH_SIZE = 128


@dataclass(frozen=True, eq=False)
class ScanJob:
    """A model and the examples to run it on, checked against each other.

    Attributes:
        predictor: the model.
        task: what its predictions mean.
        loss: of an example: a Keras loss object or a function.
        x: sequences (N, W, C), anything that can be sliced.
        y: labels (N, ...) as the task has them.
        windows: the geometry.
        allowed: bool (N, S), which windows each example may use; None: all.
        precision: what the windows are computed in.
    """

    predictor: Predictor
    task: Task
    loss: Any
    x: Any
    y: Any
    windows: WindowRange
    allowed: np.ndarray | None = None
    precision: str = "float32"

    @classmethod
    def of(
        cls,
        model: Any,
        x: Any,
        y: Any,
        *,
        window: int | None = None,
        max_shift: int | None = None,
        protect: np.ndarray | None = None,
        threshold: float = 0.5,
    ) -> ScanJob:
        """Checks everything once; arguments as in ``scan`` and ``evaluate``."""
        if len(x.shape) != 3 or not x.shape[0]:
            raise InputError(f"sequences {tuple(x.shape)}: want (N, length, channels), N above 0")
        model = predictor(model)
        windows = WindowRange(int(x.shape[1]), model.window(window), max_shift)
        if model.channels not in (None, x.shape[2]):
            raise InputError(
                f"sequences {tuple(x.shape)}: the model reads {model.channels} channels"
            )
        allowed = None if protect is None else windows.keeping(protect)
        if allowed is not None and len(allowed) != len(x):
            raise InputError(f"{len(x)} sequences, but {len(allowed)} protected spans")
        centre = slice(windows.centre, windows.centre + windows.window)
        task, loss = model.task(np.asarray(x[:8])[:, centre], threshold)
        return cls(model, task, loss, x, task.labels(y, len(x)), windows, allowed)

    def blocks(
        self,
        starts: np.ndarray | None,
        batch_size: int | None = None,
        progress: bool = False,
        *,
        begin: int = 0,
        end: int | None = None,
        rows: np.ndarray | None = None,
        predictions: bool = True,
    ) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Runs the model at given starts, block by block.

        Args:
            starts: ``int32`` (N, n); None: every start there is.
            batch_size: examples a block, on each of the devices that share it; None: 128.
            progress: show a bar on standard error.
            begin, end: the examples to run; None: to the last.
            rows: ascending numbers (N,) of the examples to run, with repeats; None: all.
            predictions: they are wanted, too.

        Yields:
            (rows of the block, losses (b, n), predictions (b, n, K or 0)), float32.
        """
        count = len(self.x) if rows is None else len(rows)
        size = self.rows_at_once(batch_size, count)
        tries = None if starts is None else starts.shape[1]
        request = Request(
            self.windows, int(self.x.shape[2]), tries, predictions, precision=self.precision
        )
        run = self.predictor.at_starts(request, self.loss)
        end = count if end is None else end
        with tqdm(total=end - begin, unit="ex", disable=not progress, desc="scan") as bar:
            for first in range(begin, end, size):
                here = slice(first, min(first + size, end))
                x, y = (
                    np.asarray(column[here]) if rows is None else _picked(column, rows[here])
                    for column in (self.x, self.y)
                )
                block = [x, self.task.for_loss(self.loss, y)]
                if starts is not None:
                    block.append(starts[here])
                filled = here.stop - first
                if filled < size:  # keep one shape, so that one graph serves all blocks
                    block = [column[np.arange(size) % filled] for column in block]
                numbers = ops.convert_to_numpy(run(*block))[:filled]
                bar.update(filled)
                yield here, numbers[..., 0], numbers[..., 1:]

    def rows_at_once(self, batch_size: int | None, count: int) -> int:
        """Rows of a block of ``blocks`` over ``count`` rows, all devices together."""
        replicas = devices.replicas()
        return replicas * min(batch_size or _BATCH_SIZE, math.ceil(count / replicas))


def _picked(column: Any, rows: np.ndarray) -> np.ndarray:
    """Rows of something that can be sliced, numbers ascending, with repeats."""
    first = int(rows[0])
    return np.asarray(column[first : int(rows[-1]) + 1])[rows - first]
