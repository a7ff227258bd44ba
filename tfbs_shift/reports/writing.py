"""The folder of files that an audit leaves behind; docs/files.md describes each."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from matplotlib.figure import Figure

from tfbs_shift.data import Examples
from tfbs_shift.evaluation import Robustness
from tfbs_shift.files import replacing
from tfbs_shift.reports import plots, tables
from tfbs_shift.reports.page import Table, page
from tfbs_shift.reports.tables import Figures

_MEANINGS = {
    "none": "the centre window (with protected spans: the allowed window nearest to it).",
    "random": "a uniform start for each example, one draw.",
    "worst": "for each example the window of highest loss; every start was tried, so nothing worse "
    "exists among these windows of these sequences. It says nothing of other sequences.",
    "worst_of_n": "the highest loss among n starts drawn for each example. (With --protocol=paper, "
    "both as the paper's code chooses them: its loss is clamped, its starts are drawn once for "
    "all.)",
    "right at every shift": "the fraction of examples classified right wherever the window lies.",
    "averaged over shifts": "the prediction averaged over all windows, a cheap defence.",
    "mean over shifts": "what a uniform random shift gives on average.",
    "consistency": "how often two independent random shifts of an example agree on its class. A "
    "network that always says the same is consistent and useless: read it beside the accuracy.",
    "wobble": "highest minus lowest probability over the windows of an example, on average.",
    "flipped": "the share of examples (several labels: of their labels) whose class at some shift "
    "is not that at the centre.",
    "certified radius": "for one example the largest r such that every window shifted by at most r "
    "bp is right (several labels: keeps every label's call); by enumeration, so exact.",
    "interval": "95% percentile bootstrap, examples drawn anew, or whole chromosomes where "
    "coordinates are known.",
}


def write_audit(
    found: Robustness,
    examples: Examples,
    out: str | Path,
    *,
    title: str = "model",
    about: Sequence[str] = (),
    show: Sequence[int] = (),
    extra: Figures | None = None,
) -> None:
    """Writes ``robustness.json``, tables, ``shifts.npz``, ``plots/`` and ``report.html``.

    Args:
        found: the audit.
        examples: what it was made on, in the same order.
        out: folder; files of these names in it are replaced, each as a whole, or removed where this
            audit has none.
        title: name of the network.
        about: lines that say what was run.
        show: numbers of examples whose profiles are drawn, too.
        extra: more for ``robustness.json``: of the model, of the data.
    """
    out = Path(out).expanduser()
    figures = found.to_dict() | dict(extra or {})
    write_json(figures, out / "robustness.json")
    every, placed = found.every is not None, examples.intervals is not None
    for name, applies, write in (
        ("robustness.csv", True, lambda file: tables.write_csv(figures, file)),
        ("labels.csv", bool(found.scores), lambda file: tables.write_labels(found, file)),
        ("curve.csv", every, lambda file: tables.write_curve(figures, file)),
        ("examples.csv", every, lambda file: tables.write_examples(found, examples, file)),
        ("certificates.bed", every and placed,
         lambda file: tables.write_bed(found, examples, file)),
    ):  # fmt: skip
        if applies:
            _write(out / name, write)
        else:  # of an earlier audit in this folder
            (out / name).unlink(missing_ok=True)
    with replacing(out / "shifts.npz") as path:
        np.savez_compressed(path, **_arrays(found, examples))
    drawn = {} if found.every is None else _drawn(found, examples, figures, title, show)
    more = [_checks(figures)]
    if "controls" in figures:
        more.insert(0, _controls(figures))
    _write_page(
        f"Shift audit of {title}",
        _finding(title, figures),
        [check["message"] for check in figures["checks"] if not check["passed"]],
        [
            Table("", tables.columns({title: figures}), f"{tables.caption({title: figures})}."),
            *more,
        ],
        drawn,
        out,
        about,
    )


def write_comparison(
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
    drawn: dict[str, dict[str, tuple[str, Figure]]] = {}
    if all(figures["curve"] for figures in audits.values()):
        metric = _named(tables.curve_metric(first))
        caption = (
            f"{metric} when each window may move by up to r bp: to where its loss is highest "
            "(points; band: 95% interval) or at random (dashed)."
        )
        drawn["Robustness curves"] = {"curve": (caption, plots.curve(audits))}
    if differences:
        caption = (
            f"Difference in {differences[0]['metric']} from {differences[0]['baseline']}, with "
            "paired 95% intervals."
        )
        drawn["Differences"] = {"differences": (caption, plots.differences(differences))}
    warnings = [
        f"{name}: {check['message']}"
        for name, figures in audits.items()
        for check in figures.get("checks", [])
        if not check["passed"]
    ]
    lead = [text for name, figures in audits.items() for text in _finding(name, figures)[:1]]
    table = Table("", tables.columns(audits), f"{tables.caption(audits)}.")
    _write_page(title, lead, warnings, [table, *more], drawn, out, about)


def write_json(figures: Figures, path: Path) -> None:
    """Writes figures as JSON; what is no number becomes null."""

    def plain(value: Any) -> Any:  # JSON has no NaN
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    with replacing(path) as file:
        file.write_text(json.dumps(plain(figures), indent=1, allow_nan=False) + "\n")


def _write(path: Path, write: Callable[[TextIO], None]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        write(file)


def _arrays(found: Robustness, examples: Examples) -> dict[str, Any]:
    """What ``shifts.npz`` holds."""
    arrays: dict[str, Any] = {"starts": found.windows.starts, "shifts": found.windows.shifts}
    arrays |= {f"start_{name}": starts for name, starts in found.starts.items()}
    arrays |= {f"right_{name}": right for name, right in found.right_at.items()}
    if found.every is not None and found.scan is not None:
        arrays |= {n: getattr(found.scan, n) for n in ("loss", "worst_start", "worst_loss")}
        arrays |= {n: getattr(found.every, n) for n in ("right", "probability", "wobble")}
        arrays["allowed"] = found.scan.allowed
        arrays["certificate"] = found.certificates
    arrays |= {"labels": np.asarray(examples.labels), "names": examples.names}
    arrays["strand"] = examples.strand
    arrays["label_names"] = None if found.label_names is None else np.array(found.label_names)
    arrays |= {} if examples.intervals is None else examples.intervals._asdict()
    return {name: array for name, array in arrays.items() if array is not None}


def _drawn(
    found: Robustness, examples: Examples, figures: Figures, title: str, show: Sequence[int]
) -> dict[str, dict[str, tuple[str, Figure]]]:
    """The plots of an audit, by heading and file name, with their captions."""
    metric, single = tables.curve_metric(figures), found.right is not None
    what = _named(metric)
    certified = figures["certificates"]
    where = figures["worst_shifts"]
    edges = ""
    if where["at_the_edges"] is not None:
        edges = (
            f" {where['at_the_edges']:.0%} lie at the two ends of the range, where "
            f"{where['at_the_edges_if_anywhere']:.0%} would if all shifts were alike."
        )
    drawn = {
        "Robustness curve": {
            "curve": (
                f"{what} when each window may move by up to r bp: to where its loss is highest "
                + ("(points; band: 95% bootstrap interval) or at random (dashed; band: 95% of "
                   "draws)." if single else
                   "(points) or at random (dashed; band: lowest and highest draw)."),
                plots.curve({title: figures}),
            ),
        },
        "Certificates": {
            "certificates": (
                "Examples by certified radius: the largest shift within which every window "
                + ("is right" if single else "keeps every label's call")
                + f". Median {certified['median']:g} bp.",
                plots.certificates(found),
            ),
        },
        "Where shifts hurt": {
            "worst_shifts": (f"Where the worst window of each example lies.{edges}",
                             plots.worst_shifts(figures)),
            "profile": (
                f"{'Accuracy' if single else 'Loss'} at each shift, all windows moved alike "
                "(points), and with each window at its own worst shift (dashed). A flat line of "
                "points hides what the dashed line shows.",
                plots.profile(found),
            ),
            "distance": (
                "Mean change of the " + ("probability" if single else "loss") + " between two "
                "windows of an example, by their distance." + _phase(figures),
                plots.distance(found),
            ),
            "heat_map": (
                ("Probability of class 1" if single else "Loss") + " of examples at every shift "
                "(evenly spread ones of all, the least certified on top).",
                plots.heat_map(found),
            ),
        },
    }  # fmt: skip
    names = examples.names
    chosen = {"the most fragile": found.fragile, "the most robust": found.robust}
    chosen |= {f"example {i}": i for i in show}
    titled = {
        f"{what}: {names[i] if names is not None else f'example {i}'}"
        + f", certified {found.certificates[i]} bp": i
        for what, i in chosen.items()
        if i is not None and found.certificates is not None
    }
    caption = "Single examples: " + "; ".join(titled) + "."
    drawn["Single examples"] = {"examples": (caption, plots.examples(found, titled))}
    return drawn


def _phase(figures: Figures) -> str:
    found = figures["phase"]
    if not found or found["explained"] is None:
        return ""
    return (
        f" The shift modulo the network's stride ({found['stride']} bp) explains "
        f"{found['explained']:.0%} of the variance of losses within examples; "
        f"{found['explained_by_chance']:.0%} would be chance."
    )


def _write_page(
    title: str,
    finding: Sequence[str],
    warnings: Sequence[str],
    shown: Sequence[Table],
    drawn: Mapping[str, Mapping[str, tuple[str, Figure]]],
    out: Path,
    about: Sequence[str],
) -> None:
    names = {name for plotted in drawn.values() for name in plotted}
    for file in (out / "plots").glob("*"):
        if file.suffix in (".png", ".svg") and file.stem not in names:
            file.unlink()  # of an earlier audit in this folder
    for plotted in drawn.values():
        for name, (_, figure) in plotted.items():
            for suffix in (".png", ".svg"):
                with replacing(out / "plots" / f"{name}{suffix}") as path:
                    figure.savefig(path, dpi=160, metadata={"Date": None} if suffix == ".svg"
                                   else None)  # fmt: skip
    figures = {heading: dict(plotted.values()) for heading, plotted in drawn.items()}
    html = page(title, finding, warnings, shown, figures, _MEANINGS, about)
    with replacing(out / "report.html") as path:
        path.write_text(html, encoding="utf-8")


def _controls(figures: Figures) -> Table:
    rows = [["input", "sureness", "called bound", "detection AUROC"]]
    for name, one in figures["controls"].items():
        detection = f"{one['detection']:.3f}" if "detection" in one else ""
        rows.append([name, f"{one['sureness']:.3f}", f"{one['called']:.3f}", detection])
    return Table(
        "Inputs that are no genome",
        rows,
        "Sureness: the highest probability, on average. Detection: how well it tells real windows "
        "from these inputs (0.5: not at all; lower: the network is surer of what is no sequence). "
        "shuffled: bases in random order; dinucleotide: shuffled with every dinucleotide count "
        "kept; uniform: 1/4 in each channel; random: every base uniform.",
    )


def _checks(figures: Figures) -> Table:
    rows = [["check", "what was seen"]]
    rows += [
        [f"{'passed' if one['passed'] else 'WARNING'}: {one['name']}", one["message"]]
        for one in figures["checks"]
    ]
    return Table("Self-checks", rows, prose=True)


def _named(metric: str) -> str:
    return metric.upper() if metric.startswith("au") else metric.capitalize()


def _finding(name: str, figures: Figures) -> list[str]:
    """The finding in a sentence or two, each a paragraph."""
    metric, *_ = tables.metrics(figures)
    what = _named(metric)
    if "labels" in figures:
        scored = figures["labels"] - len(figures["labels_left_out"])
        what += f" (mean of {scored} of {figures['labels']} labels)"
    shown = ", ".join(f"{v[metric]:.3f} under {n}" for n, v in figures["strategies"].items()
                      if v[metric] is not None)  # fmt: skip
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
