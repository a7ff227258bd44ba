"""The folder of files that a comparison leaves behind; docs/files.md describes each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfbs_shift.evaluation.comparing import Comparison
from tfbs_shift.evaluation.robustness import SCHEMA
from tfbs_shift.files import committed, write_rows
from tfbs_shift.reports.page import Table
from tfbs_shift.reports.tables import is_known, named, number, titled
from tfbs_shift.reports.writing import write_json, write_side_by_side

_COLUMNS = ("run", "baseline", "strategy", "metric", "difference", "low", "high", "p", "q",
            "labels_different", "labels_tested")  # fmt: skip


def write_comparison(
    comparison: Comparison,
    out: str | Path,
    *,
    about: Sequence[str] = (),
    flagfile: str | None = None,
) -> list[Table]:
    """Writes ``comparison.json``, tables, ``plots/`` and ``report.html``.

    Args:
        comparison: what ``compare`` found.
        out: folder; files of these names in it are replaced, all at once.
        about: lines that say what was run.
        flagfile: what ``flags.txt`` is to hold; None: there is none.

    Returns:
        The tables of the page beside its first: differences, repeats.
    """
    tables = comparison_tables(comparison.differences, comparison.repeats)
    with committed(Path(out).expanduser(), _FILES) as folder:
        _write(comparison, tables, folder, about)
        if flagfile is not None:
            (folder / "flags.txt").write_text(flagfile, encoding="utf-8")
    return tables


_FILES = ("flags.txt", "report.html", "plots", "differences.csv", "labels.csv",
          "comparison.json")  # fmt: skip


def _write(
    comparison: Comparison, tables: Sequence[Table], out: Path, about: Sequence[str]
) -> None:
    names = list(comparison.audits)
    write_json(
        {
            "schema": SCHEMA,
            "runs": names,
            "differences": comparison.differences,
            "repeats": comparison.repeats,
        },
        out / "comparison.json",
    )
    write_rows(out / "differences.csv", comparison.differences, _COLUMNS)
    if comparison.labels:
        write_rows(out / "labels.csv", comparison.labels)
    sources = [
        f"{name}: {figures.get('data', {}).get('source', 'data not known')}"
        for name, figures in comparison.figures.items()
    ]
    unpaired = [
        f"{name}: not known to be of the same examples as {names[0]}, so there are no paired "
        "differences"
        for name in comparison.unpaired
    ]
    first = comparison.differences[0]["metric"] if comparison.differences else ""
    write_side_by_side(
        comparison.figures,
        out,
        title=f"Shift audits of {', '.join(names)}",
        about=[*sources, *unpaired, "", *about],
        more=tables,
        differences=[row for row in comparison.differences if row["metric"] == first],
    )


def comparison_tables(
    differences: Sequence[Mapping[str, Any]],
    repeats: Sequence[Mapping[str, Any]],
) -> list[Table]:
    """Differences and repeats, as :mod:`tfbs_shift.evaluation.comparing` gives them; those of which
    there are any."""
    tables = [_differences(differences)] if differences else []
    return tables + ([_repeats(repeats)] if repeats else [])


def _differences(rows: Sequence[Mapping[str, Any]]) -> Table:
    labels, tested = (any(key in row for row in rows) for key in ("labels_tested", "p"))
    values = any(row["metric"] == "mse" for row in rows)
    differing = "outputs that differ" if values else "labels that differ"
    header = ["run", "strategy", "metric", "difference"]
    table = [header + ["p", "q"] * tested + [differing] * labels]
    for row in rows:
        metric = row["metric"]
        interval = [number(row[end], metric, 3, "+") for end in ("low", "high")]
        lines = [number(row["difference"], metric, 4, "+"), " .. ".join(interval)]
        cells = [
            row["run"],
            row["strategy"] or "(all starts)",
            titled(metric),
            "\n".join(lines if is_known(row["low"]) else lines[:1]),
        ]
        if tested:
            cells += [f"{row[key]:.2g}" if key in row else "" for key in ("p", "q")]
        if labels:
            known = "labels_tested" in row
            cells.append(f"{row['labels_different']} of {row['labels_tested']}" if known else "")
        table.append(cells)
    notes = ["95% paired bootstrap intervals."]
    if tested:
        metrics = {row["metric"] for row in rows if "p" in row}
        notes.append(f"p: {', '.join(_TESTS[name] for name in _TESTS if name in metrics)}.")
    if labels:
        of_each = f"{_TESTS['mse']} of each" if values else f"{_TESTS['accuracy']} of calls"
        notes.append(f"{differing.capitalize()}: {of_each}.")
    if tested or labels:
        corrected = " and ".join(["q"] * tested + [differing] * labels)
        notes.append(
            f"{corrected if tested else corrected.capitalize()}: corrected for the number of tests "
            "(false discovery rate; Benjamini and Hochberg)."
        )
    note = " ".join(notes)
    return Table(f"Differences from {rows[0]['baseline']}", table, note)


_TESTS = {
    "accuracy": "McNemar's exact test",
    "mse": "Wilcoxon's signed-rank test of the squared errors",
    "moved": "Wilcoxon's signed-rank test of the distances",
}
"""Of metrics that are means over examples."""


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
            table.append([", ".join(group["runs"]), named(metric), *cells])
    return Table("Repeats with other seeds", table, "Mean and standard deviation over the runs.")
