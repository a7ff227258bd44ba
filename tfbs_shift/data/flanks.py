"""Real flanks for DeepSEA's rows, which come without coordinates.

DeepSEA's windows lie on a grid: bins of 200 bp from position 0 of each chromosome, the window of
1000 bp around each (Zhou & Troyanskaya 2015). So a row is found by its sequence: tiles of 200 bp of
both strands of the genome are hashed once (25 words of 8 bases each, multiplied by random numbers
and added up), the hash of a window combines those of its 5 tiles, and each window whose hash is a
row's is compared with the row base by base.

Cost for hg19 and 4.4 million rows: 3.1 GB for the genome's codes, 0.3 GB for hashes; two passes
over the rows, one multiplication per 8 bases of each strand, one look at a table for each grid
window and strand (31 million).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm.auto import tqdm

from tfbs_shift import sequences
from tfbs_shift.data import stored
from tfbs_shift.data.beds import read_bed
from tfbs_shift.data.columns import Column
from tfbs_shift.data.deepsea import label_names, read_mat
from tfbs_shift.data.examples import Examples
from tfbs_shift.data.genomes import Genome
from tfbs_shift.errors import InputError
from tfbs_shift.files import Workspace, check_room, replacing

GRID = 200
"""bp between windows, from position 0 of each chromosome."""

_ROWS = 4096
_MOST_PLACES = 64
"""Places compared for a row; one with more is a repeat, and counts as in several places."""

_NOWHERE, _PLACED, _SAME_FLANKS, _SEVERAL, _BY_POSITION = range(len(stored.STATUS))


class Extension(NamedTuple):
    """What :func:`extend` did."""

    counts: dict[str, int]
    """rows of each :data:`tfbs_shift.data.stored.STATUS`"""
    positions: str
    """what came of the positions file; "" without one"""


def extend(
    mat: Path,
    fasta: Path,
    out: Path,
    *,
    flank: int,
    positions: Path | None = None,
    progress: bool = False,
) -> Extension:
    """Writes the rows of a DeepSEA ``.mat`` with real bases added on either side.

    Each row is searched on both strands of the genome's 200-bp grid. Rows of the reverse strand
    get reverse-complement flanks; where a chromosome ends, flanks are unknown bases. The stored
    row, without its flanks, equals the row of the ``.mat``, base by base. A row that is found
    nowhere, or in several places whose flanks differ, gets unknown flanks and is masked.

    Interrupted, the same call goes on after the rows that are recorded, every few seconds, in a
    hidden folder beside ``out`` (it searches again). That takes as much room as ``out``, until it
    is copied there.

    Args:
        mat: the ``.mat``; rows of a length that 200 divides.
        fasta: the genome, hg19 for DeepSEA's files.
        out: the ``.h5`` to write (:mod:`tfbs_shift.data.stored`); beside it, with
            ``.unplaced.tsv`` for ``.h5``, the rows that are masked.
        flank: bp added on either side, 0 or more.
        positions: a BED whose lines may follow the order of the rows (``allTFs.pos.bed``). It
            chooses among the places where a row's sequence is, and is not believed otherwise.
        progress: show bars on standard error.

    Raises:
        InputError: a file that cannot be read, rows of another length, or no row found at all.
        OSError: there is no room for the rows.
    """
    examples = read_mat(mat, "all")
    if flank < 0:
        raise InputError(f"flank {flank}: must be 0 bp or more")
    if examples.length % GRID:
        raise InputError(f"{mat}: {examples.length} bp; want a multiple of {GRID}, DeepSEA's grid")
    check_room(out, len(examples) * ((examples.length + 2 * flank) // 3))  # before the search
    genome = Genome(fasta)
    hashes = _row_hashes(examples.codes, progress)
    places, chromosomes = _search(genome, examples.length, flank, hashes, progress)
    del hashes
    if not len(places.start):
        raise InputError(f"{mat}: none of its {len(examples)} rows is in {fasta}")
    hints, message = None, ""
    if positions is not None:
        hints, message = _hints(positions, examples, places, genome)
    sources = made_from(mat, fasta, flank, positions)
    count, length, labels = len(examples), examples.length + 2 * flank, examples.labels.shape[1]
    work = Workspace(work_folder(out), sources)
    columns = {
        name: work.array(name, shape, dtype)
        for name, (shape, dtype) in stored.layout(count, length, labels).items()
    }
    with tqdm(total=count, initial=work.done, desc="extend", unit="row", unit_scale=True,
              disable=not progress) as bar:  # fmt: skip
        for begin in range(work.done, count, _ROWS):
            rows = slice(begin, min(begin + _ROWS, count))
            hint = None if hints is None else Hints(*(column[rows] for column in hints))
            block = _placed(examples.codes[rows], rows, places, chromosomes, flank, hint)
            _fill(columns, rows, block, examples.labels[rows])
            work.record(rows.stop, last=rows.stop == count)
            bar.update(rows.stop - rows.start)
    _list_unplaced(out.with_suffix(".unplaced.tsv"), columns["status"], places)
    names = label_names()
    names = names if labels == len(names) else [""] * labels
    counts = stored.write_stored(out, columns, length, names, genome.lengths, sources)
    work.remove()
    return Extension(counts, message)


def made_from(mat: Path, fasta: Path, flank: int, positions: Path | None) -> str:
    """Tells what :func:`extend` makes of these files from what it makes of others."""
    sources = [mat, fasta, *([positions] if positions else [])]
    facts = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in sources]
    return json.dumps([stored.FORMAT, flank, facts])


def work_folder(out: Path) -> Path:
    """Where :func:`extend` keeps what it goes on with."""
    return out.with_name(f".{out.name}.partial")


# ---- where the rows are ----


class Places(NamedTuple):
    """Grid windows whose hash is that of a row; rows of one hash share theirs."""

    group: np.ndarray
    """int64 (N,): the group of each row"""
    begin: np.ndarray
    """int64 (groups + 1,): the places of group g are begin[g]..begin[g + 1] of those below"""
    chrom: np.ndarray
    """int32: index in ``names``"""
    start: np.ndarray
    """int64: 0-based start of the window, which may stick out of the chromosome"""
    reverse: np.ndarray
    """bool: the row is the reverse complement"""
    names: list[str]

    def counts(self, rows: slice | np.ndarray) -> np.ndarray:
        """How many places some rows have."""
        group = self.group[rows]
        return self.begin[group + 1] - self.begin[group]


Chromosomes = Mapping[int, np.ndarray]
"""Codes of those chromosomes that have places, by index, with a margin of unknown bases."""

_RANDOM = np.random.default_rng(2015)
_WORDS = _RANDOM.integers(0, 2**64, GRID // 8, np.uint64) | np.uint64(1)
_TURNS = _RANDOM.integers(0, 2**64, 2**12, np.uint64) | np.uint64(1)
_COMPLEMENT = np.array([3, 2, 1, 0, sequences.UNKNOWN], np.uint8)


def _mixed(hashes: np.ndarray) -> np.ndarray:
    """Sums of products have weak low bits; this spreads the high ones."""
    hashes = hashes ^ (hashes >> np.uint64(29))
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    return hashes ^ (hashes >> np.uint64(32))


def _tile_hashes(tiles: np.ndarray) -> np.ndarray:
    """``uint64`` (T,) of codes (T, GRID)."""
    return _mixed(np.ascontiguousarray(tiles).view(np.uint64) @ _WORDS)


def _window_hashes(codes: np.ndarray) -> np.ndarray:
    """``uint64`` (n,) of codes (n, L)."""
    count, tiles = len(codes), codes.shape[1] // GRID
    hashes = _tile_hashes(codes.reshape(count * tiles, GRID)).reshape(count, tiles)
    return _mixed(hashes @ _TURNS[:tiles])


def _row_hashes(codes: Column, progress: bool) -> np.ndarray:
    count = len(codes)
    hashes = np.empty(count, np.uint64)
    with tqdm(total=count, unit="row", desc="rows", disable=not progress) as bar:
        for begin in range(0, count, _ROWS):
            block = codes[begin : begin + _ROWS]
            hashes[begin : begin + _ROWS] = _window_hashes(block)
            bar.update(len(block))
    return hashes


def _strand_hashes(tiles: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """``uint64`` (count,): hashes of the windows at each tile; then of their other strands."""
    per_window = len(tiles) - count + 1
    chunks = range(0, len(tiles), 2**14)
    ahead = [_tile_hashes(tiles[i : i + 2**14]) for i in chunks]
    back = [_tile_hashes(_COMPLEMENT[tiles[i : i + 2**14, ::-1]]) for i in chunks]
    for hashes, order in ((ahead, 1), (back, -1)):
        one = np.concatenate(hashes)
        windows = np.zeros(count, np.uint64)
        for turn, at in zip(_TURNS, range(per_window)[::order], strict=False):
            windows += one[at : at + count] * turn
        yield _mixed(windows)


def _search(
    genome: Genome, length: int, flank: int, hashes: np.ndarray, progress: bool
) -> tuple[Places, Chromosomes]:
    """All grid windows, of both strands, whose hash is that of a row."""
    distinct, group = np.unique(hashes, return_inverse=True)
    # Most windows are no row: a table of the upper bits spares them the search.
    table = np.zeros(2**26, bool)
    table[distinct >> np.uint64(38)] = True
    unknown = _window_hashes(np.full((1, length), sequences.UNKNOWN, np.uint8))[0]
    tiles, margin = length // GRID, length + flank
    before = tiles // 2 * GRID
    chromosomes: dict[int, np.ndarray] = {}
    hits: list[tuple[np.ndarray, ...]] = []
    bar = tqdm(total=sum(genome.lengths.values()), unit="bp", unit_scale=True, desc="genome",
               disable=not progress)  # fmt: skip
    with bar:
        for index, (name, size) in enumerate(genome.lengths.items()):
            if not size:
                continue
            codes = genome.codes(name, -margin, size + margin)
            count = -(-size // GRID)
            first = margin - before
            grid = codes[first : first + (count + tiles - 1) * GRID].reshape(-1, GRID)
            for reverse, windows in enumerate(_strand_hashes(grid, count)):
                cells = np.flatnonzero(table[windows >> np.uint64(38)] & (windows != unknown))
                groups = np.searchsorted(distinct, windows[cells])
                hit = distinct[np.minimum(groups, len(distinct) - 1)] == windows[cells]
                cells, groups = cells[hit], groups[hit]
                if len(cells):
                    chromosomes[index] = codes
                    chrom = np.full(len(cells), index, np.int32)
                    strand = np.full(len(cells), bool(reverse))
                    hits.append((groups, chrom, cells * GRID - before, strand))
            bar.update(size)
    empty = [np.zeros(0, dtype) for dtype in (np.int64, np.int32, np.int64, np.bool_)]
    columns = [np.concatenate(parts) for parts in zip(empty, *hits, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    groups, chrom, start, strand = (column[order] for column in columns)
    begin = np.searchsorted(groups, np.arange(len(distinct) + 1))
    return Places(group, begin, chrom, start, strand, list(genome.lengths)), chromosomes


class _Block(NamedTuple):
    """Rows as they are written: codes, not yet packed, and the columns of the same names."""

    codes: np.ndarray
    chrom: np.ndarray
    start: np.ndarray
    strand: np.ndarray
    status: np.ndarray


class _Candidates(NamedTuple):
    """Places where rows of a block may be, those of one row together."""

    row: np.ndarray
    """int64: index in the block"""
    chrom: np.ndarray
    start: np.ndarray
    reverse: np.ndarray
    hinted: np.ndarray
    """bool: a positions file names it"""

    def take(self, which: np.ndarray) -> _Candidates:
        """Those at indices, or where a mask is true."""
        return _Candidates(*(column[which] for column in self))


def _candidates(
    rows: slice, places: Places, chromosomes: Chromosomes, hint: Hints | None
) -> _Candidates:
    """The first places of each row; before them, on either strand, the one that a hint names."""
    counts = places.counts(rows)
    compared = np.minimum(counts, _MOST_PLACES)
    row = np.repeat(np.arange(len(counts)), compared)
    at = np.arange(len(row)) + np.repeat(
        places.begin[places.group[rows]] - (compared.cumsum() - compared), compared
    )
    hinted = np.zeros(len(row), bool)
    on_grid = _Candidates(row, places.chrom[at], places.start[at], places.reverse[at], hinted)
    if hint is None:
        return on_grid
    named = np.flatnonzero((counts > 1) & np.isin(hint.chrom, list(chromosomes)))
    twice = np.concatenate([named, named])
    strands = np.repeat([False, True], len(named))
    from_hint = _Candidates(
        twice, hint.chrom[twice], hint.start[twice], strands, np.ones(len(twice), bool)
    )
    both = _Candidates(*map(np.concatenate, zip(from_hint, on_grid, strict=True)))
    return both.take(np.argsort(both.row, kind="stable"))


def _placed(
    codes: np.ndarray,
    rows: slice,
    places: Places,
    chromosomes: Chromosomes,
    flank: int,
    hint: Hints | None,
) -> _Block:
    """Compares rows with their places, and takes the flanks from the one that is chosen."""
    count, length = codes.shape
    candidates = _candidates(rows, places, chromosomes, hint)
    _, chrom, start, reverse, _ = candidates
    windows = _windows(chromosomes, chrom, start, reverse, length, flank)
    exact = (windows[:, flank : flank + length] == codes[candidates.row]).all(axis=1)
    windows = windows[exact]
    row, chrom, start, reverse, hinted = candidates.take(exact)
    present, chosen = np.unique(row, return_index=True)
    first = np.zeros(count, np.int64)
    first[present] = chosen
    differs = np.bincount(row[(windows != windows[first[row]]).any(axis=1)], minlength=count) > 0
    matches = np.bincount(row[~hinted], minlength=count)
    by_hint = np.zeros(count, bool)
    by_hint[present] = hinted[chosen]
    too_many = places.counts(rows) > _MOST_PLACES  # not all were compared

    status = np.full(count, _NOWHERE, np.uint8)
    status[present] = _SAME_FLANKS
    status[differs | ((matches > 0) & too_many)] = _SEVERAL
    status[(matches == 1) & ~too_many] = _PLACED
    status[by_hint & (status != _PLACED)] = _BY_POSITION
    keep = stored.PLACED[status]
    block = _Block(
        np.full((count, length + 2 * flank), sequences.UNKNOWN, np.uint8),
        np.full(count, -1, np.int32),
        np.full(count, -1, np.int64),
        np.zeros(count, np.uint8),
        status,
    )
    block.codes[:, flank : flank + length] = codes
    taken = first[keep]
    block.codes[keep] = windows[taken]
    block.chrom[keep], block.start[keep] = chrom[taken], start[taken] - flank
    block.strand[keep] = reverse[taken]
    if not np.array_equal(block.codes[:, flank : flank + length], codes):
        raise AssertionError("an extended row is not the row that it was made from")
    return block


def _windows(
    chromosomes: Chromosomes,
    chrom: np.ndarray,
    start: np.ndarray,
    reverse: np.ndarray,
    length: int,
    flank: int,
) -> np.ndarray:
    """``uint8`` (n, length + 2 flank): windows with their flanks, on their strands."""
    width, margin = length + 2 * flank, length + flank
    windows = np.full((len(chrom), width), sequences.UNKNOWN, np.uint8)
    for index in np.unique(chrom):
        codes = np.lib.stride_tricks.sliding_window_view(chromosomes[index], width)
        here = chrom == index
        first = start[here] + margin - flank
        inside = (first >= 0) & (first < len(codes))  # a hint may lie anywhere
        windows[np.flatnonzero(here)[inside]] = codes[first[inside]]
    windows[reverse] = sequences.reverse_complement_codes(windows[reverse])
    return windows


# ---- a positions file ----


class Hints(NamedTuple):
    """Where a positions file has each row."""

    chrom: np.ndarray
    """int32 (N,): index, -1 where it does not say"""
    start: np.ndarray
    """int64 (N,)"""


def _hints(
    path: Path, examples: Examples, places: Places, genome: Genome
) -> tuple[Hints | None, str]:
    """What the file says of each row, if its lines follow the order of the rows at all.

    Which line goes with row 0 is told by the rows that are in one place: most must agree. The
    reverse complements in the second half go with the lines of the first.
    """
    chrom, start = _bins(path, examples.length, genome)
    count = len(examples)
    rows = count // 2 if examples.paired_strands(rows=64) else count
    sure = np.flatnonzero(places.counts(slice(0, rows)) == 1)
    at = places.begin[places.group[sure]]
    keys, sure_keys = (
        _key(*pair) for pair in ((chrom, start), (places.chrom[at], places.start[at]))
    )
    order = np.argsort(keys, kind="stable")
    line = np.minimum(np.searchsorted(keys[order], sure_keys), len(keys) - 1)
    agrees = keys[order][line] == sure_keys
    offsets, votes = np.unique(order[line[agrees]] - sure[agrees], return_counts=True)
    best = int(votes.max()) if len(votes) else 0
    if 2 * best <= len(sure):
        return None, (
            f"{path}: its lines do not follow the order of the rows (at best {best} of {len(sure)} "
            "rows that are in one place agree): not used"
        )
    offset = int(offsets[votes.argmax()])
    lines = offset + np.arange(count) % rows
    known = (lines >= 0) & (lines < len(chrom))
    lines = np.where(known, lines, 0)
    hints = Hints(np.where(known, chrom[lines], -1).astype(np.int32), start[lines])
    return hints, (
        f"{path}: row 0 is line {offset + 1}; {best} of {len(sure)} rows that are in one place "
        "agree"
    )


def _bins(path: Path, length: int, genome: Genome) -> tuple[np.ndarray, np.ndarray]:
    """(chromosome index, start of the window) for each line; -1 for a chromosome not there."""
    index = {name: i for i, name in enumerate(genome.lengths)}
    chroms, middles = [], []
    for row in read_bed(path).rows:
        if row.chrom not in index:
            try:
                index[row.chrom] = index[genome.name_of(row.chrom)]
            except InputError:
                index[row.chrom] = -1
        chroms.append(index[row.chrom])
        middles.append((row.start + row.end) // 2)
    return np.array(chroms, np.int32), np.array(middles, np.int64) - length // 2


def _key(chrom: np.ndarray, start: np.ndarray) -> np.ndarray:
    return chrom.astype(np.int64) * 2**40 + start


# ---- the files that are written ----


def _fill(
    columns: Mapping[str, np.ndarray], rows: slice, block: _Block, labels: np.ndarray
) -> None:
    """Puts a block into its rows of the columns of :func:`tfbs_shift.data.stored.layout`."""
    columns["codes"][rows] = stored.pack(block.codes)
    columns["labels"][rows] = np.packbits(labels, axis=1)
    for name in ("chrom", "start", "strand", "status"):
        columns[name][rows] = getattr(block, name)


def _list_unplaced(path: Path, status: np.ndarray, places: Places) -> None:
    """The rows that are masked, and the first of the places that each has."""
    with replacing(path) as temporary, temporary.open("w") as table:
        table.write("row\tstatus\tplaces\tfirst_places\n")
        for row in np.flatnonzero(~stored.PLACED[status]).tolist():
            begin, end = places.begin[places.group[row]], places.begin[places.group[row] + 1]
            where = ",".join(
                f"{places.names[places.chrom[i]]}:{places.start[i]}({'+-'[int(places.reverse[i])]})"
                for i in range(begin, min(end, begin + 5))
            )
            table.write(f"{row}\t{stored.STATUS[status[row]]}\t{end - begin}\t{where}\n")
