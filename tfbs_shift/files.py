"""Opening HDF5 files; writing files so that nothing half-written ever bears its final name."""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import io
import json
import math
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from tfbs_shift.errors import InputError
from tfbs_shift.text import cell, printable

MOST_INFLATED = 1032
"""Bytes that a byte of zlib's format can become."""

_SECONDS = 10.0
_PROGRESS = "progress.json"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``, of the same suffix, renamed to it on success.

    On failure the temporary file is removed and an earlier ``path`` is left as it was; so it is if
    the machine is lost. Parent folders are made.

    Raises:
        OSError: with the name of the file, whoever wrote to it: no room on the disk, say.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # or a name could reach the disk before the contents
        temporary.replace(path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def committed(out: Path, names: Sequence[str]) -> Iterator[Path]:
    """A folder for files that belong together, which take their places in ``out`` as one.

    They are written beside those of an earlier set. At the end the last name, whose presence says
    that the set is whole, is removed from ``out``; then each file or folder is exchanged, or
    removed where there is no new one; then the last name comes. A process that ends before leaves
    the earlier set, or none.

    Args:
        out: the folder; what else is in it stays.
        names: all that such a set can have.
    """
    new = out / ".new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        (out / names[-1]).unlink(missing_ok=True)
        for name in names:
            _exchange(new / name, out / name, new / ".old")
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _exchange(new: Path, path: Path, old: Path) -> None:
    """Puts a file or folder in the place of another, if there is a new one, by way of ``old``."""
    if path.is_dir() and not path.is_symlink():
        path.rename(old)
        shutil.rmtree(old)
    elif not new.exists():
        path.unlink(missing_ok=True)
    if new.exists():
        new.replace(path)


class Workspace:
    """Arrays that are filled row by row, in files of a folder if there is one, to go on later.

    Args:
        folder: where the ``.npy`` files are; None: in memory.
        fingerprint: what the work is. Files of other work in the folder are replaced.

    Attributes:
        done: rows that an earlier, interrupted call has filled.
    """

    def __init__(self, folder: Path | None, fingerprint: str):
        self.folder = folder
        self.fingerprint = fingerprint
        self._arrays: list[np.memmap] = []
        self._growing: list[GrowingRows] = []
        self._recorded = time.monotonic()
        self.done = 0 if folder is None else rows_done(folder, fingerprint)
        if folder is not None and not self.done:
            forget(folder)

    def array(self, name: str, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        """An array whose first ``done`` rows are filled.

        Raises:
            InputError: the file of an earlier call is not as it was left.
            OSError: no room for it on the disk.
        """
        if self.folder is None:
            return np.empty(shape, dtype)
        path = self.folder / f"{name}.npy"
        if not self.done:
            path.parent.mkdir(parents=True, exist_ok=True)
            check_room(path, math.prod(shape) * np.dtype(dtype).itemsize)
            with _named(path):
                array = np.lib.format.open_memmap(path, "w+", dtype, shape)
                _reserve(path)
        else:
            try:
                array = np.lib.format.open_memmap(path, "r+")
            except (OSError, ValueError) as error:
                raise InputError(f"{path}: damaged; remove {self.folder} to start over") from error
            if array.shape != shape or array.dtype != dtype:
                raise InputError(f"{path}: not as it was left; remove {self.folder} to start over")
        self._arrays.append(array)
        return array

    def growing(self, name: str, width: int, rows: int) -> GrowingRows:
        """Rows of ``width`` float32 whose number is not known before; ``rows`` of them are there.

        Raises:
            InputError: the file of an earlier call is shorter than that.
        """
        path = None if self.folder is None else self.folder / f"{name}.f32"
        grown = GrowingRows(path, width, rows)
        self._growing.append(grown)
        return grown

    def record(self, rows: int, *, last: bool) -> None:
        """Notes that so many rows are filled; on disk every few seconds, and the last time."""
        if self.folder is None or (not last and time.monotonic() < self._recorded + _SECONDS):
            return
        for array in self._arrays:
            array.flush()
        for grown in self._growing:
            grown.flush()
        with replacing(self.folder / _PROGRESS) as path:
            path.write_text(json.dumps({"fingerprint": self.fingerprint, "rows": rows}) + "\n")
        self._recorded = time.monotonic()

    def remove(self) -> None:
        """Removes the folder with all that is in it: the work is over, or was for nothing."""
        if self.folder is not None:
            forget(self.folder)  # first: whatever stops the rest leaves nothing to go on with
            shutil.rmtree(self.folder)


def rows_done(folder: Path, fingerprint: str) -> int:
    """How many rows of a workspace are filled; 0 if there is none, or one of other work."""
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):  # or damaged
        progress = json.loads((folder / _PROGRESS).read_text())
        if progress["fingerprint"] == fingerprint:
            return int(progress["rows"])
    return 0


def forget(folder: Path) -> None:
    """Makes a workspace one in which nothing is filled."""
    (folder / _PROGRESS).unlink(missing_ok=True)


class GrowingRows:
    """Rows of float32 numbers appended one block after another, to a file or in memory.

    Raw numbers without a header, and no resizable HDF5 dataset: any rows can be read from a memory
    map, and what stops the writing leaves the rows before it as they were.

    Args:
        path: the file; None: in memory.
        width: numbers a row.
        rows: rows of the file that count; what an interrupted call wrote beyond them is cut off.

    Raises:
        InputError: the file has fewer rows.
    """

    def __init__(self, path: Path | None, width: int, rows: int):
        self.path, self.width = path, width
        self._file: BinaryIO = io.BytesIO()
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("r+b" if rows else "w+b")
        size = 4 * width * rows
        if self._file.seek(0, os.SEEK_END) < size:
            raise InputError(f"{path}: not as it was left; remove {path.parent} to start over")
        self._file.truncate(size)
        self._file.seek(size)

    def append(self, values: np.ndarray) -> None:
        """Adds rows (n, width)."""
        with _named(self.path):
            self._file.write(np.ascontiguousarray(values, np.float32).data)

    def flush(self) -> None:
        """Writes out what is buffered."""
        with _named(self.path):
            self._file.flush()

    def all(self) -> np.ndarray:
        """Every row, (n, width), one at least: of a file a memory map.

        In memory it is a view, to let go of before more rows are appended.
        """
        self.flush()
        if isinstance(self._file, io.BytesIO):
            return np.frombuffer(self._file.getbuffer(), np.float32).reshape(-1, self.width)
        return np.memmap(self.path, np.float32, "r").reshape(-1, self.width)


@contextlib.contextmanager
def _named(path: Path | None) -> Iterator[None]:
    """An OSError of what is done to a file names it."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def check_room(path: Path, size: int) -> None:
    """Raises OSError where a disk has no room for so many bytes: some would fill it first."""
    folder = next(each for each in path.absolute().parents if each.exists())
    if size > shutil.disk_usage(folder).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _reserve(path: Path) -> None:
    """Takes the room for a file now: a full disk would end the process when a map is written to."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError:
                path.unlink()
                raise


def sha256(path: Path) -> str:
    """The digest of a file's bytes, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


@contextlib.contextmanager
def readable(what: str) -> Iterator[None]:
    """Whatever a library raises at what it cannot read becomes one line.

    Args:
        what: the file, and what is wrong with it.

    Raises:
        InputError: ``what``, and the library's own words.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of a damaged file: any
        words = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{what} ({words})") from error


def open_hdf5(path: Path) -> h5py.File:
    """An HDF5 file to read, in a way that suits many short rows of a contiguous dataset.

    HDF5 reads 64 KB for every short piece by default: a block of 1,024 examples of a contiguous
    train.mat (4,000 pieces of 1 KB) is read 5 times faster without.

    Raises:
        InputError: not a whole HDF5 file, or parts of it are in other files.
    """
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_sieve_buf_size(512)
    with readable(f"{path}: not a whole HDF5 file"):
        return h5py.File(h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY, access))


def hdf5_array(file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset of the root group, of which all values are stored in this file.

    A link to another file is not followed: a file from elsewhere must not make this machine read
    what it names. What was never written would be read as zeros.

    Args:
        file: from :func:`open_hdf5`.
        name: as the root group lists it.

    Raises:
        InputError: no such dataset, one that lies elsewhere, has filters that this installation
            lacks, or has less stored than its shape says.
    """
    place = f"{file.filename}: {name}"
    with readable(f"{place}: cannot be read"):
        if not file.id.links.exists(name.encode()):
            raise InputError(f"{file.filename}: damaged: has no {name}")
        link = file.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise InputError(
                f"{place}: lies in another file, {link.filename!r}; want it in this one"
            )
        access = h5py.h5p.create(h5py.h5p.LINK_ACCESS)
        access.set_nlinks(1)  # a soft link may lead to an array, but not to another link
        what = "cannot be read"
        if isinstance(link, h5py.SoftLink):
            what = f"a link to {link.path!r} that cannot be followed; want an array in this file"
        with readable(f"{place}: {what}"):
            found = h5py.h5o.open(file.id, name.encode(), access)
        if not isinstance(found, h5py.h5d.DatasetID):
            raise InputError(
                f"{place}: no array but a group, such as of a struct, a sparse matrix or Octave's "
                "own HDF5; want a full array"
            )
        properties = found.get_create_plist()
        if properties.get_external_count() or properties.get_layout() == h5py.h5d.VIRTUAL:
            raise InputError(f"{place}: its values lie in other files; want them in this one")
        for index in range(properties.get_nfilters()):
            code, _, _, label = properties.get_filter(index)
            if not h5py.h5z.filter_avail(code):
                raise InputError(
                    f"{place}: compressed by a filter that is not installed ({code} "
                    f"{label.decode(errors='replace')}); want gzip or none"
                )
        dataset = h5py.Dataset(found)
        _check_stored(dataset, place)
        return dataset


def hdf5_text(value: object) -> str:
    """A string of an attribute, of either kind that HDF5 has."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _check_stored(dataset: h5py.Dataset, place: str) -> None:
    """Whether as much is stored as the shape says."""
    if dataset.shape is None:
        raise InputError(f"{place}: empty; want an array")
    if dataset.chunks:
        unit, stored = "chunks", _chunks_stored(dataset, place)
        pairs = zip(dataset.shape, dataset.chunks, strict=True)
        wanted = math.prod(-(-size // chunk) for size, chunk in pairs)
    else:
        unit, stored = "bytes", dataset.id.get_storage_size()
        wanted = math.prod(dataset.shape) * dataset.id.get_type().get_size()
    if stored < wanted:
        raise InputError(
            f"{place} {dataset.shape}: {stored} of its {wanted} {unit} were ever written; want a "
            "file that was written to its end"
        )


def _chunks_stored(dataset: h5py.Dataset, place: str) -> int:
    """How many there are, each in a place of its own, in the file and in the array."""
    chunks: list[h5py.h5d.StoreInfo] = []
    dataset.id.chunk_iter(chunks.append)
    begin, size = np.array([(chunk.byte_offset, chunk.size) for chunk in chunks]).reshape(-1, 2).T
    order = np.argsort(begin)
    right = ((begin + size)[order][:-1] <= begin[order][1:]).all()
    # From version 3 on lists of chunks have checksums, and HDF5 can err in telling their places.
    if dataset.file.id.get_create_plist().get_version()[0] < 3:
        at = np.array([chunk.chunk_offset for chunk in chunks]).reshape(-1, dataset.ndim)
        numbers, inside = np.divmod(at, dataset.chunks)
        right &= not inside.any() and (at < dataset.shape).all()
        right &= len(np.unique(numbers, axis=0)) == len(chunks)
    if not right:
        raise InputError(f"{place}: damaged: chunks where none can be")
    return len(chunks)


def open_whole_hdf5(path: Path) -> h5py.File:
    """The same of a file that leads to no other: of a model, all is read.

    Raises:
        InputError: as :func:`open_hdf5` and :func:`refuse_other_files`.
    """
    file = open_hdf5(path)
    try:
        refuse_other_files(file, path)
    except InputError:
        file.close()
        raise
    return file


def refuse_other_files(root: h5py.File, path: Path) -> None:
    """Refuses an HDF5 file that leads to others: HDF5 would read whatever lies there.

    Raises:
        InputError: a link to another file, values in one, or a damaged object.
    """
    seen, groups = set(), [root]
    while groups:
        group = groups.pop()
        for name in group:
            place = f"{path}: {printable(name)}"
            try:
                link = group.get(name, getlink=True)
                if isinstance(link, h5py.SoftLink):
                    continue  # what it names is a hard link of this file, or refused there
                if not isinstance(link, h5py.HardLink):
                    raise InputError(f"{place} is a link to another file; want one whole file")
                item = group[name]
                address = h5py.h5o.get_info(item.id).addr
                if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
                    raise InputError(f"{place} lies in another file; want one whole file")
            except (OSError, KeyError, RuntimeError, TypeError) as error:
                raise InputError(f"{place} is damaged ({error})") from error
            if isinstance(item, h5py.Group) and address not in seen:
                seen.add(address)
                groups.append(item)


def write_rows(
    path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None
) -> None:
    """Writes a CSV file: a header, and a line for each row, empty where it lacks a column or has
    NaN; texts as :func:`tfbs_shift.text.cell` makes them.

    Args:
        path: replaced as a whole, or not at all (see :func:`replacing`).
        rows: values by column; written as they come, if ``columns`` are given.
        columns: in the order of the header; None: those of all rows, as they first appear.

    Raises:
        ValueError: a row has what is no column.
        OSError: no room for it on the disk, say.
    """
    if columns is None:
        rows = list(rows)
        columns = list(dict.fromkeys(name for row in rows for name in row))
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: "" if _is_nan(v) else cell(v) for k, v in row.items()} for row in rows)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float | np.floating) and math.isnan(value)
