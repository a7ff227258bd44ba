"""Streaming a train.mat of DeepSEA's shape: speed beside h5py alone, memory, and how it mixes.

Generates files of random one-hot sequences of 1000 bp with 919 labels (1.97 GB uncompressed for
400,000 examples) in several layouts, and reads each in a process of its own:

  python benchmarks/streaming.py --folder=FOLDER [--examples=400000]

h5py alone: the same blocks of both arrays, the labels' rows 125..814, one after the other, decoded
by nobody. Ours: codes and labels in batches of 100, in the order of the file and shuffled; then
the tf.data.Dataset of one-hot batches that fit reads.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from absl import app, flags

from tfbs_shift import data
from tfbs_shift.data.batches import POOL_BYTES, batches, block_rows
from tfbs_shift.data.columns import FileColumn

FLAGS = flags.FLAGS
flags.DEFINE_string("folder", None, "Where the files are made; 4 GB.", required=True)
flags.DEFINE_integer("examples", 400_000, "Examples in a file.")
flags.DEFINE_string("measure", None, "Measure this file alone (used by the benchmark itself).")

LAYOUTS = {
    "gzip, chunks of 64 examples": {"chunks": (1000, 4, 64), "compression": "gzip"},
    "gzip, chunks of 10 x 4 x 4096": {"chunks": (10, 4, 4096), "compression": "gzip"},
    "contiguous": {},
}
BATCH = 100


def generate(path: Path, count: int, options: dict) -> None:
    """A train.mat whose second half is the reverse complement of the first."""
    rng = np.random.default_rng(0)
    partial = path.with_suffix(".partial")
    step = 8192
    with h5py.File(partial, "w", userblock_size=512) as file:
        labels = dict(options)
        if "chunks" in labels:
            labels["chunks"] = (919, 512)
        x = file.create_dataset("trainxdata", (1000, 4, count), np.uint8, **options)
        y = file.create_dataset("traindata", (919, count), np.uint8, **labels)
        half = count // 2
        for begin in range(0, half, step):
            rows = min(step, half - begin)
            bases = rng.integers(0, 4, (1000, rows), np.uint8)
            block = np.stack([bases == channel for channel in range(4)], axis=1).view(np.uint8)
            hits = (rng.random((919, rows), np.float32) < 0.02).view(np.uint8)
            for at, some in ((begin, block), (half + begin, block[::-1, ::-1])):
                x[:, :, at : at + rows] = some
                y[:, at : at + rows] = hits
    partial.rename(path)


def measure(path: Path) -> dict:
    """Examples a second by each way of reading, and the peak of resident memory."""
    examples = data.load(path, "train")
    columns = (examples.codes, examples.labels)
    count, block = len(examples), block_rows(columns)

    def rate(rows: Iterator[int]) -> float:
        begin = time.perf_counter()
        total = sum(rows)
        return total / (time.perf_counter() - begin)

    def h5py_alone() -> Iterator[int]:
        with h5py.File(path) as file:
            x, y = file["trainxdata"], file["traindata"]
            for begin in range(0, count, block):
                some = x[:, :, begin : begin + block]
                y[125:815, begin : begin + block]
                yield some.shape[2]

    rates = {
        "h5py alone": rate(h5py_alone()),
        "batches, file order": rate(len(b[0]) for b in batches(columns, BATCH)),
        "batches, shuffled": rate(len(b[0]) for b in batches(columns, BATCH, shuffle=True)),
    }
    dataset = examples.as_dataset(BATCH, shuffle=True, seed=0)
    rates["as_dataset, shuffled, one-hot"] = rate(len(y) for _, y in dataset)
    return {
        "rates": rates,
        "block": block,
        "resident_mb": peak_mb(),
        "mixing": mixing(count, block, sum(column.shape[1] for column in columns)),
    }


def peak_mb() -> float:
    """Peak of resident memory since the program began (ru_maxrss counts its parent's, too)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


class _Numbers(FileColumn):
    """The numbers of the rows themselves, as four bytes."""

    def __init__(self, count: int, block: int):
        self.shape, self.block = (count, 4), block

    def read(self, begin: int, end: int) -> np.ndarray:
        return np.arange(begin, end, dtype="<u4").view(np.uint8).reshape(-1, 4)


def mixing(count: int, block: int, width: int) -> dict:
    """How likely two rows of a shuffled batch of 100 are within a block's length in the file."""
    column, near, pairs = _Numbers(count, block), 0, 0
    for (rows,) in batches([column], 100, shuffle=True, pool_rows=POOL_BYTES // width):
        number = np.ascontiguousarray(rows).view("<u4")[:, 0].astype(np.int64)
        near += (np.abs(number[:, None] - number) < block).sum() - len(number)
        pairs += len(number) * (len(number) - 1)
    return {"ours": near / pairs, "perfect": (2 * block - 1) / count}


def main(_: list[str]) -> None:
    if FLAGS.measure:
        print(json.dumps(measure(Path(FLAGS.measure))))
        return
    folder = Path(FLAGS.folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{FLAGS.examples:,} examples; {platform.machine()}, {os.cpu_count()} CPUs; files cached")
    for name, options in LAYOUTS.items():
        path = folder / f"train_{list(LAYOUTS).index(name)}_{FLAGS.examples}.mat"
        if not path.exists():
            generate(path, FLAGS.examples, options)
        with path.open("rb") as file:  # into the page cache, as far as it goes
            while file.read(2**24):
                pass
        words = [sys.executable, __file__, f"--folder={folder}", f"--measure={path}"]
        run = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(run.stdout.splitlines()[-1])
        print(f"\n{name}: {path.stat().st_size / 1e9:.2f} GB, blocks of {found['block']} examples")
        alone = found["rates"]["h5py alone"]
        for way, rate in found["rates"].items():
            print(f"  {way:<30} {rate:>9,.0f} examples/s  {rate / alone:5.0%} of h5py alone")
        print(f"  peak resident memory {found['resident_mb']:,.0f} MB, TensorFlow included")
        mixed = found["mixing"]
        print(
            f"  two rows of a batch of 100 lie within {found['block']} rows of each other in "
            f"{mixed['ours']:.2%} of pairs (perfect shuffle: {mixed['perfect']:.2%}; none: 100%)"
        )


if __name__ == "__main__":
    app.run(main)
