"""How a window is chosen: No Shift, random, worst, worst of n tries (paper, section 2.2).

A strategy draws *candidate* starts for each example. If there are several, the model's loss at each
is computed by whoever asked (the training step, the evaluation), and the strategy chooses. So a
strategy needs no model, and the same one serves training and evaluation.
"""

from __future__ import annotations

import abc
import math
from typing import Any

import keras
import numpy as np
from keras import ops

from tfbs_shift.backend.precision import checked
from tfbs_shift.errors import InputError
from tfbs_shift.windows import WindowRange

Tensor = Any

_ROWS = 2**14
"""Examples whose starts are drawn at once."""


class ShiftStrategy(abc.ABC):
    """Chooses the start of the window for each example.

    ``windows`` says which starts there are; ``allowed``, bool (B, S) or None, which of them each
    example may use (at least one). Everything is made of ``keras.ops`` and runs in a compiled step.
    """

    name: str
    seed_generator: keras.random.SeedGenerator | None = None
    precision = "float32"
    takes_spans = True
    """Whether protected spans may forbid some starts."""

    @abc.abstractmethod
    def candidates(
        self, batch: int | Tensor, windows: WindowRange, allowed: Tensor | None = None
    ) -> Tensor:
        """Starts to choose from, ``int32`` (batch, n)."""

    def draw(
        self, count: int, windows: WindowRange, allowed: np.ndarray | None = None
    ) -> np.ndarray:
        """The candidates of a whole data set, ``int32`` (count, n); allowed: bool (count, S)."""
        parts = []
        for begin in range(0, count, _ROWS):
            block = None if allowed is None else allowed[begin : begin + _ROWS]
            drawn = self.candidates(min(_ROWS, count - begin), windows, block)
            parts.append(ops.convert_to_numpy(drawn))
        return np.concatenate(parts)

    def also(self, windows: WindowRange) -> np.ndarray:
        """Starts that may be chosen though they are no candidates, ``int32`` (m,)."""
        return windows.starts[:0]

    def tries_every_start(self, windows: WindowRange) -> bool:
        """Whether the candidates are all starts there are, in order."""
        return False

    def count(self, windows: WindowRange) -> int:
        """How many candidates an example has."""
        return 1

    def choose(self, candidates: Tensor, losses: Tensor, windows: WindowRange) -> Tensor:
        """The start of the highest loss, the first of equals: (B, n), (B, n) -> ``int32`` (B,)."""
        best = ops.argmax(losses, axis=1)
        return ops.squeeze(ops.take_along_axis(candidates, best[:, None], axis=1), axis=1)


class NoShift(ShiftStrategy):
    """The centre window, or the allowed one nearest to it: the paper's No Shift."""

    name = "none"

    def candidates(
        self, batch: int | Tensor, windows: WindowRange, allowed: Tensor | None = None
    ) -> Tensor:
        distance = ops.broadcast_to(np.abs(windows.shifts), (batch, len(windows)))
        if allowed is not None:
            distance = ops.where(allowed, distance, windows.length)
        return _starts(ops.argmin(distance, axis=1)[:, None], windows)


class WorstShift(ShiftStrategy):
    """The window of highest loss, among all or among ``tries`` drawn for each example.

    Args:
        tries: n of the paper's W-of-n: starts drawn without replacement, anew in each call, for
            each example. None, or at least the number of windows, tries every start: then the
            worst is exact. Draws are nested: with one seed, the starts of n tries are among those
            of n + 1.
        seed: owns the draws; None takes one that ``keras.utils.set_random_seed`` controls.
        precision: "bfloat16" lets a ShiftTrainer compute the losses to choose by in it; the
            training step itself stays as it is.

    Raises:
        InputError: ``tries`` below 1, an unknown precision.

    >>> windows = WindowRange(101, 90)
    >>> starts = WorstShift(tries=3, seed=0).candidates(2, windows)  # three starts for each of two
    >>> tuple(starts.shape), WorstShift().tries_every_start(windows)
    ((2, 3), True)
    """

    def __init__(
        self, tries: int | None = None, seed: int | None = None, *, precision: str = "float32"
    ):
        if tries is not None and tries < 1:
            raise InputError(
                f"tries {tries}: want 1 or more, or worst (None), which tries every start"
            )
        self.tries = tries
        self.precision = checked(precision)
        self.name = "worst" if tries is None else f"worst_of_{tries}"
        # Drawing every start needs no chance, so that no seed is kept.
        self.seed_generator = None if tries is None else keras.random.SeedGenerator(seed)

    def tries_every_start(self, windows: WindowRange) -> bool:
        return self.tries is None or self.tries >= len(windows)

    def count(self, windows: WindowRange) -> int:
        return len(windows) if self.tries is None else min(self.tries, len(windows))

    def candidates(
        self, batch: int | Tensor, windows: WindowRange, allowed: Tensor | None = None
    ) -> Tensor:
        count = len(windows)
        if self.tries_every_start(windows):
            columns = ops.broadcast_to(ops.arange(count, dtype="int32"), (batch, count))
            if allowed is not None:
                first = ops.cast(ops.argmax(ops.cast(allowed, "int32"), axis=1), "int32")
                columns = ops.where(allowed, columns, first[:, None])
            return _starts(columns, windows)
        draws = self._uniform(batch, count)
        if allowed is not None:
            draws = ops.where(allowed, draws, -1.0)
        # The n largest of independent draws: n columns without replacement, in random order.
        values, columns = ops.top_k(draws, self.count(windows))
        return _starts(ops.where(values < 0, columns[:, :1], columns), windows)

    def _uniform(self, batch: int | Tensor, count: int) -> Tensor:
        """What the draws are made of: float32 (batch, count) in [0, 1)."""
        return keras.random.uniform((batch, count), seed=self.seed_generator)


class PaperWorstShift(WorstShift):
    """Worst, or worst of n, as the authors' code chooses it, which deviates from the paper's text.

    Starts are drawn once for a whole call (a batch in training, the test set in evaluation). The
    loss is clamped at -ln(1e-4), so that the first of all worse starts wins. Whenever the first
    start drawn is the worst, the window is the one at the first start of the range (0 unless
    bounded), drawn or not. It takes no protected spans.

    Args:
        tries, seed, precision: as for :class:`WorstShift`, but n of at least the number of windows
            are drawn, too: every start, in random order.

    Raises:
        InputError: as :class:`WorstShift`.
    """

    takes_spans = False

    def draw(
        self, count: int, windows: WindowRange, allowed: np.ndarray | None = None
    ) -> np.ndarray:
        drawn = super().draw(1, windows)
        return np.broadcast_to(drawn, (count, drawn.shape[1]))

    def also(self, windows: WindowRange) -> np.ndarray:
        return windows.starts[:1]

    def tries_every_start(self, windows: WindowRange) -> bool:
        return self.tries is None

    def choose(self, candidates: Tensor, losses: Tensor, windows: WindowRange) -> Tensor:
        losses = ops.minimum(losses, -math.log(1e-4))
        chosen = super().choose(candidates, losses, windows)
        return ops.where(ops.argmax(losses, axis=1) == 0, windows.first, chosen)

    def _uniform(self, batch: int | Tensor, count: int) -> Tensor:
        return ops.broadcast_to(super()._uniform(1, count), (batch, count))


class RandomShift(ShiftStrategy):
    """A uniform start, drawn for each example in each call: the paper's Rnd.

    Args:
        seed: owns the draws; None takes one that ``keras.utils.set_random_seed`` controls.
    """

    name = "random"

    def __init__(self, seed: int | None = None):
        self._draw = WorstShift(tries=1, seed=seed)
        self.seed_generator = self._draw.seed_generator

    def candidates(
        self, batch: int | Tensor, windows: WindowRange, allowed: Tensor | None = None
    ) -> Tensor:
        return self._draw.candidates(batch, windows, allowed)


def strategy(name: str, *, seed: int | None = None, protocol: str = "exact") -> ShiftStrategy:
    """The strategy of a name: none, random, worst or worst_of_<n>.

    Args:
        seed: owns the draws.
        protocol: "exact", or "paper" for :class:`PaperWorstShift`.

    Raises:
        InputError: an unknown name or protocol, tries below 1.
    """
    if protocol not in ("exact", "paper"):
        raise InputError(f"protocol {protocol!r}: want 'exact' or 'paper'")
    worst = PaperWorstShift if protocol == "paper" else WorstShift
    if name == "none":
        return NoShift()
    if name == "random":
        return RandomShift(seed)
    if name == "worst":
        return worst(None, seed)
    count = name.removeprefix("worst_of_")
    if count != name and count.isdecimal():
        if len(count) > 9:
            raise InputError(f"strategy {name!r}: n is too large; worst tries every start there is")
        return worst(int(count), seed)
    raise InputError(f"strategy {name!r}: want none, random, worst or worst_of_<n>")


def _starts(columns: Tensor, windows: WindowRange) -> Tensor:
    """Columns of the range to starts."""
    return ops.cast(columns, "int32") + windows.first
