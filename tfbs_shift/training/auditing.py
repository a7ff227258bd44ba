"""Audits while a model trains: a Keras callback."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from tfbs_shift.errors import InputError
from tfbs_shift.evaluation import evaluate
from tfbs_shift.strategies import ShiftStrategy
from tfbs_shift.training.trainer import ShiftTrainer


class ShiftAudit(keras.callbacks.Callback):
    """Logs what the model is worth when its window moves, each epoch; for anybody's ``fit``.

    Adds ``shift_<strategy>_<metric>`` (``shift_worst_accuracy``, ``shift_none_loss``, ...),
    ``shift_wobble``, ``shift_consistency`` and ``shift_flipped`` to the epoch's logs, so that
    Keras's History, CSVLogger, TensorBoard, EarlyStopping or ModelCheckpoint after it in the list
    of callbacks see them (the last two want ``mode="min"`` or ``"max"`` for names that Keras does
    not know); and writes them by itself, if asked.

    Cost: an ``evaluate`` of x each time; give some thousand examples, or ``every``.

    Args:
        x: sequences (N, W, channels), longer than the model's input, in its channel order.
        y: their labels, as for ``evaluate``.
        window: the model's input length, where that is free or not known.
        strategies: as for ``evaluate``; without worst no wobble, consistency and flips.
        max_shift: the largest absolute shift, in bp.
        every: audit each so many epochs, the last of these intervals too.
        csv_file: a CSV to write, one row an audit; an earlier one is replaced.
        log_dir: a folder for TensorBoard, which must be installed, and TensorFlow.
        seed, batch_size: as for ``evaluate``.

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
        every: int = 1,
        csv_file: str | Path | None = None,
        log_dir: str | Path | None = None,
        seed: int = 0,
        batch_size: int | None = None,
    ):
        super().__init__()
        if every < 1:
            raise InputError(f"every {every}: must be at least 1 epoch")
        if log_dir is not None and importlib.util.find_spec("tensorboard") is None:
            raise InputError(f"log_dir {log_dir}: needs TensorBoard: pip install tensorboard")
        self.x, self.y = x, y
        self.every = every
        self._options = {
            "window": window, "strategies": strategies, "max_shift": max_shift, "seed": seed,
            "batch_size": batch_size, "self_checks": False,
        }  # fmt: skip
        self.csv_file = None if csv_file is None else Path(csv_file).expanduser()
        self.log_dir = log_dir
        self._writer: Any = None
        self._begun = False

    def on_train_begin(self, logs=None):
        self._begun = False
        if self.log_dir is not None:
            import tensorflow as tf

            self._writer = tf.summary.create_file_writer(str(self.log_dir))

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every:
            return
        model = self.model.model if isinstance(self.model, ShiftTrainer) else self.model
        found = evaluate(model, self.x, self.y, **self._options)
        values = {
            f"shift_{name}_{metric}": value
            for name, metrics in found.strategies.items()
            for metric, value in metrics.items()
        }
        figures = found.to_dict()
        values |= {
            f"shift_{name}": figures[name]
            for name in ("consistency", "wobble", "flipped")
            if name in figures
        }
        if logs is not None:
            logs.update(values)
        if self.csv_file is not None:
            self._append({"epoch": epoch, **values}, self.csv_file)
        if self._writer is not None:
            import tensorflow as tf

            with self._writer.as_default(step=epoch):
                for name, value in values.items():
                    tf.summary.scalar(f"epoch_{name}", value)
            self._writer.flush()

    def on_train_end(self, logs=None):
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _append(self, row: dict[str, float], path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a" if self._begun else "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            if not self._begun:
                writer.writeheader()
            writer.writerow(row)
        self._begun = True
