"""SP1 of the paper's Table 1, trained and audited here: a table beside the paper's, and the curve.

    python benchmarks/sp1.py --data=FOLDER --out=runs/sp1

FOLDER holds the SP1 motif discovery set of Zeng et al. 2016 (HaibH1hescSp1Pcr1xUniPk: train.data
and test.data, or the paper's authors' .npz). Runs the four configs/sp1_*.flags; a finished run in
OUT is not run again. Figures go to OUT/<run>/audit, the table and the curve to OUT.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from tfbs_shift import reports
from tfbs_shift.commands import main as tfbs_shift

CONFIGS = Path(__file__).parents[1] / "configs"
STRATEGIES = ("none", "random", "worst")
# Pap & Megyeri 2022, Table 1, HaibH1hescSp1Pcr1x, discovery: accuracy evaluated with STRATEGIES.
PAPER = {
    "sp1_w90_none": (0.7321, 0.7316, 0.6394),
    "sp1_w90_random": (0.7542, 0.7558, 0.6497),
    "sp1_w90_worst": (0.7285, 0.7324, 0.6600),
    "sp1_w101_none": (0.7578,),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--keep", type=Path, help="folder to copy the small result files to")
    options = parser.parse_args()
    audits = {}
    for run in PAPER:
        folder = options.out / run
        data = f"--data={options.data}"
        if not (folder / "model.keras").exists():
            config = CONFIGS / f"{run}.flags"
            if status := tfbs_shift(["train", f"--flagfile={config}", data, f"--out={folder}"]):
                return status
        file = folder / "audit" / "robustness.json"
        words = ["evaluate", f"--model={folder}", data, f"--out={folder / 'audit'}"]
        if not file.exists() and (status := tfbs_shift(words)):
            return status
        audits[run] = json.loads(file.read_text())
        if options.keep:
            (options.keep / run).mkdir(parents=True, exist_ok=True)
            for result in (file, file.with_suffix(".csv"), folder / "history.csv"):
                shutil.copy(result, options.keep / run)
    print(table(audits))
    shifted = {
        f"trained with {run.rpartition('_')[2]}": figures
        for run, figures in audits.items()
        if len(figures["curve"]) > 1
    }
    reports.write_comparison(
        shifted, options.out, title="SP1 motif discovery, window 90 of 101 bp", about=list(audits)
    )
    if options.keep:
        shutil.copy(options.out / "plots" / "curve.png", options.keep)
    return 0


def table(audits: dict[str, dict]) -> str:
    """Markdown: accuracy, the paper's, and the difference, in each cell."""
    lines = ["| window | trained with | No Shift | Rnd | Worst |", "|---|---|---|---|---|"]
    for run, paper in PAPER.items():
        figures = audits[run]["strategies"]
        cells = []
        for name, theirs in zip(STRATEGIES, paper, strict=False):
            ours = figures[name]["accuracy"]
            cells.append(f"{ours:.4f} / {theirs:.4f} ({ours - theirs:+.4f})")
        cells += [""] * (len(STRATEGIES) - len(cells))
        name = run.rpartition("_")[2]
        lines.append(f"| {audits[run]['window']} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
