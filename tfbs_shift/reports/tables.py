"""Figures as tables: for the terminal, a spreadsheet, a page."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import Any, TextIO

Figures = Mapping[str, Any]
"""What ``Robustness.to_dict`` returns, or ``robustness.json`` holds."""

_EVERY = "right at every shift"
_AVERAGED = "averaged over shifts"


def metrics(figures: Figures) -> list[str]:
    """The metrics in which more is better: accuracy, or auroc and aupr."""
    return [name for name in figures["averaged_over_shifts"] if name != "loss"]


def rows(audits: Mapping[str, Figures]) -> list[list[str]]:
    """A header and one row for each network and metric, as text.

    Args:
        audits: figures of each network; columns are the strategies of the first.
    """
    strategies = list(next(iter(audits.values()))["strategies"])
    several = any(len(metrics(figures)) > 1 for figures in audits.values())
    with_every = any("right_at_every_shift" in figures for figures in audits.values())
    header = ["network", *(["metric"] if several else []), *strategies]
    table = [[*header, *([_EVERY] if with_every else []), _AVERAGED]]
    for name, figures in audits.items():
        for metric in metrics(figures):
            row = [name, *([metric] if several else [])]
            row += [_number(figures["strategies"].get(s, {}).get(metric)) for s in strategies]
            if with_every:
                row.append(_number(figures.get("right_at_every_shift")))
            table.append([*row, _number(figures["averaged_over_shifts"][metric])])
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
    named = {**figures["strategies"], "averaged_over_shifts": figures["averaged_over_shifts"]}
    columns = list(next(iter(figures["strategies"].values())))
    writer = csv.DictWriter(file, ["strategy", *columns], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({"strategy": name, **values} for name, values in named.items())


def _caption(figures: Figures) -> str:
    what = " and ".join(metrics(figures))
    return (
        f"{what} of {figures['examples']} examples, window {figures['window']} of "
        f"{figures['sequence_length']} bp, shifts {figures['shifts'][0]:+d} .. "
        f"{figures['shifts'][-1]:+d} bp, by the way the window is chosen:"
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
