"""Spans that must stay inside the window."""

from fractions import Fraction
from math import prod

import numpy as np
import pytest
from Bio import motifs
from Bio.Seq import Seq
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tfbs_shift import InputError, data, sequences
from tfbs_shift.data.genomes import read_windows
from tfbs_shift.data.matrices import read_matrices, read_matrix
from tfbs_shift.data.protecting import best_hits, protected_spans
from tfbs_shift.windows import WindowRange


def examples(codes, summits=None):
    labels = np.eye(2, dtype="u1")[[1] * len(codes)]
    return data.Examples(np.asarray(codes, "u1"), labels, source="here", summits=summits)


def test_best_hits_equal_biopythons_scan(rng):
    """Each place on both strands, scored by Biopython's own PSSM on letters."""
    motif = read_matrix("SP1")
    codes = rng.integers(0, 4, (40, 60))
    pssm = motif.counts.normalize(pseudocounts=0.8).log_odds()
    width = len(motif)
    for bound in (None, 5, 0):
        windows = WindowRange(60, 40, bound)
        found = best_hits(codes, motif, windows)
        for row, (start, end) in zip(codes, found, strict=True):
            assert end - start == width
            text = Seq(sequences.decode(row))
            both = np.maximum(pssm.calculate(text), pssm.reverse_complement().calculate(text))
            held = slice(windows.first, windows.last + windows.window - width + 1)
            assert both[start] == pytest.approx(both[held].max(), abs=1e-4)
        assert windows.keeping(found).any(axis=1).all()


@pytest.mark.parametrize("name", ["SP1", "MAFK", "ZNF143"])
def test_best_hits_equal_those_of_moods(name, rng):
    moods = pytest.importorskip("MOODS")
    from MOODS import scan, tools

    assert moods
    motif = read_matrix(name)
    table = [motif.counts[base] for base in "ACGT"]
    shares = tools.flat_bg(4)
    both = [tools.log_odds(one, shares, 3.2) for one in (table, tools.reverse_complement(table))]
    codes = rng.integers(0, 4, (40, 60))
    found = best_hits(codes, motif, WindowRange(60, 40))
    for row, (start, _) in zip(codes, found, strict=True):
        hits = scan.scan_dna(sequences.decode(row), both, shares, [-1e3, -1e3], 7)
        scores = np.max([[hit.score for hit in strand] for strand in hits], axis=0)
        assert len(scores) == 60 - len(motif) + 1
        assert scores[start] == pytest.approx(scores.max(), abs=1e-9)


def motif_of(table):
    counts = {base: [int(row[k]) for row in table] for k, base in enumerate("ACGT")}
    motif = motifs.jaspar.Motif("M1", "m", counts=counts)
    motif.pseudocounts = 0.8
    return motif


@given(
    arrays(int, st.tuples(st.integers(1, 4), st.just(4)), elements=st.sampled_from([0, 1, 3, 9])),
    arrays(np.uint8, st.tuples(st.just(3), st.integers(4, 30)), elements=st.sampled_from(range(5))),
    st.data(),
)
def test_the_first_of_equal_hits(table, codes, choose):
    """Against products of fractions, which are exact, at every place and on both strands."""
    length = codes.shape[1]
    window = choose.draw(st.integers(len(table), length))
    windows = WindowRange(length, window, choose.draw(st.integers(0, (length - window + 1) // 2)))
    first, end = windows.first, windows.last + window - len(table) + 1
    weights = [
        [Fraction(5 * int(count) + 4, 5 * int(sum(row)) + 16) for count in row] for row in table
    ]
    for row, (at, _) in zip(codes, best_hits(codes, motif_of(table), windows), strict=True):
        scores = []
        for place in range(first, end):
            site = row[place : place + len(table)]
            other = 3 - site[::-1].astype(int)
            scores.append(
                0
                if (site > 3).any()
                else max(
                    prod(one[base] for one, base in zip(weights, strand, strict=True))
                    for strand in (site, other)
                )
            )
        best = scores.index(max(scores)) if any(scores) else (end - first - 1) // 2
        assert at == first + best


def test_a_site_and_its_other_strand_are_equal_hits(rng):
    """Of every matrix: whichever comes first, however the sums of both are rounded."""
    for _ in range(50):
        table = rng.integers(0, 2000, (12, 4))
        site = rng.integers(0, 4, 12)
        other = sequences.reverse_complement_codes(site)
        gap = np.full(20, sequences.UNKNOWN)
        for pair in ((site, other), (other, site)):
            codes = np.concatenate([gap, pair[0], gap, pair[1], gap])[None]
            assert best_hits(codes, motif_of(table), WindowRange(84, 84)).tolist() == [[20, 32]]


@pytest.mark.parametrize("strand", "+-")
@pytest.mark.parametrize("place", [0, 23, 49])
def test_a_planted_site_is_found(strand, place):
    motif = read_matrix("SP1")
    site = sequences.encode(str(motif.consensus))
    codes = np.zeros((1, 60), int)
    planted = sequences.reverse_complement_codes(site) if strand == "-" else site
    codes[0, place : place + len(site)] = planted
    found = best_hits(codes, motif, WindowRange(60, 40))
    assert found.tolist() == [[place, place + len(site)]]


def test_unknown_bases_hide_a_site():
    motif = read_matrix("SP1")
    codes = np.full((2, 60), sequences.UNKNOWN)
    codes[1, 30:41] = sequences.encode(str(motif.consensus))
    found = best_hits(codes, motif, WindowRange(60, 40))
    assert found.tolist() == [[24, 35], [30, 41]]  # nothing known: the middle


def test_summits_of_narrowpeaks_on_both_strands(tmp_path):
    genome = tmp_path / "g.fa"
    rng = np.random.default_rng(0)
    genome.write_text(">chr1\n" + sequences.decode(rng.integers(0, 4, 400)) + "\n")
    bed = tmp_path / "peaks.narrowPeak"
    rows = [(100, 160, "+", 10), (200, 260, "-", 10)]
    bed.write_text(
        "".join(f"chr1\t{a}\t{b}\tp{a}\t0\t{s}\t1\t1\t1\t{at}\n" for a, b, s, at in rows)
    )
    part = read_windows([bed], genome)
    assert part.summits.tolist() == [10, 60 - 1 - 10]
    assert part.rows([1]).summits.tolist() == [49]
    windows = WindowRange(60, 50)
    assert protected_spans(part, "summit", windows).tolist() == [[10, 11], [49, 50]]
    assert protected_spans(part, "summit:12", windows).tolist() == [[0, 23], [37, 60]]
    centred = read_windows([bed], genome, length=41, flank=5)
    assert centred.summits.tolist() == [25, 25]
    plain = tmp_path / "plain.bed"
    plain.write_text("chr1\t100\t160\n")
    with pytest.raises(InputError, match="has no summits"):
        protected_spans(read_windows([plain], genome), "summit", windows)


def test_given_bases():
    windows = WindowRange(30, 20)
    assert protected_spans(examples(np.zeros((2, 30))), "12-18", windows).tolist() == [[12, 18]] * 2


@pytest.mark.parametrize(
    ("what", "motif", "message"),
    [
        ("motif", None, "which matrix"),
        ("motif", "CTCF", "no such matrix in the matrices of the package; it has SP1"),
        ("motif", "/nowhere.jaspar:SP1", "/nowhere.jaspar: no such file"),
        ("summit", "SP1", "motif SP1: only with protect motif"),
        ("peak", None, "protect 'peak': want summit, summit:K, motif or START-END"),
        ("5", None, "want summit"),
        ("summit", None, "here has no summits"),
    ],
)
def test_mistakes(what, motif, message):
    with pytest.raises(InputError, match=message):
        protected_spans(examples(np.zeros((2, 30))), what, WindowRange(30, 20), motif=motif)


def test_a_matrix_longer_than_the_window():
    with pytest.raises(InputError, match="11 bp, longer than the window 10"):
        best_hits(np.zeros((1, 30), int), read_matrix("SP1"), WindowRange(30, 10))


def test_matrices_of_a_file(tmp_path):
    file = tmp_path / "two.jaspar"
    rows = "A [ 9 0 ]\nC [ 0 9 ]\nG [ 0 0 ]\nT [ 1 1 ]\n"
    file.write_text(f">M1 one\n{rows}>M2 two\n{rows}")
    assert isinstance(read_matrix(f"{file}:two"), motifs.jaspar.Motif)
    assert read_matrix(f"{file}:M1").name == "one"
    assert [motif.matrix_id for motif in read_matrices(file)] == ["M1", "M2"]
    with pytest.raises(InputError, match=r"several such matrices in .*one \(M1\), two \(M2\)"):
        read_matrix(str(file))
    file.write_text("no matrix")
    with pytest.raises(InputError, match=r"two\.jaspar"):
        read_matrix(str(file))
