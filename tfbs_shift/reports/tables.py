"""Figures as tables: for the terminal, a spreadsheet, a page."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import Any, TextIO

import numpy as np

from tfbs_shift.data import Examples
from tfbs_shift.evaluation import Robustness
from tfbs_shift.evaluation.curves import nearest
from tfbs_shift.text import aligned

Figures = Mapping[str, Any]
"""What ``Robustness.to_dict`` returns, or ``robustness.json`` holds."""

_WIDE = {
    "right_at_every_shift": "right at every shift",
    "averaged_over_shifts": "averaged over shifts",
    "mean_over_shifts": "mean over shifts",
    "consistency": "consistency",
    "wobble": "wobble",
    "flipped": "flipped",
}
"""Figures of all starts together, and the words for them."""


def metrics(figures: Figures) -> list[str]:
    """The metrics in which more is better: accuracy, or auroc and aupr."""
    return [name for name in next(iter(figures["strategies"].values())) if name != "loss"]


def curve_metric(figures: Figures) -> str:
    """The metric that the curve is drawn of: accuracy, auroc, or the loss if it has neither."""
    point = figures["curve"][0]
    return next((name for name in metrics(figures) if name in point), "loss")


def interval(figures: Figures, *path: str) -> tuple[float, float] | None:
    """The bootstrap interval of a figure: over groups (chromosomes) where there are, else examples.

    Args:
        figures: of a network.
        path: where the figure stands in them ("strategies", "none", "accuracy").
    """
    intervals = figures.get("intervals", {})
    nested = intervals.get("groups", intervals.get("examples", {}))
    for key in path:
        if not isinstance(nested, Mapping) or key not in nested:
            return None
        nested = nested[key]
    low, high = nested
    return None if low is None or np.isnan(low) else (low, high)


def rows(audits: Mapping[str, Figures]) -> list[list[str]]:
    """A header and one row for each network and metric; a cell's second line is its interval.

    Args:
        audits: figures of each network; columns are the strategies of the first.
    """
    strategies = list(next(iter(audits.values()))["strategies"])
    several = any(len(metrics(figures)) > 1 for figures in audits.values())
    wide = [key for key in _WIDE if any(key in figures for figures in audits.values())]
    header = ["network", *(["metric"] if several else []), *strategies]
    table = [header + [_WIDE[key] for key in wide]]
    for name, figures in audits.items():
        for number, metric in enumerate(metrics(figures)):
            row = [name, *([metric] if several else [])]
            row += [_cell(figures, "strategies", one, metric) for one in strategies]
            for key in wide:
                nested = isinstance(figures.get(key), Mapping)
                if nested or not number:  # what has no metric of its own stands in the first row
                    row.append(_cell(figures, key, *([metric] if nested else [])))
                else:
                    row.append("")
            table.append(row)
    keep = [i for i in range(len(table[0])) if any(row[i] for row in table[1:])]
    return [[row[i] for i in keep] for row in table]


def columns(audits: Mapping[str, Figures]) -> list[list[str]]:
    """The table of :func:`rows` turned round, one column a network: it fits a phone."""
    header, *body = rows(audits)
    several = header[1] == "metric"
    names = [" ".join(row[: 1 + several]) for row in body]
    table = [["", *names]]
    for i in range(1 + several, len(header)):
        table.append([header[i], *(row[i] for row in body)])
    return table


def _cell(figures: Figures, *path: str) -> str:
    value: Any = figures
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    if value is None:
        return ""
    pair = interval(figures, *path)
    return f"{value:.4f}" + (f"\n{pair[0]:.3f}-{pair[1]:.3f}" if pair else "")


def text_table(audits: Mapping[str, Figures]) -> str:
    """The table of :func:`columns` for a terminal, with a line that says what it is of."""
    table = [[cell.replace("\n", "  ") for cell in row] for row in columns(audits)]
    return "\n".join([f"{caption(audits)}:", "", aligned(table)])


def write_csv(figures: Figures, file: TextIO) -> None:
    """One row a strategy, its metrics and their intervals; then what all starts together give."""
    named: dict[str, tuple[tuple[str, ...], Any]] = {
        name: (("strategies", name), v) for name, v in figures["strategies"].items()
    }
    for key in ("mean_over_shifts", "averaged_over_shifts"):
        if key in figures:
            named[key] = ((key,), figures[key])
    columns = list(next(iter(figures["strategies"].values())))
    writer = csv.writer(file, lineterminator="\n")
    header = [f"{column}{end}" for column in columns for end in ("", "_low", "_high")]
    writer.writerow(["strategy", *header])
    for name, (path, values) in named.items():
        cells: list[Any] = []
        for column in columns:
            pair = interval(figures, *path, column) or ("", "")
            cells += [values[column], *pair] if column in values else ["", "", ""]
        writer.writerow([name, *cells])


def write_curve(figures: Figures, file: TextIO) -> None:
    """One row a bound r, what the curve has of it in columns."""
    writer = csv.DictWriter(file, list(figures["curve"][0]), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(figures["curve"])


def write_examples(found: Robustness, examples: Examples, file: TextIO) -> None:
    """One row an example: what it is, its losses at No Shift and at worst, its certificate."""
    every, certificates = found.every, found.certificates
    assert every is not None and certificates is not None
    scan = every.scan
    count = len(scan.loss)
    centre = nearest(count, scan.windows, scan.allowed)
    columns: dict[str, Any] = {"example": range(count)}
    columns |= {} if examples.names is None else {"name": examples.names}
    columns |= {} if examples.intervals is None else examples.intervals._asdict()
    exclusive = every.probability is not None
    if exclusive and examples.labels.shape[1] == 2:
        columns["label"] = examples.y[:, 1]
    columns["loss"] = scan.loss[np.arange(count), centre]
    columns["worst_loss"] = scan.worst_loss
    columns["worst_shift"] = scan.worst_start - scan.windows.centre
    if every.probability is not None:
        allowed = True if scan.allowed is None else scan.allowed
        columns["probability"] = every.probability[np.arange(count), centre]
        columns["lowest"] = np.where(allowed, every.probability, np.inf).min(axis=1)
        columns["highest"] = np.where(allowed, every.probability, -np.inf).max(axis=1)
    columns["wobble"] = every.wobble
    columns["certificate"] = certificates
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([f"{v:.6g}" if isinstance(v, np.floating) else v for v in row])


def write_bed(found: Robustness, examples: Examples, file: TextIO) -> None:
    """Certificates as a BED track of the stored sequences, sorted, for a genome browser.

    The score is 1000 (r + 1) / (R + 1): 0 where the centre window is wrong already, 1000 where
    every window is right. The name ends with ``r=`` and the certificate in bp. Shuffled sequences
    (names ending in ``_shuf``) lie nowhere and are left out.
    """
    places, certificates = examples.intervals, found.certificates
    assert places is not None and certificates is not None
    largest = int(np.abs(found.windows.shifts).max())
    file.write(
        'track name="certified shift" description="largest shift (bp) within which every window '
        'is right" useScore=1\n'
    )
    for i in np.lexsort((places.start, places.chrom)).tolist():
        name = f"example_{i}" if examples.names is None else str(examples.names[i])
        if name.endswith("_shuf"):
            continue
        radius = int(certificates[i])
        score = round(1000 * (radius + 1) / (largest + 1))
        strand = "+" if examples.strand is None else examples.strand[i]
        start = max(0, int(places.start[i]))
        line = (places.chrom[i], start, places.end[i], f"{name}_r={radius}", score, strand)
        file.write("\t".join(map(str, line)) + "\n")


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


def caption(audits: Mapping[str, Figures]) -> str:
    """What the figures of :func:`rows` are of, with the names where networks differ in it."""
    lines: dict[str, list[str]] = {}
    for name, figures in audits.items():
        lines.setdefault(_geometry(figures), []).append(name)
    parts = [line if len(lines) == 1 else f"{', '.join(names)}: {line}"
             for line, names in lines.items()]  # fmt: skip
    intervals = any("intervals" in figures for figures in audits.values())
    return "; ".join(parts) + ("; beside each figure its 95% interval" if intervals else "")


def _geometry(figures: Figures) -> str:
    what = " and ".join(metrics(figures))
    if "labels" in figures:
        scored = figures["labels"] - len(figures["labels_left_out"])
        what += f" (mean of {scored} of {figures['labels']} labels, which have both classes)"
    if figures.get("average_strands"):
        what += ", predictions of both strands averaged,"
    return (
        f"{what} of {figures['examples']} examples, window {figures['window']} of "
        f"{figures['sequence_length']} bp, shifts {figures['shifts'][0]:+d} .. "
        f"{figures['shifts'][-1]:+d} bp"
    )
