"""What a model is worth when its window moves: metrics, curves, certificates, intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfbs_shift.errors import InputError
from tfbs_shift.evaluation import checks, figures, profiles, statistics
from tfbs_shift.evaluation.curves import certificates, radii
from tfbs_shift.evaluation.running import Observations, run
from tfbs_shift.evaluation.settings import Details, Execution, Shifts
from tfbs_shift.scanning.jobs import ScanJob
from tfbs_shift.scanning.predictors import predictor
from tfbs_shift.scanning.scans import Reading, ShiftScan
from tfbs_shift.sequences import first_unpaired
from tfbs_shift.strategies import ShiftStrategy
from tfbs_shift.tasks import Labels, Task, Values
from tfbs_shift.tasks.base import Columns
from tfbs_shift.windows import WindowRange

if TYPE_CHECKING:
    from typing_extensions import Unpack

SCHEMA = 2
"""Of ``Robustness.to_dict`` and of the files made of it; docs/files.md."""


@dataclass(frozen=True, eq=False)
class Robustness:
    """What :func:`evaluate` found.

    Metrics of two classes are ``accuracy``, ``auroc``, ``aupr``, ``mcc`` and ``loss``; of more
    classes ``accuracy`` and ``loss``; of several labels ``auroc``, ``aupr`` (means over the labels
    that have both classes) and ``loss``; of values ``pearson``, ``spearman`` (means over outputs),
    ``mse`` and ``loss``; without labels ``moved`` (mean distance from the centre's prediction, in
    standard deviations of the centre's predictions over examples) and ``loss``.

    Attributes:
        task: what the predictions mean, and how they are judged.
        reason: how that was found out.
        windows: the geometry: sequence length, window, bound.
        allowed: bool (N, S), the windows that hold each example's protected span; None: all.
        seed: what the random strategies were drawn with.
        strategies: metrics for each strategy, at the starts it chose.
        per_label: for each strategy its statistics of every label or output, float64 (K,), and
            the number of ``positives``, or ``mse``; of two classes K is 1.
        averaged: metrics of the prediction averaged over all starts (no loss).
        mean: metrics averaged over all starts (no statistics): what uniform random shifts give on
            average.
        reliability: the share of the variance of predictions that lies between examples and not
            between the windows of one (intraclass correlation, one-way); a mean over outputs.
        curve: for each bound r in bp, 0 up to the largest: metrics at the start of highest loss
            within r, ``<metric>_low`` and ``_high`` their 95% bootstrap interval (not of the loss,
            nor of several labels); and ``random_...``: the same under uniform random shifts within
            r, with the band in which 95% of draws lie (of statistics: the mean, lowest and highest
            of the draws).
        intervals: 95% bootstrap intervals, examples drawn anew (``"examples"``), and whole groups
            (``"groups"``) where ``evaluate`` was given any: laid out as the figures are, pairs in
            place of numbers.
        checks: what may make the figures meaningless, see :mod:`tfbs_shift.evaluation.checks`.
        stride: bp between the positions of the model's coarsest layer.
        average_strands: whether statistics are of the mean prediction of both strands.
        label_names: what the labels are, where known.
        shown: numbers of the examples that are to be shown.
        predictions_of: where the column to show is no column of every start (several labels),
            float32 (S, K) of a few examples, by number: the most fragile, the most robust, those
            to be shown.
        protection: what a bound by protected spans did; None without.
        controls: what :func:`tfbs_shift.controls` found, if it was asked.
        data: what the examples are: ``source``, ``checksum``, ``negatives``; {} where not known.
        training: the flags that the model was trained with; {} where not known.
        provenance: lines that say what this was made with.
    """

    task: Task
    reason: str
    windows: WindowRange
    allowed: np.ndarray | None = field(repr=False)
    seed: int
    strategies: dict[str, dict[str, float]]
    per_label: dict[str, Columns] = field(repr=False)
    averaged: dict[str, float] | None
    mean: dict[str, float] | None
    reliability: float | None
    curve: list[dict[str, float]] = field(repr=False)
    intervals: dict[str, dict[str, Any]] = field(repr=False)
    checks: list[checks.Check]
    stride: int
    average_strands: bool
    observations: Observations = field(repr=False)
    label_names: Sequence[str] | None = field(repr=False, default=None)
    shown: tuple[int, ...] = ()
    predictions_of: dict[int, np.ndarray] = field(repr=False, default_factory=dict)
    protection: dict[str, Any] | None = None
    controls: dict[str, dict[str, float]] | None = None
    data: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    provenance: tuple[str, ...] = ()

    @property
    def starts(self) -> Columns:
        """``int32`` (N,) for each strategy: the start it chose."""
        return {name: columns["start"] for name, columns in self.observations.chosen.items()}

    @property
    def chosen(self) -> dict[str, Columns]:
        """For each strategy the named columns (N,) at the start it chose: ``start``, ``loss``, of
        classes ``right`` and ``probability``, of values ``squared_error`` and, of one, the
        ``prediction``, without labels ``moved``; and the ``scores`` (N, ...) of its statistics."""
        return self.observations.chosen

    @property
    def every(self) -> Columns:
        """Named columns (N, S) of every start: those of ``chosen`` but the start, and what a
        certificate is of: ``right``, ``constant``, ``within``; {} unless some strategy needs all
        starts."""
        return self.observations.every

    @property
    def examples(self) -> Columns:
        """What all starts together tell of each example, float32 (N,): ``wobble``, of probabilities
        ``consistency`` and ``flipped``; and ``mean`` and ``variance`` (N, K) of the prediction over
        starts. {} unless every start was run."""
        return self.observations.over

    @cached_property
    def scan(self) -> ShiftScan | None:
        """The losses at every start, if all were run."""
        if not self.every:
            return None
        return ShiftScan(self.windows, self.every["loss"], self.allowed)

    @property
    def right(self) -> np.ndarray | None:
        """bool (N, S), which windows are classified right; None where that is not known."""
        return self.every.get("right")

    @cached_property
    def certificates(self) -> np.ndarray | None:
        """``int32`` (N,): per example the largest r within which every window is right.

        For several labels, or without any: within which every call is No Shift's; of values: every
        prediction, give or take the tolerance. -1: No Shift's own window is wrong. None unless
        every start was run: see :func:`tfbs_shift.evaluation.curves.certificates`.
        """
        if not self.every:
            return None
        return certificates(self.every[self.task.certificate], self.windows, self.allowed)

    @property
    def right_at_every_shift(self) -> float | None:
        """The fraction of examples right at every start they may use; None where not known."""
        if self.right is None or self.certificates is None:
            return None
        return float((self.certificates == radii(self.windows)[-1]).mean())

    @property
    def threshold(self) -> float:
        """The probability from which on "yes" is called."""
        return getattr(self.task, "meaning", self.task).threshold

    @property
    def left_out(self) -> list[str]:
        """The labels that lack one of the classes, and so have no AUROC, or the outputs that are
        constant, and so have no correlation: names or numbers."""
        if not self.per_label:
            return []
        values = next(iter(self.per_label.values()))[self.task.statistics[0]]
        names = self.label_names or [str(k) for k in range(len(values))]
        return [names[k] for k in np.flatnonzero(np.isnan(values)).tolist()]

    @property
    def fragile(self) -> int | None:
        """The example that wobbles most between windows."""
        return int(self.examples["wobble"].argmax()) if self.every else None

    @property
    def robust(self) -> int | None:
        """The one that wobbles least, among those certified furthest."""
        if self.certificates is None:
            return None
        best = self.certificates == self.certificates.max()
        return int(np.where(best, self.examples["wobble"], np.inf).argmin())

    def to_dict(self) -> dict[str, Any]:
        """The figures in plain numbers, ready for JSON (docs/files.md); the arrays stay behind."""
        windows = self.windows
        plain: dict[str, Any] = {
            "schema": SCHEMA,
            **self.task.described(),
            "task_known_by": self.reason,
            "examples": len(next(iter(self.starts.values()))),
            "sequence_length": windows.length,
            "window": windows.window,
            "max_shift": windows.max_shift,
            "shifts": windows.shifts.tolist(),
            "seed": self.seed,
            "strategies": self.strategies,
        }
        if self.scan is not None:
            plain |= self._over_all_starts()
        plain["curve"] = self.curve
        if self.scan is not None:
            plain["worst_shifts"] = profiles.worst_shifts(self.scan)
            plain["phase"] = profiles.phase(self.scan, self.stride)
        plain["intervals"] = {
            "confidence": statistics.CONFIDENCE,
            "resamples": statistics.RESAMPLES,
            "resamples_of_statistics": (
                figures.RESAMPLES_OF_STATISTICS if self.task.scored else None
            ),
            **self.intervals,
        }
        if self.task.scores_apart:
            plain["labels_left_out"] = self.left_out
        if self.task.scores_apart or self.average_strands:
            plain["average_strands"] = self.average_strands
        for name in ("protection", "controls", "data", "training"):
            if getattr(self, name):
                plain[name] = getattr(self, name)
        plain["checks"] = [check._asdict() for check in self.checks]
        return plain

    def _over_all_starts(self) -> dict[str, Any]:
        plain: dict[str, Any] = {
            "mean_over_shifts": self.mean, "averaged_over_shifts": self.averaged
        }  # fmt: skip
        if self.right_at_every_shift is not None:
            plain["right_at_every_shift"] = self.right_at_every_shift
        plain |= {name: figures.mean(self.examples[name]) for name in self.task.summaries}
        plain["reliability"] = self.reliability
        radius, count = np.unique(self.certificates, return_counts=True)
        plain["certificates"] = {
            "median": float(np.median(self.certificates)),
            "radius": radius.tolist(),
            "examples": count.tolist(),
        }
        return plain


class Options(Reading, total=False):
    """The rarer arguments of :func:`evaluate`: those of ``Details`` and ``Execution``, and how the
    model is called."""

    loss: Any
    protect: np.ndarray | None
    average_strands: bool
    label_names: Sequence[str] | None
    groups: np.ndarray | None
    draws: int
    examples: Sequence[int]
    self_checks: bool
    folder: Path | None
    batch_size: int | None
    progress: bool


def evaluate(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    window: int | None = None,
    strategies: Sequence[str | ShiftStrategy] = ("none", "random", "worst"),
    max_shift: int | None = None,
    output: Any = None,
    task: str | None = None,
    threshold: float = 0.5,
    tolerance: float | None = None,
    seed: int = 0,
    **options: Unpack[Options],
) -> Robustness:
    """The metrics of a model under each strategy, and how sure they are.

    A metric under worst is that at the start of highest loss (of several labels or outputs their
    mean). If a strategy tries every start (worst), the model is run at every start once, and curve,
    certificates and what else needs all of them is read off. If none does, only the starts that the
    strategies draw are run.

    Cost: N * S runs of the model, or N times the starts drawn; a few thousand more for the checks;
    N more for values and without labels. Memory beside x and y: (N, S) losses (455,024 * 201: 366
    MB), as many probabilities where classes exclude each other, (N, K) means and variances of K
    outputs, and where there are areas or correlations, of K labels (two classes: 1), (N, K)
    predictions for each strategy and about ln S * (1 + draws) * (N, K) for the curve, on disk if
    there is a ``folder``. The curve of several labels takes (1 + draws) * R times as long as the
    metrics of one strategy.

    Args:
        model, x, y, window, max_shift, output, task: as for ``scan``; so are ``loss``,
            ``protect``, ``batch_size``, ``progress``, ``layout``, ``args`` and ``constant``.
        strategies: names ("none", "random", "worst", "worst_of_20") or strategy objects.
        threshold: the probability from which on class 1 of two, or a label, is called; in (0, 1).
        tolerance: of values, in their unit: how far from the centre's a prediction may be and count
            as the same; None: a tenth of the standard deviation of the centre's over examples.
        seed: of the random draws, for strategies given by name, of random curves and resamples.
        average_strands: for labels and values: score the mean prediction of both strands, the
            second half of the rows being the reverse complement of the first (checked), as TBiNet's
            own test does; each strand's window is chosen by itself. Loss and mse stay those of
            all rows.
        label_names: K names, for what is said about labels.
        groups: (N,) what each example belongs to, its chromosome say: intervals for groups drawn
            as wholes are given, too, since examples of one may not be independent.
        draws: random shifts behind the random curve of areas; 0: no such curve.
        examples: numbers of examples that are to be shown.
        self_checks: whether to make them; they cost a few thousand runs of the model.
        folder: keep losses and predictions in files there while they are made. The same call with
            the same folder goes on where an interrupted one stopped.

    Raises:
        InputError: as ``scan``; no strategy, an unknown one, or one that is named twice; spans to
            protect under the paper's protocol, which has none; strands that are no pairs; groups
            of another number; examples that are none; a threshold or tolerance out of range; a loss
            alone, which nothing but ``scan`` can use.

    >>> import tfbs_shift as ts
    >>> test = ts.data.synthetic(4, length=40)
    >>> found = ts.evaluate(ts.models.cnn(30), test.x, test.y, self_checks=False)
    >>> list(found.strategies), list(found.strategies["worst"])
    (['none', 'random', 'worst'], ['accuracy', 'auroc', 'aupr', 'mcc', 'loss'])
    >>> found.certificates.shape  # the bp within which every window is right, for each example
    (8,)
    """
    unknown = sorted(options.keys() - known_options())
    if unknown:
        raise TypeError(f"evaluate() got an unexpected keyword argument {unknown[0]!r}")
    shifts = Shifts(strategies, window, max_shift, options.pop("protect", None), seed)
    reading = {name: options.pop(name) for name in Reading.__annotations__ if name in options}
    names = {one.name for one in fields(Details)} & options.keys()
    details = Details(
        output=output, task=task, threshold=threshold, tolerance=tolerance,
        **{name: options.pop(name) for name in names},
    )  # fmt: skip
    one = predictor(model, **reading)
    result = evaluated(one, x, y, shifts, details, Execution(**options))
    assert result is not None  # as it is on other hosts
    return result


def known_options() -> set[str]:
    """The names of the rarer arguments of :func:`evaluate`."""
    return Options.__annotations__.keys() | Reading.__annotations__.keys()


def evaluated(
    model: Any, x: Any, y: Any, shifts: Shifts, details: Details, execution: Execution
) -> Robustness | None:
    """:func:`evaluate` of one host among several: None on others than the first.

    All of them are told the same but for ``execution.host``. The first one waits for the others;
    its result is that of one host alone.
    """
    strategies = shifts.by_name()
    job = ScanJob.of(model, x, y, window=shifts.window, max_shift=shifts.max_shift,
                     protect=shifts.protect, meaning=details.meaning)  # fmt: skip
    strands = details.average_strands
    if not job.task.certificate:
        raise InputError(
            f"model {job.predictor.name!r}: only its loss is known, which scan gives; to judge its "
            f"predictions: {job.judged.reason}"
        )
    details.check(len(x))
    if strands:
        _check_strands(job)
    job = job.fitted()
    task = job.task
    seen = run(job, strategies, seed=shifts.seed, draws=details.draws, execution=execution)
    if seen is None:
        return None
    per_label: dict[str, Columns] = {}
    if task.scored:
        truth = np.asarray(job.y)
        per_label = {
            name: task.per_label(truth, there["scores"], average_strands=strands)
            for name, there in seen.chosen.items()
        }
    averaged, averages = figures.averaged(job, seen, strands) if seen.every else (None, {})
    intervals, curve = _intervals(job, seen, averages, shifts.seed, details)
    result = Robustness(
        task=task,
        reason=job.judged.reason,
        windows=job.windows,
        allowed=job.allowed,
        seed=shifts.seed,
        strategies={
            name: figures.metrics(task, there, per_label.get(name, {}))
            for name, there in seen.chosen.items()
        },
        per_label=per_label,
        averaged=averaged,
        mean=figures.means_over_shifts(task, seen, job.allowed),
        reliability=figures.reliability(job, seen),
        curve=curve,
        intervals=intervals,
        checks=checks.of_model(job) if details.self_checks else [],
        stride=job.predictor.stride,
        average_strands=strands,
        observations=seen,
        label_names=details.label_names,
        shown=tuple(details.examples),
        protection=None if shifts.protect is None else figures.protection(job, seen),
    )
    return replace(result, predictions_of=_predictions(result, job, execution.batch_size))


def _intervals(
    job: ScanJob, seen: Observations, averages: Columns, seed: int, details: Details
) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Intervals of all figures by unit, and the curve with those of its points."""
    count, strands = len(job.x), details.average_strands
    units = {"examples": np.arange(count) % (count // 2 if strands else count)}
    if details.groups is not None:
        units["groups"] = np.asarray(details.groups)
    intervals, curve = {}, figures.curve(job, seen, strands)
    for unit, members in units.items():
        intervals[unit], ends = figures.intervals(job, seen, averages, members, seed, strands)
        if unit == "examples":
            curve = [point | more for point, more in zip(curve, ends, strict=True)]
    return intervals, curve


def _predictions(result: Robustness, job: ScanJob, batch_size: int | None) -> dict[int, np.ndarray]:
    """At every start, (S, K), of the few examples to show where no column shows them: run anew."""
    if not result.every or {"probability", "prediction"} & result.every.keys():
        return {}
    rows = np.unique([result.fragile, result.robust, *result.shown])
    predictions_of: dict[int, np.ndarray] = {}
    for here, _, predictions in job.blocks(None, batch_size, rows=rows):
        outputs = result.task.outputs(predictions)
        predictions_of |= dict(zip(rows[here].tolist(), outputs, strict=True))
    return predictions_of


def _check_strands(job: ScanJob) -> None:
    """The second half of the rows must be the other strand of the first."""
    if not isinstance(job.task, Labels | Values):
        raise InputError("average_strands: for labels and values only, not for classes")
    half, odd = divmod(len(job.x), 2)
    if odd:
        raise InputError(f"average_strands: {len(job.x)} examples are no pairs of strands")
    unpaired = first_unpaired(job.x, job.y)
    if unpaired is not None:
        raise InputError(
            f"average_strands: example {half + unpaired} is not the reverse complement of example "
            f"{unpaired} with the same labels"
        )
