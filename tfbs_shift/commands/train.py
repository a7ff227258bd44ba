"""Trains a network on windows that a shift strategy chooses, into a run folder.

The folder gets model.keras, flags.txt (a flagfile that repeats the run), history.csv (one line an
epoch) and checkpoints/ (best.keras, the best model so far at any moment, and the state of the run).
The same command goes on where an interrupted one stopped. Defaults are the settings of Pap &
Megyeri (ICAART 2022). The validation set, a tenth of the training set unless the data has its own,
is shifted by the strategy of --monitor; history.csv has its centre and worst windows, too.

  tfbs-shift train --data=FOLDER --window=90 --strategy=worst --out=runs/worst
  tfbs-shift train --flagfile=configs/sp1_w90_worst.flags --data=FOLDER --out=runs/sp1_worst
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags as absl_flags

from tfbs_shift.commands import shared
from tfbs_shift.errors import InputError

if TYPE_CHECKING:
    from tfbs_shift.data import Examples


def define(flags: absl_flags.FlagValues) -> None:
    """The flags of the command."""
    text, number = shared.text(flags), shared.number(flags)
    text(
        "data",
        None,
        "Labelled sequences: a Zeng folder (train.data, test.data), the authors' "
        ".npz, a folder of CSV files, one .csv with sequence,label, bound.fa,unbound.fa, "
        "bound.bed,unbound.bed,genome.fa, or a folder of DeepSEA's train.mat and valid.mat or of "
        ".h5 files made by extend.",
    )
    text(
        "model",
        "cnn",
        "cnn (the paper's two-layer network), tbinet (Park et al. 2020, for several labels), or a "
        "file to go on from.",
    )
    shared.choices_of_data(flags)
    number(
        "window",
        None,
        "Bases the network reads; default: the whole sequence, or what the model file reads.",
        1,
    )
    absl_flags.DEFINE_enum(
        "strategy",
        "none",
        ["none", "random", "worst"],
        "The window of each example: the centre, a random one, or the one of highest loss.",
        flag_values=flags,
    )
    number(
        "tries",
        None,
        "With worst: only so many starts, drawn for each example (W-of-n); default: every start.",
        1,
    )
    number("max_shift", None, "The largest shift either way, in bp; default: all that fit.", 0)
    shared.protocol(flags)
    text("out", None, "Run folder to write.")
    number("epochs", 100, "Epochs, at most.", 1)
    number("batch_size", 64, "Examples a step.", 1)
    absl_flags.DEFINE_float(
        "learning_rate", 5e-5, "Of Adam, at the start.", lower_bound=0.0, flag_values=flags
    )
    absl_flags.DEFINE_enum(
        "monitor",
        None,
        ["none", "random", "worst"],
        "Windows of the validation set whose loss decides on early stopping, learning rate and "
        "best model; default: those of --strategy.",
        flag_values=flags,
    )
    number("patience", 25, "Stop after so many epochs without a lower validation loss.", 1)
    number(
        "lr_patience",
        5,
        "Learning rate times 0.25 after so many epochs without a lower validation loss; 0: never.",
        0,
    )
    number("seed", 0, "Repeats weights, order, draws and dropout.", 0)
    absl_flags.DEFINE_boolean(
        "regularize", True, "L1, L2 and dropout of the cnn.", flag_values=flags
    )
    absl_flags.DEFINE_enum(
        "precision",
        "float32",
        ["float32", "mixed_bfloat16", "mixed_float16"],
        "What the training steps compute in; weights and validation are float32.",
        flag_values=flags,
    )
    shared.devices(flags)
    text("coordinator", None, "With multihost: HOST:PORT of process 0; default: as Slurm says.")
    number("save_every", 1000, "Steps between two saved states inside an epoch.", 1)
    text("log_dir", None, "Folder for TensorBoard (pip install tensorboard).")
    absl_flags.DEFINE_boolean(
        "profile", False, "With --log_dir: profile steps 11 to 20.", flag_values=flags
    )


def run(flags: absl_flags.FlagValues) -> None:
    """Trains."""
    shared.require(flags, "data", "out")
    out = shared.out_folder(flags)
    if (out / "model.keras").exists():
        raise InputError(f"--out={out}: holds a finished run (model.keras); choose another folder")
    if flags.tries is not None and flags.strategy != "worst":
        raise InputError(f"--tries={flags.tries}: only with --strategy=worst")
    if flags.profile and flags.log_dir is None:
        raise InputError("--profile: needs --log_dir, a folder to put the profile in")

    from tfbs_shift import data
    from tfbs_shift.windows import WindowRange

    host = shared.host(flags)
    if flags.coordinator is not None and flags.distribute != "multihost":
        raise InputError(f"--coordinator={flags.coordinator}: only with --distribute=multihost")
    parts = [
        data.load(flags.data, split, **shared.chosen_of_data(flags)) for split in ("train", "valid")
    ]
    if flags.model in ("cnn", "tbinet"):
        window = flags.window or parts[0].length
        WindowRange(parts[0].length, window, flags.max_shift)  # before Keras's seconds

    if flags.distribute == "multihost":
        os.environ.setdefault("KERAS_BACKEND", "jax")  # the one that can
        with shared.quiet():
            from tfbs_shift.backend import devices

            devices.join(host, flags.coordinator)  # before anything is computed
    shared.load_keras()
    from tfbs_shift.backend import devices

    with devices.distributed(flags.distribute):
        _train(flags, out, parts)


def _train(flags: absl_flags.FlagValues, out: Path, parts: list[Examples]) -> None:
    import keras

    from tfbs_shift import models
    from tfbs_shift.backend import devices
    from tfbs_shift.models.outputs import input_shape, input_window
    from tfbs_shift.strategies import strategy
    from tfbs_shift.training import runs

    keras.utils.set_random_seed(flags.seed)
    values = parts[0].labels.shape[1]
    window = flags.window or parts[0].length
    if flags.model == "cnn":
        model = models.cnn(window, classes=values, regularized=flags.regularize)
    elif flags.model == "tbinet":
        model = models.tbinet(window, labels=values)
    else:
        model = models.load(flags.model)
        window = input_window(model, flags.window)
    lines = runs.provenance(*parts)
    first = devices.host()[0] == 0
    if first:
        print(*lines, sep="\n")
    # Strategies with seeds of their own: validation draws leave training's alone.
    monitor = flags.monitor or flags.strategy
    monitored = {
        name: strategy(
            name,
            tries=flags.tries if name == "worst" else None,
            seed=flags.seed + 1,
            protocol=flags.protocol,
        )
        for name in dict.fromkeys(["none", monitor, "worst"])
    }
    runs.train(
        model,
        parts[0],
        parts[1],
        strategy(flags.strategy, tries=flags.tries, seed=flags.seed, protocol=flags.protocol),
        monitored,
        out,
        flagfile=shared.flagfile("train", flags, lines, out / "flags.txt"),
        window=window,
        monitor=monitor,
        max_shift=flags.max_shift,
        epochs=flags.epochs,
        batch_size=flags.batch_size,
        learning_rate=flags.learning_rate,
        patience=flags.patience,
        lr_patience=flags.lr_patience,
        seed=flags.seed,
        precision=flags.precision,
        save_every=flags.save_every,
        log_dir=None if flags.log_dir is None else Path(flags.log_dir).expanduser(),
        profile=flags.profile,
        progress=sys.stderr.isatty(),
    )
    audit = ["--model", str(out), "--data", flags.data]
    if input_shape(model)[1] is None:
        audit += ["--window", str(window)]
    if first:
        print(f"wrote {out}; audit it: tfbs-shift evaluate {shlex.join(audit)} --out=DIR")
