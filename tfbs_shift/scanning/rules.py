"""What a rule for a layer of the stem is: decided from shapes, then computed as often as wanted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tfbs_shift.scanning.costs import Costs
from tfbs_shift.scanning.units import Layout, SharedTensor


class NotShared(Exception):
    """Why a step's output is computed for each window."""


@dataclass(frozen=True, eq=False)
class Rule(ABC):
    """How one step of the stem turns shared tensors into a shared tensor.

    Attributes:
        layout: that of its output.
        costs: its multiplications.
    """

    layout: Layout
    costs: Costs

    def prepared_weights(self) -> Any:
        """What ``apply`` needs that is made of weights alone: once a call of the model."""
        return None

    @abstractmethod
    def apply(self, inputs: Sequence[SharedTensor], prepared: Any) -> SharedTensor:
        """The output for some examples, ``prepared`` being what ``prepared_weights`` returned."""


def check_worth(costs: Costs, starts: int) -> None:
    """Raises NotShared unless sharing is worth it for so many windows of an example."""
    if not costs.worth_sharing(starts):
        raise NotShared(f"sharing would cost more than {starts} windows do")


def check_channels_last(layer: Any) -> None:
    """Raises NotShared for a layer that takes channels for positions."""
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise NotShared("its data format is channels_first")
