from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tfbs_shift import InputError, sequences

dna = st.text("ACGTN", min_size=1, max_size=60)


def test_codes_by_hand():
    assert sequences.encode("ACGTacgtNn").tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 4, 4]
    assert sequences.encode("ACGT", "AGCT").tolist() == [0, 2, 1, 3]
    assert sequences.encode(["AC", "GT"]).tolist() == [[0, 1], [2, 3]]
    assert sequences.encode("RYSWKMBDHVryswkmbdhv").tolist() == [4] * 20


def test_one_hot_by_hand():
    x = sequences.one_hot(sequences.encode("GATN"))
    assert x.dtype == np.uint8
    assert x.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]


@given(dna, st.sampled_from(["ACGT", "AGCT"]))
def test_round_trips(text, alphabet):
    codes = sequences.encode(text, alphabet)
    assert sequences.decode(codes, alphabet) == text
    assert np.array_equal(sequences.from_one_hot(sequences.one_hot(codes)), codes)
    x = sequences.one_hot(codes)
    other = sequences.reorder(x, alphabet, "TGCA")
    assert sequences.decode(sequences.from_one_hot(other), "TGCA") == text


@given(dna, st.sampled_from(["ACGT", "AGCT"]))
def test_reverse_complement(text, alphabet):
    expected = text[::-1].translate(str.maketrans("ACGT", "TGCA"))
    codes = sequences.encode(text, alphabet)
    assert (
        sequences.decode(sequences.reverse_complement_codes(codes, alphabet), alphabet) == expected
    )
    x = sequences.reverse_complement(sequences.one_hot(codes), alphabet)
    assert sequences.decode(sequences.from_one_hot(x), alphabet) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("ACGU", "letter 'U' at position 4: RNA? write T for U"),
        ("AC-T", "letter '-' at position 3"),
        ("ACÄT", "letter 'Ä' at position 3"),
        (["ACG", "AC"], "sequence 2: 2 bp, but sequence 1 has 3"),
        (["ACG", "AXG"], "sequence 2: letter 'X' at position 2"),
    ],
)
def test_encode_names_what_is_wrong(given, message):
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        sequences.encode(given)


def test_not_one_hot():
    with pytest.raises(InputError, match="single 1"):
        sequences.from_one_hot(np.ones((3, 4)))
    with pytest.raises(InputError, match="single 1"):
        sequences.from_one_hot(np.full((3, 4), 0.25))
    with pytest.raises(InputError, match="shape"):
        sequences.from_one_hot(np.zeros((4, 3)))


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", ">i2", "u8", "f2", "f4", ">f8"])
def test_one_hot_of_any_type(dtype):
    codes = sequences.encode(["ACGTN", "NTGCA"])
    assert np.array_equal(sequences.from_one_hot(sequences.one_hot(codes).astype(dtype)), codes)


@pytest.mark.parametrize(
    ("dtype", "channels"),
    [
        ("i1", [-1, 1, 1, 0]), ("i1", [-1, 0, 0, 0]), ("u1", [128, 128, 0, 0]),
        ("u1", [128, 128, 1, 0]), ("u1", [255, 0, 0, 2]), ("?", [1, 0, 0, 1]),
        ("f4", [0.5, 0.5, 0, 0]), ("f8", [np.nan, 0, 0, 1]), ("f8", [np.inf, 0, 0, 0]),
        ("f8", [2, -1, 0, 0]),
    ],
)  # fmt: skip
def test_sums_of_one_are_not_one_hot(dtype, channels):
    x = sequences.one_hot(sequences.encode("ACGTN")).astype(dtype)
    x[3] = channels
    with pytest.raises(InputError, match="single 1"):
        sequences.from_one_hot(x)


def test_one_hot_is_of_numbers():
    minus_zero = np.array([[-0.0, 1.0, -0.0, -0.0]])
    assert sequences.from_one_hot(minus_zero).tolist() == [1]
    for dtype in (complex, object, "S1", "U1", "M8[s]", "m8[s]", "V8"):
        with pytest.raises(InputError, match="must hold numbers, not"):
            sequences.from_one_hot(np.zeros((3, 4)).astype(dtype))


def pairs(codes):
    return Counter(zip(codes[:-1].tolist(), codes[1:].tolist(), strict=True))


@given(st.text("ACGTN", max_size=80), st.integers(0, 99))
def test_shuffle_keeps_every_dinucleotide(text, seed):
    codes = sequences.encode(text)
    shuffled = sequences.dinucleotide_shuffle(codes, np.random.default_rng(seed))
    assert pairs(shuffled) == pairs(codes)
    assert shuffled[:1].tolist() == codes[:1].tolist()


def test_shuffle_is_uniform():
    """Every sequence with these dinucleotides, found by exhaustion, comes up equally often."""
    codes = sequences.encode("ACAGACTA")
    wanted = pairs(codes)

    def walks(path, left):
        if not left:
            yield tuple(path)
        for a, b in left:
            if a == path[-1]:
                yield from walks([*path, b], left - Counter([(a, b)]))

    possible = sorted(set(walks([int(codes[0])], wanted)))
    rng = np.random.default_rng(0)
    draws = 300 * len(possible)
    seen = Counter(tuple(sequences.dinucleotide_shuffle(codes, rng).tolist()) for _ in range(draws))
    assert sorted(seen) == possible
    assert stats.chisquare([seen[walk] for walk in possible]).pvalue > 1e-3


# ---- pairs of strands ----


class Sliced:
    """Rows that know nothing but slices, and how many were read at once."""

    def __init__(self, rows):
        self.rows, self.most = rows, 0

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, rows):
        assert isinstance(rows, slice)
        self.most = max(self.most, len(self.rows[rows]))
        return self.rows[rows]


@pytest.fixture(scope="module")
def strands():
    """(codes, labels) of 2,500 pairs, unknown bases among them."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 5, (2_500, 11)).astype(np.uint8)
    labels = rng.integers(0, 2, (2_500, 3))
    both = np.concatenate([codes, sequences.reverse_complement_codes(codes)])
    return both, np.concatenate([labels, labels])


@pytest.mark.parametrize("form", ["codes", "ACGT", "AGCT"])
@pytest.mark.parametrize("row", [0, 1_023, 1_024, 2_499])
def test_the_first_row_without_its_other_strand(form, row, strands):
    def pairs(codes, y):
        x = Sliced(codes if form == "codes" else sequences.one_hot(codes, form))
        return sequences.first_unpaired(x, Sliced(y)), x.most

    codes, y = strands
    assert pairs(codes, y) == (None, 1024)
    for changed in (row, 2_500 + row):
        other = codes.copy()
        for later in (changed, min(row + 1, 2_499)):
            other[later, 3] = (other[later, 3] + 1) % 5
            assert pairs(other, y)[0] == row
        labels = y.copy()
        labels[changed, 2] = 1 - labels[changed, 2]
        assert pairs(codes, labels)[0] == row
    assert pairs(codes[:0], y[:0])[0] is None
    assert pairs(codes[[1, 2_500]], y[[0, 0]])[0] == 0
    with pytest.raises(InputError, match="4999 examples are no pairs of strands"):
        pairs(codes[:-1], y[:-1])


@pytest.mark.parametrize(("row", "found"), [(20, 20), (21, None), (2_490, 2_490)])
def test_some_pairs_alone(row, found, strands):
    codes, y = (part.copy() for part in strands)
    y[row, 0] = 1 - y[row, 0]
    assert sequences.first_unpaired(codes, y[:, 0], step=10) == found
    assert sequences.first_unpaired(codes, y[:, 0]) == row
