"""One writer a folder: two runs into one would leave a mixture of both."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock

from tfbs_shift.errors import InputError


@dataclass(frozen=True)
class Held:
    """A folder that this process alone writes to."""

    folder: Path
    writer: Path
    """says who"""

    def check(self) -> None:
        """Raises InputError if the folder has been removed, or its files taken away."""
        if not self.writer.exists():
            raise InputError(f"{self.folder}: was removed, or emptied, while it was written to")


@contextlib.contextmanager
def only_writer(folder: Path, part: str = "") -> Iterator[Held]:
    """Keeps other processes from writing to a folder, which is made; or to a part of it.

    The lock is the system's, which ends with the process however that ends. Where a file system has
    none, a file is the lock: it is taken over from a process of this host that is no more.

    Args:
        folder: the folder. If nothing is written, it is removed again where it was not there.
        part: of those who write together, which one this is.

    Raises:
        InputError: another process writes to it.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    path, writer = folder / f".lock{part}", folder / f".writer{part}"
    try:
        lock = _acquired(path, writer)
    except filelock.Timeout as error:
        raise InputError(
            f"{folder}: {_who(writer)} is writing to it; wait until it ends, or choose another "
            "folder"
        ) from error
    try:
        writer.write_text(f"{socket.gethostname()} {os.getpid()} {time.strftime('%F %T')}\n")
        yield Held(folder, writer)
    finally:
        writer.unlink(missing_ok=True)
        path.unlink(missing_ok=True)  # while it is held: who comes now makes another
        lock.release()
        with contextlib.suppress(OSError):  # something is in it
            for each in missing:
                each.rmdir()


def _acquired(path: Path, writer: Path) -> filelock.BaseFileLock:
    """The lock, held."""
    lock: filelock.BaseFileLock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except NotImplementedError:  # the file system has no locks
        host, process, _ = _words(writer)
        if host == socket.gethostname() and not _runs(process):
            path.unlink(missing_ok=True)
        lock = filelock.SoftFileLock(path)
        lock.acquire(timeout=0)
    if not path.exists():  # it was being removed when we came
        lock.release()
        return _acquired(path, writer)
    return lock


def _words(writer: Path) -> tuple[str, str, str]:
    """Host, process and time of who wrote it."""
    with contextlib.suppress(OSError, UnicodeDecodeError, ValueError):
        host, process, since = writer.read_text().strip().split(" ", 2)
        return host, process, since
    return "", "", ""


def _who(writer: Path) -> str:
    host, process, since = _words(writer)
    return f"process {process} on {host} (since {since})" if host else "another process"


def _runs(process: str) -> bool:
    """Whether a process of this host is there."""
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (ValueError, OSError):
        return True
    return True
