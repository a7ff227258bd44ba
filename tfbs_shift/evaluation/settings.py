"""What an evaluation is told: how windows move, what else is wanted, how it is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfbs_shift.errors import InputError
from tfbs_shift.strategies import ShiftStrategy, strategy
from tfbs_shift.tasks.inferring import Meaning


@dataclass(frozen=True, eq=False)
class Shifts:
    """How windows move.

    Attributes:
        strategies: names ("none", "random", "worst", "worst_of_20") or strategy objects.
        window: the model's input length L, where that is free or not known.
        max_shift: the largest absolute shift, in bp; None: every start 0..W - L.
        protect: integers (N, 2): a span of each sequence that must stay inside the window.
        seed: of the random draws, for strategies given by name, of random curves and resamples.
    """

    strategies: Sequence[str | ShiftStrategy] = ("none", "random", "worst")
    window: int | None = None
    max_shift: int | None = None
    protect: np.ndarray | None = None
    seed: int = 0

    def by_name(self) -> dict[str, ShiftStrategy]:
        """The strategies.

        Raises:
            InputError: none, an unknown one, one that is named twice, or one that knows no spans
                where there are spans to protect.
        """
        chosen: dict[str, ShiftStrategy] = {}
        for item in self.strategies:
            one = strategy(item, seed=self.seed) if isinstance(item, str) else item
            if one.name in chosen:
                raise InputError(f"strategy {one.name!r}: given twice")
            if self.protect is not None and not one.takes_spans:
                raise InputError(
                    "protect: the paper's protocol knows no spans; use protocol='exact'"
                )
            chosen[one.name] = one
        if not chosen:
            raise InputError("strategies: want one or more of none, random, worst, worst_of_<n>")
        return chosen


@dataclass(frozen=True, eq=False)
class Details:
    """What else is wanted of an evaluation.

    Attributes:
        output: which output is judged, or how it is condensed to (b, K), as for ``scan``.
        task: "classes", "labels", "values"; None: found out where that is sure.
        loss: of an example; overrules what was compiled.
        threshold: the probability from which on class 1 of two, or a label, is called.
        tolerance: of values, in their unit: how far from the centre's a prediction may be and count
            as the same; None: a tenth of the standard deviation of the centre's over examples.
        average_strands: for labels and values: score the mean prediction of both strands.
        label_names: K names, for what is said about labels.
        groups: (N,) what each example belongs to, its chromosome say.
        draws: random shifts behind the random curve of areas.
        examples: numbers of examples that are to be shown.
        self_checks: whether to make them.
    """

    output: Any = None
    task: str | None = None
    loss: Any = None
    threshold: float = 0.5
    tolerance: float | None = None
    average_strands: bool = False
    label_names: Sequence[str] | None = None
    groups: np.ndarray | None = None
    draws: int = 5
    examples: Sequence[int] = ()
    self_checks: bool = True

    @property
    def meaning(self) -> Meaning:
        """What is said of the predictions."""
        return Meaning(self.output, self.task, self.loss, self.threshold, self.tolerance)

    def check(self, count: int) -> None:
        """Raises InputError where they do not fit so many examples."""
        if self.groups is not None and len(self.groups) != count:
            raise InputError(f"{count} sequences, but {len(self.groups)} groups")
        if self.draws < 0:
            raise InputError(f"draws {self.draws}: must be 0 or more")
        if any(not 0 <= number < count for number in self.examples):
            raise InputError(f"examples {list(self.examples)}: want numbers 0..{count - 1}")


@dataclass(frozen=True)
class Execution:
    """How an evaluation is run; its result does not depend on it.

    Attributes:
        batch_size: examples a block, on each device; None: 128.
        folder: keep losses and predictions in files there while they are made, to go on later.
        progress: show a bar on standard error.
        host: (i, n): this is host i of n that share the folder.
    """

    batch_size: int | None = None
    folder: Path | None = None
    progress: bool = False
    host: tuple[int, int] = (0, 1)

    def __post_init__(self):
        if self.folder is None and self.host[1] > 1:
            raise InputError(f"hosts {self.host[1]}: need a folder that they share")
