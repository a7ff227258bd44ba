"""Several audits side by side: paired differences on the same examples, seeds as repeats."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tfbs_shift.errors import InputError
from tfbs_shift.evaluation import statistics
from tfbs_shift.evaluation.robustness import AREA_RESAMPLES, SCHEMA
from tfbs_shift.tasks.areas import label_scores, resampled_scores


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
        found = next((place for place in places if (place / "robustness.json").is_file()), None)
        if found is None:
            raise InputError(f"{folder}: no robustness.json in it: run tfbs-shift evaluate first")
        path = found / "robustness.json"
        try:
            figures = json.loads(path.read_text())
        except ValueError as error:
            raise InputError(f"{path}: damaged ({error}); run tfbs-shift evaluate again") from error
        if not isinstance(figures, dict) or figures.get("schema") != SCHEMA:
            raise InputError(f"{path}: want schema {SCHEMA}; run tfbs-shift evaluate again")
        if name is None:
            name = folder.name if found == folder and folder.name != "audit" else found.parent.name
        return cls(name, found, figures)

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """Of ``shifts.npz``.

        Raises:
            InputError: it is missing or damaged.
        """
        path = self.folder / "shifts.npz"
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{path}: missing or damaged; run tfbs-shift evaluate again"
            ) from error

    @property
    def several(self) -> bool:
        """Whether there are several labels."""
        return "labels" in self.figures

    @property
    def checksum(self) -> str:
        """Tells whether two audits are of the same examples."""
        return str(self.figures.get("data", {}).get("checksum", ""))

    def predictions(self, strategy: str) -> np.ndarray:
        """float32 (N, K) under a strategy, of several labels; both strands averaged if that was.

        Raises:
            InputError: the file is missing or damaged.
        """
        path = self.folder / "predictions" / f"predictions_{strategy}.npy"
        try:
            values = np.load(path, mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise InputError(
                f"{path}: missing or damaged; run tfbs-shift evaluate again"
            ) from error
        return self._averaged(values)

    @property
    def labels(self) -> np.ndarray:
        """uint8 (N, K), of the first strand alone if strands were averaged."""
        labels = self.arrays["labels"]
        return labels[: len(labels) // 2] if self.figures.get("average_strands") else labels

    @property
    def groups(self) -> np.ndarray | None:
        """(N,) chromosomes, where known; None where they are fewer than 5, too few to resample."""
        chrom = self.arrays.get("chrom")
        return None if chrom is None or len(np.unique(chrom)) < 5 else chrom

    def _averaged(self, values: np.ndarray) -> np.ndarray:
        if not self.figures.get("average_strands"):
            return values
        half = len(values) // 2
        return (values[:half] + values[half:]) / 2


def differences(
    audits: Sequence[SavedAudit], labels: Sequence[Mapping[str, Any]] = (), *, seed: int = 0
) -> list[dict[str, Any]]:
    """Each later audit against the first, under each strategy both have.

    Accuracy: paired bootstrap (chromosomes where known and at least 5, else examples) and McNemar's
    exact test, corrected over all rows to control the false discovery rate. Several labels: paired
    bootstrap of the mean AUROC and AUPR, and how many of ``labels`` differ.

    Args:
        audits: two or more.
        labels: what :func:`label_differences` gives for them.
        seed: of the resamples.

    Returns:
        Rows ``run, baseline, strategy, metric, difference, low, high``, and ``p, q`` for accuracy;
        ``labels_different`` (q below 0.05) and ``labels_tested`` for several labels. Runs on other
        examples than the first have no rows.
    """
    first, *others = audits
    rows: list[dict[str, Any]] = []
    for other in others:
        if not comparable(first, other):
            continue
        for strategy in first.figures["strategies"]:
            if strategy in other.figures["strategies"]:
                about = {"run": other.name, "baseline": first.name, "strategy": strategy}
                compare = _areas if first.several else _accuracy
                found = [about | row for row in compare(first, other, strategy, seed)]
                if first.several:
                    tests = [one for one in labels if about.items() <= one.items()]
                    different = sum(one["q"] < 0.05 for one in tests)
                    number = {"labels_different": different, "labels_tested": len(tests)}
                    found = [row | number for row in found]
                rows += found
    tested = [row for row in rows if "p" in row]
    for row, q in zip(tested, statistics.corrected([row["p"] for row in tested]), strict=True):
        row["q"] = float(q)
    return rows


def label_differences(audits: Sequence[SavedAudit]) -> list[dict[str, Any]]:
    """Each label of each later audit against the first, under each strategy both have.

    Returns:
        Rows ``run, baseline, strategy, label, auroc_baseline, auroc, p, q``: McNemar's exact test
        of the calls (above 0.5), corrected over the labels of one run and strategy. Labels that
        lack a class are left out; none for runs that are not of several labels.
    """
    first, *others = audits
    rows: list[dict[str, Any]] = []
    for other in others:
        if not first.several or not comparable(first, other):
            continue
        for strategy in first.figures["strategies"]:
            if strategy not in other.figures["strategies"]:
                continue
            y, p, q = first.labels, first.predictions(strategy), other.predictions(strategy)
            scores = [label_scores(y, np.asarray(one)) for one in (p, q)]
            labels = np.flatnonzero(scores[0].scored)
            right = [(np.asarray(one) > 0.5) == (y > 0.5) for one in (p, q)]
            tests = [statistics.mcnemar(right[0][:, k], right[1][:, k]) for k in labels]
            names = first.arrays.get("label_names", np.arange(y.shape[1]))
            for k, test, corrected in zip(labels, tests, statistics.corrected(tests), strict=True):
                rows.append(
                    {"run": other.name, "baseline": first.name, "strategy": strategy}
                    | {"label": str(names[k]), "auroc_baseline": float(scores[0].auroc[k])}
                    | {"auroc": float(scores[1].auroc[k]), "p": test, "q": float(corrected)}
                )
    return rows


def comparable(first: SavedAudit, other: SavedAudit) -> bool:
    """Whether two audits are of the same examples, labels and strands."""
    same = ("examples", "labels", "average_strands")
    return first.checksum == other.checksum and all(
        first.figures.get(key) == other.figures.get(key) for key in same
    )


def _accuracy(
    first: SavedAudit, other: SavedAudit, strategy: str, seed: int
) -> list[dict[str, Any]]:
    one, two = (audit.arrays[f"right_{strategy}"] for audit in (first, other))
    change = two.astype(float) - one
    interval = statistics.of_means(change[:, None], first.groups, seed=seed)
    return [
        {"metric": "accuracy", "difference": float(change.mean())}
        | {"low": float(interval.low[0]), "high": float(interval.high[0])}
        | {"p": statistics.mcnemar(one, two)}
    ]


def _areas(first: SavedAudit, other: SavedAudit, strategy: str, seed: int) -> list[dict[str, Any]]:
    y, p, q = first.labels, first.predictions(strategy), other.predictions(strategy)
    groups = np.arange(len(y)) if first.groups is None else first.groups[: len(y)]
    names, index = np.unique(groups, return_inverse=True)

    def change(counts: np.ndarray) -> np.ndarray:
        drawn = counts[:, index]
        return resampled_scores(y, q, drawn) - resampled_scores(y, p, drawn)

    value = change(np.ones((1, len(names))))[:, 0]
    interval = statistics.bootstrap(change, len(names), resamples=AREA_RESAMPLES, seed=seed)
    return [
        {"metric": metric, "difference": float(value[i]), "low": float(interval.low[i])}
        | {"high": float(interval.high[i])}
        for i, metric in enumerate(("auroc", "aupr"))
    ]


def repeats(audits: Sequence[SavedAudit]) -> list[dict[str, Any]]:
    """Runs that were trained alike but for the seed: mean and standard deviation of each metric.

    Returns:
        One entry for each group of two runs or more: ``runs`` (names), ``seeds``, and
        ``strategies``: for each strategy and metric its ``mean`` and ``sd`` (of a sample).
    """
    groups: dict[str, list[SavedAudit]] = {}
    trained = [audit for audit in audits if audit.figures.get("training")]
    # Flags that all runs have: a later version may have more, with what was fixed as default.
    flags = [set(audit.figures["training"]) for audit in trained]
    common = set.intersection(*flags) if flags else set()
    for audit in trained:
        alike = {key: audit.figures["training"][key] for key in common - {"seed"}}
        key = json.dumps([alike, audit.checksum, audit.figures["shifts"]], sort_keys=True)
        groups.setdefault(key, []).append(audit)
    found = []
    for members in groups.values():
        if len(members) < 2:
            continue
        shared = [set(audit.figures["strategies"]) for audit in members]
        strategies: dict[str, Mapping] = {}
        for name, metrics in members[0].figures["strategies"].items():
            if all(name in one for one in shared):
                values = {
                    metric: [audit.figures["strategies"][name][metric] for audit in members]
                    for metric in metrics
                }
                strategies[name] = {
                    metric: {"mean": float(np.mean(v)), "sd": float(np.std(v, ddof=1))}
                    for metric, v in values.items()
                    if None not in v
                }
        found.append(
            {
                "runs": [audit.name for audit in members],
                "seeds": [audit.figures["training"].get("seed") for audit in members],
                "strategies": strategies,
            }
        )
    return found
