import gzip
import hashlib
import io
import re
import subprocess
import sys
import zipfile
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats
from sklearn.model_selection import train_test_split

from tfbs_shift import InputError, data, sequences
from tfbs_shift.data.batches import batches
from tfbs_shift.data.columns import FileColumn, rows_of
from tfbs_shift.data.matrices import as_table, read_matrices

ZENG = """\
>chr20:11-16 ACGTAC 1
>chr20:11-16_shuf ACGTAC 0
>chrX:101-106 \t\tacgtnn 1
"""


def write(path, text, zipped=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt") if zipped else path.open("w") as file:
        file.write(text)
    return path


@pytest.mark.parametrize("zipped", [False, True])
def test_zeng(tmp_path, zipped):
    write(tmp_path / ("test.data.gz" if zipped else "test.data"), ZENG, zipped)
    examples = data.load(tmp_path, "test")
    assert sequences.decode(examples.codes) == ["ACGTAC", "ACGTAC", "ACGTNN"]
    assert examples.y.tolist() == [[0, 1], [1, 0], [0, 1]]
    assert examples.names.tolist() == ["chr20:11-16", "chr20:11-16_shuf", "chrX:101-106"]
    # 1-based inclusive becomes 0-based half-open
    assert examples.intervals.chrom.tolist() == ["chr20", "chr20", "chrX"]
    assert examples.intervals.start.tolist() == [10, 10, 100]
    assert examples.intervals.end.tolist() == [16, 16, 106]


def test_csv_and_tsv(tmp_path):
    text = "label,sequence,cell\n1,ACGT,K562\n0,TTTT,K562\n"
    for name, content in (("a.csv", text), ("a.tsv", text.replace(",", "\t"))):
        examples = data.load(write(tmp_path / name, content))
        assert sequences.decode(examples.codes) == ["ACGT", "TTTT"]
        assert examples.y[:, 1].tolist() == [1, 0]
        assert examples.intervals is None
        assert examples.names is None
    zipped = write(tmp_path / "b.csv.gz", "sequence,label,id\r\nACGT,1,one\r\nTTTT,0,two\r\n", True)
    assert data.load(zipped).names.tolist() == ["one", "two"]


def test_csv_folder_has_a_validation_set(tmp_path):
    for name, count in (("train", 4), ("dev", 2), ("test", 3)):
        write(tmp_path / f"{name}.csv", "sequence,label\n" + "ACGT,1\n" * count)
    assert [len(data.load(tmp_path, split)) for split in ("train", "valid", "test")] == [4, 2, 3]


@pytest.mark.parametrize("form", ["tuple", "comma", "str paths"])
def test_fasta_pair(tmp_path, form):
    bound = write(tmp_path / "bound.fa.gz", ">chr1:10-16 peak\nACG\nTAC\n>chr2:0-6\nacgtnn\n", True)
    unbound = write(tmp_path / "unbound.fa", "\n>chr1:10-16\nTTTTTT\n\n>chr3:1-6\nRYRYRY\n")
    path = {
        "tuple": (bound, unbound),
        "comma": f"{bound},{unbound}",
        "str paths": [str(bound), str(unbound)],
    }[form]
    examples = data.load(path)
    assert sequences.decode(examples.codes) == ["ACGTAC", "ACGTNN", "TTTTTT", "NNNNNN"]
    assert examples.y[:, 1].tolist() == [1, 1, 0, 0]
    # half-open where the length says so, 1-based inclusive where it says that
    assert examples.intervals.start.tolist() == [10, 0, 10, 0]
    assert examples.intervals.end.tolist() == [16, 6, 16, 6]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz"])
@pytest.mark.parametrize("comma", [",", "\t", ";"])
def test_a_table_as_a_spreadsheet_or_pandas_writes_it(tmp_path, name, comma):
    rows = [["", "Sequence", "score", "label"], ["0", "ACG", "0.5", "1.0"], ["1", "TTT", "", "0"]]
    text = "".join(comma.join(row) + "\r\n" for row in rows)
    examples = data.load(write(tmp_path / name, text, name.endswith("gz")))
    assert sequences.decode(examples.codes) == ["ACG", "TTT"]
    assert examples.y[:, 1].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("sequence,label\nACGTACGT,0\n", None),
        ("LABEL,x,Sequence,y\n0,7,ACGTACGT,5\n", None),
        (
            "Seq,target,x\nACGTACGT,0,5\n",
            "sequences from column 'Seq', labels from column 'target'",
        ),
        ("label,bases\n0,acgtacgn\n", "sequences from column 'bases'"),
        ("sequence,cell,value\nACGTACGT,K562,0\n", "labels from column 'value'"),
        ('sequence,"value; log2"\nACGTACGT,0\n', "labels from column 'value; log2'"),
        # numbers of rows and of names are no labels
        (",sequence,id,value\n5,ACGTACGT,7,0\n", "labels from column 'value'"),
        ("id,sequence,value\nx,ACGTACGT,NA\n", "no labels; bound (--bound) would make every"),
        ("id,sequence\n1,ACGTACGT\n", "no labels; bound (--bound) would make every"),
    ],
)
def test_columns_are_found_and_said(tmp_path, text, note):
    examples = data.load(write(tmp_path / "a.csv", text))
    assert sequences.decode(examples.codes)[0].startswith("ACGTACG")
    assert (examples.y is None) == ("no labels" in (note or ""))
    assert examples.y is None or examples.y.tolist() == [[1, 0]]
    assert examples.notes == () if note is None else examples.notes[0].startswith(f"a.csv: {note}")
    assert examples.rows([0]).notes == examples.notes


def test_columns_by_name(tmp_path):
    text = 'a,"b,c",A,dna,seq\n1,0,3,ACGT,TTTT\n0,1,2.5,GGGG,CCCC\n'
    path = write(tmp_path / "a.csv", text)

    def load(labels):
        return data.load(path, sequence_column="dna", label_column=labels)

    assert sequences.decode(load("a").codes) == ["ACGT", "GGGG"]
    assert load("a").notes == ()
    assert load("a").y.tolist() == [[0, 1], [1, 0]]  # classes
    assert load("a").label_names is None
    both = load(["a", "b,c"])
    assert both.y.tolist() == [[1, 0], [0, 1]]  # two labels
    assert both.y.dtype == np.uint8
    assert both.label_names == ["a", "b,c"]
    assert not both.two_classes()
    assert load("b,c").y.tolist() == [[1, 0], [0, 1]]  # one column, of that name
    mixed = load("A , a")
    assert mixed.y.tolist() == [[3, 1], [2.5, 0]]
    assert mixed.y.dtype == np.float32
    assert mixed.label_names == ["A", "a"]
    assert load("A").y.tolist() == [[3], [2.5]]
    assert load("A").label_names == ["A"]
    assert load("").y is None
    for labels, message in (
        ("a,z", r"a\.csv: line 1: no column 'z'; the columns are a, b,c, A, dna, seq"),
        ("a,a", "the same column twice"),
        ("seq", "line 2: label 'TTTT' in column 'seq': want"),
    ):
        with pytest.raises(InputError, match=message):
            load(labels)
    twice = write(tmp_path / "b.csv", "sequence,y,y\nACG,1,0\n")
    with pytest.raises(InputError, match="line 1: 2 columns 'y'"):
        data.load(twice, label_column="y")


def test_numbers_as_labels(tmp_path):
    words = ["1e-3", "+1", "-0.25", ".5", " 7 ", "16777217", "0"]
    expected = [[0.001], [1], [-0.25], [0.5], [7], [16777216], [0]]  # as float32 holds them
    quoted = "".join(f'"ACG";"{word}"\r\n' for word in words)
    table = data.load(write(tmp_path / "a.csv", "\ufeffsequence;label\r\n" + quoted))
    lines = "".join(f">n{i} ACG {word}\n" for i, word in enumerate(words))
    zeng = data.load(write(tmp_path / "a.data", lines))
    for examples in (table, zeng):
        assert examples.y.dtype == np.float32
        assert np.array_equal(examples.y, np.array(expected, np.float32))
    for signs in ("-1 1", "1 2"):  # numbers: whether they suit a task is the task's to say
        text = "".join(f">{i} ACG {sign}\n" for i, sign in enumerate(signs.split()))
        assert data.load(write(tmp_path / "b.data", text)).y.shape == (2, 1)


def test_numbers_in_an_npz(tmp_path):
    _, x, y = arrays(6)
    np.savez(tmp_path / "a.npz", x, y, x, y - 0.25)
    examples = data.load(tmp_path / "a.npz")
    assert examples.y.dtype == np.float32
    assert np.array_equal(examples.y, y - 0.25)
    assert data.load(tmp_path / "a.npz", "train").y.dtype == np.uint8


def test_sequences_without_labels(tmp_path):
    fasta = write(tmp_path / "a.fa", ">chr1:0-8\nACGTACGT\n>chr1:8-16\nTTTTTTTT\n")
    table = write(tmp_path / "a.tsv", "name\tsequence\nx\tACGTACGT\ny\tTTTTTTTT\n")
    for path in (fasta, table):
        examples = data.load(path)
        assert sequences.decode(examples.codes) == ["ACGTACGT", "TTTTTTTT"]
        assert examples.labels is None
        assert examples.y is None
        assert examples.notes[0].startswith(f"{path.name}: no labels; bound")
        bound = data.load(path, bound=True)
        assert bound.y.tolist() == [[0, 1], [0, 1]]
        assert bound.notes == ()
        assert data.load(path, "train").notes == examples.notes  # in both tenths
    assert data.load(fasta).intervals.start.tolist() == [0, 8]
    labelled = write(tmp_path / "b.csv", "sequence,label\nACGT,1\n")
    with pytest.raises(InputError, match=r"b\.csv: bound is for files without .* column 'label'"):
        data.load(labelled, bound=True)
    assert data.load(labelled, bound=True, label_column="").y.tolist() == [[0, 1]]
    for path in ((fasta, fasta), write(tmp_path / "test.data", ZENG)):
        with pytest.raises(InputError, match="bound is for what has no labels"):
            data.load(path, bound=True)
    for option in ("sequence_column", "label_column"):
        with pytest.raises(InputError, match=f"{option} is for tables"):
            data.load(fasta, **{option: "x"})


def test_what_examples_without_labels_can_do():
    codes = data.synthetic(3, length=40).codes
    both = data.Examples(
        np.concatenate([codes, sequences.reverse_complement_codes(codes)]), None, source="mine"
    )
    assert both.paired_strands()
    some = both.rows([0, 1, 2])
    assert not some.rows([0, 1]).paired_strands()
    assert some.y is None
    assert some.negatives() is None
    assert some.checksum() != both.checksum()
    digest = hashlib.sha256(codes[:3].tobytes()).hexdigest()
    assert some.described() == {
        "source": "mine", "checksum": f"sha256 {digest[:16]}", "negatives": None,
    }  # fmt: skip
    with pytest.raises(InputError, match="mine: has no labels"):
        some.as_dataset(2)


def test_what_examples_with_numbers_can_do():
    codes = data.synthetic(3, length=40).codes
    numbers = np.linspace(-1, 1, 6, dtype=np.float32)[:, None]
    examples = data.Examples(codes, numbers)
    (_, y), _ = examples.as_dataset(4).as_numpy_iterator()
    assert y.dtype == np.float32
    assert np.array_equal(y, numbers[:4])
    assert examples.negatives() is None
    digest = hashlib.sha256(codes.tobytes() + numbers.tobytes()).hexdigest()
    assert examples.checksum() == f"sha256 {digest[:16]}"
    codes = np.concatenate([codes, sequences.reverse_complement_codes(codes)])
    assert data.Examples(codes, np.tile(numbers, (2, 1))).paired_strands()
    assert not data.Examples(codes, np.linspace(0, 1, 12)[:, None]).paired_strands()


class Halves(FileColumn):
    """``float32`` (N, 2), the row's number and a half, as if from a file."""

    dtype = np.dtype(np.float32)
    block = 4

    def __init__(self, count):
        self.shape = (count, 2)
        self.most = 0

    def read(self, begin, end):
        self.most = max(self.most, end - begin)
        return np.arange(begin, end, dtype=np.float32)[:, None] + np.float32([0, 0.5])


def test_numbers_that_stay_in_their_file(monkeypatch):
    column = Halves(64)
    whole = np.arange(64)[:, None] + [0, 0.5]
    for rows in (slice(3, 7), slice(5, 5), [9, 2, 2], whole[:, 0] > 60):
        for found in (column[rows], rows_of(column, rows)[:]):
            assert found.dtype == np.float32
            assert np.array_equal(found, whole[rows])
    monkeypatch.setattr("tfbs_shift.data.batches.POOL_BYTES", 16 * 8)  # 16 rows of 2 x 4 bytes
    found = [rows for (rows,) in batches((column,), 8)]
    assert np.array_equal(np.concatenate(found), whole)
    assert found[0].dtype == np.float32
    column.most = 0
    list(batches((column,), 8, shuffle=True))
    assert column.most <= 16


def arrays(count, length=5, channels=4):
    codes = np.random.default_rng(count).integers(0, 4, (count, length))
    x = np.eye(4)[codes][:, None, :, :channels]
    y = np.eye(2)[np.arange(count) % 2]
    return codes, x, y


@pytest.mark.parametrize("inside_folder", [False, True])
def test_npz(tmp_path, inside_folder):
    train, test = arrays(20), arrays(6)
    np.savez(tmp_path / "task.npz", *train[1:], *test[1:])
    examples = data.load(tmp_path if inside_folder else tmp_path / "task.npz", "test")
    assert np.array_equal(examples.codes, test[0])
    assert np.array_equal(examples.x, test[1][:, 0])
    assert examples.x.dtype == examples.y.dtype == np.uint8
    assert np.array_equal(examples.y, test[2])


def test_papers_validation_split(tmp_path):
    codes, x, y = arrays(50)
    np.savez(tmp_path / "task.npz", x, y, x, y)
    train, valid = train_test_split(codes, test_size=0.1, random_state=9)
    assert np.array_equal(data.load(tmp_path, "train").codes, train)
    assert np.array_equal(data.load(tmp_path, "valid").codes, valid)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.data", ">c AC 1\n>d ACG 0\n", r"a\.data: line 2: 3 bp, but line 1 has 2"),
        ("a.data", ">c ACG 1\n>d AXG 0\n", "line 2: letter 'X' at position 2"),
        ("a.data", ">c AUG 1\n", "line 1: letter 'U' at position 2: RNA"),
        ("a.data", ">c ACG 1\n\n>d ACG yes\n", "line 3: label 'yes': want 1"),
        ("a.data", ">c ACG 2\n>d ACG x\n", "line 2: label 'x': want a number"),
        ("a.data", ">c ACG 1\n>c ACG 0\n", "line 2: the name 'c' stands on line 1, too"),
        ("a.data", ">c ACG\n", "line 1: want '>name SEQUENCE label'"),
        ("a.data", "", "no sequences"),
        ("a.data.gz", "", "no sequences"),
        ("a.csv", "", "want a header with the columns sequence and label"),
        ("a.csv", "bases,label\nACG,1\n", "line 1: no column has the sequences: .*bases, label$"),
        ("a.csv", "sequence,label\n", "no sequences"),
        ("a.csv", "seq;mean_value\r\n", "no sequences"),
        ("a.csv", "sequence,label\nACG\n", "line 2: want 2 fields"),
        ("a.csv", "sequence,label\nACG,1,7\n", "line 2: want 2 fields"),
        ("a.csv", "sequence,label,id\nACG,1\n", "line 2: want 3 fields"),
        ("a.csv", 'sequence,label\n"ACG,1\n', "line 2: a quoted field that does not close"),
        ("a.csv", "sequence,label\nACG,1\nACG,yes\n", r"3: label 'yes': want 1 \(bound\) or 0"),
        ("a.csv", "sequence,label\nACG,1\nACG,\n", "line 3: label '': want 1"),
        ("a.csv", "sequence,label\nACG,2\nACG,\n", "line 3: label '': want a number"),
        ("a.csv", "sequence,label\nACG,0.5\nACG,nan\n", "line 3: label 'nan': want a number"),
        ("a.csv", "sequence,label\nACG,-inf\nACG,1\n", "line 2: label '-inf': want"),
        ("a.csv", "sequence,label\nACG,1e39\nACG,2\n", "line 2: label '1e39': want a number"),
        ("a.csv", "sequence,label\nACG,1_0\nACG,2\n", "line 2: label '1_0': want a number"),
        ("a.csv", "sequence;label\nACG;1.5\nACG;0,5\n", "3: label '0,5': .*: write 0.5"),
        ("a.csv", "sequence;target\nACG;-1,25\n", "2: label '-1,25' in column 'target': .* -1.25"),
        (
            "a.csv",
            "sequence,label,Label\nACG,1,0\n",
            "line 1: are the labels in 'label' or 'Label'",
        ),
        ("a.csv", "seq,y,dna\nACG,1,ACG\n", "line 1: are the sequences in 'seq' or 'dna'?"),
        ("a.csv", "seq,a,b\nACG,1,0.5\n", "labels in 'a' or 'b'.*--label_column; .* seq, a, b$"),
        ("a.csv", "s,y,t\nACGTACGT,1,ACGTACGT\n", "the sequences in 's' or 't'.*--sequence_column"),
        ("a.csv", "id,id,sequence,y\na,b,ACG,1\n", "line 1: 2 columns 'id': want one"),
        ("a.csv", "sequence,label\nACG,1\nAC,1\n", "line 3: 2 bp, but line 2 has 3"),
        ("a.csv", "sequence,label\n,1\n", "line 2: the sequence is empty"),
        ("a.csv", "id,sequence,label\nx,ACG,1\nx,ACG,1\n", "line 3: the name 'x' stands on line 2"),
        ("a.fa", ">c\nACG\n>c\nACG\n", "line 3: the name 'c' stands on line 1"),
        ("a.fa", "", "no sequences"),
        (
            "a.fa",
            "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
            "Git LFS's pointer, not the file itself: git lfs pull",
        ),
        ("a.fa", "chr1\t0\t5\n", r"line 1: want a FASTA header .* \(a BED\? such a file is named"),
        ("a.docx", "x", r"do not know this kind of file .* name \(.fa, .fasta, .data, .csv, .tsv"),
    ],
)
def test_mistakes_in_a_file(tmp_path, name, text, message):
    path = write(tmp_path / name, text, name.endswith("gz"))
    with pytest.raises(InputError, match=message) as error:
        data.load(path)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("bound", "unbound", "message"),
    [
        (">a\nACG\n", ">b\nACGT\n", r"u\.fa: line 1: 4 bp, but line 1 of .*b\.fa has 3"),
        (">a\nACG\n>a\nACG\n", ">b\nACG\n", r"b\.fa: line 3: the name 'a' stands on line 1, too"),
        (">a\nACG\n", "", r"u\.fa: no sequences"),
        (">a\nACG\n", "ACG\n", r"u\.fa: line 1: want a FASTA header"),
        (">a\nACG\n", ">\nACG\n", r"u\.fa: line 1: a header without a name"),
        (">a\nACG\n>c\nA*G\n", ">b\nACG\n", r"b\.fa: line 3: letter '\*' at position 2"),
    ],
)
def test_mistakes_in_a_fasta_pair(tmp_path, bound, unbound, message):
    pair = write(tmp_path / "b.fa", bound), write(tmp_path / "u.fa", unbound)
    with pytest.raises(InputError, match=message):
        data.load(pair)


def test_truncated_gzip(tmp_path):
    letters = "".join(np.random.default_rng(0).choice(list("ACGT"), 50_000))
    whole = gzip.compress(f">c {letters} 1\n".encode())
    (tmp_path / "test.data.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"test\.data\.gz: truncated or damaged gzip"):
        data.load(tmp_path)
    (tmp_path / "test.data.gz").write_bytes(whole[:200] + b"damage" + whole[206:])
    with pytest.raises(InputError, match="truncated or damaged gzip"):
        data.load(tmp_path)


def test_mistakes_in_an_npz(tmp_path):
    path = tmp_path / "a.npz"
    _, x, y = arrays(8)
    for stored, message in (
        ((x, y), "no array arr_2"),
        ((x, y, x[:, :, :, :3], y), r"arr_2 \(8, 1, 5, 3\)"),
        ((x, y, x[:5], y), "arr_2"),
        ((x, y, x * 0.5, y), "arr_2: one-hot sequences must hold a single 1"),
        ((x, y, x, np.where(y == 1, np.nan, y)), "arr_3: labels must be finite numbers"),
        ((x, y, x, y.astype(str)), "arr_3: labels must be finite numbers"),
    ):
        np.savez(path, *stored)
        with pytest.raises(InputError, match=message):
            data.load(path, "test")
    np.savez_compressed(path, x, y, x, y)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"a\.npz: not a whole \.npz"):
        data.load(path)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "<i4", ">i4", "u8", "f2", "<f4", ">f8"])
def test_numbers_of_any_type_in_an_npz(dtype, order, tmp_path):
    codes, x, y = arrays(20)
    stored = [np.asarray(values, dtype, order=order) for values in (x, y)]
    for write in (np.savez, np.savez_compressed):
        write(tmp_path / "a.npz", *stored, *stored)
        for split, count in (("test", 20), ("train", 18)):
            examples = data.load(tmp_path / "a.npz", split)
            assert len(examples) == count
        assert np.array_equal(data.load(tmp_path / "a.npz").codes, codes)
        assert np.array_equal(data.load(tmp_path / "a.npz").y, y)


def test_types_of_an_npz_that_are_no_numbers(tmp_path):
    path = tmp_path / "a.npz"
    _, x, y = arrays(8)
    fields = np.zeros((8, 2), [("a", "f8"), ("b", "f8")])
    bad_x = x.astype("i1")
    bad_x[0, 0, 0] = [-1, 1, 1, 0]
    for stored, message in (
        ((x.astype(complex), y), "arr_2: one-hot sequences must hold numbers, not complex128"),
        ((x.astype("S1"), y), r"arr_2: one-hot sequences must hold numbers, not \|S1"),
        ((x.astype(object), y), "arr_2: Python objects; want a plain array"),
        ((bad_x, y), "arr_2: one-hot sequences must hold a single 1"),
        ((128 * (x + x[..., ::-1]).astype("u1"), y), "arr_2: one-hot sequences must hold a single"),
        ((x, y.astype(complex)), "arr_3: labels must be finite numbers"),
        ((x, y.astype("m8[s]")), "arr_3: labels must be finite numbers"),
        ((x, fields), "arr_3: labels must be finite numbers"),
        ((x, np.full((8, 2), np.inf)), "arr_3: labels must be finite numbers"),
        ((x, y.astype(object)), "arr_3: Python objects; want a plain array"),
        ((x, y[:, :0]), r"arr_3 \(8, 0\)"),
        ((x, y[0]), r"arr_3 \(2,\)"),
        ((np.float64(1), y), r"arr_2 \(\)"),
    ):
        np.savez(path, x, y, *stored)
        with pytest.raises(InputError, match=rf"a\.npz: .*{message}"):
            data.load(path)
    np.savez(path, x, y, x, 1000 * y.astype("u2"))  # numbers, not classes
    assert data.load(path).y.max() == 1000


def npy(shape, body, **changes):
    """The bytes of an .npy file with a header of one's own."""
    entry = {"descr": "|u1", "fortran_order": False, "shape": shape, **changes}
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(array, entry)
    return array.getvalue() + body


@pytest.mark.parametrize(
    ("members", "options", "message"),
    [
        ({"arr_2": npy((2**40, 5, 4), b"")}, {}, r"arr_2: damaged or truncated: uint8 \(1099511"),
        ({"arr_2": npy((-8, -5, 4), bytes(160))}, {}, r"arr_2: damaged .*\(-8, -5, 4\)"),
        ({"arr_2": npy((8, 5, 4), bytes(159))}, {}, "takes 288 bytes, but at most 287 are stored"),
        ({"arr_2": npy((8, 5, 4), bytes(161))}, {}, "arr_2: damaged or truncated"),
        ({"arr_2": b"no array"}, {}, "not a whole .npz file"),
        ({"arr_2": b""}, {}, "not a whole .npz file"),
        ({"arr_2": b"\x93NUMPY\x03\x00" + npy((8,), b"")[8:]}, {}, r"arr_2: version \(3, 0\)"),
        ({"arr_2": npy((8, 5, 4), bytes(160), descr="|O")}, {}, "arr_2: Python objects"),
        ({}, {"compression": zipfile.ZIP_BZIP2}, "arr_2: compressed in another way"),
        ({}, {"compression": zipfile.ZIP_LZMA}, "arr_2: compressed in another way"),
    ],
)
def test_headers_of_an_npz_claim_what_is_stored(members, options, message, tmp_path):
    path = tmp_path / "a.npz"
    whole = {f"arr_{i}": npy((8, 5, 4), bytes(160)) for i in (0, 2)}
    whole |= {f"arr_{i}": npy((8, 2), bytes(16)) for i in (1, 3)}

    def write(members, **options):
        with zipfile.ZipFile(path, "w", **options) as file:
            for name, content in members.items():
                file.writestr(f"{name}.npy", content)

    write(whole)
    assert data.load(path).codes.tolist() == [[sequences.UNKNOWN] * 5] * 8
    write(whole | members, **options)
    with pytest.raises(InputError, match=message) as error:
        data.load(path)
    assert "a.npz" in str(error.value)


def directory_entry(content, number):
    """Where the directory of a zip file speaks of member ``number``."""
    return [found.start() for found in re.finditer(b"PK\x01\x02", content)][number]


def test_a_directory_of_an_npz_claims_what_is_stored(tmp_path):
    path = tmp_path / "a.npz"
    head, body = npy((2**31,), b""), bytes(1000)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for i in range(4):
            file.writestr(f"arr_{i}.npy", head + body)
        packed = file.infolist()[2].compress_size
    whole = bytearray(path.read_bytes())
    place = directory_entry(whole, 2) + 24
    whole[place : place + 4] = (2**31 + len(head)).to_bytes(4, "little")
    path.write_bytes(whole)
    message = f"takes {2**31 + len(head)} bytes, but at most {1032 * packed} are stored"
    with pytest.raises(InputError, match=message):
        data.load(path)


def test_zip_files_that_are_no_npz(tmp_path):
    path = tmp_path / "a.npz"
    _, x, y = arrays(8)
    with path.open("wb") as file:
        np.save(file, x)
    with pytest.raises(InputError, match=r"a\.npz: not a whole \.npz file of plain arrays"):
        data.load(path)
    np.savez(path, x, y, x, y)
    whole = path.read_bytes()
    place = directory_entry(whole, 2)
    for at, value, message in ((8, 1, "encrypted"), (10, 99, "compress")):
        changed = bytearray(whole)
        changed[place + at] = value  # the flags and the method of arr_2
        path.write_bytes(changed)
        with pytest.raises(InputError, match=rf"a\.npz: .*{message}"):
            data.load(path)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "w") as file:
        for name in (0, 1, 2, 3, 2):
            file.writestr(f"arr_{name}.npy", npy((8, 2), bytes(16)))
    with pytest.raises(InputError, match="two arrays arr_2 in it"):
        data.load(path)


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        data.load(tmp_path / "missing")
    with pytest.raises(InputError, match="found no data in this folder"):
        data.load(tmp_path)
    with pytest.raises(InputError, match="split 'dev': want one of train, valid, test"):
        data.load(tmp_path, "dev")
    write(tmp_path / "train.data", ZENG)
    with pytest.raises(InputError, match="no test set in it, only train"):
        data.load(tmp_path)
    write(tmp_path / "train.data.gz", ZENG, True)
    with pytest.raises(InputError, match="keep one"):
        data.load(tmp_path, "train")


def test_importing_it_loads_no_backend():
    code = (
        "import sys, tfbs_shift.data, tfbs_shift.data.flanks, tfbs_shift.data.protecting\n"
        "loaded = {'tensorflow', 'keras', 'jax', 'sklearn'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("shard", [(0, 1), (1, 3)])
@pytest.mark.parametrize("alphabet", ["ACGT", "AGCT"])
def test_what_a_dataset_says_of_itself(shard, alphabet):
    examples = data.synthetic(20, length=40)
    dataset = examples.as_dataset(13, alphabet=alphabet, shard=shard)
    x, y = dataset.element_spec
    assert (x.shape.as_list(), x.dtype.name) == ([None, 40, 4], "uint8")
    assert (y.shape.as_list(), y.dtype.name) == ([None, 2], "uint8")
    batches = list(dataset.as_numpy_iterator())
    assert len(batches) == int(dataset.cardinality()) == {1: 4, 3: 1}[shard[1]]
    rows = slice(*shard[:1], None, shard[1])
    expected = sequences.one_hot(examples.codes[rows], alphabet)
    assert np.array_equal(np.concatenate([x for x, _ in batches]), expected)
    assert np.array_equal(np.concatenate([y for _, y in batches]), examples.y[rows])


def test_dataset_streams_every_example_once(tmp_path):
    examples = data.synthetic(20, length=40)
    found = list(examples.as_dataset(16).as_numpy_iterator())
    assert [len(x) for x, _ in found] == [16, 16, 8]
    assert np.array_equal(np.concatenate([x for x, _ in found]), examples.x)
    assert np.array_equal(np.concatenate([y for _, y in found]), examples.y)
    shuffled = examples.as_dataset(40, shuffle=True, seed=1)
    (first, _), (second, _) = (next(shuffled.as_numpy_iterator()) for _ in range(2))
    (again, _) = next(examples.as_dataset(40, shuffle=True, seed=1).as_numpy_iterator())
    assert not np.array_equal(first, examples.x)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, again)
    rows = sorted(map(bytes, first.reshape(40, -1)))
    assert rows == sorted(map(bytes, examples.x.reshape(40, -1)))


@pytest.mark.parametrize("begin", [0, 1, 2, 3])
def test_batches_in_memory(begin):
    """Every row once, columns together, another order in each epoch, from any batch on."""
    columns = (np.arange(40), -np.arange(40.0)[:, None])
    options = {"shuffle": True, "seed": 2}
    whole = list(batches(columns, 16, epoch=1, **options))
    assert [len(a) for a, _ in whole] == [16, 16, 8]
    assert all(np.array_equal(a, -b[:, 0]) for a, b in whole)
    order = np.concatenate([a for a, _ in whole])
    assert sorted(order) == list(range(40))
    rest = [a for a, _ in batches(columns, 16, epoch=1, begin=begin, **options)]
    assert np.array_equal(np.concatenate([*rest, []]), order[16 * begin :])
    other = np.concatenate([a for a, _ in batches(columns, 16, epoch=2, **options)])
    assert not np.array_equal(order, other)
    parts = [a for i in range(3) for a, _ in batches(columns, 16, shard=(i, 3), **options)]
    assert sorted(np.concatenate(parts)) == list(range(40))


def test_pairs_of_strands():
    codes = data.synthetic(3, length=40).codes
    both = np.concatenate([codes, sequences.reverse_complement_codes(codes)])
    pairs = data.Examples(both, np.tile(np.eye(6, dtype="u1"), (2, 1)))
    assert pairs.paired_strands()
    assert pairs.paired_strands(rows=2)
    for rows in ([], [0], [0, 1], [0, *range(2, 12)], [0, 1, 7, 6]):
        assert not pairs.rows(rows).paired_strands()


def test_synthetic_pairs_are_shuffles():
    examples = data.synthetic(50, seed=3)
    assert examples.y[:4].tolist() == [[0, 1], [1, 0], [0, 1], [1, 0]]
    for bound, shuffled in zip(examples.codes[::2], examples.codes[1::2], strict=True):
        assert not np.array_equal(bound, shuffled)
        assert Counter(pairwise(bound)) == Counter(pairwise(shuffled))
    assert np.array_equal(examples.codes, data.synthetic(50, seed=3).codes)
    assert not np.array_equal(examples.codes, data.synthetic(50, seed=4).codes)


def test_written_zeng_files_read_back(tmp_path):
    examples = data.synthetic(10, length=40)
    data.write_zeng(examples, tmp_path / "test.data")
    again = data.load(tmp_path)
    for column in ("codes", "y", "names"):
        assert np.array_equal(getattr(again, column), getattr(examples, column))


def test_written_numbers_read_back(tmp_path):
    codes = data.synthetic(10, length=40)
    numbers = np.random.default_rng(0).normal(0, 1e-3, (20, 1)).astype(np.float32)
    examples = data.Examples(codes.codes, numbers, names=codes.names)
    data.write_zeng(examples, tmp_path / "test.data")
    again = data.load(tmp_path)
    assert again.y.dtype == np.float32
    assert np.array_equal(again.y, numbers)
    for labels, message in ((None, "has no labels"), (np.ones((20, 2), np.uint8), "two classes")):
        with pytest.raises(InputError, match=message):
            data.write_zeng(replace(examples, labels=labels), tmp_path / "other.data")


def test_synthetic_sites_follow_the_matrix():
    """Letters at the planted sites against the JASPAR counts, by a chi-squared test."""
    motifs = {motif.name: as_table(motif.counts) for motif in read_matrices()}
    motifs = {name: table / table.sum(axis=1, keepdims=True) for name, table in motifs.items()}
    assert set(motifs) == {"SP1", "MAFK", "ZNF143"}
    # the paper's Figure 3 prints this matrix
    assert np.allclose(motifs["SP1"][0], [0.098, 0.204, 0.489, 0.208], atol=1e-3)
    examples = data.synthetic(3000, seed=5)
    table = motifs["MAFK"]
    sites = []
    for name, codes in zip(examples.names[::2], examples.codes[::2], strict=True):
        _, _, factor, place = name.split("_")
        if factor == "MAFK":
            site = codes[int(place[:-1]) :][: len(table)]
            sites.append(site if place[-1] == "+" else sequences.reverse_complement_codes(site))
    for column, expected in zip(np.array(sites).T, table, strict=True):
        seen = np.bincount(column, minlength=4)
        possible = expected > 0
        assert seen[~possible].sum() == 0
        if possible.sum() > 1:
            assert stats.chisquare(seen[possible], expected[possible] * len(sites)).pvalue > 1e-4


def test_paper_sp1_set(real_data):
    folder = real_data / "zeng" / "HaibH1hescSp1Pcr1xUniPk"
    counts = {split: len(data.load(folder, split)) for split in ("train", "valid", "test")}
    assert counts == {"train": 21_283, "valid": 2_365, "test": 5_912}
    test = data.load(folder)
    assert test.length == 101
    assert (test.y.sum(axis=1) == 1).all()


def test_stat3_set_keeps_coordinates(real_data):
    folder = real_data / "zeng" / "wgEncodeAwgTfbsSydhHelas3Stat3IggrabUniPk"
    test = data.load(folder)
    assert len(test) == 5_391
    assert (test.intervals.end - test.intervals.start == 101).all()
    first = test.names[0].removesuffix("_shuf")
    chrom, start, end = (column[0] for column in test.intervals)
    assert first == f"{chrom}:{start + 1}-{end}"


def test_mafk_fasta(real_data):
    pair = [real_data / "mafk" / f"janggu_sample2{end}.fa.gz" for end in ("", "_test")]
    examples = data.load(pair)
    assert examples.y.sum(axis=0).tolist() == [100, 3900]
    assert examples.length == 200
    assert (examples.intervals.end - examples.intervals.start == 200).all()


def test_mpra_folder_as_it_is(real_data):
    """Names, sequences and numbers against the lines, split by hand."""
    folder = real_data / "mpra_hepg2"
    parts = {split: data.load(folder, split) for split in ("train", "valid", "test")}
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 11_062, "valid": 1_230, "test": 12_298,
    }  # fmt: skip
    found = {}
    for split, part in parts.items():
        file = "test" if split == "test" else "train"
        assert part.length == 230
        assert part.y.dtype == np.float32
        assert part.label_names == ["mean_value"]
        assert part.notes == (
            f"{file}.tsv.gz: sequences from column 'seq', labels from column 'mean_value'",
        )
        rows = zip(part.names, sequences.decode(part.codes), part.y[:, 0], strict=True)
        found.setdefault(file, []).extend((name, bases, value) for name, bases, value in rows)
    for file, rows in found.items():
        with gzip.open(folder / f"{file}.tsv.gz", "rt") as lines:
            wanted = [line.rstrip("\n").split("\t") for line in lines][1:]
        assert sorted(rows) == sorted((n, bases, np.float32(v)) for n, bases, v in wanted)
    by_name = data.load(folder, sequence_column="seq", label_column="mean_value")
    assert by_name.notes == ()
    assert np.array_equal(by_name.y, parts["test"].y)
