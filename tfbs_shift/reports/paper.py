"""The two tables of Pap & Megyeri (ICAART 2022), and which cell of them a run is."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from importlib import resources
from typing import Any

from tfbs_shift.reports.tables import Figures

Cell = dict[str, dict[str, float]]
"""{strategy it was evaluated with: {metric: value}}"""


def paper_cell(figures: Figures) -> Cell | None:
    """What the paper has for a run: its row of Table 1 or 2, or None if it is none of them.

    Table 1: the data's path names the experiment (HaibH1hescSp1Pcr1x, SydhImr90MafkIggrab,
    SydhK562Znf143Iggrab), the window is one of its windows, the network our CNN, and the negatives
    tell discovery (shuffled) from occupancy (genomic). Table 2: TBiNet on 690 labels of sequences
    of 1200 bp. How long the run was trained, and whether regularised, is not asked.

    Args:
        figures: with ``data`` and ``training``, as ``tfbs-shift evaluate`` writes them.
    """
    training, data = figures.get("training"), figures.get("data")
    if not training or not data:
        return None
    trained = training.get("strategy", "")
    window, source = figures["window"], str(data.get("source", ""))
    if figures.get("labels") == 690 and figures["sequence_length"] == 1200:
        if training.get("model") != "tbinet":
            return None
        trained = f"worst_of_{training['tries']}" if training.get("tries") else trained
        return _cells("table2.csv", window=window, trained_with=trained)
    task = {"shuffled": "discovery", "genomic": "occupancy"}.get(data.get("negatives", ""))
    if training.get("model") != "cnn" or figures["sequence_length"] != 101 or task is None:
        return None
    for experiment in {row["experiment"] for row in _table("table1.csv")}:
        if experiment in source:
            return _cells("table1.csv", experiment=experiment, window=window, task=task,
                          trained_with=trained)  # fmt: skip
    return None


def _cells(name: str, **wanted: Any) -> Cell | None:
    found: Cell = {}
    for row in _table(name):
        if all(row[key] == str(value) for key, value in wanted.items()):
            metric = row.get("metric", "accuracy")
            value = float(row.get("value") or row["accuracy"])
            found.setdefault(row["evaluated_with"], {})[metric] = value
    return found or None


def _table(name: str) -> list[Mapping[str, str]]:
    text = (resources.files("tfbs_shift.reports") / name).read_text()
    return list(csv.DictReader(text.splitlines()))
