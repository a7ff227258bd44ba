"""Worst starts found in bfloat16 and confirmed in float32."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tfbs_shift.scanning.jobs import ScanJob


@dataclass(frozen=True, eq=False)
class Screening:
    """How the worst starts were found among losses computed in bfloat16.

    A start is computed again in float32 unless its bfloat16 loss, corrected by what the example's
    losses are off by on average and granted an error beyond that, stays below the example's highest
    float32 loss. The error granted is twice the largest seen, relative to ``l * (1 + |log l|)`` for
    a loss l: that is about what a relative error of the logit makes of it. So it is measured, on
    all starts computed twice (every start of about 16 examples among them), and not proved.

    Attributes:
        again: bool (N, S): the losses that are float32; the others are bfloat16.
        largest_error: the largest |bfloat16 - float32| seen.
        bound: the relative error granted, beyond the example's usual one.
        unsure: bool (N,): examples where some loss is not finite, so that nothing is guaranteed.
    """

    again: np.ndarray
    largest_error: float
    bound: float
    unsure: np.ndarray

    def __str__(self) -> str:
        count, total = int(self.again.sum()), self.again.size
        unsure = int(self.unsure.sum())
        return (
            f"{count} of {total} losses ({count / total:.1%}) computed again in float32; largest "
            f"error of bfloat16 {self.largest_error:.2g}, {self.bound:.2g} granted (relative); "
            f"{unsure} examples without guarantee"
        )


def screen(job: ScanJob, loss: np.ndarray, progress: bool = False) -> Screening:
    """Replaces bfloat16 losses (N, S) by float32 ones wherever a start could be the worst."""
    job = replace(job, precision="float32")
    allowed = np.ones(loss.shape, bool) if job.allowed is None else job.allowed
    approx = loss.copy()
    finite = np.maximum(np.nan_to_num(approx), 1e-7)
    scale = finite * (1 + np.abs(np.log(finite)))
    unsure = ~np.isfinite(approx).all(axis=1)
    again = np.zeros(loss.shape, bool)
    error = np.zeros(loss.shape, np.float32)  # where computed again
    # Some examples at every start, all examples at the start that looks worst: what errors are.
    wanted = np.zeros(loss.shape, bool)
    wanted[:: max(1, len(loss) // 16)] = True
    wanted[np.arange(len(loss)), np.where(allowed, approx, -np.inf).argmax(axis=1)] = True
    bound = 0.0
    while wanted.any():
        rows, columns = np.nonzero(wanted)
        starts = job.windows.starts[columns, None]
        for here, exact, _ in job.blocks(starts, None, progress, rows=rows, predictions=False):
            loss[rows[here], columns[here]] = exact[:, 0]
        again |= wanted
        unsure |= ~np.isfinite(np.where(again, loss, 0)).all(axis=1)
        error[wanted] = np.nan_to_num(loss - approx, posinf=0, neginf=0)[wanted]
        bias = error.sum(axis=1, keepdims=True) / again.sum(axis=1, keepdims=True)
        residual = np.where(again, np.abs(error - bias), 0)
        bound = max(bound, 2 * float((residual / scale).max()))
        best = np.where(again & allowed, loss, -np.inf).max(axis=1, keepdims=True)
        wanted = allowed & ~again & ~(approx + bias + bound * scale < best)
    return Screening(again, float(np.abs(error).max()), bound, unsure)
