import gzip
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats
from sklearn.model_selection import train_test_split

from tfbs_shift import InputError, data, sequences
from tfbs_shift.data.batches import batches
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
        ("a.data", ">c ACG 2\n", "line 1: label '2': want 1"),
        ("a.data", ">c ACG 1\n>c ACG 0\n", "line 2: the name 'c' stands on line 1, too"),
        ("a.data", ">c ACG\n", "line 1: want '>name SEQUENCE label'"),
        ("a.data", "", "no sequences"),
        ("a.data.gz", "", "no sequences"),
        ("a.csv", "", "want a header with the columns sequence and label"),
        ("a.csv", "seq,label\nACG,1\n", "want a header with the columns sequence and label"),
        ("a.csv", "sequence,label\n", "no sequences"),
        ("a.csv", "sequence,label\nACG\n", "line 2: want 2 fields"),
        ("a.csv", "sequence,label\nACG,1,7\n", "line 2: want 2 fields"),
        ("a.csv", "sequence,label,id\nACG,1\n", "line 2: want 3 fields"),
        ("a.csv", 'sequence,label\n"ACG,1\n', "line 1: unexpected end of data"),
        ("a.csv", "sequence,label\nACG,1\nACG,1.5\n", "line 3: label '1.5'"),
        ("a.csv", "sequence,label\nACG,1\nAC,1\n", "line 3: 2 bp, but line 2 has 3"),
        ("a.csv", "sequence,label\n,1\n", "line 2: the sequence is empty"),
        ("a.csv", "id,sequence,label\nx,ACG,1\nx,ACG,1\n", "line 3: the name 'x' stands on line 2"),
        ("a.fa", ">c\nACG\n", "give a pair"),
        ("a.docx", "x", "do not know this kind of file"),
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
        ((x, y, x, y * 2), "arr_3: labels must be 0 or 1"),
    ):
        np.savez(path, *stored)
        with pytest.raises(InputError, match=message):
            data.load(path, "test")
    np.savez_compressed(path, x, y, x, y)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"a\.npz: not a whole \.npz"):
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
