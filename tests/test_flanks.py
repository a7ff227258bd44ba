"""Flanks from a genome, windows of BED files, our own .h5."""

import gzip
import json
import random
import shutil
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest
from Bio import bgzf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from tfbs_shift import data, sequences
from tfbs_shift.commands import main
from tfbs_shift.data import flanks, stored
from tfbs_shift.data.beds import read_bed
from tfbs_shift.data.genomes import Genome
from tfbs_shift.errors import InputError
from tfbs_shift.models.architectures import tbinet_of_sizes
from tfbs_shift.models.original import save_original

from .test_deepsea import write_hdf5, write_v5

GRID, LENGTH = 200, 1000


def write_fasta(path, chromosomes, *, width=60, lower=False):
    with bgzf.BgzfWriter(str(path)) if path.suffix == ".gz" else path.open("wb") as file:
        for name, codes in chromosomes.items():
            letters = sequences.decode(codes)
            if lower:  # soft-masked stretches
                letters = "".join(
                    part.lower() if i % 2 else part
                    for i, part in enumerate(
                        letters[j : j + 97] for j in range(0, len(letters), 97)
                    )
                )
            lines = [letters[i : i + width] for i in range(0, len(letters), width)]
            file.write(("\n".join([f">{name} of a test", *lines]) + "\n").encode())


def cut(codes, start, end):
    """codes[start:end] with unknown bases beyond the ends, one by one."""
    return np.array([codes[i] if 0 <= i < len(codes) else 4 for i in range(start, end)], np.uint8)


@pytest.fixture(scope="module")
def genome():
    """Chromosomes with repeats, runs of N, short contigs; lengths that 200 does not divide."""
    rng = np.random.default_rng(7)
    chromosomes = {
        "chr1": rng.integers(0, 4, 40_137).astype(np.uint8),
        "chr2": rng.integers(0, 4, 30_000).astype(np.uint8),
        "chrUn_short": rng.integers(0, 4, 730).astype(np.uint8),
        "chrTiny": rng.integers(0, 4, 90).astype(np.uint8),
    }
    one, two = chromosomes["chr1"], chromosomes["chr2"]
    one[10_000:10_450] = sequences.UNKNOWN
    two[8_000:9_400] = one[4_000:5_400]  # 1,000 bp and 200 bp on either side
    two[20_000:21_000] = one[30_000:31_000]  # 1,000 bp alone
    two[14_000:15_000] = sequences.reverse_complement_codes(two[26_000:27_000])
    return chromosomes


def rows_of(genome, places, flank):
    """The rows at places (chrom, start, strand) and what they should become."""
    extended = []
    for chrom, start, strand in places:
        codes = cut(genome[chrom], start - flank, start + LENGTH + flank)
        extended.append(sequences.reverse_complement_codes(codes) if strand == "-" else codes)
    extended = np.array(extended)
    return extended[:, flank : flank + LENGTH], extended


PLACES = [
    ("chr1", 0, "+"),
    ("chr1", 200, "-"),
    ("chr1", -400, "+"),  # the first bin: 400 bp before the chromosome
    ("chr1", 39_600, "+"),  # the last bin
    ("chr1", 39_000, "-"),  # whole, its flank is not
    ("chr1", 9_600, "+"),  # with a run of N
    ("chr1", 18_000, "+"),
    ("chr2", 29_000, "-"),
    ("chrUn_short", -200, "+"),
    ("chrUn_short", 200, "-"),
    ("chrTiny", -400, "+"),
]


@pytest.mark.parametrize("flank", [0, 1, 100, 333])
@pytest.mark.parametrize("form", ["plain", "lower", "bgzipped", "one line", "v5"])
def test_rows_are_found_and_extended(genome, flank, form, tmp_path):
    codes, expected = rows_of(genome, PLACES, flank)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, (len(codes), 919)).astype(np.uint8)
    mat = tmp_path / "test.mat"
    (write_v5 if form == "v5" else write_hdf5)(mat, codes, y, name="test")
    fasta = tmp_path / ("hg.fa.gz" if form == "bgzipped" else "hg.fa")
    width = 10**6 if form == "one line" else 60
    write_fasta(fasta, genome, lower=form == "lower", width=width)
    found = flanks.extend(mat, fasta, tmp_path / "out.h5", flank=flank)
    assert found.counts == {
        "nowhere": 0, "placed": len(PLACES), "same flanks": 0, "several places": 0,
        "by position": 0,
    }  # fmt: skip
    read = data.load(tmp_path / "out.h5")
    assert np.array_equal(read.codes[:], expected)
    assert np.array_equal(read.x[:, flank : flank + LENGTH], data.load(mat).x)
    assert np.array_equal(read.y, y[:, 125:815])
    assert read.intervals.chrom.tolist() == [chrom for chrom, _, _ in PLACES]
    assert read.intervals.start.tolist() == [start - flank for _, start, _ in PLACES]
    assert (read.intervals.end - read.intervals.start == LENGTH + 2 * flank).all()
    assert read.strand.tolist() == [strand for _, _, strand in PLACES]
    some = data.load(tmp_path / "out.h5", labels="K562|CTCF")
    assert np.array_equal(some.y, y[:, [149, 338, 618, 746, 804]])
    assert some.label_names[0] == "149 K562|CTCF|None"
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"test.mat", "out.h5", "out.unplaced.tsv", fasta.name, f"{fasta.name}.fai",
                    f"{fasta.name}.gzi"}  # fmt: skip


REPEATS = [
    ("chr1", 4_200, "+"),  # also chr2:8200, the same 200 bp on either side
    ("chr2", 8_200, "-"),
    ("chr1", 30_000, "+"),  # also chr2:20000, other flanks
    ("chr2", 20_000, "-"),
    ("chr2", 14_000, "+"),  # also chr2:26000, on the other strand
    ("chr1", 1_000, "+"),
]


@pytest.mark.parametrize("flank", [0, 200, 201])
def test_repeats_are_masked_unless_their_flanks_are_the_same(genome, flank, tmp_path):
    codes, expected = rows_of(genome, REPEATS, flank)
    codes = np.concatenate([codes, codes[:1]])
    codes[-1, 500] = (codes[-1, 500] + 1) % 4  # nowhere
    write_hdf5(tmp_path / "train.mat", codes, np.ones((7, 3), np.uint8))
    write_fasta(tmp_path / "hg.fa", genome)
    out = tmp_path / "train.h5"
    found = flanks.extend(tmp_path / "train.mat", tmp_path / "hg.fa", out, flank=flank)
    same = {0: 5, 200: 2, 201: 0}[flank]
    assert found.counts == {
        "nowhere": 1, "placed": 1, "same flanks": same, "several places": 5 - same,
        "by position": 0,
    }  # fmt: skip
    kept = [*range(same), 5]
    read = data.load(out, "train")
    assert np.array_equal(read.codes[:], expected[kept])
    assert read.y.tolist() == [[1, 1, 1]] * len(kept)
    rows = [line.split("\t") for line in (tmp_path / "train.unplaced.tsv").read_text().splitlines()]
    assert [int(row[0]) for row in rows[1:]] == [i for i in range(7) if i not in kept]
    assert rows[-1][1:] == ["nowhere", "0", ""]
    if flank == 201:
        assert rows[1][1:] == ["several places", "2", "chr1:4200(+),chr2:8200(+)"]
        assert rows[5][3] == "chr2:14000(+),chr2:26000(-)"
    with h5py.File(out) as file:  # masked rows: the row itself, its flanks unknown
        masked = stored.unpack(file["codes"][:], LENGTH + 2 * flank)[
            [i for i in range(7) if i not in kept]
        ]
    assert (masked[:, :flank] == 4).all()
    assert np.array_equal(
        masked[:, flank : flank + LENGTH], codes[[i for i in range(7) if i not in kept]]
    )


@pytest.mark.parametrize("naming", ["chr1", "1"])
@pytest.mark.parametrize("width", [200, 1000])
def test_a_positions_file_chooses_and_is_not_believed(genome, naming, width, tmp_path):
    """Lines 3 before the first row; one line is wrong, one names a repeat's wrong copy."""
    flank = 201
    places = [*REPEATS, ("chr1", 18_000, "+"), ("chr1", 18_200, "+"), ("chr2", 1_000, "+")]
    codes, expected = rows_of(genome, places, flank)
    codes = np.concatenate([codes, sequences.reverse_complement_codes(codes)])
    y = np.tile(np.eye(len(places), 5, dtype=np.uint8), (2, 1))
    write_hdf5(tmp_path / "train.mat", codes, y)
    write_fasta(tmp_path / "hg.fa", genome)
    lines = [("chr1", 0), ("chr9", 0), ("chr2", 400), *[(c, s) for c, s, _ in places]]
    lines[3 + 2] = ("chr1", 1_600)  # not where row 2's sequence is: it stays masked
    lines[3 + 6] = ("chr2", 5_000)  # row 6 is in one place, whatever a file says
    text = "".join(
        f"{c.removeprefix('chr') if naming == '1' else c}\t{max(0, s + 500 - width // 2)}\t"
        f"{s + 500 + width // 2}\n"
        for c, s in lines
    )
    (tmp_path / "pos.bed").write_text(text)
    out = tmp_path / "train.h5"
    found = flanks.extend(
        tmp_path / "train.mat", tmp_path / "hg.fa", out, flank=flank,
        positions=tmp_path / "pos.bed",
    )  # fmt: skip
    assert "row 0 is line 4; 3 of 4 rows" in found.positions
    assert found.counts == {
        "nowhere": 0, "placed": 8, "same flanks": 0, "several places": 2, "by position": 8,
    }  # fmt: skip
    read = data.load(out, "train")
    kept = [i for i in range(9) if i != 2]
    assert np.array_equal(read.codes[: len(kept)], expected[kept])
    other_strand = sequences.reverse_complement_codes(expected[kept])
    assert np.array_equal(read.codes[len(kept) :], other_strand)
    assert read.paired_strands()
    # lines in another order say nothing
    shuffled = text.splitlines(keepends=True)
    random.Random(1).shuffle(shuffled)
    (tmp_path / "pos.bed").write_text("".join(shuffled))
    out.unlink()
    found = flanks.extend(
        tmp_path / "train.mat", tmp_path / "hg.fa", out, flank=flank,
        positions=tmp_path / "pos.bed",
    )  # fmt: skip
    assert "not used" in found.positions
    assert found.counts["by position"] == 0
    assert found.counts["several places"] == 10


def positions_of(path, starts):
    """Writes a positions file, the bin of each window a line."""
    path.write_text("".join(f"chr1\t{start + 400}\t{start + 600}\n" for start in starts))
    return path


def repeated_genome(copies, odd=()):
    """(chromosomes, starts): copies of 1,000 bp with 200 bp on either side, every 1,600 bp.

    Every other copy is on the other strand; the flanks of ``odd`` copies differ from the others'.
    """
    rng = np.random.default_rng(copies)
    unit = rng.integers(0, 4, 1400).astype(np.uint8)
    chromosome = rng.integers(0, 4, 1600 * copies + 8_000).astype(np.uint8)
    starts = 200 + 1600 * np.arange(copies)
    for i, start in enumerate(starts):
        copy = unit.copy()
        if i in odd:
            copy[[150, 1250]] = 3 - copy[[150, 1250]]
        if i % 2:
            copy = sequences.reverse_complement_codes(copy)
        chromosome[start - 200 : start + 1200] = copy
    return {"chr1": chromosome}, starts


@pytest.mark.parametrize(
    ("copies", "odd", "named", "status", "taken"),
    [
        (2, (), None, "same flanks", 0),
        (64, (), None, "same flanks", 0),
        (65, (), None, "several places", None),  # one was not compared
        (64, [0], None, "several places", None),
        (64, [63], None, "several places", None),  # the last that is compared
        (65, [64], None, "several places", None),
        (65, range(65), None, "several places", None),
        (64, (), 63, "by position", 63),
        (64, [5], 5, "by position", 5),
        (65, (), 0, "by position", 0),
        (65, (), 64, "by position", 64),  # beyond those that are compared
        (65, [64], 64, "by position", 64),
        (65, [63], 0, "by position", 0),
        (200, [198], 199, "by position", 199),
        (64, (), -1, "same flanks", 0),  # names where the sequence is not
        (65, (), -1, "several places", None),
        (64, [63], -1, "several places", None),
    ],
)
def test_a_row_in_many_places(copies, odd, named, status, taken, tmp_path):
    """All places of a row are compared if they are at most 64; a positions file names any."""
    genome, starts = repeated_genome(copies, odd)
    elsewhere = 200 * (len(genome["chr1"]) // 200) - 2_000 + 200 * np.arange(3)
    places = [("chr1", start, "+") for start in (starts[0], *elsewhere)]
    codes, _ = rows_of(genome, places, 200)
    write_hdf5(tmp_path / "train.mat", codes, np.ones((4, 3), np.uint8))
    write_fasta(tmp_path / "hg.fa", genome)
    positions = None
    if named is not None:
        at = elsewhere[0] if named < 0 else starts[named]
        positions = positions_of(tmp_path / "pos.bed", [at, *elsewhere])
    out = tmp_path / "o.h5"
    found = flanks.extend(
        tmp_path / "train.mat", tmp_path / "hg.fa", out, flank=200, positions=positions
    )
    assert found.counts == dict.fromkeys(stored.STATUS, 0) | {status: 1, "placed": 3}
    with h5py.File(out) as file:
        strand, start = file["strand"][0], file["start"][0]
        row = stored.unpack(file["codes"][:1], LENGTH + 400)[0]
    if taken is None:
        assert (row[:200] == 4).all() and (row[1200:] == 4).all()
        assert (strand, start) == (0, -1)
        listed = (tmp_path / "o.unplaced.tsv").read_text().splitlines()[1].split("\t")
        assert listed[:3] == ["0", status, str(copies)]
        assert len(listed[3].split(",")) == 5  # the first ones
    else:
        whole = cut(genome["chr1"], starts[taken] - 200, starts[taken] + 1200)
        expected = sequences.reverse_complement_codes(whole) if taken % 2 else whole
        assert np.array_equal(row, expected)
        assert (strand, start) == (taken % 2, starts[taken] - 200)


def test_tandem_repeats_and_unknown_rows(tmp_path):
    """A satellite repeat: 150 places, some with the same flanks; an unknown row: none."""
    unit = np.random.default_rng(0).integers(0, 4, 200).astype(np.uint8)
    genome = {"chr1": np.tile(unit, 155), "chr2": np.full(20_000, 4, np.uint8)}
    codes = np.stack([np.tile(unit, 5), np.full(1000, 4, np.uint8)])
    write_hdf5(tmp_path / "train.mat", codes, np.ones((2, 3), np.uint8))
    write_fasta(tmp_path / "hg.fa", genome)
    found = flanks.extend(tmp_path / "train.mat", tmp_path / "hg.fa", tmp_path / "o.h5", flank=9)
    assert (found.counts["several places"], found.counts["nowhere"]) == (1, 1)
    with pytest.raises(InputError, match=r"o\.h5: none of its 2 rows"):
        data.load(tmp_path / "o.h5")


def test_colliding_hashes_are_compared_base_by_base(genome, tmp_path, monkeypatch):
    """With a hash of 6 bits most candidates are wrong, and nothing changes but the time."""
    codes, expected = rows_of(genome, PLACES, 50)
    write_hdf5(tmp_path / "train.mat", codes, np.ones((len(codes), 3), np.uint8))
    write_fasta(tmp_path / "hg.fa", genome)
    mixed = flanks._mixed
    monkeypatch.setattr(flanks, "_mixed", lambda h: mixed(h) & ~np.uint64(2**58 - 1))
    out = tmp_path / "train.h5"
    found = flanks.extend(tmp_path / "train.mat", tmp_path / "hg.fa", out, flank=50)
    assert found.counts["nowhere"] == 0
    placed = np.isin(np.arange(len(PLACES)), range(len(PLACES)))
    assert np.array_equal(data.load(out, "train").codes[:], expected[placed])


def test_a_row_in_one_place_of_the_grid_is_there(tmp_path):
    """Whatever a positions file says: here it names a copy that no row can come from."""
    chromosome = np.random.default_rng(1).integers(0, 4, 20_000).astype(np.uint8)
    chromosome[9_050:10_050] = chromosome[400:1_400]
    starts = [400, 2_000, 4_000, 6_000]
    codes, expected = rows_of({"chr1": chromosome}, [("chr1", s, "+") for s in starts], 50)
    write_hdf5(tmp_path / "train.mat", codes, np.ones((4, 3), np.uint8))
    write_fasta(tmp_path / "hg.fa", {"chr1": chromosome})
    positions = positions_of(tmp_path / "pos.bed", [9_050, *starts[1:]])
    out = tmp_path / "o.h5"
    found = flanks.extend(
        tmp_path / "train.mat", tmp_path / "hg.fa", out, flank=50, positions=positions
    )
    assert found.counts["placed"] == 4
    assert np.array_equal(data.load(out).codes[:], expected)


def test_colliding_hashes_are_no_places(genome, tmp_path, monkeypatch):
    """With a hash of 10 bits many rows have several candidates, and all are in one place."""
    starts = GRID * np.arange(60, 110)
    codes, expected = rows_of(genome, [("chr1", start, "+") for start in starts], 50)
    write_hdf5(tmp_path / "train.mat", codes, np.ones((len(codes), 3), np.uint8))
    write_fasta(tmp_path / "hg.fa", genome)
    positions = positions_of(tmp_path / "pos.bed", starts)
    mixed = flanks._mixed
    monkeypatch.setattr(flanks, "_mixed", lambda h: mixed(h) & ~np.uint64(2**54 - 1))
    out = tmp_path / "o.h5"
    found = flanks.extend(
        tmp_path / "train.mat", tmp_path / "hg.fa", out, flank=50, positions=positions
    )
    sure = int(found.positions.partition("; ")[2].split()[0])
    assert 5 < sure < 45
    assert found.counts["placed"] == 50
    assert np.array_equal(data.load(out).codes[:], expected)


def test_what_was_not_compared_is_not_believed(tmp_path, monkeypatch):
    """A hash of 1 bit gives a row hundreds of places: one that is right may not be the only one."""
    genome = {"chr1": np.random.default_rng(1).integers(0, 4, 60_000).astype(np.uint8)}
    starts = GRID * np.array([1, 2, 3, 4, 5, 6, 280, 281, 282, 283, 284, 285])
    codes, _ = rows_of(genome, [("chr1", start, "+") for start in starts], 0)
    write_hdf5(tmp_path / "train.mat", codes, np.ones((len(codes), 3), np.uint8))
    write_fasta(tmp_path / "hg.fa", genome)
    mixed = flanks._mixed
    monkeypatch.setattr(flanks, "_mixed", lambda h: mixed(h) & np.uint64(2**63))
    out = tmp_path / "o.h5"
    flanks.extend(tmp_path / "train.mat", tmp_path / "hg.fa", out, flank=10)
    with h5py.File(out) as file:
        status = np.array(stored.STATUS)[file["status"][:]]
    assert set(status[:6]) == {"several places", "nowhere"}  # nowhere: the bit of an unknown row
    assert set(status[6:]) == {"nowhere"}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 250), st.integers(1, 5))
def test_any_place_of_a_random_genome(tmp_path_factory, seed, flank, tiles):
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("any")
    length = GRID * tiles
    genome = {
        f"chr{i}": rng.integers(0, 4, rng.integers(1, 5000)).astype(np.uint8) for i in range(3)
    }
    extended = []
    for codes in genome.values():
        bins = -(-len(codes) // GRID)
        start = int(rng.integers(0, bins)) * GRID - tiles // 2 * GRID
        piece = cut(codes, start - flank, start + length + flank)
        extended.append(sequences.reverse_complement_codes(piece) if rng.integers(2) else piece)
    extended = np.array(extended)
    rows = extended[:, flank : flank + length]
    known = (rows != 4).sum(axis=1) >= 20  # a few bases at an end could be anywhere
    write_hdf5(folder / "train.mat", rows, np.ones((3, 2), np.uint8))
    write_fasta(folder / "hg.fa", genome)
    out = folder / "o.h5"
    flanks.extend(folder / "train.mat", folder / "hg.fa", out, flank=flank)
    with h5py.File(out) as file:
        status = file["status"][:]
        codes = stored.unpack(file["codes"][:], length + 2 * flank)
    assert (status[known] == stored.STATUS.index("placed")).all()
    assert np.array_equal(codes[known], extended[known])


_EXTEND = """
import os, signal, sys
from pathlib import Path
import h5py
import numpy as np
from tfbs_shift import files
from tfbs_shift.data import flanks
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
flanks._ROWS, files._SECONDS = 8, 0.0
left = int(sys.argv[4])
def counted(put):
    def count_down(*arguments, **options):
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), int(sys.argv[5]))
        return put(*arguments, **options)
    return count_down
np.memmap.__setitem__ = counted(np.memmap.__setitem__)  # rows
h5py.Group.create_dataset = counted(h5py.Group.create_dataset)  # arrays of the whole file
flanks.extend(*map(Path, sys.argv[1:4]), flank=100)
"""


def test_killed_at_any_moment_it_goes_on(genome, tmp_path):
    """Before, within and after the six writes of a block, and in those of the whole file; the runs
    get ever further."""
    rng = np.random.default_rng(3)
    places = [
        ("chr1", int(s) * GRID, "+-"[i % 2]) for i, s in enumerate(rng.integers(60, 110, 400))
    ]
    codes, expected = rows_of(genome, places, 100)
    write_hdf5(tmp_path / "train.mat", codes, np.ones((400, 3), np.uint8))
    write_fasta(tmp_path / "hg.fa", genome)
    out = tmp_path / "o.h5"
    words = [sys.executable, "-c", _EXTEND, tmp_path / "train.mat", tmp_path / "hg.fa", out]
    progress = tmp_path / ".o.h5.partial" / "progress.json"
    reached = 0
    kills = [(1, signal.SIGKILL), (9, signal.SIGKILL), (15, signal.SIGINT), (80, signal.SIGTERM),
             (100, signal.SIGKILL)]  # fmt: skip
    for writes, kill in kills:
        run = subprocess.run([*words, str(writes), str(int(kill))], capture_output=True)
        assert run.returncode != 0
        assert not out.exists()
        reached += (writes - 1) // 6 * 8
        rows = json.loads(progress.read_text())["rows"] if progress.exists() else 0
        assert rows == reached
    assert 200 < reached < 400
    last = (400 - reached) // 8 * 6 + 4
    for kill in (signal.SIGKILL, signal.SIGTERM):
        run = subprocess.run([*words, str(last), str(int(kill))], capture_output=True)
        assert run.returncode == -kill
        assert not out.exists()
        assert json.loads(progress.read_text())["rows"] == 400
        last = 4  # no row is left
    subprocess.run([*words, "0", "0"], check=True)
    assert np.array_equal(data.load(out).codes[:], expected)
    assert {p.name for p in tmp_path.iterdir()} == {
        "train.mat", "hg.fa", "hg.fa.fai", "o.h5", "o.unplaced.tsv"
    }  # fmt: skip


@pytest.mark.parametrize("change", ["nothing", "rows", "flank"])
def test_work_of_other_files_is_not_gone_on_with(change, genome, tmp_path, monkeypatch):
    monkeypatch.setattr(flanks, "_ROWS", 2)
    monkeypatch.setattr("tfbs_shift.files._SECONDS", 0.0)
    mat, fasta, out = (tmp_path / name for name in ("train.mat", "hg.fa", "o.h5"))
    codes, expected = rows_of(genome, PLACES, 100)
    write_hdf5(mat, codes, np.ones((len(codes), 3), np.uint8))
    write_fasta(fasta, genome)
    placed, blocks = flanks._placed, []

    def stopped(codes, rows, *others):
        blocks.append(rows.start)
        if rows.start == 6 and len(blocks) == 4:
            raise KeyboardInterrupt
        return placed(codes, rows, *others)

    monkeypatch.setattr(flanks, "_placed", stopped)
    with pytest.raises(KeyboardInterrupt):
        flanks.extend(mat, fasta, out, flank=100)
    assert not out.exists()
    flank = 100
    if change == "rows":
        codes, expected = rows_of(genome, PLACES[::-1], 100)
        write_hdf5(mat, codes, np.ones((len(codes), 3), np.uint8))
    elif change == "flank":
        flank, (_, expected) = 7, rows_of(genome, PLACES, 7)
    flanks.extend(mat, fasta, out, flank=flank)
    assert blocks[4] == (6 if change == "nothing" else 0)
    assert np.array_equal(data.load(out).codes[:], expected)


def test_the_command(genome, tmp_path, capsys, monkeypatch):
    codes, _ = rows_of(genome, PLACES, 0)
    write_hdf5(tmp_path / "train.mat", codes, np.ones((len(codes), 3), np.uint8))
    write_fasta(tmp_path / "hg.fa", genome)
    words = [f"--mat={tmp_path / 'train.mat'}", f"--genome={tmp_path / 'hg.fa'}"]
    out = tmp_path / "new" / "train.h5"
    assert main(["extend", *words, "--flank=100", f"--out={out}"]) == 0
    assert "11 of 11 rows with flanks of 100 bp" in capsys.readouterr().out
    assert data.load(out).length == 1200

    def fails(match, *changed):
        assert main(["extend", *words, f"--out={tmp_path / 'x.h5'}", *changed]) == 1
        err = capsys.readouterr().err
        assert match in err
        assert err.count("\n") == 1
        assert not list(tmp_path.glob("*x.h5*"))

    before = out.read_bytes()
    assert main(["extend", *words, "--flank=100", f"--out={out}"]) == 0
    assert capsys.readouterr().out == f"{out}: is done, made of these files\n"
    fails("is there already, made of other files or flanks", f"--out={out}", "--flank=50")
    assert out.read_bytes() == before
    fails("--flank=1000000000", "--flank=1000000000")
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    fails("x.h5: No space left on device")
    monkeypatch.undo()
    fails("ends with .h5", "--out=x.hdf5")
    fails("--mat=/nowhere: no such file", "--mat=/nowhere")
    fails("--genome=/nowhere: no such file", "--genome=/nowhere")
    (tmp_path / "no.fa").write_text("ACGT\n")
    fails("not a FASTA that can be indexed", f"--genome={tmp_path / 'no.fa'}")
    (tmp_path / "gz.fa.gz").write_bytes(gzip.compress(b">chr1\nACGT\n"))
    fails("not by bgzip", f"--genome={tmp_path / 'gz.fa.gz'}")
    write_fasta(tmp_path / "other.fa", {"chr1": np.zeros(5000, np.uint8)})
    fails("none of its 11 rows is in", f"--genome={tmp_path / 'other.fa'}")
    (tmp_path / "rna.fa").write_text(">chr1\nACGUUUUU\n")
    fails("rna.fa: chr1:0-8: not DNA", f"--genome={tmp_path / 'rna.fa'}")
    write_hdf5(tmp_path / "short.mat", codes[:, :900], np.ones((len(codes), 3), np.uint8))
    fails("900 bp; want a multiple of 200", f"--mat={tmp_path / 'short.mat'}")


# ---- genomes and BED files ----


@pytest.fixture(scope="module", params=["plain", "bgzipped", "folder without write permission"])
def fasta(request, tmp_path_factory, genome):
    folder = tmp_path_factory.mktemp("fasta")
    path = folder / ("hg.fa.gz" if request.param == "bgzipped" else "hg.fa")
    write_fasta(path, genome, lower=True)
    if request.param.startswith("folder"):
        folder.chmod(0o555)
    yield path
    folder.chmod(0o755)


@pytest.mark.parametrize(
    ("chrom", "start", "end"),
    [("chr1", 0, 10), ("1", 100, 1234), ("chr1", -5, 5), ("chr1", 40_130, 40_200),
     ("chrTiny", -100, 200), ("chr2", 29_999, 30_000), ("chr2", 59, 61)],
)  # fmt: skip
def test_windows_of_a_genome(fasta, genome, chrom, start, end):
    expected = cut(genome[chrom if chrom in genome else f"chr{chrom}"], start, end)
    assert np.array_equal(Genome(fasta).codes(chrom, start, end), expected)


def test_windows_outside_a_genome(fasta):
    read = Genome(fasta)
    for start, end in ((-10, 0), (40_137, 40_140), (5, 5)):
        with pytest.raises(InputError, match=r"not in 0\.\.40137"):
            read.codes("chr1", start, end)
    with pytest.raises(InputError, match=r"chromosome 'chrZ' is not in .*which has chr1, chr2"):
        read.codes("chrZ", 0, 5)
    assert read.lengths["chr2"] == 30_000


def test_bed_and_genome(fasta, genome, tmp_path):
    bed = tmp_path / "peaks.bed"
    bed.write_text("track name=x\n#c\nchr1 0 50 a 0 +\nchr1 100 150 b  0 -\n1 40087 40137 c 0 .\n")
    read = data.load(f"{bed},{fasta}", flank=20, bound=True)
    assert read.intervals.start.tolist() == [-20, 80, 40_067]
    assert read.strand.tolist() == ["+", "-", "+"]
    assert read.names.tolist() == ["a", "b", "c"]
    assert read.intervals.chrom.tolist() == ["chr1"] * 3
    assert read.notes == (f"peaks.bed: chromosome '1' is taken as 'chr1', as in {fasta.name}",)
    assert read.y.tolist() == [[0, 1]] * 3
    expected = [cut(genome["chr1"], s, s + 90) for s in (-20, 80, 40_067)]
    expected[1] = sequences.reverse_complement_codes(expected[1])
    assert np.array_equal(read.codes, expected)


def test_numbers_of_a_bed(fasta, genome, tmp_path):
    rows = [
        ("a peak", 500, "37.5", "4", "1e-2"),
        ("b", 0, "-1", "0.5", "2"),
        ("c", 9, "2", "1", "0"),
    ]
    lines = [f"chr1\t{10 * i}\t{10 * i + 20}\t{name}\t{score}\t-\t{signal}\t{p}\t{q}\t7\n"
             for i, (name, score, signal, p, q) in enumerate(rows)]  # fmt: skip
    bed = tmp_path / "a.narrowPeak"
    bed.write_text("".join(lines))
    for column, number, values in (
        ("score", "5", [500, 0, 9]),
        ("signalValue", "7", [37.5, -1, 2]),
        ("pvalue", "8", [4, 0.5, 1]),
        ("qValue", "9", [0.01, 2, 0]),
    ):
        for chosen in (column, number):
            read = data.load((bed, fasta), label_column=chosen)
            assert read.y.dtype == np.float32
            assert np.array_equal(read.y, np.array(values, np.float32)[:, None])
            assert read.label_names == [chosen]
            assert read.notes == ("a.narrowPeak: narrowPeak, summits from column 10",)
    assert read.names.tolist() == ["a peak", "b", "c"]
    assert read.strand.tolist() == ["-"] * 3
    assert read.summits.tolist() == [12] * 3  # 20 bp, the other strand
    unlabelled = data.load((bed, fasta))
    assert unlabelled.labels is None
    assert unlabelled.notes[1].startswith("a.narrowPeak: no labels; bound (--bound)")
    assert np.array_equal(unlabelled.codes, read.codes)


@pytest.mark.parametrize("zipped", [True, False])
def test_narrowpeak_summits(fasta, genome, tmp_path, zipped):
    text = "chr1\t1000\t1400\t.\t0\t.\t1\t1\t1\t37\nchr2\t500\t601\t.\t0\t.\t1\t1\t1\t-1\n"
    bound = tmp_path / ("bound.narrowPeak" + ".gz" * zipped)
    bound.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    unbound = tmp_path / "unbound.bed"
    unbound.write_text("chr2 7000 7007\n")
    read = data.load((bound, unbound, fasta), length=101, flank=10)
    starts = [1037 - 50 - 10, 550 - 50 - 10, 7003 - 50 - 10]
    assert read.intervals.start.tolist() == starts
    chroms = ("chr1", "chr2", "chr2")
    expected = [cut(genome[c], s, s + 121) for c, s in zip(chroms, starts, strict=True)]
    assert np.array_equal(read.codes, expected)
    assert read.y[:, 1].tolist() == [1, 1, 0]
    assert read.names is None


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("chr1 5 5", {}, "line 1: chr1:5-5: want 0 <= start < end"),
        ("chr1 -5 5", {}, "line 1: chr1:-5-5: want 0 <= start < end"),
        ("chr1 5", {}, "line 1: want chrom, start, end"),
        ("chr1 a 5", {}, "line 1: want chrom, start, end"),
        ("\nchrZ 0 5", {}, "line 2: chromosome 'chrZ' is not in"),
        ("chr1 0 5\nchr1 0 6", {}, "line 2: 6 bp, but the first interval has 5: give length"),
        ("chr1 50000 50005", {}, r"line 1: chr1:50000-50005 ends beyond chr1 of .*40137 bp: are"),
        (
            "1 40000 40138",
            {"length": 9},
            r"line 1: 1:40000-40138 ends beyond chr1 .* another build",
        ),
        ("chr1 0 5 . 0 . 1 1 1 5", {}, "with summit 5 in column 10: want 0 to 4"),
        ("", {}, "no intervals in it"),
        ("chr1 0 5", {"flank": -1}, "flank -1"),
        ("chr1 0 5", {"length": 0}, "length 0"),
        ("chr1 0 5", {"labels": "tf"}, "labels is for DeepSEA's files only"),
        ("chr1 0 5 a x", {"label_column": "score"}, "line 1: label 'x': want"),
        ("chr1 0 5 a 1\nchr1 0 5", {"label_column": "5"}, "line 2: 3 columns, but line 1 has 5"),
        ("chr1 0 5 a 1 . 1 1 1", {"label_column": "qValue"}, "from 1 to 9, or, of a BED, score"),
        ("chr1 0 5", {"label_column": "score"}, "label_column score: column 5 of its 3"),
        ("chr1 0 5", {"label_column": "signal"}, "label_column 'signal': want a column's number"),
        ("chr1 0 5", {"label_column": "0"}, "label_column '0': want a column's number from 1"),
        ("chr1 0 5 a 1", {"label_column": "5", "bound": True}, "what are the labels?"),
        ("chr1 0 5", {"sequence_column": "4"}, "sequence_column is for tables"),
    ],
)
def test_mistakes_in_a_bed(genome, tmp_path, text, options, message):
    write_fasta(tmp_path / "hg.fa", genome)
    (tmp_path / "a.bed").write_text(text)
    with pytest.raises(InputError, match=message):
        data.load((tmp_path / "a.bed", tmp_path / "hg.fa"), **options)


def test_how_bed_files_are_given(genome, tmp_path):
    write_fasta(tmp_path / "hg.fa", genome)
    (tmp_path / "a.bed").write_text("chr1 0 5")
    with pytest.raises(InputError, match="give the genome, too"):
        data.load(tmp_path / "a.bed")
    with pytest.raises(InputError, match="and then the FASTA"):
        data.load((tmp_path / "hg.fa", tmp_path / "a.bed"))
    (tmp_path / "b.bed").write_text("chr1 9 14")
    pair = [tmp_path / name for name in ("a.bed", "b.bed", "hg.fa")]
    for options in ({"bound": True}, {"label_column": "3"}):
        with pytest.raises(InputError, match=r"b\.bed: what are the labels\? want one of two"):
            data.load(pair, **options)
    assert read_bed(tmp_path / "a.bed").rows[0].end == 5


# ---- packing ----


@given(st.integers(0, 6), st.integers(1, 40), st.integers(0, 2**32))
def test_packing_is_undone(count, length, seed):
    codes = np.random.default_rng(seed).integers(0, 5, (count, length)).astype(np.uint8)
    packed = stored.pack(codes)
    assert packed.shape == (count, -(-length // 3))
    assert np.array_equal(stored.unpack(packed, length), codes)


def test_packing_by_hand():
    codes = sequences.encode(["ACGTN"])
    assert stored.pack(codes).tolist() == [[0 * 25 + 1 * 5 + 2, 3 * 25 + 4 * 5 + 4]]


def test_a_damaged_h5_is_named(genome, tmp_path):
    codes, _ = rows_of(genome, PLACES, 0)
    write_hdf5(tmp_path / "train.mat", codes, np.ones((len(codes), 3), np.uint8))
    write_fasta(tmp_path / "hg.fa", genome)
    out = tmp_path / "train.h5"
    flanks.extend(tmp_path / "train.mat", tmp_path / "hg.fa", out, flank=0)
    with h5py.File(out, "r+") as file:
        file["codes"][3, 7] = 250
    with pytest.raises(InputError, match=r"train\.h5: rows 0\.\.11: damaged"):
        data.load(out).codes[:]
    with h5py.File(out, "r+") as file:
        del file["status"]
    with pytest.raises(InputError, match=r"train\.h5: damaged"):
        data.load(out)
    out.write_bytes(out.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"train\.h5: not a whole HDF5"):
        data.load(out)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros(3)
    with pytest.raises(InputError, match="not written by tfbs-shift extend"):
        data.load(tmp_path / "other.h5")


@pytest.fixture
def four_rows(tmp_path):
    """An .h5 of four rows of 5 bp and 9 labels, of which the third is placed nowhere."""
    codes = sequences.encode(["ACGTN", "CCCCC", "GATTA", "TTTTT"])
    columns = {
        "codes": stored.pack(codes),
        "labels": np.packbits(np.eye(4, 9, dtype=np.uint8), axis=1),
        "chrom": np.array([0, 1, -1, 1], np.int32),
        "start": np.array([10, -4, -1, 30]),
        "strand": np.array([0, 1, 0, 0], np.uint8),
        "status": np.array([1, 2, 0, 4], np.uint8),
    }
    path = tmp_path / "train.h5"
    counts = stored.write_stored(
        path, columns, 5, list("abcdefghi"), {"chr1": 99, "chrÜ": 9}, "by hand"
    )
    assert list(counts.values()) == [1, 1, 1, 0, 1]
    return path


def test_an_h5_by_hand(four_rows):
    read = data.load(four_rows)
    assert sequences.decode(read.codes[:]) == ["ACGTN", "CCCCC", "TTTTT"]
    assert np.array_equal(read.y, np.eye(4, 9)[[0, 1, 3]])
    assert read.label_names == [f"{i} {name}" for i, name in enumerate("abcdefghi")]
    assert read.intervals.chrom.tolist() == ["chr1", "chrÜ", "chrÜ"]
    assert read.intervals.start.tolist() == [10, -4, 30]
    assert read.intervals.end.tolist() == [15, 1, 35]
    assert read.strand.tolist() == ["+", "-", "+"]


def test_strings_of_an_h5_may_have_any_length(four_rows):
    with h5py.File(four_rows, "r+") as file:
        for name in ("format", "made_from", "counts"):
            file.attrs[name] = file.attrs[name].decode()
        file.attrs["chromosomes"] = np.array(["chr1", "chrÜ"], h5py.string_dtype())
        names = file["label_names"][:]
        del file["label_names"]
        file["label_names"] = np.array([name.decode() for name in names], h5py.string_dtype())
    test_an_h5_by_hand(four_rows)


WRONG_ATTRIBUTES = {
    "length": [-5, 0, 4, 7, 2**40, 5.0, "5", [5], [5, 5]],
    "labels": [-9, 0, 8, 10, 17, 9.0, "9"],
    "chromosomes": [["chr1"], [], 3],
    "counts": ["{", "{}", "[1, 1, 1, 0, 1]", json.dumps(dict.fromkeys(stored.STATUS, 1))],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in WRONG_ATTRIBUTES
                        for value in WRONG_ATTRIBUTES[name]]
)  # fmt: skip
def test_attributes_of_an_h5_fit_its_arrays(name, value, four_rows):
    with h5py.File(four_rows, "r+") as file:
        file.attrs[name] = value
    with pytest.raises(InputError, match=r"train\.h5: (rows 0\.\.4: )?damaged") as error:
        np.asarray(data.load(four_rows, labels="0").codes)
    assert "\n" not in str(error.value)


def test_an_h5_without_an_attribute(four_rows):
    for name in ("length", "labels", "chromosomes", "counts"):
        path = four_rows.with_stem(name)
        path.write_bytes(four_rows.read_bytes())
        with h5py.File(path, "r+") as file:
            del file.attrs[name]
        with pytest.raises(InputError, match=rf"{name}\.h5: damaged .*{name}"):
            data.load(path)


@pytest.mark.parametrize(
    ("name", "values", "match"),
    [
        ("chrom", [0, 2, -1, 1], r"chrom: 0\.\.2; want 0\.\.1"),
        ("chrom", [0, -1, -1, 1], r"chrom: -1\.\.1; want 0\.\.1"),
        ("chrom", [0, 1, 0, 1], r"chrom: 0\.\.0; want -1\.\.-1"),
        ("start", [10, -5, -1, 30], r"start: -5\.\.30; want -4\.\."),
        ("start", [10, 2**62, -1, 30], r"start: 10\.\.4611686018427387904; want -4\.\."),
        ("start", [10, -4, 7, 30], r"start: 7\.\.7; want -1\.\.-1"),
        ("strand", [0, 1, 2, 0], r"strand: 0\.\.2; want 0\.\.1"),
        ("status", [1, 2, 0, 5], r"status: 0\.\.5; want 0\.\.4"),
        ("status", [1, 1, 0, 4], "status: not the counts that were noted"),
    ],
)
def test_rows_of_an_h5_say_what_can_be(name, values, match, four_rows):
    with h5py.File(four_rows, "r+") as file:
        file[name][:] = values
    with pytest.raises(InputError, match=rf"train\.h5: damaged: {match}"):
        data.load(four_rows)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("status", np.ones(3, "u1")), ("status", np.ones((4, 1), "u1")), ("status", np.ones(4)),
        ("start", np.ones(4, "i4")), ("strand", np.ones(5, "u1")), ("chrom", np.zeros(4, "u4")),
        ("labels", np.zeros((4, 1), "u1")), ("labels", np.zeros((3, 2), "u1")),
        ("codes", np.zeros((4, 3), "u1")), ("codes", np.zeros((5, 2), "u1")),
        ("codes", np.zeros((4, 2), "i1")), ("codes", np.array(3)), ("label_names", np.arange(9)),
        ("label_names", np.array([b"\xff"] * 9)), ("label_names", np.array([b"a"] * 8)),
    ],
)  # fmt: skip
def test_arrays_of_an_h5_have_one_shape(name, values, four_rows):
    with h5py.File(four_rows, "r+") as file:
        del file[name]
        file[name] = values
    with pytest.raises(InputError, match=r"train\.h5: damaged"):
        data.load(four_rows)


def test_what_an_h5_lacks_or_has_elsewhere(four_rows, tmp_path):
    with h5py.File(four_rows) as file:
        names = list(file)
    assert len(names) == 7
    for name in names:
        path = tmp_path / f"{name}.h5"
        for link, match in (
            (None, f"damaged: has no {name}"),
            (h5py.ExternalLink(four_rows.name, name), f"{name}: lies in another file, 'train.h5'"),
            (h5py.SoftLink(f"/{name}"), f"{name}: a link to '/{name}' that cannot be followed"),
        ):
            path = path.with_stem(f"{path.stem}_")
            path.write_bytes(four_rows.read_bytes())
            with h5py.File(path, "r+") as file:
                del file[name]
                if link:
                    file[name] = link
            with pytest.raises(InputError, match=match):
                data.load(path)
        with h5py.File(four_rows) as file:
            shape, dtype = file[name].shape, file[name].dtype
        with h5py.File(path.with_stem("empty"), "w") as file, h5py.File(four_rows) as whole:
            file.attrs.update(whole.attrs)
            for other in set(names) - {name}:
                file[other] = whole[other][:]
            file.create_dataset(name, shape, dtype)
        with pytest.raises(InputError, match=f"{name} .*: 0 of its [0-9]+ bytes were ever written"):
            data.load(path.with_stem("empty"))
        path.with_stem("empty").unlink()


def test_what_is_left_of_the_last_byte_is_checked(four_rows):
    for name, value, match in (
        ("codes", stored.pack(sequences.encode(["ACGTNA"]))[0], "codes: more than 5 bases"),
        ("labels", [0, 0b01000000], "labels: more than 9"),
    ):
        path = four_rows.with_stem(name)
        path.write_bytes(four_rows.read_bytes())
        with h5py.File(path, "r+") as file:
            file[name][1] = value
        read = data.load(path)
        with pytest.raises(InputError, match=rf"{name}\.h5: rows 0\.\.4: damaged .{match}"):
            np.asarray(read.codes), np.asarray(read.labels)


def test_from_the_bundle_to_the_table(genome, tmp_path, capsys):
    """Three commands: flanks, the original's weights, AUROC and AUPR under every shift."""
    rng = np.random.default_rng(0)
    places = [("chr1", int(s) * GRID, "+") for s in rng.permutation(np.arange(60, 110))[:12]]
    codes, _ = rows_of(genome, places, 0)
    codes = np.concatenate([codes, sequences.reverse_complement_codes(codes)])
    y = np.tile((rng.random((12, 919)) < 0.3).astype(np.uint8), (2, 1))
    write_v5(tmp_path / "test.mat", codes, y)
    write_fasta(tmp_path / "hg19.fa", genome)
    original = tbinet_of_sizes(1000, 26, 8, 4, 5, 690)
    save_original(original, tmp_path / "tbinet_best.hdf5", "theano")
    commands = [
        ["extend", f"--mat={tmp_path}/test.mat", f"--genome={tmp_path}/hg19.fa", "--flank=100",
         f"--out={tmp_path}/ext/test.h5"],
        ["import", f"--weights={tmp_path}/tbinet_best.hdf5", f"--out={tmp_path}/tbinet.keras"],
        ["evaluate", f"--model={tmp_path}/tbinet.keras", f"--data={tmp_path}/ext",
         "--strategies=none,random,worst_of_2", "--average_strands", f"--out={tmp_path}/audit"],
    ]  # fmt: skip
    for words in commands:
        assert main(words) == 0
    figures = json.loads((tmp_path / "audit" / "robustness.json").read_text())
    assert (figures["examples"], figures["sequence_length"], figures["window"]) == (24, 1200, 1000)
    assert (figures["shifts"][0], figures["shifts"][-1]) == (-100, 100)
    predictions = np.load(tmp_path / "audit" / "predictions" / "predictions_none.npy")
    x = data.load(tmp_path / "test.mat").one_hot("AGCT")[:].astype("float32")
    assert np.allclose(predictions, original.predict(x, verbose=0), atol=1e-6)
    mean = (predictions[:12] + predictions[12:]) / 2
    scored = [k for k in range(690) if 0 < y[:12, 125 + k].sum() < 12]
    expected = [metrics.roc_auc_score(y[:12, 125 + k], mean[:, k]) for k in scored]
    assert figures["strategies"]["none"]["auroc"] == pytest.approx(np.mean(expected))
    assert len(figures["labels_left_out"]) == 690 - len(scored)
    with np.load(tmp_path / "audit" / "shifts.npz") as arrays:
        assert arrays["chrom"].tolist() == ["chr1"] * 24
        assert arrays["strand"].tolist() == ["+"] * 12 + ["-"] * 12
        assert arrays["start"].tolist() == [start - 100 for _, start, _ in places] * 2
