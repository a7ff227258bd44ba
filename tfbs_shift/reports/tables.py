"""Figures as tables: for the terminal, a spreadsheet, a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tfbs_shift.data import Examples
from tfbs_shift.evaluation import Robustness
from tfbs_shift.tasks import Classes, Values
from tfbs_shift.text import aligned, one_line
from tfbs_shift.windows import nearest

Figures = Mapping[str, Any]
"""What ``Robustness.to_dict`` returns, or ``robustness.json`` holds."""
Row = dict[str, Any]

_OVER_STARTS = ("averaged_over_shifts", "mean_over_shifts")
"""Figures of all starts together that have metrics of their own."""
_OF_ALL_STARTS = ("consistency", "wobble", "flipped", "reliability")
"""Figures of all starts together that are one number, as far as a task has them."""


_NAMES = {
    "auroc": "AUROC",
    "aupr": "AUPR",
    "mcc": "MCC",
    "mse": "MSE",
    "pearson": "Pearson",
    "spearman": "Spearman",
}
"""Metrics that are written otherwise than they are called."""
_WITH_UNIT = ("mse", "loss", "wobble")


def metrics(figures: Figures) -> list[str]:
    """All metrics but the loss; the first stands for all."""
    return [name for name in next(iter(figures["strategies"].values())) if name != "loss"]


def named(metric: str) -> str:
    """A metric as people write it: accuracy, AUROC, Pearson."""
    return _NAMES.get(metric, metric)


def capitalised(metric: str) -> str:
    """A metric as a sentence begins with it."""
    return _NAMES.get(metric, metric.capitalize())


def leading(figures: Figures) -> str:
    """The metric that stands for all: the first that is known, else the loss."""
    first = next(iter(figures["strategies"].values()))
    return next((name for name in metrics(figures) if is_known(first[name])), "loss")


def titled(metric: str) -> str:
    """A metric as an axis or a row of its own names it."""
    more = {"pearson": " correlation", "spearman": " correlation", "mse": " (less is better)"}
    more["moved"] = " (standard deviations)"
    return named(metric) + more.get(metric, "")


def number(value: float, metric: str, digits: int = 4, sign: str = "") -> str:
    """A figure with so many digits after the point; in all, where it has a unit and so may be very
    small or large."""
    plain = metric not in _WITH_UNIT or not value or 5 * 10.0**-digits <= abs(value) < 1e5
    return f"{value:{sign}.{digits}{'f' if plain else 'g'}}"


def interval(figures: Figures, *path: str) -> tuple[float, float] | None:
    """The bootstrap interval of a figure: over groups (chromosomes) where there are, else examples.

    Args:
        figures: of a network.
        path: where the figure stands in them ("strategies", "none", "accuracy").
    """
    intervals = figures.get("intervals", {})
    low, high = _at(intervals.get("groups", intervals.get("examples", {})), path) or (None, None)
    return (low, high) if is_known(low) else None


def is_known(value: float | None) -> bool:
    """Whether there is a figure: of one class there is no AUROC, in JSON null."""
    return value is not None and not np.isnan(value)


def table(audits: Mapping[str, Figures]) -> list[list[str]]:
    """A header and one row a figure, one column a network; a cell's second line is its interval.

    Args:
        audits: figures of each network; rows are the metrics and strategies of the first.
    """
    first = next(iter(audits.values()))
    paths = [("strategies", name) for name in first["strategies"]]
    paths += [(name,) for name in _OVER_STARTS]
    rows = [["", *audits]]
    for number, metric in enumerate(metrics(first)):
        for path in paths:
            rows.append(_row(audits, f"{named(metric)}, {_words(path[-1])}", (*path, metric)))
        if not number:
            rows.append(_row(audits, "right at every shift", ("right_at_every_shift",)))
            cells = [_certified(figures) for figures in audits.values()]
            rows.append(["certified at every shift", *cells])
    rows += [_row(audits, name, (name,)) for name in _OF_ALL_STARTS]
    return [row for row in rows if any(row[1:])]


def _words(name: str) -> str:
    return name.replace("_", " ") if name in _OVER_STARTS else name


def _row(audits: Mapping[str, Figures], label: str, path: Sequence[str]) -> list[str]:
    return [label, *(_cell(figures, path) for figures in audits.values())]


def _cell(figures: Figures, path: Sequence[str]) -> str:
    value = _at(figures, path)
    if not is_known(value):
        return ""
    pair = interval(figures, *path)
    ends = [number(end, path[-1], 3) for end in pair or ()]
    return number(value, path[-1]) + (f"\n{ends[0]}..{ends[1]}" if ends else "")


def _certified(figures: Figures) -> str:
    """The share of examples certified at every shift; "" where that is being right."""
    if "right_at_every_shift" in figures or "certificates" not in figures:
        return ""
    return f"{certified_share(figures):.4f}"


def certified_share(figures: Figures) -> float:
    """The share of examples whose certificate is of every shift."""
    radius, count = (figures["certificates"][name] for name in ("radius", "examples"))
    largest = max(map(abs, figures["shifts"]))
    return dict(zip(radius, count, strict=True)).get(largest, 0) / figures["examples"]


def _at(nested: Any, path: Sequence[str]) -> Any:
    """What stands at a path; None if nothing does."""
    for key in path:
        nested = nested.get(key) if isinstance(nested, Mapping) else None
    return nested


def text_table(audits: Mapping[str, Figures]) -> str:
    """The :func:`table` for a terminal, with a line that says what it is of."""
    cells = [[cell.replace("\n", "  ") for cell in row] for row in table(audits)]
    return "\n".join([f"{caption(audits)}:", "", aligned(cells)])


def strategy_rows(figures: Figures) -> Iterator[Row]:
    """One a strategy, its metrics and their intervals; then what all starts together give."""
    paths = [("strategies", name) for name in figures["strategies"]]
    paths += [(name,) for name in ("mean_over_shifts", "averaged_over_shifts") if name in figures]
    for path in paths:
        row: Row = {"strategy": path[-1]}
        for metric in next(iter(figures["strategies"].values())):
            value = _at(figures, (*path, metric))
            low, high = interval(figures, *path, metric) or ("", "")
            row[metric] = value if is_known(value) else ""
            row |= {f"{metric}_low": low, f"{metric}_high": high}
        yield row


def example_rows(audit: Robustness, examples: Examples) -> Iterator[Row]:
    """One an example: what it is, its losses at No Shift and at worst, its certificate."""
    scan = audit.scan
    assert scan is not None
    count = len(scan.loss)
    everyone, centre = np.arange(count), nearest(count, scan.windows, scan.allowed)
    columns: dict[str, Any] = {"example": range(count)}
    columns |= {} if examples.names is None else {"name": examples.names}
    columns |= {} if examples.intervals is None else examples.intervals._asdict()
    columns |= _label_columns(audit, examples)
    columns["loss"] = scan.loss[everyone, centre]
    columns["worst_loss"] = scan.worst_loss
    columns["worst_shift"] = scan.worst_start - scan.windows.centre
    if "moved" in audit.every:
        columns["moved"] = audit.every["moved"][everyone, scan.worst_start - scan.starts[0]]
    for name in ("probability", "prediction"):
        if name in audit.every:
            values = audit.every[name]
            allowed = True if scan.allowed is None else scan.allowed
            columns[name] = values[everyone, centre]
            columns["lowest"] = np.where(allowed, values, np.inf).min(axis=1)
            columns["highest"] = np.where(allowed, values, -np.inf).max(axis=1)
    columns["wobble"] = audit.examples["wobble"]
    columns["certificate"] = audit.certificates
    for row in zip(*columns.values(), strict=True):
        cells = (f"{v:.6g}" if isinstance(v, np.floating) and is_known(v) else v for v in row)
        yield dict(zip(columns, cells, strict=True))


def _label_columns(audit: Robustness, examples: Examples) -> dict[str, Any]:
    """The label of each example, where it has one."""
    if isinstance(audit.task, Classes) and examples.two_classes():
        return {"label": np.asarray(examples.labels)[:, 1]}
    if isinstance(audit.task, Values) and audit.task.width == 1:
        return {"label": np.asarray(examples.labels).reshape(-1)}
    return {}


def label_rows(audit: Robustness) -> Iterator[Row]:
    """One a label or output: its name, its positives, what is known of it under each strategy."""
    first = next(iter(audit.per_label.values()))
    names = audit.label_names or range(audit.task.width)
    for k, name in enumerate(names):
        row: Row = {"label": name}
        row |= {"positives": int(first["positives"][k])} if "positives" in first else {}
        for strategy, per_label in audit.per_label.items():
            for metric in (one for one in per_label if one != "positives"):
                value = per_label[metric][k]
                row[f"{metric}_{strategy}"] = "" if np.isnan(value) else f"{value:.6f}"
        yield row


def bed_lines(audit: Robustness, examples: Examples) -> Iterator[str]:
    """Certificates as a BED track of the stored sequences, sorted, for a genome browser.

    The score is 1000 (r + 1) / (R + 1): 0 where the centre window is wrong already, 1000 where
    every window is right (or keeps what the centre predicts). The name ends with ``r=`` and the
    certificate in bp. Shuffled sequences (names ending in ``_shuf``) lie nowhere and are left out.
    """
    places, certificates = examples.intervals, audit.certificates
    assert places is not None and certificates is not None
    largest = int(np.abs(audit.windows.shifts).max())
    sizes = examples.chromosomes or {}
    yield (
        'track name="certified shift" description="largest shift (bp) within which every window '
        f'{audit.task.certified}" useScore=1'
    )
    for i in np.lexsort((places.start, places.chrom)).tolist():
        name = f"example_{i}" if examples.names is None else str(examples.names[i])
        if name.endswith("_shuf"):
            continue
        radius = int(certificates[i])
        score = round(1000 * (radius + 1) / (largest + 1))
        strand = "+" if examples.strand is None else examples.strand[i]
        chrom, start, end = (column[i] for column in places)
        start, end = max(0, start), min(end, sizes.get(chrom, end))  # N is no part of a chromosome
        line = (chrom, start, end, f"{name}_r={radius}", score, strand)
        yield "\t".join(one_line(str(field)) for field in line)


def caption(audits: Mapping[str, Figures]) -> str:
    """What the figures of :func:`table` are of, with the names where networks differ in it."""
    parts = [part for about in (_geometry, judged) for part in _of_each(audits, about)]
    intervals = any("intervals" in figures for figures in audits.values())
    return "; ".join(parts) + ("; beside each figure its 95% interval" if intervals else "")


def _of_each(audits: Mapping[str, Figures], about: Callable[[Figures], str]) -> Iterator[str]:
    """What is said about audits, once if it is the same of all."""
    lines: dict[str, list[str]] = {}
    for name, figures in audits.items():
        lines.setdefault(about(figures), []).append(name)
    for line, names in lines.items():
        if line:
            yield line if len(lines) == 1 else f"{', '.join(names)}: {line}"


def _geometry(figures: Figures) -> str:
    first = next(iter(figures["strategies"].values()))
    known = [name for name in metrics(figures) if is_known(first[name])]
    *others, last = map(named, known or metrics(figures))
    what = f"{', '.join(others)} and {last}" if others else last
    if figures["task"] == "unlabelled":
        what += " (standard deviations of the predictions at the centre)"
    elif of_labels(figures):
        both = ", which have both classes" if figures["task"] == "labels" else ""
        what += f" ({of_labels(figures)}{both})"
    if figures.get("average_strands"):
        what += ", predictions of both strands averaged,"
    return (
        f"{what} of {figures['examples']} examples, window {figures['window']} of "
        f"{figures['sequence_length']} bp, shifts {figures['shifts'][0]:+d} .. "
        f"{figures['shifts'][-1]:+d} bp"
    )


def judged(figures: Figures) -> str:
    """Within what, or from where on, predictions count as the same; "" at 0.5, as always."""
    if figures.get("tolerance"):
        return f"certified within {tolerance(figures)}" if "certificates" in figures else ""
    threshold = figures.get("threshold", 0.5)
    return "" if threshold == 0.5 else f"called above {threshold:g}"


def tolerance(figures: Figures) -> str:
    """That of values, or the lowest and highest of several outputs."""
    low, high = min(figures["tolerance"]), max(figures["tolerance"])
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def of_labels(figures: Figures) -> str:
    """Of how many labels or outputs the metrics are means; "" where they are of one thing."""
    what = {"labels": "labels", "values": "outputs"}.get(figures["task"], "")
    if not what or figures[what] == 1:
        return ""
    count, left_out = figures[what], len(figures["labels_left_out"])
    some = f"{count - left_out} of {count}" if left_out or what == "labels" else f"{count}"
    return f"mean of {some} {what}"
