"""The loss of each example, by whatever was given to ``compile``.

The loss of an example is that of a batch of one. Of the losses that look at each example by itself
anyway all are computed at once; any other, which may mix the examples of a batch, is computed for
each by itself (vectorised).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from keras import losses, ops

from tfbs_shift.errors import InputError
from tfbs_shift.tasks.outputs import Outputs, moving_positions

Tensor = Any
Labels = tuple[Tensor, ...]
"""Labels of each output that has any, (rows, ...)."""


def squared_distance(y: Tensor, predictions: Tensor) -> Tensor:
    """The squared distance between two predictions (B, K), (B,)."""
    return ops.sum((predictions - y) ** 2, axis=1)


# Each reduces the last axis and nothing else. (Hinge losses look at the labels of the whole batch.)
_BY_ITSELF = {
    losses.binary_crossentropy, losses.binary_focal_crossentropy, losses.categorical_crossentropy,
    losses.categorical_focal_crossentropy, losses.cosine_similarity, losses.huber,
    losses.kl_divergence, losses.log_cosh, losses.mean_absolute_error,
    losses.mean_absolute_percentage_error, losses.mean_squared_error,
    losses.mean_squared_logarithmic_error, losses.poisson, losses.sparse_categorical_crossentropy,
    squared_distance,
}  # fmt: skip


class WeightedLoss(NamedTuple):
    """A loss of one of a model's outputs."""

    output: int
    """which, from 0"""
    loss: Any
    weight: float = 1.0


def name_of(loss: Any) -> str:
    """What to call a loss: its name, its function's, its class's."""
    if isinstance(loss, str):
        return loss
    return getattr(loss, "__name__", type(loss).__name__)


def compiled_losses(loss: Any, weights: Any, names: Sequence[str]) -> list[WeightedLoss]:
    """Which loss each output has, from what was given to ``compile``, as Keras reads it.

    Args:
        loss: a loss for all outputs, a list of one for each, or a dict by name; None: has none.
        weights: ``loss_weights``, likewise; None: 1.
        names: of the outputs.

    Raises:
        InputError: they do not fit the outputs.
    """
    if loss is None:
        return []
    count = len(names)
    if isinstance(loss, Mapping):
        unknown = sorted(loss.keys() - set(names))
        if unknown and not (count == len(loss) == 1):
            raise InputError(f"loss of {unknown[0]!r}: the outputs are {', '.join(names)}")
        of_each = list(loss.values()) if unknown else [loss.get(name) for name in names]
    elif isinstance(loss, list | tuple):
        of_each = list(loss)
    else:
        of_each = [loss] * count
    if len(of_each) != count:
        raise InputError(f"{len(of_each)} losses for {count} outputs ({', '.join(names)})")
    if isinstance(weights, Mapping):
        weights = [weights.get(name, 1.0) for name in names]
    if weights is None or not isinstance(weights, list | tuple):
        weights = [1.0 if weights is None else float(weights)] * len(of_each)
    if len(weights) != len(of_each):
        raise InputError(f"{len(weights)} loss weights for {len(of_each)} losses")
    return [
        WeightedLoss(i, one, float(1.0 if weight is None else weight))
        for i, (one, weight) in enumerate(zip(of_each, weights, strict=True))
        if one is not None
    ]


def single_loss(loss: Any, width: int | None, flat_labels: bool = False) -> Any:
    """The loss object or function that a loss, or its name, stands for.

    Args:
        loss: a Keras loss, its name, a function (y, predictions), or a list or dict with one.
        width: K of the predictions (B, K); None: not known, so "crossentropy" stays what it is.
        flat_labels: labels are class numbers, which tells what "crossentropy" stands for.

    Raises:
        InputError: no loss, several, or a name that Keras does not know.
    """
    if loss is None:
        raise InputError("the model has no loss: give one to compile")
    if isinstance(loss, dict | list | tuple):
        values = list(loss.values()) if isinstance(loss, dict) else list(loss)
        if len(values) != 1:
            raise InputError(f"{len(values)} losses: want a model with one output and one loss")
        loss = values[0]
    if loss in ("crossentropy", "ce"):  # what Keras makes of them
        if width is None:
            return loss
        if width == 1:
            loss = "binary_crossentropy"
        elif flat_labels:
            loss = "sparse_categorical_crossentropy"
        else:
            loss = "categorical_crossentropy"
    try:
        return losses.get(loss)
    except ValueError as error:
        raise InputError(
            f"loss {loss!r}: Keras has no loss of this name; want one such as "
            "binary_crossentropy, mean_squared_error, poisson"
        ) from error


def example_loss(loss: Any, y: Tensor, predictions: Tensor) -> Tensor:
    """The loss of each example, float32 (B,): that of a batch of one, before any weighting.

    Args:
        loss: what was given to ``compile``: a Keras loss, its name, a function (y, predictions),
            or a list or dict with one of these. It may return one number, one for each output or
            position (their mean is taken), or reduce the batch as it likes.
        y: labels (B, ...), as ``fit`` takes them for this loss.
        predictions: (B, K), or (B, ..., K).

    Raises:
        InputError: several losses, or a loss that cannot be computed for one example at a time.
    """
    flat = len(y.shape) < len(predictions.shape) or y.shape[-1] == 1
    loss = single_loss(loss, predictions.shape[-1], flat)
    predictions = ops.cast(predictions, "float32")
    y = ops.cast(y, "float32")
    if len(y.shape) == 1 and len(predictions.shape) == 2 and predictions.shape[1] == 1:
        y = ops.expand_dims(y, 1)
    if not _is_by_itself(loss):
        return _each(loss, y, predictions)
    function = loss.call if isinstance(loss, losses.Loss) else loss  # call: not reduced
    value = function(y, predictions)
    return _condensed(value, getattr(loss, "reduction", None), 1)


def _is_by_itself(loss: Any) -> bool:
    """Whether a loss is one of Keras's own that look at each example by itself."""
    function = getattr(loss, "fn", loss)
    # A wrapped function of Keras's own, not a subclass that does more.
    own = isinstance(loss, losses.Loss) and type(loss).__module__.startswith("keras.")
    if function not in _BY_ITSELF or not (own or loss is function):
        return False
    return getattr(loss, "_fn_kwargs", {}).get("axis", -1) == -1


def _each(loss: Any, y: Tensor, predictions: Tensor) -> Tensor:
    def one(pair: tuple[Tensor, Tensor]) -> Tensor:
        value = ops.cast(loss(pair[0][None], pair[1][None]), "float32")
        return _condensed(value, getattr(loss, "reduction", None), 0)

    try:
        return ops.vectorized_map(one, (y, predictions))
    except Exception as error:  # whatever a function of somebody's raises
        reason = " ".join(str(error).split())[:150]
        raise InputError(
            f"loss {name_of(loss)}: cannot be computed for one example at a time ({reason}); want "
            "a function of keras.ops"
        ) from error


def _condensed(value: Tensor, reduction: Any, axes: int) -> Tensor:
    """All but the first ``axes`` axes as the loss itself would: their sum, else their mean."""
    reduce = ops.sum if reduction == "sum" else ops.mean
    if len(value.shape) <= axes:
        return value
    if not axes:
        return reduce(value)
    return reduce(ops.reshape(value, (ops.shape(value)[0], -1)), axis=1)


@dataclass(frozen=True)
class TotalLoss:
    """The losses of a model's outputs added up with their weights, as Keras does."""

    losses: tuple[WeightedLoss, ...]

    @property
    def labelled(self) -> list[int]:
        """The outputs that have a loss, and so labels."""
        return list(dict.fromkeys(one.output for one in self.losses))

    def moving(self, outputs: Outputs, labels: Sequence[Any], slack: int) -> tuple[int | None, ...]:
        """For each of the labels (N, ...) :func:`tfbs_shift.tasks.outputs.moving_positions`."""
        return tuple(
            moving_positions(outputs.names[i], outputs.shapes[i], tuple(y.shape[1:]), slack)
            for i, y in zip(self.labelled, labels, strict=True)
        )

    def check(self, outputs: Outputs, labels: Sequence[Any], slack: int) -> None:
        """Raises InputError where labels (N, ...) do not fit their output: they would be stretched
        to it. What a loss of somebody's own wants is not known."""
        moving = self.moving(outputs, labels, slack)
        for output, loss, _ in self.losses:
            number, shape = self.labelled.index(output), outputs.shapes[output]
            given = tuple(labels[number].shape[1:])
            if moving[number] is not None:
                given = (moving[number], *given[1:])
            if not _is_by_itself(single_loss(loss, None)):
                continue
            wanted = shape[:-1] if is_sparse(loss) else shape
            if not _fit(given, wanted):
                raise InputError(
                    f"labels of {outputs.names[output]}: {given} an example; its loss "
                    f"{name_of(loss)} wants {wanted}"
                )

    def of_outputs(self, outputs: Outputs, y: Any) -> list[Any]:
        """Labels of each output that has any.

        Args:
            outputs: of the model.
            y: an array, where one output has a loss; else a dict by name, or a list, of all outputs
                or of those with a loss.

        Raises:
            InputError: they do not fit.
        """
        numbers, names = self.labelled, [outputs.names[i] for i in self.labelled]
        if isinstance(y, Mapping):
            missing = [name for name in names if name not in y]
            if missing:
                raise InputError(f"labels: none of output {missing[0]!r}; want {', '.join(names)}")
            return [y[name] for name in names]
        if isinstance(y, list | tuple):
            if len(y) not in (len(numbers), len(outputs.names)):
                raise InputError(
                    f"labels: {len(y)} arrays; want one for each of {', '.join(names)}"
                )
            return list(y) if len(y) == len(numbers) else [y[i] for i in numbers]
        if len(numbers) != 1:
            raise InputError(f"labels: one array; want a dict with {', '.join(names)}")
        return [y]

    def __call__(self, predictions: Sequence[Tensor], labels: Labels) -> Tensor:
        """Float32 (rows,), of all outputs (rows, ...) and the labels of those that have a loss."""
        total = 0.0
        for output, loss, weight in self.losses:
            y = labels[self.labelled.index(output)]
            value = example_loss(loss, y, predictions[output])
            total = total + (value if weight == 1 else weight * value)
        return total


def _fit(given: Sequence[int | None], wanted: Sequence[int | None]) -> bool:
    """Whether shapes are the same to Keras's losses: a last axis of one may be missing."""
    one, other = (s[:-1] if s and s[-1] == 1 else s for s in (given, wanted))
    return len(one) == len(other) and all(
        None in pair or pair[0] == pair[1] for pair in zip(one, other, strict=True)
    )


def is_of_keras(loss: Any) -> bool:
    """Whether a loss object or function is one of Keras's own."""
    made_of = getattr(loss, "fn", loss)
    kinds = [type(loss), made_of] if isinstance(loss, losses.Loss) else [loss]
    modules = (getattr(kind, "__module__", "") or "" for kind in kinds)
    return loss is squared_distance or all(module.startswith("keras.") for module in modules)


def described_loss(loss: Any) -> str:
    """A loss in words that tell it from others, as far as that is known of one of somebody's."""
    if not isinstance(loss, losses.Loss) or not is_of_keras(loss):
        return name_of(loss)
    arguments = getattr(loss, "_fn_kwargs", {})  # a config leaves some of them out
    return f"{name_of(loss)} {loss.get_config()} {arguments}"


def is_sparse(loss: Any) -> bool:
    """Whether a loss object or function wants class numbers, by its name as Keras names its own."""
    return "sparse" in name_of(loss).lower()
