"""BED files and their relatives: what a column is comes from the format."""

import gzip
import shutil
import subprocess

import numpy as np
import pytest

from tfbs_shift import InputError, data, sequences
from tfbs_shift.data.beds import read_bed

needs_bedtools = pytest.mark.skipif(not shutil.which("bedtools"), reason="bedtools is not here")

#         0         1         2         3
#         0123456789012345678901234567890123456789
LETTERS = "ACGTTGCAAATTCCGGATCGATTTACGCGTAACCTGAGTC"

# The second is printed in https://github.com/nboley/idr/issues/49; the first was made like it.
IDR = (
    "chr7\t100\t600\t.\t540\t.\t-1\t50.00000\t-1\t250\t1.00\t1.30\t"
    "100\t600\t50.00000\t250\t120\t590\t40.00000\t230\n"
    "chr7\t29413398\t29416918\t.\t1000\t.\t-1\t213.82509\t-1\t2529\t2.46\t2.73\t"
    "29413398\t29416918\t620.03809\t2548\t29413672\t29416512\t213.82509\t702\n"
)
# MACS3's own: NAME_peaks.narrowPeak, broadPeak, gappedPeak (HMMRATAC's second), NAME_summits.bed
MACS = (
    "chr22\t17255459\t17255848\tpeak_1\t210\t.\t13.0466\t23.7358\t21.0106\t172\n"
    "chr22\t17372647\t17373276\tpeak_2\t424\t.\t22.0161\t45.5514\t42.4141\t395\n"
)
BROAD = "chr22\t17255459\t17255848\tpeak_1\t210\t.\t13.0466\t23.7358\t21.0106\n"
GAPPED = (
    "chrI\t31650\t34930\tpeak_2\t0\t.\t32900\t33100\t0\t1\t200\t1250\t2.5\t3.5\t4.5\n"
    "chrI\t140550\t142050\tpeak_9\t0\t.\t141060\t141970\t0\t2\t200,430\t510,990\t1\t2\t3\n"
)
MACS_SUMMITS = "chr22\t17255631\t17255632\tpeak_1\t21.0106\nchr22\t17373042\t17373043\tpeak_2\t42\n"
BED12 = "chr1\t100\t500\ta\t0\t-\t100\t500\t0\t2\t40,60,\t0,340,\n"


def write(path, text):
    path.write_bytes(gzip.compress(text.encode()) if "gz" in path.suffix.lower() else text.encode())
    return path


def fields_of(rows, name):
    return [getattr(row, name) for row in rows]


# ---- lines and columns ----


def test_tabs_part_the_columns_where_there_are_tabs(tmp_path):
    text = (
        "chr1\t0\t50\tmy peak 1\t7\t-\t\n"
        "chr1\t60\t90\t\t\t+\t\n"  # empty fields are fields, at the end, too
        "chr 2 \t 10\t30 \t a  b\t0\t \tx\n"
    )
    rows = read_bed(write(tmp_path / "a.bed", text)).rows
    assert fields_of(rows, "chrom") == ["chr1", "chr1", "chr 2"]
    assert fields_of(rows, "start") == [0, 60, 10]
    assert fields_of(rows, "end") == [50, 90, 30]
    assert fields_of(rows, "name") == ["my peak 1", ".", "a  b"]
    assert fields_of(rows, "strand") == ["-", "+", "+"]
    labelled = read_bed(tmp_path / "a.bed", "7").rows
    assert fields_of(labelled, "label") == ["", "", "x"]


def test_spaces_part_them_where_there_is_no_tab(tmp_path):
    rows = read_bed(write(tmp_path / "a.bed", " chr1  0 50   a 0 - \nchr1 5 9 b 3 *")).rows
    assert [row[1:6] for row in rows] == [("chr1", 0, 50, "a", "-"), ("chr1", 5, 9, "b", "+")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_that_are_no_intervals_anywhere(tmp_path, end):
    lines = [
        "\ufeff#chrom\tstart\tend", "browser position chr7:1-100", "browser hide all",
        'track name="a b" description=c', "", "chr1\t5\t9", "   ", "\t\t", "# x", "track",
        "track1\t6\t10", "browser\t7\t11", "track\t8\t12", "trackers\t9\t13", "",
    ]  # fmt: skip
    rows = read_bed(write(tmp_path / "a.bed", end.join(lines))).rows
    assert [row[:4] for row in rows] == [
        (6, "chr1", 5, 9), (11, "track1", 6, 10), (12, "browser", 7, 11), (13, "track", 8, 12),
        (14, "trackers", 9, 13),
    ]  # fmt: skip


def test_columns_of_a_bed_are_told_apart_by_their_number(tmp_path):
    full = ["chr1", "5", "9", "n", "7", "-", "5", "9", "0,0,255", "1", "4,", "0,"]
    for count in range(3, 13):
        for ending in (".bed", f".bed{count}", f".BED{count}.gz"):
            path = write(tmp_path / f"a{ending}", "\t".join(full[:count]) + "\n")
            read = read_bed(path)
            name, strand = "n" if count > 3 else ".", "-" if count > 5 else "+"
            assert read.rows == [(1, "chr1", 5, 9, name, strand, None, "")]
        wrong = write(tmp_path / f"a.bed{count % 10 + 3}", "\t".join(full[:count]))
        with pytest.raises(InputError, match=rf"line 1: {count} columns, but a BED\d+ has"):
            read_bed(wrong)


# ---- kinds ----


@pytest.mark.parametrize(
    ("name", "text", "summits", "note"),
    [
        ("a.narrowPeak", MACS, [17255631, 17373042], "narrowPeak, summits from column 10"),
        ("a.regionPeak.gz", MACS, [17255631, 17373042], "narrowPeak, summits from column 10"),
        ("a.bed", MACS, [17255631, 17373042], "narrowPeak, summits from column 10"),
        (
            "a.narrowPeak",
            MACS + "chr1\t0\t9\t.\t.\t-\t1e+01\t-1\tinf\t-1\n",
            [17255631, 17373042, None],
            "narrowPeak, summits from column 10, 1 of 3 rows have none",
        ),
        (
            "a.narrowPeak",
            IDR,
            [350, 29415927],
            "narrowPeak and 10 more columns, summits from column 10",
        ),
        (
            "narrowPeak.12-col.bed.gz",
            "".join("\t".join(line.split("\t")[:12]) + "\n" for line in IDR.splitlines()),
            [350, 29415927],
            "narrowPeak and 2 more columns, summits from column 10",
        ),
        ("a.bed", 'track type="narrowPeak"\nchr1 0 50 p 0 . 0 0 0 1', [1],
         "narrowPeak, summits from column 10"),
        ("a_summits.bed", MACS_SUMMITS, [17255631, 17373042],
         "each interval, of 1 bp, is a summit"),
        ("A_SUMMITS.BED.gz", MACS_SUMMITS, [17255631, 17373042],
         "each interval, of 1 bp, is a summit"),
        ("a.bed", "chr1\t0\t50\ta\t0\t.\t5\t-1\t-1\t25\n", [25],
         "narrowPeak, summits from column 10"),
        (
            "a.bed",
            "chr1\t0\t50\ta\t0\t.\t5.5\t-1\t-1\t3\nchr1\t0\t50\ta\t0\t.\t5.5\t-1\t-1\t-1\n",
            [3, None],
            "narrowPeak, summits from column 10, 1 of 2 rows have none",
        ),
        (  # ENCODE's of eCLIP: fold changes below 1, and no summits
            "a.bed.gz",
            "chr1\t0\t50\tRBFOX2_K562_rep01\t200\t-\t-2.18\t0.4\t-1\t-1\n",
            [None],
            "narrowPeak, summits from column 10, 1 of 1 rows have none",
        ),
        (  # IDR's of 12 columns are no blocks
            "a.bed",
            "chr1\t0\t20\ta\t0\t.\t-1\t2.5\t-1\t1\t1.5\t2.5\n",
            [1],
            "narrowPeak and 2 more columns, summits from column 10",
        ),
        ("a.narrowPeak", "chr1\t7\t9\ta\t0\t.\t1\t1\t1\t0\n", [7],
         "narrowPeak, summits from column 10"),
        ("a.narrowPeak", "chr1\t7\t9\ta\t0\t.\t1\t1\t1\t1 \n", [8],
         "narrowPeak, summits from column 10"),
        ("a_sort_peaks.narrowPeak.bed", "chr1\t0\t50\ta\t0\t+\t3\t4\t5\t6\n", [6],
         "narrowPeak, summits from column 10"),  # Cistrome's name
        ("a.narrowPeak.bed", "chr1\t0\t50\n", [None], None),
        ("snps.bed", MACS_SUMMITS, [None] * 2, None),
        ("a_summits.bed", "chr1\t5\t7\n", [None], None),
        ("a.broadPeak", BROAD, [None], None),
        ("a.bed", BROAD, [None], None),
        ("a.gappedPeak", GAPPED, [None] * 2, None),
        ("a.bed", GAPPED, [None] * 2, None),
        ("a.bed12", BED12, [None], None),
        ("a.bed", BED12, [None], None),
        ("a.bed", "chr1\t0\t100\ta\t5\t-\t0\t9\t0\t1\t100\t0\n", [None], None),
        ("a.bedGraph", "chr1\t0\t50\t1.5\nchr1\t50\t90\t-2e-3\n", [None] * 2, None),
        ("a.bdg.gz", "chr1\t0\t50\t7\n", [None], None),
        (  # bedtools coverage: the tenth is a share
            "a.bed",
            "chr1\t0\t100\ta\t5\t+\t1\t50\t100\t0.5000000\n",
            [None],
            "10 columns, but no narrowPeak: no summits",
        ),
    ],
)  # fmt: skip
def test_what_a_file_is_taken_for(tmp_path, name, text, summits, note):
    read = read_bed(write(tmp_path / name, text))
    assert fields_of(read.rows, "summit") == summits
    assert read.notes == (() if note is None else (f"{name}: {note}",))


def test_a_name_may_be_the_chromosome(tmp_path):
    rows = read_bed(write(tmp_path / "a.bed", "chr1\t0\t5\tchr1\t7\t - \n")).rows
    assert rows == [(1, "chr1", 0, 5, "chr1", "-", None, "")]


def test_a_bedgraph_has_no_names(tmp_path):
    rows = read_bed(write(tmp_path / "a.bedgraph", "chr1\t0\t50\t1.5\n"), "value").rows
    assert rows == [(1, "chr1", 0, 50, ".", "+", None, "1.5")]


# What bedtools 2.30 printed. The overlap of 50 in column 10 could be a summit, and chromosome 1 a
# signal: only the second interval tells.
WO = (
    "1\t0\t100\ta\t5\t+\t1\t50\t150\t50\n"
    "1\t200\t300\tb\t5\t-\t1\t250\t260\t10\n"
    "1\t200\t300\tb\t5\t-\t1\t250\t280\t30\n"
)
WAO = WO + "2\t0\t50\tc\t1\t.\t.\t-1\t-1\t0\n"
CLOSEST = (
    "1\t0\t100\ta\t5\t+\t1\t150\t160\t51\n"
    "1\t200\t300\tb\t5\t-\t1\t250\t280\t0\n"
    "2\t0\t50\tc\t1\t.\t.\t-1\t-1\t-1\n"
)
NARROW_WO = (
    "1\t0\t100\ta\t5\t+\t3.5\t2\t1\t40\t1\t20\t150\tx\t5\t+\t1\t50\t100\t0\t80\n"
    "1\t200\t300\tb\t5\t-\t4\t5.5\t-1\t60\t1\t200\t300\ty\t5\t+\t1\t50\t100\t0\t100\n"
)
BED3_LOJ = "chr1\t0\t100\tchr1\t50\t150\nchr2\t200\t300\t.\t-1\t-1\n"
BED3_WB = "chr1\t0\t100\tchr1\t50\t150\tb\nchr1\t200\t300\tchr1\t250\t260\tc\n"


@pytest.mark.parametrize(
    ("text", "names", "strands", "summits", "note"),
    [
        (WO, "abb", "+--", [None] * 3, "columns from 7 on are of a second file"),
        (WAO, "abbc", "+--+", [None] * 4, "columns from 7 on are of a second file"),
        (CLOSEST, "abc", "+-+", [None] * 3, "columns from 7 on are of a second file"),
        (WO.replace("1\t", "chr1\t", 1).replace("\t1\t50", "\tchr1\t50").splitlines()[0], "a", "+",
         [None], "columns from 7 on are of a second file"),
        (NARROW_WO, "ab", "+-", [40, 260],
         "narrowPeak, summits from column 10; columns from 11 on are of a second file"),
        (BED3_LOJ, "..", "++", [None] * 2, "columns from 4 on are of a second file"),
        (BED3_WB, "..", "++", [None] * 2, "columns from 4 on are of a second file"),
    ],
)  # fmt: skip
def test_columns_of_a_second_file(tmp_path, text, names, strands, summits, note):
    read = read_bed(write(tmp_path / "a.bed", text))
    assert fields_of(read.rows, "name") == list(names)
    assert fields_of(read.rows, "strand") == list(strands)
    assert fields_of(read.rows, "summit") == summits
    assert read.notes == (f"a.bed: {note}",)


@needs_bedtools
@pytest.mark.parametrize(
    "command",
    ["intersect -wo", "intersect -wao", "intersect -loj", "intersect -wa -wb", "closest -d",
     "closest -D a", "window -w 5"],
)  # fmt: skip
@pytest.mark.parametrize("first", ["bed3", "bed4", "bed6", "broadPeak", "narrowPeak"])
def test_what_bedtools_joins_is_the_first_file(tmp_path, command, first):
    row = [("1", "0", "100", "a", "5", "+", "3.5", "2", "1", "40"),
           ("1", "200", "300", "b", "5", "-", "4", "5.5", "-1", "60"),
           ("2", "0", "50", "c", "1", ".", "3", "2", "1", "1")]  # fmt: skip
    count = {"broadPeak": 9, "narrowPeak": 10}.get(first) or int(first[3:])
    one = write(tmp_path / "one.bed", "".join("\t".join(f[:count]) + "\n" for f in row))
    two = write(tmp_path / "two.bed", "1\t50\t150\tx\n1\t250\t280\ty\n1\t250\t290\tz\n")
    run = ["bedtools", *command.split(), "-a", one, "-b", two]
    text = subprocess.run(run, capture_output=True, check=True, text=True).stdout
    lines = [line.split("\t") for line in text.splitlines()]
    for ending in (".bed", f".{first}"):
        read = read_bed(write(tmp_path / f"both{ending}", text))
        assert [[r.chrom, str(r.start), str(r.end)] for r in read.rows] == [f[:3] for f in lines]
        assert fields_of(read.rows, "name") == ["." if count == 3 else f[3] for f in lines]
        assert fields_of(read.rows, "strand") == [
            "-" if count > 5 and f[3] == "b" else "+" for f in lines
        ]
        summits = {"a": 40, "b": 260, "c": 1}
        assert fields_of(read.rows, "summit") == [
            summits[f[3]] if count == 10 else None for f in lines
        ]
        assert read.notes[0].endswith(f"columns from {count + 1} on are of a second file")


HOMER = "# HOMER Peaks\n#PeakID\tchr\tstart\tend\tstrand\tNormalized Tag Count\n"


def test_a_bed_that_homer_made_of_its_peaks(tmp_path):
    """Its pos2bed.pl leaves the comments where they are."""
    rows = read_bed(write(tmp_path / "a.bed", HOMER + "chr1\t10\t20\tchr1-1\t9\t-\n")).rows
    assert [tuple(row) for row in rows] == [(3, "chr1", 10, 20, "chr1-1", "-", None, "")]


COUNTS = "name it .narrowPeak if column 10 is the summit, else keep the columns of a BED"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        # columns
        ("a.bed", "chr1\t0\t5\nchr1 0 5\n", "line 2: its columns are parted by spaces, those of"),
        ("a.bed", "\nchr1 0 5\nchr1\t0\t5\n", "line 3: .* by tabs, those of line 2 by spaces"),
        ("a.bed", "chr1 0\t5\n", "line 1: want chrom, start, end .* parted by tabs, not"),
        ("a.bed", "chr1\t0\t5\na\t0\t5\tb\n", "line 2: 4 columns, but line 1 has 3"),
        ("a.bed", "chr1\t0\t5\t\nchr1\t0\t5\n", "line 2: 3 columns, but line 1 has 4"),
        ("a.bed", "chr1 0 5 a b\nchr1 0 5 a\n", "line 2: 4 columns, but line 1 has 5"),
        ("a.bed", "\t0\t5\n", "line 1: want chrom, start, end"),
        ("a.bed", "chr1\t0\n", "line 1: want chrom, start, end"),
        ("a.bed", "chr1\t0\t5\ntrackers\tof\tthings\n", "line 2: want chrom, start, end"),
        # positions
        ("a.bed", "chr1\t0\t5\nchr1\t1e+06\t1000100\n", r"line 2: position 1e\+06: want digits"),
        ("a.bed", "chr1\t1,000\t2,000\n", "line 1: position 1,000: want digits"),
        ("a.bed", "chr1\t1_000\t2000\n", "line 1: position 1_000: want digits"),
        ("a.bed", "chr1\t100.0\t200.0\n", r"line 1: position 100\.0: want digits"),
        ("a.bed", "chr1\t5\t5\n", "line 1: chr1:5-5: want 0 <= start < end"),
        ("a.bed", "chr1\t-1\t5\n", "line 1: chr1:-1-5: want 0 <= start < end"),
        ("a.bed", "chr1\t5\t" + "9" * 30, "line 1: want chrom, start, end"),
        # other formats
        ("a.bed", "chrom\tstart\tend\nchr1\t0\t5\n", "line 1: names of columns: put # before"),
        ("a.bed", "\tchrom\tstart\tend\n0\tchr1\t0\t5\n", "line 1: names of columns"),
        ("a.bed", '"seqnames"\t"start"\t"end"\t"width"\t"strand"\n', "table of R's or MACS's"),
        ("a.bed", "chr\tstart\tend\tlength\tabs_summit\tpileup\n", "give MACS's .narrowPeak"),
        ("a.bed", "# This file is generated by MACS version 2\n", "line 1: MACS's table, 1-based"),
        ("a.bed", "chr1\t11\t20\t10\t15\nchr1\t31\t50\t20\t40\n", r"column 4 is end - start \+ 1"),
        (
            "a.bed",
            HOMER + "chr1-1\tchr1\t11\t20\t+\t9.5\n",
            "line 3: .* HOMER's peaks, 1-based: its pos2bed.pl",
        ),
        ("a.bed", HOMER + "1-1\t1\t11\t20\t+\t9.5\n", "line 3: a strand in column 5"),
        ("a.bed", "chr1-1\tchr1\t11\t20\t+\n", "perhaps HOMER's peaks"),
        ("a.bed", "1-1\t1\t11\t20\t+\n", "line 1: a strand in column 5"),
        ("a.bed", "chr1\tHAVANA\tgene\t11\t20\t.\t+\t.\tgene_id 1\n", "line 1: a GFF or GTF"),
        ("a.bed", "##gff-version 3\n", "line 1: a GFF"),
        ("a.bed", "##fileformat=VCFv4.2\n1\t925952\t1019397\tG\tA\t.\t.\t.\n", "line 1: a VCF"),
        ("a.bed", "chr1\t925952\trs1\tG\tA\t.\t.\t.\n", "line 1: a VCF"),
        ("a.bed", "#bin\tchrom\tchromStart\tchromEnd\n585\tchr1\t0\t5\n", "UCSC's .* cut -f2-"),
        ("a.bed", '"chr1"\t0\t5\n', "line 1: quotes around words: want none"),
        ("a.bed", '"1"\t"chr1"\t0\t5\n', "line 1: quotes .* row.names = FALSE"),
        ("a.bed", "@SQ\tSN:chr1\tLN:100\n", "line 1: a SAM"),
        ("a.bed", "r1\t0\tchr1\t11\t60\t5M\t*\t0\t0\tACGTA\tIIIII\n", "line 1: a SAM"),
        ("a.bed", "fixedStep chrom=chr3 start=400601 step=100\n11\n", "line 1: a WIG"),
        # strands
        ("a.bed", "chr1\t0\t5\ta\t0\t+\nchr1\t0\t5\ta\t0\t1\n", "line 2: column 6 is '1'"),
        ("a.bed", "chr1\t0\t5\t-\nchr1\t0\t5\t+\n", "line 1: a strand in column 4"),
        ("a.bed", "chr1\t0\t5\t.\nchr1\t0\t5\t+\n", "line 1: a strand in column 4"),
        ("a.bed", "chr1\t0\t5\ta\t*\nchr1\t0\t5\tb\t-\n", "line 1: a strand in column 5"),
        # bedtools merge -c 4,6 -o collapse,distinct
        ("a.bed", "chr1\t0\t5\ta\t+\nchr1\t7\t9\tb,c\t+,-\n", "line 1: a strand in column 5"),
        (
            "a.bed",  # printed in https://github.com/nboley/idr/issues/9
            "chr1\t84274822\t84276079\t.\t130.52803\t84274772\t84275909\t.\t108.03337"
            "\t0.00000\t0.00000\t.\n",
            "line 1: IDR's old output",
        ),
        # kinds
        ("a.narrowPeak", BROAD, "line 1: 9 columns, but a narrowPeak has 10 or more"),
        ("a.bed", "track type=narrowPeak\n" + BROAD, "line 2: 9 columns, but a narrowPeak has 10"),
        ("a.broadPeak", "chr1\t0\t5\n", "line 1: 3 columns, but a broadPeak has 9 or more"),
        ("a.gappedPeak", BED12, "line 1: 12 columns, but a gappedPeak has 15 or more"),
        ("a.bedgraph", "chr1\t0\t5\ta\t0\n", "line 1: 5 columns, but a bedGraph has 4"),
        ("a.bedgraph", "chr1\t0\t5\t1\nchr1\t5\t9\ta\n", "line 2: column 4 is 'a', but a bedGraph"),
        ("a.bed6", "chr1\t0\t5\ta\n", "line 1: 4 columns, but a BED6 has 6"),
        ("a.narrowPeak", WO, "line 1: 6 columns, but a narrowPeak has 10 or more"),
        ("a.narrowPeak", MACS.replace("22.0161", "x"), "line 2: column 7 is 'x', but a narrowPeak"),
        ("a.narrowPeak", MACS.replace("22.0161", "2_2"), "line 2: column 7 is '2_2'"),
        ("a.narrowPeak", MACS.replace("395\n", "629\n"), "line 2: .* summit 629 .* want 0 to 628"),
        ("a.narrowPeak", MACS.replace("395\n", "395.0\n"), "line 2: .* summit 395.0 in column 10"),
        ("a.narrowPeak", MACS.replace("395\n", "-2\n"), "line 2: .* summit -2 in column 10"),
        # a narrowPeak, or not?
        ("a.bed", MACS.replace("395\n", "629\n"), f"line 2: .* summit 629 .*{COUNTS}"),
        ("a.bed", MACS.replace("395\n", "395.0\n"), f"line 2: .*{COUNTS}"),
        ("a.bed", MACS.replace("13.0466", "-3.0466"), f"line 1: column 7, 8 or 9 is.*{COUNTS}"),
        ("a.bed", "chr1\t0\t50\ta\t0\t+\t3\t4\t5\t6\n", f"line 1: columns 7 to 10 could.*{COUNTS}"),
        ("a.bed", "chr1\t0\t50\ta\t0\t+\t3.5\t4\t5\t2\n", f"line 1: column 10 could be.*{COUNTS}"),
        (  # bedtools multicov of a broadPeak: on average 1/8 of the interval
            "a.bed",
            "chr1\t0\t800\ta\t0\t.\t3.5\t4\t5\t200\n" + "chr1\t900\t1700\tb\t0\t.\t3.5\t4\t5\t0\n",
            f"line 1: column 10 could be a count.*{COUNTS}",
        ),
        (  # bedtools nuc of a BED6: shares of AT and GC, counts of A and C
            "a.bed",
            "chr1\t0\t20\ta\t0\t+\t0.450000\t0.550000\t5\t6\t5\t4\t0\t0\t20\n",
            f"line 1: columns 7 and 8 could be shares of bases.*{COUNTS}",
        ),
        ("a.bed", "# none\n", "a.bed: no intervals in it"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_its_line(tmp_path, name, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read_bed(write(tmp_path / name, text))
    assert str(caught.value).startswith(str(tmp_path / name)) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "columns"),
    [
        ("a.narrowPeak", IDR, {"score": 5, "signalValue": 7, "PVALUE": 8, "qValue": 9, "12": 12}),
        ("a.bed", MACS, {"score": 5, "signalvalue": 7, "pValue": 8, "qValue": 9, "10": 10}),
        ("a.broadPeak", BROAD, {"score": 5, "signalValue": 7, "pValue": 8, "qValue": 9}),
        ("a.gappedPeak", GAPPED, {"score": 5, "signalValue": 13, "pValue": 14, "qValue": 15}),
        ("a.bedGraph", "chr1\t0\t5\t1.5\n", {"value": 4, "4": 4}),
        ("a.bed", "my chr\t0\t5\tmy name\t3\t-\t0.5", {"score": 5, "7": 7, "2": 2, "1": 1}),
        ("a.bed", WO, {"score": 5, "10": 10}),
    ],
)
def test_columns_of_labels_follow_the_kind(tmp_path, name, text, columns):
    path = write(tmp_path / name, text)
    for label_column, number in columns.items():
        expected = [line.split("\t")[number - 1] for line in text.splitlines()]
        assert fields_of(read_bed(path, label_column).rows, "label") == expected


@pytest.mark.parametrize(
    ("name", "text", "label_column", "message"),
    [
        ("a.bed", BROAD, "signalValue", "a number from 1 to 9, or, of a BED, score"),
        ("a.bedgraph", "chr1\t0\t5\t1\n", "score", "from 1 to 4, or, of a bedGraph, value"),
        ("a.narrowPeak", MACS, "value", "of a narrowPeak, score or signalValue or pValue or qVal"),
        ("a.bed", "chr1\t0\t5\n", "score", "label_column score: column 5 of its 3"),
        ("a.bed", BED3_WB, "score", "label_column score: column 5 of its 3"),
        ("a.bed", "chr1\t0\t5\n", "4", "label_column 4: column 4 of its 3"),
    ],
)
def test_no_such_column_of_labels(tmp_path, name, text, label_column, message):
    with pytest.raises(InputError, match=message.replace("a number", "a column's number")):
        read_bed(write(tmp_path / name, text), label_column)


# ---- windows ----


@pytest.fixture
def genome(tmp_path):
    return write(tmp_path / "hg.fa", f">chr1\n{LETTERS}\n")


# The summits are bases 12 (C), 20 (A) and 31 (A, of which the other strand has T).
PEAKS = (
    "chr1\t10\t15\tp\t0\t+\t1.5\t1\t1\t2\n"
    "chr1\t17\t25\tm\t0\t-\t1.5\t1\t1\t3\n"
    "chr1\t29\t35\tn\t0\t.\t1.5\t1\t1\t2\n"
)
WINDOWS = {  # by length: LETTERS[s:e] of (10, 14), (18, 22), (29, 33); the second backwards
    4: ["TTCC", "ATCG", "TAAC"],
    5: ["TTCCG", "AATCG", "TAACC"],
}
STARTS = {4: [10, 18, 29], 5: [10, 18, 29]}
SUMMITS = {4: [2, 1, 2], 5: [2, 2, 2]}  # the same base of the genome on either strand


@pytest.mark.parametrize("length", [4, 5])
def test_where_the_summit_is_on_either_strand(genome, tmp_path, length):
    peaks = write(tmp_path / "a.narrowPeak", PEAKS)
    read = data.load((peaks, genome), length=length)
    assert [sequences.decode(codes) for codes in read.codes] == WINDOWS[length]
    assert read.intervals.start.tolist() == STARTS[length]
    assert read.summits.tolist() == SUMMITS[length]
    bases = [window[at] for window, at in zip(WINDOWS[length], SUMMITS[length], strict=True)]
    assert bases == ["C", "T", "A"]
    assert [LETTERS[at] for at in (12, 20, 31)] == ["C", "A", "A"]
    flanked = data.load((peaks, genome), length=length, flank=3)
    assert flanked.summits.tolist() == [at + 3 for at in SUMMITS[length]]


@needs_bedtools
@pytest.mark.parametrize("length", [1, 4, 5, 8, 9])
def test_windows_are_those_of_bedtools(genome, tmp_path, length):
    """Each summit as 1 bp, ``slop`` to either side of it, ``getfasta -s``."""
    peaks = write(tmp_path / "a.narrowPeak", PEAKS)
    summits = write(
        tmp_path / "s.bed",
        "chr1\t12\t13\tp\t0\t+\nchr1\t20\t21\tm\t0\t-\nchr1\t31\t32\tn\t0\t.\n",
    )
    sizes = write(tmp_path / "sizes", f"chr1\t{len(LETTERS)}\n")
    sides = ["-l", str(length // 2), "-r", str((length - 1) // 2)]
    slop = subprocess.run(
        ["bedtools", "slop", "-i", summits, "-g", sizes, *sides],
        capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip
    fasta = subprocess.run(
        ["bedtools", "getfasta", "-s", "-fi", genome, "-bed", write(tmp_path / "w.bed", slop)],
        capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip
    read = data.load((peaks, genome), length=length)
    assert [sequences.decode(codes) for codes in read.codes] == fasta.splitlines()[1::2]
    assert read.intervals.start.tolist() == [int(row.split("\t")[1]) for row in slop.splitlines()]
    as_bed = data.load((write(tmp_path / "a_summits.bed", summits.read_text()), genome),
                       length=length)  # fmt: skip
    assert np.array_equal(as_bed.codes, read.codes)
    assert as_bed.summits.tolist() == read.summits.tolist()


def test_notes_of_both_files(genome, tmp_path):
    bound = write(tmp_path / "bound.narrowPeak", PEAKS)
    unbound = write(tmp_path / "unbound.bed", "chr1\t3\t9\ta\t0\t+\tchr1\t5\t12\t4\n")
    read = data.load((bound, unbound, genome), length=4)
    assert read.notes == (
        "bound.narrowPeak: narrowPeak, summits from column 10",
        "unbound.bed: columns from 7 on are of a second file",
    )
    assert read.summits is None
    assert sequences.decode(read.codes[3]) == LETTERS[4:8]


@pytest.mark.parametrize(
    "name",
    ["a.bed", "a.BED", "a.Bed.gz", "a.BED.GZ", "a.bed.bgz", "a.bed.txt", "a.bed.txt.gz", "a.bed3",
     "a.b.bed3.gz"],
)  # fmt: skip
@pytest.mark.parametrize("fasta", ["hg.fa", "HG.FA", "hg.FASTA"])
def test_endings_of_bed_files(genome, tmp_path, name, fasta):
    other = write(tmp_path / fasta, genome.read_text())
    read = data.load(f"{write(tmp_path / name, 'chr1 3 9')},{other}")
    assert sequences.decode(read.codes[0]) == LETTERS[3:9]
    with pytest.raises(InputError, match="a BED has no sequences"):
        data.load(tmp_path / name)


@pytest.mark.parametrize("ending", [".narrowPeak", ".NARROWPEAK.GZ", ".regionPeak.gz"])
def test_endings_of_peaks(genome, tmp_path, ending):
    read = data.load((write(tmp_path / f"a{ending}", PEAKS), genome), length=4)
    assert read.summits.tolist() == SUMMITS[4]


@pytest.mark.parametrize(
    "name",
    [
        "a.fa",
        "a.FA",
        "a.FA.GZ",
        "a.fa.bgz",
        "a.fasta.gz",
        "a.fna.BGZ",
        "a.fas",
        "a.ffn",
        "a.fa.txt",
    ],
)
def test_endings_of_sequences(tmp_path, name):
    read = data.load(write(tmp_path / name, ">a\nACGT\n>b\nACGG\n"))
    assert [sequences.decode(codes) for codes in read.codes] == ["ACGT", "ACGG"]


@pytest.mark.parametrize(
    "name", ["TEST.CSV", "Test.csv", "test.CSV.GZ", "test.csv.bgz", "test.csv.txt"]
)
def test_endings_of_tables(tmp_path, name):
    write(tmp_path / name, "sequence,label\nACGT,1\nACGG,0\n")
    for path in (tmp_path, tmp_path / name):
        read = data.load(path)
        assert [sequences.decode(codes) for codes in read.codes] == ["ACGT", "ACGG"]


@pytest.mark.parametrize("name", ["a.npz", "A.NPZ"])
def test_endings_of_arrays(tmp_path, name):
    x = np.eye(4, dtype=np.uint8)[[[0, 1, 2, 3], [0, 1, 2, 2]]]
    with (tmp_path / name).open("wb") as file:
        np.savez(file, x, np.eye(2), x, np.eye(2))
    for path in (tmp_path, tmp_path / name):
        read = data.load(path)
        assert [sequences.decode(codes) for codes in read.codes] == ["ACGT", "ACGG"]


def test_a_txt_alone_is_unknown(tmp_path):
    with pytest.raises(InputError, match="do not know this kind of file"):
        data.load(write(tmp_path / "a.txt", "chr1 3 9"))


def test_a_bed_of_another_name(genome, tmp_path):
    other = write(tmp_path / "a.bb", "chr1\t3\t9\n")
    message = (
        f"^{other},{genome}: length is for BED files \\(.bed, .narrowPeak and the like\\) with"
    )
    with pytest.raises(InputError, match=message):
        data.load((other, genome), length=5)
