"""Spans that must stay inside the window."""

import numpy as np
import pytest
from Bio import motifs
from Bio.Seq import Seq

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
