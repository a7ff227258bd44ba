"""Metrics of DeepSEA's whole test set, 455,024 examples and 690 labels, on random scores.

  python benchmarks/many_labels.py --folder=FOLDER [--examples=455024 --labels=690]

The scores lie in a file of 1.26 GB, as evaluate leaves them. A few labels are compared with
scikit-learn.
"""

from __future__ import annotations

import os
import platform
import resource
import time
from pathlib import Path

import numpy as np
from absl import app, flags
from sklearn import metrics

from tfbs_shift.tasks.areas import label_scores

FLAGS = flags.FLAGS
flags.DEFINE_string("folder", None, "Where the scores are written.", required=True)
flags.DEFINE_integer("examples", 455_024, "Rows; an even number.")
flags.DEFINE_integer("labels", 690, "Columns.")


def main(_: list[str]) -> None:
    rng = np.random.default_rng(0)
    count, labels = FLAGS.examples, FLAGS.labels
    folder = Path(FLAGS.folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "scores.npy"
    y = np.empty((count, labels), np.uint8)
    scores = np.lib.format.open_memmap(path, "w+", np.float32, (count, labels))
    for begin in range(0, count, 2**14):
        rows = slice(begin, min(begin + 2**14, count))
        y[rows] = rng.random((rows.stop - begin, labels), np.float32) < 0.02
        scores[rows] = rng.random((rows.stop - begin, labels), np.float32) + 0.5 * y[rows]
    y[:, 7] = 0
    scores.flush()
    del scores
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{count:,} x {labels}; {platform.machine()}, {os.cpu_count()} CPUs")
    for average in (False, True):
        begin = time.perf_counter()
        found = label_scores(y, np.load(path, mmap_mode="r"), average_strands=average)
        seconds = time.perf_counter() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"strands {'averaged' if average else 'apart'}: {seconds:.0f} s; AUROC "
            f"{found.means()['auroc']:.6f}, AUPR {found.means()['aupr']:.6f}, mean of "
            f"{found.scored.sum()} labels; peak resident memory {peak:,.0f} MB ({before:,.0f} "
            "before, labels included; the map of the scores counts)"
        )
        if not average:
            first = found
    scores = np.load(path, mmap_mode="r")
    for k in (0, labels // 2, labels - 1):
        precision, recall, _ = metrics.precision_recall_curve(y[:, k], scores[:, k])
        roc, pr = metrics.roc_auc_score(y[:, k], scores[:, k]), metrics.auc(recall, precision)
        difference = max(abs(roc - first.auroc[k]), abs(pr - first.aupr[k]))
        print(f"label {k}: difference from scikit-learn {difference:.1e}")
    path.unlink()


if __name__ == "__main__":
    app.run(main)
