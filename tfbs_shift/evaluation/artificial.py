"""Inputs that are no genome: does the network know that it does not know?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfbs_shift import sequences
from tfbs_shift.evaluation.checks import outputs_of
from tfbs_shift.scanning.jobs import ScanJob
from tfbs_shift.scanning.predictors import predictor
from tfbs_shift.scanning.scans import Reading
from tfbs_shift.tasks.areas import label_scores
from tfbs_shift.tasks.inferring import Meaning

if TYPE_CHECKING:
    from typing_extensions import Unpack

_EXAMPLES = 2000


def controls(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    window: int | None = None,
    output: Any = None,
    task: str | None = None,
    threshold: float = 0.5,
    seed: int = 0,
    **reading: Unpack[Reading],
) -> dict[str, dict[str, float]]:
    """How sure a model is of inputs that are no real sequence, beside the centre windows of ``x``.

    ``shuffled``: the bases of each window in random order; ``dinucleotide``: shuffled with every
    dinucleotide count kept; ``uniform``: 1/4 in every channel; ``random``: every base uniform. As
    many as there are examples, up to 2,000 evenly spread ones.

    Confidence is the highest probability (of several labels: the largest of them). Detection is the
    AUROC with which it tells real windows (higher) from the others: 0.5 cannot tell, below 0.5 the
    model is surer of what is no sequence.

    Args:
        model, x, y, window, output, task, reading: as for ``scan``; x has 4 channels.
        threshold: as for ``evaluate``.
        seed: of the shuffles and draws.

    Returns:
        For ``real`` and each kind of input: ``confidence``, the mean; ``called``, the share called
        bound (the last class, or any label); and ``detection``, not for
        ``real``.

    Raises:
        InputError: as ``scan``; predictions that are no probabilities.
    """
    meaning = Meaning(output, task, threshold=threshold)
    return surenesses(predictor(model, **reading), x, y, window, meaning, seed)


def surenesses(
    model: Any, x: Any, y: Any, window: int | None, meaning: Meaning, seed: int
) -> dict[str, dict[str, float]]:
    """:func:`controls` of predictions of which is known what they mean."""
    job = ScanJob.of(model, x, y, window=window, max_shift=0, meaning=meaning)
    rng = np.random.default_rng(seed)
    rows = np.unique(np.linspace(0, len(x) - 1, min(len(x), _EXAMPLES)).astype(int))
    centre = slice(job.windows.centre, job.windows.centre + job.windows.window)
    real = np.stack([np.asarray(x[i : i + 1])[0, centre] for i in rows.tolist()])
    codes = sequences.from_one_hot(real)
    uniform = np.full((1, *real.shape[1:]), 0.25, np.float32)
    inputs = {
        "real": real,
        "shuffled": sequences.one_hot(rng.permuted(codes, axis=1)),
        "dinucleotide": sequences.one_hot(
            np.stack([sequences.dinucleotide_shuffle(row, rng) for row in codes])
        ),
        "uniform": uniform,
        "random": sequences.one_hot(rng.integers(0, 4, codes.shape)),
    }
    results: dict[str, dict[str, float]] = {}
    confidence: dict[str, np.ndarray] = {}
    for name, windows in inputs.items():
        whose = np.resize(rows, len(windows))
        confidence[name], called = job.task.confidence(outputs_of(job, windows, whose))
        results[name] = {
            "confidence": float(confidence[name].mean()), "called": float(called.mean())
        }  # fmt: skip
        if name != "real":
            both = np.concatenate([confidence["real"], confidence[name]])[:, None]
            truth = (np.arange(len(both)) < len(real)).astype(int)[:, None]
            results[name]["detection"] = float(label_scores(truth, both).auroc[0])
    return results
