"""From named columns to metrics, curves and intervals, whatever the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfbs_shift.evaluation import statistics
from tfbs_shift.evaluation.curves import chunks, highest_within, radii, random_within
from tfbs_shift.evaluation.running import Observations
from tfbs_shift.scanning.jobs import ScanJob
from tfbs_shift.scanning.scans import ShiftScan
from tfbs_shift.tasks import Task
from tfbs_shift.tasks.base import Columns
from tfbs_shift.windows import nearest

RESAMPLES_OF_STATISTICS = 200
_NORMAL = 1.959964  # 95% of a normal distribution lie within so many standard deviations
_BANDED = 1
"""Scores of an example up to which the statistics on a curve have intervals: each is a sort."""

Path = tuple[str, ...]


def mean(values: np.ndarray) -> float:
    """Of any column, in double precision."""
    return float(np.mean(values, dtype=np.float64))


def metrics(task: Task, columns: Columns, per_label: Columns) -> dict[str, float]:
    """The metrics of one strategy.

    Args:
        task: what is judged.
        columns: (N,) at the starts it chose; of a prediction without a loss no ``loss``.
        per_label: what ``Task.per_label`` gave for its scores; {} if there are none.
    """
    values = {metric: mean(columns[column]) for metric, column in task.means.items()}
    values |= means_over_labels(task, per_label)
    values |= {"loss": mean(columns["loss"])} if "loss" in columns else {}
    return {metric: values[metric] for metric in task.metrics if metric in values}


def means_over_labels(task: Task, per_label: Columns) -> dict[str, float]:
    """Each statistic's mean over the labels that have one; NaN if none has."""
    values = {}
    for name in task.statistics:
        known = per_label[name][~np.isnan(per_label[name])]
        values[name] = float(known.mean()) if len(known) else float("nan")
    return values


def averaged(
    job: ScanJob, seen: Observations, average_strands: bool
) -> tuple[dict[str, float], Columns]:
    """Metrics of the prediction averaged over starts, and their columns and ``scores``."""
    task = job.task.without_logits()
    prediction = seen.over["mean"][:, None]
    y = np.asarray(job.y)
    columns = {name: values[:, 0] for name, values in task.at_starts(prediction, y).items()}
    per_label = {}
    if task.scored:
        columns["scores"] = task.scores(prediction)[:, 0]
        per_label = task.per_label(y, columns["scores"], average_strands=average_strands)
    return metrics(task, columns, per_label), columns


def over_shifts(values: np.ndarray, allowed: np.ndarray | None) -> np.ndarray:
    """Mean of (N, S) over the starts that each example may use, float64 (N,)."""
    if allowed is None:
        return values.mean(axis=1, dtype=np.float64)
    # Without a product of this size in memory.
    total = np.einsum("ns,ns->n", values, allowed, dtype=np.float64, casting="unsafe")
    return total / allowed.sum(axis=1)


def columns_of_figures(
    task: Task, seen: Observations, allowed: np.ndarray | None, averages: Columns
) -> dict[Path, np.ndarray]:
    """Figures that are means over examples: their values (N,), by where they stand."""
    of_metric = {**task.means, "loss": "loss"}
    columns: dict[Path, np.ndarray] = {}
    for name, there in seen.chosen.items():
        columns |= {("strategies", name, m): there[column] for m, column in of_metric.items()}
    if not seen.every:
        return columns
    for metric, column in of_metric.items():
        columns["mean_over_shifts", metric] = over_shifts(seen.every[column], allowed)
    columns |= {(name,): seen.over[name] for name in task.summaries}
    if "right" in seen.every:
        right = seen.every["right"]
        columns["right_at_every_shift",] = (right if allowed is None else right | ~allowed).all(1)
    for metric, column in task.means.items():
        columns["averaged_over_shifts", metric] = averages[column]
    return columns


def repeats(job: ScanJob, seen: Observations) -> statistics.Repeats:
    """The predictions of an example at its starts as repeats of one measurement."""
    number = np.full(len(job.x), len(job.windows)) if job.allowed is None else job.allowed.sum(1)
    return statistics.Repeats(number, seen.over["mean"], seen.over["variance"])


def reliability(job: ScanJob, seen: Observations) -> float | None:
    """The share of the variance of predictions that lies between examples; None without all
    starts."""
    return float(statistics.reliability(repeats(job, seen))[0]) if seen.every else None


def curve(job: ScanJob, seen: Observations, average_strands: bool) -> list[dict[str, float]]:
    """Metrics at the start of highest loss within r bp, and at random ones, for every r."""
    scan = seen.scan(job)
    if scan is None:
        return []
    points: list[dict[str, float]] = [{"max_shift": r} for r in radii(job.windows)]
    for metric, column in {**job.task.means, "loss": "loss"}.items():
        values = seen.every[column]
        worst = on_curve(values, scan).mean(axis=0, dtype=np.float64)
        expected, deviation = random_within(values, job.windows, job.allowed)
        band = _NORMAL * deviation
        low, high = expected - band, expected + band
        if values.dtype == bool:  # a share
            low, high = np.maximum(low, 0.0), np.minimum(high, 1.0)
        names = (metric, *(f"random_{metric}{end}" for end in ("", "_low", "_high")))
        for point, *numbers in zip(points, worst, expected, low, high, strict=True):
            point |= dict(zip(names, map(float, numbers), strict=True))
    if seen.records is not None:
        for r, point in enumerate(points):
            point |= _statistics_within(job, seen, r, average_strands)
    return points


def _statistics_within(
    job: ScanJob, seen: Observations, r: int, average_strands: bool
) -> dict[str, float]:
    """Statistics at the start of highest loss within r bp, and over the draws of random ones."""
    assert seen.records is not None
    task, y = job.task, np.asarray(job.y)
    worst, *drawn = (
        means_over_labels(
            task,
            task.per_label(y, seen.records.scores(d, r), average_strands=average_strands),
        )
        for d in range(seen.records.at.shape[1])
    )
    point = {}
    for name, value in worst.items():
        point[name] = value
        values = [one[name] for one in drawn]
        if values:
            point[f"random_{name}"] = float(np.mean(values))
            point |= {f"random_{name}_low": min(values), f"random_{name}_high": max(values)}
    return point


def on_curve(values: np.ndarray, scan: ShiftScan) -> np.ndarray:
    """Values (N, S) at the start of highest loss within r: (N, R + 1)."""
    parts = []
    for rows in chunks(len(values)):
        allowed = None if scan.allowed is None else scan.allowed[rows]
        columns = highest_within(scan.loss[rows], scan.windows, allowed)
        parts.append(np.take_along_axis(values[rows], columns, axis=1))
    return np.concatenate(parts)


def intervals(
    job: ScanJob,
    seen: Observations,
    averages: Columns,
    units: np.ndarray,
    seed: int,
    average_strands: bool,
) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """95% bootstrap intervals of the figures, laid out as they are, and of the curve's points.

    Args:
        job, seen, averages: what the figures are of.
        units: (N,) what is drawn anew, as wholes: each example, its pair of strands, its group.
        seed: of the draws.
        average_strands: whether scores are averaged over strands.
    """
    task, scan = job.task, seen.scan(job)
    columns = columns_of_figures(task, seen, job.allowed, averages)
    means = {} if scan is None else task.means
    table = list(columns.values())
    for column in means.values():
        table += list(on_curve(seen.every[column], scan).T)
    stacked = np.stack([np.asarray(column, np.float64) for column in table], axis=1)
    pairs = np.stack(statistics.of_means(stacked, units, seed=seed), axis=1).tolist()
    nested: dict[str, Any] = {"number": len(np.unique(units))}
    for path, pair in zip(columns, pairs, strict=False):
        _place(nested, path, pair)
    scored: dict[Path, np.ndarray] = {}
    if task.scored:
        scored = {("strategies", name): there["scores"] for name, there in seen.chosen.items()}
        if seen.every:
            scored["averaged_over_shifts",] = averages["scores"]
    if seen.every:
        ends = statistics.of_reliability(
            repeats(job, seen), units, seed=seed, resamples=RESAMPLES_OF_STATISTICS
        )
        nested["reliability"] = list(ends)
    resample = _Resample(task, np.asarray(job.y), units, seed, average_strands)
    for path, scores in scored.items():
        for metric, pair in resample(scores).items():
            _place(nested, (*path, metric), pair)
    points: list[dict[str, float]] = [{} for _ in radii(job.windows)] if seen.every else []
    on_points = iter(pairs[len(columns) :])
    for metric in means:
        for point in points:
            point |= _ends(metric, next(on_points))
    if seen.records is not None and task.scored <= _BANDED:
        for r, point in enumerate(points):
            for metric, pair in resample(seen.records.scores(0, r)).items():
                point |= _ends(metric, pair)
    return nested, points


class _Resample:
    """Intervals of a task's statistics, examples drawn anew by their units."""

    def __init__(
        self, task: Task, y: np.ndarray, units: np.ndarray, seed: int, average_strands: bool
    ):
        self.task, self.seed = task, seed
        self.half = len(y) // 2 if average_strands else None
        self.y = y[: self.half]
        names, self.index = np.unique(units[: self.half], return_inverse=True)
        self.units = len(names)

    def __call__(self, scores: np.ndarray) -> dict[str, list[float]]:
        """[low, high] of each statistic of scores (N, ``task.scored``)."""
        scores = np.asarray(scores)
        if self.half is not None:
            scores = (scores[: self.half] + scores[self.half :]) / 2

        def statistic(counts: np.ndarray) -> np.ndarray:
            return self.task.resampled(self.y, scores, counts[:, self.index])

        ends = statistics.bootstrap(
            statistic, self.units, resamples=RESAMPLES_OF_STATISTICS, seed=self.seed
        )
        pairs = np.stack(ends, axis=1).tolist()
        return dict(zip(self.task.statistics, pairs, strict=True))


def _ends(metric: str, pair: Sequence[float]) -> dict[str, float]:
    return {f"{metric}_low": pair[0], f"{metric}_high": pair[1]}


def _place(nested: dict[str, Any], path: Path, pair: list[float]) -> None:
    for key in path[:-1]:
        nested = nested.setdefault(key, {})
    nested[path[-1]] = pair


def protection(job: ScanJob, seen: Observations) -> dict[str, Any]:
    """What protected spans excluded, and what the worst were without them."""
    assert job.allowed is not None
    result: dict[str, Any] = {
        "windows_excluded": float((~job.allowed).mean()),
        "examples_bounded": int((~job.allowed.all(axis=1)).sum()),
        "centre_moved": int(
            (nearest(len(job.x), job.windows, job.allowed) != -job.windows.shifts[0]).sum()
        ),
    }
    if seen.every:
        free = ShiftScan(job.windows, seen.every["loss"])
        at = (free.worst_start - free.starts[0])[:, None]
        worst = {"loss": mean(free.worst_loss)}
        for metric, column in job.task.means.items():
            worst[metric] = mean(np.take_along_axis(seen.every[column], at, axis=1))
        result["worst_without"] = worst
    return result


def means_over_shifts(
    task: Task, seen: Observations, allowed: np.ndarray | None
) -> dict[str, float] | None:
    """Metrics averaged over all starts; None unless every start was run."""
    if not seen.every:
        return None
    columns = {**task.means, "loss": "loss"}
    return {m: mean(over_shifts(seen.every[column], allowed)) for m, column in columns.items()}
