"""A training step on the worst shifts: ours, the authors' way, and the floor.

  python benchmarks/training.py [--only=cnn_worst,...] [--precision=float32] [--json=FILE]
  KERAS_BACKEND=jax python benchmarks/training.py

The authors attack with ``predict`` on the candidate windows of a batch and then call
``train_on_batch`` on the worst ones. The floor is the two things that any such step must do, each
compiled by itself and given nothing but its input: the losses at the candidate starts, and a
training step on windows. Each is a median over ``--repeats`` rounds, in which all take turns.
Windows a second count the candidates and the window that is trained on. The share of the peak is
that of a large product of matrices of the same precision in the same run; the FLOPs are those of
products that the step needs (three times a forward pass for the training itself). Weights are
random, sequences too. With JAX it needs no TensorFlow; on a GPU it measures that.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from absl import app, flags

import tfbs_shift as ts
from tfbs_shift.backend import computing

FLAGS = flags.FLAGS
flags.DEFINE_list("only", None, "Rows to run; default: all.")
flags.DEFINE_enum(
    "precision", "float32", ["float32", "mixed_bfloat16", "mixed_float16"], "Of the steps."
)
flags.DEFINE_integer("batch_size", None, "Default: the paper's.", lower_bound=1)
flags.DEFINE_integer("steps", 5, "A round times so many steps.", lower_bound=1)
flags.DEFINE_integer("repeats", 5, "Rounds.", lower_bound=1)
flags.DEFINE_boolean("authors", True, "Time the authors' way, too.")
flags.DEFINE_string("json", None, "Write the figures there, too.")

# name: (what it says, model, stored bases, window, examples a step, starts tried)
ROWS: dict[str, tuple[str, Callable[[int], keras.Model], int, int, int, int | None]] = {
    "cnn_none": ("CNN 75 of 101, none", ts.models.cnn, 101, 75, 64, 1),
    "cnn_worst": ("CNN 75 of 101, worst of 27", ts.models.cnn, 101, 75, 64, None),
    "tbinet_none": ("TBiNet 1000 of 1200, none", ts.models.tbinet, 1200, 1000, 100, 1),
    "tbinet_20": ("TBiNet 1000 of 1200, worst of 20", ts.models.tbinet, 1200, 1000, 100, 20),
}
SCANS = {"cnn_scan": "cnn_worst", "tbinet_scan": "tbinet_20"}


def peak(dtype: str) -> float:
    """FLOPs a second of a large product of matrices."""
    size = 8192 if computing.gpus() else 2048
    a = keras.ops.cast(keras.random.normal((size, size)), dtype)

    def product(a):
        return keras.ops.sum(keras.ops.cast(keras.ops.matmul(a, a)[0], "float32"))

    run = computing.compiled(product)
    times = [seconds(lambda: np.asarray(run(a))) for _ in range(8)]
    return 2 * size**3 / min(times)


def seconds(function: Callable[[], object]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


class Batches(keras.utils.PyDataset):
    """The same batch again and again."""

    def __init__(self, x, y, steps):
        super().__init__()
        self.batch, self.steps = (x, y), steps

    def __len__(self):
        return self.steps

    def __getitem__(self, index):
        return self.batch


def batch_for(model: keras.Model, length: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (count, length)).astype(np.uint8)
    labels = model.output_shape[1]
    if labels == 2:
        return codes, np.eye(2, dtype=np.uint8)[rng.integers(0, 2, count)]
    return codes, (rng.random((count, labels)) < 0.02).astype(np.uint8)


def row(name: str, best: float) -> dict:
    title, make, length, window, count, tries = ROWS[name]
    count = FLAGS.batch_size or count
    keras.utils.set_random_seed(0)
    model = make(window)
    codes, y = batch_for(model, length, count)
    x = ts.sequences.one_hot(codes, ts.models.alphabet(model))
    several = y.shape[1] > 2
    loss = "binary_crossentropy" if several else "categorical_crossentropy"
    starts = length - window + 1
    tried = tries or starts

    def compiled_like(made: keras.Model) -> keras.Model:
        made.compile(keras.optimizers.Adam(1e-5), loss, jit_compile=computing.gains_from_xla())
        return made

    def trainer(strategy: ts.ShiftStrategy) -> keras.Model:
        return compiled_like(
            ts.ShiftTrainer(make(window), strategy, window=window, dtype=FLAGS.precision)
        )

    def fitted(made: keras.Model, codes: np.ndarray) -> Callable[[], object]:
        batches = Batches(codes, y, FLAGS.steps)
        return lambda: made.fit(batches, epochs=1, shuffle=False, verbose=0)

    strategy = ts.NoShift() if tries == 1 else ts.WorstShift(tries)
    runs = {
        "ours": fitted(trainer(strategy), codes),
        "plain": fitted(trainer(ts.NoShift()), codes[:, :window]),
    }
    rng = np.random.default_rng(1)
    if tried > 1:
        from tfbs_shift.scanning.jobs import ScanJob

        job = ScanJob.of(model, x, y, window=window)
        drawn = None
        if tries:
            drawn = np.stack([rng.permutation(starts)[:tries] for _ in range(count)])
            drawn = drawn.astype(np.int32)

        def scan():
            for _ in range(FLAGS.steps):
                for _ in job.blocks(drawn, count, predictions=False):
                    pass

        runs["scan"] = scan
        if FLAGS.authors:
            theirs = compiled_like(make(window))
            measure = keras.losses.get(loss)

            def authors():
                """One set of starts a batch; all its windows through ``predict`` at once."""
                for _ in range(FLAGS.steps):
                    some = rng.permutation(starts)[:tried]
                    windows = np.concatenate([x[:, s : s + window] for s in some])
                    found = theirs.predict(windows.astype(np.float32), batch_size=256, verbose=0)
                    labels = np.tile(y, (tried, 1)).astype(np.float32)
                    losses = np.asarray(measure(labels, found)).reshape(tried, count)
                    worst = some[losses.argmax(axis=0)]
                    chosen = [one[s : s + window] for one, s in zip(x, worst, strict=True)]
                    theirs.train_on_batch(np.stack(chosen).astype(np.float32), y)

            runs["authors"] = authors
    for run in runs.values():
        run()  # compiles
    rounds = [{key: seconds(run) for key, run in runs.items()} for _ in range(FLAGS.repeats)]
    took = {key: statistics.median(one[key] for one in rounds) / FLAGS.steps for key in runs}
    plan = ts.plan_scan(model, length, window=window, tries=tries)
    flops = 3 * plan.plain_flops / tried + (plan.shared_flops if tried > 1 else 0)
    result = {
        "row": title,
        "examples": count,
        "ours_s": took["ours"],
        "examples_per_second": count / took["ours"],
        "windows_per_second": count * (tried + 1 if tried > 1 else 1) / took["ours"],
        "of_peak": flops * count / took["ours"] / best,
    }
    if tried > 1:
        floor = [one["scan"] + one["plain"] for one in rounds]
        result |= {
            "floor_s": took["scan"] + took["plain"],
            "of_floor": statistics.median(
                one["ours"] / least for one, least in zip(rounds, floor, strict=True)
            ),
        }
        if FLAGS.authors:
            result |= {
                "authors_s": took["authors"],
                "faster": statistics.median(one["authors"] / one["ours"] for one in rounds),
            }
    return result


def scan_row(name: str, best: float) -> dict:
    """The exact scan of every start."""
    title, make, length, window, count, _ = ROWS[SCANS[name]]
    count = FLAGS.batch_size or count
    keras.utils.set_random_seed(0)
    model = make(window)
    codes, y = batch_for(model, length, count)
    x = ts.sequences.one_hot(codes, ts.models.alphabet(model))
    precision = "bfloat16" if FLAGS.precision == "mixed_bfloat16" else "float32"
    ts.scan(model, x, y, precision=precision)
    took = statistics.median(
        seconds(lambda: ts.scan(model, x, y, precision=precision)) for _ in range(FLAGS.repeats)
    )
    plan = ts.plan_scan(model, length)
    starts = length - window + 1
    return {
        "row": f"{title.split(',')[0]}, exact scan of {starts}",
        "examples": count,
        "ours_s": took,
        "examples_per_second": count / took,
        "windows_per_second": count * starts / took,
        "of_peak": plan.shared_flops * count / took / best,
    }


def printed(row: dict) -> str:
    line = (
        f"{row['row']:<36} {row['ours_s']:>8.4f} s {row['examples_per_second']:>9,.0f} examples/s "
        f"{row['windows_per_second']:>11,.0f} windows/s {row['of_peak']:>5.0%} of the peak"
    )
    if "floor_s" in row:
        line += f"; {row['of_floor']:.2f} x the floor ({row['floor_s']:.4f} s)"
    if "faster" in row:
        line += f"; the authors' way {row['authors_s']:.4f} s, {row['faster']:.1f} x"
    return line


def main(_: list[str]) -> None:
    best = peak(FLAGS.precision.removeprefix("mixed_"))
    where = f"{computing.hardware()}, {platform.machine()}, {os.cpu_count()} CPUs"
    versions = f"{computing.version()}, Keras {keras.__version__}"
    print(f"{where}; {versions}; {FLAGS.precision}, peak {best / 1e12:.2f} TFLOPs/s", flush=True)
    if computing.name() == "tensorflow":
        computing.keep_freed_memory()
    rows = []
    for name in FLAGS.only or [*ROWS, *SCANS]:
        rows.append(scan_row(name, best) if name in SCANS else row(name, best))
        print(printed(rows[-1]), flush=True)
        keras.backend.clear_session()
    if FLAGS.json:
        about = {"machine": where, "versions": versions, "precision": FLAGS.precision}
        about["peak_tflops"] = best / 1e12
        Path(FLAGS.json).write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
