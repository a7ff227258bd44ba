"""Trains a network on windows that a shift strategy chooses, into a run folder.

The folder gets model.keras, flags.txt (a flagfile that repeats the run), history.csv (one line an
epoch) and checkpoints/ (best.keras, the best model so far at any moment, and the state of the run).
The same command goes on where an interrupted one stopped. Defaults are the settings of Pap &
Megyeri (ICAART 2022). The validation set, a tenth of the training set unless the data has its own,
is shifted by the strategy of --monitor; history.csv has its centre and worst windows, too (with
--strategy=worst_of_<n> the worst of n).

  tfbs-shift train --data=FOLDER --window=90 --strategy=worst --out=runs/worst
  tfbs-shift train --flagfile=configs/sp1_w90_worst.flags --data=FOLDER --out=runs/sp1_worst
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags as absl_flags

from tfbs_shift.commands import shared
from tfbs_shift.errors import InputError
from tfbs_shift.locks import only_writer
from tfbs_shift.training.settings import PRECISIONS, Settings

if TYPE_CHECKING:
    from tfbs_shift.data import Examples


def define(flags: absl_flags.FlagValues) -> None:
    """The flags of the command."""
    _define_what(flags)
    _define_how(flags)
    _define_where(flags)


def _define_what(flags: absl_flags.FlagValues) -> None:
    """Flags of data, network and windows."""
    text, number = shared.text(flags), shared.number(flags)
    text(
        "data",
        None,
        "Labelled sequences: a Zeng folder (train.data, test.data), the authors' "
        ".npz, a folder of CSV or TSV files, one file with sequence,label, bound.fa,unbound.fa, "
        "bound.bed,unbound.bed,genome.fa, or a folder of DeepSEA's train.mat and valid.mat or of "
        ".h5 files made by extend.",
    )
    text(
        "model",
        "cnn",
        "cnn (the paper's two-layer network, its last layer a softmax, sigmoids or numbers as the "
        "labels want), tbinet (Park et al. 2020, for several labels), or a file to go on from.",
    )
    shared.imports(flags)
    shared.choices_of_data(flags)
    number(
        "window",
        None,
        "Bases the network reads; default: the whole sequence, or what the model file reads.",
        1,
    )
    shared.strategy(
        flags,
        "strategy",
        "none",
        "The window of each example: the centre (none), a random one, or the one of highest loss, "
        "of all (worst) or of n drawn for each example (worst_of_<n>).",
    )
    number("max_shift", None, "The largest shift either way, in bp; default: all that fit.", 0)
    shared.protocol(flags)
    shared.meaning(flags)
    text("out", None, "Run folder to write.")


def _define_how(flags: absl_flags.FlagValues) -> None:
    """Flags of the training itself."""
    number = shared.number(flags)
    number("epochs", Settings.epochs, "Epochs, at most.", 1)
    number("batch_size", Settings.batch_size, "Examples a step.", 1)
    absl_flags.DEFINE_float(
        "learning_rate",
        Settings.learning_rate,
        "Of Adam, at the start.",
        lower_bound=1e-12,
        upper_bound=10.0,
        flag_values=flags,
    )
    shared.strategy(
        flags,
        "monitor",
        None,
        "Windows of the validation set whose loss decides on early stopping, learning rate and "
        "best model, named as by --strategy; default: that one.",
    )
    number(
        "patience",
        Settings.patience,
        "Stop after so many epochs without a lower validation loss.",
        1,
    )
    number(
        "lr_patience",
        Settings.lr_patience,
        "Learning rate times 0.25 after so many epochs without a lower validation loss; 0: never.",
        0,
    )
    number("seed", Settings.seed, "Repeats weights, order, draws and dropout.", 0)
    absl_flags.DEFINE_boolean(
        "regularize", True, "L1, L2 and dropout of the cnn.", flag_values=flags
    )
    absl_flags.DEFINE_enum(
        "precision",
        Settings.precision,
        PRECISIONS,
        "What the training steps compute in; weights and validation are float32.",
        flag_values=flags,
    )


def _define_where(flags: absl_flags.FlagValues) -> None:
    """Flags of devices, and of what is written on the way."""
    text, number = shared.text(flags), shared.number(flags)
    shared.devices(flags)
    text("coordinator", None, "With multihost: HOST:PORT of process 0; default: as Slurm says.")
    number("save_every", Settings.save_every, "Steps between two saved states inside an epoch.", 1)
    text("log_dir", None, "Folder for TensorBoard (pip install tensorboard).")
    absl_flags.DEFINE_boolean(
        "profile", False, "With --log_dir: profile steps 11 to 20.", flag_values=flags
    )


def run(flags: absl_flags.FlagValues) -> None:
    """Trains."""
    shared.require(flags, "data", "out")
    out = shared.out_folder(flags)
    if (out / "robustness.json").exists():
        raise InputError(f"--out={out}: holds an audit; choose another folder")
    if (out / "model.keras").exists():
        _finished(flags, out)
        return
    settings = Settings(
        monitor=flags.monitor or flags.strategy,
        **{name: flags[name].value for name in _SETTINGS},
    )

    from tfbs_shift.windows import WindowRange

    host = shared.host(flags)
    if flags.coordinator is not None and flags.distribute != "multihost":
        raise InputError(f"--coordinator={flags.coordinator}: only with --distribute=multihost")
    parts = shared.load_data(flags, "train", "valid")
    for part in parts:
        part.labelled()  # or there is nothing to learn
    if flags.model in ("cnn", "tbinet"):
        window = flags.window or parts[0].length
        WindowRange(parts[0].length, window, flags.max_shift)  # before Keras's seconds

    if flags.distribute == "multihost":
        os.environ.setdefault("KERAS_BACKEND", "jax")  # the one that can
        with shared.quiet():
            from tfbs_shift.backend import devices

            devices.join(host, flags.coordinator)  # before anything is computed
    shared.load_keras()
    shared.import_modules(flags)
    from tfbs_shift.backend import devices

    part = f"-{host[0]}" if host[1] > 1 else ""
    with only_writer(out, part), devices.distributed(flags.distribute):
        _train(flags, settings, out, parts)


def _finished(flags: absl_flags.FlagValues, out: Path) -> None:
    """Says that the run is there already, if it is this one."""
    from tfbs_shift.training.folders import RunFolder

    if not RunFolder(out, shared.flagfile("train", flags, [], out / "flags.txt")).is_done():
        raise InputError(
            f"--out={out}: holds a finished run (model.keras) with other flags; choose another "
            "folder"
        )
    print(f"{out}: is done, with these flags")


def _task_of(examples: Examples) -> str:
    """What the paper's network is to predict, by its labels."""
    if examples.labelled().dtype.kind == "f":
        return "values"
    return "classes" if examples.label_names is None else "labels"


_SETTINGS = [field.name for field in dataclasses.fields(Settings) if field.name != "monitor"]
"""Flags of the same names."""


def _train(
    flags: absl_flags.FlagValues, settings: Settings, out: Path, parts: list[Examples]
) -> None:
    import keras

    from tfbs_shift import models
    from tfbs_shift.backend import devices
    from tfbs_shift.evaluation.audits import provenance
    from tfbs_shift.models.inputs import input_shape
    from tfbs_shift.strategies import strategy
    from tfbs_shift.training import runs

    keras.utils.set_random_seed(flags.seed)
    width = parts[0].labelled().shape[1]
    window = flags.window or parts[0].length
    if flags.model == "cnn":
        task = flags.task or _task_of(parts[0])
        model = models.cnn(window, classes=width, regularized=flags.regularize, task=task)
    elif flags.model == "tbinet":
        model = models.tbinet(window, labels=width)
    else:
        model = models.load(flags.model)
    lines = provenance(*parts, whole=False)
    first = devices.host()[0] == 0
    if first:
        print(*lines, sep="\n")
    # Strategies with seeds of their own: validation draws leave training's alone.
    worst = flags.strategy if flags.strategy.startswith("worst") else "worst"
    monitored = {
        name: strategy(name, seed=flags.seed + 1, protocol=flags.protocol)
        for name in dict.fromkeys(["none", settings.monitor, worst])
    }
    runs.train(
        model,
        parts[0],
        parts[1],
        strategy(flags.strategy, seed=flags.seed, protocol=flags.protocol),
        monitored,
        out,
        settings,
        flagfile=shared.flagfile("train", flags, lines, out / "flags.txt"),
        progress=sys.stderr.isatty(),
    )
    audit = ["--model", str(out), "--data", flags.data]
    if input_shape(model)[1] is None:
        audit += ["--window", str(settings.window)]
    if first:
        print(f"wrote {out}; audit it: tfbs-shift evaluate {shlex.join(audit)} --out=DIR")
