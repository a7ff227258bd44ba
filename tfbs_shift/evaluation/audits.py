"""An audit: all that is to be found out about a model and its examples, in one call."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import keras
import numpy as np

import tfbs_shift
from tfbs_shift import data
from tfbs_shift.backend import computing, devices
from tfbs_shift.data import Examples
from tfbs_shift.errors import InputError
from tfbs_shift.evaluation import checks
from tfbs_shift.evaluation.artificial import surenesses
from tfbs_shift.evaluation.robustness import Robustness, evaluated
from tfbs_shift.evaluation.settings import Details, Execution, Shifts
from tfbs_shift.evaluation.statistics import resampling_groups
from tfbs_shift.scanning.predictors import predictor
from tfbs_shift.scanning.scans import Reading

if TYPE_CHECKING:
    from typing_extensions import Unpack


def audit(
    model: Any,
    examples: Examples,
    shifts: Shifts | None = None,
    details: Details | None = None,
    execution: Execution | None = None,
    *,
    trained_on: Examples | None = None,
    training: Mapping[str, Any] | None = None,
    **reading: Unpack[Reading],
) -> Robustness | None:
    """All that ``tfbs-shift evaluate`` finds out: :func:`evaluate`, and what goes with it.

    Beside the figures: self-checks, those of the examples and against the training data among them;
    controls; what protected spans did; what the examples are, with their checksum; and what it was
    made with.

    Args:
        model: as for ``evaluate``.
        examples: what to audit it on, in any channel order: they are put in the model's. Without
            labels it is found out how far predictions move.
        shifts: how windows move; None: the defaults.
        details: what else is wanted. Chromosomes, where there are five or more, and the names of
            labels come from the examples, if it has none.
        execution: how it is run; None: in memory, on one host.
        trained_on: what the model was trained on: a test set should share nothing with it.
        training: the flags that it was trained with, for the record.
        **reading: ``layout``, ``args``, ``constant``: how the model is called, as for ``scan``.

    Returns:
        What was found; None on other hosts than the first.

    Raises:
        InputError: as ``evaluate``.
    """
    shifts, details = shifts or Shifts(), details or Details()
    model = predictor(model, **reading)
    if details.groups is None and examples.intervals is not None:
        details = replace(details, groups=resampling_groups(examples.intervals.chrom))
    if details.label_names is None:
        details = replace(details, label_names=examples.label_names)
    x = examples.one_hot(model.alphabet)
    result = evaluated(model, x, examples.y, shifts, details, execution or Execution())
    if result is None:
        return None
    of_data = checks.of_examples(examples, trained_on) if details.self_checks else []
    seen = [] if trained_on is None else checks.overlap(examples, trained_on)
    sure = None
    if result.task.probabilities:
        sure = surenesses(model, x, examples.y, shifts.window, details.meaning, shifts.seed)
    return replace(
        result,
        checks=of_data + result.checks + seen,
        controls=sure,
        data=examples.described(),
        training={k: v for k, v in (training or {}).items() if k != "data"},
        provenance=tuple(provenance(examples)),
    )  # fmt: skip


def training_examples(source: str, split: str, **options: Any) -> Examples | None:
    """The training set beside a test set, to see whether the test set is new to a model.

    Args:
        source: what was audited, or what the model was trained on, as ``data.load`` takes it.
        split: of the examples audited.
        options: of ``data.load``.

    Returns:
        None where nothing is known: a single file has none, and files too large to hold are not
        compared.
    """
    path = Path(source).expanduser()
    if split != "test" or not (path.is_dir() or path.suffix.lower() == ".npz"):
        return None
    try:
        examples = data.load(source, "train", **options)
    except InputError:  # moved away since, or a folder of test files only
        return None
    return None if examples.in_file else examples


def provenance(*parts: Examples, whole: bool = True) -> list[str]:
    """Lines that say what figures were made with: versions, machine, and the data's checksum.

    Args:
        *parts: the data.
        whole: every row counts for the checksum, also of what is much in a file.
    """
    lines = [
        f"tfbs-shift {tfbs_shift.__version__}, Python {platform.python_version()}, "
        f"{computing.version()}, Keras {keras.__version__}, numpy {np.__version__}, "
        f"h5py {h5py.__version__}",
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs; computed on "
        f"{computing.hardware()}",
    ]
    if devices.replicas() > 1:
        lines.append(f"batches shared by {devices.replicas()} devices of {devices.host()[1]} hosts")
    for part in parts:
        checksum = part.checksum() if whole else part.fingerprint()
        line = f"{part.source}: {len(part)} examples of {part.length} bp, {checksum}"
        if part.in_file and part.paired_strands(rows=64):
            line += ", the second half the other strand of the first"
        lines.append(line)
    return lines
