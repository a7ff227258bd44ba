"""The graph of a Keras model, as a list of steps."""

from __future__ import annotations

import inspect
import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras

Tensor = Any
Key = Hashable


@dataclass(frozen=True, eq=False)
class Step:
    """One call of a layer or operation.

    Attributes:
        operation: what is called.
        reads, writes: keys of the tensors that go in and come out.
    """

    operation: Any
    reads: tuple[Key, ...]
    writes: tuple[Key, ...]
    _node: Any
    _prefix: tuple

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.operation.name

    @property
    def kind(self) -> str:
        """The layer's class."""
        return type(self.operation).__name__

    @property
    def shapes(self) -> list[tuple[int | None, ...]]:
        """Of the inputs, the batch first."""
        return [tuple(tensor.shape) for tensor in self._node.input_tensors]

    @property
    def output_shapes(self) -> list[tuple[int | None, ...]]:
        """Of the outputs."""
        return [tuple(tensor.shape) for tensor in self._node.outputs]

    @property
    def activations(self) -> int:
        """Numbers in the inputs and outputs of one window."""
        shapes = [*self.shapes, *self.output_shapes]
        return sum(math.prod(size or 1 for size in shape[1:]) for shape in shapes)

    @property
    def arguments(self) -> tuple[tuple, dict[str, Any]]:
        """(args, kwargs) of the call, symbolic tensors where tensors are."""
        return self._node.arguments.args, self._node.arguments.kwargs

    def __call__(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The outputs for given inputs (in the order of ``reads``), at inference."""
        ids = [id(tensor) for tensor in self._node.input_tensors]
        args, kwargs = self._node.arguments.fill_in(dict(zip(ids, tensors, strict=True)))
        if isinstance(self.operation, keras.Layer) and "training" in _parameters(self.operation):
            kwargs = {**kwargs, "training": False}
        return keras.tree.flatten(self.operation(*args, **kwargs))


@dataclass(frozen=True, eq=False)
class Graph:
    """The steps of a model in an order in which they can be run; the keys of its ends.

    Attributes:
        outputs: in the order in which Keras flattens the predictions.
    """

    steps: list[Step]
    input: Key
    outputs: tuple[Key, ...]


def graph(model: keras.Model) -> Graph | None:
    """The graph of a functional or Sequential model, nested ones unfolded; None of any other.

    A model whose class overrides ``call`` is no graph, whatever it was built from.
    """
    function = _function(model)
    if function is None or len(function.inputs) != 1:
        return None
    source = ("input",)
    keys: dict[int, Key] = {id(function.inputs[0]): source}
    steps = list(_steps(function, keys, ()))
    outputs = keras.tree.flatten(function._outputs_struct)
    return Graph(steps, source, tuple(keys[id(output)] for output in outputs))


def _steps(function: Any, keys: dict[int, Key], prefix: tuple) -> Iterator[Step]:
    for depth in sorted(function._nodes_by_depth, reverse=True):
        for number, node in enumerate(function._nodes_by_depth[depth]):
            if node.is_input or any(id(t) not in keys for t in node.input_tensors):
                continue
            reads = tuple(keys[id(t)] for t in node.input_tensors)
            path = (*prefix, depth, number)
            inner = _function(node.operation)
            if inner is not None and len(inner.inputs) == len(reads):
                # Its nodes may be used by several calls: each has keys of its own.
                inner_keys = {id(t): key for t, key in zip(inner.inputs, reads, strict=True)}
                yield from _steps(inner, inner_keys, path)
                writes = [inner_keys[id(t)] for t in inner.outputs]
                keys.update({id(t): key for t, key in zip(node.outputs, writes, strict=True)})
                continue
            writes = [(*path, i) for i in range(len(node.outputs))]
            keys.update({id(t): key for t, key in zip(node.outputs, writes, strict=True)})
            yield Step(node.operation, reads, tuple(writes), node, path)


def _function(model: Any) -> Any:
    """What holds a model's nodes: a functional model itself, or that behind a Sequential."""
    own = getattr(type(model), "call", None)
    name = f"{getattr(own, '__module__', '')}.{getattr(own, '__qualname__', '')}"
    if not name.startswith("keras."):
        return None
    if name.endswith(".Sequential.call"):
        model = getattr(model, "_functional", None)  # None until it is built
        return model
    return model if name.endswith(".Functional.call") else None


def _parameters(layer: keras.Layer) -> Any:
    return inspect.signature(layer.call).parameters


def total_stride(model: keras.Model) -> int:
    """By how many bp the positions of a model's coarsest layer are apart; 1 where not known.

    Shifts of a multiple of it move what such a layer sees by whole positions.
    """
    known = graph(model)
    if known is None:
        return 1
    strides: dict[Key, int] = {}
    for step in known.steps:
        own = getattr(step.operation, "strides", 1) if len(step.shapes[0]) == 3 else 1
        first = own[0] if isinstance(own, tuple | list) else own
        total = max((strides.get(key, 1) for key in step.reads), default=1) * (first or 1)
        strides.update(dict.fromkeys(step.writes, total))
    return max(strides.values(), default=1)
