"""Trains two networks on synthetic sequences and audits both: needs no data, takes minutes.

The sequences are drawn here, NOT measured: a background with the dinucleotide content of the human
genome, one site of SP1, MAFK or ZNF143 in each bound sequence (JASPAR matrices), and dinucleotide
shuffles as unbound ones. One network is trained on centre windows, one on the worst window of each
example. The demo runs the commands that you would run, and prints them.

  tfbs-shift demo --out=demo
  tfbs-shift demo --positives=4000 --seed=1 --out=larger_demo
"""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

from absl import flags as absl_flags

from tfbs_shift.commands import shared
from tfbs_shift.errors import InputError
from tfbs_shift.files import replacing
from tfbs_shift.locks import only_writer

_WINDOW = 90
_EPOCHS = 7
_MARKER = "SYNTHETIC.txt"


def define(flags: absl_flags.FlagValues) -> None:
    """The flags of the command."""
    text, number = shared.text(flags), shared.number(flags)
    text("out", None, "Folder to write; an earlier demo in it is replaced.")
    number("positives", 1200, "Bound training sequences; there are as many unbound ones.", 100)
    number("seed", 0, "Of the sequences and of the training.", 0)


def run(flags: absl_flags.FlagValues) -> None:
    """Runs the demo."""
    shared.require(flags, "out")
    out = shared.out_folder(flags)
    if out.exists() and any(out.iterdir()) and not (out / _MARKER).exists():
        raise InputError(f"--out={out}: not empty, and no earlier demo; choose another folder")

    shared.load_keras()
    with only_writer(out):
        _demo(flags, out)


def _demo(flags: absl_flags.FlagValues, out: Path) -> None:
    from tfbs_shift import commands, data, reports

    for earlier in out.glob("[!.]*"):
        shutil.rmtree(earlier) if earlier.is_dir() else earlier.unlink()
    with replacing(out / _MARKER) as file:
        file.write_text("Everything here was made from synthetic sequences by tfbs-shift demo.\n")
    for split, positives, seed in (
        ("train", flags.positives, 2 * flags.seed),
        ("test", flags.positives // 2, 2 * flags.seed + 1),
    ):
        examples = data.synthetic(positives, seed=seed)
        with replacing(out / "data" / f"{split}.data") as file:
            data.write_zeng(examples, file)
    print(f"wrote {out / 'data'}: SYNTHETIC sequences with sites of SP1, MAFK and ZNF143")
    ran, audits = [], {}

    def call(*words: str) -> None:
        ran.append(shlex.join(["tfbs-shift", *words]))
        print(f"\n$ {ran[-1]}", flush=True)
        commands.dispatch(list(words))

    for strategy in ("none", "worst"):
        folder = out / strategy
        call("train", f"--data={out / 'data'}", f"--window={_WINDOW}", f"--strategy={strategy}",
             f"--epochs={_EPOCHS}", "--learning_rate=1e-3", "--noregularize",
             f"--seed={flags.seed}", f"--out={folder}")  # fmt: skip
        call("evaluate", f"--model={folder}", f"--data={out / 'data'}", f"--out={folder / 'audit'}")
        figures = json.loads((folder / "audit" / "robustness.json").read_text())
        audits[f"trained with {strategy}"] = figures
    reports.write_side_by_side(
        audits, out, title="Shift audit on synthetic sequences (tfbs-shift demo)", about=ran
    )
    print(f"\nSYNTHETIC data, seed {flags.seed}\n{reports.text_table(audits)}")
    print(f"\nwrote {out}: open {out / 'report.html'}")
