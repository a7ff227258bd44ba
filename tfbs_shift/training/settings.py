"""How a run trains. Nothing here needs Keras, so that a mistake is told before it is loaded."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path

from tfbs_shift.errors import InputError

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
"""What training steps can compute in."""

_SMALLEST = {
    "epochs": 1,
    "batch_size": 1,
    "patience": 1,
    "lr_patience": 0,
    "seed": 0,
    "save_every": 1,
}


@dataclass(frozen=True)
class Settings:
    """How a run trains; the defaults are the paper's for its small data sets.

    The validation loss is that of the data: without L1 and L2, in float32, on the same random
    windows in each epoch. A gain is one below the lowest so far, for the learning rate by more than
    1e-4.

    Args:
        window: bases the model reads, L; None: its input says that.
        max_shift: the largest absolute shift, in bp, 0 or more; None: every start.
        monitor: the strategy, one of those that are validated, whose loss decides on early
            stopping, learning rate and best model; None: the first of them.
        epochs: at most, 1 or more.
        batch_size: examples a step, of all devices together; 1 or more, a multiple of the devices.
        learning_rate: of Adam, at the start; 0 or more.
        patience: epochs without a gain after which training stops, 1 or more.
        lr_patience: epochs without a gain after which the learning rate is taken times 0.25;
            0: never.
        seed: order of the examples, 0 or more.
        precision: "float32", "mixed_bfloat16" or "mixed_float16": what the steps compute in.
        save_every: steps between two saved states inside an epoch, 1 or more.
        task: what predictions mean: "classes", "labels" or "values"; None: found out where that is
            sure.
        loss: a Keras loss by name; None: what the model was compiled with, else what fits the task.
        log_dir: a folder for TensorBoard, which must be installed, and TensorFlow; None: none.
        profile: put a profile of steps 11 to 20 there, too.

    Raises:
        InputError: a number out of its range, an unknown precision, ``profile`` without
            ``log_dir``, or that without TensorBoard. ``train`` raises what is wrong with a window
            and a strategy.
    """

    window: int | None = None
    max_shift: int | None = None
    monitor: str | None = None
    epochs: int = 100
    batch_size: int = 64
    learning_rate: float = 5e-5
    patience: int = 25
    lr_patience: int = 5
    seed: int = 0
    precision: str = "float32"
    save_every: int = 1000
    task: str | None = None
    loss: str | None = None
    log_dir: str | Path | None = None
    profile: bool = False

    def __post_init__(self):
        for name, smallest in _SMALLEST.items():
            value = getattr(self, name)
            if value < smallest:
                raise InputError(f"{name} {value}: must be at least {smallest}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate >= 0):
            raise InputError(f"learning_rate {self.learning_rate}: must be a number, 0 or more")
        if self.precision not in PRECISIONS:
            raise InputError(f"precision {self.precision!r}: want one of {', '.join(PRECISIONS)}")
        if self.profile and self.log_dir is None:
            raise InputError("profile: needs log_dir, a folder to put the profile in")
        check_log_dir(self.log_dir)


def check_log_dir(log_dir: str | Path | None) -> None:
    """Raises InputError where there is to be a folder for TensorBoard, but nothing writes it."""
    if log_dir is None:
        return
    for package, name in (("tensorboard", "TensorBoard"), ("tensorflow", "TensorFlow")):
        if importlib.util.find_spec(package) is None:
            raise InputError(f"log_dir {log_dir}: needs {name}: pip install {package}")
