"""Inputs that are no genome: does the network know that it does not know?"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tfbs_shift import sequences
from tfbs_shift.evaluation.checks import predicted
from tfbs_shift.scanning.scans import ScanJob
from tfbs_shift.tasks.areas import label_scores

_EXAMPLES = 2000


def controls(
    model: keras.Model,
    x: Any,
    y: Any,
    *,
    window: int | None = None,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """How sure a model is of inputs that are no real sequence, beside the centre windows of ``x``.

    ``shuffled``: the bases of each window in random order; ``dinucleotide``: shuffled with every
    dinucleotide count kept; ``uniform``: 1/4 in every channel; ``random``: every base uniform. As
    many as there are examples, up to 2,000 evenly spread ones.

    Sureness is the highest probability (of several labels: the largest of them). Detection is the
    AUROC with which it tells real windows (higher) from the others: 0.5 cannot tell, below 0.5 the
    model is surer of what is no sequence.

    Args:
        model, x, y, window: as for ``scan``; x has 4 channels.
        seed: of the shuffles and draws.

    Returns:
        For ``real`` and each kind of input: ``sureness``, the mean; ``called``, the share called
        bound (the class of the highest number, or any label above 0.5); and ``detection``, not for
        ``real``.

    Raises:
        InputError: as ``scan``.
    """
    job = ScanJob.of(model, x, y, window=window, max_shift=0, protect=None)
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
    found: dict[str, dict[str, float]] = {}
    sure: dict[str, np.ndarray] = {}
    for name, windows in inputs.items():
        p = predicted(job, windows)
        if p.shape[1] == 1:
            p = np.concatenate([1 - p, p], axis=1)
        sure[name] = p.max(axis=1)
        called = (
            p.argmax(axis=1) == p.shape[1] - 1 if job.outputs.exclusive else p.max(axis=1) > 0.5
        )
        found[name] = {"sureness": float(sure[name].mean()), "called": float(called.mean())}
        if name != "real":
            both = np.concatenate([sure["real"], sure[name]])[:, None]
            truth = (np.arange(len(both)) < len(real)).astype(int)[:, None]
            found[name]["detection"] = float(label_scores(truth, both).auroc[0])
    return found
