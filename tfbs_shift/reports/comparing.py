"""Tables that put several audits side by side."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfbs_shift.files import replacing
from tfbs_shift.reports.page import Table
from tfbs_shift.reports.paper import Cell
from tfbs_shift.reports.tables import Figures, metrics

_COLUMNS = ("run", "baseline", "strategy", "metric", "difference", "low", "high", "p", "q",
            "labels_different", "labels_tested")  # fmt: skip


def comparison_tables(
    audits: Mapping[str, Figures],
    differences: Sequence[Mapping[str, Any]],
    repeats: Sequence[Mapping[str, Any]],
    papers: Mapping[str, Cell | None],
) -> list[Table]:
    """Differences, repeats, and the paper's figures beside ours; those of which there are any.

    Args:
        audits: figures by name.
        differences, repeats: as :mod:`tfbs_shift.evaluation.comparing` gives them.
        papers: the paper's figures of each run, None where it has none.
    """
    found = []
    if differences:
        found.append(_differences(differences))
    if repeats:
        found.append(_repeats(repeats))
    if any(papers.values()):
        found.append(_papers(audits, papers))
    return found


def write_differences(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A CSV of differences, one row each; empty cells where a figure does not apply.

    Args:
        rows: as ``differences`` or ``label_differences`` of
            :mod:`tfbs_shift.evaluation.comparing` give them.
        path: the file.
    """
    columns = list(rows[0]) if rows and "label" in rows[0] else _COLUMNS
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _differences(rows: Sequence[Mapping[str, Any]]) -> Table:
    labels = any("labels_tested" in row for row in rows)
    header = ["run", "strategy", "metric", "difference"]
    table = [header + (["labels that differ"] if labels else ["p", "q"])]
    for row in rows:
        interval = f"\n{row['low']:+.3f} .. {row['high']:+.3f}"
        cells = [row["run"], row["strategy"], row["metric"], f"{row['difference']:+.4f}{interval}"]
        if labels:
            cells.append(f"{row['labels_different']} of {row['labels_tested']}")
        else:
            cells += [f"{row[key]:.2g}" for key in ("p", "q")]
        table.append(cells)
    note = (
        "95% paired bootstrap intervals. "
        + ("Labels that differ: McNemar's exact test of the calls, " if labels else
           "p: McNemar's exact test; q: ")
        + "corrected for the number of tests (false discovery rate; Benjamini and Hochberg)."
    )  # fmt: skip
    return Table(f"Differences from {rows[0]['baseline']}", table, note)


def _repeats(groups: Sequence[Mapping[str, Any]]) -> Table:
    strategies = list(groups[0]["strategies"])
    table = [["runs", "metric", *strategies]]
    for group in groups:
        names: Mapping[str, Any] = next(iter(group["strategies"].values()), {})
        for metric in names:
            cells = []
            for strategy in strategies:
                one = group["strategies"].get(strategy, {}).get(metric)
                cells.append(f"{one['mean']:.4f}\nsd {one['sd']:.4f}" if one else "")
            table.append([", ".join(group["runs"]), metric, *cells])
    return Table("Repeats with other seeds", table, "Mean and standard deviation over the runs.")


def _papers(audits: Mapping[str, Figures], papers: Mapping[str, Cell | None]) -> Table:
    first = next(cell for cell in papers.values() if cell)
    table = [["run", "metric", *first]]
    for name, cell in papers.items():
        if not cell:
            continue
        for metric in metrics(audits[name]):
            row = [name, metric]
            for strategy in first:
                ours = audits[name]["strategies"].get(strategy, {}).get(metric)
                theirs = cell.get(strategy, {}).get(metric)
                row.append("" if ours is None or theirs is None
                           else f"{ours:.4f} / {theirs:.4f}\n{ours - theirs:+.4f}")  # fmt: skip
            table.append(row)
    return Table(
        "Beside the paper", table,
        "Ours / the paper's (Pap & Megyeri, ICAART 2022, Tables 1 and 2), and the difference. How "
        "long a run was trained and how it was regularised may differ from the paper.",
    )  # fmt: skip
