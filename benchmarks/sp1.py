"""SP1 of the paper's Table 1, trained and audited here: a table beside the paper's, and the curve.

    python benchmarks/sp1.py --data=FOLDER --out=runs/sp1

FOLDER holds the SP1 motif discovery set of Zeng et al. 2016 (HaibH1hescSp1Pcr1xUniPk: train.data
and test.data, or the paper's authors' .npz). Runs configs/sp1_*.flags and repeats two of them with
other seeds; a finished run in OUT is not run again. Figures go to OUT/<run>/audit, the comparison
of the runs at window 90 to OUT/comparison, that of the repeats to OUT/repeats.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
from pathlib import Path

from tfbs_shift import reports
from tfbs_shift.commands import main as tfbs_shift

CONFIGS = Path(__file__).parents[1] / "configs"
PAPER = Path(__file__).parent / "paper" / "table1.csv"  # Table 1 of Pap & Megyeri (ICAART 2022)
EXPERIMENT, TASK = "HaibH1hescSp1Pcr1x", "discovery"
STRATEGIES = ("none", "random", "worst")
RUNS = (
    "sp1_w75_none", "sp1_w75_worst", "sp1_w90_none", "sp1_w90_random", "sp1_w90_worst",
    "sp1_w95_none", "sp1_w95_worst", "sp1_w101_none",
)  # fmt: skip
REPEATED = ("sp1_w90_none", "sp1_w90_worst")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--keep", type=Path, help="folder to copy the small result files to")
    options = parser.parse_args()
    runs = {run: (run, 0) for run in RUNS}
    runs |= {f"{run}_seed{seed}": (run, seed) for run in REPEATED for seed in (1, 2)}
    audits = {}
    for name, (config, seed) in runs.items():
        folder = options.out / name
        data = f"--data={options.data}"
        words = [f"--flagfile={CONFIGS / config}.flags", data, f"--seed={seed}"]
        if not (folder / "model.keras").exists() and (
            status := tfbs_shift(["train", *words, f"--out={folder}"])
        ):
            return status
        file = folder / "audit" / "robustness.json"
        words = ["evaluate", f"--model={folder}", data, f"--out={folder / 'audit'}"]
        if not file.exists() and (status := tfbs_shift(words)):
            return status
        audits[name] = json.loads(file.read_text())
        if options.keep:
            (options.keep / name).mkdir(parents=True, exist_ok=True)
            for result in (file.with_suffix(".csv"), folder / "history.csv"):
                shutil.copy(result, options.keep / name)
            kept = dict(audits[name])
            kept["data"] = kept["data"] | {"source": Path(kept["data"]["source"]).name}
            reports.write_json(kept, options.keep / name / file.name)
    print(table({run: audits[run] for run in RUNS}))
    compared = {
        "comparison": [f"sp1_w90_{strategy}" for strategy in STRATEGIES],
        "repeats": [name for name, (config, _) in runs.items() if config in REPEATED],
    }
    for name, members in compared.items():
        folders = ",".join(str(options.out / member) for member in members)
        if status := tfbs_shift(["compare", f"--runs={folders}", f"--out={options.out / name}"]):
            return status
        if options.keep:
            shutil.copy(options.out / name / "comparison.json", options.keep / f"{name}.json")
    if options.keep:
        shutil.copy(options.out / "comparison" / "plots" / "curve.png", options.keep)
        for plot in ("certificates.png", "examples.png"):  # for docs/concepts.md
            shutil.copy(options.out / "sp1_w90_none" / "audit" / "plots" / plot, options.keep)
    return 0


def paper() -> dict[tuple[str, str, str], float]:
    """The paper's accuracies, by window, strategy of training and strategy of evaluation."""
    with PAPER.open(encoding="utf-8") as file:
        return {
            (row["window"], row["trained_with"], row["evaluated_with"]): float(row["accuracy"])
            for row in csv.DictReader(file)
            if (row["experiment"], row["task"]) == (EXPERIMENT, TASK)
        }


def table(audits: dict[str, dict]) -> str:
    """Markdown: accuracy, the paper's, the difference in each cell; then what belongs to it."""
    header = ["window", "trained with", "No Shift", "Rnd", "Worst", "consistency", "wobble"]
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    papers = paper()
    for run, figures in audits.items():
        window, trained_with = str(figures["window"]), run.rpartition("_")[2]
        shown = STRATEGIES if len(figures["shifts"]) > 1 else STRATEGIES[:1]
        cells = []
        for name in shown:
            ours = figures["strategies"][name]["accuracy"]
            theirs = papers.get((window, trained_with, name))
            beside = "" if theirs is None else f" / {theirs:.4f} ({ours - theirs:+.4f})"
            cells.append(f"{ours:.4f}{beside}")
        cells += [""] * (len(STRATEGIES) - len(cells))
        for key in ("consistency", "wobble"):
            cells.append(f"{figures[key]:.3f}" if len(shown) > 1 else "")
        lines.append(f"| {window} | {trained_with} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
