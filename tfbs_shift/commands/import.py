"""Turns a weight file of the original stacks into a .keras file.

Reads TBiNet and the paper's CNN as Keras 2 with Theano or tf.keras 2.x saved them, whole models or
weights alone. Kernels of Theano files are reversed as they must be; no code in the file is run.

  tfbs-shift import --weights=tbinet_best.hdf5 --out=tbinet.keras
"""

from __future__ import annotations

from pathlib import Path

from absl import flags as absl_flags

from tfbs_shift.commands import shared
from tfbs_shift.errors import InputError
from tfbs_shift.files import replacing


def define(flags: absl_flags.FlagValues) -> None:
    """The flags of the command."""
    text = shared.text(flags)
    text("weights", None, "The old .h5 or .hdf5 file.")
    text("out", None, "The .keras file to write.")
    absl_flags.DEFINE_enum(
        "backend",
        None,
        ["theano", "tensorflow"],
        "Which backend wrote the file, if the file does not say.",
        flag_values=flags,
    )


def run(flags: absl_flags.FlagValues) -> None:
    """Imports."""
    shared.require(flags, "weights", "out")
    out = Path(flags.out).expanduser()
    if out.suffix != ".keras":
        raise InputError(f"--out={out}: want a name that ends with .keras")

    shared.load_keras()
    from tfbs_shift import models

    model = models.load(flags.weights, backend=flags.backend)
    with replacing(out) as file:
        model.save(file)
    window = model.input_shape[1] or "any number of"
    print(
        f"wrote {out}: {model.name}, {model.count_params():,} weights, reads {window} bp, "
        f"channels {models.alphabet(model)}, predicts {model.output_shape[1]} values"
    )
