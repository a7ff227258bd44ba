"""Plots of audits, as matplotlib figures that belong to no window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tfbs_shift.evaluation import Robustness
from tfbs_shift.evaluation.profiles import change_by_distance
from tfbs_shift.reports.tables import Figures, leading, titled
from tfbs_shift.tasks import Values
from tfbs_shift.text import drawn
from tfbs_shift.windows import nearest

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")  # Okabe & Ito
_PROBABILITIES = {"cmap": "RdBu_r", "vmin": 0, "vmax": 1}
_ROWS = 200
"""Examples in a heat map."""


def curve(audits: Mapping[str, Figures], metric: str | None = None) -> Figure:
    """A metric when windows may move by up to r bp: to where their loss is highest, at random.

    Args:
        audits: figures by name.
        metric: one that all have; None: that which stands for all.
    """
    metric = metric or leading(next(iter(audits.values())))
    figure, axes = _axes("largest shift allowed, r (bp)", titled(metric))
    alone = len(audits) == 1
    for (name, figures), colour in zip(audits.items(), COLOURS * len(audits), strict=False):
        points = figures["curve"]
        r = [point["max_shift"] for point in points]
        worst = "worst shift within r" if alone else drawn(name)
        axes.plot(r, _drawn(points, metric), color=colour, marker="o", markersize=3.5,
                  label=worst)  # fmt: skip
        if f"{metric}_low" in points[0]:
            _band(axes, r, points, metric, colour, 0.18)
        if f"random_{metric}" in points[0]:
            second = COLOURS[2] if alone else colour
            label = "random shift within r" if alone else None
            axes.plot(r, _drawn(points, f"random_{metric}"), color=second, linestyle="--",
                      label=label)  # fmt: skip
            _band(axes, r, points, f"random_{metric}", second, 0.18)
    axes.legend(frameon=False)
    return figure


def certificates(audit: Robustness) -> Figure:
    """How many examples are right within how many bp, and no more."""
    assert audit.certificates is not None
    figure, axes = _axes("certified radius (bp)", "examples")
    largest = int(np.abs(audit.windows.shifts).max())
    counts = np.bincount(audit.certificates + 1, minlength=largest + 2)
    axes.bar(-1, counts[0], color=COLOURS[1], width=0.85)
    axes.bar(range(largest), counts[1:-1], color=COLOURS[0], width=0.85)
    axes.bar(largest, counts[-1], color=COLOURS[2], width=0.85)
    names = {-1: "wrong at\nthe centre"} if counts[0] else {}
    names |= {int(t): f"{t:g}" for t in axes.get_xticks() if 0 <= t < largest}
    axes.set_xticks([*names, largest], [*names.values(), f"{largest}\n(all)"])
    axes.set_xlim(-1.6 if counts[0] else -0.6, largest + 0.6)
    return figure


def profile(audit: Robustness, metric: str) -> Figure:
    """A metric that is a mean over examples (or the loss) when all windows move alike, by each
    shift; and when each moves to its worst."""
    values = audit.every[audit.task.means.get(metric, metric)]
    figure, axes = _axes("shift of the window (bp)", titled(metric))
    shifts = audit.windows.shifts
    axes.plot(shifts, values.mean(axis=0), color=COLOURS[0], marker="o", markersize=4,
              label="all windows at this shift")  # fmt: skip
    worst = audit.curve[-1][metric]
    axes.axhline(worst, color=COLOURS[1], linestyle="--", label="each window at its worst shift")
    axes.legend(frameon=False)
    return figure


def worst_shifts(figures: Figures) -> Figure:
    """How many examples have their worst window at each shift."""
    figure, axes = _axes("shift of the worst window (bp)", "examples")
    counts = figures["worst_shifts"]["examples"]
    axes.bar(figures["shifts"], counts, color=COLOURS[0], width=0.85)
    axes.axhline(np.mean(counts), color=COLOURS[1], linestyle="--", label="if all were alike")
    axes.legend(frameon=False)
    return figure


def distance(audit: Robustness) -> Figure:
    """Mean change of the prediction between windows d bp apart, and the network's stride."""
    what = audit.task.shown
    changes = "distance moved" if what == "moved" else what
    figure, axes = _axes("distance between two windows (bp)", f"mean change of the {changes}")
    change = change_by_distance(audit.every[what])
    axes.plot(np.arange(len(change)), change, color=COLOURS[0])
    if 1 < audit.stride < len(change):
        for at in range(audit.stride, len(change), audit.stride):
            label = f"multiples of the stride, {audit.stride} bp" if at == audit.stride else None
            axes.axvline(at, color=COLOURS[1], linewidth=0.8, linestyle=":", label=label)
        axes.legend(frameon=False)
    axes.set_ylim(bottom=0)
    return figure


def heat_map(audit: Robustness) -> Figure:
    """The task's column to show, of examples at every shift, the most fragile on top."""
    assert audit.certificates is not None
    order = np.lexsort((-audit.examples["wobble"], audit.certificates))
    order = order[np.unique(np.linspace(0, len(order) - 1, min(_ROWS, len(order))).astype(int))]
    what = audit.task.shown
    figure, axes = _axes("shift of the window (bp)", "examples, the least certified on top")
    shifts = audit.windows.shifts
    shown = audit.every[what][order]
    image = axes.imshow(
        shown, aspect="auto", interpolation="nearest", **_colours(what, shown),
        extent=(shifts[0] - 0.5, shifts[-1] + 0.5, len(order), 0),
    )  # fmt: skip
    axes.grid(False)
    axes.set_yticks([])
    bar = figure.colorbar(image, ax=axes, extend="neither" if what == "probability" else "both")
    bar.set_label(titled(what))
    return figure


def _colours(what: str, values: np.ndarray) -> dict[str, object]:
    """Of numbers without bounds the middle 98%: one far away would make the others look alike."""
    if what == "probability":
        return _PROBABILITIES
    low, high = np.percentile(values, [1, 99])
    return {"cmap": "viridis", "vmin": low, "vmax": high}


def examples(audit: Robustness, chosen: Mapping[str, int]) -> Figure:
    """Loss and prediction (of several: of the one that moves most) against the shift; dotted the
    threshold of calls, shaded what is within the tolerance of the centre's.

    Args:
        audit: the audit.
        chosen: number of the example, by title.
    """
    figure = Figure(figsize=(6, 1.9 * len(chosen) + 0.4), layout="constrained")
    shifts, rows, losses = audit.windows.shifts, len(chosen), audit.every["loss"]
    some = losses[list(chosen.values())]
    lowest, highest = min(0.0, some.min()), some.max()
    for i, (title, example) in enumerate(chosen.items()):
        predicted, number, name = _predicted(audit, example)
        axes = figure.add_subplot(rows, 2, 2 * i + 1)
        if audit.task.probabilities:
            axes.set(ylabel="probability", ylim=(-0.03, 1.03))
            axes.axhline(audit.threshold, color="#909090", linewidth=0.8, linestyle=":")
        else:
            axes.set_ylabel("prediction")
            _tolerated(axes, audit, example, predicted, number)
        axes.set_title(drawn(title + name), fontsize=9, loc="left")
        beside = figure.add_subplot(rows, 2, 2 * i + 2, ylabel="loss")
        if highest > lowest:
            margin = 0.05 * (highest - lowest)
            beside.set_ylim(lowest - margin, highest + margin)
        for panel, values, colour in ((axes, predicted, COLOURS[0]),
                                      (beside, losses[example], COLOURS[1])):  # fmt: skip
            plain(panel)
            panel.plot(shifts, values, color=colour, marker="o", markersize=2.5)
            panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            if i == rows - 1:
                panel.set_xlabel("shift (bp)")
    return figure


def _tolerated(
    axes: Axes, audit: Robustness, example: int, predicted: np.ndarray, number: int
) -> None:
    """Shades what is within the tolerance of the prediction at the centre."""
    task = getattr(audit.task, "meaning", audit.task)
    assert isinstance(task, Values) and task.tolerance is not None
    allowed = None if audit.allowed is None else audit.allowed[[example]]
    centre = predicted[nearest(1, audit.windows, allowed)[0]]
    tolerance = task.tolerance[number]
    axes.axhspan(centre - tolerance, centre + tolerance, color="#909090", alpha=0.2, linewidth=0)


def _predicted(audit: Robustness, example: int) -> tuple[np.ndarray, int, str]:
    """What is drawn of an example, (S,): its column, or the output that moves most; which output
    that is, and its name."""
    for column in ("probability", "prediction"):
        if column in audit.every:
            return audit.every[column][example], 0, ""
    outputs = audit.predictions_of[example]
    label = int(np.ptp(outputs, axis=0).argmax())
    kind = "label" if audit.task.probabilities else "output"
    name = audit.label_names[label] if audit.label_names else f"{kind} {label}"
    return outputs[:, label], label, f", {name}"


def differences(rows: Sequence[Mapping]) -> Figure:
    """Differences between networks with their intervals.

    Args:
        rows: as ``tfbs_shift.evaluation.comparing.differences`` gives them, of one metric.
    """
    figure, axes = _axes(f"difference in {titled(rows[0]['metric'])}", "")
    axes.grid(False)
    axes.axvline(0, color="#909090", linewidth=0.8)
    for i, row in enumerate(reversed(rows)):
        low, high = (row["difference"] if np.isnan(v) else v for v in (row["low"], row["high"]))
        axes.plot([low, high], [i, i], color=COLOURS[0])
        axes.plot(row["difference"], i, "o", color=COLOURS[0])
    labels = [", ".join(filter(None, (row["run"], row["strategy"]))) for row in reversed(rows)]
    labels = [drawn(label) for label in labels]
    axes.set_yticks(range(len(rows)), labels)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    figure.set_size_inches(6, 1 + 0.32 * len(rows))
    return figure


def _band(axes: Axes, r, points, metric: str, colour: str, alpha: float) -> None:
    low, high = (_drawn(points, f"{metric}_{end}") for end in ("low", "high"))
    axes.fill_between(r, low, high, color=colour, alpha=alpha, linewidth=0)


def _drawn(points: Sequence[Mapping], name: str) -> np.ndarray:
    """The figures of a curve; what is none, in JSON null, leaves a gap."""
    return np.array([point[name] for point in points], np.float64)


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot(xlabel=x, ylabel=y)
    plain(axes)
    return figure, axes


def plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#909090", alpha=0.3)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
