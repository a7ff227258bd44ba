"""Self-checks: what would make a robustness figure meaningless, said before anybody quotes it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from tfbs_shift import sequences
from tfbs_shift.data import Examples, Intervals, chromosomes
from tfbs_shift.data.sense import findings
from tfbs_shift.scanning.jobs import ScanJob
from tfbs_shift.tasks import Classes, Labels, Unlabelled, Values
from tfbs_shift.tasks.areas import label_scores
from tfbs_shift.windows import nearest

_EXAMPLES = 1000
_SURE = 0.001  # p-value
_SATURATED = 1e-6
_ROUNDING = 1e-6
"""Of a prediction, by which equal sequences may differ."""
_CORRELATED = 3.0
"""Standard errors of a correlation above 0, below which it may be chance."""


class Check(NamedTuple):
    """One check."""

    name: str
    passed: bool
    message: str
    """what was seen, and if it did not pass what that means"""


def of_examples(examples: Examples, training: Examples | None = None) -> list[Check]:
    """Whether examples can tell anything: see :func:`tfbs_shift.data.sense.findings`.

    Args:
        examples: those of the audit.
        training: what the model was trained on, of which only doubts are told.
    """
    results = [Check(*finding) for finding in findings(examples)]
    of_training = [] if training is None else findings(training)
    return results + [
        Check(f"training {name}", False, f"training set: {line}")
        for name, sound, line in of_training
        if not sound
    ]


def of_model(job: ScanJob) -> list[Check]:
    """Checks a model on up to 1,000 evenly spread examples, at No Shift's windows.

    Room to move, randomness at inference, saturated outputs, a model at chance, labels in the
    wrong column or order, the alphabet (A, C, G, T against A, G, C, T).

    Cost: three passes of the model over those windows.
    """
    count = len(job.x)
    rows = np.unique(np.linspace(0, count - 1, min(count, _EXAMPLES)).astype(int))
    allowed = None if job.allowed is None else job.allowed[rows]
    starts = job.windows.starts[nearest(len(rows), job.windows, allowed)]
    windows = np.stack(
        [np.asarray(job.x[i : i + 1])[0, s : s + job.windows.window]
         for i, s in zip(rows.tolist(), starts.tolist(), strict=True)]
    )  # fmt: skip
    y = np.asarray(job.y)[rows]
    first, again = (outputs_of(job, windows, rows) for _ in range(2))
    results = [_room(job), _repeats(first, again), *_doubts(job)]
    if job.task.probabilities:
        results.append(_saturation(first))
    results += _OF_TASK[job.task.name](job.task, y, first)
    if windows.shape[2] == 4 and not isinstance(job.task, Unlabelled):
        results.append(_alphabet(job, y, first, windows, rows))
    return results


def _doubts(job: ScanJob) -> list[Check]:
    return [Check("meaning", False, doubt) for doubt in job.judged.doubts]


def _room(job: ScanJob) -> Check:
    length, window, slack = job.windows.length, job.windows.window, job.windows.slack
    text = f"sequences of {length} bp, of which the network reads {window}"
    if slack:
        return Check("room", True, text)
    return Check(
        "room", False,
        f"{text}: no window can move, so nothing here is about shifts; give longer sequences (of "
        "BED files --flank or --length)",
    )  # fmt: skip


def outputs_of(job: ScanJob, windows: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Predictions (n, K) of windows (n, L, C) of some examples (n,), logits as probabilities."""
    leaves = job.predictor.run(windows, rows)
    condensed = job.judged.output.condensed(leaves, job.judged.outputs)
    return job.task.outputs(np.asarray(condensed, np.float32))


def _repeats(first: np.ndarray, again: np.ndarray) -> Check:
    largest = float(np.abs(first - again).max())
    text = f"two calls on the same windows differ by at most {largest:.1g}"
    if largest <= 1e-5 * max(1.0, float(np.abs(first).max())):
        return Check("repeatable", True, text)
    return Check(
        "repeatable", False,
        f"{text}: the model is random at inference (dropout left on?), so that moving the window "
        "is not what its answers change by",
    )  # fmt: skip


def _saturation(p: np.ndarray) -> Check:
    share = float(((p < _SATURATED) | (p > 1 - _SATURATED)).all(axis=1).mean())
    text = f"{share:.1%} of examples have probabilities within {_SATURATED:g} of 0 or 1 only"
    if share <= 0.5:
        return Check("saturation", True, text)
    return Check(
        "saturation", False,
        f"{text}: losses are clipped there, so the worst shift may be any, and figures of loss "
        "and wobble say little",
    )  # fmt: skip


def _classes(task: Classes, y: np.ndarray, p: np.ndarray) -> list[Check]:
    truth, calls = task.truth(y), task.without_logits().calls(p)
    right, total = int((calls == truth).sum()), len(truth)
    share = max(np.bincount(truth).max() / total, 1e-9)
    text = f"accuracy {right / total:.3f} of {total} examples, the commonest class is {share:.3f}"
    if len(np.unique(truth)) < 2:
        return [
            Check(
                "chance", False,
                f"{text}: one class only, so whether the model tells it from another is not known",
            )
        ]  # fmt: skip
    better = float(stats.binomtest(right, total, share, alternative="greater").pvalue)
    chance = Check(
        "chance", better < _SURE,
        text if better < _SURE else
        f"{text}: no better than always saying that, so its robustness means nothing",
    )  # fmt: skip
    classes = max(2, p.shape[1])
    turned = int((classes - 1 - calls == truth).sum())
    worse = 1.0
    if right + turned:
        worse = float(stats.binomtest(right, right + turned, 0.5, alternative="less").pvalue)
    labels = Check(
        "labels", worse >= _SURE,
        f"with the classes in reverse order accuracy were {turned / total:.3f}"
        + ("" if worse >= _SURE else ": higher, so the label columns are probably swapped"),
    )  # fmt: skip
    return [chance, labels]


def _labels(task: Labels, y: np.ndarray, p: np.ndarray) -> list[Check]:
    own = float(label_scores(y, p).means()["auroc"])
    if np.isnan(own):
        return [Check("chance", False, "no label has both classes among the examples checked")]
    text = f"mean AUROC {own:.3f} of {len(y)} examples"
    chance = Check(
        "chance", own > 0.55,
        text if own > 0.55 else f"{text}: near chance (0.5), so its robustness means nothing",
    )  # fmt: skip
    results = [chance]
    if y.shape[1] > 2:
        moved = {
            f"moved by {by:+d}": label_scores(np.roll(y, by, axis=1), p).means()["auroc"]
            for by in (-2, -1, 1, 2)
        }
        moved["reversed"] = label_scores(y[:, ::-1], p).means()["auroc"]
        best = max(moved, key=lambda how: np.nan_to_num(moved[how]))
        wrong = bool(moved[best] > own + 0.05)
        results.append(
            Check(
                "labels",
                not wrong,
                f"with label columns {best} the mean AUROC were {moved[best]:.3f}"
                + (": higher, so the labels are probably in the wrong columns" if wrong else ""),
            )
        )
    return results


def _values(task: Values, y: np.ndarray, p: np.ndarray) -> list[Check]:
    known = task.per_label(y, p)["pearson"]
    known = known[~np.isnan(known)]
    if not len(known):
        text = f"labels or predictions of all {len(y)} examples are the same: no correlation"
        return [_varied(p), Check("chance", False, text)]
    own = known.mean()
    text = f"mean Pearson correlation {own:.3f} of {len(y)} examples"
    sure = own > _CORRELATED / np.sqrt(max(1, len(y) - 3))
    chance = Check(
        "chance", bool(sure),
        text if sure else f"{text}: no better than none, so its robustness means nothing",
    )  # fmt: skip
    return [_varied(p), chance]


def _varied(p: np.ndarray) -> Check:
    """Whether predictions differ between examples, by more than where an example stands does."""
    flat = np.flatnonzero(np.ptp(p, axis=0) <= _ROUNDING * np.abs(p).max(axis=0))
    if not len(flat):
        return Check("constant", True, "predictions differ between examples")
    return Check(
        "constant", False,
        f"{len(flat)} of {p.shape[1]} outputs are the same for all examples (output {flat[0]}): no "
        "correlation, and nothing to measure a move by",
    )  # fmt: skip


def _unlabelled(task: Unlabelled, y: np.ndarray, p: np.ndarray) -> list[Check]:
    return [_varied(p)]


_OF_TASK = {
    "classes": _classes, "labels": _labels, "values": _values, "unlabelled": _unlabelled
}  # fmt: skip


def _alphabet(
    job: ScanJob, y: np.ndarray, p: np.ndarray, windows: np.ndarray, rows: np.ndarray
) -> Check:
    """Whether the model fits better with C and G exchanged: ACGT is AGCT then, and back."""
    other = outputs_of(job, sequences.reorder(windows, sequences.ACGT, sequences.AGCT), rows)
    ours, theirs = job.task.surprise(y, p), job.task.surprise(y, other)
    text = (
        f"{job.task.error} {ours.mean():.4f} with the channels as given, {theirs.mean():.4f} with "
        "the second and third exchanged (A, C, G, T for A, G, C, T)"
    )
    difference = theirs - ours
    fits = bool(difference.mean() >= 0 or not difference.std())
    if not fits:
        fits = bool(stats.ttest_1samp(difference, 0, alternative="less").pvalue >= _SURE)
    if fits:
        return Check("alphabet", True, text)
    return Check("alphabet", False, f"{text}: the model probably reads the other order")


def overlap(test: Examples, training: Examples) -> list[Check]:
    """Whether test examples were seen in training: the same sequence, or windows that overlap.

    Shuffled sequences (names ending in ``_shuf``) have no place in the genome: only the sequences
    themselves are compared. Reads both sets whole.
    """
    seen = {row.tobytes() for row in np.asarray(training.codes)}
    codes = np.asarray(test.codes)
    other = sequences.reverse_complement_codes(codes)
    same = sum(
        row.tobytes() in seen or back.tobytes() in seen
        for row, back in zip(codes, other, strict=True)
    )
    text = f"{same} of {len(test)} test sequences, or their other strand, are training sequences"
    results = [Check("duplicates", not same, text + (": figures are too good" if same else ""))]
    places = [_places(part) for part in (test, training)]
    if places[0] is not None and places[1] is not None:
        count = int(overlapping(places[0], places[1]).sum())
        text = f"{count} of {len(places[0].start)} test windows overlap a training window"
        results.append(
            Check("overlap", not count, text + (": figures may be too good" if count else ""))
        )
    return results


def _places(examples: Examples) -> Intervals | None:
    if examples.intervals is None:
        return None
    if examples.names is None:
        return examples.intervals
    real = ~np.char.endswith(examples.names.astype(str), "_shuf")
    return examples.intervals.rows(real)


def overlapping(these: Intervals, those: Intervals) -> np.ndarray:
    """Which of these intervals share a base with any of those: bool (N,). chr1 and 1 are one."""
    result = np.zeros(len(these.start), bool)
    ours, others = (chromosomes.keys(part.chrom) for part in (these, those))
    for chrom in np.unique(ours):
        mine, theirs = ours == chrom, others == chrom
        order = np.argsort(those.start[theirs])
        starts = those.start[theirs][order]
        # The furthest end among those that begin no later.
        ends = np.maximum.accumulate(those.end[theirs][order]) if len(order) else starts
        before = np.searchsorted(starts, these.end[mine], side="left") - 1
        known = before >= 0
        hit = np.zeros(len(before), bool)
        hit[known] = ends[before[known]] > these.start[mine][known]
        result[mine] = hit
    return result
