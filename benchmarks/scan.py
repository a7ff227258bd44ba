"""The scan that shares what windows have in common, beside the same work done plainly.

  python benchmarks/scan.py [--json=FILE] [--plot=FILE.png] [--only=cnn_75,deepsea] [--pairs=5]

Plainly is what the paper's authors do: all windows of all examples concatenated, one ``predict``
with the best of batch sizes 64, 256 and 512, and Keras's loss of each. Both run in turn, several
times, in one process; a row's ratio is the median of the pairs'. Weights are random (the last
layer's are scaled, so that losses differ between starts), sequences too. FLOPs are those of matrix
products (``plan_scan``); the peak is what a product of two 2048 x 2048 float32 matrices reached in
the same run.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from absl import app, flags
from keras import layers

import tfbs_shift as ts

FLAGS = flags.FLAGS
flags.DEFINE_string("json", None, "Write the figures there, too.")
flags.DEFINE_string("plot", None, "Write the plot of time against the number of starts there.")
flags.DEFINE_list("only", None, "Rows to run; default: all.")
flags.DEFINE_integer("pairs", 5, "How often each pair is timed.", lower_bound=1)
flags.DEFINE_integer("memory_of", None, "Scan so many examples, print the peak (used by itself).")

BATCHES = (64, 256, 512)


def deepsea(window: int, labels: int = 919) -> keras.Model:
    """DeepSEA (Zhou & Troyanskaya 2015): its layers and sizes."""
    return keras.Sequential(
        [
            keras.Input((window, 4)),
            layers.Conv1D(320, 8, activation="relu"),
            layers.MaxPooling1D(4),
            layers.Dropout(0.2),
            layers.Conv1D(480, 8, activation="relu"),
            layers.MaxPooling1D(4),
            layers.Dropout(0.2),
            layers.Conv1D(960, 8, activation="relu"),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(925, activation="relu"),
            layers.Dense(labels, activation="sigmoid"),
        ]
    )


def one_convolution(window: int) -> keras.Model:
    """128 filters of 24, the highest match of each, and what follows from them."""
    return keras.Sequential(
        [
            keras.Input((window, 4)),
            layers.Conv1D(128, 24, activation="relu"),
            layers.GlobalMaxPooling1D(),
            layers.Dense(690, activation="sigmoid"),
        ]
    )


# name: (what it says, model, stored bases, window, examples, precision)
SCANS: dict[str, tuple[str, Callable[[int], keras.Model], int, int, int, str]] = {
    "cnn_75": ("CNN 101 -> 75", ts.models.cnn, 101, 75, 256, "float32"),
    "cnn_90": ("CNN 101 -> 90", ts.models.cnn, 101, 90, 256, "float32"),
    "cnn_95": ("CNN 101 -> 95", ts.models.cnn, 101, 95, 256, "float32"),
    "tbinet": ("TBiNet 1200 -> 1000", ts.models.tbinet, 1200, 1000, 4, "float32"),
    "deepsea": ("DeepSEA 1200 -> 1000", deepsea, 1200, 1000, 4, "float32"),
    "one_convolution": (
        "convolution, pool 1200 -> 1000",
        one_convolution,
        1200,
        1000,
        32,
        "float32",
    ),
    "cnn_75_bfloat16": ("CNN 101 -> 75, screened", ts.models.cnn, 101, 75, 256, "bfloat16"),
    "tbinet_bfloat16": ("TBiNet, screened", ts.models.tbinet, 1200, 1000, 32, "bfloat16"),
}
STEPS = {"step": "float32", "step_bfloat16": "bfloat16"}
GROWTH = {
    "growth_cnn": ("CNN, 75 bp", ts.models.cnn, 75, 64, (1, 3, 9, 27)),
    "growth_tbinet": ("TBiNet, 1000 bp", ts.models.tbinet, 1000, 1, (1, 20, 51, 101, 201)),
}


def seconds(function: Callable[[], object]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def peak() -> float:
    """FLOPs a second of a large product of matrices."""
    a = keras.random.normal((2048, 2048))
    times = [seconds(lambda: np.asarray(keras.ops.matmul(a, a))[0, 0]) for _ in range(8)]
    return 2 * 2048**3 / min(times)


def examples(model: keras.Model, length: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Random sequences, and labels for a model's output; scales its last layer."""
    rng = np.random.default_rng(0)
    x = ts.sequences.one_hot(rng.integers(0, 4, (count, length)))
    labels = model.output_shape[1]
    if labels == 2:
        y = np.eye(2, dtype=np.uint8)[rng.integers(0, 2, count)]
    else:
        y = (rng.random((count, labels)) < 0.02).astype(np.uint8)
    last = [layer for layer in model.layers if layer.weights][-1]
    last.kernel.assign(5 * last.kernel)
    return x, y


def windows_of(x: np.ndarray, window: int, count: int) -> np.ndarray:
    return np.concatenate([x[:, s : s + window] for s in range(count)]).astype(np.float32)


def plain_losses(model, x, y, window, batch) -> np.ndarray:
    """(N, S): all windows concatenated, one ``predict``, Keras's loss of each window."""
    count = x.shape[1] - window + 1
    predictions = model.predict(windows_of(x, window, count), batch_size=batch, verbose=0)
    several = model.output_shape[1] > 2
    loss = keras.losses.binary_crossentropy if several else keras.losses.categorical_crossentropy
    labels = np.tile(y, (count, 1)).astype(np.float32)
    return np.asarray(loss(labels, predictions)).reshape(count, len(x)).T


def pairs(one: Callable[[], object], other: Callable[[], object]) -> tuple[float, float, float]:
    """Medians of the times of both, run in turn, and of their ratio."""
    times = [(seconds(one), seconds(other)) for _ in range(FLAGS.pairs)]
    first, second = (statistics.median(column) for column in zip(*times, strict=True))
    return first, second, statistics.median(a / b for a, b in times)


def scan_row(name: str, best_flops: float) -> dict:
    title, make, length, window, count, precision = SCANS[name]
    keras.utils.set_random_seed(0)
    model = make(window)
    x, y = examples(model, length, count)
    plan = ts.plan_scan(model, length)

    def ours():
        return ts.scan(model, x, y, precision=precision)

    def plainly():
        return plain_losses(model, x, y, window, batch)

    found = ours()
    batch = BATCHES[0]
    plainly()
    tried = {}
    for batch in BATCHES:
        plainly()  # traces
        tried[batch] = seconds(plainly)
    batch = min(tried, key=lambda size: tried[size])
    difference = float(np.abs(found.worst_loss - plainly().max(axis=1)).max())
    plain, shared, ratio = pairs(plainly, ours)
    row = {
        "row": title,
        "plain_s": plain,
        "plain_batch": batch,
        "shared_s": shared,
        "ratio": ratio,
        "flops_ratio": plan.plain_flops / plan.shared_flops,
        "gflops": plan.shared_flops * count / 1e9,
        "of_peak": plan.shared_flops * count / shared / best_flops,
        "plain_of_peak": plan.plain_flops * count / plain / best_flops,
        "worst_loss_difference": difference,
    }
    if found.screening is not None:
        row["again"] = float(found.screening.again.mean())
        row["screening"] = str(found.screening)
    return row


def step_row(name: str) -> dict:
    """A training step with WorstShift, batch 64, beside ``predict`` and ``train_on_batch``."""
    length, window, count = 101, 75, 64
    keras.utils.set_random_seed(0)
    models = [ts.models.cnn(window), ts.models.cnn(window)]
    x, y = examples(models[0], length, count)
    for model in models:
        model.compile(keras.optimizers.Adam(1e-5), "categorical_crossentropy")
    starts = length - window + 1
    trainer = ts.ShiftTrainer(models[1], ts.WorstShift(precision=STEPS[name]))
    trainer.compile(keras.optimizers.Adam(1e-5), "categorical_crossentropy")
    y = y.astype(np.float32)

    def plainly():
        worst = plain_losses(models[0], x, y, window, 512).argmax(axis=1)
        chosen = np.stack([row[s : s + window] for row, s in zip(x, worst, strict=True)])
        return models[0].train_on_batch(chosen.astype(np.float32), y)

    def ours():
        return trainer.train_on_batch(x, y)

    plainly(), ours()
    times = [pairs(plainly, ours) for _ in range(3)]
    plain, shared, ratio = (statistics.median(column) for column in zip(*times, strict=True))
    selection = ts.plan_scan(models[0], length)
    step = 3 * selection.plain_flops / starts
    return {
        "row": f"training step, WorstShift, CNN 75, selection in {STEPS[name]}",
        "plain_s": plain,
        "shared_s": shared,
        "ratio": ratio,
        "flops_ratio": (selection.plain_flops + step) / (selection.shared_flops + step),
    }


def memory_row() -> dict:
    """Peak resident memory of a scan, beyond what the process had with its inputs and outputs."""
    used = {}
    for count in (2_000, 20_000):
        command = [sys.executable, __file__, f"--memory_of={count}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        used[count] = float(done.stdout.split()[-1])
    return {
        "row": "peak memory of a scan, 20,000 examples / 2,000",
        "mb_2000": used[2_000],
        "mb_20000": used[20_000],
        "ratio": used[20_000] / used[2_000],
    }


def measure_memory(count: int) -> None:
    model = ts.models.cnn(75)
    x, y = examples(model, 101, count)
    own = x.nbytes + y.nbytes + 4 * 27 * count
    ts.scan(model, x, y)
    # VmHWM: ru_maxrss would count the parent's own memory, too
    kilobytes = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
    print((int(kilobytes) * 1024 - own) / 1e6)


def growth_rows(name: str) -> list[dict]:
    title, make, window, count, numbers = GROWTH[name]
    keras.utils.set_random_seed(0)
    model = make(window)
    rows = []
    for starts in numbers:
        x, y = examples(model, window + starts - 1, count)

        def ours(x=x, y=y):
            ts.scan(model, x, y)

        def plainly(x=x, y=y):
            plain_losses(model, x, y, window, 256)

        plainly(), ours()
        plain, shared, _ = pairs(plainly, ours)
        rows.append({"row": title, "starts": starts, "plain_s": plain, "shared_s": shared})
    return rows


def plot(rows: list[dict], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    titles = list(dict.fromkeys(row["row"] for row in rows))
    for axes, title in zip(figure.subplots(1, len(titles), squeeze=False)[0], titles, strict=True):
        for key, label, colour in (
            ("plain_s", "every window by itself", "#d55e00"),
            ("shared_s", "shared", "#0072b2"),
        ):
            points = [(r["starts"], r[key]) for r in rows if r["row"] == title]
            axes.plot(*zip(*points, strict=True), marker="o", color=colour, label=label)
        axes.set(title=title, xlabel="starts", ylabel="seconds", ylim=(0, None))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def printed(row: dict) -> str:
    if "starts" in row:
        return (
            f"{row['row']:<34} {row['starts']:>4} starts {row['plain_s']:>9.3f} s plain "
            f"{row['shared_s']:>9.3f} s shared"
        )
    if "mb_2000" in row:
        return (
            f"{row['row']}: {row['mb_20000']:.0f} MB / {row['mb_2000']:.0f} MB = {row['ratio']:.3f}"
        )
    line = (
        f"{row['row']:<34} {row['plain_s']:>8.3f} s plain {row['shared_s']:>8.3f} s shared "
        f"{row['ratio']:>6.2f} x (FLOPs {row['flops_ratio']:.2f} x)"
    )
    if "of_peak" in row:
        line += (
            f"  {row['gflops']:.0f} GFLOPs, {row['of_peak']:.0%} of the peak (plain "
            f"{row['plain_of_peak']:.0%}); worst losses differ {row['worst_loss_difference']:.1e}"
        )
    return line + (f"\n    {row['screening']}" if "screening" in row else "")


def main(_: list[str]) -> None:
    if FLAGS.memory_of is not None:
        measure_memory(FLAGS.memory_of)
        return
    best = peak()
    where = f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs"
    print(f"{where}; peak {best / 1e9:.0f} GFLOPs/s; Keras {keras.__version__}", flush=True)
    rows = []
    for name in FLAGS.only or [*SCANS, *STEPS, "memory", *GROWTH]:
        if name in SCANS:
            new = [scan_row(name, best)]
        elif name in STEPS:
            new = [step_row(name)]
        elif name == "memory":
            new = [memory_row()]
        else:
            new = growth_rows(name)
        for row in new:
            print(printed(row), flush=True)
        rows += new
        keras.backend.clear_session()
    grown = [row for row in rows if "starts" in row]
    if FLAGS.plot and grown:
        plot(grown, Path(FLAGS.plot))
    if FLAGS.json:
        about = {"machine": where, "peak_gflops": best / 1e9, "keras": keras.__version__}
        Path(FLAGS.json).write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
