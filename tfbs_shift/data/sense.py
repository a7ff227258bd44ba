"""What about examples makes figures and training meaningless, said before anybody believes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfbs_shift import sequences
from tfbs_shift.data.examples import Examples

FEW = 10
"""Examples, or examples of a class, below which figures are anecdotes."""
RARE = 0.01
"""Share below which a class is rare, and from which on copies are many."""
_PLACES = 8
_RUN = 128
"""Of examples in a file: places looked at, evenly spread, and rows at each."""
_UNSEEN = "if the others are like these,"
_NAMED = 3


class Finding(NamedTuple):
    """What was seen in one respect."""

    name: str
    """``examples`` (how many), ``bases`` (known or not), ``repeats``, ``balance`` (of labels)"""
    sound: bool
    line: str
    """what was seen, and if it is not sound what that means; for people"""


NAMES = ("examples", "bases", "repeats", "balance")


def findings(examples: Examples) -> list[Finding]:
    """Whether examples can tell anything: how many there are, unknown bases, copies, classes.

    What ``train`` and ``evaluate`` warn of when they have read examples; the self-checks of an
    audit have all of it.

    Not sound are: fewer than 10 examples; any of which more than half the bases are unknown; copies
    of a sequence that are 1% of all or more; the same sequence, on either strand, with different
    labels (numbers may differ: they are measured again); one class only; one of two that is below
    1% of all or has fewer than 10 examples, a label's too; of more classes, one above 99%, or one
    without examples; numbers that are all the same.

    Of examples that stay in their file 1,024 are looked at, in 8 places evenly spread, and the line
    says so. Cost of others: a dictionary of all sequences.

    Returns:
        A :class:`Finding` each: ``name``, whether it is ``sound``, and a ``line`` for people.

    >>> from tfbs_shift.data import synthetic
    >>> for finding in findings(synthetic(20, length=40)):
    ...     print(finding.sound, finding.line)
    True 40 examples
    True 0 of 40 examples are more than half unknown bases (N)
    True 0 of 40 distinct sequences stand more than once in 40 examples
    True class 1 is 20 of 40 examples, and always calling the commoner class has accuracy 0.500
    """
    total = len(examples)
    found = [_number(total)]
    if not total:
        return found
    rows: slice | np.ndarray = slice(None)
    of = f"{total} examples"
    whole = not examples.in_file or total <= _PLACES * _RUN
    if not whole:
        begins = np.linspace(0, total - _RUN, _PLACES).astype(int)
        rows = (begins[:, None] + np.arange(_RUN)).ravel()
        of = f"{len(rows)} examples looked at (evenly spread over {total})"
    codes = np.asarray(examples.codes[rows])
    found.append(_bases(codes, of))
    if total == 1:  # of itself one sequence, and one class
        return found
    labels = None if examples.labels is None else np.asarray(examples.labels[rows])
    if labels is not None:
        labels = labels.reshape(len(codes), -1)
    found.append(_repeats(codes, labels, of))
    if labels is not None:
        found.append(_balance(labels, examples.label_names, of, whole))
    return found


def doubts(examples: Examples) -> list[str]:
    """The lines of what is not sound."""
    return [finding.line for finding in findings(examples) if not finding.sound]


def _finding(name: str, line: str, reasons: Sequence[str]) -> Finding:
    return Finding(name, not reasons, ": ".join([line, "; ".join(reasons)]) if reasons else line)


def _number(count: int) -> Finding:
    line = "1 example" if count == 1 else f"{count} examples"
    return _finding("examples", line, ["figures of so few are anecdotes"] * (count < FEW))


def _bases(codes: np.ndarray, of: str) -> Finding:
    unknown = (codes == sequences.UNKNOWN).mean(axis=1)
    mostly, wholly = int((unknown > 0.5).sum()), int((unknown == 1).sum())
    line = f"{mostly} of {of} are more than half unknown bases (N)"
    if wholly:
        line += f", {wholly} of them nothing else"
    return _finding("bases", line, ["a model has nothing to read in them"] * (mostly > 0))


def _repeats(codes: np.ndarray, labels: np.ndarray | None, of: str) -> Finding:
    known = (codes != sequences.UNKNOWN).any(axis=1)  # of the others something else is said
    codes = codes[known]
    numbers: dict[bytes, int] = {}
    own = [numbers.setdefault(row.tobytes(), len(numbers)) for row in codes]
    repeated = int((np.bincount(own, minlength=1) > 1).sum())
    line = f"{repeated} of {len(numbers)} distinct sequences stand more than once in {of}"
    if repeated and len(numbers) == 1:
        line = f"the same sequence stands {len(own)} times in {of}"
    reasons = []
    if len(own) - len(numbers) >= max(1, RARE * len(own)):
        reasons.append("copies tell nothing new, and may stand on both sides of a split")
    if labels is not None and not _are_numbers(labels):
        other = [
            numbers.get(row.tobytes(), number)
            for row, number in zip(sequences.reverse_complement_codes(codes), own, strict=True)
        ]
        differing = _differing(np.minimum(own, other), labels[known])
        if differing:
            reasons.append(
                f"labels differ for {differing} (on one strand or the other), and no model can be "
                "right of all"
            )
    return _finding("repeats", line, reasons)


def _differing(same: np.ndarray, labels: np.ndarray) -> int:
    """How many of the sequences, numbered (n,), have several labels, (n, K)."""
    _, first, number = np.unique(same, return_index=True, return_inverse=True)
    differs = (labels != labels[first[number]]).any(axis=1)
    return len(np.unique(number[differs]))


def _are_numbers(labels: np.ndarray) -> bool:
    return not ((labels == 0) | (labels == 1)).all()


def _balance(labels: np.ndarray, names: Sequence[str] | None, of: str, whole: bool) -> Finding:
    """Of labels (n, K); ``whole``: they are those of all examples."""
    if _are_numbers(labels):
        return _of_numbers(labels, names, of)
    count, width = labels.shape
    positives = labels.sum(axis=0).astype(int)
    exclusive = width > 1 and names is None and bool((labels.sum(axis=1) == 1).all())
    if exclusive and width > 2:
        return _of_classes(positives, of)
    if exclusive or width == 1:
        return _of_two(int(positives[-1]), count, of, whole)
    return _of_labels(positives, count, names, of, whole)


def _of_two(positives: int, count: int, of: str, whole: bool) -> Finding:
    """Of two classes, or of one label."""
    rarer = min(positives, count - positives)
    if not rarer:
        why = "training learns to call it always, and there is no AUROC, AUPR or MCC"
        line = f"all {of} are class {int(positives > 0)}"
        return _finding("balance", line, [why if whole else f"{_UNSEEN} {why}"])
    line = (
        f"class 1 is {positives} of {of}, and always calling the commoner class has accuracy "
        f"{1 - rarer / count:.3f}"
    )
    reasons = []
    if rarer < RARE * count:
        reasons.append(
            "beside that an accuracy says little, and chance has an AUPR of "
            f"{positives / count:.3g}"
        )
    if whole and rarer < FEW <= count:
        reasons.append(
            f"areas of {rarer} against {count - rarer} are anecdotes, and have no interval where "
            "resamples lack a class"
        )
    return _finding("balance", line, reasons)


def _of_classes(counts: np.ndarray, of: str) -> Finding:
    """Of more than two."""
    most, share = int(counts.argmax()), counts.max() / counts.sum()
    line = (
        f"class {most}, the commonest of {len(counts)}, is {counts[most]} of {of}, and always "
        f"calling it has accuracy {share:.3f}"
    )
    reasons = []
    if share > 1 - RARE:
        reasons.append("beside that an accuracy says little")
    if (counts == 0).any():
        reasons.append(f"without an example is {_listed(np.flatnonzero(counts == 0), None)}")
    return _finding("balance", line, reasons)


def _of_labels(
    positives: np.ndarray, count: int, names: Sequence[str] | None, of: str, whole: bool
) -> Finding:
    """Of several labels."""
    rarer = np.minimum(positives, count - positives)
    both = rarer > 0
    line = f"{both.sum()} of {len(rarer)} labels have both classes in {of}"
    reasons = []
    if not both.any():
        why = "there is no AUROC or AUPR"
        reasons.append(why if whole else f"{_UNSEEN} {why}")
    elif whole and not both.all():  # of some rows it is not known
        reasons.append(f"left out of means: {_listed(np.flatnonzero(~both), names)}")
    few = np.flatnonzero(both & (rarer < FEW))
    if whole and len(few) and count >= FEW:
        reasons.append(f"with fewer than {FEW} of a class, anecdotes: {_listed(few, names)}")
    return _finding("balance", line, reasons)


def _of_numbers(labels: np.ndarray, names: Sequence[str] | None, of: str) -> Finding:
    constant = np.flatnonzero((labels == labels[0]).all(axis=0))
    if not len(constant):
        return _finding("balance", f"labels are numbers, not all the same in {of}", [])
    if labels.shape[1] == 1:
        line = f"the label is {labels[0, 0]:g} in all {of}"
    else:
        line = (
            f"{len(constant)} of {labels.shape[1]} labels are the same in all {of} "
            f"({_listed(constant, names)})"
        )
    return _finding("balance", line, ["nothing correlates with it"])


def _listed(columns: np.ndarray, names: Sequence[str] | None) -> str:
    """A few columns by name, or number from 0."""
    some = [str(k) if names is None else names[k] for k in columns[:_NAMED].tolist()]
    more = len(columns) - len(some)
    return ", ".join(some) + (f" and {more} more" if more else "")
