"""Examples to run a model on at many starts, block by block."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from tfbs_shift.backend import devices
from tfbs_shift.errors import InputError
from tfbs_shift.scanning.predicting import Predictor, Request
from tfbs_shift.scanning.predictors import predictor
from tfbs_shift.tasks import Task, Unlabelled
from tfbs_shift.tasks.inferring import Judged, Meaning, judged
from tfbs_shift.tasks.losses import name_of
from tfbs_shift.tasks.outputs import Output
from tfbs_shift.windows import WindowRange, nearest

_BATCH_SIZE = 128
_FEW = 8


@dataclass(frozen=True, eq=False)
class ScanJob:
    """A model and the examples to run it on, checked against each other.

    Attributes:
        predictor: the model.
        judged: which of its outputs, what it means, and the loss of an example.
        x: sequences (N, W, C), anything that can be sliced.
        y: labels (N, ...) as the task has them; a tuple of them, one for each output that has a
            loss, where the loss is that of several outputs.
        windows: the geometry.
        allowed: bool (N, S), which windows each example may use; None: all.
        precision: what the windows are computed in.
    """

    predictor: Predictor
    judged: Judged
    x: Any
    y: Any
    windows: WindowRange
    allowed: np.ndarray | None = None
    precision: str = "float32"

    @property
    def task(self) -> Task:
        """What the predictions mean."""
        return self.judged.task

    @property
    def loss(self) -> Any:
        """Of an example, as ``compile`` takes it: a Keras loss object or a function."""
        return self.judged.loss.losses[0].loss

    @classmethod
    def of(
        cls,
        model: Any,
        x: Any,
        y: Any = None,
        *,
        window: int | None = None,
        max_shift: int | None = None,
        protect: np.ndarray | None = None,
        meaning: Meaning | None = None,
    ) -> ScanJob:
        """Checks everything once; arguments as in ``scan`` and ``evaluate``.

        Without labels the predictions at the centre are made now, and are the labels.
        """
        if len(x.shape) != 3 or not x.shape[0]:
            raise InputError(f"sequences {tuple(x.shape)}: want (N, length, channels), N above 0")
        model = predictor(model)
        windows = WindowRange(int(x.shape[1]), model.window(window), max_shift)
        _check_inputs(model, x)
        allowed = None if protect is None else windows.keeping(protect)
        if allowed is not None and len(allowed) != len(x):
            raise InputError(f"{len(x)} sequences, but {len(allowed)} protected spans")
        centre = slice(windows.centre, windows.centre + windows.window)
        clues = model.clues(np.asarray(x[:_FEW])[:, centre])
        meaning = meaning or Meaning()
        y = Output.given(meaning.output).labels(clues.outputs, y)
        known = judged(clues, meaning, y)
        job = cls(model, known, x, None, windows, allowed)
        if isinstance(known.task, Unlabelled):
            return job.unlabelled()
        if known.total:
            return replace(job, y=_of_outputs(known, y, windows, len(x)))
        return replace(job, y=known.task.labels(y, len(x)))

    def unlabelled(self) -> ScanJob:
        """The job with the predictions at the centre as labels."""
        centre = self.at_centre()
        task = self.task.fitted(centre)
        return replace(self, y=task.labels(centre, len(centre)), judged=self._judged_as(task))

    def fitted(self) -> ScanJob:
        """The job with a task that knows the predictions at the centre, if it wants to."""
        if not self.task.wants_centre or isinstance(self.task, Unlabelled):
            return self
        return replace(self, judged=self._judged_as(self.task.fitted(self.at_centre())))

    def _judged_as(self, task: Task) -> Judged:
        return replace(self.judged, task=task)

    def at_centre(self) -> np.ndarray:
        """Predictions at No Shift's window, float32 (N, K).

        Raises:
            InputError: some are no finite numbers.
        """
        column = nearest(len(self.x), self.windows, self.allowed)
        starts = self.windows.starts[column][:, None]
        found = np.concatenate(
            [predictions[:, 0] for _, _, predictions in self.blocks(starts, losses=False)]
        )
        self._name(_not_finite(found), "its prediction at the centre is", "sequences")
        return found

    def few(self) -> tuple[np.ndarray, np.ndarray]:
        """Losses (n,) and predictions (n, K) of the first examples at No Shift's window."""
        rows = np.arange(min(_FEW, len(self.x)))
        starts = self.windows.starts[nearest(len(self.x), self.windows, self.allowed)[rows]]
        ((_, losses, predictions),) = self.blocks(starts[:, None], rows=rows)
        return losses[:, 0], predictions[:, 0]

    def blocks(
        self,
        starts: np.ndarray | None,
        batch_size: int | None = None,
        progress: bool = False,
        *,
        begin: int = 0,
        end: int | None = None,
        rows: np.ndarray | None = None,
        losses: bool = True,
        predictions: bool = True,
    ) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Runs the model at given starts, block by block.

        Args:
            starts: ``int32`` (N, n); None: every start there is.
            batch_size: examples a block, on each of the devices that share it; None: 128.
            progress: show a bar on standard error.
            begin, end: the examples to run; None: to the last.
            rows: ascending numbers (N,) of the examples to run, with repeats; None: all.
            losses, predictions: which are wanted.

        Yields:
            (rows of the block, losses (b, n), predictions (b, n, K or 0)), float32.

        Raises:
            InputError: predictions that are not what the task says.
        """
        count = len(self.x) if rows is None else len(rows)
        size = self.rows_at_once(batch_size, count)
        tries = None if starts is None else starts.shape[1]
        looked_at = not (self.judged.sure or self.judged.total)
        labels = (self.y if isinstance(self.y, tuple) else (self.y,)) if losses else ()
        request = Request(
            self.windows, int(self.x.shape[2]), tries, losses,
            (predictions or looked_at) and not self.judged.total, self.precision,
            self.judged.moving(labels, self.windows.slack),
        )  # fmt: skip
        run = self.predictor.at_starts(request, self.judged)
        end = count if end is None else end
        with tqdm(total=end - begin, unit="ex", disable=not progress, desc="scan") as bar:
            for first in range(begin, end, size):
                here = slice(first, min(first + size, end))
                numbers = np.arange(here.start, here.stop) if rows is None else rows[here]
                block = [
                    np.asarray(column[here]) if rows is None else _picked(column, numbers)
                    for column in (self.x, *labels)
                ]
                block[1:] = [self.task.for_loss(self.loss, y) for y in block[1:]]
                block += [numbers, *([] if starts is None else [starts[here]])]
                filled = here.stop - first
                if filled < size:  # keep one shape, so that one graph serves all blocks
                    block = [column[np.arange(size) % filled] for column in block]
                x, of_rows, numbers = block[0], block[1 : 1 + len(labels)], block[1 + len(labels)]
                at = None if starts is None else block[-1]
                found = run(x, at, of_rows, numbers)[:filled]
                bar.update(filled)
                split = int(losses)
                if looked_at:
                    self._look_at(found[..., split:])
                loss = found[..., 0] if losses else np.empty(found.shape[:2], np.float32)
                yield here, loss, found[..., split:]

    def _look_at(self, predictions: np.ndarray) -> None:
        wrong = self.task.unfit(predictions)
        if wrong:
            raise InputError(
                f"model {self.predictor.name!r}: its predictions {wrong}, but are taken for "
                f"{self.task.name} ({self.judged.reason}); for logits give loss= with "
                "from_logits=True, for numbers task='values'"
            )

    def check_finite(self, losses: np.ndarray, first: int = 0) -> None:
        """Raises InputError where losses (n, ...) of examples from ``first`` on are not finite."""
        named = " + ".join(name_of(one.loss) for one in self.judged.loss.losses)
        wrong = first + _not_finite(losses)
        self._name(wrong, f"the loss {named} is", "predictions and labels")

    def _name(self, wrong: np.ndarray, what: str, where: str) -> None:
        """Raises InputError if there are wrong examples: what is no number, where to look."""
        if not len(wrong):
            return
        shown = ", ".join(map(str, wrong[:5])) + (", ..." if len(wrong) > 5 else "")
        raise InputError(
            f"model {self.predictor.name!r}: {what} no finite number of {len(wrong)} examples "
            f"({shown}); look at their {where}, or leave them out"
        )

    def rows_at_once(self, batch_size: int | None, count: int) -> int:
        """Rows of a block of ``blocks`` over ``count`` rows, all devices together."""
        replicas = devices.replicas()
        return replicas * min(batch_size or _BATCH_SIZE, math.ceil(count / replicas))


def _not_finite(values: np.ndarray) -> np.ndarray:
    """Rows of (n, ...) in which not all is a finite number."""
    return np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))


def _picked(column: Any, rows: np.ndarray) -> np.ndarray:
    """Rows of something that can be sliced, numbers ascending, with repeats."""
    first = int(rows[0])
    return np.asarray(column[first : int(rows[-1]) + 1])[rows - first]


def _check_inputs(model: Predictor, x: Any) -> None:
    if model.channels not in (None, x.shape[2]):
        raise InputError(f"sequences {tuple(x.shape)}: the model reads {model.channels} channels")
    for i, arg in enumerate(model.args):
        if len(arg) != len(x):
            raise InputError(f"args[{i}]: {len(arg)} rows for {len(x)} sequences")


def _of_outputs(known: Judged, y: Any, windows: WindowRange, count: int) -> tuple[Any, ...]:
    """Labels of each output that has a loss, checked to be of ``count`` examples and to fit."""
    labels = known.loss.of_outputs(known.outputs, y)
    labels = tuple(one if hasattr(one, "shape") else np.asarray(one) for one in labels)
    for one in labels:
        if len(one) != count:
            raise InputError(f"{count} sequences, but {len(one)} labels")
    known.loss.check(known.outputs, labels, windows.slack)
    return labels
