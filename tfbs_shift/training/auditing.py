"""Audits while a model trains: a Keras callback."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from tfbs_shift.backend.computing import SummaryWriter
from tfbs_shift.errors import InputError
from tfbs_shift.evaluation import evaluate
from tfbs_shift.files import write_rows
from tfbs_shift.strategies import ShiftStrategy
from tfbs_shift.training.settings import check_log_dir
from tfbs_shift.training.trainer import ShiftTrainer


class ShiftAudit(keras.callbacks.Callback):
    """Logs what the model is worth when its window moves, each epoch; for anybody's ``fit``.

    Adds ``shift_<strategy>_<metric>`` (``shift_worst_accuracy``, ``shift_none_loss``, ...),
    ``shift_wobble``, ``shift_consistency``, ``shift_flipped`` and ``shift_reliability`` to the
    epoch's logs, so that Keras's History, CSVLogger, TensorBoard, EarlyStopping or ModelCheckpoint
    after it in the list of callbacks see them (the last two want ``mode="min"`` or ``"max"`` for
    names that Keras does not know); and writes them by itself, if asked.

    Cost: an ``evaluate`` of x each time; give some thousand examples, or ``every``.

    Args:
        x: sequences (N, W, channels), longer than the model's input, in its channel order.
        y: their labels, as for ``evaluate``.
        window: the model's input length, where that is free or not known.
        strategies: as for ``evaluate``; without worst no wobble, consistency, flips, reliability.
        max_shift: the largest absolute shift, in bp.
        threshold: as for ``evaluate``.
        every: audit each so many epochs, the last of these intervals too.
        csv_file: a CSV to write, one row an audit; an earlier one is replaced.
        log_dir: a folder for TensorBoard, which must be installed, and TensorFlow.
        seed, batch_size: as for ``evaluate``.
        **options: ``output``, ``task``, ``tolerance`` and what else ``evaluate`` takes.

    Raises:
        InputError: ``every`` below 1; ``log_dir`` without TensorBoard; at the first audit, what
            ``evaluate`` raises.
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        *,
        window: int | None = None,
        strategies: Sequence[str | ShiftStrategy] = ("none", "random", "worst"),
        max_shift: int | None = None,
        threshold: float = 0.5,
        every: int = 1,
        csv_file: str | Path | None = None,
        log_dir: str | Path | None = None,
        seed: int = 0,
        batch_size: int | None = None,
        **options: Any,
    ):
        super().__init__()
        if every < 1:
            raise InputError(f"every {every}: must be at least 1 epoch")
        check_log_dir(log_dir)
        self.x, self.y = x, y
        self.every = every
        self._options = {
            "window": window, "strategies": strategies, "max_shift": max_shift, "seed": seed,
            "threshold": threshold, "batch_size": batch_size, "self_checks": False, **options,
        }  # fmt: skip
        self.csv_file = None if csv_file is None else Path(csv_file).expanduser()
        self.log_dir = None if log_dir is None else Path(log_dir).expanduser()
        self._rows: list[dict[str, float]] = []
        self._writer: SummaryWriter | None = None

    def on_train_begin(self, logs=None):
        self._rows = []
        if self.log_dir is not None:
            self._writer = SummaryWriter(self.log_dir)

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every:
            return
        model = self.model.model if isinstance(self.model, ShiftTrainer) else self.model
        audit = evaluate(model, self.x, self.y, **self._options)
        values = {
            f"shift_{name}_{metric}": value
            for name, metrics in audit.strategies.items()
            for metric, value in metrics.items()
        }
        figures = audit.to_dict()
        values |= {
            f"shift_{name}": figures[name]
            for name in ("consistency", "wobble", "flipped", "reliability")
            if name in figures
        }
        if logs is not None:
            logs.update(values)
        if self.csv_file is not None:
            self._rows.append({"epoch": epoch, **values})
            write_rows(self.csv_file, self._rows)
        if self._writer is not None:
            self._writer.write(epoch, {f"epoch_{name}": value for name, value in values.items()})

    def on_train_end(self, logs=None):
        if self._writer is not None:
            self._writer.close()
            self._writer = None
