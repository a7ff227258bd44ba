"""Headers of FASTA files, as tools write them."""

import re
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfbs_shift import data, sequences
from tfbs_shift.data.headers import Header, parsed
from tfbs_shift.errors import InputError


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        # bedtools getfasta; with -s; with -name and -s; of version 2.26, with -name+
        ("chr1:5-15", (None, "chr1", 5, 15, "+")),
        ("chr1:5-15(-)", (None, "chr1", 5, 15, "-")),
        ("chr1:5-15(.)", (None, "chr1", 5, 15, "+")),
        ("peak 1::chr1:5-15(-)", ("peak 1", "chr1", 5, 15, "-")),
        ("RXRA::VDR::chr1:5-15", ("RXRA::VDR", "chr1", 5, 15, "+")),
        ("::chr1:5-15", None),
        # samtools faidx, with -i, with --mark-strand sign; a region with commas
        ("chrUn_KI270742v1:6-15", (None, "chrUn_KI270742v1", 6, 15, "+")),
        ("chr1:6-15/rc", (None, "chr1", 6, 15, "-")),
        ("chr1:1,000,006-1,000,015", (None, "chr1", 1_000_006, 1_000_015, "+")),
        ("HLA-A*01:01:01:01:6-15", (None, "HLA-A*01:01:01:01", 6, 15, "+")),
        ("NC_000001.11:6-15 Homo sapiens chromosome 1", (None, "NC_000001.11", 6, 15, "+")),
        ("chr1:6-15\tp53", (None, "chr1", 6, 15, "+")),
        # NCBI, of the reverse strand
        ("NC_000001.11:c15-6 Homo sapiens chromosome 1", (None, "NC_000001.11", 6, 15, "-")),
        # GRanges
        ("chr1:6-15:-", (None, "chr1", 6, 15, "-")),
        ("chr1:6-15:*", (None, "chr1", 6, 15, "+")),
        # UCSC
        (
            "hg19_dna range=chr1:6-15 5'pad=0 3'pad=0 strand=- repeatMasking=none",
            ("hg19_dna", "chr1", 6, 15, "-"),
        ),
        (
            "hg38_knownGene_ENST00000456328.2 range=chr1:6-15 5'pad=0 3'pad=0 strand=+ "
            "repeatMasking=none",
            ("hg38_knownGene_ENST00000456328.2", "chr1", 6, 15, "+"),
        ),
        # Ensembl
        ("1 dna:chromosome chromosome:GRCh38:1:6:15:-1 REF", ("1", "1", 6, 15, "-")),
        ("chromosome:GRCh38:X:6:15:1", (None, "X", 6, 15, "+")),
        (
            "ENST00000631435.1 cdna chromosome:GRCh38:7:6:15:1 gene:ENSG00000282253.1",
            ("ENST00000631435.1", "7", 6, 15, "+"),
        ),
        # Galaxy
        ("hg19_chr1_5_15_-", (None, "chr1", 5, 15, "-")),
        ("hg17_chr7_5_15_+ NM_000230", ("NM_000230", "chr7", 5, 15, "+")),
        ("hg19_chr1_gl000191_random_5_15_+", (None, "chr1_gl000191_random", 5, 15, "+")),
        # Zeng et al. 2016
        ("chr20:6-15_shuf", (None, "chr20", 6, 15, "+")),
        # what could mean anything
        ("chr1:5-15_rc", None),
        ("peak|chr1:5-15", None),
        ("chr1:5-15(", None),
        ("chr1:5-15(-)x", None),
        ("chr1:5-15[gene=A]", None),
        ("chr1_5_15", None),
        ("chr1:5", None),
        ("sp|P12345|X_HUMAN", None),
        ("seq1", None),
    ],
)
def test_headers_of_tools(header, expected):
    assert parsed(header) == (expected and Header(*expected))


def read(tmp_path, text, **options):
    (tmp_path / "a.fa").write_text(text)
    return data.load(tmp_path / "a.fa", bound=True, **options)


@pytest.mark.parametrize(
    ("headers", "start", "strand", "names"),
    [
        (["chr1:5-9", "chr1:6-10(-)"], [5, 6], ["+", "-"], ["chr1:5-9", "chr1:6-10(-)"]),
        (["chr1:6-9/rc", "chr1:7-10/rc"], [5, 6], ["-", "-"], ["chr1:6-9/rc", "chr1:7-10/rc"]),
        (["a::chr1:5-9(+)", "b c::chr1:6-10(-)"], [5, 6], ["+", "-"], ["a", "b c"]),
        (
            ["a::chr1:5-9(+)", "a::chr1:6-10(+)"],
            [5, 6],
            None,
            ["a::chr1:5-9(+)", "a::chr1:6-10(+)"],
        ),
        (
            ["hg19_dna range=chr1:6-9 strand=+", "hg19_dna range=chr1:7-10 strand=-"],
            [5, 6],
            ["+", "-"],
            ["chr1:6-9(+)", "chr1:7-10(-)"],
        ),
        (
            ["1 dna:x chromosome:G:chr1:6:9:-1", "2 dna:x chromosome:G:chr1:7:10:1"],
            [5, 6],
            ["-", "+"],
            ["1", "2"],
        ),
    ],
)
def test_coordinates_strands_and_names(headers, start, strand, names, tmp_path):
    found = read(tmp_path, "".join(f">{header}\nACGT\n" for header in headers))
    assert found.intervals.start.tolist() == start
    assert (found.intervals.end - found.intervals.start).tolist() == [4, 4]
    assert found.intervals.chrom.tolist() == ["chr1"] * 2
    assert (found.strand if strand is None else found.strand.tolist()) == strand
    assert found.names.tolist() == names
    assert found.notes == ()


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        (["chr1:5-9", "peak2"], "1 of 2 names have coordinates, .* not used: 'peak2' has none"),
        (["chr1:5-9", "chr1:5-11"], "2 of 2 names have .* 'chr1:5-11' is not 4 bp, as its"),
        (["chr1:5-9_rc", "b"], "names such as 'chr1:5-9_rc': in no form whose coordinates are"),
        (["chr1:0-3", "chr1:1-4"], "'chr1:0-3' is not 4 bp"),
    ],
)
def test_all_coordinates_or_none(headers, said, tmp_path):
    found = read(tmp_path, "".join(f">{header}\nACGT\n" for header in headers))
    assert found.intervals is None
    assert found.strand is None
    (note,) = found.notes
    assert re.search(said, note)


def test_names_without_coordinates_need_no_word(tmp_path):
    assert read(tmp_path, ">a x\nACGT\n>b y\nACGT\n").notes == ()


@pytest.mark.parametrize(
    "text",
    [
        ">a b\n\nAC\n\ngt\n\n\n>b\nACGT*\n\n",
        "\n>a b\r\nAC\r\ngt*\r\n>b\r\nACGT\r\n",
        "\ufeff> a b\nacgt\n>b\nA C G T\n".replace("A C G T", "ACGT*"),
    ],
)
def test_letters_as_users_have_them(text, tmp_path):
    found = read(tmp_path, text)
    assert sequences.decode(found.codes) == ["ACGT", "ACGT"]
    assert found.names.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (">a\nACGT\n>\nACGT\n", "line 3: a header without a name"),
        (">a\nACGT\n>  \nACGT\n", "line 3: a header without a name"),
        (">a\nAC*GT\n", r"line 1: letter '\*' at position 3"),
        (">a\nACGT\n>a b\nACGT\n", "line 3: the name 'a' stands on line 1, too"),
        (">a::chr1:0-4\nACGT\n>a::chr1:0-4\nACGT\n", "the name 'a::chr1:0-4' stands on line 1"),
    ],
)
def test_mistakes(text, message, tmp_path):
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


GENOME = "".join(np.random.default_rng(5).choice(list("ACGT"), 60))
COMPLEMENT = str.maketrans("ACGT", "TGCA")


@pytest.mark.parametrize(
    ("tool", "options", "names"),
    [
        ("bedtools", [], None),
        ("bedtools", ["-s"], None),
        ("bedtools", ["-name"], ["peak 1", "p2"]),
        ("bedtools", ["-name", "-s"], ["peak 1", "p2"]),
        ("samtools", [], None),
        ("samtools", ["-i"], None),
        ("samtools", ["-i", "--mark-strand", "sign"], None),
    ],
)
def test_what_the_tools_write_today(tool, options, names, tmp_path):
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not installed")
    (tmp_path / "g.fa").write_text(f">chr1\n{GENOME}\n")
    (tmp_path / "a.bed").write_text("chr1\t5\t15\tpeak 1\t0\t-\nchr1\t40\t50\tp2\t0\t+\n")
    words = (
        ["getfasta", "-fi", "g.fa", "-bed", "a.bed", *options]
        if tool == "bedtools"
        else ["faidx", *options, "g.fa", "chr1:6-15", "chr1:41-50"]
    )
    run = subprocess.run([tool, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
    (tmp_path / "x.fa").write_text(run.stdout)
    found = data.load(tmp_path / "x.fa")
    assert found.intervals.start.tolist() == [5, 40]
    assert found.intervals.end.tolist() == [15, 50]
    turned = {"-s": ["-", "+"], "-i": ["-", "-"]}
    strands = next((turned[option] for option in options if option in turned), ["+", "+"])
    assert (["+", "+"] if found.strand is None else found.strand.tolist()) == strands
    for text, start, strand in zip(sequences.decode(found.codes), (5, 40), strands, strict=True):
        plain = GENOME[start : start + 10]
        assert text == (plain if strand == "+" else plain[::-1].translate(COMPLEMENT))
    if names:
        assert found.names.tolist() == names


@given(
    st.sampled_from(["chr1", "1", "chrUn_GL000220v1", "NC_000001.11", "HLA-A*01:01:01"]),
    st.integers(0, 10**9),
    st.integers(1, 300),
    st.sampled_from(["", "(+)", "(-)", "/rc", ":-", "_shuf"]),
    st.booleans(),
)
def test_any_coordinates(chrom, start, length, mark, one_based):
    found = parsed(f"{chrom}:{start + one_based}-{start + length}{mark}")
    assert (found.chrom, found.first(length)) == (chrom, start)
    assert found.strand == ("-" if mark in ("(-)", "/rc", ":-") else "+")
    assert found.first(length + 2) is None
