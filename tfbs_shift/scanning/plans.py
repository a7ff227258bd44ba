"""What a scan shares, in words and figures."""

from __future__ import annotations

from dataclasses import dataclass

from tfbs_shift.scanning.costs import Costs
from tfbs_shift.text import aligned
from tfbs_shift.windows import WindowRange

_BASES = 2**18


def windows_at_once(window: int, most: int) -> int:
    """How many windows of so many bp to run at once, at most, of a model of unknown layers.

    Each of 2,048 bp runs beside 127 others, one of 200,000 by itself.
    """
    return max(1, min(most, _BASES // window))


@dataclass(frozen=True)
class PlannedStep:
    """One call of a layer.

    Attributes:
        name, kind: the layer's name and class.
        how: what is done: once an example, once but for the borders, for each window.
        costs: its multiplications; None where they are not known.
        reason: why it is not shared, for a layer that reads shared features.
    """

    name: str
    kind: str
    how: str
    costs: Costs | None
    reason: str = ""


@dataclass(frozen=True)
class ScanPlan:
    """How a model is run at several starts of its window.

    Attributes:
        model: its name.
        windows: the geometry.
        starts: how many are run for each example.
        steps: the layers, in the order in which they are run; empty if the model's layers are not
            known.
        rows: windows run at once.
        fallback: why nothing is shared; "" if something may be.
    """

    model: str
    windows: WindowRange
    starts: int
    steps: tuple[PlannedStep, ...]
    rows: int
    fallback: str = ""

    @property
    def plain_flops(self) -> int | None:
        """Of matrix products, for one example, every window by itself; 2 a multiplication.

        None where the model's layers are not known.
        """
        if self.fallback:
            return None
        return sum(2 * self.starts * step.costs.plain for step in self.steps if step.costs)

    @property
    def shared_flops(self) -> int | None:
        """The same, as the scan does it."""
        if self.fallback:
            return None
        return sum(
            2 * (step.costs.once + self.starts * step.costs.window)
            for step in self.steps
            if step.costs
        )

    @property
    def not_counted(self) -> tuple[str, ...]:
        """Names of layers whose cost is not known: the same with and without sharing."""
        return tuple(step.name for step in self.steps if step.costs is None)

    @property
    def stem_ends(self) -> tuple[str, ...]:
        """Each layer that reads what windows share and is run for each window, and why."""
        return tuple(
            f"{step.name} ({step.kind}): {step.reason}" for step in self.steps if step.reason
        )

    def __str__(self) -> str:
        windows = self.windows
        head = (
            f"model {self.model!r}: {self.starts} windows of {windows.window} bp in "
            f"{windows.length} bp"
        )
        if self.fallback:
            return f"{head}\nnothing is shared: {self.fallback}"
        lines = [head, "", aligned(self._table(), left=2, remarks=True)]
        lines += ["", f"matrix products of one example; {self.rows} windows are run at once"]
        if self.not_counted:
            lines.append(f"not counted: {', '.join(self.not_counted)}")
        lines += [f"the stem ends at {end}" for end in self.stem_ends]
        return "\n".join(lines)

    def _table(self) -> list[tuple[str, ...]]:
        rows = [("layer", "class", "million FLOPs plain", "shared", "run")]
        for step in self.steps:
            figures = ("?", "?")
            if step.costs is not None:
                plain = self.starts * step.costs.plain
                shared = step.costs.once + self.starts * step.costs.window
                figures = (_millions(plain), _millions(shared))
            if figures == (_millions(0), _millions(0)):
                figures = ("", "")
            rows.append((step.name, step.kind, *figures, step.how))
        plain, shared = (self.plain_flops or 0) // 2, (self.shared_flops or 0) // 2
        rows.append(("total", "", _millions(plain), _millions(shared), _ratio(plain, shared)))
        return rows


def _millions(multiplications: int) -> str:
    return f"{2 * multiplications / 1e6:,.1f}"


def _ratio(plain: int, shared: int) -> str:
    return f"{plain / shared:.2f} times fewer" if shared else ""
