"""One writer a folder; files that take their places as one."""

import os
import signal
import subprocess
import sys

import filelock
import pytest

from tfbs_shift import locks
from tfbs_shift.errors import InputError
from tfbs_shift.files import committed
from tfbs_shift.locks import only_writer

HOLDER = """
import sys, time
from pathlib import Path
from tfbs_shift.locks import only_writer
with only_writer(Path(sys.argv[1])):
    print("holds", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the folder "run"."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path / "run"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "holds\n"
    yield process
    process.kill()
    process.communicate()


def test_two_processes_do_not_write_to_one_folder(holder, tmp_path):
    with (
        pytest.raises(InputError, match=rf"run: process {holder.pid} on \S+ \(since \d+"),
        only_writer(tmp_path / "run"),
    ):
        pass
    with only_writer(tmp_path / "run", "-1"):  # they write together
        pass


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_ends_with_its_process(holder, how, tmp_path):
    holder.send_signal(how)
    holder.wait()
    with only_writer(tmp_path / "run") as held:
        held.check()
        assert str(os.getpid()) in held.writer.read_text()
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").iterdir())


def test_a_folder_in_which_nothing_was_written_is_removed_again(tmp_path):
    with pytest.raises(ZeroDivisionError), only_writer(tmp_path / "a" / "b"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    with only_writer(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "file").touch()
    assert (tmp_path / "a" / "b" / "file").exists()


def test_a_folder_that_was_there_stays(tmp_path):
    (tmp_path / "a").mkdir()
    with only_writer(tmp_path / "a"):
        pass
    assert (tmp_path / "a").is_dir()


def test_a_folder_that_is_removed_meanwhile(tmp_path):
    with only_writer(tmp_path / "a") as held:
        for file in list((tmp_path / "a").iterdir()):
            file.unlink()
        (tmp_path / "a").rmdir()
        with pytest.raises(InputError, match=r"a: was removed, or emptied, while"):
            held.check()


@pytest.mark.parametrize("alive", [True, False])
def test_where_a_file_system_has_no_locks(alive, monkeypatch, tmp_path):
    def none(*_, **__):
        raise NotImplementedError

    monkeypatch.setattr(filelock.FileLock, "acquire", none)
    with only_writer(tmp_path):
        with pytest.raises(InputError, match=f"process {os.getpid()} on"), only_writer(tmp_path):
            pass
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        words = (tmp_path / ".writer").read_text().split(" ", 2)
        # As that process would have left it.
        (tmp_path / ".writer").write_text(f"{words[0]} {process.pid} {words[2]}")
        if not alive:
            process.kill()
            process.wait()
        lock = tmp_path / ".lock"
        assert lock.exists()
        assert locks._runs(str(process.pid)) == alive
        if alive:
            with pytest.raises(InputError, match=str(process.pid)), only_writer(tmp_path):
                pass
            process.kill()
            process.wait()
        else:
            with only_writer(tmp_path):
                pass


NAMES = ("a.txt", "folder", "whole")


def write(folder, text):
    (folder / "a.txt").write_text(text)
    (folder / "folder").mkdir()
    (folder / "folder" / text).touch()
    (folder / "whole").write_text(text)


def files(folder):
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*"))


def test_a_set_takes_the_place_of_another(tmp_path):
    (tmp_path / "mine").touch()
    for text in ("one", "two"):
        with committed(tmp_path, NAMES) as new:
            write(new, text)
            assert (tmp_path / "whole").exists() == (text == "two")
    assert files(tmp_path) == ["a.txt", "folder", "folder/two", "mine", "whole"]
    assert (tmp_path / "a.txt").read_text() == "two"
    with committed(tmp_path, NAMES) as new:
        (new / "whole").touch()
    assert files(tmp_path) == ["mine", "whole"]


def test_a_set_that_is_not_finished_leaves_the_other(tmp_path):
    with committed(tmp_path, NAMES) as new:
        write(new, "one")
    with pytest.raises(ZeroDivisionError), committed(tmp_path, NAMES) as new:
        write(new, "two")
        raise ZeroDivisionError
    assert files(tmp_path) == ["a.txt", "folder", "folder/one", "whole"]
    assert (tmp_path / "whole").read_text() == "one"


COMMITS = """
import os, signal, sys
from pathlib import Path
from tfbs_shift.files import committed
out, steps = Path(sys.argv[1]), int(sys.argv[2])
for name in ("rename", "replace", "unlink"):
    def counted(self, *args, _real=getattr(Path, name), **kwargs):
        global steps
        steps -= 1
        if steps < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return _real(self, *args, **kwargs)
    setattr(Path, name, counted)
with committed(out, ("a.txt", "folder", "whole")) as new:
    (new / "a.txt").write_text("two")
    (new / "folder").mkdir()
    (new / "whole").write_text("two")
"""


def test_killed_at_any_step_a_set_is_whole_or_absent(tmp_path):
    seen = []
    for steps in range(7):
        out = tmp_path / str(steps)
        with committed(out, NAMES) as new:
            write(new, "one")
        run = subprocess.run([sys.executable, "-c", COMMITS, out, str(steps)], check=False)
        whole = out / "whole"
        seen.append(whole.read_text() if whole.exists() else "")
        if whole.exists():
            assert (out / "a.txt").read_text() == whole.read_text()
            assert (out / "folder" / "one").exists() == (whole.read_text() == "one")
        if run.returncode == 0:
            break
        with committed(out, NAMES) as new:  # what was left is in nobody's way
            write(new, "three")
        assert files(out) == ["a.txt", "folder", "folder/three", "whole"]
    assert seen[0] == "one"
    assert seen[-1] == "two"
    assert "" in seen
    assert run.returncode == 0
