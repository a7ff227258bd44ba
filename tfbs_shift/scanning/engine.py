"""A model at many starts of its window."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras
from keras import ops

from tfbs_shift.backend.computing import mapped
from tfbs_shift.backend.graph import Key, graph
from tfbs_shift.backend.precision import checked, computing_in, last_layers
from tfbs_shift.scanning.costs import Costs
from tfbs_shift.scanning.head import EACH, Form, HeadStep, Values, head_step, whole
from tfbs_shift.scanning.plans import PlannedStep, ScanPlan
from tfbs_shift.scanning.stem import NotShared, Setting, shared
from tfbs_shift.scanning.units import Shared, View
from tfbs_shift.windows import WindowRange

Tensor = Any

_BYTES = 64 * 2**20  # of activations at once
_ROWS = 128  # windows at once, for a model whose layers are not known
_INPUT: Key = ("input",)


class ModelAtStarts:
    """The predictions of a model at several starts of its window.

    What neighbouring windows have in common is computed once an example (``plan`` says what that
    is); the rest is run for blocks of windows whose activations fit a budget, so that the memory
    does not grow with the number of examples or starts.

    Args:
        model: any Keras model (B, L, C) -> (B, K).
        windows: the geometry.
        channels: C.
        count: starts run for each example; None: all there are.
        precision: "bfloat16" lets the layers of a float32 model compute in it, but not its last.

    Raises:
        InputError: an unknown precision.
    """

    def __init__(
        self,
        model: keras.Model,
        windows: WindowRange,
        channels: int,
        count: int | None = None,
        *,
        precision: str = "float32",
    ):
        self.model = model
        self.precision = checked(precision)
        self.windows = windows
        self._setting = Setting(len(windows), count or len(windows))
        self._graph = graph(model)
        # Dry: one window of one example, for the figures; a compiled step drops it as unused.
        x = ops.zeros((1, windows.length, channels), model.compute_dtype)
        prepared = self._prepared(x, self._setting)
        self.plan = self._plan(prepared)

    def __call__(
        self,
        x: Tensor,
        starts: Tensor | None = None,
        *,
        y: Tensor | None = None,
        keep: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Runs the model.

        Args:
            x: sequences (B, W, C).
            starts: ``int32`` (B, n); None: every start.
            y: labels (B, ...), for ``keep``.
            keep: (predictions (rows, K), labels (rows, ...)) -> float32 (rows, F): what is kept
                of the predictions of some windows, each with its example's labels.

        Returns:
            Predictions, float32 (B, n, K), or what is kept of them, (B, n, F).
        """
        policy = self.precision if self.precision == "float32" else f"mixed_{self.precision}"
        with computing_in(self.model, policy, but=last_layers(self.model)):
            made = {step: recipe() for step, recipe in self._setting.recipes.items()}
            setting = replace(self._setting, made=made)
            parts = {"x": ops.cast(x, self.model.compute_dtype)}
            if starts is not None:
                parts["starts"] = starts - self.windows.first
            if y is not None:
                parts["y"] = y
            return self._all(parts, setting, keep or (lambda predictions, _: predictions))

    def _all(self, parts: dict[str, Tensor], setting: Setting, keep: Callable) -> Tensor:
        x = parts["x"]
        count = parts["starts"].shape[1] if "starts" in parts else len(self.windows)
        at_once, block = self._blocks(count)
        batch = ops.shape(x)[0]  # a number where the backend knows it
        chunks = (batch + at_once - 1) // at_once
        at_once = (batch + chunks - 1) // chunks  # chunks of equal size
        if x.shape[0] is not None and chunks == 1:
            return self._some(parts, setting, keep, block)
        rows = ops.minimum(ops.arange(chunks * at_once), batch - 1)
        names = list(parts)
        chunked = tuple(
            ops.reshape(ops.take(part, rows, axis=0), (chunks, at_once, *part.shape[1:]))
            for part in parts.values()
        )
        result = mapped(
            lambda some: self._some(dict(zip(names, some, strict=True)), setting, keep, block),
            chunked,
            "float32",
        )
        return ops.reshape(result, (-1, count, result.shape[-1]))[:batch]

    def _blocks(self, count: int) -> tuple[int, int]:
        """(examples at once, starts at once)."""
        rows = self.plan.rows
        if count <= rows:
            return max(1, rows // count), count
        blocks = math.ceil(count / rows)
        return 1, math.ceil(count / blocks)

    def _some(
        self, parts: dict[str, Tensor], setting: Setting, keep: Callable, block: int
    ) -> Tensor:
        """Some examples at once, ``block`` starts at a time."""
        x, starts, y = parts["x"], parts.get("starts"), parts.get("y")
        prepared = self._prepared(x, setting)
        every = starts is None
        if starts is None:
            starts = ops.arange(len(self.windows), dtype="int32")
            starts = ops.broadcast_to(starts, (ops.shape(x)[0], len(self.windows)))

        def run(starts: Tensor, every: bool) -> Tensor:
            labels = None if y is None else ops.repeat(y, starts.shape[1], axis=0)
            return keep(prepared.run(View(starts, every)), labels)

        count = starts.shape[1]
        if block >= count:
            result = run(starts, every)
            return ops.reshape(result, (-1, count, result.shape[-1]))
        blocks = math.ceil(count / block)
        columns = [min(i, count - 1) for i in range(blocks * block)]
        starts = ops.reshape(ops.take(starts, columns, axis=1), (-1, blocks, block))
        results = mapped(lambda some: run(some, False), ops.swapaxes(starts, 0, 1), "float32")
        width = results.shape[-1]  # (blocks, b * block, width)
        results = ops.swapaxes(ops.reshape(results, (blocks, -1, block, width)), 0, 1)
        return ops.reshape(results, (-1, blocks * block, width))[:, :count]

    def _prepared(self, x: Tensor, setting: Setting) -> _Prepared:
        """Computes what windows share."""
        first, length = self.windows.first, len(self.windows) - 1 + self.windows.window
        forms: dict[Key, Form] = {_INPUT: Shared(x[:, first : first + length], self.windows.window)}
        if self._graph is None:
            return _Prepared(forms, [], [], None, self.model)
        stem, head = [], []
        for step in self._graph.steps:
            forms_in = [forms.get(key) for key in step.reads]
            inputs = [form for form in forms_in if isinstance(form, Shared)]
            reason = ""
            if len(step.writes) == 1 and len(inputs) == len(forms_in):
                try:
                    result, costs = shared(step, inputs, setting)
                except NotShared as error:
                    reason = str(error)
                else:
                    forms[step.writes[0]] = result
                    stem.append((step, result, costs))
                    continue
            done = head_step(step, forms, setting)
            if len(step.writes) == 1:
                forms[step.writes[0]] = done.form
            head.append((done, reason if done.form is None and done.how == EACH else ""))
        return _Prepared(forms, stem, head, self._graph.output, self.model)

    def _plan(self, prepared: _Prepared) -> ScanPlan:
        fallback = ""
        if self._graph is None:
            fallback = (
                "its layers are not known: it is no functional or Sequential model, "
                "or its class has a call of its own"
            )
        steps = [
            PlannedStep(step.name, step.kind, _how(result), costs)
            for step, result, costs in prepared.stem
        ]
        steps += [
            PlannedStep(done.step.name, done.step.kind, done.how, done.costs, reason)
            for done, reason in prepared.head
        ]
        borders = sum(result.borders * result.channels for _, result, _ in prepared.stem)
        floats = borders + max([done.floats for done, _ in prepared.head], default=0)
        rows = _ROWS if self._graph is None else _rows(floats)
        name = getattr(self.model, "name", "model")
        return ScanPlan(name, self.windows, self._setting.count, tuple(steps), rows, fallback)


def _rows(floats: int) -> int:
    """How many windows to run at once, of so many numbers each."""
    return min(max(_BYTES // (4 * max(1, floats)), 16), 4096)


def _how(result: Shared) -> str:
    return "once, borders for each window" if result.borders else "once"


@dataclass(frozen=True, eq=False)
class _Prepared:
    """What was computed once for some examples, and the steps left to run for windows of them."""

    forms: dict[Key, Form]
    stem: list[tuple[Any, Shared, Costs]]
    head: list[tuple[HeadStep, str]]
    output: Key | None
    model: keras.Model

    def run(self, view: View) -> Tensor:
        """Predictions of some windows, float32 (rows, K)."""
        if self.output is None:
            windows = whole(view, self.forms[_INPUT], None)
            return ops.cast(self.model(windows, training=False), "float32")
        values: Values = {}
        for done, _ in self.head:
            values.update(zip(done.step.writes, done.run(view, values), strict=True))
        predictions = whole(view, self.forms.get(self.output), values.get(self.output))
        return ops.cast(predictions, "float32")
