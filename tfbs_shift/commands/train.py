"""Trains a network on windows that a shift strategy chooses, into a run folder.

The folder gets model.keras, flags.txt (a flagfile that repeats the run), history.csv (one line an
epoch) and checkpoints/best.keras (the best model so far, at any moment). Defaults are the settings
of Pap & Megyeri (ICAART 2022). The validation set, a tenth of the training set unless the data has
its own, is shifted by the same strategy.

  tfbs-shift train --data=FOLDER --window=90 --strategy=worst --out=runs/worst
  tfbs-shift train --flagfile=configs/sp1_w90_worst.flags --data=FOLDER --out=runs/sp1_worst
"""

from __future__ import annotations

import shlex
from pathlib import Path

from absl import flags as absl_flags

from tfbs_shift.commands import shared
from tfbs_shift.errors import InputError


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


def run(flags: absl_flags.FlagValues) -> None:
    """Trains."""
    shared.require(flags, "data", "out")
    out = Path(flags.out).expanduser()
    if (out / "model.keras").exists():
        raise InputError(f"--out={out}: holds a finished run (model.keras); choose another folder")
    if flags.tries is not None and flags.strategy != "worst":
        raise InputError(f"--tries={flags.tries}: only with --strategy=worst")

    from tfbs_shift import data
    from tfbs_shift.windows import WindowRange

    parts = [
        data.load(flags.data, split, **shared.chosen_of_data(flags)) for split in ("train", "valid")
    ]
    if flags.model in ("cnn", "tbinet"):
        window = flags.window or parts[0].length
        WindowRange(parts[0].length, window, flags.max_shift)  # before TensorFlow's seconds

    shared.load_keras()
    import keras

    from tfbs_shift import models, runs
    from tfbs_shift.models.outputs import input_shape, input_window
    from tfbs_shift.strategies import strategy

    keras.utils.set_random_seed(flags.seed)
    values = parts[0].labels.shape[1]
    if flags.model == "cnn":
        model = models.cnn(window, classes=values, regularized=flags.regularize)
    elif flags.model == "tbinet":
        model = models.tbinet(window, labels=values)
    else:
        model = models.load(flags.model)
        window = input_window(model, flags.window)
    lines = runs.provenance(*parts)
    print(*lines, sep="\n")
    # Two strategies with seeds of their own: validation draws leave training's alone.
    choosing, validating = (
        strategy(flags.strategy, tries=flags.tries, seed=seed, protocol=flags.protocol)
        for seed in (flags.seed, flags.seed + 1)
    )
    try:
        runs.train(
            model,
            parts[0],
            parts[1],
            choosing,
            validating,
            out,
            flagfile=shared.flagfile("train", flags, lines, out / "flags.txt"),
            window=window,
            max_shift=flags.max_shift,
            epochs=flags.epochs,
            batch_size=flags.batch_size,
            learning_rate=flags.learning_rate,
            patience=flags.patience,
            lr_patience=flags.lr_patience,
            seed=flags.seed,
        )
    except KeyboardInterrupt:
        best = out / "checkpoints" / "best.keras"
        if best.exists():
            print(f"\nstopped; the best model so far is {best}")
        raise
    audit = ["--model", str(out), "--data", flags.data]
    if input_shape(model)[1] is None:
        audit += ["--window", str(window)]
    print(f"wrote {out}; audit it: tfbs-shift evaluate {shlex.join(audit)} --out=DIR")
