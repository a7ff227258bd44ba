"""Every kind of model as a predictor."""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
from keras import ops

from tfbs_shift import sequences
from tfbs_shift.backend import devices, torch_modules
from tfbs_shift.backend.computing import inference
from tfbs_shift.backend.graph import total_stride
from tfbs_shift.backend.internals import (
    beside_weights,
    loss_weights,
    output_activations,
    structure,
)
from tfbs_shift.errors import InputError
from tfbs_shift.models import alphabet
from tfbs_shift.models.inputs import as_read, fed, input_shape, input_window, laid_out
from tfbs_shift.scanning.engine import ModelAtStarts
from tfbs_shift.scanning.plans import ScanPlan
from tfbs_shift.scanning.predicting import EveryWindow, OnHost, Predictor, Request, Run
from tfbs_shift.tasks.inferring import Clues, Judged
from tfbs_shift.tasks.losses import WeightedLoss, compiled_losses
from tfbs_shift.tasks.outputs import Outputs

Tensor = Any
_AT_ONCE = 64
_BYTES = 256 * 2**20  # of all outputs of some windows, for a function of them
_ROUNDED = 0.01
"""Of the largest prediction: more than the rounding of bfloat16 moves one."""


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

    def clues(self, windows: np.ndarray) -> Clues:
        model = self.model

        def few() -> Any:
            x = ops.cast(windows, keras.config.floatx())
            with inference(model):
                return model(fed(model, x), training=False)

        return _clues(model, few, windows.shape[1])

    def run(self, windows: np.ndarray, rows: np.ndarray | None = None) -> list[np.ndarray]:
        # Each device always gets as many, so that not a bit tells how many devices there are.
        _graphs_of(self.model)  # lets go of what was traced from another structure
        count, size = len(windows), _AT_ONCE * devices.replicas()
        padded = np.arange(math.ceil(count / size) * size) % count
        x = fed(self.model, windows[padded].astype(np.float32))
        predictions = self.model.predict(x, batch_size=size, verbose=0)
        return [np.asarray(leaf[:count], np.float32) for leaf in keras.tree.flatten(predictions)]

    def at_starts(self, request: Request, judged: Judged) -> Run:
        if judged.on_host:
            return self._outputs_at_starts(request, judged)
        compiled = self._graph(request, judged)

        def run(x: Tensor, starts: Any, labels: Sequence[Any], rows: np.ndarray) -> np.ndarray:
            columns = [] if starts is None else [starts]
            return ops.convert_to_numpy(compiled(x, *columns, *labels))

        return run

    def _outputs_at_starts(self, request: Request, judged: Judged) -> Run:
        """All outputs of the graph, which a function of arrays condenses outside of it."""
        compiled = self._graph(replace(request, losses=False, predictions=True, moving=()), None)
        measure, shapes = OnHost(request, judged), judged.outputs.shapes
        of_window = sum(math.prod(size or 1 for size in shape) for shape in shapes)
        of_example = 4 * of_window * (request.tries or len(request.windows))
        replicas = devices.replicas()

        def run(x: Tensor, starts: Any, labels: Sequence[Any], rows: np.ndarray) -> np.ndarray:
            count = len(x)
            size = max(_BYTES // of_example // replicas, 1) * replicas
            parts = []
            for first in range(0, count, size):  # or all outputs of a block were held at once
                some = np.arange(first, first + min(size, count)) % count  # one shape for all
                columns = [x[some]] + ([] if starts is None else [starts[some]])
                outputs = _unpacked(ops.convert_to_numpy(compiled(*columns)), shapes)
                at = None if starts is None else starts[some]
                parts.append(measure(outputs, at, [y[some] for y in labels]))
            return np.concatenate(parts)[:count]

        return run

    def _graph(self, request: Request, judged: Judged | None) -> Callable[..., Tensor]:
        """The compiled function of (x, starts if some are tried, labels), traced once."""
        of = None if judged is None else (judged.output, judged.loss, judged.total)
        key = (request, of, devices.replicas())
        graphs = _graphs_of(self.model)
        if key in graphs:
            return graphs[key]
        compiled = self._traceable(request, judged)
        if judged is None or not any(
            _keeps_alive(one.loss, self.model) for one in judged.loss.losses
        ):
            graphs[key] = compiled
        return compiled

    def plan(self, request: Request) -> ScanPlan:
        return self._model_at_starts(request).plan

    def state(self) -> Iterable[np.ndarray]:
        return [*self.model.get_weights(), *beside_weights(self.model)]

    def _model_at_starts(self, request: Request) -> ModelAtStarts:
        return ModelAtStarts(
            self.model, request.windows, request.channels, request.tries,
            precision=request.precision,
        )  # fmt: skip

    def _traceable(self, request: Request, judged: Judged | None) -> Callable[..., Tensor]:
        at_starts = self._model_at_starts(request)
        # A graph that is kept for the next call must not keep the model alive.
        at_starts.model = weakref.proxy(self.model)

        def keep(outputs: Sequence[Tensor], labels: Sequence[Tensor]) -> Tensor:
            if judged is None:  # all of them, side by side
                return ops.concatenate([ops.reshape(o, (-1, _size(o))) for o in outputs], axis=1)
            return judged(outputs, labels, losses=request.losses, predictions=request.predictions)

        def run(x: Tensor, *columns: Tensor) -> Tensor:
            starts, labels = (columns[0], columns[1:]) if request.tries else (None, columns)
            return at_starts(x, starts, labels=labels, keep=keep, moving=request.moving)

        return devices.compiled(run, self.model.variables)


def _keeps_alive(loss: Any, model: keras.Model) -> bool:
    """Whether a loss is a method of the model, or closed over it: what keeps such a loss keeps the
    model."""
    function = getattr(loss, "fn", loss)
    cells = getattr(function, "__closure__", None) or ()
    held = [getattr(function, "__self__", None)]
    for cell in cells:
        with contextlib.suppress(ValueError):  # not filled yet
            held.append(cell.cell_contents)
    return any(one is model for one in held)


def _size(output: Tensor) -> int:
    return math.prod(output.shape[1:])


def _unpacked(flat: np.ndarray, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """Outputs (n, ...) that stand side by side, (..., F), (rows, ...) each."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    flat = flat.reshape(-1, flat.shape[-1])
    parts = np.split(flat, ends[:-1], axis=1)
    return [part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]


def _float32(tensor: Tensor) -> np.ndarray:
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))


class Called(EveryWindow):
    """A function of windows, or whatever is called as one; each window is run by itself.

    Args:
        name: what to call it.
        call: (windows float32, laid out; args float32 (n, ...) each) -> predictions: an array, or
            a list or dict of arrays, rows first.
        layout: the order of the windows' axes, see :func:`tfbs_shift.models.inputs.laid_out`.
        args: what else it reads of each example, (N, ...) each.
        length: L, where that is known.
        activation: of the last layer, where that is known.
        state: its weights, where they are known.
        reason: why nothing is shared.
    """

    channels = None
    alphabet = sequences.ACGT

    def __init__(
        self,
        name: str,
        call: Callable[..., Any],
        layout: str = "NLC",
        args: Sequence[Any] = (),
        *,
        length: int | None = None,
        activation: str = "",
        state: Callable[[], Iterable[np.ndarray]] = tuple,
        reason: str = "it is a function, not a graph of Keras layers",
    ):
        self.name, self.reason = name, reason
        self.args = [np.asarray(arg) for arg in args]
        self._call, self._layout, self._length = call, layout, length
        self._activation, self._state = activation, state

    def window(self, given: int | None = None) -> int:
        if self._length is None and given is None:
            raise InputError(f"model {self.name}: how many bp it reads is not known: give window")
        if None not in (self._length, given) and self._length != given:
            raise InputError(f"window {given}: but model {self.name} reads {self._length} bp")
        return self._length or given

    def clues(self, windows: np.ndarray) -> Clues:
        predictions = self._predictions(windows, np.arange(len(windows)))
        outputs = Outputs.of(predictions)
        leaves = keras.tree.flatten(predictions)
        alone = keras.tree.flatten(self._predictions(windows[:1], np.arange(1)))
        activations = [self._activation] if len(leaves) == 1 else []
        first = self._layout.index("L") < self._layout.find("C") or "C" not in self._layout
        return Clues(
            self.name, outputs, lambda: leaves, activations, positions_first=first,
            doubts=_doubts(leaves, alone),
        )  # fmt: skip

    def run(self, windows: np.ndarray, rows: np.ndarray | None = None) -> list[np.ndarray]:
        rows = np.arange(len(windows)) if rows is None else rows
        return keras.tree.flatten(self._predictions(windows, rows))

    def state(self) -> Iterable[np.ndarray]:
        return self._state()

    def _predictions(self, windows: np.ndarray, rows: np.ndarray) -> Any:
        x = laid_out(np.asarray(windows, np.float32), self._layout)
        args = [arg[rows] for arg in self.args]
        predictions = self._call(x, *args)
        arrays = keras.tree.map_structure(_array, predictions)
        for array in keras.tree.flatten(arrays):
            if not array.ndim or len(array) != len(windows):
                raise InputError(
                    f"model {self.name}: predicts {array.shape} for {len(windows)} windows; want "
                    f"({len(windows)}, ...)"
                )
        return arrays


def _doubts(leaves: Sequence[np.ndarray], alone: Sequence[np.ndarray]) -> tuple[str, ...]:
    """Whether the first window is predicted alone as it was among others."""
    for among, one in zip(leaves, alone, strict=True):
        difference = float(np.abs(among[:1] - one).max(initial=0))
        if not difference <= _ROUNDED * float(np.abs(among).max(initial=0)):
            return (
                f"its predictions of a window differ by {difference:.2g} when it is run alone, not "
                "among others: it is random, or looks at the batch (is it in training mode?), so "
                "its losses are not those of examples by themselves",
            )
    return ()


def _array(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):  # PyTorch's, under another backend
        value = value.detach().cpu()
    try:
        return np.asarray(ops.convert_to_numpy(value), np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"predictions of type {type(value).__name__}: want an array, or a list or dict of them"
        ) from error


def predictor(
    model: Any,
    *,
    layout: str | None = None,
    args: Sequence[Any] = (),
    constant: Mapping[str, Any] | None = None,
) -> Predictor:
    """Any model as a predictor.

    Args:
        model: a Keras model, a ``torch.nn.Module``, or a function float32 (b, L, 4) -> array
            (b, ...), or to a list or dict of arrays.
        layout: the order of the axes that it reads, a word of N, L, C and 1; None: "NLC", of a
            ``torch.nn.Module`` "NCL".
        args: what it is given after the windows, an array (N, ...) each.
        constant: values of a Keras model's other inputs, the same for all examples, by name.

    Raises:
        InputError: it is none of these, or reads something else than one sequence.
    """
    if isinstance(model, Predictor):
        return model
    if isinstance(model, keras.Model):
        if layout is not None or constant:
            model = as_read(model, layout, constant)
        return KerasWithArgs(model, args) if args else KerasModel(model)
    if constant:
        raise InputError("constant: is for the other inputs of a Keras model; want args")
    name = getattr(model, "__name__", type(model).__name__)
    if torch_modules.is_module(model):
        call, activation = torch_modules.called(model), torch_modules.last_activation(model)
        return Called(
            name, call, layout or "NCL", args, activation=activation,
            state=lambda: torch_modules.state(model),
            reason="it is a PyTorch module, not a graph of Keras layers",
        )  # fmt: skip
    kind = type(model)
    if kind.__module__.partition(".")[0] in ("tf_keras", "tensorflow"):
        raise InputError(
            f"model {name}: is one of tf_keras (Keras 2), and this is Keras {keras.__version__}: "
            "save it as .h5 and load that with tfbs_shift.models.load, or give a function: "
            "lambda x: model(x).numpy()"
        )
    if not callable(model) or isinstance(model, type):
        raise InputError(
            f"model {name}: want a Keras model, a torch.nn.Module, or a function of windows "
            "(b, L, 4)"
        )
    return Called(name, model, layout or "NLC", args)


class KerasWithArgs(Called):
    """A Keras model that reads something else of each example, after the windows."""

    def __init__(self, model: keras.Model, args: Sequence[Any]):
        tensors = getattr(model, "inputs", None) or []
        names = [tensor.name for tensor in tensors]
        if len(tensors) != 1 + len(args) or len(tensors[0].shape) != 3:
            raise InputError(
                f"model {model.name!r}: {len(args)} args, but its inputs are "
                f"{', '.join(f'{t.name} {tuple(t.shape)}' for t in tensors) or 'not known'}; want "
                "the sequence first, and one of args for each of the others"
            )

        def call(*inputs: np.ndarray) -> Any:
            given = dict(zip(names, inputs, strict=True))
            return model.predict_on_batch(
                keras.tree.map_structure(lambda own: given[own.name], model.input)
            )

        reason = "it reads something else beside the sequence"
        length = tensors[0].shape[1]
        super().__init__(model.name, call, "NLC", args, length=length, reason=reason)
        self.model, self.channels = model, tensors[0].shape[2]
        self.alphabet = alphabet(model)

    def clues(self, windows: np.ndarray) -> Clues:
        def few() -> Any:
            return self._predictions(windows, np.arange(len(windows)))

        return _clues(self.model, few, windows.shape[1])

    def state(self) -> Iterable[np.ndarray]:
        return [*self.model.get_weights(), *beside_weights(self.model)]


def _clues(model: keras.Model, few: Callable[[], Any], window: int) -> Clues:
    """What a Keras model tells.

    Args:
        model: any Keras model.
        few: predicts a few windows.
        window: their length.
    """
    try:
        predictions = model.output
    except (AttributeError, ValueError):  # that takes a run of it
        predictions = few()
    outputs = Outputs.of(predictions, getattr(model, "output_names", None))
    losses: Sequence[WeightedLoss] = ()
    if getattr(model, "compiled", False):
        losses = compiled_losses(model.loss, loss_weights(model), outputs.names)
    return Clues(
        model.name,
        outputs,
        lambda: [_float32(leaf) for leaf in keras.tree.flatten(few())],
        output_activations(model, window),
        losses,
    )


@dataclass
class _Graphs:
    """The graphs traced from a model, and what it was made of when they were."""

    structure: list[tuple[Any, str]]
    run: dict[Any, Callable[..., Tensor]] = field(default_factory=dict)


# Outside the models, and gone with them. Tracing takes a second or two.
_kept: weakref.WeakKeyDictionary[keras.Model, _Graphs] = weakref.WeakKeyDictionary()


def _graphs_of(model: keras.Model) -> dict[Any, Callable[..., Tensor]]:
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
