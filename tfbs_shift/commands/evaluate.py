"""Audits a trained network: its accuracy when the window moves, exactly, with a report.

With worst among the strategies the network is run at every start of its window, else only at the
starts that they draw. The folder gets robustness.json and .csv (the figures), report.html, plots/,
shifts.npz (the loss of every example at every start), and flags.txt (a flagfile that repeats the
audit); for several labels labels.csv (AUROC and AUPR of each) and predictions/ too. The same
command goes on where an interrupted one stopped.

  tfbs-shift evaluate --model=runs/worst --data=FOLDER --out=audit
  tfbs-shift evaluate --model=mine.keras --data=bound.fa,unbound.fa --max_shift=10 --out=audit
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from absl import flags as absl_flags

from tfbs_shift.commands import shared
from tfbs_shift.errors import InputError
from tfbs_shift.files import replacing


def define(flags: absl_flags.FlagValues) -> None:
    """The flags of the command."""
    text, number = shared.text(flags), shared.number(flags)
    text("model", None, "A run folder of train, a .keras file, or an old .h5 or .hdf5.")
    text("data", None, "Labelled sequences, in any of the forms that train reads.")
    shared.choices_of_data(flags)
    absl_flags.DEFINE_enum(
        "split", "test", ["train", "valid", "test"], "Which examples.", flag_values=flags
    )
    absl_flags.DEFINE_list(
        "strategies",
        "none,random,worst",
        "How the window is chosen; also worst_of_<n>.",
        flag_values=flags,
    )
    number("tries", None, "Makes worst the worst of so many starts; default: every start.", 1)
    number("max_shift", None, "The largest shift either way, in bp; default: all that fit.", 0)
    shared.protocol(flags)
    number("window", None, "Bases the network reads, where its input length is free.", 1)
    text("out", None, "Folder to write.")
    number("batch_size", None, "Examples a block; default: 128.", 1)
    number("seed", 0, "Of the random draws.", 0)
    absl_flags.DEFINE_boolean(
        "average_strands",
        False,
        "For several labels: score the mean prediction of both strands, where the second half of "
        "the examples is the reverse complement of the first, as in DeepSEA's files.",
        flag_values=flags,
    )
    absl_flags.DEFINE_boolean(
        "explain",
        False,
        "Only say what the windows share, what a scan costs with and without sharing, and where "
        "sharing ends; nothing is run or written.",
        flag_values=flags,
    )


def run(flags: absl_flags.FlagValues) -> None:
    """Audits."""
    shared.require(flags, "model", "data", *([] if flags.explain else ["out"]))
    if not flags.strategies:
        raise InputError("--strategies: want one or more of none, random, worst, worst_of_<n>")

    from tfbs_shift import data

    examples = data.load(
        flags.data, flags.split, **shared.chosen_of_data(flags)
    )  # before TensorFlow's seconds: it may be wrong

    shared.load_keras()
    from tfbs_shift import evaluate, models, plan_scan, reports, runs
    from tfbs_shift.models.outputs import input_window
    from tfbs_shift.strategies import strategy
    from tfbs_shift.windows import WindowRange

    chosen = [
        strategy(
            name,
            tries=flags.tries if name == "worst" else None,
            seed=flags.seed,
            protocol=flags.protocol,
        )
        for name in flags.strategies
    ]
    model = models.load(flags.model)
    if flags.explain:
        length = int(examples.codes.shape[1])
        windows = WindowRange(length, input_window(model, flags.window), flags.max_shift)
        tries = sum(one.candidates(1, windows).shape[1] for one in chosen)
        if any(one.tries_every_start(windows) for one in chosen):
            tries = len(windows)
        print(
            plan_scan(model, length, window=windows.window, max_shift=flags.max_shift, tries=tries)
        )
        return
    out = Path(flags.out).expanduser()
    found = evaluate(
        model,
        examples.one_hot(models.alphabet(model)),
        examples.y,
        window=flags.window,
        strategies=chosen,
        max_shift=flags.max_shift,
        seed=flags.seed,
        average_strands=flags.average_strands,
        label_names=examples.label_names,
        folder=out / "predictions",
        batch_size=flags.batch_size,
        progress=sys.stderr.isatty(),
    )
    lines = runs.provenance(examples)
    about = [*lines, "", *shared.flag_lines(flags)]
    reports.write_audit(found, examples, out, title=Path(flags.model).name, about=about)
    with replacing(out / "flags.txt") as file:
        file.write_text(shared.flagfile("evaluate", flags, lines, out / "flags.txt"))
    if not found.predictions:  # shifts.npz has it all
        shutil.rmtree(out / "predictions")
    print(reports.text_table({Path(flags.model).name: found.to_dict()}))
    print(f"wrote {out}: open {out / 'report.html'}")
