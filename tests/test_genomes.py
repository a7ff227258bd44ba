"""Indices of genomes, as they are found and as they are made; names of chromosomes."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
from Bio import bgzf
from hypothesis import given
from hypothesis import strategies as st

from tfbs_shift import data, sequences
from tfbs_shift.data import chromosomes
from tfbs_shift.data.examples import Intervals
from tfbs_shift.data.genomes import Genome
from tfbs_shift.errors import InputError
from tfbs_shift.evaluation.checks import overlapping


def letters(length, seed=0):
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), length))


def fasta(genome, width=50):
    return "".join(
        f">{name} about it\n"
        + "".join(f"{text[i : i + width]}\n" for i in range(0, len(text), width))
        for name, text in genome.items()
    )


def write(path, genome, width=50):
    """A FASTA, bgzipped if its name says so."""
    if path.suffix in (".gz", ".bgz"):
        with bgzf.BgzfWriter(path) as file:
            file.write(fasta(genome, width).encode())
    else:
        path.write_text(fasta(genome, width))
    return path


@contextlib.contextmanager
def nobody():
    """Without the rights of root, for whom every folder can be written to."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def shelf():
    """A folder that only its owner can write to, and that everybody can read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield folder
        folder.chmod(0o755)


GENOME = {"chr1": letters(1234), "chr2": letters(77, 1), "chrM": letters(301, 2)}
ENDINGS = [".fa", ".fa.gz", ".fa.bgz"]


def agrees(path, genome=GENOME):
    read = Genome(path)
    assert read.lengths == {name: len(text) for name, text in genome.items()}
    for name, text in genome.items():
        for start, end in ((0, len(text)), (49, 51), (len(text) - 1, len(text))):
            assert sequences.decode(read.codes(name, start, end)) == text[start:end]


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_index_is_made_once_and_used_again(ending, tmp_path):
    path = write(tmp_path / f"g{ending}", GENOME)
    agrees(path)
    made = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert {file.suffix for file in made} == {path.suffix, ".fai"} | (
        set() if ending == ".fa" else {".gzi"}
    )
    agrees(path)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == made


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("age", ["older", "newer"])
@pytest.mark.parametrize(
    "other",
    [
        {**GENOME, "chr1": letters(1235, 3)},  # one base more
        {name.removeprefix("chr"): text for name, text in GENOME.items()},
        {"chr1": GENOME["chr1"], "chr2": GENOME["chr2"]},  # cut off
        {"chr1": GENOME["chr1"] + "A" * 51, **{n: GENOME[n] for n in ("chr2", "chrM")}},
    ],
)
@pytest.mark.parametrize("writable", [True, False])
def test_an_index_of_another_file_is_not_used(ending, age, other, writable, shelf):
    path = write(shelf / f"g{ending}", other)
    agrees(path, other)  # indexed
    write(path, GENOME, 60)
    past = path.stat().st_mtime + (100 if age == "older" else -100)
    os.utime(path, (past, past))
    if not writable:
        shelf.chmod(0o555)
    stale = Path(f"{path}.fai").read_text()
    with contextlib.nullcontext() if writable else nobody():
        agrees(path)
        agrees(path)
    assert (Path(f"{path}.fai").read_text() == stale) != writable
    assert not [file for file in shelf.iterdir() if file.name.startswith(".")]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("missing", [".fai", ".gzi", "both"])
@pytest.mark.parametrize("writable", [True, False])
def test_an_index_that_is_missing(ending, missing, writable, shelf):
    path = write(shelf / f"g{ending}", GENOME)
    agrees(path)
    for suffix in (".fai", ".gzi"):
        if missing in (suffix, "both"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
    if not writable:
        shelf.chmod(0o555)
    with contextlib.nullcontext() if writable else nobody():
        agrees(path)


@pytest.mark.parametrize("content", ["", "chr1\n", "\x00\x01", "chr1\t1234\t16\t0\t0\n"])
@pytest.mark.parametrize("suffix", [".fai", ".gzi"])
def test_an_index_that_is_damaged(content, suffix, tmp_path):
    path = write(tmp_path / "g.fa.gz", GENOME)
    agrees(path)
    Path(f"{path}{suffix}").write_text(content)
    agrees(path)


def test_an_index_that_begins_a_line_too_late(tmp_path):
    path = write(tmp_path / "g.fa", {"chr1": GENOME["chr1"]})
    Path(f"{path}.fai").write_text(f"chr1\t{1234 - 50}\t{15 + 51}\t50\t51\n")
    agrees(path, {"chr1": GENOME["chr1"]})


def test_an_index_that_samtools_made_fits(tmp_path):
    if not shutil.which("samtools"):
        pytest.skip("samtools is not installed")
    path = tmp_path / "g.fa"
    path.write_text(fasta(GENOME).replace(">", "\n>"))  # which pyfaidx would not index
    subprocess.run(["samtools", "faidx", path], check=True, capture_output=True)
    made = Path(f"{path}.fai").stat().st_mtime_ns
    agrees(path)
    assert Path(f"{path}.fai").stat().st_mtime_ns == made


@given(
    st.lists(
        st.tuples(st.integers(1, 200), st.sampled_from(["", " ", " x >y", "\t;z"])),
        min_size=1,
        max_size=5,
    ),
    st.integers(1, 70),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_any_fasta_is_read_with_its_index(tmp_path_factory, records, width, ending, last):
    genome = {f"s{i}": letters(length, i) for i, (length, _) in enumerate(records)}
    text = "; a comment\n" if last else ""
    for (name, bases), (_, words) in zip(genome.items(), records, strict=True):
        lines = [bases[i : i + width] for i in range(0, len(bases), width)]
        text += ending.join([f">{name}{words}", *lines, ""])
    path = tmp_path_factory.mktemp("any") / "g.fa"
    path.write_bytes(text.encode() if last else text.encode().rstrip())
    for _ in range(2):
        read = Genome(path)
        for name, bases in genome.items():
            assert sequences.decode(read.codes(name, 0, len(bases))) == bases


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("g.fa", b">a\nACGT\n\nACGT\n", "line 3.*none be blank: seqkit seq -w 60"),
        ("g.fa", b">a\nACGT\nACGTA\nA\n", "the lines of a sequence must have one length"),
        ("g.fa", b">a\nAC\n>a\nAC\n", "Duplicate key"),
        ("g.fa", b"ACGT\n", "Unexpected text before the first"),
        ("g.fa", b"", "not a FASTA that can be indexed"),
        ("g.fa", b"\x1f\x8b\x08\x00\xff\xfe", "compressed, but not named so: gunzip it, or bgzip"),
        ("g.fa.gz", b">a\nACGT\n", "compressed, but not by bgzip"),
        ("g.fa.zip", b">a\nACGT\n", "compressed, but not by bgzip"),
        ("g.fa.gz", "cut", "not a FASTA that can be indexed|cannot be read"),
        ("g.2bit", b"\x1aA'C" + bytes(12), "2bit, and no FASTA: twoBitToFa makes one"),
        ("g.2bit", b"C'A\x1a" + bytes(12), "2bit, and no FASTA: twoBitToFa makes one"),
    ],
)
def test_what_cannot_be_indexed(name, content, message, tmp_path):
    path = tmp_path / name
    if content == "cut":
        write(path, GENOME)
        content = path.read_bytes()[:-40]
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        Genome(path)
    assert "\n" not in str(error.value)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_damage_that_is_found_while_reading(tmp_path):
    path = write(tmp_path / "g.fa.gz", {"chr1": letters(300_000)})
    agrees(path, {"chr1": letters(300_000)})
    content = bytearray(path.read_bytes())
    content[40_000:40_100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"g\.fa\.gz: .*(cannot be read|indexed)"):
        Genome(path).codes("chr1", 0, 300_000)


# ---- names ----


@pytest.mark.parametrize(
    ("names", "asked", "found"),
    [
        (["chr1", "chr10"], "1", "chr1"),
        (["1", "10"], "chr10", "10"),
        (["Chr1"], "chr1", "Chr1"),
        (["chr1", "1"], "1", "1"),
        (["chrM"], "MT", "chrM"),
        (["MT"], "chrM", "MT"),
        (["Mt"], "chrMt", "Mt"),
        (["chrM", "chrMT"], "MT", None),
        (["chrM", "chrMT"], "chrMT", "chrMT"),
        (["NC_000001.11"], "NC_000001.11", "NC_000001.11"),
        (["NC_000001.11"], "chr1", None),
        (["chr1"], "NC_000001.11", None),
        (["chr1"], "chr01", None),
        (["chrX"], "chrx", None),
        (["chr"], "chr", "chr"),
    ],
)
def test_names_of_a_genome(names, asked, found, tmp_path):
    genome = Genome(write(tmp_path / "g.fa", {name: letters(20) for name in names}))
    if found is not None:
        assert genome.name_of(asked) == found
        return
    with pytest.raises(InputError, match=f"chromosome '{asked}'"):
        genome.name_of(asked)


@pytest.mark.parametrize(
    ("one", "mitochondrion", "length", "asked", "same"),
    [
        ("chr1", "chrM", 16_571, "MT", False),
        ("chr1", "chrM", 16_571, "chrMT", False),
        ("chr1", "chrM", 16_571, "M", True),
        ("1", "MT", 16_569, "chrM", False),  # of GRCh37
        ("1", "MT", 16_569, "chrMT", True),
    ],
)
def test_hg19_has_another_mitochondrion(one, mitochondrion, length, asked, same, tmp_path):
    path = tmp_path / "g.fa"
    path.write_bytes(b"")  # a sparse file, of which no letter is read
    first = len(f">{one}\n") + 249_250_621
    text = f">{one}\n".encode()
    with path.open("r+b") as file:
        file.write(text)
        file.seek(first)
        file.write(f"\n>{mitochondrion}\n{'A' * length}\n".encode())
    Path(f"{path}.fai").write_text(
        f"{one}\t249250621\t{len(text)}\t249250621\t249250622\n"
        f"{mitochondrion}\t{length}\t{first + len(mitochondrion) + 3}\t{length}\t{length + 1}\n"
    )
    genome = Genome(path)
    if same:
        assert genome.name_of(asked) == mitochondrion
    else:
        with pytest.raises(InputError, match=r"hg19's chrM \(NC_001807"):
            genome.name_of(asked)


def test_one_name_for_a_chromosome(tmp_path):
    genome = write(tmp_path / "g.fa", GENOME)
    (tmp_path / "a.bed").write_text("1 0 9\nchr2 0 9\n")
    (tmp_path / "b.bed").write_text("chr1 100 109\nMT 5 14\n")
    read = data.load((tmp_path / "a.bed", tmp_path / "b.bed", genome))
    assert read.intervals.chrom.tolist() == ["chr1", "chr2", "chr1", "chrM"]
    assert read.notes == (
        "a.bed, b.bed: chromosome '1' is taken as 'chr1', 'MT' is taken as 'chrM', as in g.fa",
    )
    texts = sequences.decode(read.codes)
    assert texts == [GENOME[c][s : s + 9] for c, s in
                     [("chr1", 0), ("chr2", 0), ("chr1", 100), ("chrM", 5)]]  # fmt: skip
    assert read.chromosomes == {"chr1": 1234, "chr2": 77, "chrM": 301}


def test_one_name_without_a_genome(tmp_path):
    (tmp_path / "a.fa").write_text(">2:0-4\nACGT\n>chr1:0-4\nACGT\n")
    (tmp_path / "b.fa").write_text(">chr2:4-8\nACGT\n>1:1-4\nACGT\n>MT:1-4\nACGT\n")
    read = data.load((tmp_path / "a.fa", tmp_path / "b.fa"))
    assert read.intervals.chrom.tolist() == ["2", "chr1", "2", "chr1", "MT"]
    assert read.intervals.start.tolist() == [0, 0, 4, 0, 0]
    assert read.notes[0].endswith("b.fa: chromosome 'chr2' is taken as '2', '1' is taken as 'chr1'")


def test_an_overlap_is_found_under_either_name():
    these = Intervals(*map(np.array, (["1", "1", "chrM", "X"], [0, 50, 0, 0], [10, 60, 10, 10])))
    those = Intervals(*map(np.array, (["chr1", "MT", "x"], [9, 0, 0], [20, 1, 10])))
    assert overlapping(these, those).tolist() == [True, False, True, False]


@given(st.lists(st.sampled_from(["chr1", "1", "Chr1", "MT", "chrM", "M", "x", "chrx"])))
def test_names_are_unified_by_the_first(names):
    found = chromosomes.unified(names)
    assert list(found) == list(dict.fromkeys(names))
    for name in names:
        same = [other for other in names if chromosomes.key(other) == chromosomes.key(name)]
        assert found[name] == same[0]
    assert chromosomes.keys(np.array(names, str)).tolist() == [chromosomes.key(n) for n in names]


# ---- bounds ----


@pytest.mark.parametrize("length", [None, 10])
@pytest.mark.parametrize(
    ("interval", "message"),
    [
        ("chr2 70 78", "line 2: chr2:70-78 ends beyond chr2 of .*g.fa, 77 bp: .*another build"),
        ("2 100 108", "line 2: 2:100-108 ends beyond chr2 .*another build of the genome"),
        ("chr3 0 8", "line 2: chromosome 'chr3' is not in .*another build of the genome"),
    ],
)
def test_an_interval_that_is_not_in_its_chromosome(interval, message, length, tmp_path):
    genome = write(tmp_path / "g.fa", GENOME)
    (tmp_path / "a.bed").write_text(f"chr2 69 77\n{interval}\n")
    with pytest.raises(InputError, match=message):
        data.load((tmp_path / "a.bed", genome), length=length, flank=3)


def test_one_file_is_not_bound_and_unbound(tmp_path):
    genome = write(tmp_path / "g.fa", GENOME)
    (tmp_path / "a.bed").write_text("chr2 0 8\n")
    with pytest.raises(InputError, match=r"a\.bed: is it bound or unbound\? want two files"):
        data.load((tmp_path / "a.bed", tmp_path / "a.bed", genome))


def test_windows_may_stick_out_and_are_padded(tmp_path):
    genome = write(tmp_path / "g.fa", GENOME)
    (tmp_path / "a.bed").write_text("chr2 0 3\nchr2 74 77\n")
    read = data.load((tmp_path / "a.bed", genome), flank=2)
    text = GENOME["chr2"]
    assert sequences.decode(read.codes) == [f"NN{text[:5]}", f"{text[72:]}NN"]
