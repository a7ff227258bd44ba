"""The folder of files that an audit leaves behind; docs/files.md describes each."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tfbs_shift.data import Examples
from tfbs_shift.errors import InputError
from tfbs_shift.evaluation import Robustness
from tfbs_shift.evaluation.comparing import plain_figures, signed
from tfbs_shift.files import committed, replacing, sha256, write_rows
from tfbs_shift.reports import plots, tables
from tfbs_shift.reports.page import Table, page
from tfbs_shift.reports.tables import Figures
from tfbs_shift.tasks import described_by

Plotted = dict[str, dict[str, tuple[str, Figure]]]
"""Plots by heading and file name, with their captions."""

_MEANINGS = {
    "none": "the centre window (with protected spans: the allowed window nearest to it).",
    "random": "a uniform start for each example, one draw.",
    "worst": "for each example the window of highest loss; every start was tried, so nothing worse "
    "exists among these windows of these sequences. It says nothing of other sequences.",
    "worst_of_n": "the highest loss among n starts drawn for each example. (With --protocol=paper, "
    "both as the paper's code chooses them: its loss is clamped, its starts are drawn once for "
    "all.)",
    "accuracy, MCC": "of the calls: the share that are right, and Matthews' correlation with the "
    "labels (0: no better than chance). Of two classes the second is called where its "
    "probability is above the threshold, 0.5 unless another was given.",
    "AUROC, AUPR": "areas under the ROC curve and, by trapezoids, the precision-recall curve: "
    "how well the probability ranks bound above unbound, at any threshold (several labels: means "
    "over those that have both classes).",
    "Pearson, Spearman": "correlations of predictions and labels, of values and of ranks (several "
    "outputs: means over those that have one).",
    "MSE": "mean squared error, over examples and outputs; lower is better.",
    "moved": "how far a prediction is from that of the same example at the centre, on average, in "
    "standard deviations of the predictions at the centre over examples (several outputs: a mean "
    "over them). Worst is the window whose prediction is furthest from the centre's.",
    "right at every shift": "the fraction of examples classified right wherever the window lies.",
    "certified at every shift": "the share of examples whose certified radius is the largest shift "
    "there is.",
    "averaged over shifts": "the prediction averaged over all windows, a cheap defence.",
    "mean over shifts": "what a uniform random shift gives on average.",
    "consistency": "how often two independent random shifts of an example agree on its class. A "
    "network that always says the same is consistent and useless: read it beside the accuracy.",
    "wobble": "highest minus lowest prediction (a probability, or a value in its own unit) over "
    "the windows of an example, on average (several labels or outputs: a mean over them).",
    "flipped": "the share of examples (several labels: of their labels) whose class at some shift "
    "is not that at the centre.",
    "reliability": "the share of the variance of predictions that lies between examples and not "
    "between the windows of one example (intraclass correlation, one-way; several outputs: a mean "
    "over them). 1: the window does not matter; 0 or below: it matters more than the example.",
    "certified radius": "for one example the largest r such that every window shifted by at most r "
    "bp is right (several labels, or none: is called as at the centre; values: predicts what the "
    "centre does, within the tolerance); by enumeration, so exact.",
    "interval": "95% percentile bootstrap, examples drawn anew, or whole chromosomes where "
    "coordinates are known.",
}


def write_audit(
    audit: Robustness,
    examples: Examples,
    out: str | Path,
    *,
    title: str = "model",
    about: Sequence[str] = (),
    flagfile: str | None = None,
) -> None:
    """Writes ``robustness.json``, tables, ``shifts.npz``, ``plots/`` and ``report.html``.

    All take their places at once, in the end (:func:`tfbs_shift.files.committed`). The first has
    the digests of what ``compare`` reads, and its own, so that files of another audit are known.

    Args:
        audit: the audit.
        examples: what it was made on, in the same order; their checksum is written, so that
            ``compare`` knows them again.
        out: folder; files of these names in it are replaced, or removed where this audit has none.
        title: name of the network.
        about: lines that say what was run, after what it was made with.
        flagfile: what ``flags.txt`` is to hold; None: there is none.

    Raises:
        InputError: the audit is of another number of examples; nothing is written.
    """
    count = len(next(iter(audit.starts.values())))
    if count != len(examples):
        raise InputError(
            f"{examples.source}: {len(examples)} examples, but the audit is of {count}; want "
            "those that it was made on"
        )
    figures = {"data": examples.described()} | audit.to_dict()
    with committed(Path(out).expanduser(), _FILES) as folder:
        _write_arrays(audit, examples, folder)
        read = [folder / "shifts.npz", *sorted((folder / "predictions").glob("*.npy"))]
        digests = {str(file.relative_to(folder)): sha256(file) for file in read}
        write_json(signed(figures | {"files": digests}), folder / "robustness.json")
        _write_tables(audit, examples, figures, folder)
        _write_report(audit, examples, figures, folder, title, about)
        if flagfile is not None:
            (folder / "flags.txt").write_text(flagfile, encoding="utf-8")


_FILES = (
    "flags.txt", "report.html", "plots", "robustness.csv", "labels.csv", "curve.csv",
    "examples.csv", "certificates.bed", "shifts.npz", "predictions", "robustness.json",
)  # fmt: skip
"""What an audit can have, that which tells that it is whole last."""


def _write_arrays(audit: Robustness, examples: Examples, out: Path) -> None:
    with replacing(out / "shifts.npz") as path:
        np.savez_compressed(path, **_arrays(audit, examples))
    if audit.task.scores_apart:
        _write_predictions(audit, out / "predictions")


def _write_tables(audit: Robustness, examples: Examples, figures: Figures, out: Path) -> None:
    every, placed = bool(audit.every), examples.intervals is not None
    tables_of = {
        "robustness.csv": tables.strategy_rows(figures),
        "labels.csv": tables.label_rows(audit) if audit.task.scores_apart else (),
        "curve.csv": figures["curve"],
        "examples.csv": tables.example_rows(audit, examples) if every else (),
    }
    for name, rows in tables_of.items():
        _write_or_remove(out / name, rows, lambda path, rows, row: write_rows(path, rows, [*row]))
    lines = tables.bed_lines(audit, examples) if every and placed else ()
    _write_or_remove(out / "certificates.bed", lines, _write_lines)


def _write_report(
    audit: Robustness,
    examples: Examples,
    figures: Figures,
    out: Path,
    title: str,
    about: Sequence[str],
) -> None:
    """The page and its plots."""
    plotted = _plotted(audit, examples, figures, title) if audit.every else {}
    more = [_checks(figures)]
    if figures.get("controls"):
        more.insert(0, _controls(figures))
    _write_page(
        f"Shift audit of {title}",
        _finding(title, figures),
        [check["message"] for check in figures["checks"] if not check["passed"]],
        [Table("", tables.table({title: figures}), f"{tables.caption({title: figures})}."), *more],
        plotted,
        out,
        [
            *audit.provenance,
            f"predictions are judged as {audit.task.name}: {audit.reason}",
            *([""] if about else []),
            *about,
        ],
    )


def _write_or_remove(
    path: Path, rows: Iterable[Any], write: Callable[[Path, Iterable[Any], Any], None]
) -> None:
    """Writes rows as they come; without any, removes what an earlier audit left in this folder.

    Args:
        path: the file.
        rows: all alike; of many examples they are not held at once.
        write: of the path, the rows, and the first of them.
    """
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        path.unlink(missing_ok=True)
    else:
        write(path, itertools.chain([first], rows), first)


def _write_lines(path: Path, lines: Iterable[str], _: str) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def _write_predictions(audit: Robustness, folder: Path) -> None:
    """What ``compare`` needs of several labels or outputs: files they were made in, or copies."""
    folder.mkdir()
    kept = {f"predictions_{name}": columns["scores"] for name, columns in audit.chosen.items()}
    for name, values in (kept | _over_starts(audit)).items():
        path = folder / f"{name}.npy"
        if isinstance(values, np.memmap) and Path(values.filename).name == path.name:
            values.flush()
            with contextlib.suppress(OSError):  # no links there
                os.link(values.filename, path)
        if not path.exists():
            with replacing(path) as temporary:
                np.save(temporary, values)


def _over_starts(audit: Robustness) -> dict[str, np.ndarray]:
    """What reliability is made of."""
    names = ("mean", "variance") if audit.every else ()
    return {name: audit.examples[name] for name in names}


def write_side_by_side(
    audits: Mapping[str, Figures],
    out: str | Path,
    *,
    title: str = "Shift audits",
    about: Sequence[str] = (),
    more: Sequence[Table] = (),
    differences: Sequence[Mapping] = (),
) -> None:
    """Writes ``report.html`` and ``plots/`` for several networks side by side.

    Args:
        audits: the figures of each network, as ``Robustness.to_dict`` gives them.
        out: folder.
        title: heading of the page.
        about: lines that say what was run.
        more: tables to put after the plots.
        differences: rows to plot, of one metric.
    """
    out = Path(out).expanduser()
    first = next(iter(audits.values()))
    plotted: Plotted = {}
    if all(figures["curve"] for figures in audits.values()):
        plotted["Robustness curves"] = {
            name: (_curve_caption(metric, first), plots.curve(audits, metric))
            for name, metric in _curves(first).items()
        }
    if differences:
        metric, baseline = differences[0]["metric"], differences[0]["baseline"]
        caption = (
            f"Difference in {tables.named(metric)} from {baseline}, with paired 95% intervals."
        )
        plotted["Differences"] = {"differences": (caption, plots.differences(differences))}
    warnings = [
        f"{name}: {check['message']}"
        for name, figures in audits.items()
        for check in figures.get("checks", [])
        if not check["passed"]
    ]
    lead = [text for name, figures in audits.items() for text in _finding(name, figures)[:1]]
    table = Table("", tables.table(audits), f"{tables.caption(audits)}.")
    _write_page(title, lead, warnings, [table, *more], plotted, out, about)


def write_json(figures: Figures, path: Path) -> None:
    """Writes figures as JSON; what is no number becomes null."""
    with replacing(path) as file:
        file.write_text(json.dumps(plain_figures(figures), indent=1, allow_nan=False) + "\n")


def _arrays(audit: Robustness, examples: Examples) -> dict[str, Any]:
    """What ``shifts.npz`` holds."""
    arrays: dict[str, Any] = {"starts": audit.windows.starts, "shifts": audit.windows.shifts}
    for strategy, columns in audit.chosen.items():
        names = ("start", *audit.task.columns)
        arrays |= {f"{name}_{strategy}": columns[name] for name in names}
    if audit.scan is not None:
        arrays |= {n: getattr(audit.scan, n) for n in ("worst_start", "worst_loss")}
        arrays |= audit.every | {"wobble": audit.examples["wobble"]}
        arrays |= {"allowed": audit.allowed, "certificate": audit.certificates}
        arrays |= {} if audit.task.scores_apart else _over_starts(audit)
    labels = None if examples.labels is None else np.asarray(examples.labels)
    arrays |= {"labels": labels, "names": examples.names}
    arrays["strand"] = examples.strand
    arrays["label_names"] = None if audit.label_names is None else np.array(audit.label_names)
    arrays |= {} if examples.intervals is None else examples.intervals._asdict()
    return {name: array for name, array in arrays.items() if array is not None}


def _curves(figures: Figures) -> dict[str, str]:
    """The metrics that curves are drawn of, by file name: the first; AUROC or MSE if it is not."""
    first, point = tables.leading(figures), figures["curve"][0]
    more = [m for m in ("auroc", "mse") if m != first and tables.is_known(point.get(m))]
    return {"curve": first} | {f"curve_{metric}": metric for metric in more}


def _plotted(audit: Robustness, examples: Examples, figures: Figures, title: str) -> Plotted:
    """The plots of an audit, by heading and file name, with their captions."""
    certified, where = figures["certificates"], figures["worst_shifts"]
    what, profiled = audit.task.shown, next(iter(audit.task.means), "loss")
    shown = _SHOWN.get(what, what)
    edges = ""
    if where["at_the_edges"] is not None:
        edges = (
            f" {where['at_the_edges']:.0%} lie at the two ends of the range, where "
            f"{where['at_the_edges_if_anywhere']:.0%} would if all shifts were alike."
        )
    plotted: Plotted = {
        "Robustness curve": {
            name: (_curve_caption(metric, figures), plots.curve({title: figures}, metric))
            for name, metric in _curves(figures).items()
        },
        "Certificates": {
            "certificates": (
                "Examples by certified radius: the largest shift within which every window "
                f"{audit.task.certified}. Median {certified['median']:g} bp.",
                plots.certificates(audit),
            ),
        },
        "Where shifts hurt": {
            "worst_shifts": (f"Where the worst window of each example lies.{edges}",
                             plots.worst_shifts(figures)),
            "profile": (
                f"{tables.capitalised(profiled)} at each shift, all windows moved alike "
                "(points), and with each window at its own worst shift (dashed). A flat line of "
                "points hides what the dashed line shows.",
                plots.profile(audit, profiled),
            ),
            "distance": (
                f"Mean change of the {shown.lower()} between two windows of an example, by their "
                "distance."
                + _phase(figures),
                plots.distance(audit),
            ),
            "heat_map": (
                ("Probability of class 1" if what == "probability" else shown)
                + " of examples at every shift (evenly spread ones of all, the least certified on "
                "top).",
                plots.heat_map(audit),
            ),
        },
    }  # fmt: skip
    titled = _examples_shown(audit, examples)
    caption = "Single examples: " + "; ".join(titled) + "."
    if not audit.task.probabilities:
        caption += " Shaded: what is within the tolerance of the prediction at the centre."
    plotted["Single examples"] = {"examples": (caption, plots.examples(audit, titled))}
    return plotted


def _curve_caption(metric: str, figures: Figures) -> str:
    """Says what band there is: of a mean from exact moments, of a statistic from draws."""
    point = figures["curve"][0]
    worst = "points; band: 95% bootstrap interval" if f"{metric}_low" in point else "points"
    mean = metric in described_by(figures).means
    draws = "95% of draws" if mean else "lowest and highest draw"
    random = f" or at random (dashed; band: {draws})" if f"random_{metric}" in point else ""
    return (
        f"{tables.capitalised(metric)} when each window may move by up to r bp: to where its loss "
        f"is highest ({worst}){random}."
    )


def _examples_shown(audit: Robustness, examples: Examples) -> dict[str, int]:
    """Numbers of the examples that are drawn, by title."""
    names, certificates = examples.names, audit.certificates
    assert certificates is not None
    chosen = {"the most fragile": audit.fragile, "the most robust": audit.robust}
    chosen |= {f"example {i}": i for i in audit.shown}
    return {
        f"{what}: {names[i] if names is not None else f'example {i}'}"
        + f", certified {certificates[i]} bp": i
        for what, i in chosen.items()
        if i is not None
    }


def _phase(figures: Figures) -> str:
    phase = figures["phase"]
    if not phase or phase["explained"] is None:
        return ""
    return (
        f" The shift modulo the network's stride ({phase['stride']} bp) explains "
        f"{phase['explained']:.0%} of the variance of losses within examples; "
        f"{phase['explained_by_chance']:.0%} would be chance."
    )


def _write_page(
    title: str,
    finding: Sequence[str],
    warnings: Sequence[str],
    shown: Sequence[Table],
    plotted: Plotted,
    out: Path,
    about: Sequence[str],
) -> None:
    names = {name for section in plotted.values() for name in section}
    for file in (out / "plots").glob("*"):
        if file.suffix in (".png", ".svg") and file.stem not in names:
            file.unlink()  # of an earlier audit in this folder
    for section in plotted.values():
        for name, (_, figure) in section.items():
            for suffix in (".png", ".svg"):
                with replacing(out / "plots" / f"{name}{suffix}") as path:
                    figure.savefig(path, dpi=160, metadata={"Date": None} if suffix == ".svg"
                                   else None)  # fmt: skip
    figures = {heading: dict(section.values()) for heading, section in plotted.items()}
    used = {cell.lower() for table in shown for row in table.rows for cell in row[:1]}
    meanings = {
        word: text for word, text in _MEANINGS.items() if word in _ALWAYS or _is_used(word, used)
    }
    html = page(title, finding, warnings, shown, figures, meanings, about)
    with replacing(out / "report.html") as path:
        path.write_text(html, encoding="utf-8")


_ALWAYS = ("certified radius", "interval")
_SHOWN = {
    "loss": "Loss",
    "prediction": "Prediction",
    "moved": "Distance from the centre's prediction",
}


def _is_used(words: str, cells: Iterable[str]) -> bool:
    """Whether a word, or one of several, stands in the first column of some table."""
    names = ["worst_of_"] if words == "worst_of_n" else words.lower().split(", ")
    return any(name in cell for name in names for cell in cells)


def _controls(figures: Figures) -> Table:
    rows = [["input", "confidence", "called bound", "detection AUROC"]]
    for name, one in figures["controls"].items():
        detection = f"{one['detection']:.3f}" if "detection" in one else ""
        rows.append([name, f"{one['confidence']:.3f}", f"{one['called']:.3f}", detection])
    return Table(
        "Inputs that are no genome",
        rows,
        "Confidence: the highest probability, on average. Detection: how well it tells real "
        "windows from these inputs (0.5: not at all; lower: the network is surer of what is no "
        "sequence). "
        "shuffled: bases in random order; dinucleotide: shuffled with every dinucleotide count "
        "kept; uniform: 1/4 in each channel; random: every base uniform.",
    )


def _constant(figures: Figures, whole: int) -> str:
    """How many examples are predicted alike at every shift."""
    count = figures["examples"]
    share = f"{whole / count:.1%} of {count} examples"
    if "flipped" in figures:
        calls = "label calls" if "labels" in figures else "calls"
        return (
            f"{share} are called at every shift as at the centre; {figures['flipped']:.1%} of "
            f"{calls} flip at some shift."
        )
    tolerance, relative = figures["tolerance"], figures["tolerance_is_relative"]
    tenth = "a tenth of the standard deviation of {} predictions at the centre"
    if len(tolerance) > 1 and relative:
        within = f"each output within {tenth.format('its')} ({tables.tolerance(figures)})"
    else:
        within = f"within {tolerance[0]:.3g}" + (f", {tenth.format('the')}" if relative else "")
    return f"{share} keep at every shift what is predicted at the centre, {within}."


def _checks(figures: Figures) -> Table:
    rows = [["check", "what was seen"]]
    rows += [
        [f"{'passed' if one['passed'] else 'WARNING'}: {one['name']}", one["message"]]
        for one in figures["checks"]
    ]
    return Table("Self-checks", rows, prose=True)


def _finding(name: str, figures: Figures) -> list[str]:
    """The finding in a sentence or two, each a paragraph."""
    metric = tables.leading(figures)
    what = tables.capitalised(metric)
    if metric == "moved":
        what = "Predictions moved, in standard deviations between examples,"
    elif metric == "pearson":
        what += " correlation"
    if metric != "loss" and tables.of_labels(figures):
        what += f" ({tables.of_labels(figures)})"
    shown = ", ".join(f"{tables.number(v[metric], metric, 3)} under {n}"
                      for n, v in figures["strategies"].items()
                      if tables.is_known(v[metric]))  # fmt: skip
    if not figures["curve"]:
        return [f"{name}: {what} {shown}."]
    bound = figures["curve"][-1]["max_shift"]
    lead = [f"{name}: {what} {shown}; windows move by at most {bound} bp."]
    certified = figures["certificates"]
    whole = dict(zip(certified["radius"], certified["examples"], strict=True)).get(bound, 0)
    if "right_at_every_shift" in figures:
        lead.append(
            f"{whole / figures['examples']:.1%} of {figures['examples']} examples are right at "
            f"every shift; {figures['flipped']:.1%} change their class at some shift."
        )
    else:
        lead.append(_constant(figures, whole))
    if tables.is_known(figures["reliability"]):
        between = min(max(figures["reliability"], 0.0), 1.0)
        lead.append(
            f"{between:.1%} of the variance of predictions lies between examples, "
            f"{1 - between:.1%} between the windows of one (reliability)."
        )
    if "protection" in figures:
        done = figures["protection"]
        free = done.get("worst_without", {}).get(metric)
        bounded = done["examples_bounded"]
        lead.append(
            f"Protected spans ({done.get('what', 'given')}) excluded "
            f"{done['windows_excluded']:.1%} of the windows and bounded {bounded} examples"
            + ("." if free is None else f"; without them worst {metric} were {free:.3f}.")
        )
    return lead
