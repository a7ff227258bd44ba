"""Puts audits of several networks side by side: curves, differences with intervals, tests.

Each run is a folder that evaluate wrote, or one with such a folder named audit in it; NAME=FOLDER
gives it a name. The others are compared with the first: on the same examples by paired bootstrap
and McNemar's test, corrected for the number of tests. Runs that differ by their seed alone are
repeats: their mean and standard deviation is given. The folder gets report.html, plots/,
comparison.json, differences.csv (of several labels labels.csv) and flags.txt.

  tfbs-shift compare --runs=audits/none,audits/worst --out=comparison
  tfbs-shift compare --runs=centre=runs/none/audit,worst=runs/worst/audit --out=comparison
"""

from __future__ import annotations

from pathlib import Path

from absl import flags as absl_flags

from tfbs_shift.commands import shared
from tfbs_shift.errors import InputError
from tfbs_shift.locks import only_writer
from tfbs_shift.text import aligned


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
    from tfbs_shift.evaluation.comparing import SavedAudit, compare

    try:
        audits = [SavedAudit.read(folder, name) for folder, name in map(_place, flags.runs)]
        comparison = compare(audits, seed=flags.seed)
    except InputError as error:
        raise InputError(f"--runs: {error}") from error
    flagfile = shared.flagfile("compare", flags, [], out / "flags.txt")
    with only_writer(out):
        tables = reports.write_comparison(
            comparison, out, about=shared.flag_lines(flags), flagfile=flagfile
        )
    print(reports.text_table(comparison.figures))
    for table in tables:
        print(f"\n{table.heading}\n{aligned(table.rows)}")
    first = next(iter(comparison.audits))
    for name in comparison.unpaired:
        print(
            f"\n{name}: not known to be of the same examples as {first}, so no differences were "
            "computed"
        )
    print(f"\nwrote {out}: open {out / 'report.html'}")


def _place(word: str) -> tuple[Path, str | None]:
    """Folder and name of FOLDER or NAME=FOLDER."""
    name, equals, folder = word.partition("=")
    if Path(word).expanduser().exists() or not equals:
        name, folder = "", word
    return Path(folder).expanduser(), name or None
