"""A model as everything above sees it: windows in, predictions out."""

from __future__ import annotations

import abc
import math
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops

from tfbs_shift.backend import devices
from tfbs_shift.backend.computing import inference
from tfbs_shift.backend.graph import total_stride
from tfbs_shift.backend.internals import beside_weights, structure
from tfbs_shift.errors import InputError
from tfbs_shift.models import alphabet
from tfbs_shift.models.inputs import input_shape, input_window
from tfbs_shift.scanning.engine import ModelAtStarts
from tfbs_shift.scanning.plans import ScanPlan
from tfbs_shift.tasks import Task
from tfbs_shift.tasks.inferring import inferred
from tfbs_shift.tasks.losses import loss_of
from tfbs_shift.windows import WindowRange

Tensor = Any
Run = Callable[..., Tensor]
_AT_ONCE = 64


@dataclass(frozen=True)
class Request:
    """What is to be run of each example.

    Attributes:
        windows: the geometry.
        channels: C of the sequences.
        tries: starts run for each example; None: every start there is.
        predictions: they are wanted beside the losses.
        precision: what the windows are computed in.
    """

    windows: WindowRange
    channels: int
    tries: int | None = None
    predictions: bool = True
    precision: str = "float32"


class Predictor(abc.ABC):
    """A model that reads windows (n, L, C) and predicts (n, K).

    Attributes:
        name: what to call it.
        channels: C that it reads; None: not known.
        alphabet: the order of the channels.
        stride: bp between the positions of its coarsest layer; 1 where not known.
    """

    name: str
    channels: int | None
    alphabet: str
    stride: int

    @abc.abstractmethod
    def window(self, given: int | None = None) -> int:
        """L; ``given`` where the model itself does not know.

        Raises:
            InputError: neither tells it, or they differ.
        """

    @abc.abstractmethod
    def task(self, windows: np.ndarray, threshold: float = 0.5) -> tuple[Task, Any]:
        """What the predictions mean, and the loss of an example.

        Args:
            windows: a few windows (n, L, C), to predict where nothing else tells.
            threshold: of the task.

        Raises:
            InputError: it is not to be found out.
        """

    @abc.abstractmethod
    def run(self, windows: np.ndarray) -> np.ndarray:
        """Predictions float32 (n, K) of windows (n, L, C)."""

    @abc.abstractmethod
    def at_starts(self, request: Request, loss: Any) -> Run:
        """A function (x (B, W, C), labels (B, ...), starts ``int32`` (B, n) if some are tried) ->
        float32 (B, n, 1 + K): the loss and, if wanted, the predictions at each start.

        Devices share the rows, so B is a multiple of their number.
        """

    @abc.abstractmethod
    def plan(self, request: Request) -> ScanPlan:
        """What of a request is shared between windows, and what it costs."""

    @abc.abstractmethod
    def state(self) -> Iterable[np.ndarray]:
        """What tells it from a model that predicts something else."""


class KerasModel(Predictor):
    """A Keras model; of a functional or Sequential one windows share what they can."""

    def __init__(self, model: keras.Model):
        self.model = model
        self.name = getattr(model, "name", "model")
        self.channels = input_shape(model)[2]
        self.alphabet = alphabet(model)
        self.stride = total_stride(model)

    def window(self, given: int | None = None) -> int:
        return input_window(self.model, given)

    def task(self, windows: np.ndarray, threshold: float = 0.5) -> tuple[Task, Any]:
        def few() -> Any:
            with inference(self.model):
                predictions = self.model(ops.cast(windows, keras.config.floatx()), training=False)
            if isinstance(predictions, dict | list | tuple):
                return predictions
            return ops.convert_to_numpy(ops.cast(predictions, "float32"))

        return inferred(self.model, few, threshold=threshold)

    def run(self, windows: np.ndarray) -> np.ndarray:
        # Each device always gets as many, so that not a bit tells how many devices there are.
        _graphs_of(self.model)  # lets go of what was traced from another structure
        count, size = len(windows), _AT_ONCE * devices.replicas()
        padded = np.arange(math.ceil(count / size) * size) % count
        predictions = self.model.predict(
            windows[padded].astype(np.float32), batch_size=size, verbose=0
        )
        return np.asarray(predictions[:count], np.float32)

    def at_starts(self, request: Request, loss: Any) -> Run:
        graphs = _graphs_of(self.model)
        key = (request, loss, devices.replicas())
        if key not in graphs:
            graphs[key] = self._traceable(request, loss)
        return graphs[key]

    def plan(self, request: Request) -> ScanPlan:
        return self._model_at_starts(request).plan

    def state(self) -> Iterable[np.ndarray]:
        return [*self.model.get_weights(), *beside_weights(self.model)]

    def _model_at_starts(self, request: Request) -> ModelAtStarts:
        return ModelAtStarts(
            self.model, request.windows, request.channels, request.tries,
            precision=request.precision,
        )  # fmt: skip

    def _traceable(self, request: Request, loss: Any) -> Run:
        at_starts = self._model_at_starts(request)
        # A graph that is kept for the next call must not keep the model alive.
        at_starts.model = weakref.proxy(self.model)
        losses_of = loss_of(loss)

        def keep(predictions: Tensor, y: Tensor) -> Tensor:
            losses = losses_of(predictions, y)
            if not request.predictions:
                return losses
            return ops.concatenate([losses, predictions], axis=1)

        def run(x: Tensor, y: Tensor, *starts: Tensor) -> Tensor:
            return at_starts(x, *starts, y=y, keep=keep)

        return devices.compiled(run, self.model.variables)


def predictor(model: Any) -> Predictor:
    """The model as a predictor.

    Raises:
        InputError: it is no Keras model, or reads something else than one sequence.
    """
    if isinstance(model, Predictor):
        return model
    if not isinstance(model, keras.Model):
        raise InputError(f"model {type(model).__name__}: want a Keras model")
    return KerasModel(model)


@dataclass
class _Graphs:
    """The graphs traced from a model, and what it was made of when they were."""

    structure: list[tuple[Any, str]]
    run: dict[Any, Run] = field(default_factory=dict)


# Outside the models, and gone with them. Tracing takes a second or two.
_kept: weakref.WeakKeyDictionary[keras.Model, _Graphs] = weakref.WeakKeyDictionary()


def _graphs_of(model: keras.Model) -> dict[Any, Run]:
    """Graphs traced from a model as it is now: those of what it was before are dropped."""
    now = structure(model)
    graphs = _kept.get(model)
    if graphs is None or not _same(graphs.structure, now):
        if graphs is not None:
            model.predict_function = None  # Keras's own, which it would go on with
        graphs = _kept[model] = _Graphs(now)
    return graphs.run


def _same(one: list[tuple[Any, str]], other: list[tuple[Any, str]]) -> bool:
    # By identity: a Keras variable's == compares values.
    return len(one) == len(other) and all(
        a is b and kind == same for (a, kind), (b, same) in zip(one, other, strict=True)
    )
