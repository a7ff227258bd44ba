"""Turns a weight file of the original stacks into a .keras file, or a model back into such a file.

Reads TBiNet and the paper's CNN as Keras 2 with Theano or tf.keras 2.x saved them, whole models or
weights alone. Kernels of Theano files are reversed as they must be; no code in the file is run.
With --to_original, writes weights in the layout that the original stacks' load_weights reads.

  tfbs-shift import --weights=tbinet_best.hdf5 --out=tbinet.keras
  tfbs-shift import --to_original --weights=runs/tbinet --out=tbinet_robust.hdf5
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
    text(
        "weights",
        None,
        "The old .h5 or .hdf5 file; with --to_original a run folder or .keras file.",
    )
    text("out", None, "The .keras file to write; with --to_original the .h5 or .hdf5.")
    absl_flags.DEFINE_enum(
        "backend",
        None,
        ["theano", "tensorflow"],
        "Which backend wrote the file, if the file does not say; with --to_original whose layout "
        "to write (default then: tensorflow, which both old stacks read).",
        flag_values=flags,
    )
    absl_flags.DEFINE_boolean(
        "to_original", False, "Write the original stacks' layout.", flag_values=flags
    )


def run(flags: absl_flags.FlagValues) -> None:
    """Imports."""
    shared.require(flags, "weights", "out")
    out = Path(flags.out).expanduser()
    suffixes = (".h5", ".hdf5") if flags.to_original else (".keras",)
    if out.suffix not in suffixes:
        raise InputError(f"--out={out}: want a name that ends with {' or '.join(suffixes)}")

    shared.load_keras()
    from tfbs_shift import models
    from tfbs_shift.models.original import save_original

    model = models.load(flags.weights, backend=None if flags.to_original else flags.backend)
    with replacing(out) as file:
        if flags.to_original:
            save_original(model, file, flags.backend or "tensorflow")
        else:
            model.save(file)
    window = model.input_shape[1] or "any number of"
    print(
        f"wrote {out}: {model.name}, {model.count_params():,} weights, reads {window} bp, "
        f"channels {models.alphabet(model)}, predicts {model.output_shape[1]} values"
    )
