"""``tfbs-shift extend`` on a synthetic genome: rate, memory, and every row checked.

  python benchmarks/extend.py --folder=FOLDER [--megabases=200 --rows=284000]

The genome has soft-masked lower case, runs of N, short contigs, names with and without "chr", 5% of
it copied to other places with 1% of the bases changed and 0.5% copied without a change. Rows are
drawn from the grid, those of the second half are the reverse complements; 1 in 500 is changed, so
that it is nowhere. Defaults have as many rows for each base as DeepSEA's 4.4 million have for hg19.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
from absl import app, flags

from tfbs_shift import data, sequences
from tfbs_shift.data import stored

FLAGS = flags.FLAGS
flags.DEFINE_string("folder", None, "Where everything is made; 2 GB.", required=True)
flags.DEFINE_integer("megabases", 200, "Length of the genome.")
flags.DEFINE_integer("rows", 284_000, "Rows of the train.mat; an even number.")

FLANK = 100


def make_genome(path: Path, megabases: int) -> dict[str, np.ndarray]:
    """The FASTA, unless it is there, and its codes."""
    rng = np.random.default_rng(0)
    shares = {"chr1": 0.5, "chr2": 0.3, "X": 0.199}
    genome = {
        name: rng.integers(0, 4, int(share * megabases * 1e6) + 77, np.uint8)
        for name, share in shares.items()
    }
    for i in range(200):
        genome[f"chrUn_{i}"] = rng.integers(0, 4, int(rng.integers(50, 9000)), np.uint8)
    big = list(shares)
    for changed, total in ((0.01, 0.05), (0.0, 0.005)):
        for _ in range(int(total * megabases * 1e6 / 6000)):
            one, other = (genome[big[rng.integers(3)]] for _ in range(2))
            # whole bins apart, so that copies meet the grid
            at, to = (int(rng.integers(0, (len(c) - 6000) // 200)) * 200 for c in (one, other))
            copy = one[at : at + 6000].copy()
            if changed:
                spots = rng.random(6000) < changed
                copy[spots] = rng.integers(0, 4, spots.sum(), np.uint8)
            other[to : to + 6000] = copy
    for name in big:
        genome[name][:10_000] = sequences.UNKNOWN
        at = len(genome[name]) // 2
        genome[name][at : at + 100_000] = sequences.UNKNOWN
    if not path.exists():
        letters = np.frombuffer(b"ACGTNacgtn", np.uint8)
        with path.open("wb") as file:
            for name, codes in genome.items():
                file.write(f">{name}\n".encode())
                soft = (np.arange(len(codes)) // 311 % 2).astype(np.uint8) * 5
                text = letters[codes + soft]
                whole = len(text) // 60 * 60
                lines = np.full((whole // 60, 61), ord("\n"), np.uint8)
                lines[:, :60] = text[:whole].reshape(-1, 60)
                file.write(lines.tobytes() + text[whole:].tobytes() + b"\n" * (whole < len(text)))
    return genome


def make_rows(path: Path, genome: dict[str, np.ndarray], count: int) -> np.ndarray:
    """The train.mat; returns what each row should become, ``uint8`` (N, 1200)."""
    rng = np.random.default_rng(1)
    names = [name for name, codes in genome.items() if len(codes) > 2000]
    sizes = np.array([len(genome[name]) for name in names], float)
    half = count // 2
    expected = np.full((count, 1000 + 2 * FLANK), sequences.UNKNOWN, np.uint8)
    which = np.sort(rng.choice(len(names), half, p=sizes / sizes.sum()))
    for i, w in enumerate(which):
        codes = genome[names[w]]
        start = int(rng.integers(0, (len(codes) - 1000) // 200 + 1)) * 200
        first, last = max(0, start - FLANK), min(len(codes), start + 1000 + FLANK)
        expected[i, first - start + FLANK : last - start + FLANK] = codes[first:last]
    nowhere = np.arange(0, half, 500)
    middle = 500 + FLANK
    expected[nowhere, middle] = (expected[nowhere, middle] + 1) % 4
    expected[half:] = sequences.reverse_complement_codes(expected[:half])
    if not path.exists():
        partial = path.with_suffix(".partial")
        with h5py.File(partial, "w", userblock_size=512) as file:
            packed = {"compression": "gzip", "compression_opts": 1}
            shape = (1000, 4, count)
            x = file.create_dataset("trainxdata", shape, np.uint8, chunks=(1000, 4, 64), **packed)
            y = file.create_dataset(
                "traindata", (919, count), np.uint8, chunks=(919, 512), **packed
            )
            for begin in range(0, count, 8192):
                rows = expected[begin : begin + 8192, FLANK:-FLANK]
                one_hot = sequences.reorder(sequences.one_hot(rows), "ACGT", "AGCT")
                x[:, :, begin : begin + 8192] = one_hot.transpose(1, 2, 0)
                y[:, begin : begin + 8192] = (rng.random((len(rows), 919)) < 0.02).T
        partial.rename(path)
    return expected


def main(_: list[str]) -> None:
    folder = Path(FLAGS.folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    fasta = folder / f"genome_{FLAGS.megabases}.fa"
    mat = folder / f"extend_{FLAGS.megabases}_{FLAGS.rows}.mat"
    out = folder / "extended.h5"
    expected = make_rows(mat, make_genome(fasta, FLAGS.megabases), FLAGS.rows)
    bases = FLAGS.megabases * 1e6
    print(f"{bases / 1e6:.0f} Mb, {FLAGS.rows:,} rows; {platform.machine()}, {os.cpu_count()} CPUs")
    for index in ("made on the fly", "there"):
        if index != "there":
            Path(f"{fasta}.fai").unlink(missing_ok=True)
        out.unlink(missing_ok=True)
        words = ["extend", f"--mat={mat}", f"--genome={fasta}", f"--flank={FLANK}", f"--out={out}"]
        # VmHWM: ru_maxrss would count this process's own memory, too
        code = (
            "import sys; from pathlib import Path; from tfbs_shift.commands import main; main(); "
            "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
        )
        begin = time.perf_counter()
        command = [sys.executable, "-c", code, *words]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        seconds = time.perf_counter() - begin
        said, _, peak = run.stdout.rstrip().rpartition("\n")
        print(f"\nindex {index}: {seconds:.0f} s, peak resident memory {int(peak) / 1024:,.0f} MB")
        print(said)
    with h5py.File(out) as file:
        status = file["status"][:]
        counts = json.loads(file.attrs["counts"])
    found = data.load(out)
    kept = np.flatnonzero(stored.PLACED[status])
    wrong = sum(
        int((found.codes[i : i + 8192] != expected[kept[i : i + 8192]]).any(axis=1).sum())
        for i in range(0, len(kept), 8192)
    )
    print(f"\n{len(kept):,} extended rows compared with the genome: {wrong} are wrong")
    changed = np.arange(FLAGS.rows) % (FLAGS.rows // 2) % 500 == 0
    blank = (expected[:, FLANK:-FLANK] == sequences.UNKNOWN).all(axis=1) & ~changed
    print(
        f"{changed.sum():,} rows were changed and {blank.sum():,} are all unknown bases: "
        f"{counts['nowhere']:,} are found nowhere"
    )
    share = bases / 3.1e9
    print(
        f"hg19 with 4.4 million rows is {1 / share:.1f} times this: "
        f"{seconds / share / 60:.0f} minutes at this rate (arithmetic)"
    )


if __name__ == "__main__":
    app.run(main)
