"""MATLAB's files as people have them, damaged ones and hostile ones, against scipy and h5py."""

import contextlib
import itertools
import re
import shutil
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from tfbs_shift import data
from tfbs_shift.data import matlab, stored
from tfbs_shift.errors import InputError

from .test_deepsea import one_hot_agct, random_set, write_hdf5, write_v5

CLASSES = {
    "f8": "double", "f4": "single", "i1": "int8", "u1": "uint8", "i2": "int16", "u2": "uint16",
    "i4": "int32", "u4": "uint32", "i8": "int64", "u8": "uint64",
}  # fmt: skip


def everything(path):
    read = data.load(path)
    return read.codes[:], np.asarray(read.labels)


def same(path, codes, y):
    found = everything(path)
    return np.array_equal(found[0], codes) and np.array_equal(found[1], y)


def refused(path, match):
    message = ""
    try:
        everything(path)
    except InputError as error:
        message = str(error)
    assert re.search(match, message)
    assert str(path) in message
    assert "\n" not in message


@contextlib.contextmanager
def edited(path):
    """A copy to change; HDF5 knows files by their names, and one that was read may be open."""
    copy = path.with_name(f"{len(list(path.parent.iterdir()))}{path.name}")
    shutil.copy(path, copy)
    with h5py.File(copy, "r+") as file:
        yield copy, file


def write_typed(path, x, y, **attributes):
    """Arrays (L, 4, N) and (K, N) as they are, with MATLAB's class of each."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in (("testxdata", x), ("testdata", y)):
            file[name] = values
            kind = CLASSES.get(values.dtype.newbyteorder("=").str[1:], "logical")
            file[name].attrs["MATLAB_class"] = np.bytes_(attributes.get(name, kind))


# ---- types ----


@pytest.mark.parametrize("dtype", [*CLASSES, ">f8", ">i2", "f2", "?"])
def test_numbers_of_any_type_in_v73(dtype, rng, tmp_path):
    codes, y = random_set(rng, 2100)  # three blocks of a contiguous array
    path = tmp_path / "test.mat"
    x = one_hot_agct(codes).transpose(1, 2, 0).astype(dtype)
    write_typed(path, x, y.T.astype(dtype))
    assert same(path, codes, y)
    read = data.load(path)
    for rows in (slice(1000, 1100), slice(1023, 1025), slice(7, 2099), [2050, 3, 1024]):
        assert np.array_equal(read.codes[rows], codes[rows])
        assert np.array_equal(read.labels[rows], y[rows])


def test_logicals_of_v73_are_bytes_with_a_name(rng, tmp_path):
    codes, y = random_set(rng, 30)
    path = tmp_path / "test.mat"
    x = one_hot_agct(codes).transpose(1, 2, 0)
    write_typed(path, x, y.T, testxdata="logical", testdata="logical")
    assert same(path, codes, y)


def test_doubles_are_read_block_by_block(tmp_path):
    """4 MB of codes from 16 times as much."""
    codes = np.tile(np.arange(5, dtype=np.uint8), (20_000, 40))
    y = np.eye(2)[np.arange(20_000) % 2]
    path = tmp_path / "test.mat"
    write_typed(path, one_hot_agct(codes).transpose(1, 2, 0).astype(float), y.T)
    read = data.load(path)
    tracemalloc.start()
    found = read.codes[:]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(found, codes)
    # one-hot bytes, four to a base; their codes, twice; one block of doubles
    assert peak < (4 + 2 + 1.2) * codes.size + 1024 * 200 * 4 * 8


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("dtype", [*CLASSES, "?"])
def test_numbers_of_any_type_in_v5(dtype, compressed, rng, tmp_path):
    codes, y = random_set(rng, 60)
    path = tmp_path / "test.mat"
    x = one_hot_agct(codes).transpose(0, 2, 1)
    arrays = {"testxdata": x.astype(dtype), "testdata": y.astype(dtype)}
    scipy.io.savemat(path, arrays, do_compression=compressed)
    assert same(path, codes, y)


def matrix(name, values, kind, stored_as, order="<"):
    """A v5 element: class ``kind``, values stored as type ``stored_as``, whatever the class."""
    dtype = np.dtype(matlab._TYPES[stored_as]).newbyteorder(order)
    raw = np.ascontiguousarray(values.T, dtype).tobytes()

    def element(number, body):
        return struct.pack(f"{order}II", number, len(body)) + body + bytes(-len(body) % 8)

    body = element(6, struct.pack(f"{order}II", kind, 0))
    body += element(5, struct.pack(f"{order}{values.ndim}i", *values.shape))
    body += element(1, name.encode()) + element(stored_as, raw)
    return struct.pack(f"{order}II", 14, len(body)) + body


def header(order="<"):
    text = b"MATLAB 5.0 MAT-file".ljust(124)
    return text + (b"\x00\x01IM" if order == "<" else b"\x01\x00MI")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("stored_as", [1, 2, 3, 4, 5, 6, 7, 9])
def test_v5_of_either_byte_order_stores_doubles_in_any_type(order, stored_as, rng, tmp_path):
    codes, y = random_set(rng, 20)
    path = tmp_path / "test.mat"
    x = one_hot_agct(codes).transpose(0, 2, 1)
    parts = [matrix("testxdata", x, 6, stored_as, order), matrix("testdata", y, 6, 2, order)]
    path.write_bytes(header(order) + b"".join(parts))
    loaded = scipy.io.loadmat(path, mat_dtype=True)
    assert loaded["testxdata"].dtype.kind == "f"
    assert np.array_equal(loaded["testxdata"], x)
    assert same(path, codes, y)


def test_files_that_matlab_wrote():
    """Those that scipy tests itself with: 5.3 to 8, SPARC's byte order too."""
    folder = Path(scipy.io.__file__).parent / "matlab" / "tests" / "data"
    files = sorted(folder.glob("test*_[5-8].*.mat")) + sorted(folder.glob("*_endian.mat"))
    if not files:
        pytest.skip("this scipy comes without its tests")
    compared = 0
    for path in files:
        if h5py.is_hdf5(path):
            continue
        expected = scipy.io.loadmat(path)
        for name, open_variable in matlab.mat_variables(path).items():
            values = expected[name]
            if values.dtype.kind not in "biuf" or not isinstance(values, np.ndarray):
                with pytest.raises(InputError, match=f"{name}: .*; want a full array of numbers"):
                    open_variable()
                continue
            found = np.array(list(open_variable().planes()))
            ones = np.where(values.T == 0, 0, np.where(values.T == 1, 1, 2))
            assert np.array_equal(np.minimum(found, 2), ones)
            compared += 1
    assert compared >= 15


@pytest.mark.parametrize("version", ["earliest", "v108", "v110", "latest"])
@pytest.mark.parametrize(
    "layout",
    [
        {}, {"chunks": (43, 4, 60)}, {"chunks": (20, 4, 16)},
        {"chunks": (64, 4, 64), "maxshape": (None, 4, None)},
        {"chunks": (20, 4, 16), "compression": "lzf", "shuffle": True, "fletcher32": True},
        {"chunks": (20, 4, 16), "maxshape": (43, 4, None)},
        {"chunks": (20, 4, 16), "maxshape": (None, 4, 60)},
        {"chunks": (20, 4, 16), "maxshape": (None, 4, None), "compression": "gzip"},
    ],
)  # fmt: skip
def test_v73_of_any_version_of_hdf5(version, layout, rng, tmp_path):
    codes, y = random_set(rng, 60)
    with h5py.File(tmp_path / "test.mat", "w", libver=version, userblock_size=512) as file:
        file.create_dataset("testxdata", data=one_hot_agct(codes).transpose(1, 2, 0), **layout)
        file["testdata"] = y.T
    assert same(tmp_path / "test.mat", codes, y)


# ---- other variables ----


def add_others(file):
    """What MATLAB puts into a v7.3 file for chars, cells, structs, sparse matrices and so on."""
    references = file.create_group("#refs#")
    references["a"] = np.arange(3.0)
    file["names"] = np.array([[78], [97]], "u2")
    file["names"].attrs.update(MATLAB_class=np.bytes_("char"), MATLAB_int_decode=2)
    file.create_dataset("cells", (1, 1), h5py.ref_dtype)[0, 0] = references["a"].ref
    file["cells"].attrs["MATLAB_class"] = np.bytes_("cell")
    file["record/field"] = np.ones((2, 2))
    file["record"].attrs["MATLAB_class"] = np.bytes_("struct")
    file["sparse/data"], file["sparse/ir"], file["sparse/jc"] = np.ones(2), [0, 1], [0, 1, 2]
    file["sparse"].attrs.update(MATLAB_class=np.bytes_("double"), MATLAB_sparse=np.uint64(2))
    file["f"] = np.array([[0xDD000000, 2, 1]], "u4")
    file["f"].attrs["MATLAB_class"] = np.bytes_("function_handle")
    file["z"] = np.ones((2, 2), complex)
    file["empty"] = np.array([0, 0], "u8")
    file["empty"].attrs.update(MATLAB_class=np.bytes_("double"), MATLAB_empty=np.uint8(1))
    file["strings"] = np.array([["a"], ["b"]], h5py.string_dtype())
    file.create_group("#subsystem#")["MCOS"] = np.zeros((1, 4), "u4")
    file["half"] = np.full((3, 3), 0.5)
    file["ydata"] = np.ones(3)  # ends as labels do, without bases
    file["elsewhere"] = h5py.ExternalLink("nowhere.h5", "/x")
    file["circle"] = h5py.SoftLink("/circle")
    file["self"] = file["/"]


def test_other_variables_of_v73_are_not_looked_at(rng, tmp_path):
    codes, y = random_set(rng, 30)
    path = tmp_path / "test.mat"
    write_hdf5(path, codes, y, name="test", chunks=(20, 4, 16), compression="gzip")
    with h5py.File(path, "r+") as file:
        add_others(file)
    assert same(path, codes, y)


def test_other_variables_of_v5_are_not_looked_at(rng, tmp_path):
    codes, y = random_set(rng, 30)
    path = tmp_path / "test.mat"
    others = {
        "names": "hello", "cells": np.array([1, "a"], object), "record": {"a": 1.0},
        "z": np.ones((2, 2), complex), "empty": np.zeros((0, 0)), "half": np.full((3, 3), 0.5),
        "sparse": scipy.sparse.eye(4).tocsc(), "ydata": np.ones(3),
    }  # fmt: skip
    pair = {"testxdata": one_hot_agct(codes).transpose(0, 2, 1), "testdata": y}
    for arrays in ({**others, **pair}, {**pair, **others}):
        scipy.io.savemat(path, arrays)
        assert same(path, codes, y)


def test_one_pair_is_wanted(rng, tmp_path):
    codes, y = random_set(rng, 10)
    path = tmp_path / "test.mat"
    write_hdf5(path, codes, y, name="test")
    with edited(path) as (copy, file):
        file["otherxdata"] = np.zeros(3)
    assert same(copy, codes, y)  # a pair, and one without labels
    with edited(path) as (copy, file):
        file["otherxdata"] = file["otherdata"] = np.zeros(3)
    refused(copy, "otherdata, otherxdata, testdata, testxdata; want one pair")
    with h5py.File(tmp_path / "many.mat", "w") as file:
        for i in range(12):
            file[f"a\n{i:02}"] = i
    refused(tmp_path / "many.mat", r"'a\\n09' and 2 more; want one pair")
    one, two = (matrix(name, y, 9, 2) for name in ("testdata", "testxdata"))
    (tmp_path / "twice.mat").write_bytes(header() + one + two + one)
    refused(tmp_path / "twice.mat", "testdata: there twice")


NOT_OURS = {
    "char": (np.array([[78], [97]], "u2"), "char", "testdata: a MATLAB char; want a full array"),
    "cell": (np.zeros((2, 2), "u8"), "cell", "testdata: a MATLAB cell"),
    "complex": (np.ones((9, 20), complex), "double", "testdata: complex128"),
    "empty": (np.array([0, 9], "u8"), "double", "testdata: empty"),
    "scalar": (np.array(1.0), "double", r"testdata: float64 \(\)"),
    "text": (np.array([["1"]], "S1"), "double", r"testdata: \|S1"),
}


@pytest.mark.parametrize("what", NOT_OURS)
def test_v73_labels_that_are_no_numbers(what, rng, tmp_path):
    codes, _ = random_set(rng, 20)
    path = tmp_path / "test.mat"
    values, kind, match = NOT_OURS[what]
    write_typed(path, one_hot_agct(codes).transpose(1, 2, 0), values, testdata=kind)
    if what == "empty":
        with h5py.File(path, "r+") as file:
            file["testdata"].attrs["MATLAB_empty"] = np.uint8(1)
    refused(path, match)


def test_v5_labels_that_are_no_numbers(rng, tmp_path):
    codes, y = random_set(rng, 20)
    path = tmp_path / "test.mat"
    x = one_hot_agct(codes).transpose(0, 2, 1)
    for values, what in (
        ("hello", "char"), (np.array([1, "a"], object), "cell"), ({"a": 1.0}, "struct"),
        (scipy.sparse.csc_matrix(y.astype(float)), "sparse matrix"),
        (y.astype(complex), "complex numbers"),
    ):  # fmt: skip
        scipy.io.savemat(path, {"testxdata": x, "testdata": values})
        refused(path, f"testdata: {what}; want a full array of numbers, 0 and 1")


def test_v4_is_told(tmp_path):
    path = tmp_path / "test.mat"
    scipy.io.savemat(path, {"testdata": np.ones((3, 4))}, format="4")
    refused(path, "a MAT v4 file; want one that MATLAB saved with -v7.3 or -v7")
    path.write_bytes(struct.pack(">5i", 1000, 3, 4, 0, 9) + b"testdata\0" + bytes(96))
    refused(path, "a MAT v4 file")
    for text in (b"", b"\0" * 200, b"# Created by Octave 7.3.0\n" * 20):
        path.write_bytes(text)
        refused(path, "neither an HDF5")


# ---- values ----

WRONG_BASES = {
    "int8 -1": ("i1", [-1, 0, 0, 0]),
    "int8 that adds up to 1": ("i1", [1, 1, -1, 0]),
    "uint8 that adds up to 256": ("u1", [128, 128, 0, 0]),
    "uint8 that adds up to 257": ("u1", [128, 128, 1, 0]),
    "255": ("u1", [255, 0, 0, 2]),
    "two bases": ("u1", [1, 0, 0, 1]),
    "int32 that is 1 in its first byte": ("i4", [257, 0, 0, 0]),
    "uint16": ("u2", [256, 0, 0, 0]),
    "halves": ("f8", [0.5, 0.5, 0, 0]),
    "almost": ("f8", [1 - 1e-16 * 2, 0, 0, 0]),
    "NaN": ("f4", [np.nan, 0, 0, 0]),
    "NaN beside a base": ("f4", [np.nan, 1, 0, 0]),
    "infinite": ("f8", [np.inf, 0, 0, 0]),
    "minus one and two": ("f8", [2, -1, 0, 0]),
    "two bases of doubles": ("f8", [1, 1, 0, 0]),
}


@pytest.mark.parametrize("form", ["v7.3", "v5"])
@pytest.mark.parametrize("what", WRONG_BASES)
def test_a_base_that_is_not_one_hot_is_found(what, form, rng, tmp_path):
    dtype, channels = WRONG_BASES[what]
    codes, y = random_set(rng, 1200)
    x = one_hot_agct(codes).astype(dtype)
    x[1111, 37] = channels
    path = tmp_path / "test.mat"
    if form == "v5":
        scipy.io.savemat(path, {"testxdata": x.transpose(0, 2, 1), "testdata": y})
    else:
        write_typed(path, x.transpose(1, 2, 0), y.T)
    refused(path, r"testxdata: base 37 of example 1111 \(from 0\) is not one-hot: want a single 1")
    assert np.array_equal(np.asarray(data.load(path).labels), y)


def test_minus_zero_is_zero(rng, tmp_path):
    codes, y = random_set(rng, 10)
    x = one_hot_agct(codes).transpose(1, 2, 0).astype(float)
    write_typed(tmp_path / "test.mat", np.where(x == 0, -0.0, x), y.T)
    assert same(tmp_path / "test.mat", codes, y)


@pytest.mark.parametrize("form", ["v7.3", "v5"])
@pytest.mark.parametrize(
    ("dtype", "value"),
    [("i1", -1), ("u1", 2), ("u1", 255), ("i4", 256), ("f8", 0.5), ("f4", np.nan)],
)
def test_a_label_that_is_neither_0_nor_1_is_found(dtype, value, form, rng, tmp_path):
    codes, y = random_set(rng, 1200)
    labels = y.astype(dtype)
    labels[1111, 5] = value
    x = one_hot_agct(codes)
    path = tmp_path / "test.mat"
    if form == "v5":
        scipy.io.savemat(path, {"testxdata": x.transpose(0, 2, 1), "testdata": labels})
    else:
        write_typed(path, x.transpose(1, 2, 0), labels.T)
    refused(path, r"testdata: label 5 of example 1111 \(from 0\): labels must be 0 or 1")
    assert np.array_equal(np.asarray(data.load(path, labels="6..8").labels), y[:, 6:])


# ---- values that lie elsewhere ----


@pytest.fixture
def outside(rng, tmp_path):
    """(path of a file of bases alone; codes, labels; path of a file with both, to be linked to)."""
    codes, y = random_set(rng, 20)
    path, other = tmp_path / "test.mat", tmp_path / "other.mat"
    write_hdf5(path, codes, y, name="test")
    write_hdf5(other, codes, y, name="test")
    with h5py.File(path, "r+") as file:
        file.move("testdata", "labels")
    return path, codes, y, other


def test_a_link_within_the_file_is_followed(outside):
    path, codes, y, _ = outside
    with edited(path) as (copy, file):
        file["testdata"] = h5py.SoftLink("/labels")
    assert same(copy, codes, y)


def test_links_that_lead_elsewhere_or_nowhere(outside):
    path, _, y, other = outside
    elsewhere = {
        "lies in another file, '.*other.mat'": h5py.ExternalLink(str(other), "/testdata"),
        "a link to '/through' that cannot be followed": h5py.SoftLink("/through"),
        "a link to '/up/testdata' that cannot be followed": h5py.SoftLink("/up/testdata"),
    }
    nowhere = {
        "lies in another file, 'none'": h5py.ExternalLink("none", "/testdata"),
        "a link to '/nowhere' that cannot be followed": h5py.SoftLink("/nowhere"),
        "a link to '/testdata' that cannot be followed": h5py.SoftLink("/testdata"),
        "no array but a group": h5py.SoftLink("/"),
    }
    for match, link in (elsewhere | nowhere).items():
        with edited(path) as (copy, file):
            file["through"] = h5py.ExternalLink(str(other), "/testdata")
            file["up"] = h5py.ExternalLink(str(other), "/")
            file["testdata"] = link
            if match in elsewhere:  # h5py itself would read it
                assert np.array_equal(file["testdata"][:], y.T)
        refused(copy, f"testdata: {match}")
    with edited(path) as (copy, file):
        file["testdata"] = file["/"]
    refused(copy, "testdata: no array but a group")


def test_values_in_other_files(outside, tmp_path):
    path, _, y, other = outside
    raw = tmp_path / "raw"
    raw.write_bytes(y.T.tobytes())
    virtual = h5py.VirtualLayout(y.T.shape, "u1")
    virtual[:] = h5py.VirtualSource(other, "testdata", y.T.shape)
    shape, external = y.T.shape, [(str(raw), 0, y.size)]
    for write in (
        lambda file: file.create_dataset("testdata", shape, "u1", external=external),
        lambda file: file.create_virtual_dataset("testdata", virtual),
    ):
        with edited(path) as (copy, file):
            write(file)
            assert np.array_equal(file["testdata"][:], y.T)
        refused(copy, "testdata: its values lie in other files; want them in this one")


def test_a_filter_that_is_not_installed(outside):
    path, _, y, _ = outside
    with edited(path) as (copy, file):
        file.create_dataset("testdata", data=y.T, chunks=y.T.shape, compression="lzf")
    whole = copy.read_bytes()
    assert whole.count(struct.pack("<H", 32000)) == 1
    copy.write_bytes(whole.replace(struct.pack("<H", 32000), struct.pack("<H", 32123)))
    refused(copy, r"testdata: compressed by a filter that is not installed \(32123 lzf\)")


# ---- less than is claimed ----


def test_v73_that_was_not_written_to_its_end(outside):
    path, codes, y, _ = outside
    with edited(path) as (copy, file):
        file.create_dataset("testdata", y.T.shape, "u1")
    refused(copy, r"testdata \(9, 20\): 0 of its 180 bytes were ever written")
    x = one_hot_agct(codes).transpose(1, 2, 0)
    for written, chunks in ((16, 6), (20, 9)):
        with edited(path) as (copy, file):
            file.move("labels", "testdata")
            del file["testxdata"]
            file.create_dataset("testxdata", x.shape, "u1", chunks=(20, 4, 8))
            file["testxdata"][:, :, :written] = x[:, :, :written]
        if chunks < 9:
            refused(copy, r"testxdata \(43, 4, 20\): 6 of its 9 chunks were ever written")
        else:
            assert same(copy, codes, y)


def test_chunks_in_the_place_of_others(rng, tmp_path):
    """In the file, so that one is read twice; in the array, so that one is not found: zeros."""
    codes, y = random_set(rng, 16)
    path = tmp_path / "test.mat"
    with h5py.File(path, "w") as file:
        x = one_hot_agct(codes).transpose(1, 2, 0)
        bases = file.create_dataset("testxdata", data=x, chunks=(43, 4, 4))
        file["testdata"] = y.T
        first, second = (bases.id.get_chunk_info(i).byte_offset for i in (0, 1))
    assert same(path, codes, y)
    whole = path.read_bytes()
    size = 43 * 4 * 4
    for number, (one, two) in enumerate((
        (struct.pack("<Q", first), struct.pack("<Q", second)),
        (struct.pack("<2I3Q", size, 0, 0, 0, 4), struct.pack("<2I3Q", size, 0, 0, 0, 8)),
        (struct.pack("<2I3Q", size, 0, 0, 0, 4), struct.pack("<2I3Q", size, 0, 0, 4, 4)),
    )):  # fmt: skip
        assert whole.count(one) == 1
        damaged = tmp_path / f"{number}.mat"
        damaged.write_bytes(whole.replace(one, two))
        refused(damaged, "testxdata: damaged: chunks where none can be")


def test_v5_claims_are_compared_with_what_is_stored(rng, tmp_path):
    codes, y = random_set(rng, 20)
    x = one_hot_agct(codes).transpose(0, 2, 1)
    path = tmp_path / "test.mat"
    labels = matrix("testdata", y, 9, 2)
    whole = matrix("testxdata", x, 9, 2)
    shape = struct.pack("<3i", *x.shape)
    for claimed, match in (
        ((2**31 - 1, 4, 43), r"testxdata \(2147483647, 4, 43\): damaged or truncated: takes"),
        ((-20, -4, 43), r"testxdata \(-20, -4, 43\): damaged"),
        ((20, 4, 42), r"testxdata \(20, 4, 42\): damaged"),
    ):
        path.write_bytes(header() + labels + whole.replace(shape, struct.pack("<3i", *claimed)))
        refused(path, match)
    # the tag of the values claims as much
    size = struct.pack("<II", 2, x.size)
    most = (2**29, 1, 4)
    claim = whole.replace(shape, struct.pack("<3i", *most)).replace(
        size, struct.pack("<II", 2, 2**31)
    )
    path.write_bytes(header() + labels + claim)
    refused(path, r"testxdata \(536870912, 1, 4\): damaged or truncated: takes 2147483648 bytes")
    # and the name
    path.write_bytes(
        header() + labels + whole.replace(struct.pack("<II", 1, 9), struct.pack("<II", 1, 2**31))
    )
    refused(path, "damaged or truncated MAT v5 file .a header of 2147483648 bytes")
    # the element itself
    path.write_bytes(header() + labels + struct.pack("<II", 14, 2**32 - 1) + whole[8:])
    refused(path, "truncated: [0-9]+ bytes, want 42949")
    # compressed: no stream of so few bytes can become so many
    packed = zlib.compress(struct.pack("<II", 14, 2**32 - 8) + claim[8:])
    path.write_bytes(header() + labels + struct.pack("<II", 15, len(packed)) + packed)
    refused(path, "4294967288 bytes said to be in [0-9]+ compressed ones")
    for values in (14, 18, 255):
        path.write_bytes(
            header() + labels + whole.replace(size, struct.pack("<II", values, x.size))
        )
        refused(path, "testxdata: damaged or truncated")


def test_a_compressed_stream_is_read_to_its_checksum(rng, tmp_path):
    codes, y = random_set(rng, 20)
    path = tmp_path / "test.mat"
    whole = matrix("testxdata", one_hot_agct(codes).transpose(0, 2, 1), 9, 2)
    packed = bytearray(zlib.compress(whole))

    def write(stream):
        element = struct.pack("<II", 15, len(stream)) + bytes(stream)
        path.write_bytes(header() + element + matrix("testdata", y, 9, 2))

    write(packed)
    assert same(path, codes, y)
    packed[-1] ^= 1
    write(packed)
    refused(path, "testxdata: damaged or truncated .*incorrect data check")
    write(packed[:-4])
    refused(path, "testxdata: damaged or truncated")


_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
from tfbs_shift import data, InputError
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
for path in sys.argv[1:]:
    try:
        read = data.load(path)
        np.asarray(read.codes), np.asarray(read.labels)
    except InputError as error:
        assert Path(path).name in str(error), error
        print("refused")
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc to ask")
def test_claims_take_no_memory(rng, tmp_path):
    """Of files that claim gigabytes, where there is a quarter of one."""
    names = [f"{i}.mat" for i in range(5)] + ["6.h5", "7.npz", "8.npz"]
    paths = [tmp_path / name for name in names]
    n = 10**7
    for path, options in zip(paths, ({}, {"chunks": (1000, 4, 100)}), strict=False):
        with h5py.File(path, "w") as file:
            file.create_dataset("testxdata", (1000, 4, n), "u1", **options)
            file.create_dataset("testdata", (919, n), "u1", **options and {"chunks": (919, 100)})
    y = matrix("testdata", np.zeros((2, 2), "u1"), 9, 2)
    claim = (
        struct.pack("<4I", 6, 8, 9, 0) + struct.pack("<II3iI", 5, 12, 2**29, 1, 4, 0)
        + struct.pack("<II", 1, 9) + b"testxdata".ljust(16, b"\0") + struct.pack("<II", 2, 2**31)
    )  # fmt: skip
    paths[2].write_bytes(header() + y + struct.pack("<II", 14, len(claim)) + claim)
    packed = zlib.compress(struct.pack("<II", 14, len(claim) + 2**31) + claim)
    paths[3].write_bytes(header() + y + struct.pack("<II", 15, len(packed)) + packed)
    # 1 GB of codes that are all there, well compressed: more than the memory
    with h5py.File(paths[4], "w") as file:
        zeros = {"chunks": (1000, 4, 2**16), "compression": "gzip"}
        x = file.create_dataset("testxdata", (1000, 4, 2**16), "u1", **zeros)
        x[...] = 0
        file["testdata"] = np.zeros((1, 2**16), "u1")
    with h5py.File(paths[5], "w") as file:
        file.attrs.update(format=stored.FORMAT, length=1200, labels=1, chromosomes=["a"])
        file["label_names"] = np.array([b"a"])
        for name, (shape, dtype) in stored.layout(10**9, 1200, 1).items():
            file.create_dataset(name, shape, dtype)
    for path, extra in zip(paths[6:], (b"", bytes(2**20)), strict=True):
        write_claiming_npz(path, (2**22, 1, 1000, 4), extra)
    run = subprocess.run(
        [sys.executable, "-c", _LITTLE_MEMORY, *paths], capture_output=True, text=True, check=False
    )
    assert run.stderr == ""
    assert run.stdout.split() == ["refused"] * len(paths)


def write_claiming_npz(path, shape, body):
    """An .npz of arrays whose headers claim a shape, with other bytes behind."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for i in range(4):
            with file.open(f"arr_{i}.npy", "w") as array:
                entry = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(array, entry)
                array.write(body)


# ---- damage ----


def forms(folder, rng):
    """A small file of each form, of the same examples."""
    codes, y = random_set(rng, 40)
    x = one_hot_agct(codes).transpose(0, 2, 1)
    options = {"name": "test", "chunks": (20, 4, 16)}
    write_hdf5(folder / "gzip.mat", codes, y, **options, compression="gzip")
    write_hdf5(folder / "chunks.mat", codes, y, **options)
    write_hdf5(folder / "contiguous.mat", codes, y, name="test")
    write_v5(folder / "v5.mat", codes, y, compressed=False)
    write_v5(folder / "v5z.mat", codes, y)
    scipy.io.savemat(folder / "doubles.mat", {"testxdata": x.astype(float), "testdata": y})
    acgt = one_hot_agct(codes)[..., [0, 2, 1, 3]]
    np.savez(folder / "plain.npz", acgt, y, acgt, y)
    np.savez_compressed(folder / "deflated.npz", acgt, y, acgt, y)
    columns = {
        "codes": stored.pack(codes), "labels": np.packbits(y, axis=1),
        "chrom": np.arange(40, dtype="i4") % 2, "start": np.arange(40) * 50,
        "strand": np.arange(40, dtype="u1") % 2, "status": np.ones(40, "u1"),
    }  # fmt: skip
    stored.write_stored(
        folder / "ours.h5", columns, 43, list("abcdefghi"), {"1": 99, "2": 9}, "a test"
    )
    return codes, y


FORMS = ("gzip.mat", "chunks.mat", "contiguous.mat", "v5.mat", "v5z.mat", "doubles.mat",
         "plain.npz", "deflated.npz", "ours.h5")  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forms")
    return folder, *forms(folder, np.random.default_rng(3))


@pytest.mark.parametrize("form", FORMS)
def test_a_truncated_file_is_refused_wherever_it_ends(form, whole, tmp_path):
    folder, codes, y = whole
    assert same(folder / form, codes, y)
    content = (folder / form).read_bytes()
    ends = {0, 1, 127, 128, 129, 512, 520, *range(2, len(content), len(content) // 60)}
    for end in (*sorted(ends), *range(len(content) - 20, len(content))):
        path = tmp_path / f"{end}{form}"  # HDF5 knows a file by its name
        path.write_bytes(content[:end])
        refused(path, "")
        path.unlink()


@pytest.mark.parametrize("form", FORMS)
def test_damage_is_told_or_harmless(form, whole, tmp_path):
    """Whatever bits are overturned: one line, or examples of the kind that was there."""
    folder, codes, y = whole
    content = (folder / form).read_bytes()
    rng = np.random.default_rng(5)
    told = 0
    for number, many in itertools.product(range(120), (1, 8)):
        damaged = bytearray(content)
        for at in rng.integers(0, len(content), many):
            damaged[at] ^= 1 << rng.integers(8)
        path = tmp_path / f"{number}.{many}{form}"
        path.write_bytes(damaged)
        try:
            found = everything(path)
            assert found[0].max() <= 4 and found[1].max() <= 1
            if form.endswith("npz"):  # which has a checksum of everything
                assert np.array_equal(found[0], codes) and np.array_equal(found[1], y)
        except InputError as error:
            assert path.name in str(error) and "\n" not in str(error)
            told += 1
        path.unlink()
    assert told > 40
