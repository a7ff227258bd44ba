"""One sequence under a moving window: a slider in a notebook, a figure everywhere else."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tfbs_shift import sequences
from tfbs_shift.errors import InputError
from tfbs_shift.models.architectures import attention
from tfbs_shift.reports.plots import COLOURS, plain
from tfbs_shift.scanning.jobs import ScanJob
from tfbs_shift.text import drawn
from tfbs_shift.windows import WindowRange

_BASES = {"A": "#009e73", "C": "#0072b2", "G": "#e69f00", "T": "#d55e00"}
_LETTERS = 160
"""Longer sequences are drawn as a line: their letters would not be readable."""


@dataclass(frozen=True, eq=False)
class Exploration:
    """What a model says of one sequence at every start of its window.

    A notebook shows it as a slider that moves the window (with ipywidgets), else as a figure.

    Attributes:
        windows: the geometry: sequence length, window, bound.
        probability: float32 (S,): of class 1 if there are two, else of the example's class; of
            several labels that of one.
        loss: float32 (S,).
        attention: float32 (S, T), the weights of each window's positions; None if the model has
            no layer named attention.
        what: what the probability is of.
    """

    windows: WindowRange
    probability: np.ndarray
    loss: np.ndarray
    attention: np.ndarray | None
    what: str
    _letters: str = field(repr=False)
    _stride: int = field(repr=False)

    @property
    def worst_shift(self) -> int:
        """The shift of highest loss, in bp."""
        return int(self.windows.shifts[self.loss.argmax()])

    def figure(self, shift: int | None = None) -> Figure:
        """The window at one shift: where it lies, its attention, its probability and its loss.

        Args:
            shift: in bp; None: that of the highest loss.

        Raises:
            InputError: no window has this shift.
        """
        shift = self.worst_shift if shift is None else shift
        shifts = self.windows.shifts
        if shift not in shifts:
            raise InputError(f"shift {shift}: want {shifts[0]}..{shifts[-1]} bp")
        at = int(np.searchsorted(shifts, shift))
        rows = [0.5, 2] if self.attention is None else [0.5, 0.9, 2]
        figure = Figure(figsize=(8, 1.1 * sum(rows)), layout="constrained")
        grid = figure.add_gridspec(len(rows), 2, height_ratios=rows)
        above = figure.add_subplot(grid[0, :])
        self._sequence(above, at)
        above.set_title(
            f"shift {shift:+d} bp: probability of {drawn(self.what)} {self.probability[at]:.3f}, "
            f"loss {self.loss[at]:.3f}",
            fontsize=10,
            loc="left",
        )
        if self.attention is not None:
            self._attention(figure.add_subplot(grid[1, :]), at)
        for column, (name, values, colour) in enumerate(
            (("probability", self.probability, COLOURS[0]), ("loss", self.loss, COLOURS[1]))
        ):
            axes = figure.add_subplot(grid[-1, column], ylabel=name, xlabel="shift (bp)")
            plain(axes)
            axes.plot(shifts, values, color=colour, marker="o" if len(shifts) < 60 else None,
                      markersize=3)  # fmt: skip
            axes.axvline(shift, color="#909090", linewidth=0.8)
            axes.plot(shift, values[at], "o", color=colour, markersize=8)
            if name == "probability":
                axes.set_ylim(-0.04, 1.04)
                axes.axhline(0.5, color="#909090", linewidth=0.8, linestyle=":")
            else:
                axes.set_ylim(0, 1.1 * values.max())
        return figure

    def slider(self) -> Any:
        """An ipywidgets box: a slider of shifts and the figure of the one that it is at.

        Raises:
            ImportError: ipywidgets is not installed.
        """
        import ipywidgets

        shifts = self.windows.shifts
        slider = ipywidgets.IntSlider(
            self.worst_shift, int(shifts[0]), int(shifts[-1]), description="shift (bp)",
            layout={"width": "36em"},
        )  # fmt: skip
        image = ipywidgets.Image(value=_png(self.figure(slider.value)), format="png")

        def moved(change: dict[str, Any]) -> None:
            image.value = _png(self.figure(change["new"]))

        slider.observe(moved, names="value")
        return ipywidgets.VBox([slider, image])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """The slider; beside it the figure, which viewers of a notebook without a kernel show."""
        bundle = {
            "text/plain": repr(self),
            "image/png": base64.b64encode(_png(self.figure())).decode(),
        }
        if _widgets_work():
            bundle |= self.slider()._repr_mimebundle_()
        return bundle

    def _sequence(self, axes: Any, at: int) -> None:
        """The sequence, the window on it, and dashed where the centre window is."""
        length, window = self.windows.length, self.windows.window
        start = int(self.windows.starts[at])
        axes.set(xlim=(-0.5, length + 0.5), ylim=(-0.2, 1.2), yticks=[])
        axes.spines[["left", "right", "top"]].set_visible(False)
        axes.add_patch(Rectangle((start, 0), window, 1, facecolor="#0072b2", alpha=0.15))
        axes.add_patch(
            Rectangle((self.windows.centre, 0), window, 1, fill=False, linestyle="--",
                      edgecolor="#707070", linewidth=0.8)
        )  # fmt: skip
        if length > _LETTERS:
            axes.axhline(0.5, color="#909090", linewidth=2)
            return
        for i, letter in enumerate(self._letters):
            inside = start <= i < start + window
            axes.text(i + 0.5, 0.5, letter, ha="center", va="center", family="monospace",
                      fontsize=max(4, 700 / length - 1 if length > 100 else 7),
                      color=_BASES.get(letter, "#707070"), alpha=1 if inside else 0.35)  # fmt: skip

    def _attention(self, axes: Any, at: int) -> None:
        """The weights over the bases that they are of; the layer's positions lie mid-window."""
        assert self.attention is not None
        weights = self.attention[at]
        plain(axes)
        axes.set(xlim=(-0.5, self.windows.length + 0.5), ylim=(0, 1.05 * self.attention.max()))
        axes.set_ylabel("attention")
        middle = self.windows.starts[at] + self.windows.window / 2
        centres = middle + (np.arange(len(weights)) - (len(weights) - 1) / 2) * self._stride
        axes.bar(centres, weights, width=0.9 * self._stride, color=COLOURS[2])


def explore(
    model: keras.Model,
    x: Any,
    y: Any,
    *,
    window: int | None = None,
    max_shift: int | None = None,
    label: int | None = None,
) -> Exploration:
    """One sequence at every start of the window, to be moved by hand.

    Args:
        model: as for :func:`tfbs_shift.scan`; its predictions must be probabilities, or logits of
            a compiled loss.
        x: one sequence (W, channels) or (1, W, channels), one-hot in the model's channel order.
        y: its label or labels, (K,) or a class number.
        window: the model's input length L, where that is free or not known.
        max_shift: the largest absolute shift, in bp; None: every start.
        label: of several labels the one to show, from 0; None: the one that moves most.

    Returns:
        As the last line of a notebook's cell a slider, if ipywidgets is installed; ``.figure()``
        gives a matplotlib figure anywhere.

    Raises:
        InputError: model, window, sequence or label do not fit each other.

    Attention is drawn for models with a layer named attention, as TBiNet's (Park et al. 2020).

    >>> import tfbs_shift as ts
    >>> test = ts.data.synthetic(1, length=40)
    >>> found = ts.explore(ts.models.cnn(30), test.x[0], test.y[0])
    >>> found.probability.shape, found.figure(shift=-5)
    ((11,), <Figure size 800x275 with 3 Axes>)
    """
    x = np.asarray(x)
    x = x[None] if x.ndim == 2 else x
    if x.ndim != 3 or len(x) != 1:
        raise InputError(f"sequence {x.shape}: want one, (length, channels)")
    y = np.asarray(y)
    y = y[None] if y.ndim < 2 else y
    job = ScanJob.of(model, x, y, window=window, max_shift=max_shift)
    if not job.task.probabilities or not isinstance(model, keras.Model):
        raise InputError(
            "explore: want a Keras model of probabilities; of any other the page of an audit draws "
            "single examples (ts.Details(examples=[0]), --examples)"
        )
    [(_, losses, predictions)] = job.blocks(None)
    outputs = job.task.outputs(predictions[0])
    probability, what = job.task.profile(outputs, job.y, label)
    weights = None
    if "attention" in [layer.name for layer in model.layers]:
        length = job.windows.window
        every = np.stack([x[0, s : s + length] for s in job.windows.starts.tolist()])
        weights = attention(model).predict(every, verbose=0)
    letters = ""
    if x.shape[2] == 4:
        bases = sequences.reorder(x[0], job.predictor.alphabet, sequences.ACGT)
        known = (bases.max(axis=1) == 1) & (bases.sum(axis=1) == 1)
        codes = np.where(known, bases.argmax(axis=1), sequences.UNKNOWN)
        letters = str(sequences.decode(codes))
    return Exploration(
        job.windows,
        probability,
        losses[0],
        weights,
        what,
        letters,
        job.predictor.stride,
    )


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()


def _widgets_work() -> bool:
    """Whether this is a notebook whose kernel can talk to widgets."""
    try:
        import ipywidgets  # noqa: F401
        from IPython import get_ipython
    except ImportError:
        return False
    return hasattr(get_ipython(), "kernel")
