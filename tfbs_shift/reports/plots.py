"""Plots of audits, as matplotlib figures that belong to no window."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tfbs_shift.evaluation import Robustness
from tfbs_shift.reports.tables import Figures

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")  # Okabe & Ito


def curve(audits: Mapping[str, Figures]) -> Figure:
    """The metric when every window may move by up to r bp, to where its loss is highest."""
    first = next(iter(audits.values()))
    metric = next(name for name in first["curve"][0] if name != "max_shift")
    figure, axes = _axes("largest shift allowed (bp)", f"{metric} at the worst shift")
    for (name, figures), colour in zip(audits.items(), _COLOURS * len(audits), strict=False):
        points = [(point["max_shift"], point[metric]) for point in figures["curve"]]
        axes.plot(*zip(*points, strict=True), color=colour, marker="o", markersize=4, label=name)
    if len(audits) > 1:
        axes.legend(frameon=False)
    return figure


def profile(found: Robustness) -> Figure:
    """The metric when all windows move alike, by each shift; and when each moves to its worst."""
    assert found.scan is not None
    values, metric = (found.scan.loss, "loss") if found.right is None else (found.right, "accuracy")
    figure, axes = _axes("shift of the window (bp)", metric)
    shifts = found.scan.shifts
    axes.plot(shifts, values.mean(axis=0), color=_COLOURS[0], marker="o", markersize=4,
              label="all windows at this shift")  # fmt: skip
    worst = found.curve[-1][metric]
    axes.axhline(worst, color=_COLOURS[1], linestyle="--", label="each window at its worst shift")
    axes.legend(frameon=False)
    return figure


def _axes(x: str, y: str):
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot(xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e0e0e0")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure, axes
