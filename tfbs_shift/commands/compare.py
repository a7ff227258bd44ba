"""Puts audits of several networks side by side: curves, differences with intervals, tests.

Each run is a folder that evaluate wrote, or one with such a folder named audit in it; NAME=FOLDER
gives it a name. The others are compared with the first: on the same examples by paired bootstrap
and McNemar's test, corrected for the number of tests. Runs that differ by their seed alone are
repeats: their mean and standard deviation is given. Where a run is a cell of the tables of Pap &
Megyeri (ICAART 2022), the paper's figures stand beside it. The folder gets report.html, plots/,
comparison.json, differences.csv (of several labels labels.csv) and flags.txt.

  tfbs-shift compare --runs=audits/none,audits/worst --out=comparison
  tfbs-shift compare --runs=centre=runs/none/audit,worst=runs/worst/audit --out=comparison
"""

from __future__ import annotations

from pathlib import Path

from absl import flags as absl_flags

from tfbs_shift.commands import shared
from tfbs_shift.errors import InputError
from tfbs_shift.files import replacing


def define(flags: absl_flags.FlagValues) -> None:
    """The flags of the command."""
    absl_flags.DEFINE_list(
        "runs",
        None,
        "Folders that evaluate wrote, as FOLDER or NAME=FOLDER, behind commas.",
        flag_values=flags,
    )
    shared.text(flags)("out", None, "Folder to write.")
    shared.number(flags)("seed", 0, "Of the resamples.", 0)


def run(flags: absl_flags.FlagValues) -> None:
    """Compares."""
    shared.require(flags, "runs", "out")
    out = shared.out_folder(flags)
    shared.load_keras()
    from tfbs_shift import reports
    from tfbs_shift.evaluation.comparing import (
        SavedAudit,
        comparable,
        differences,
        label_differences,
        repeats,
    )

    audits = []
    for word in flags.runs:
        name, equals, folder = word.partition("=")
        if Path(word).expanduser().exists() or not equals:
            name, folder = "", word
        audits.append(SavedAudit.read(Path(folder).expanduser(), name or None))
    if len(audits) < 2:
        raise InputError("--runs: want two folders or more")
    names = [audit.name for audit in audits]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"--runs: two are named {twice[0]!r}: give names, NAME=FOLDER")
    if len({audit.several for audit in audits}) > 1:
        raise InputError("--runs: some have several labels and some have classes")
    labels = label_differences(audits)
    found = differences(audits, labels, seed=flags.seed)
    seeds = repeats(audits)
    papers = {audit.name: reports.paper_cell(audit.figures) for audit in audits}
    others = [audit.name for audit in audits[1:] if not comparable(audits[0], audit)]
    about = [
        *(f"{audit.name}: {audit.figures.get('data', {}).get('source', 'data not known')}"
          for audit in audits),
        *(f"{name}: other examples than {names[0]}, so there are no paired differences"
          for name in others),
        "",
        *shared.flag_lines(flags),
    ]  # fmt: skip
    figures = {audit.name: audit.figures for audit in audits}
    reports.write_json(
        {
            "schema": 1,
            "runs": names,
            "differences": found,
            "repeats": seeds,
            "paper": {name: cell for name, cell in papers.items() if cell},
        },
        out / "comparison.json",
    )
    reports.write_differences(found, out / "differences.csv")
    if labels:
        reports.write_differences(labels, out / "labels.csv")
    tables = reports.comparison_tables(figures, found, seeds, papers)
    reports.write_comparison(
        figures,
        out,
        title=f"Shift audits of {', '.join(names)}",
        about=about,
        more=tables,
        differences=[row for row in found if row["metric"] in ("accuracy", "auroc")],
    )
    with replacing(out / "flags.txt") as file:
        file.write_text(shared.flagfile("compare", flags, [], out / "flags.txt"))
    print(reports.text_table(figures))
    for table in tables:
        print(f"\n{table.heading}\n{reports.aligned(table.rows)}")
    for name in others:
        print(f"\n{name}: other examples than {names[0]}, so no differences were computed")
    print(f"\nwrote {out}: open {out / 'report.html'}")
