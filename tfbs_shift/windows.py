"""The geometry of shifts, in plain integers.

A stored sequence has ``length`` bases (W), the model reads a ``window`` of them (L). The window
can start at 0..D, where D = W - L is the slack. The *shift* of a start s is s - D // 2, in bp:
shift 0 is the centre window, the paper's No Shift. For odd D the centre window leaves out one base
more at the right (101 -> 90 keeps bases 5..94).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tfbs_shift.errors import InputError


@dataclass(frozen=True)
class WindowRange:
    """The windows that may be read from a sequence.

    Args:
        length: bases stored per example, W.
        window: bases the model reads, L, in 1..W.
        max_shift: the largest absolute shift allowed, in bp, 0 or more; None: all D + 1 starts.

    Raises:
        InputError: the window does not fit, or a number is out of range.

    >>> r = WindowRange(101, 90, max_shift=2)
    >>> r.slack, r.centre, r.starts.tolist(), r.shifts.tolist()
    (11, 5, [3, 4, 5, 6, 7], [-2, -1, 0, 1, 2])
    """

    length: int
    window: int
    max_shift: int | None = None

    def __post_init__(self):
        if self.window < 1:
            raise InputError(f"window {self.window}: must be at least 1 bp")
        if self.window > self.length:
            raise InputError(
                f"window {self.window}: longer than the sequences, which have {self.length} bp"
            )
        if self.max_shift is not None and self.max_shift < 0:
            raise InputError(f"max_shift {self.max_shift}: must be 0 bp or more")

    @property
    def slack(self) -> int:
        """D = W - L, the largest start."""
        return self.length - self.window

    @property
    def centre(self) -> int:
        """The start of the centre window, D // 2."""
        return self.slack // 2

    @property
    def first(self) -> int:
        """The smallest start allowed."""
        return 0 if self.max_shift is None else max(0, self.centre - self.max_shift)

    @property
    def last(self) -> int:
        """The largest start allowed, itself included."""
        return (
            self.slack if self.max_shift is None else min(self.slack, self.centre + self.max_shift)
        )

    def __len__(self) -> int:
        return self.last - self.first + 1

    @cached_property
    def starts(self) -> np.ndarray:
        """``int32`` (S,): every start allowed, in order."""
        return np.arange(self.first, self.last + 1, dtype=np.int32)

    @property
    def shifts(self) -> np.ndarray:
        """``int32`` (S,): the signed shift of every start, in bp."""
        return self.starts - self.centre

    def keeping(self, spans: np.ndarray) -> np.ndarray:
        """Which windows hold a protected span whole (a motif, a summit), per example.

        Args:
            spans: integers (N, 2), bases start..end of each stored sequence, 0-based half-open,
                that must stay inside the window (the paper: "we exclude slices that would
                interfere with the motif").

        Returns:
            bool (N, S), aligned with :attr:`starts`; at least one True a row.

        Raises:
            InputError: an example's span fits no window allowed, or is no span of the sequence.
        """
        spans = np.asarray(spans)
        if spans.ndim != 2 or spans.shape[1] != 2 or not np.issubdtype(spans.dtype, np.integer):
            raise InputError(
                f"protected spans must be integers of shape (N, 2), not {spans.dtype} {spans.shape}"
            )
        start, end = spans[:, :1], spans[:, 1:]
        wrong = (start < 0) | (end < start) | (end > self.length)
        inside = (self.starts <= start) & (end <= self.starts + self.window)
        for i in np.flatnonzero(wrong[:, 0] | ~inside.any(axis=1))[:1]:
            reason = (
                f"not a span of 0..{self.length}"
                if wrong[i, 0]
                else f"no window of {self.window} bp with start {self.first}..{self.last} holds it"
            )
            raise InputError(f"example {i}: protected span {start[i, 0]}..{end[i, 0]}: {reason}")
        return inside


def nearest(count: int, windows: WindowRange, allowed: np.ndarray | None) -> np.ndarray:
    """The column of No Shift's window for each example: ``int64`` (N,), the first of equals."""
    distance = np.abs(windows.shifts)
    if allowed is None:
        return np.full(count, distance.argmin())
    return np.where(allowed, distance, windows.length).argmin(axis=1)
