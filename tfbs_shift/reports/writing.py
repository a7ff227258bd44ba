"""The folder of files that an audit leaves behind."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tfbs_shift.data import Examples
from tfbs_shift.evaluation import Robustness
from tfbs_shift.files import replacing
from tfbs_shift.reports import plots, tables
from tfbs_shift.reports.page import page
from tfbs_shift.reports.tables import Figures

_CURVE = (
    "{} against the largest shift allowed: each window moves to where its loss is highest within "
    "that many bp of the centre."
)
_PROFILE = (
    "{} at each shift, all windows moved alike (points), and with each window at its own worst "
    "shift (dashed). A flat line of points hides what the dashed line shows."
)


def write_audit(
    found: Robustness, examples: Examples, out: Path, *, title: str, about: Sequence[str]
) -> None:
    """Writes ``robustness.json`` and ``.csv``, ``shifts.npz``, ``plots/*.png``, ``report.html``.

    ``shifts.npz`` holds starts (S,), shifts (S,), for each strategy the start that it chose
    (``start_<strategy>`` (N,)), loss (N, S), worst_start and worst_loss (N,) if every start was
    run, and where known right (N, S), names (N,), chrom, start, end (N,; 0-based half-open) and
    strand. For several labels ``labels.csv`` has the areas of each.

    Args:
        found: the audit.
        examples: what it was made on, in the same order.
        out: folder; files of these names in it are replaced, each as a whole.
        title: name of the network.
        about: lines that say what was run.
    """
    figures = found.to_dict()
    _write_json(figures, out / "robustness.json")
    with replacing(out / "robustness.csv") as path, path.open("w", newline="") as file:
        tables.write_csv(figures, file)
    if found.scores:
        with replacing(out / "labels.csv") as path, path.open("w", newline="") as file:
            tables.write_labels(found, file)
    arrays: dict[str, Any] = {"starts": found.windows.starts, "shifts": found.windows.shifts}
    arrays |= {f"start_{name}": starts for name, starts in found.starts.items()}
    if found.scan is not None:
        arrays |= {n: getattr(found.scan, n) for n in ("loss", "worst_start", "worst_loss")}
    arrays |= {
        "right": found.right,
        "names": examples.names,
        "strand": examples.strand,
        **_interval_columns(examples),
    }
    with replacing(out / "shifts.npz") as path:
        np.savez_compressed(path, **{k: v for k, v in arrays.items() if v is not None})
    drawn = {}
    if found.scan is not None:
        metric = _metric(figures).capitalize()
        drawn = {
            "curve": (_CURVE.format(metric), plots.curve({title: figures})),
            "profile": (_PROFILE.format(metric), plots.profile(found)),
        }
    _write_page(f"Shift audit of {title}", _finding(title, figures), {title: figures}, drawn, out,
                about)  # fmt: skip


def write_comparison(
    audits: Mapping[str, Figures], out: Path, *, title: str, about: Sequence[str]
) -> None:
    """Writes ``report.html`` and ``plots/curve.png`` for several networks side by side.

    Args:
        audits: the figures of each network, as ``Robustness.to_dict`` gives them.
        out: folder.
        title: heading of the page.
        about: lines that say what was run.
    """
    metric = _metric(next(iter(audits.values()))).capitalize()
    finding = " ".join(_finding(name, figures) for name, figures in audits.items())
    drawn = {"curve": (_CURVE.format(metric), plots.curve(audits))}
    _write_page(title, finding, audits, drawn, out, about)


def _write_page(
    title: str,
    finding: str,
    audits: Mapping[str, Figures],
    drawn: Mapping[str, tuple[str, Figure]],
    out: Path,
    about: Sequence[str],
) -> None:
    for name, (_, figure) in drawn.items():
        with replacing(out / "plots" / f"{name}.png") as path:
            figure.savefig(path, dpi=160)
    html = page(title, finding, tables.rows(audits), dict(drawn.values()), about)
    with replacing(out / "report.html") as path:
        path.write_text(html, encoding="utf-8")


def _write_json(figures: Figures, path: Path) -> None:
    def plain(value: Any) -> Any:  # JSON has no NaN
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    with replacing(path) as file:
        file.write_text(json.dumps(plain(figures), indent=1, allow_nan=False) + "\n")


def _interval_columns(examples: Examples) -> dict[str, np.ndarray]:
    return {} if examples.intervals is None else examples.intervals._asdict()


def _metric(figures: Figures) -> str:
    return next(name for name in figures["curve"][0] if name != "max_shift")


def _finding(name: str, figures: Figures) -> str:
    if not figures["curve"] or _metric(figures) == "loss":
        metric, *_ = tables.metrics(figures)
        shown = ", ".join(f"{v[metric]:.3f} under {n}" for n, v in figures["strategies"].items())
        scored = figures["labels"] - len(figures["labels_left_out"])
        mean = f"mean of {scored} of {figures['labels']} labels"
        return f"{name}: {metric.upper()} ({mean}) {shown}."
    metric = _metric(figures)
    centre, worst = (figures["curve"][i][metric] for i in (0, -1))
    bound = figures["curve"][-1]["max_shift"]
    return (
        f"{name}: {metric} {centre:.3f} at the centre window, {worst:.3f} when each window moves "
        f"to its worst position within {bound} bp."
    )
