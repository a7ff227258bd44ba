"""Figures as tables: for the terminal, a spreadsheet, a page."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import Any, TextIO

import numpy as np

from tfbs_shift.evaluation import Robustness

Figures = Mapping[str, Any]
"""What ``Robustness.to_dict`` returns, or ``robustness.json`` holds."""

_EVERY = "right at every shift"
_AVERAGED = "averaged over shifts"


def metrics(figures: Figures) -> list[str]:
    """The metrics in which more is better: accuracy, or auroc and aupr."""
    return [name for name in next(iter(figures["strategies"].values())) if name != "loss"]


def rows(audits: Mapping[str, Figures]) -> list[list[str]]:
    """A header and one row for each network and metric, as text.

    Args:
        audits: figures of each network; columns are the strategies of the first.
    """
    strategies = list(next(iter(audits.values()))["strategies"])
    several = any(len(metrics(figures)) > 1 for figures in audits.values())
    with_every, with_average = (
        any(key in figures for figures in audits.values())
        for key in ("right_at_every_shift", "averaged_over_shifts")
    )
    header = ["network", *(["metric"] if several else []), *strategies]
    header += [_EVERY] if with_every else []
    table = [header + ([_AVERAGED] if with_average else [])]
    for name, figures in audits.items():
        for metric in metrics(figures):
            row = [name, *([metric] if several else [])]
            row += [_number(figures["strategies"].get(s, {}).get(metric)) for s in strategies]
            if with_every:
                row.append(_number(figures.get("right_at_every_shift")))
            if with_average:
                row.append(_number(figures.get("averaged_over_shifts", {}).get(metric)))
            table.append(row)
    return table


def text_table(audits: Mapping[str, Figures]) -> str:
    """The table of :func:`rows` for a terminal, with a line that says what the columns are."""
    first = next(iter(audits.values()))
    table = rows(audits)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([_caption(first), "", *lines])


def write_csv(figures: Figures, file: TextIO) -> None:
    """One row a strategy, its metrics in columns; then the prediction averaged over shifts."""
    named = dict(figures["strategies"])
    if "averaged_over_shifts" in figures:
        named["averaged_over_shifts"] = figures["averaged_over_shifts"]
    columns = list(next(iter(figures["strategies"].values())))
    writer = csv.DictWriter(file, ["strategy", *columns], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({"strategy": name, **values} for name, values in named.items())


def write_labels(found: Robustness, file: TextIO) -> None:
    """One row a label: its name, its positives, AUROC and AUPR under each strategy."""
    first = next(iter(found.scores.values()))
    names = found.label_names or range(len(first.auroc))
    writer = csv.writer(file, lineterminator="\n")
    areas = ("auroc", "aupr")
    columns = [f"{area}_{strategy}" for strategy in found.scores for area in areas]
    writer.writerow(["label", "positives", *columns])
    for k, name in enumerate(names):
        values = [getattr(one, area)[k] for one in found.scores.values() for area in areas]
        cells = ["" if np.isnan(value) else f"{value:.6f}" for value in values]
        writer.writerow([name, int(first.positives[k]), *cells])


def _caption(figures: Figures) -> str:
    what = " and ".join(metrics(figures))
    if "labels" in figures:
        scored = figures["labels"] - len(figures["labels_left_out"])
        what += f" (mean of {scored} of {figures['labels']} labels, which have both classes)"
    if figures.get("average_strands"):
        what += ", predictions of both strands averaged,"
    return (
        f"{what} of {figures['examples']} examples, window {figures['window']} of "
        f"{figures['sequence_length']} bp, shifts {figures['shifts'][0]:+d} .. "
        f"{figures['shifts'][-1]:+d} bp, by the way the window is chosen:"
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
