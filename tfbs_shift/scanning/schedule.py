"""What of a model is run once an example and what for each window, decided from shapes alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tfbs_shift.backend.graph import Graph, Key, Step
from tfbs_shift.scanning import head, stem
from tfbs_shift.scanning.head import EACH, Form, HeadStep
from tfbs_shift.scanning.plans import PlannedStep
from tfbs_shift.scanning.rules import NotShared, Rule
from tfbs_shift.scanning.units import Layout, SharedTensor, View

Tensor = Any


@dataclass(frozen=True, eq=False)
class Schedule:
    """The steps of a model, each with how it is run, in an order in which they can be.

    Attributes:
        stem: the steps that windows share, run once an example.
        head: the others, run for each window.
        input, outputs: keys of the model's ends.
        output_forms: how the head holds each output.
    """

    stem: Sequence[tuple[Step, Rule]]
    head: Sequence[HeadStep]
    input: Key
    outputs: tuple[Key, ...]
    output_forms: tuple[Form, ...]

    @classmethod
    def of(cls, graph: Graph, sequence: Layout, starts: int) -> Schedule:
        """Decides; no layer is run.

        Args:
            graph: the model's.
            sequence: the layout of its input: every base a unit.
            starts: windows run for each example.
        """
        forms: dict[Key, Form] = {graph.input: sequence}
        shared: list[tuple[Step, Rule]] = []
        each: list[HeadStep] = []
        for step in graph.steps:
            inputs = [form for key in step.reads if isinstance(form := forms.get(key), Layout)]
            reason = ""
            if len(step.writes) == 1 and len(inputs) == len(step.reads):
                try:
                    rule = stem.plan(step, inputs, starts)
                except NotShared as error:
                    reason = str(error)
                else:
                    forms[step.writes[0]] = rule.layout
                    shared.append((step, rule))
                    continue
            planned = head.plan(step, forms, starts)
            if planned.form is None and planned.how == EACH:
                planned = replace(planned, reason=reason)
            if len(step.writes) == 1:
                forms[step.writes[0]] = planned.form
            each.append(planned)
        of_outputs = tuple(forms.get(key) for key in graph.outputs)
        return cls(shared, each, graph.input, graph.outputs, of_outputs)

    @property
    def steps(self) -> tuple[PlannedStep, ...]:
        """What a plan says of each step."""
        planned = [
            PlannedStep(step.name, step.kind, _how(rule.layout), rule.costs)
            for step, rule in self.stem
        ]
        planned += [
            PlannedStep(one.step.name, one.step.kind, one.how, one.costs, one.reason)
            for one in self.head
        ]
        return tuple(planned)

    @property
    def activations(self) -> int:
        """Numbers held at once for a window: the stem's borders, one step of the head."""
        borders = sum(rule.layout.borders * rule.layout.channels for _, rule in self.stem)
        return borders + max([one.activations for one in self.head], default=0)

    def prepared_weights(self) -> list[Any]:
        """What the stem's rules make of weights alone."""
        return [rule.prepared_weights() for _, rule in self.stem]

    def share(self, sequence: SharedTensor, prepared: Sequence[Any]) -> SharedExamples:
        """Computes what all windows of some examples share.

        Args:
            sequence: the examples.
            prepared: what ``prepared_weights`` returned.
        """
        shared = {self.input: sequence}
        for (step, rule), weights in zip(self.stem, prepared, strict=True):
            shared[step.writes[0]] = rule.apply([shared[key] for key in step.reads], weights)
        return SharedExamples(self, shared, [one.share(shared) for one in self.head])


@dataclass(frozen=True, eq=False)
class SharedExamples:
    """Some examples of which all is computed that their windows share.

    Attributes:
        shared: tensors by key.
        runs: what runs each step of the head.
    """

    schedule: Schedule
    shared: head.SharedTensors
    runs: Sequence[head.Run]

    def predictions(self, view: View) -> list[Tensor]:
        """Those of some windows, (rows, ...) of each output."""
        schedule = self.schedule
        values: dict[Key, Any] = dict(self.shared)
        for one, run in zip(schedule.head, self.runs, strict=True):
            values.update(zip(one.step.writes, run(view, values), strict=True))
        return [
            head.written_out(view, key, form, values)
            for key, form in zip(schedule.outputs, schedule.output_forms, strict=True)
        ]


def _how(layout: Layout) -> str:
    return "once, borders for each window" if layout.borders else "once"
