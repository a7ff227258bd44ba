"""Work that is interrupted and goes on: arrays filled row by row, rows that are appended."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tfbs_shift import InputError, files
from tfbs_shift.files import Workspace, rows_done


@pytest.fixture(autouse=True)
def recorded_at_once(monkeypatch):
    monkeypatch.setattr(files, "_SECONDS", 0.0)


def begun(folder, mark="this work", count=6):
    """A workspace, its array of ``count`` rows, and the two appended for each row done."""
    work = Workspace(folder, mark)
    return work, work.array("a", (count, 2), np.int32), work.growing("g", 3, 2 * work.done)


def rows_of(i):
    return np.full((2, 3), i, np.float32) + np.arange(3)


def fill(work, array, grown, end):
    for i in range(work.done, end):
        array[i] = i
        grown.append(rows_of(i))
        work.record(i + 1, last=False)


@pytest.mark.parametrize("on_disk", [True, False])
def test_rows_are_there(on_disk, tmp_path):
    work, array, grown = begun(tmp_path / "w" if on_disk else None)
    fill(work, array, grown, 3)
    assert array[:3].tolist() == [[i, i] for i in range(3)]
    assert np.array_equal(grown.all(), np.concatenate([rows_of(i) for i in range(3)]))
    grown.append(rows_of(9))  # after it was read
    assert np.array_equal(grown.all()[[7, 0, 5]], [rows_of(9)[1], rows_of(0)[0], rows_of(2)[1]])


def test_it_goes_on_after_the_rows_that_are_recorded(tmp_path):
    folder = tmp_path / "w"
    work, array, grown = begun(folder)
    fill(work, array, grown, 4)
    grown.append(rows_of(77))  # not recorded
    grown.flush()
    again, array, grown = begun(folder)
    assert again.done == 4
    assert array[:4].tolist() == [[i, i] for i in range(4)]
    assert len(grown.all()) == 8
    fill(again, array, grown, 6)
    assert np.array_equal(grown.all(), np.concatenate([rows_of(i) for i in range(6)]))
    assert rows_done(folder, "this work") == 6
    assert rows_done(folder, "other work") == 0
    other, _, grown = begun(folder, "other work", 9)
    assert other.done == 0
    grown.append(rows_of(0))
    assert len(grown.all()) == 2
    assert rows_done(folder, "this work") == 0


def test_it_is_recorded_every_few_seconds_and_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_SECONDS", 1000.0)
    work, array, grown = begun(tmp_path)
    fill(work, array, grown, 5)
    assert rows_done(tmp_path, "this work") == 0
    work.record(6, last=True)
    assert rows_done(tmp_path, "this work") == 6


def test_what_was_changed_meanwhile_is_named(tmp_path):
    folder = tmp_path / "w"
    work, array, grown = begun(folder)
    fill(work, array, grown, 4)
    with pytest.raises(InputError, match=r"a\.npy: not as it was left; remove .*w to start over"):
        begun(folder, count=7)
    (folder / "g.f32").write_bytes(bytes(4 * 3 * 8 - 1))
    with pytest.raises(InputError, match=r"g\.f32: not as it was left; remove .*w to start over"):
        begun(folder)
    (folder / "a.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match=r"a\.npy: damaged; remove .*w to start over"):
        begun(folder)


def test_what_is_removed_begins_anew(tmp_path, monkeypatch):
    folder = tmp_path / "w"
    work, array, grown = begun(folder)
    fill(work, array, grown, 4)
    with monkeypatch.context() as patched:  # stopped while the files go
        patched.setattr(files.shutil, "rmtree", lambda folder: (folder / "a.npy").unlink())
        work.remove()
    work, array, grown = begun(folder)
    assert work.done == 0
    fill(work, array, grown, 6)
    work.remove()
    assert not folder.exists()
    Workspace(None, "").remove()


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="takes no room beforehand")
def test_the_room_is_taken_at_once(tmp_path):
    """A full disk would end the process when a memory map is written to."""
    Workspace(tmp_path, "").array("a", (2**20,), np.uint8)
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= 2**20


_FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from tfbs_shift.files import Workspace, replacing
resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))
folder, what = Path(sys.argv[1]), sys.argv[2]
try:
    work = Workspace(folder, "")
    if what == "array":
        work.array("a", (2**16,), np.uint8)
    grown = work.growing("g", 16, 0)
    grown.append(np.ones((2**10, 16)))
    grown.append(np.ones((2**10 if what == "append" else 1, 16)))
    if what == "flush":
        work.record(1, last=True)
except OSError as error:
    print(error.errno, error.filename)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on files there")
@pytest.mark.parametrize(
    ("what", "name"), [("array", "a.npy"), ("append", "g.f32"), ("flush", "g.f32")]
)
def test_no_room_is_an_error_with_the_files_name(what, name, tmp_path):
    """A limit on the size of files stands for a full disk."""
    words = [sys.executable, "-c", _FULL, tmp_path / "w", what]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    number, _, path = said.strip().partition(" ")
    assert number == "27"  # EFBIG
    assert path == str(tmp_path / "w" / name)
    assert not (tmp_path / "w" / "progress.json").exists()
