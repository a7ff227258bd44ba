"""Which of a model's outputs is judged, and how one with positions is condensed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from keras import ops, tree

from tfbs_shift.errors import InputError

Tensor = Any

POSITIONS = {
    "mean": lambda x: ops.mean(x, axis=1),
    "sum": lambda x: ops.sum(x, axis=1),
    "centre": lambda x: x[:, x.shape[1] // 2],
    "max": lambda x: ops.max(x, axis=1),
}
"""How (rows, P, T) becomes (rows, T)."""


class Outputs(NamedTuple):
    """What a model predicts of one window.

    Attributes:
        names: of its outputs: keys of a dict, a Keras model's names, else their numbers.
        shapes: theirs, without the batch.
        structure: predictions as the model gives them: an array, or a list or dict of arrays.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int | None, ...], ...]
    structure: Any

    @classmethod
    def of(cls, predictions: Any, names: Sequence[str] | None = None) -> Outputs:
        """From predictions, tensors or symbolic ones.

        Args:
            predictions: as a model gives them.
            names: of its outputs, where it has any.
        """
        leaves = tree.flatten(predictions)
        if isinstance(predictions, Mapping) and len(predictions) == len(leaves):
            # In the order in which they are flattened: a dict's sorted, an OrderedDict's its own.
            names = [path[0] for path, _ in tree.flatten_with_path(predictions)]
        elif names is None or not len(set(names)) == len(names) == len(leaves):
            names = [str(i) for i in range(len(leaves))]
        shapes = tuple(tuple(leaf.shape[1:]) for leaf in leaves)
        return cls(tuple(map(str, names)), shapes, tree.map_structure(lambda _: None, predictions))

    def __str__(self) -> str:
        shapes = (", ".join(["batch", *map(str, shape)]) for shape in self.shapes)
        return ", ".join(f"{name} ({s})" for name, s in zip(self.names, shapes, strict=True))

    def packed(self, leaves: Sequence[Any]) -> Any:
        """Outputs in a list as the model gives them."""
        return tree.pack_sequence_as(self.structure, list(leaves))


@dataclass(frozen=True)
class Output:
    """Which output of a model is judged, and how it becomes K numbers a window.

    Attributes:
        which: the name of an output or its number from 0; None: the only one there is; or a
            function of the predictions, as the model gives them but arrays of float32, rows first,
            that returns (rows, K) or (rows,). It gets numpy arrays, of some windows at a time.
        positions: of an output (rows, P, T): "mean", "sum", "centre" (position P // 2) or "max"
            over positions, so that K = T.

    Raises:
        InputError: positions that are none of these, or those of a function.
    """

    which: str | int | Callable[[Any], Any] | None = None
    positions: str | None = None

    def __post_init__(self):
        if self.positions is not None and self.positions not in POSITIONS:
            raise InputError(f"positions {self.positions!r}: want one of {', '.join(POSITIONS)}")
        if callable(self.which) and self.positions is not None:
            raise InputError("positions: a function of the predictions condenses them itself")

    @classmethod
    def given(cls, output: Any) -> Output:
        """From what a caller gave: None, a name, a number, a function, or an Output itself."""
        return output if isinstance(output, Output) else cls(output)

    def index(self, outputs: Outputs) -> int | None:
        """The number of the output; None for all of them: nothing was chosen among several.

        Raises:
            InputError: there is no such output.
        """
        if self.which is None:
            return 0 if len(outputs.names) == 1 else None
        if isinstance(self.which, str) and self.which in outputs.names:
            return outputs.names.index(self.which)
        number = int(self.which) if str(self.which).isdecimal() else -1
        if not 0 <= number < len(outputs.names):
            raise InputError(f"output {self.which!r}: the model has {outputs}")
        return number

    def labels(self, outputs: Outputs, y: Any) -> Any:
        """Labels of the chosen output, where those of several were given by name.

        Args:
            outputs: of the model.
            y: labels of it alone, or a dict of them by name, as ``fit`` takes them.

        Raises:
            InputError: there are none of it.
        """
        if not isinstance(y, Mapping) or (self.which is None and len(outputs.names) > 1):
            return y
        if callable(self.which):
            raise InputError("labels: a dict; want an array (N, ...), of what output= gives")
        name = outputs.names[self.index(outputs) or 0]
        if name not in y:
            raise InputError(f"labels: none of output {name!r}, but of {', '.join(map(str, y))}")
        return y[name]

    def width(self, outputs: Outputs) -> int | None:
        """K of the chosen output; None if it is not (rows, K): several outputs, or positions.

        Raises:
            InputError: there is no such output, or ``positions`` of one that has none.
        """
        number = self.index(outputs)
        if number is None:
            return None
        shape = outputs.shapes[number]
        if self.positions is not None:
            if len(shape) != 2:
                raise InputError(
                    f"positions {self.positions!r}: output {outputs.names[number]} has none, it is "
                    f"({', '.join(['batch', *map(str, shape)])}); want (batch, positions, K)"
                )
            return shape[1]
        if len(shape) == 0:
            return 1
        return shape[0] if len(shape) == 1 else None

    def condensed(self, leaves: Sequence[Tensor], outputs: Outputs) -> Tensor:
        """(rows, K) of the chosen output, of all outputs in a list, (rows, ...) each."""
        if callable(self.which):
            return _checked(self.which(outputs.packed(map(_array, leaves))), len(leaves[0]))
        chosen = leaves[self.index(outputs) or 0]
        if self.positions is not None:
            return POSITIONS[self.positions](chosen)
        return ops.expand_dims(chosen, 1) if len(chosen.shape) == 1 else chosen


def moving_positions(
    name: str, shape: Sequence[int | None], labels: Sequence[int | None], slack: int
) -> int | None:
    """How many positions of labels a window has, if they move with it; None: they stay.

    Labels of an output (rows, P, ...) move if they are (N, P + slack, ...): those of a window that
    starts at s are s .. s + P. They stay if they are (N, P, ...). One number has no positions.

    Args:
        name: of the output.
        shape: its own, without the batch.
        labels: the labels', likewise.
        slack: of the windows, in bp.

    Raises:
        InputError: an output with positions, and another number of them.
    """
    if not slack or not shape or not labels or labels[0] == shape[0] or tuple(shape) == (1,):
        return None
    if labels[0] is not None and shape[0] is not None and labels[0] == shape[0] + slack:
        return int(shape[0])
    if len(shape) > 1 and len(labels) == len(shape):
        raise InputError(
            f"labels of {name}: {labels[0]} positions, of which a window has {shape[0]}; want "
            f"{shape[0]}, the same for all windows, or {shape[0] + slack}, which move with them"
        )
    return None


def _array(tensor: Tensor) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(tensor), np.float32)


def _checked(value: Any, rows: int) -> np.ndarray:
    """What a caller's function made of the predictions of some windows, (rows, K)."""
    value = _array(value)
    if value.ndim == 1 and len(value) == rows:
        return value[:, None]
    if value.ndim != 2 or len(value) != rows:
        raise InputError(
            f"output: the function gave {value.shape} for {rows} windows; want ({rows}, K) or "
            f"({rows},)"
        )
    return value
