"""Several audits side by side: paired differences on the same examples, seeds as repeats."""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tfbs_shift.errors import InputError
from tfbs_shift.evaluation import statistics
from tfbs_shift.evaluation.figures import RESAMPLES_OF_STATISTICS
from tfbs_shift.evaluation.robustness import SCHEMA
from tfbs_shift.files import sha256
from tfbs_shift.tasks import TASKS, Task, described_by

_NEEDED = ("task", "files", "examples", "sequence_length", "window", "shifts", "strategies",
           "curve")  # fmt: skip
"""Figures without which nothing is said of an audit."""


def plain_figures(figures: Any) -> Any:
    """Figures as JSON holds them: what is no number is None."""
    if isinstance(figures, Mapping):
        return {str(key): plain_figures(value) for key, value in figures.items()}
    if isinstance(figures, list | tuple):
        return [plain_figures(value) for value in figures]
    return None if isinstance(figures, float) and not math.isfinite(figures) else figures


def signed(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures with their ``id``, the beginning of the SHA-256 of all the others."""
    plain = {key: value for key, value in plain_figures(figures).items() if key != "id"}
    text = json.dumps(plain, sort_keys=True)
    return {"id": hashlib.sha256(text.encode()).hexdigest()[:16], **plain}


@dataclass(frozen=True, eq=False)
class SavedAudit:
    """What ``tfbs-shift evaluate`` left in a folder.

    Attributes:
        name: what to call the network.
        folder: the folder.
        figures: of ``robustness.json``.
    """

    name: str
    folder: Path
    figures: dict[str, Any] = field(repr=False)

    @classmethod
    def read(cls, folder: Path, name: str | None = None) -> SavedAudit:
        """Reads the audit in a folder, or in ``audit`` within it.

        Raises:
            InputError: no audit there, or one of another schema.
        """
        places = [folder, folder / "audit"]
        written = [place for place in places if (place / "robustness.json").is_file()]
        if not written:
            raise InputError(f"{folder}: no robustness.json in it: run tfbs-shift evaluate first")
        place = written[0]
        path = place / "robustness.json"
        try:
            figures = json.loads(path.read_text())
        except ValueError as error:
            raise InputError(f"{path}: damaged ({error}); run tfbs-shift evaluate again") from error
        if not isinstance(figures, dict) or figures.get("schema") != SCHEMA:
            raise InputError(f"{path}: want schema {SCHEMA}; run tfbs-shift evaluate again")
        if figures.get("id") != signed(figures)["id"]:
            raise InputError(
                f"{path}: damaged, changed, or of an older version; run tfbs-shift evaluate again"
            )
        missing = [key for key in _NEEDED if key not in figures]
        if not missing and figures["task"] in TASKS:
            try:
                described_by(figures)
            except KeyError as error:
                missing = [error.args[0]]
        if missing or figures["task"] not in TASKS:
            what = f"no {missing[0]}" if missing else f"task {figures['task']!r}"
            raise InputError(f"{path}: {what} in it; run tfbs-shift evaluate again")
        if name is None:
            name = folder.name if place == folder and folder.name != "audit" else place.parent.name
        return cls(name, place, figures)

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """Of ``shifts.npz``.

        Raises:
            InputError: it is missing or damaged.
        """
        path = self._file("shifts.npz")
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{path}: missing or damaged; run tfbs-shift evaluate again"
            ) from error

    def _file(self, name: str) -> Path:
        """A file of the audit, by its digest.

        Raises:
            InputError: it is missing, damaged, or of another audit.
        """
        path = self.folder / name
        if not path.is_file():
            raise InputError(f"{path}: missing; run tfbs-shift evaluate again")
        if sha256(path) != self.figures["files"].get(name):
            raise InputError(
                f"{path}: damaged, or of another audit than {self.folder / 'robustness.json'}; run "
                "tfbs-shift evaluate again"
            )
        return path

    @property
    def task(self) -> Task:
        """How its predictions were judged."""
        return described_by(self.figures)

    @property
    def checksum(self) -> str:
        """Tells the examples from others; "" where it is not known."""
        return str(self.figures.get("data", {}).get("checksum") or "")

    def scores(self, strategy: str) -> np.ndarray:
        """float32 (N, ``task.scored``) under a strategy; both strands averaged if that was.

        Raises:
            InputError: the file is missing or damaged.
        """
        if self.task.score_column:
            return self.of_strands(self.column(self.task.score_column, strategy)[:, None])
        return self.of_strands(self._predictions(f"predictions_{strategy}"))

    def repeats(self) -> statistics.Repeats | None:
        """What each example's predictions at its starts sum up to; None where that is not known.

        Raises:
            InputError: a file is missing or damaged.
        """
        if not self.figures.get("certificates"):  # not every start was run
            return None
        names = ("mean", "variance")
        if not self.task.scores_apart:
            found = [self.arrays.get(name) for name in names]
        elif (self.folder / "predictions" / f"{names[0]}.npy").is_file():
            found = [self._predictions(name) for name in names]
        else:
            found = [None]
        if any(one is None for one in found):  # of an audit that did not keep them
            return None
        number = np.full(len(found[0]), len(self.figures["shifts"]))
        if "allowed" in self.arrays:
            number = self.arrays["allowed"].sum(axis=1)
        return statistics.Repeats(number, *found)

    def _predictions(self, name: str) -> np.ndarray:
        path = self._file(f"predictions/{name}.npy")
        try:
            return np.load(path, mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise InputError(
                f"{path}: missing or damaged; run tfbs-shift evaluate again"
            ) from error

    def of_strands(self, values: np.ndarray) -> np.ndarray:
        """Rows of values averaged over both strands, if those were averaged."""
        if not self._strands:
            return values
        half = len(values) // 2
        return (values[:half] + values[half:]) / 2

    def column(self, name: str, strategy: str) -> np.ndarray:
        """A column (N,) at the starts that a strategy chose.

        Raises:
            InputError: ``shifts.npz`` has none.
        """
        if f"{name}_{strategy}" not in self.arrays:
            raise InputError(
                f"{self.folder / 'shifts.npz'}: has no {name}_{strategy}; run tfbs-shift evaluate "
                "again"
            )
        return self.arrays[f"{name}_{strategy}"]

    @property
    def labels(self) -> np.ndarray:
        """(N, K) as the task has them, of the first strand alone if strands were averaged."""
        if "labels" not in self.arrays:
            raise InputError(
                f"{self.folder / 'shifts.npz'}: has no labels; run tfbs-shift evaluate again"
            )
        labels = self.arrays["labels"]
        labels = self.task.labels(labels, len(labels))
        return labels[: len(labels) // 2] if self._strands else labels

    @property
    def groups(self) -> np.ndarray | None:
        """(N,) chromosomes, where known and enough to resample."""
        return statistics.resampling_groups(self.arrays.get("chrom"))

    @property
    def units(self) -> np.ndarray:
        """(N,) what is drawn anew as a whole: chromosomes, else examples or pairs of strands."""
        if self.groups is not None:
            return self.groups
        count = int(self.figures["examples"])
        return np.arange(count) % (count // 2 if self._strands else count)

    @property
    def _strands(self) -> bool:
        return bool(self.figures.get("average_strands"))


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several audits beside the first.

    Attributes:
        audits: what is compared, by name.
        differences: of each later audit from the first, see :func:`differences`.
        labels: label by label, see :func:`label_differences`.
        repeats: runs that differ by their seed, see :func:`repeats`.
        unpaired: names of audits that are not known to be of the first one's examples.
    """

    audits: dict[str, SavedAudit]
    differences: list[dict[str, Any]]
    labels: list[dict[str, Any]]
    repeats: list[dict[str, Any]]
    unpaired: list[str]

    @property
    def figures(self) -> dict[str, dict[str, Any]]:
        """Of each audit, by name."""
        return {name: audit.figures for name, audit in self.audits.items()}


def compare(audits: Sequence[SavedAudit], *, seed: int = 0) -> Comparison:
    """Puts audits side by side.

    Args:
        audits: two or more, the first of which is the baseline.
        seed: of the resamples.

    Raises:
        InputError: fewer, two of one name, or different tasks; files that are missing or damaged.
    """
    if len(audits) < 2:
        raise InputError("want two audits or more")
    names = [audit.name for audit in audits]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"two are named {twice[0]!r}: give names, NAME=FOLDER")
    tasks = {audit.name: audit.figures["task"] for audit in audits}
    if len(set(tasks.values())) > 1:
        of_each = ", ".join(f"{name}: {task}" for name, task in tasks.items())
        raise InputError(f"they are of different tasks ({of_each})")
    labels = label_differences(audits)
    return Comparison(
        {audit.name: audit for audit in audits},
        differences(audits, labels, seed=seed),
        labels,
        repeats(audits),
        [audit.name for audit in audits[1:] if not comparable(audits[0], audit)],
    )


def differences(
    audits: Sequence[SavedAudit], labels: Sequence[Mapping[str, Any]] = (), *, seed: int = 0
) -> list[dict[str, Any]]:
    """Each later audit against the first, under each strategy both have.

    Every metric but the loss: paired bootstrap (chromosomes where known and at least 5, else
    examples). Of one that is a mean over examples also a test, corrected over all rows to control
    the false discovery rate: McNemar's exact one where they are right or wrong, else Wilcoxon's
    signed-rank test; of several labels or outputs, how many of ``labels`` differ. And the
    difference in reliability, where all starts were run.

    Args:
        audits: two or more.
        labels: what :func:`label_differences` gives for them.
        seed: of the resamples.

    Returns:
        Rows ``run, baseline, strategy, metric, difference, low, high`` (of ``reliability`` the
        strategy is None: it is of all starts), and ``p, q`` for means;
        ``labels_different`` (q below 0.05) and ``labels_tested`` for several labels. Runs that are
        not :func:`comparable` with the first have no rows.
    """
    rows: list[dict[str, Any]] = []
    for first, other, strategy in _pairs(audits):
        about = {"run": other.name, "baseline": first.name, "strategy": strategy}
        compared = _means(first, other, strategy, seed) + _statistics(first, other, strategy, seed)
        compared.sort(key=lambda row: first.task.metrics.index(row["metric"]))
        if first.task.scores_apart:
            tests = [one for one in labels if about.items() <= one.items()]
            different = sum(one["q"] < 0.05 for one in tests)
            number = {"labels_different": different, "labels_tested": len(tests)}
            compared = [row | number for row in compared]
        rows += [about | row for row in compared]
    for other in audits[1:]:
        about = {"run": other.name, "baseline": audits[0].name, "strategy": None}
        if comparable(audits[0], other):
            rows += [about | row for row in _reliability(audits[0], other, seed)]
    tested = [row for row in rows if "p" in row]
    for row, q in zip(tested, statistics.corrected([row["p"] for row in tested]), strict=True):
        row["q"] = float(q)
    return rows


def _pairs(audits: Sequence[SavedAudit]) -> Iterator[tuple[SavedAudit, SavedAudit, str]]:
    """The first audit, each later one that it can be paired with, and each strategy both have."""
    first, *others = audits
    for other in others:
        if comparable(first, other):
            for strategy in first.figures["strategies"]:
                if strategy in other.figures["strategies"]:
                    yield first, other, strategy


def label_differences(audits: Sequence[SavedAudit]) -> list[dict[str, Any]]:
    """Each label of each later audit against the first, under each strategy both have.

    Returns:
        Rows ``run, baseline, strategy, label, auroc_baseline, auroc, p, q``: McNemar's exact test
        of the calls, corrected over the labels of one run and strategy; of outputs that are values
        ``pearson`` in place of ``auroc``, and Wilcoxon's signed-rank test of the squared errors.
        Labels that lack a class are left out, and outputs that are constant; none for runs that are
        not of several labels or outputs.
    """
    rows: list[dict[str, Any]] = []
    for first, other, strategy in _pairs(audits):
        if not first.task.scores_apart:
            continue
        y, scores = first.labels, [np.asarray(one.scores(strategy)) for one in (first, other)]
        metric = first.task.statistics[0]
        values = [first.task.per_label(y, one)[metric] for one in scores]
        labels = np.flatnonzero(~np.isnan(values[0]))
        if first.task.probabilities:
            each = [
                (one > audit.task.threshold) == (y > 0.5)
                for one, audit in zip(scores, (first, other), strict=True)
            ]
        else:
            each = [(one - y) ** 2 for one in scores]
        tests = [statistics.paired_test(each[0][:, k], each[1][:, k]) for k in labels]
        names = first.arrays.get("label_names", np.arange(y.shape[1]))
        for k, test, corrected in zip(labels, tests, statistics.corrected(tests), strict=True):
            rows.append(
                {"run": other.name, "baseline": first.name, "strategy": strategy}
                | {"label": str(names[k]), f"{metric}_baseline": float(values[0][k])}
                | {metric: float(values[1][k]), "p": test, "q": float(corrected)}
            )
    return rows


def comparable(first: SavedAudit, other: SavedAudit) -> bool:
    """Whether two audits are known to be of the same examples, and judged alike.

    What cannot be shown to be the same is not: an audit without a checksum equals no other.
    """
    same = ("task", "classes", "labels", "outputs", "predictions", "examples", "average_strands")
    return bool(first.checksum) and first.checksum == other.checksum and all(
        first.figures.get(key) == other.figures.get(key) for key in same
    )  # fmt: skip


def _means(first: SavedAudit, other: SavedAudit, strategy: str, seed: int) -> list[dict[str, Any]]:
    """Differences of the metrics that are means of a column."""
    rows = []
    for metric, name in first.task.means.items():
        one, two = (audit.of_strands(audit.column(name, strategy)) for audit in (first, other))
        change = two.astype(float) - one
        if np.isnan(change).any():  # without a unit nothing is known to have moved
            continue
        interval = statistics.of_means(change[:, None], first.units[: len(one)], seed=seed)
        row = {"metric": metric, "difference": float(change.mean())}
        row |= {"low": float(interval.low[0]), "high": float(interval.high[0])}
        if (metric, strategy) != ("moved", "none"):  # 0 by definition, but for rounding
            row["p"] = statistics.paired_test(one, two)
        rows.append(row)
    return rows


def _statistics(
    first: SavedAudit, other: SavedAudit, strategy: str, seed: int
) -> list[dict[str, Any]]:
    """Differences of the metrics that are statistics of all examples."""
    if not first.task.scored:
        return []
    y, scores = first.labels, [np.asarray(one.scores(strategy)) for one in (first, other)]
    tasks = (first.task, other.task)  # each has its own threshold
    names, index = np.unique(first.units[: len(y)], return_inverse=True)

    def change(counts: np.ndarray) -> np.ndarray:
        drawn = counts[:, index]
        one, two = (t.resampled(y, s, drawn) for t, s in zip(tasks, scores, strict=True))
        return two - one

    value = change(np.ones((1, len(names))))[:, 0]
    interval = statistics.bootstrap(
        change, len(names), resamples=RESAMPLES_OF_STATISTICS, seed=seed
    )
    return [
        {"metric": metric, "difference": float(value[i]), "low": float(interval.low[i])}
        | {"high": float(interval.high[i])}
        for i, metric in enumerate(first.task.statistics)
        if not np.isnan(value[i])  # of one class there is none
    ]


def _reliability(first: SavedAudit, other: SavedAudit, seed: int) -> list[dict[str, Any]]:
    """The difference in reliability, if both audits kept what it is made of."""
    found = [audit.repeats() for audit in (first, other)]
    if any(one is None for one in found):
        return []
    names, index = np.unique(first.units, return_inverse=True)

    def change(counts: np.ndarray) -> np.ndarray:
        one, two = (statistics.reliability(repeats, counts[:, index]) for repeats in found)
        return (two - one)[None]

    value = float(change(np.ones((1, len(names))))[0, 0])
    if np.isnan(value):  # of one start, or of predictions that are all the same
        return []
    interval = statistics.bootstrap(
        change, len(names), resamples=RESAMPLES_OF_STATISTICS, seed=seed
    )
    row = {"metric": "reliability", "difference": value}
    return [row | {"low": float(interval.low[0]), "high": float(interval.high[0])}]


def repeats(audits: Sequence[SavedAudit]) -> list[dict[str, Any]]:
    """Runs that were trained alike but for the seed: mean and standard deviation of each metric.

    Returns:
        One entry for each group of two runs or more, known to be of the same examples: ``runs``
        (names), ``seeds``, and ``strategies``: for each strategy and metric its ``mean`` and ``sd``
        (of a sample).
    """
    trained = [audit for audit in audits if audit.figures.get("training") and audit.checksum]
    # Flags that all runs have: a later version may have more, with what was fixed as default.
    flags = [set(audit.figures["training"]) for audit in trained]
    common = set.intersection(*flags) - {"seed"} if flags else set()
    groups: dict[str, list[SavedAudit]] = {}
    for audit in trained:
        figures = audit.figures
        alike = {key: figures["training"][key] for key in common}
        judged = [figures.get(key) for key in ("task", "threshold", "shifts")]
        key = json.dumps([alike, audit.checksum, *judged], sort_keys=True)
        groups.setdefault(key, []).append(audit)
    return [
        {
            "runs": [audit.name for audit in members],
            "seeds": [audit.figures["training"].get("seed") for audit in members],
            "strategies": _spread([audit.figures["strategies"] for audit in members]),
        }
        for members in groups.values()
        if len(members) > 1
    ]


def _spread(members: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Mean and standard deviation of each strategy and metric that all members have."""
    spread: dict[str, dict[str, Any]] = {}
    for name in members[0]:
        if all(name in member for member in members):
            values = {metric: [one[name][metric] for one in members] for metric in members[0][name]}
            spread[name] = {
                metric: {"mean": float(np.mean(v)), "sd": float(np.std(v, ddof=1))}
                for metric, v in values.items()
                if None not in v
            }
    return spread
