"""Finding out what predictions mean. What is not surely known is asked for, never guessed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from keras import losses as keras_losses
from keras import ops

from tfbs_shift.errors import InputError
from tfbs_shift.tasks import Classes, Labels, OnlyLoss, Task, Unlabelled, Values
from tfbs_shift.tasks.losses import (
    TotalLoss,
    WeightedLoss,
    compiled_losses,
    name_of,
    single_loss,
    squared_distance,
)
from tfbs_shift.tasks.outputs import Output, Outputs

Tensor = Any

_CROSSENTROPY = {"softmax": "categorical_crossentropy", "sigmoid": "binary_crossentropy"}
_OF_PROBABILITIES = {"categorical": "softmax", "binary": "sigmoid"}
_OF_VALUES = ("squared", "mse", "absolute", "mae", "huber", "logcosh", "poisson", "cosine",
              "pearson", "multinomial")  # fmt: skip
_TASKS = ("classes", "labels", "values")
_LABELS = 1000
"""Labels looked at to see whether they are numbers."""


@dataclass(frozen=True)
class Meaning:
    """What a caller says of a model's predictions.

    Attributes:
        output: which output, or how to condense it to (b, K): None, a name, a number, a function of
            the predictions, or an :class:`Output`.
        task: "classes", "labels", "values"; None: found out where that is sure.
        loss: of an example: a Keras loss, its name or a function (y, predictions); overrules what
            was compiled.
        threshold: the probability from which on "yes" is called.
        tolerance: of values: by how much a prediction may differ from the centre's and count as the
            same; None: a tenth of the standard deviation of the centre's over examples.
    """

    output: Any = None
    task: str | None = None
    loss: Any = None
    threshold: float = 0.5
    tolerance: float | None = None

    def __post_init__(self):
        if self.task is not None and self.task not in _TASKS:
            raise InputError(f"task {self.task!r}: want one of {', '.join(_TASKS)}")


@dataclass(frozen=True, eq=False)
class Clues:
    """What a model itself tells of its predictions.

    Attributes:
        name: of the model.
        outputs: names and shapes.
        few: predicts a few windows: every output, in order.
        activations: of the last layer of each output; "" where that is not known.
        losses: what the model was compiled with.
        positions_first: an output with positions is (batch, positions, K), as of Keras; else it is
            not known which axis they are.
        doubts: what is wrong with its predictions, for people.
    """

    name: str
    outputs: Outputs
    few: Callable[[], Sequence[np.ndarray]]
    activations: Sequence[str] = ()
    losses: Sequence[WeightedLoss] = ()
    positions_first: bool = True
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Judged:
    """How the predictions of a model are judged.

    Attributes:
        output: which.
        outputs: among these.
        task: what they mean.
        loss: (outputs in order, labels) -> (rows,) if ``total``, else of the chosen output.
        reason: how that was found out, for people.
        sure: the predictions are what the task says by construction; else they must be looked at.
        total: the loss is that of all outputs together, of which no metric is known.
    """

    output: Output
    outputs: Outputs
    task: Task
    loss: Any
    reason: str = ""
    sure: bool = True
    total: bool = False
    doubts: tuple[str, ...] = ()

    @property
    def on_host(self) -> bool:
        """Predictions are condensed by a caller's function of arrays."""
        return callable(self.output.which)

    def moving(self, labels: Sequence[Any], slack: int) -> tuple[int | None, ...]:
        """Which labels (N, ...) move with the window: of those the positions of their output, see
        :func:`tfbs_shift.tasks.outputs.moving_positions`; else None."""
        if not self.total:
            return (None,) * len(labels)
        return self.loss.moving(self.outputs, labels, slack)

    def __call__(
        self,
        leaves: Sequence[Tensor],
        labels: Sequence[Tensor],
        *,
        losses: bool = True,
        predictions: bool = True,
    ) -> Tensor:
        """The loss and the predictions of some windows, float32 (rows, 1 + K), or one of them.

        Args:
            leaves: every output, (rows, ...), in order.
            labels: (rows, ...) each, of each output that has a loss; else of the chosen output.
        """
        if self.total:
            return self.loss(leaves, labels)[:, None]
        condensed = self.output.condensed(leaves, self.outputs)
        if not losses:
            return condensed
        loss = self.loss([condensed], labels)[:, None]
        return ops.concatenate([loss, condensed], axis=1) if predictions else loss


def judged(clues: Clues, meaning: Meaning, y: Any = None) -> Judged:
    """What predictions mean, and the loss of an example.

    Only a last softmax or sigmoid, a cross-entropy loss, or ``meaning.task`` make probabilities;
    only a loss of numbers, labels that are numbers, or ``meaning.task`` make values.

    Args:
        clues: what the model tells.
        meaning: what the caller says.
        y: labels; None: there are none.

    Raises:
        InputError: it is not surely known: the line says what to give.
    """
    output = Output.given(meaning.output)
    if meaning.loss is not None and y is None:
        raise InputError("loss: is of predictions and labels, and there are no labels")
    if output.positions is not None and not clues.positions_first:
        raise InputError(
            f"positions: of model {clues.name!r} it is not known which axis they are; give output= "
            "a function, such as lambda p: p.mean(-1)"
        )
    _warn(clues.name, clues.doubts)
    width, number = _chosen(clues, output)
    own = _losses(clues, meaning, output, number)
    if width is None:
        return _only_loss(clues, meaning, output, own, y)
    own = [one._replace(loss=single_loss(one.loss, width)) for one in own]
    kind, reason = _kind(clues, meaning, _activation(clues, output, number), own, y, width)
    if not kind.name:
        if not own:
            raise InputError(reason)
        loss = TotalLoss(tuple(one._replace(output=0) for one in own))
        return Judged(output, clues.outputs, OnlyLoss(width), loss, reason)
    logits = kind.logits
    task = _task(kind, meaning, width)
    doubts = _doubts(kind, own, width)
    _warn(clues.name, doubts)
    if y is None:
        loss: Any = [WeightedLoss(0, squared_distance)]
        task = Unlabelled(width, of=task)
    else:
        loss = own or [WeightedLoss(0, keras_losses.get(_default(kind.name, width)))]
    total = TotalLoss(tuple(one._replace(output=0) for one in loss))
    sure = kind.sure or logits or kind.name == "values"
    doubts = (*clues.doubts, *doubts)
    return Judged(output, clues.outputs, task, total, reason, sure, doubts=doubts)


def _warn(name: str, doubts: Sequence[str]) -> None:
    for doubt in doubts:
        warnings.warn(f"model {name!r}: {doubt}", stacklevel=3)


@dataclass(frozen=True)
class _Kind:
    """classes, labels, values or ""; whether logits; whether the model's structure says so."""

    name: str
    logits: bool = False
    sure: bool = True
    activation: str = ""


def _chosen(clues: Clues, output: Output) -> tuple[int | None, int | None]:
    """(K, number of the output); K None where several are left, or positions."""
    if callable(output.which):
        return int(output.condensed(clues.few(), clues.outputs).shape[1]), None
    return output.width(clues.outputs), output.index(clues.outputs)


def _losses(
    clues: Clues, meaning: Meaning, output: Output, number: int | None
) -> list[WeightedLoss]:
    """The losses that count: what was given, else what was compiled for the chosen output."""
    names = clues.outputs.names
    if meaning.loss is not None:
        given = [names[number]] if number is not None else names
        one = callable(output.which)
        return compiled_losses(meaning.loss, None, ["output"] if one else given)
    if callable(output.which) or output.positions is not None:
        return []  # what was compiled is a loss of something else
    if number is None:
        return list(clues.losses)
    own = [one for one in clues.losses if one.output == number]
    return own if len(names) == 1 else [one._replace(weight=1.0) for one in own]


def _only_loss(
    clues: Clues, meaning: Meaning, output: Output, own: list[WeightedLoss], y: Any
) -> Judged:
    """Several outputs, or one with positions, of which only the compiled losses are known."""
    several = len(clues.outputs.names) > 1 and output.which is None
    what = "several outputs" if several else "an output with positions"
    want = "give output= (a name, a number, or a function of the predictions that returns (b, K))"
    if not several:
        want = (
            "give output= (a function that returns (b, K)), or positions (mean, sum, centre, max)"
        )
    if not own or y is None or meaning.task is not None:
        raise InputError(f"model {clues.name!r}: has {what}: {clues.outputs}; {want}")
    if output.which is not None:
        number = output.index(clues.outputs)
        own = [one._replace(output=number) for one in own]
    loss = TotalLoss(tuple(one._replace(loss=single_loss(one.loss, None)) for one in own))
    return Judged(output, clues.outputs, OnlyLoss(1), loss, f"{what}: {want}", total=True)


def _activation(clues: Clues, output: Output, number: int | None) -> str:
    if number is None or output.positions == "sum" or not clues.activations:
        return ""
    return clues.activations[number]


def _kind(
    clues: Clues,
    meaning: Meaning,
    activation: str,
    own: list[WeightedLoss],
    y: Any,
    width: int,
) -> tuple[_Kind, str]:
    """What the predictions are, and how that is known; without a name where it is not."""
    of_loss, logits = _meaning_of(own[0].loss) if own else ("", False)
    by_layer = activation in _CROSSENTROPY
    if meaning.task is not None:
        logits = logits and not by_layer
        return _Kind(meaning.task, logits, by_layer, activation), "as given (task)"
    if by_layer:
        exclusive = activation == "softmax" or width == 1
        kind = _Kind("classes" if exclusive else "labels", activation=activation)
        return kind, f"its last layer is a {activation}"
    if own:
        reason = f"its loss is {name_of(own[0].loss)}"
        if of_loss in _CROSSENTROPY:
            exclusive = of_loss == "softmax" or width == 1
            return _Kind("classes" if exclusive else "labels", logits, False, activation), reason
        if of_loss == "values":
            return _Kind("values"), reason
    if y is None:
        return _Kind("values"), "nothing says what the predictions are: distances only"
    if _are_numbers(y, width):
        return _Kind("values"), "its labels are numbers other than 0 and 1"
    loss = f" and loss {name_of(own[0].loss)}" if own else ""
    last = f"a last layer with activation {activation}" if activation else "an unknown last layer"
    return _Kind(""), (
        f"model {clues.name!r}: {last}{loss} does not tell what its predictions are; give task= "
        "(classes, labels: probabilities; values: numbers), or for logits a loss with "
        "from_logits=True"
    )


def _meaning_of(loss: Any) -> tuple[str, bool]:
    """(softmax, sigmoid, values or "", whether logits) that a loss object or function stands for,
    by its name: as Keras names its own, and people theirs."""
    name = name_of(loss).lower().replace("_", "")
    for word, kind in _OF_PROBABILITIES.items():
        if word in name:
            config = loss.get_config() if isinstance(loss, keras_losses.Loss) else {}
            return kind, bool(config.get("from_logits", False))
    return ("values" if any(word in name for word in _OF_VALUES) else ""), False


def _are_numbers(y: Any, width: int) -> bool:
    """Whether labels can be nothing but numbers: a column an output, and not all 0 or 1."""
    shape = tuple(np.shape(y))
    if shape[1:] != (width,) and not (width == 1 and len(shape) == 1):
        return False
    few = np.asarray(y[:_LABELS])
    return few.dtype.kind in "fiu" and not ((few == 0) | (few == 1)).all()


def _task(kind: _Kind, meaning: Meaning, width: int) -> Task:
    if kind.name == "values":
        if meaning.threshold != 0.5:
            raise InputError(f"threshold {meaning.threshold}: is of probabilities, not of values")
        given = meaning.tolerance
        return Values(width, tolerance=None if given is None else (float(given),) * width)
    if meaning.tolerance is not None:
        raise InputError(f"tolerance {meaning.tolerance}: is of values, not of probabilities")
    one = (Classes if kind.name == "classes" else Labels)(width, kind.logits)
    return replace(one, threshold=meaning.threshold)


def _default(kind: str, width: int) -> str:
    if kind == "values":
        return "mean_squared_error"
    return _CROSSENTROPY["softmax" if kind == "classes" and width > 1 else "sigmoid"]


def _doubts(kind: _Kind, own: list[WeightedLoss], width: int) -> tuple[str, ...]:
    """What may be wrong about probabilities."""
    if kind.activation == "softmax" and width == 1:
        return ("its last layer is a softmax of one number, which is always 1; want a sigmoid",)
    if kind.name == "values" or kind.sure or kind.logits or not kind.activation:
        return ()
    loss = name_of(own[0].loss) if own else "cross-entropy"
    return (
        f"{loss} takes its predictions for probabilities (from_logits is not set), but its last "
        f"layer's activation is {kind.activation}",
    )
