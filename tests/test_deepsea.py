"""DeepSEA's files: every layout, against h5py and scipy; streaming, shuffling, sharding."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from tfbs_shift import data, sequences
from tfbs_shift.data import deepsea
from tfbs_shift.data.batches import batches
from tfbs_shift.errors import InputError

AGCT = [0, 2, 1, 3]
LENGTH, LABELS = 43, 9  # a length that 8 does not divide


def random_set(rng, count, length=LENGTH, labels=LABELS):
    """(codes, labels) whose second half is the other strand of the first."""
    half = rng.integers(0, 5, (count // 2, length)).astype(np.uint8)
    codes = np.concatenate([half, sequences.reverse_complement_codes(half)])
    y = np.tile((rng.random((count // 2, labels)) < 0.3).astype(np.uint8), (2, 1))
    return codes, y


def one_hot_agct(codes):
    return sequences.one_hot(codes)[..., AGCT]


def write_hdf5(path, codes, y, *, name="train", **options):
    """As MATLAB's v7.3: a user block, examples in the last axis."""
    with h5py.File(path, "w", userblock_size=512) as file:
        arrays = {f"{name}xdata": one_hot_agct(codes).transpose(1, 2, 0), f"{name}data": y.T}
        for key, array in arrays.items():
            chunks = options.get("chunks")
            if chunks is not None:
                chunks = tuple(map(min, (*chunks[: array.ndim - 1], chunks[-1]), array.shape))
            file.create_dataset(key, data=array, **{**options, "chunks": chunks})
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file")


def write_v5(path, codes, y, *, name="test", compressed=True):
    arrays = {f"{name}xdata": one_hot_agct(codes).transpose(0, 2, 1), f"{name}data": y}
    scipy.io.savemat(path, arrays, do_compression=compressed)


LAYOUTS = {
    "contiguous": {},
    "chunk of 7 examples": {"chunks": (LENGTH, 4, 7)},
    "gzip, one position, all examples": {"chunks": (1, 4, 10**9), "compression": "gzip"},
    "gzip, uneven": {"chunks": (10, 3, 64), "compression": "gzip", "shuffle": True},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("count", [2, 300, 1031 * 2])
def test_hdf5_layouts(layout, count, rng, tmp_path):
    codes, y = random_set(rng, count)
    write_hdf5(tmp_path / "train.mat", codes, y, **LAYOUTS[layout])
    read = data.load(tmp_path, "train")
    assert (len(read), read.length) == codes.shape
    assert np.array_equal(read.codes[:], codes)
    assert np.array_equal(read.x, sequences.one_hot(codes))
    assert np.array_equal(read.y, y)
    assert read.in_file
    assert read.paired_strands()
    some = rng.integers(0, count, 20)
    assert np.array_equal(read.codes[some], codes[some])
    assert np.array_equal(read.rows(some).y, y[some])


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("length", [4, 8, 43])
def test_mat_v5(compressed, length, rng, tmp_path):
    codes, y = random_set(rng, 90, length)
    write_v5(tmp_path / "test.mat", codes, y, compressed=compressed)
    read = data.load(tmp_path, "test")
    assert np.array_equal(read.codes[:], codes)
    assert np.array_equal(read.y, y)
    assert np.array_equal(read.codes[-5:], codes[-5:])
    assert np.array_equal(read.codes[3], codes[3])
    chosen = data.load(tmp_path / "test.mat", labels="7,1..3")
    assert np.array_equal(chosen.y, y[:, [7, 1, 2, 3]])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_rows_of_a_file(tmp_path_factory, data):
    """Slices, indices and masks give what numpy gives."""
    count = data.draw(st.sampled_from([2, 130, 514]))
    folder = tmp_path_factory.getbasetemp() / f"rows{count}"
    folder.mkdir(exist_ok=True)
    codes, y = random_set(np.random.default_rng(count), count)
    path = folder / "train.mat"
    if not path.exists():
        write_hdf5(path, codes, y, chunks=(20, 4, 64))
    read = deepsea.read_mat(path)
    bound = st.none() | st.integers(-count - 3, count + 3)
    index = data.draw(
        st.builds(slice, bound, bound, st.sampled_from([None, 1, 2, -1]))
        | st.integers(-count, count - 1)
        | st.lists(st.integers(-count, count - 1), max_size=30).map(lambda i: np.array(i, int))
        | st.lists(st.booleans(), min_size=count, max_size=count).map(np.array)
    )
    assert np.array_equal(read.codes[index], codes[index])
    assert np.array_equal(read.labels[index], y[index])
    assert np.array_equal(read.one_hot("AGCT")[index], one_hot_agct(codes)[index])


def test_real_files_against_h5py_and_scipy(real_data):
    folder = real_data / "mini_deepsea"
    with h5py.File(folder / "train.mat") as file:
        x, y = file["trainxdata"][:].transpose(2, 0, 1), file["traindata"][:].T
    train = data.load(folder, "train")
    assert np.array_equal(train.x[..., AGCT], x)
    assert np.array_equal(train.y, y[:, 125:815])
    for split in ("valid", "test"):
        arrays = scipy.io.loadmat(folder / f"{split}.mat")
        read = data.load(folder, split)
        assert np.array_equal(read.x[..., AGCT], arrays[f"{split}xdata"].transpose(0, 2, 1))
        assert np.array_equal(read.y, arrays[f"{split}data"][:, 125:815])
        assert read.paired_strands()


def test_label_columns():
    names = deepsea.label_names()
    assert len(names) == 919
    assert names[170].split("|")[:2] == ["A549", "ATF3"]
    assert {name.split("|")[1] for name in names[:125]} == {"DNase"}
    assert not any("DNase" in name for name in names[125:])

    def chosen(wanted):
        return deepsea.select_labels(wanted, names, 919).tolist()

    assert chosen("125..814") == chosen("tf") == list(range(125, 815))
    assert chosen("dnase,918") == [*range(125), 918]
    assert chosen("histone") == list(range(815, 919))
    assert chosen("all") == list(range(919))
    assert chosen([5, 3]) == [5, 3]
    assert chosen("k562|ctcf") == [149, 338, 618, 746, 804]
    assert chosen("HepG2|MafK|None") == [562, 563]
    assert set(chosen("CTCF")) > {149, 618}
    for wanted, message in {
        "919": "columns 0..918",
        "5..3": "columns 0..918",
        "K562|NOPE": "no such column",
        "CTCF,618": "column 618 is selected twice",
        "": "no such column",
    }.items():
        with pytest.raises(InputError, match=message):
            chosen(wanted)


def test_label_names_go_with_the_columns(rng, tmp_path):
    codes, y = random_set(rng, 10, labels=919)
    write_hdf5(tmp_path / "train.mat", codes, y)
    read = data.load(tmp_path, "train")
    assert read.y.shape == (10, 690)
    assert np.array_equal(read.y, y[:, 125:815])
    assert read.label_names[618 - 125] == "618 K562|CTCF|None"
    read = data.load(tmp_path, "train", labels="K562|CTCF")
    assert np.array_equal(read.y, y[:, [149, 338, 618, 746, 804]])


@pytest.mark.parametrize("form", ["hdf5", "v5"])
def test_damaged_files_are_named(form, rng, tmp_path):
    codes, y = random_set(rng, 400)
    path = tmp_path / "test.mat"
    write = {"hdf5": lambda: write_hdf5(path, codes, y, name="test", chunks=(43, 4, 64),
                                        compression="gzip"),
             "v5": lambda: write_v5(path, codes, y)}[form]  # fmt: skip
    write()
    whole = path.read_bytes()
    for cut in (len(whole) // 2, len(whole) - 5, 100):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"test\.mat"):
            data.load(path).codes[:]
    # bytes overturned in the middle of a compressed array
    broken = bytearray(whole)
    for at in range(len(whole) // 2, len(whole) // 2 + 600):
        broken[at] ^= 0xFF
    path.write_bytes(bytes(broken))
    with pytest.raises(InputError, match=r"test\.mat"):
        read = data.load(path)
        np.asarray(read.codes), np.asarray(read.labels)


def test_wrong_contents_are_refused(rng, tmp_path):
    codes, y = random_set(rng, 20)
    path = tmp_path / "test.mat"

    def fails(match):
        with pytest.raises(InputError, match=match) as error:
            read = data.load(path)
            np.asarray(read.codes), np.asarray(read.labels)
        assert "test.mat" in str(error.value)
        path.unlink()

    path.write_text("neither")
    fails("neither an HDF5")
    with h5py.File(path, "w") as file:
        file["other"] = np.zeros((3, 4), np.uint8)
    fails("other; want one pair such as trainxdata")
    with h5py.File(path, "w") as file:
        file["testxdata"], file["testdata"] = np.zeros((20, 4, 43), np.uint8), y.T
    fails("want \\(length, 4, N\\)")
    scipy.io.savemat(path, {"testxdata": np.zeros((20, 4, 43)) + 0.5, "testdata": y})
    fails("base 0 of example 0 .from 0. is not one-hot")
    for write in (write_hdf5, write_v5):
        write(path, codes, 2 * y, name="test")
        fails("labels must be 0 or 1")
        write(path, codes, y, name="test")
    x = one_hot_agct(codes)
    x[7, 11] = [1, 1, 0, 0]
    scipy.io.savemat(path, {"testxdata": x.transpose(0, 2, 1), "testdata": y})
    fails("not one-hot")
    write_v5(path, codes, y)
    with pytest.raises(InputError, match="no valid set in it"):
        data.load(path, "valid")
    with pytest.raises(InputError, match="no train set in it, only test"):
        data.load(tmp_path, "valid")
    (tmp_path / "a.csv").write_text("sequence,label\nACGT,1\n")
    with pytest.raises(InputError, match="labels is for DeepSEA's files only"):
        data.load(tmp_path / "a.csv", labels="tf")


def test_strands_that_are_no_pairs(rng, tmp_path):
    codes, y = random_set(rng, 2000)
    for change in ("codes", "labels", "odd"):
        some, labels = codes.copy(), y.copy()
        if change == "codes":
            some[1000, 0] = (some[1000, 0] + 1) % 5
        elif change == "labels":
            labels[1000] ^= 1
        else:
            some, labels = some[:-1], labels[:-1]
        write_hdf5(tmp_path / "train.mat", some, labels)
        assert not data.load(tmp_path, "train").paired_strands()


# ---- streaming ----


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    """Examples of a file in blocks of 256, whose codes tell the row."""
    count = 5000
    rows = np.arange(count)
    codes = np.stack([(rows >> shift) & 3 for shift in range(0, 14, 2)], axis=1).astype(np.uint8)
    y = np.stack([rows & 1, rows >= count // 2], axis=1).astype(np.uint8)
    path = tmp_path_factory.mktemp("stream") / "train.mat"
    write_hdf5(path, codes, y, chunks=(7, 4, 64), compression="gzip")
    return data.load(path, "train")


def row_numbers(codes):
    return (codes.astype(int) << np.arange(0, 14, 2)).sum(axis=1)


def epoch(examples, batch_size=100, **options):
    """Row numbers in the order given; labels must go with their rows."""
    found = list(batches((examples.codes, examples.labels), batch_size, **options))
    if not found:
        return np.zeros(0, int)
    assert all(len(codes) == batch_size for codes, _ in found[:-1])
    assert 0 < len(found[-1][0]) <= batch_size
    rows = np.concatenate([row_numbers(codes) for codes, _ in found])
    y = np.concatenate([y for _, y in found])
    assert np.array_equal(y, np.stack([rows & 1, rows >= 2500], axis=1))
    return rows


@pytest.mark.parametrize("batch_size", [1, 100, 256, 999, 6000])
@pytest.mark.parametrize("pool_rows", [1, 700, None])
def test_every_row_once_an_epoch(stream, batch_size, pool_rows):
    assert epoch(stream, batch_size, pool_rows=pool_rows).tolist() == list(range(5000))
    shuffled = epoch(stream, batch_size, shuffle=True, pool_rows=pool_rows)
    assert sorted(shuffled) == list(range(5000))


def test_order_is_the_seeds_and_the_epochs(stream):
    first, same, next_epoch, other = (
        epoch(stream, shuffle=True, seed=seed, epoch=number, pool_rows=1024)
        for seed, number in ((1, 0), (1, 0), (1, 1), (2, 0))
    )
    assert np.array_equal(first, same)
    assert not np.array_equal(first, next_epoch)
    assert not np.array_equal(first, other)
    # the order does not depend on how it is cut into batches
    assert np.array_equal(first, epoch(stream, 77, shuffle=True, seed=1, pool_rows=1024))


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("shards", [1, 2, 3, 7, 30])
def test_shards_are_disjoint_and_everything(stream, shards, shuffle):
    parts = [
        epoch(stream, shuffle=shuffle, seed=3, shard=(i, shards), pool_rows=700)
        for i in range(shards)
    ]
    assert sorted(np.concatenate(parts)) == list(range(5000))
    assert max(map(len, parts)) - min(map(len, parts)) <= 256
    for shard in ((2, 2), (-1, 2)):
        with pytest.raises(InputError, match="0 <= i < n"):
            next(batches((stream.codes,), 10, shard=shard))


def test_batches_come_from_many_places(stream):
    """Shuffled, rows of one block meet in a batch hardly more often than in a perfect shuffle."""
    block, batch = 256, 100  # 20 blocks, so pools of 7, 7 and 6
    rows = epoch(stream, batch, shuffle=True, seed=0, pool_rows=8 * block)[: 49 * batch]
    blocks = (rows // block).reshape(-1, batch)
    pairs = np.mean([(b[:, None] == b).sum() - batch for b in blocks]) / (batch * (batch - 1))
    # With P blocks a pool it is 1 in P; in the order of the file it would be near 1.
    assert 1 / 8 < pairs < 1 / 6


def test_as_dataset_streams(stream):
    dataset = stream.as_dataset(64, shuffle=True, seed=5, alphabet="AGCT")
    assert len(dataset) == 79
    epochs = []
    for number in range(2):
        found = [(x.numpy(), y.numpy()) for x, y in dataset]
        x = np.concatenate([x for x, _ in found])
        assert (x.dtype, x.shape) == (np.uint8, (5000, 7, 4))
        rows = row_numbers(sequences.from_one_hot(x[..., AGCT]))
        assert np.array_equal(rows, epoch(stream, 64, shuffle=True, seed=5, epoch=number))
        epochs.append(rows)
    assert not np.array_equal(*epochs)
    parts = [stream.as_dataset(50, shard=(i, 2)) for i in range(2)]
    assert sum(len(y) for part in parts for _, y in part) == 5000


def test_a_selection_of_a_file_streams(stream):
    mask = np.random.default_rng(0).random(5000) < 0.4
    some = stream.rows(mask)
    rows = np.concatenate([row_numbers(c) for c, _ in batches((some.codes, some.labels), 100)])
    assert np.array_equal(rows, np.flatnonzero(mask))
    again = some.rows(slice(10, 20))
    assert np.array_equal(row_numbers(again.codes[:]), np.flatnonzero(mask)[10:20])


_RESIDENT = """
import sys
from pathlib import Path
from tfbs_shift import data
from tfbs_shift.data import batches
batches.POOL_BYTES = 1 << 23
for x, y in data.load(sys.argv[1], "train").as_dataset(1000, shuffle=True, seed=0):
    pass
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to ask")
def test_memory_does_not_grow_with_the_file(tmp_path):
    """20,000 examples fill both pools (here 8 MB each); four times as many take little more."""
    length, width = 200, 200 + 919  # bytes of an example: codes and labels
    peaks = []
    for count in (20_000, 80_000):
        with h5py.File(tmp_path / "train.mat", "w", userblock_size=512) as file:
            x = file.create_dataset("trainxdata", (length, 4, count), "u1", chunks=(length, 4, 256))
            y = file.create_dataset("traindata", (919, count), "u1", chunks=(919, 256))
            some = one_hot_agct(np.random.default_rng(0).integers(0, 4, (20_000, length)))
            for begin in range(0, count, 20_000):
                x[:, :, begin : begin + 20_000] = some.transpose(1, 2, 0)
                y[:, begin : begin + 20_000] = 0
        run = subprocess.run(
            [sys.executable, "-c", _RESIDENT, tmp_path], capture_output=True, text=True, check=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )  # fmt: skip
        peaks.append(int(run.stdout.split()[-1]) * 1024)
    assert peaks[1] - peaks[0] < 60_000 * width / 2


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("pool_rows", [300, 1024, None])
@pytest.mark.parametrize("begin", [0, 1, 2, 7, 38, 49, 50, 60])
def test_an_epoch_goes_on_where_it_was_left(stream, begin, pool_rows, shuffle):
    options = {"shuffle": shuffle, "seed": 4, "epoch": 3, "pool_rows": pool_rows}
    whole = epoch(stream, 100, **options)
    assert np.array_equal(epoch(stream, 100, begin=begin, **options), whole[100 * begin :])


def test_pools_of_batches_already_done_are_not_read(stream, monkeypatch):
    read = []
    real = type(stream.codes).read
    monkeypatch.setattr(
        type(stream.codes), "read", lambda self, a, b: (read.append(b - a), real(self, a, b))[1]
    )
    columns = (stream.codes, stream.labels)
    list(batches(columns, 100, shuffle=True, seed=0, begin=40, pool_rows=1024))
    assert sum(read) <= 2 * (1000 + 2 * 1024)  # codes and labels; of 5,000 rows 4,000 are done
