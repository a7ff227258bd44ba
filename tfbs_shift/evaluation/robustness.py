"""What a model is worth when its window moves: metrics, curves, certificates, intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfbs_shift.backend.graph import total_stride
from tfbs_shift.errors import InputError
from tfbs_shift.evaluation import checks, profiles, statistics
from tfbs_shift.evaluation.curves import (
    certificates,
    chunks,
    highest_within,
    nearest,
    radii,
    random_within,
)
from tfbs_shift.evaluation.running import EveryStart, Found, run
from tfbs_shift.scanning.scans import ScanJob, ShiftScan
from tfbs_shift.strategies import ShiftStrategy, strategy
from tfbs_shift.tasks.areas import LabelScores, label_scores, resampled_scores
from tfbs_shift.windows import WindowRange

SCHEMA = 1
"""Of ``Robustness.to_dict`` and of the files made of it; docs/files.md."""
AREA_RESAMPLES = 200
_NORMAL = 1.959964  # 95% of a normal distribution lie within so many standard deviations


@dataclass(frozen=True, eq=False)
class Robustness:
    """What :func:`evaluate` found.

    Metrics are ``accuracy`` and ``loss`` where each example has one class, and ``auroc``,
    ``aupr`` (means over the labels that have both classes) and ``loss`` for several labels.

    Attributes:
        windows: the geometry: sequence length, window, bound.
        starts: ``int32`` (N,) for each strategy: the start it chose.
        strategies: metrics for each strategy, at the starts it chose.
        right_at: bool (N,) for each strategy, right at the start it chose; empty if several labels.
        scores: AUROC and AUPR of every label for each strategy; empty unless there are several.
        predictions: float32 (N, K) probabilities for each strategy; empty unless there are several
            labels. Memory maps if ``evaluate`` was given a folder.
        seed: what the random strategies were drawn with.
        average_strands: whether ``scores`` are of the mean prediction of both strands.
        label_names: what the labels are, where known.
        every: what every start told of each example; None, as all that follows from it, unless
            some strategy needs all starts.
        averaged: metrics of the prediction averaged over all starts (no loss).
        mean: metrics averaged over all starts (no areas): what uniform random shifts give on
            average.
        curve: for each bound r in bp, 0 up to the largest: metrics at the start of highest loss
            within r with a 95% bootstrap interval of the accuracy (``accuracy_low``, ``_high``);
            and ``random_...``: the same under uniform random shifts within r, with the band in
            which 95% of draws lie (several labels: the mean, lowest and highest of the draws).
        intervals: 95% bootstrap intervals, examples drawn anew (``"examples"``), and whole groups
            (``"groups"``) where ``evaluate`` was given any: laid out as the figures are, pairs in
            place of numbers.
        stride: bp between the positions of the model's coarsest layer.
        checks: what may make the figures meaningless, see :mod:`tfbs_shift.evaluation.checks`.
        profiles: for several labels, float32 (S, K) probabilities of a few examples, by number: the
            most fragile, the most robust, those asked for. (Of classes ``every.probability`` has
            all.)
        controls: what :func:`tfbs_shift.controls` found, if it was asked.
        protection: what a bound by protected spans did; None without.
    """

    windows: WindowRange
    starts: dict[str, np.ndarray]
    strategies: dict[str, dict[str, float]]
    right_at: dict[str, np.ndarray] = field(repr=False)
    scores: dict[str, LabelScores] = field(repr=False)
    predictions: dict[str, np.ndarray] = field(repr=False)
    seed: int
    average_strands: bool
    label_names: Sequence[str] | None = field(repr=False)
    every: EveryStart | None = field(repr=False)
    averaged: dict[str, float] | None
    mean: dict[str, float] | None
    curve: list[dict[str, float]] = field(repr=False)
    intervals: dict[str, dict[str, Any]] = field(repr=False)
    stride: int
    checks: list[checks.Check]
    profiles: dict[int, np.ndarray] = field(repr=False, default_factory=dict)
    controls: dict[str, dict[str, float]] | None = None
    protection: dict[str, Any] | None = None

    @property
    def scan(self) -> ShiftScan | None:
        """The losses at every start."""
        return None if self.every is None else self.every.scan

    @property
    def right(self) -> np.ndarray | None:
        """bool (N, S), which windows are classified right; None for several labels, too."""
        return None if self.every is None else self.every.right

    @cached_property
    def certificates(self) -> np.ndarray | None:
        """``int32`` (N,): per example the largest r within which every window is right.

        For several labels: within which the call (above 0.5) of every label is No Shift's. -1:
        No Shift's own window is wrong. Every window was run: see
        :func:`tfbs_shift.evaluation.curves.certificates`.
        """
        return None if self.every is None else _certificates(self.every)

    @property
    def right_at_every_shift(self) -> float | None:
        """The fraction of examples right at every start they may use; None where not known."""
        if self.right is None or self.certificates is None:
            return None
        return float((self.certificates == radii(self.windows)[-1]).mean())

    @property
    def left_out(self) -> list[str]:
        """The labels that lack one of the classes, and so have no AUROC: names or numbers."""
        if not self.scores:
            return []
        scored = next(iter(self.scores.values())).scored
        names = self.label_names or [str(k) for k in range(len(scored))]
        return [names[k] for k in np.flatnonzero(~scored).tolist()]

    @property
    def fragile(self) -> int | None:
        """The example whose probability moves most between windows."""
        return None if self.every is None else _extremes(self.every)[0]

    @property
    def robust(self) -> int | None:
        """The one whose moves least, among those certified furthest."""
        return None if self.every is None else _extremes(self.every)[1]

    def to_dict(self) -> dict[str, Any]:
        """The figures in plain numbers, ready for JSON (docs/files.md); the arrays stay behind."""
        windows = self.windows
        figures: dict[str, Any] = {
            "schema": SCHEMA,
            "examples": len(next(iter(self.starts.values()))),
            "sequence_length": windows.length,
            "window": windows.window,
            "max_shift": windows.max_shift,
            "shifts": windows.shifts.tolist(),
            "seed": self.seed,
            "strategies": self.strategies,
        }
        if self.every is not None and self.certificates is not None:
            figures["mean_over_shifts"] = self.mean
            figures["averaged_over_shifts"] = self.averaged
            if self.right_at_every_shift is not None:
                figures["right_at_every_shift"] = self.right_at_every_shift
            for name in ("consistency", "wobble", "flipped"):
                column = (
                    self.every.agreement if name == "consistency" else getattr(self.every, name)
                )
                figures[name] = float(column.mean(dtype=np.float64))
            radius, count = np.unique(self.certificates, return_counts=True)
            figures["certificates"] = {
                "median": float(np.median(self.certificates)),
                "radius": radius.tolist(),
                "examples": count.tolist(),
            }
        figures["curve"] = self.curve
        if self.every is not None:
            figures["worst_shifts"] = profiles.worst_shifts(self.every.scan)
            figures["phase"] = profiles.phase(self.every.scan, self.stride)
        figures["intervals"] = {
            "confidence": statistics.CONFIDENCE,
            "resamples": statistics.RESAMPLES,
            "resamples_of_areas": AREA_RESAMPLES if self.scores else None,
            **self.intervals,
        }
        if self.scores:
            figures["labels"] = len(next(iter(self.scores.values())).auroc)
            figures["labels_left_out"] = self.left_out
            figures["average_strands"] = self.average_strands
        for name in ("protection", "controls"):
            if getattr(self, name) is not None:
                figures[name] = getattr(self, name)
        figures["checks"] = [check._asdict() for check in self.checks]
        return figures


def evaluate(
    model: keras.Model,
    x: Any,
    y: Any,
    *,
    window: int | None = None,
    strategies: Sequence[str | ShiftStrategy] = ("none", "random", "worst"),
    max_shift: int | None = None,
    seed: int = 0,
    protect: np.ndarray | None = None,
    average_strands: bool = False,
    label_names: Sequence[str] | None = None,
    groups: np.ndarray | None = None,
    draws: int = 5,
    examples: Sequence[int] = (),
    self_checks: bool = True,
    folder: Path | None = None,
    hosts: int = 1,
    batch_size: int | None = None,
    progress: bool = False,
) -> Robustness:
    """Accuracy (or AUROC and AUPR) and loss of a model under each strategy, and how sure they are.

    Accuracy under worst is the accuracy at the start of highest loss; AUROC and AUPR likewise, the
    loss being the mean over labels. If a strategy tries every start (worst), the model is run at
    every start once, and curve, certificates and what else needs all of them is read off. If none
    does, only the starts that the strategies draw are run.

    Cost: N * S runs of the model, or N times the starts drawn; a few thousand more for the checks.
    Memory beside x and y: (N, S) losses (455,024 * 201: 366 MB), as many probabilities where
    classes exclude each other, and for several labels (N, K) predictions for each strategy and
    about ln S * (1 + draws) * (N, K) for the curve, on disk if there is a ``folder``. The curve of
    several labels takes (1 + draws) * R times as long as the metrics of one strategy.

    Args:
        model, x, y, window, max_shift, protect, batch_size, progress: as for ``scan``.
        strategies: names ("none", "random", "worst", "worst_of_20") or strategy objects.
        seed: of the random draws, for strategies given by name, of random curves and resamples.
        average_strands: for several labels: score the mean prediction of both strands, the second
            half of the rows being the reverse complement of the first (checked), as TBiNet's own
            test does; each strand's window is chosen by itself. The loss stays that of all rows.
        label_names: K names, for what is said about labels.
        groups: (N,) what each example belongs to, its chromosome say: intervals for groups drawn
            as wholes are given, too, since examples of one may not be independent.
        draws: random shifts behind the random curve of several labels; 0: no such curve.
        examples: numbers of examples whose ``profiles`` are wanted.
        self_checks: whether to make them; they cost a few thousand runs of the model.
        folder: keep losses and predictions in files there while they are made. The same call with
            the same folder goes on where an interrupted one stopped.
        hosts: how many share the folder: the others run :func:`evaluate_part`, this one the first
            part, and it waits for theirs. The result is that of one host.

    Raises:
        InputError: as ``scan``; no strategy, an unknown one, or one that is named twice; spans to
            protect under the paper's protocol, which has none; strands that are no pairs; groups
            of another number; examples that are none; several hosts without a folder.

    >>> import tfbs_shift as ts
    >>> test = ts.data.synthetic(4, length=40)
    >>> found = ts.evaluate(ts.models.cnn(30), test.x, test.y, self_checks=False)
    >>> list(found.strategies), sorted(found.strategies["worst"])
    (['none', 'random', 'worst'], ['accuracy', 'loss'])
    >>> found.certificates.shape  # the bp within which every window is right, for each example
    (8,)
    """
    job, chosen = _job(model, x, y, strategies, seed, window, max_shift, protect)
    if folder is None and hosts > 1:
        raise InputError(f"hosts {hosts}: need a folder that they share")
    if groups is not None and len(groups) != len(x):
        raise InputError(f"{len(x)} sequences, but {len(groups)} groups")
    if draws < 0:
        raise InputError(f"draws {draws}: must be 0 or more")
    if any(not 0 <= number < len(x) for number in examples):
        raise InputError(f"examples {list(examples)}: want numbers 0..{len(x) - 1}")
    if average_strands:
        _check_strands(job)
    found = run(job, chosen, seed=seed, draws=draws, folder=folder, batch_size=batch_size,
                progress=progress, host=(0, hosts))  # fmt: skip
    assert found is not None
    scores = {}
    if not job.outputs.exclusive:
        truth = np.asarray(job.y)
        scores = {
            name: label_scores(truth, found.predictions[name], average_strands=average_strands)
            for name in found.predictions
        }
    figures = {}
    for name in chosen:
        loss = {"loss": _mean(found.loss[name])}
        right = found.right_at.get(name)
        metrics = scores[name].means() if right is None else {"accuracy": float(right.mean())}
        figures[name] = metrics | loss
    columns = _columns(found, job)
    averaged = mean = None
    if found.every is not None:
        mean = {key[1]: _mean(c) for key, c in columns.items() if key[0] == "mean_over_shifts"}
        if job.outputs.exclusive:
            averaged = {"accuracy": _mean(columns["averaged_over_shifts", "accuracy"])}
        else:
            area = label_scores(truth, found.every.mean, average_strands=average_strands)
            averaged = area.means()
    pairs = len(x) // 2 if average_strands else len(x)
    over = {"examples": np.arange(len(x)) % pairs}
    if groups is not None:
        over["groups"] = np.asarray(groups)
    intervals, curve = {}, _curve(found, job, average_strands)
    for unit, members in over.items():
        nested, on_curve = _intervals(columns, found, job, members, seed, average_strands)
        intervals[unit] = nested
        if unit == "examples":
            curve = [point | extra for point, extra in zip(curve, on_curve, strict=True)]
    return Robustness(
        windows=job.windows,
        starts=found.starts,
        strategies=figures,
        right_at=found.right_at,
        scores=scores,
        predictions=found.predictions,
        seed=seed,
        average_strands=average_strands,
        label_names=label_names,
        every=found.every,
        averaged=averaged,
        mean=mean,
        curve=curve,
        intervals=intervals,
        stride=total_stride(model),
        checks=checks.of_model(job) if self_checks else [],
        profiles=_profiles(found, job, examples, batch_size),
        protection=None if protect is None else _protection(found, job),
    )


def evaluate_part(
    model: keras.Model,
    x: Any,
    y: Any,
    *,
    host: tuple[int, int],
    folder: Path,
    window: int | None = None,
    strategies: Sequence[str | ShiftStrategy] = ("none", "random", "worst"),
    max_shift: int | None = None,
    seed: int = 0,
    protect: np.ndarray | None = None,
    draws: int = 5,
    batch_size: int | None = None,
    progress: bool = False,
) -> None:
    """What host i of n, i > 0, does of an :func:`evaluate` that the first one makes.

    Args:
        host: (i, n).
        folder: the one that the hosts share.
        model, x, y, window, strategies, max_shift, seed, protect, draws: those of the first host.
        batch_size, progress: as for ``evaluate``.

    Raises:
        InputError: as ``evaluate``.
    """
    job, chosen = _job(model, x, y, strategies, seed, window, max_shift, protect)
    run(job, chosen, seed=seed, draws=draws, folder=folder, batch_size=batch_size,
        progress=progress, host=host)  # fmt: skip


def _job(
    model: keras.Model,
    x: Any,
    y: Any,
    strategies: Sequence[str | ShiftStrategy],
    seed: int,
    window: int | None,
    max_shift: int | None,
    protect: np.ndarray | None,
) -> tuple[ScanJob, dict[str, ShiftStrategy]]:
    """Model, examples and strategies, checked against each other."""
    chosen = _strategies(strategies, seed)
    if protect is not None and not all(one.takes_spans for one in chosen.values()):
        raise InputError("protect: the paper's protocol knows no spans; use the exact one")
    job = ScanJob.of(model, x, y, window=window, max_shift=max_shift, protect=protect)
    if not job.outputs.kind:
        raise InputError(
            f"model {model.name!r}: its predictions are no probabilities, so there is no accuracy; "
            "scan gives its losses"
        )
    return job, chosen


def _certificates(every: EveryStart) -> np.ndarray:
    sound = every.kept if every.right is None else every.right
    return certificates(sound, every.scan.windows, every.scan.allowed)


def _extremes(every: EveryStart) -> tuple[int, int]:
    """The most fragile and the most robust example."""
    certified = _certificates(every)
    best = certified == certified.max()
    return int(every.wobble.argmax()), int(np.where(best, every.wobble, np.inf).argmin())


def _profiles(
    found: Found, job: ScanJob, examples: Sequence[int], batch_size: int | None
) -> dict[int, np.ndarray]:
    """Probabilities of several labels at every start, (S, K), for a few examples: run once more."""
    if found.every is None or found.every.right is not None:
        return {}
    rows = np.unique([*_extremes(found.every), *examples])
    profiles: dict[int, np.ndarray] = {}
    for some, _, outputs in job.blocks(None, batch_size, rows=rows):
        probabilities = job.outputs.probabilities(outputs)
        profiles |= dict(zip(rows[some].tolist(), probabilities, strict=True))
    return profiles


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values, dtype=np.float64))


def _strategies(given: Sequence[str | ShiftStrategy], seed: int) -> dict[str, ShiftStrategy]:
    chosen: dict[str, ShiftStrategy] = {}
    for item in given:
        one = strategy(item, seed=seed) if isinstance(item, str) else item
        if one.name in chosen:
            raise InputError(f"strategy {one.name!r}: given twice")
        chosen[one.name] = one
    if not chosen:
        raise InputError("strategies: want one or more of none, random, worst, worst_of_<n>")
    return chosen


def _check_strands(job: ScanJob) -> None:
    """The second half of the rows must be the other strand of the first."""
    half, odd = divmod(len(job.x), 2)
    if odd:
        raise InputError(f"average_strands: {len(job.x)} examples are no pairs of strands")
    for begin in range(0, half, 1024):
        rows = np.arange(begin, min(begin + 1024, half))
        one, other = slice(begin, rows[-1] + 1), slice(half + begin, half + rows[-1] + 1)
        # In either channel order the complement of channel i is channel 3 - i.
        same = (np.asarray(job.x[one])[:, ::-1, ::-1] == np.asarray(job.x[other])).all(axis=(1, 2))
        same &= (np.asarray(job.y[one]) == np.asarray(job.y[other])).all(axis=1)
        if not same.all():
            i = int(rows[~same][0])
            raise InputError(
                f"average_strands: example {half + i} is not the reverse complement of example "
                f"{i} with the same labels"
            )


def _columns(found: Found, job: ScanJob) -> dict[tuple[str, ...], Any]:
    """Figures that are means over examples: their (N,) values, by where they stand."""
    columns: dict[tuple[str, ...], Any] = {}
    for name, loss in found.loss.items():
        if name in found.right_at:
            columns["strategies", name, "accuracy"] = found.right_at[name]
        columns["strategies", name, "loss"] = loss
    every = found.every
    if every is None:
        return columns
    allowed = every.scan.allowed
    for metric, values in (("accuracy", every.right), ("loss", every.scan.loss)):
        if values is not None:
            columns["mean_over_shifts", metric] = _over_shifts(values, allowed)
    columns["consistency",] = every.agreement
    columns["wobble",] = every.wobble
    columns["flipped",] = every.flipped
    if every.right is not None:
        columns["right_at_every_shift",] = (
            every.right if allowed is None else every.right | ~allowed
        ).all(axis=1)
        named = every.mean[:, 0] > 0.5 if job.outputs.width == 1 else every.mean.argmax(axis=1)
        columns["averaged_over_shifts", "accuracy"] = named == job.outputs.truth(np.asarray(job.y))
    return columns


def _over_shifts(values: np.ndarray, allowed: np.ndarray | None) -> np.ndarray:
    """Mean of (N, S) over the starts that each example may use, float64 (N,)."""
    if allowed is None:
        return values.mean(axis=1, dtype=np.float64)
    # Without a product of this size in memory.
    total = np.einsum("ns,ns->n", values, allowed, dtype=np.float64, casting="unsafe")
    return total / allowed.sum(axis=1)


def _intervals(
    columns: Mapping[tuple[str, ...], Any],
    found: Found,
    job: ScanJob,
    groups: np.ndarray,
    seed: int,
    average_strands: bool,
) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Intervals of the figures, laid out as they are; and of the points of the curve."""
    values = list(columns.values())
    on_curve = False
    if found.every is not None and found.every.right is not None:
        values += list(_on_curve(found.every.right, found.every.scan).T)
        on_curve = True
    table = np.stack([np.asarray(column, np.float64) for column in values], axis=1)
    means = statistics.of_means(table, groups, seed=seed)
    nested: dict[str, Any] = {"number": len(np.unique(groups))}
    pairs = np.stack(means, axis=1).tolist()
    for path, pair in zip(columns, pairs, strict=False):
        _place(nested, path, pair)
    half = len(groups) // 2 if average_strands else len(groups)
    scored: dict[tuple[str, ...], np.ndarray] = {
        ("strategies", name): p for name, p in found.predictions.items()
    }
    if found.every is not None and scored:
        scored["averaged_over_shifts",] = found.every.mean
    names, index = np.unique(groups[:half], return_inverse=True)
    truth = np.asarray(job.y)[:half]
    for path, predictions in scored.items():
        scores = np.asarray(predictions)
        if average_strands:
            scores = (scores[:half] + scores[half:]) / 2

        def areas(counts: np.ndarray, scores: np.ndarray = scores) -> np.ndarray:
            return resampled_scores(truth, scores, counts[:, index])

        low, high = statistics.bootstrap(areas, len(names), resamples=AREA_RESAMPLES, seed=seed)
        for metric, *pair in zip(("auroc", "aupr"), low.tolist(), high.tolist(), strict=True):
            _place(nested, (*path, metric), pair)
    if found.every is None:
        return nested, []
    if not on_curve:
        return nested, [{} for _ in radii(job.windows)]
    return nested, [{"accuracy_low": a, "accuracy_high": b} for a, b in pairs[len(columns) :]]


def _place(nested: dict[str, Any], path: tuple[str, ...], pair: list[float]) -> None:
    for key in path[:-1]:
        nested = nested.setdefault(key, {})
    nested[path[-1]] = pair


def _on_curve(values: np.ndarray, scan: ShiftScan) -> np.ndarray:
    """Values (N, S) at the start of highest loss within r: (N, R + 1)."""
    parts = []
    for rows in chunks(len(values)):
        allowed = None if scan.allowed is None else scan.allowed[rows]
        columns = highest_within(scan.loss[rows], scan.windows, allowed)
        parts.append(np.take_along_axis(values[rows], columns, axis=1))
    return np.concatenate(parts)


def _curve(found: Found, job: ScanJob, average_strands: bool) -> list[dict[str, float]]:
    """Metrics at the start of highest loss within r bp, and at random ones, for every r."""
    every = found.every
    if every is None:
        return []
    points: list[dict[str, float]] = [{"max_shift": r} for r in radii(job.windows)]
    for metric, values in (("accuracy", every.right), ("loss", every.scan.loss)):
        if values is None:
            continue
        worst = _on_curve(values, every.scan).mean(axis=0, dtype=np.float64)
        mean, deviation = random_within(values, job.windows, every.scan.allowed)
        for r, point in enumerate(points):
            point[metric] = float(worst[r])
            band = _NORMAL * deviation[r]
            low, high = mean[r] - band, mean[r] + band
            if metric == "accuracy":
                low, high = max(low, 0.0), min(high, 1.0)
            point |= {f"random_{metric}": float(mean[r]), f"random_{metric}_low": float(low),
                      f"random_{metric}_high": float(high)}  # fmt: skip
    if found.records is None:
        return points
    truth = np.asarray(job.y)
    curves = found.records.at.shape[1]
    for r, point in enumerate(points):
        areas = [
            label_scores(
                truth, found.records.predictions(d, r), average_strands=average_strands
            ).means()
            for d in range(curves)
        ]
        for metric, value in areas[0].items():
            point[metric] = value
            drawn = [one[metric] for one in areas[1:]]
            if drawn:
                point |= {f"random_{metric}": float(np.mean(drawn)),
                          f"random_{metric}_low": min(drawn),
                          f"random_{metric}_high": max(drawn)}  # fmt: skip
    return points


def _protection(found: Found, job: ScanJob) -> dict[str, Any]:
    """What protected spans excluded, and what the worst were without them."""
    assert job.allowed is not None
    result: dict[str, Any] = {
        "windows_excluded": float((~job.allowed).mean()),
        "examples_bounded": int((~job.allowed.all(axis=1)).sum()),
        "centre_moved": int(
            (nearest(len(job.x), job.windows, job.allowed) != -job.windows.shifts[0]).sum()
        ),
    }
    if found.every is not None:
        free = ShiftScan(job.windows, found.every.scan.loss)
        result["worst_without"] = {"loss": _mean(free.worst_loss)}
        if found.every.right is not None:
            at = (free.worst_start - free.starts[0])[:, None]
            right = np.take_along_axis(found.every.right, at, axis=1)
            result["worst_without"]["accuracy"] = _mean(right)
    return result
