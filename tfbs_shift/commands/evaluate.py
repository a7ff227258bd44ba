"""Audits a trained network: its accuracy when the window moves, exactly, with a report.

With worst among the strategies the network is run at every start of its window, else only at the
starts that they draw. The folder gets report.html and plots/ to read; robustness.json, .csv and
curve.csv (the figures), examples.csv (each example's worst shift and certificate),
certificates.bed (for a genome browser, where coordinates are known), shifts.npz (the loss of every
example at every start), and flags.txt (a flagfile that repeats the audit); for several labels
labels.csv (AUROC and AUPR of each) and predictions/ too. The same command goes on where an
interrupted one stopped.

  tfbs-shift evaluate --model=runs/worst --data=FOLDER --out=audit
  tfbs-shift evaluate --model=mine.keras --data=bound.fa,unbound.fa --max_shift=10 --out=audit
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags as absl_flags

from tfbs_shift.commands import shared
from tfbs_shift.errors import InputError
from tfbs_shift.files import sha256
from tfbs_shift.locks import only_writer

if TYPE_CHECKING:
    import numpy as np

    from tfbs_shift.data import Examples
    from tfbs_shift.evaluation import Robustness
    from tfbs_shift.evaluation.settings import Shifts
    from tfbs_shift.scanning.predictors import Predictor
    from tfbs_shift.strategies import ShiftStrategy
    from tfbs_shift.windows import WindowRange


def define(flags: absl_flags.FlagValues) -> None:
    """The flags of the command."""
    text, number = shared.text(flags), shared.number(flags)
    text(
        "model",
        None,
        "A run folder of train, a .keras file, an old .h5 or .hdf5, or package.module:name, a "
        "model or function of windows in a module.",
    )
    shared.imports(flags)
    text("data", None, "Sequences, in any of the forms that train reads.")
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
    number("max_shift", None, "The largest shift either way, in bp; default: all that fit.", 0)
    shared.protocol(flags)
    _define_meaning(flags)
    number("window", None, "Bases the network reads, where its input length is free.", 1)
    text("out", None, "Folder to write.")
    number("batch_size", None, "Examples a block; default: 128.", 1)
    number("seed", 0, "Of the random draws.", 0)
    shared.devices(flags)
    text(
        "protect",
        None,
        "What must stay inside the window: summit (of narrowPeak files; summit:10 for 10 bp on "
        "either side, too), motif (the best hit of --motif), or START-END, bases of each stored "
        "sequence, 0-based half-open.",
    )
    text(
        "motif",
        None,
        "With --protect=motif: SP1, MAFK or ZNF143 (JASPAR's, in the package), a file with one "
        "matrix (JASPAR, MEME, HOMER, TRANSFAC, a table of counts or probabilities), or FILE:NAME.",
    )
    absl_flags.DEFINE_enum(
        "motif_format",
        None,
        ["jaspar", "homer", "meme", "transfac", "rows", "columns"],
        "Of the file of --motif; rows: one a base, as JASPAR's; columns: one a base, as HOMER's, "
        "cluster-buster's and CIS-BP's; default: what it looks like.",
        flag_values=flags,
    )
    absl_flags.DEFINE_list(
        "examples", "", "Names or numbers (from 0) of examples to plot.", flag_values=flags
    )
    number("draws", 5, "Random shifts behind the random curve of areas; 0: none.", 0)
    absl_flags.DEFINE_float(
        "threshold",
        0.5,
        "The probability from which on class 1 of two, or a label, is called.",
        lower_bound=0.0,
        upper_bound=1.0,
        flag_values=flags,
    )
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


def _define_meaning(flags: absl_flags.FlagValues) -> None:
    """Flags of what the model predicts."""
    text = shared.text(flags)
    text("output", None, "Of a model with several outputs, the name or number of the one to judge.")
    absl_flags.DEFINE_enum(
        "positions",
        None,
        ["mean", "sum", "centre", "max"],
        "Of an output with positions, (batch, positions, K): how they are condensed.",
        flag_values=flags,
    )
    shared.meaning(flags)
    absl_flags.DEFINE_float(
        "tolerance",
        None,
        "Of values, in their unit: how far from the centre's a prediction may be and count as the "
        "same, for certificates; default: a tenth of the standard deviation of the centre's.",
        lower_bound=0.0,
        flag_values=flags,
    )
    text(
        "layout",
        None,
        "The axes that the model reads, a word of N, L, C and 1 (NCL, NL1C, ...), or NL for "
        "integers; default: NLC, of a PyTorch module NCL.",
    )


def run(flags: absl_flags.FlagValues) -> None:
    """Audits."""
    shared.require(flags, "model", "data", *([] if flags.explain else ["out"]))
    if not flags.strategies:
        raise InputError("--strategies: want one or more of none, random, worst, worst_of_<n>")

    if not flags.explain:
        out = shared.out_folder(flags)
        if (out / "model.keras").exists():
            raise InputError(f"--out={out}: holds a run of train; choose another folder")
    host = shared.host(flags)

    (examples,) = shared.load_data(flags, flags.split)  # before Keras's seconds: it may be wrong

    shared.load_keras()
    shared.import_modules(flags)
    from tfbs_shift.backend import devices

    # Hosts need not hear from each other to evaluate: each of them is a machine of its own.
    with devices.distributed("none" if flags.distribute == "none" else "mirrored"):
        _audit(flags, examples, host)


def _audit(flags: absl_flags.FlagValues, examples: Examples, host: tuple[int, int]) -> None:
    from tfbs_shift import models
    from tfbs_shift.evaluation import audits
    from tfbs_shift.evaluation.settings import Shifts
    from tfbs_shift.scanning.predictors import predictor
    from tfbs_shift.strategies import strategy
    from tfbs_shift.windows import WindowRange

    chosen = [strategy(name, seed=flags.seed, protocol=flags.protocol) for name in flags.strategies]
    model = predictor(models.find(flags.model), layout=flags.layout)
    windows = WindowRange(examples.length, model.window(flags.window), flags.max_shift)
    if flags.explain:
        _explain(model, chosen, windows)
        return
    out = shared.out_folder(flags)
    lines = [*audits.provenance(examples), *_model_lines(flags)]
    flagfile = shared.flagfile("evaluate", flags, lines, out / "flags.txt")
    shifts = Shifts(
        chosen, flags.window, flags.max_shift, _spans(flags, examples, windows), flags.seed
    )
    _numbers(flags.examples, examples)  # or it is wrong, and nothing is to be done
    with only_writer(out, f"-{host[0]}" if host[1] > 1 else "") as held:
        if _is_done(flags, out, flagfile):
            print(f"{out}: is done, with these flags, this model and this data")
            return
        result = _audited(flags, model, examples, shifts, out, host)
        if result is None:
            print(f"host {host[0]} of {host[1]} is done; host 0 writes {out}")
            return
        if result.protection is not None:
            result.protection["what"] = flags.protect + (f" {flags.motif}" if flags.motif else "")
        held.check()
        _write(flags, result, examples, out, flagfile)


def _audited(
    flags: absl_flags.FlagValues,
    model: Predictor,
    examples: Examples,
    shifts: Shifts,
    out: Path,
    host: tuple[int, int],
) -> Robustness | None:
    """What is found out; None on other hosts than the first."""
    from tfbs_shift.evaluation import audits
    from tfbs_shift.evaluation.settings import Details, Execution
    from tfbs_shift.tasks.outputs import Output
    from tfbs_shift.training import runs

    training = runs.settings(Path(flags.model).expanduser())
    source, of_data = flags.data, shared.chosen_of_data(flags)
    if "data" in training:  # another file than the one audited may want other flags
        source, of_data = training["data"], shared.trained_with(training)
    trained_on = None
    if not host[0]:
        trained_on = audits.training_examples(source, flags.split, **of_data)
    return audits.audit(
        model,
        examples,
        shifts,
        Details(
            output=Output(flags.output, flags.positions),
            # What it was trained as, unless the command line says something else.
            task=flags.task or training.get("task"),
            loss=flags.loss or training.get("loss"),
            threshold=flags.threshold,
            tolerance=flags.tolerance,
            average_strands=flags.average_strands,
            draws=flags.draws,
            examples=_numbers(flags.examples, examples),
        ),
        Execution(flags.batch_size, out / _PARTIAL, sys.stderr.isatty(), host),
        trained_on=trained_on,
        training=training,
    )


_PARTIAL = ".partial"
"""Of the folder, what an audit that was interrupted goes on with."""


def _model_lines(flags: absl_flags.FlagValues) -> list[str]:
    """Which file the model is, if it is one."""
    path = Path(flags.model).expanduser()
    path = path / "model.keras" if path.is_dir() else path
    return [f"{path.name}: sha256 {sha256(path)[:16]}"] if path.is_file() else []


def _is_done(flags: absl_flags.FlagValues, out: Path, flagfile: str) -> bool:
    """Whether the folder holds this very audit. Code that is imported may have changed since."""
    if not _model_lines(flags) or flags["import"].value:
        return False
    earlier = out / "flags.txt"
    whole = (out / "robustness.json").is_file() and earlier.is_file()
    return whole and earlier.read_text(encoding="utf-8") == flagfile


def _write(
    flags: absl_flags.FlagValues, result: Robustness, examples: Examples, out: Path, flagfile: str
) -> None:
    """Writes the audit, and says what came out."""
    from tfbs_shift import reports
    from tfbs_shift.data import sense

    title = Path(flags.model).name
    reports.write_audit(
        result, examples, out, title=title, about=shared.flag_lines(flags), flagfile=flagfile
    )
    shutil.rmtree(out / _PARTIAL, ignore_errors=True)
    print(f"{result.task.name}: {result.reason}\n")
    print(reports.text_table({title: result.to_dict()}))
    for check in result.checks:
        if not check.passed and check.name not in sense.NAMES:  # those were said at reading
            print(f"WARNING: {check.message}", file=sys.stderr)
    print(f"wrote {out}: open {out / 'report.html'}")


def _explain(model: Predictor, strategies: Sequence[ShiftStrategy], windows: WindowRange) -> None:
    """Prints what the windows share, and what that saves."""
    from tfbs_shift import plan_scan

    tries = sum(one.count(windows) for one in strategies)
    if any(one.tries_every_start(windows) for one in strategies):
        tries = len(windows)
    print(
        plan_scan(
            model, windows.length, window=windows.window, max_shift=windows.max_shift, tries=tries
        )
    )


def _spans(
    flags: absl_flags.FlagValues, examples: Examples, windows: WindowRange
) -> np.ndarray | None:
    """What must stay inside the window, by ``--protect`` and ``--motif``."""
    from tfbs_shift.data.matrices import read_matrix
    from tfbs_shift.data.protecting import protected_spans

    motif = None
    if flags.protect == "motif" and flags.motif is not None:
        motif = read_matrix(flags.motif, flags.motif_format)
        print(f"note: --motif={flags.motif}: {motif.name}, {motif.comment}", file=sys.stderr)
    for name in ("motif", "motif_format"):
        if motif is None and flags[name].value is not None:
            raise InputError(f"--{name}={flags[name].value}: only with --protect=motif")
    if flags.protect is None:
        return None
    return protected_spans(examples, flags.protect, windows, motif=motif)


def _numbers(wanted: list[str], examples: Examples) -> list[int]:
    """The numbers of examples that are given by name or number."""
    names = {} if examples.names is None else {str(n): i for i, n in enumerate(examples.names)}
    numbers = []
    for word in wanted:
        number = names.get(word, int(word) if word.isdecimal() else -1)
        if not 0 <= number < len(examples):
            raise InputError(
                f"--examples={word}: no example has this name or number; want a name"
                f"{'' if names else ' (there are none in this data)'} or 0..{len(examples) - 1}"
            )
        numbers.append(number)
    return numbers
