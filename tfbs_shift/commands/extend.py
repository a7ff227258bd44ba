"""Adds real flanks from a genome to the rows of a DeepSEA .mat file, so that windows can shift.

DeepSEA's files hold no coordinates: each row is found by its sequence, on both strands of the
200-bp grid that DeepSEA's windows lie on. Rows that are nowhere in the genome, or in several places
whose flanks differ, are counted, masked and listed in a .unplaced.tsv beside the output. The same
command goes on where an interrupted one stopped.

  tfbs-shift extend --mat=train.mat --genome=hg19.fa --flank=100 --out=extended/train.h5
  tfbs-shift extend --mat=test.mat --genome=hg19.fa.gz --positions=allTFs.pos.bed --out=test.h5
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import flags as absl_flags

from tfbs_shift.commands import shared
from tfbs_shift.errors import InputError
from tfbs_shift.locks import only_writer


def define(flags: absl_flags.FlagValues) -> None:
    """The flags of the command."""
    text, number = shared.text(flags), shared.number(flags)
    text("mat", None, "train.mat, valid.mat or test.mat of DeepSEA.")
    text("genome", None, "FASTA of the genome, plain or bgzipped; hg19 for DeepSEA's files.")
    text(
        "positions",
        None,
        "BED with one line a row, allTFs.pos.bed: chooses among several places where a row's "
        "sequence is; it is checked, not believed.",
    )
    number("flank", 100, "Bases to add on either side, in bp.", 0, shared.MOST_BASES)
    text("out", None, "The .h5 file to write.")


def run(flags: absl_flags.FlagValues) -> None:
    """Extends."""
    shared.require(flags, "mat", "genome", "out")
    out = Path(flags.out).expanduser()
    if out.suffix != ".h5":
        raise InputError(f"--out={out}: want a name that ends with .h5")
    given = {name: flags[name].value for name in ("mat", "genome", "positions")}
    paths = {name: Path(value).expanduser() for name, value in given.items() if value is not None}
    for name, path in paths.items():
        if not path.is_file():
            raise InputError(f"--{name}={path}: no such file")

    from tfbs_shift.data import flanks, stored

    files = paths["mat"], paths["genome"], flags.flank, paths.get("positions")
    with only_writer(flanks.work_folder(out)):
        if out.exists():
            if stored.made_from(out) != flanks.made_from(*files):
                raise InputError(
                    f"--out={out}: is there already, made of other files or flanks; choose "
                    "another name or remove it"
                )
            print(f"{out}: is done, made of these files")
            return
        extension = flanks.extend(
            paths["mat"],
            paths["genome"],
            out,
            flank=flags.flank,
            positions=paths.get("positions"),
            progress=sys.stderr.isatty(),
        )
    if extension.positions:
        print(extension.positions)
    total = sum(extension.counts.values())
    for status, count in extension.counts.items():
        print(f"{status:>14}  {count:>9,}  {count / total:7.2%}")
    masked = extension.counts["nowhere"] + extension.counts["several places"]
    listed = f"; {masked:,} are masked, see {out.with_suffix('.unplaced.tsv')}" if masked else ""
    print(
        f"wrote {out}: {total - masked:,} of {total:,} rows with flanks of {flags.flank} bp{listed}"
    )
