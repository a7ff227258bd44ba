"""Motif files of each format, and what goes wrong in them."""

import gzip
import io

import numpy as np
import pytest
from Bio import motifs

from tfbs_shift import InputError
from tfbs_shift.commands import command_and_flags
from tfbs_shift.data.matrices import as_table, read_matrices, read_matrix
from tfbs_shift.data.motif_files import FORMATS

COUNTS = [[4, 16, 0, 0], [19, 0, 1, 0], [0, 20, 0, 0], [0, 0, 20, 0], [0, 0, 0, 20], [0, 0, 20, 0]]
"""Arnt, MA0004.1 of JASPAR: positions of A, C, G, T, of 20 sites each."""
SHARES = [[count / 20 for count in row] for row in COUNTS]


def rows(table, form="{:g}", between=" "):
    """Lines of numbers."""
    return ["" + between.join(form.format(number) for number in row) for row in table]


def joined(*lines):
    return "\n".join(lines) + "\n"


BASES = rows(np.transpose(COUNTS))
POSITIONS = rows(COUNTS)
PROBABILITIES = rows(SHARES, "{:.6f}", "\t")
NUMBERED = [f"{i + 1:02d}  {row}" for i, row in enumerate(POSITIONS)]
MEME = "MEME version 4\n\nALPHABET= ACGT\n\nstrands: + -\n\nMOTIF MA0004.1 Arnt\n"
MATRIX = "letter-probability matrix: alength= 4 w= 6 nsites= 20 E= 0\n"

OF_COUNTS = {
    "jaspar": joined(">MA0004.1 Arnt", *map("{} [ {} ]".format, "ACGT", BASES)),
    "jaspar, tab, tight": joined(">MA0004.1\tArnt", *map("{}  [{}]".format, "ACGT", BASES)),
    "jaspar, other order": joined(
        ">MA0004.1 Arnt", *map("{} [ {} ]".format, "TGCA", reversed(BASES))
    ),
    "jaspar, blank lines": "\n\n".join([">MA0004.1 Arnt", *map("{} [{}]".format, "ACGT", BASES)]),
    "pfm": joined(">MA0004.1 Arnt", *BASES),
    "old jaspar": joined(*map("{} | {}".format, "ACGT", BASES)),
    "lower case": joined(*map("{} {}".format, "acgt", BASES)),
    "rows": joined(*BASES),
    "columns": joined(*POSITIONS),
    "columns, titled": joined("Arnt", *POSITIONS),
    "header": joined("T\tC\tG\tA", *rows([[t, c, g, a] for a, c, g, t in COUNTS])),
    "cluster-buster": joined(">MA0004.1 Arnt", "# WEIGHT: 5", "# GAP: 3", *POSITIONS),
    "numbered": joined("PO A C G T", *NUMBERED),
    "numbered, no header": joined(*NUMBERED),
    "pandas": joined("\tA\tC\tG\tT", *(f"{i}\t{row}" for i, row in enumerate(POSITIONS))),
    "hocomoco": joined("> Arnt", *rows(np.array(COUNTS) * 1.5, "{:.2f}", "\t")),
    "transfac": joined(
        "VV  x", "XX", "//", "AC  MA0004.1", "XX", "ID  V$ARNT_01", "NA  Arnt",
        "DE  MA0004.1 Arnt ; From JASPAR", "P0      A      C      G      T",
        *(f"{row}      N" for row in NUMBERED), "XX", "CC  sites: 20", "XX", "//",
    ),
    "transfac, jaspar's": joined(
        "AC MA0004.1", "XX", "ID Arnt", "XX", "PO\tA\tC\tG\tT", *NUMBERED, "XX", "//"
    ),
    "transfac, rsat's": joined("AC  Arnt", "XX", "P0  A  G  C  T", *(
        f"{i + 1} {a} {g} {c} {t}" for i, (a, c, g, t) in enumerate(COUNTS)
    )),
    "transfac, swissregulon's": joined(
        "//", "NA Arnt", "PO\tA\tC\tG\tT\tcons\tinf", *(f"{row} N 1.5" for row in NUMBERED), "//"
    ),
}  # fmt: skip

OF_SHARES = {
    "meme": MEME + MATRIX + joined(*PROBABILITIES),
    "meme, alphabet": MEME.replace(
        "ALPHABET= ACGT", 'ALPHABET "DNA" DNA-LIKE\nA "Adenine" CC0000 ~ T "T" 008000\nEND ALPHABET'
    )
    + MATRIX
    + joined("", *PROBABILITIES, "URL http://x"),
    "meme, full": joined(
        "*****", "MEME - Motif discovery tool", "*****", "MEME version 5.5.0 (Release date: x)",
        "ALPHABET= ACGT", "MOTIF CACGTG MEME-1\twidth =   6  sites =  20  llr = 1  E-value = 1",
        "\tMotif CACGTG MEME-1 Description", "Simplified  A  :a:::",
        "\tMotif CACGTG MEME-1 position-specific scoring matrix", "------",
        "log-odds matrix: alength= 4 w= 6 n= 1658 bayes= 5.8 E= 2", *rows(np.array(COUNTS) - 10),
        "------", "\tMotif CACGTG MEME-1 position-specific probability matrix", "------",
        MATRIX.strip(), *PROBABILITIES, "------",
    ),
    "meme, several": MEME + MATRIX.replace("20", "20.0") + joined(
        *PROBABILITIES, "", "MOTIF 2 listed", "", "MOTIF 3 other", MATRIX.strip(), *PROBABILITIES
    ),
}  # fmt: skip

OF_SHARES_ALONE = {
    "meme, bare": MEME + "letter-probability matrix:\n" + joined(*PROBABILITIES),
    "homer": joined(
        ">CACGTG\tArnt(bHLH)/HeLa\t6.05\t-17.8\t0\tT:9.0(1%),B:2.0(0%),P:1e-9", *PROBABILITIES
    ),
    "cis-bp": joined(
        "TF\tT000001_1.02", "TF Name\tArnt", "Gene\tENSG00000143437", "Motif\tM0001_1.02",
        "Family\tbHLH", "Species\tHomo_sapiens", "Pos\tA\tC\tG\tT",
        *(f"{i + 1}\t{row}" for i, row in enumerate(PROBABILITIES)), "",
    ),
    "encode": joined(
        ">Arnt_disc1 Arnt", *(f"{c} {row}" for c, row in zip("CACGTG", PROBABILITIES, strict=True))
    ),
    "uniprobe": joined(
        "Protein: Arnt", "", *map("{}:\t{}".format, "ACGT", rows(np.transpose(SHARES)))
    ),
    "jaspar with probabilities": joined(
        ">MA0004.1 Arnt", *map("{} [ {} ]".format, "ACGT", rows(np.transpose(SHARES), "{:.2f}"))
    ),
}  # fmt: skip


def write(tmp_path, text, name="a.txt"):
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("form", OF_COUNTS)
def test_counts(tmp_path, form):
    """Every way to write the same counts is the same motif, with 0.8 to be added to each base."""
    motif = read_matrices(write(tmp_path, OF_COUNTS[form]))[0]
    scale = 1.5 if form == "hocomoco" else 1
    assert as_table(motif.counts).tolist() == (np.array(COUNTS) * scale).tolist()
    assert motif.pseudocounts == dict.fromkeys("ACGT", 0.8)
    assert motif.comment == f"6 bp, counts of {20 * scale:g} sites"
    assert motif.name == ("Arnt" if "Arnt" in OF_COUNTS[form] else "a")
    assert motif.matrix_id == ("MA0004.1" if "MA0004.1" in OF_COUNTS[form] else motif.name)


@pytest.mark.parametrize("form", OF_SHARES)
def test_probabilities_of_known_sites(tmp_path, form):
    """As many counts as there were sites: the same motif as that of the counts."""
    motif = read_matrices(write(tmp_path, OF_SHARES[form]))[0]
    assert as_table(motif.counts) == pytest.approx(np.array(COUNTS), abs=1e-4)
    assert motif.pseudocounts == dict.fromkeys("ACGT", 0.8)
    assert motif.comment == "6 bp, probabilities, of 20 sites"


@pytest.mark.parametrize("form", OF_SHARES_ALONE)
def test_probabilities_alone(tmp_path, form):
    """FIMO's and MEME's own: (20 p + 0.025) / 20.1."""
    motif = read_matrices(write(tmp_path, OF_SHARES_ALONE[form]))[0]
    shares = as_table(motif.counts.normalize(motif.pseudocounts))
    assert shares == pytest.approx((20 * np.array(SHARES) + 0.025) / 20.1, abs=1e-6)
    assert shares.min() == pytest.approx(0.0012438, abs=1e-6)
    assert motif.comment == "6 bp, probabilities, of 20 sites (the file does not say of how many)"


@pytest.mark.parametrize(
    ("form", "theirs"),
    [
        ("jaspar", "jaspar"), ("jaspar, tab, tight", "jaspar"), ("pfm", "jaspar"), ("rows", "pfm"),
        ("jaspar, other order", "jaspar"), ("cluster-buster", "clusterbuster"),
        ("columns", "pfm-four-columns"), ("header", "pfm-four-columns"),
        ("hocomoco", "pfm-four-columns"), ("old jaspar", "pfm-four-rows"),
        ("lower case", "pfm-four-rows"), ("transfac", "transfac"), ("cis-bp", "pfm-four-columns"),
        ("homer", "pfm-four-columns"),
    ],
)  # fmt: skip
def test_as_biopython_reads_it(tmp_path, form, theirs):
    text = {**OF_COUNTS, **OF_SHARES_ALONE}[form]
    (mine,) = read_matrices(write(tmp_path, text))
    known = motifs.parse(io.StringIO(text), theirs)[0].counts
    theirs = np.array([known[base] for base in "ACGT"]).T
    assert mine.counts.normalize() == motifs.matrix.PositionWeightMatrix("ACGT", {
        base: (theirs / theirs.sum(axis=1, keepdims=True))[:, k].tolist()
        for k, base in enumerate("ACGT")
    })  # fmt: skip


def test_a_file_may_be_zipped_and_marked(tmp_path):
    path = tmp_path / "a.jaspar.gz"
    path.write_bytes(gzip.compress(OF_COUNTS["jaspar"].encode("utf-8-sig")))
    assert read_matrix(str(path)).matrix_id == "MA0004.1"


def test_names_in_a_file(tmp_path):
    """Names may hold colons; one as it is written comes before one in another case."""
    matrix = joined(*map("{} [ {} ]".format, "ACGT", BASES))
    names = ["MA0074.1 RXRA::VDR", "MA0088.1 znf143", "MA0088.2\tZNF143", "MA0111.1 Spz1 (var 2)"]
    path = write(tmp_path, "".join(f">{name}\n{matrix}" for name in names), "a:b.jaspar")
    for wanted, identifier in [
        ("RXRA::VDR", "MA0074.1"), ("rxra::vdr", "MA0074.1"), ("ma0074.1", "MA0074.1"),
        ("znf143", "MA0088.1"), ("ZNF143", "MA0088.2"), ("Spz1 (var 2)", "MA0111.1"),
    ]:  # fmt: skip
        assert read_matrix(f"{path}:{wanted}").matrix_id == identifier
    for wanted, message in [
        ("Znf143", r"several such matrices in .*znf143 \(MA0088.1\), ZNF143 \(MA0088.2\): name"),
        ("VDR", r"no such matrix in .*; it has RXRA::VDR \(MA0074.1\), znf143"),
    ]:
        with pytest.raises(InputError, match=message):
            read_matrix(f"{path}:{wanted}")
    for name, message in [
        ("RXRA::VDR", "no such matrix in the matrices of the package; it has SP1"),
        (f"{tmp_path}/none:RXRA::VDR", f"^{tmp_path}/none: no such file"),
        ("none.jaspar", "^none.jaspar: no such file"),
    ]:
        with pytest.raises(InputError, match=message):
            read_matrix(name)
    two = write(tmp_path, joined(*POSITIONS, "", *POSITIONS), "two.pfm")
    assert read_matrix(f"{two}:two_2").name == "two_2"


def test_transfac_has_several_names(tmp_path):
    path = write(tmp_path, OF_COUNTS["transfac"])
    assert all(read_matrix(f"{path}:{name}") for name in ("MA0004.1", "V$ARNT_01", "Arnt"))


FOUR = [[1, 2, 3, 4], [3, 2, 1, 5], [4, 1, 1, 4], [2, 2, 2, 4]]  # no equal sums
OF_ROWS = [[5, 1, 0, 2], [1, 5, 0, 2], [1, 1, 0, 2], [1, 1, 8, 2]]  # columns sum to 8


def test_four_rows_of_four_numbers(tmp_path):
    """Positions have equal sums; where that does not tell, the format must be named."""
    plain = write(tmp_path, joined(*rows(OF_ROWS)))
    assert as_table(read_matrix(str(plain)).counts).tolist() == np.transpose(OF_ROWS).tolist()
    turned = write(tmp_path, joined(*rows(np.transpose(OF_ROWS))))
    assert as_table(read_matrix(str(turned)).counts).tolist() == np.transpose(OF_ROWS).tolist()
    doubtful = write(tmp_path, joined(*rows(FOUR)))
    with pytest.raises(InputError, match="line 1: are these 4 rows those of bases or of positions"):
        read_matrix(str(doubtful))
    for named, table in [("rows", np.transpose(FOUR)), ("columns", FOUR)]:
        assert (
            as_table(read_matrix(str(doubtful), named).counts).tolist() == np.array(table).tolist()
        )
    jaspar = write(tmp_path, joined(">x", *map("{} [ {} ]".format, "ACGT", rows(FOUR))))
    assert as_table(read_matrix(str(jaspar)).counts).tolist() == np.transpose(FOUR).tolist()
    homer = write(tmp_path, joined(">ACGT\tx\t5.1", *rows(FOUR)))
    assert as_table(read_matrix(str(homer)).counts).tolist() == FOUR
    # Four bases of five positions, and four numbered positions of four bases.
    five = write(tmp_path, joined(*(f"{i + 1} {row}" for i, row in enumerate(rows(OF_ROWS)))))
    with pytest.raises(InputError, match="are these 4 rows those of bases or of positions"):
        read_matrix(str(five))
    numbered = joined(*(f"{i + 1} {row}" for i, row in enumerate(rows(np.transpose(OF_ROWS)))))
    numbered = read_matrix(str(write(tmp_path, numbered)))
    assert as_table(numbered.counts).tolist() == np.transpose(OF_ROWS).tolist()


def test_the_format_may_be_named(tmp_path):
    for named, form in [
        ("jaspar", "jaspar"), ("rows", "rows"), ("homer", "cluster-buster"), ("columns", "columns"),
        ("transfac", "transfac"), ("meme", None),
    ]:  # fmt: skip
        text = OF_COUNTS[form] if form else OF_SHARES["meme"]
        assert read_matrix(str(write(tmp_path, text)), named).length == 6
    for named, form, message in [
        ("jaspar", "columns", "6 rows of 4 numbers: want four rows, for A, C, G and T$"),
        ("homer", "rows", "4 rows of 6 numbers: want rows of four numbers, for A, C, G and T$"),
        ("meme", "jaspar", "no matrix in it"),
        ("transfac", "jaspar", "no matrix in it"),
        ("x", "jaspar", "motif_format 'x': want one of jaspar, homer, meme, transfac, rows, col"),
    ]:
        with pytest.raises(InputError, match=message):
            read_matrix(str(write(tmp_path, OF_COUNTS[form])), named)
    with pytest.raises(InputError, match="motif_format jaspar is for a file"):
        read_matrix("SP1", "jaspar")
    flag = command_and_flags("evaluate")[1]["motif_format"]
    assert tuple(flag.parser.enum_values) == FORMATS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no matrix in it: want one in the format of JASPAR, MEME, HOMER or TRANSFAC"),
        (">a b\n", "line 1: no rows of numbers below this line"),
        (">a b\nCACGTGatgtc\n", "line 1: no rows of numbers below this line"),
        ("Pos\tA\tC\tG\tT\n", "no rows of numbers below this line"),
        ("<?xml version='1.0'?>\n", "XML or HTML: want the text output"),
        (joined(">a", BASES[0], BASES[1][:-2], *BASES[2:]), "line 3: 5 numbers, but line 2 has 6"),
        (">a\n" + joined(*BASES[:3]), "line 1: 3 rows of 6 numbers: want four rows, for A"),
        (">a\n" + joined(*BASES, *BASES), "line 1: 8 rows of 6 numbers: want four rows"),
        (">a\nA [1 2]\nC [1 2]\nG [1 2]\nG [1 2]\n", r"line 1: 4 rows \(A, C, G, G\) of 2 numbers"),
        (">a\nA [1 2]\nC [1 2]\nG [1 2]\nU [1 2]\n", "line 1: RNA: want A, C, G and T; write T"),
        ("Pos A C G U\n1 1 0 0 0\n", "line 1: RNA: want A, C, G and T; write T for U"),
        (">p\n" + "1 " * 19 + "1\n", "line 1: 1 rows of 20 numbers: want four rows"),
        (">a\n" + joined(*POSITIONS).replace("16", "-16"), "line 1: motif a: numbers below 0"),
        (">a\n" + joined(*POSITIONS).replace("16", "nan"), "line 2: 'nan': want a number"),
        (">a\n" + joined(*POSITIONS).replace("16", "inf"), "line 2: 'inf': want a number"),
        (">a\n" + joined(*POSITIONS).replace("16", "1,6"), "line 2: '1,6': want a number"),
        (">a\n" + joined(*POSITIONS).replace("16", "x"), "line 2: 'x': want a number"),
        (">a\n" + joined(*POSITIONS, "the end"), "line 8: 'the end': want numbers"),
        (joined(*POSITIONS, "0 0 0 0"), "line 1: motif a: position 7 has nothing but zeros"),
        (">a\n0 0\n0 0\n0 0\n0 0\n", "line 1: motif a: position 1 has nothing but zeros"),
        (joined(*rows(SHARES[:5]), "0.5 0.4 0 0"), "motif a: position 6 sums to 0.9: want probab"),
        (joined(*rows(SHARES[:5]), "5.5 1.5 0 0"), "motif a: position 6 sums to 7: want probab"),
        ("0.5 1.5 2.5 0\n5.5 1.5 3.5 0\n1.5 0 0 0\n", "position 1 sums to 4.5: want .*, or counts"),
        (MEME + MATRIX + joined(*PROBABILITIES[:5]), "line 8: 5 rows below 'letter-probability"),
        (MEME + MATRIX + joined(*PROBABILITIES[:5], "1 0 0"), "line 14: 3 numbers, but line 9"),
        (MEME + MATRIX + joined(*rows(SHARES[:5]), "0.5 0 0 0"), "Arnt: position 6 sums to 0.5"),
        (MEME + MATRIX + joined(*POSITIONS), "Arnt: position 1 sums to 20: want .* 1$"),
        (MEME + MATRIX + joined(*PROBABILITIES[:2], "x 0 0 1"), "line 11: 'x 0 0 1': want a row"),
        (MEME + MATRIX.replace("w= 6", "w= x"), "line 8: 'x': want a number"),
        (MEME + "log-odds matrix: alength= 4 w= 1\n98 27 -77 -208\n", "line 8: log-odds: want the"),
        (MEME.replace("ACGT", "ACGU"), "line 3: 'ALPHABET= ACGU': want DNA"),
        (MEME.replace("ACGT", "ACDEFGHIKLMNPQRSTVWY"), "line 3: 'ALPHABET= ACDEF.*: want DNA"),
        (MEME.replace("= ACGT", ' "Protein" PROTEIN-LIKE'), "line 3: .*PROTEIN-LIKE': want DNA"),
        (MEME + 2 * (MATRIX + joined(*PROBABILITIES)), "line 15: a second matrix of one motif"),
        ("P0 A C G U\n01 1 0 0 0\n", "line 1: RNA"),
        ("P0 A C G\n01 1 0 0\n", "line 1: 'P0 A C G': want P0 A C G T"),
        ("P0 A C G T cons inf\n01 1 0 0 0 A\n", "line 2: .* 4 numbers, and what 'P0 A C G T cons"),
        ("\nPos A C G T\n", "line 2: no rows of numbers below this line"),  # CIS-BP has such
        ("P0 A C G T\nXX\n", "line 1: no rows of numbers below this line"),
        ("P0 A C G T\n01 1 0 0\n", "line 2: '01 1 0 0': want a position and 4 numbers"),
        ("P0 A C G T\n01 1 0 0 0 N\nx 1 0 0 0\n", "line 3: 'x 1 0 0 0': want a row of numbers"),
        ("P0 A C G T\n01 1 0 0 0\nXX\nP0 A C G T\n", "line 4: .*: want one matrix a record"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=message) as error:
        read_matrices(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
