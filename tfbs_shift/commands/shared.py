"""What several commands need of flags."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags as absl_flags

from tfbs_shift.errors import InputError

if TYPE_CHECKING:
    from tfbs_shift.data import Examples


def text(flags: absl_flags.FlagValues) -> Callable[[str, str | None, str], object]:
    """Defines a string flag: (name, default, help)."""
    return partial(absl_flags.DEFINE_string, flag_values=flags)


def number(flags: absl_flags.FlagValues) -> Callable[..., object]:
    """Defines an integer flag: (name, default, help, smallest value, largest or 2^31 - 1)."""

    def define(
        name: str, default: int | None, what: str, smallest: int, largest: int = _LARGEST
    ) -> None:
        absl_flags.DEFINE_integer(name, default, what, smallest, largest, flag_values=flags)

    return define


def strategy(flags: absl_flags.FlagValues, name: str, default: str | None, what: str) -> None:
    """Defines a flag that names a strategy, in the words of ``strategies.strategy``."""
    text(flags)(name, default, what)
    absl_flags.register_validator(
        name,
        lambda value: value is None or re.fullmatch(_STRATEGY, value) is not None,
        "want none, random, worst or worst_of_<n>, n from 1 to 999999999",
        flag_values=flags,
    )


_STRATEGY = r"none|random|worst|worst_of_[1-9][0-9]{0,8}"
_LARGEST = 2**31 - 1
MOST_BASES = 10**7
"""bp of a sequence or of a flank: more would be a mistake, and fill memory or disk."""


def imports(flags: absl_flags.FlagValues) -> None:
    """Defines ``--import``."""
    absl_flags.DEFINE_list(
        "import",
        "",
        "Modules to import before the model is loaded, so that Keras finds the layers and losses "
        "in them: crested, or my_layers in this folder.",
        flag_values=flags,
    )


def import_modules(flags: absl_flags.FlagValues) -> None:
    """Imports those; modules in the current folder are found, after all that are installed.

    Only where a flag names a module: else a stranger's folder could hold one of a name that
    somebody imports later.
    """
    named = re.fullmatch(r"[\w.]+:\w+", flags.model or "")  # --model=package.module:name
    if (flags["import"].value or named) and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    if flags["import"].value:
        from tfbs_shift.models import import_module

        with quiet():
            for name in flags["import"].value:
                try:
                    import_module(name)
                except InputError as error:
                    raise InputError(f"--import={error}") from error


def protocol(flags: absl_flags.FlagValues) -> None:
    """Defines ``--protocol``."""
    absl_flags.DEFINE_enum(
        "protocol",
        "exact",
        ["exact", "paper"],
        "How worst is chosen: exact, for each example; or as the paper's code does, with its "
        "deviations (one draw for a whole batch or test set, the loss clamped).",
        flag_values=flags,
    )


def choices_of_data(flags: absl_flags.FlagValues) -> None:
    """Defines the flags of what ``data.load`` can choose."""
    text(flags)(
        "labels",
        None,
        "Label columns of DeepSEA's files: numbers, ranges, dnase, tf, histone, all, targets or "
        "names (125..814,K562|CTCF); default: the 690 transcription factors, 125..814.",
    )
    number(flags)(
        "length",
        None,
        "Of BED files: bases to take around each summit or middle; default: the intervals.",
        1,
        MOST_BASES,
    )
    number(flags)(
        "flank", None, "Of BED files: bases to add on either side; default: 0.", 0, MOST_BASES
    )
    text(flags)(
        "sequence_column",
        None,
        "Of CSV and TSV files: the column of sequences; default: sequence, else seq, sequences or "
        "dna, else the only one that begins with DNA.",
    )
    text(flags)(
        "label_column",
        None,
        "Of CSV and TSV files: the column of labels, or several behind commas; empty: no labels; "
        "default: label, else labels, target or y, else the only other column of numbers. Of one "
        "BED file: a column's number from 1, or score, or, of a narrowPeak, broadPeak or "
        "gappedPeak, signalValue, pValue or qValue, or, of a bedGraph, value; default: no labels. "
        "All 0 or 1 are classes, else labels are numbers.",
    )
    absl_flags.DEFINE_boolean(
        "bound",
        False,
        "Of a file without labels (FASTA, BED, CSV): call every sequence bound, class 1 of two.",
        flag_values=flags,
    )


_TEXTS = ("labels", "sequence_column", "label_column")
_OF_DATA = (*_TEXTS, "length", "flank", "bound")


def chosen_of_data(flags: absl_flags.FlagValues) -> dict[str, Any]:
    """The values of these flags, as arguments of ``data.load``."""
    return {name: flags[name].value for name in _OF_DATA}


def trained_with(training: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a run folder's flags, which have lost whether a text was a number."""
    chosen = {name: training[name] for name in _OF_DATA if name in training}
    return {name: str(v) if name in _TEXTS else v for name, v in chosen.items()}


def load_data(flags: absl_flags.FlagValues, *splits: str) -> list[Examples]:
    """The splits of ``--data``; what was found and not told is said on standard error, once, and
    what makes them mean nothing."""
    from tfbs_shift import data
    from tfbs_shift.data.sense import doubts

    parts = [data.load(flags.data, split, **chosen_of_data(flags)) for split in splits]
    for note in dict.fromkeys(note for part in parts for note in part.notes):
        print(f"note: {note}", file=sys.stderr)
    for split, part in zip(splits, parts, strict=True):
        for line in doubts(part):
            print(f"WARNING: {_SETS[split]} set: {line}", file=sys.stderr)
    return parts


_SETS = {"train": "training", "valid": "validation", "test": "test"}


def meaning(flags: absl_flags.FlagValues) -> None:
    """Defines ``--task`` and ``--loss``: what predictions mean."""
    absl_flags.DEFINE_enum(
        "task",
        None,
        ["classes", "labels", "values"],
        "What the model's predictions are: probabilities of exclusive classes or of labels, or "
        "values; default: found out where that is sure.",
        flag_values=flags,
    )
    text(flags)(
        "loss",
        None,
        "Of an example, a Keras loss by name (mean_squared_error, poisson, ...); default: what the "
        "model was compiled with, else cross-entropy or squared error.",
    )


def devices(flags: absl_flags.FlagValues) -> None:
    """Defines ``--distribute`` and what several hosts need to know."""
    absl_flags.DEFINE_enum(
        "distribute",
        "none",
        ["none", "mirrored", "multihost"],
        "Devices that share the work: the first one, all of this host, or all of several hosts "
        "(each runs this command; docs/cluster.md).",
        flag_values=flags,
    )
    number(flags)("hosts", None, "With multihost: processes; default: SLURM_NTASKS.", 1)
    number(flags)(
        "host_index", None, "With multihost: which this is, from 0; default: SLURM_PROCID.", 0
    )


def host(flags: absl_flags.FlagValues) -> tuple[int, int]:
    """(i, n): this process is host i of n, by the flags or Slurm's variables."""
    values = []
    for name, variable in (("hosts", "SLURM_NTASKS"), ("host_index", "SLURM_PROCID")):
        value = flags[name].value
        if flags.distribute != "multihost":
            if value is not None:
                raise InputError(f"--{name}={value}: only with --distribute=multihost")
            continue
        text = os.environ.get(variable, "") if value is None else str(value)
        if not text.isdecimal():
            raise InputError(
                f"--distribute=multihost: needs --{name}, or {variable} as Slurm sets it"
            )
        values.append(int(text))
    n, i = values or (1, 0)
    if i >= n:
        raise InputError(f"--host_index={i}: want 0..{n - 1}, one for each of --hosts={n}")
    return i, n


def require(flags: absl_flags.FlagValues, *names: str) -> None:
    """Raises InputError for the first flag that was not given."""
    for name in names:
        if flags[name].value is None:
            what = re.split(r"[:.] |[:.]$", flags[name].help)[0]
            raise InputError(f"--{name} is needed: {what[0].lower()}{what[1:]}")


def out_folder(flags: absl_flags.FlagValues) -> Path:
    """``--out``, where it is to be a folder: none that holds the data, or another command's files.

    Raises:
        InputError: it is no such folder.
    """
    if not flags.out.strip():
        raise InputError("--out=: want the name of a folder, which need not exist yet")
    out = Path(flags.out).expanduser()
    if out.exists() and not out.is_dir():
        raise InputError(f"--out={flags.out}: is a file; want a folder, which need not exist yet")
    source = Path(flags.data).expanduser() if "data" in flags else None
    if source is not None and source.exists() and out.exists() and out.samefile(source):
        raise InputError(f"--out={flags.out}: holds the data; choose another folder")
    return out


def load_keras() -> None:
    """Imports Keras and wakes its backend, quietly."""
    with quiet():
        import keras

        keras.ops.zeros(1)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps the backend's start-up messages off the terminal.

    Its C++ side writes them to standard error before any setting of its can stop them. Somebody who
    has set TF_CPP_MIN_LOG_LEVEL wants to see what that level shows.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", _SILENT) != _SILENT:
        yield
        return
    sys.stderr.flush()
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)


_SILENT = "3"


def flag_lines(flags: absl_flags.FlagValues) -> list[str]:
    """The values as lines of a flagfile; paths absolute, to work from anywhere."""
    lines = []
    for name in flags:
        flag = flags[name]
        if name in _HERE or flag.value is None:
            continue
        path = name in _PATHS and flag.value != flag.default  # the default model is no path
        lines.append(f"--{name}={_absolute(flag.value)}" if path else flag.serialize())
    return lines


def flagfile(command: str, flags: absl_flags.FlagValues, about: list[str], path: Path) -> str:
    """The text of the flagfile at ``path`` that repeats a call; ``about`` as comments."""
    repeat = f"repeat with: tfbs-shift {command} --flagfile={path} --out=ANOTHER_FOLDER"
    comments = [f"# {line}" for line in [*about, repeat]]
    return "\n".join([*comments, *flag_lines(flags)]) + "\n"


_PATHS = ("data", "model")
_HERE = ("out", "distribute", "coordinator", "hosts", "host_index", "verbosity")
"""Flags that say where, not what: another machine has its own."""


def _absolute(value: str) -> str:
    """A path, or several behind commas, made absolute; a word that is no path stays."""
    if not Path(value).expanduser().exists() and "," in value:
        return ",".join(map(_absolute, value.split(",")))
    path = Path(value).expanduser()
    return str(path.resolve()) if path.exists() else value
