"""Memory for tensors' bytes, and the reading of it: in pieces, several at once, each checked as it arrives."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from ckptstore._concurrency import make_executor, run_all
from ckptstore.bundle.entries import Entries
from ckptstore.errors import DataLossError, UnsupportedError, located
from ckptstore.format import tensor
from ckptstore.format.checksum import combine, crc32c, mask
from ckptstore.format.entry import BundleEntry
from ckptstore.format.rows import Integers

PIECE = 16 << 20
"""Bytes that are read, and checked while they are still in the processor's cache, by one thread at a time."""

_SMALL = 64 << 10  # tensors up to this size are read together with their neighbours in the file ...
_SHARED = 2 << 20  # ... up to so many bytes
_ARENA = 32 << 20  # bytes of memory that small tensors share
_LINE = 64  # bytes; a multiple of every element's
_MOST_AXES = 16  # of tensors that are the rows of one array; numpy has a limit, which older ones have at 32
_AT_ONCE = min(4, os.cpu_count() or 1)
_NONE: Mapping[int, memoryview] = {}

Read = Callable[[int, list[tuple[int, memoryview]]], None]
"""Fills buffers from offsets on of a data file, which is told by its number."""


@dataclass(slots=True)
class Extent:
    """Consecutive bytes of a data file, and memory for them.

    Attributes:
        shard: Number of the data file.
        offset: Where in it they begin.
        data: Memory of their size: writable, unless it is mapped.
        parts: The tensors (or pieces of them) that they are made of, each with its name, in ascending order.
        checked: Whether their checksums are those of their bytes as they are; those of strings are not.
        mapped: Whether the memory is the file's own, so that nothing is to be read.
        views: The array of each of several tensors.
    """

    shard: int
    offset: int
    data: memoryview
    parts: Sequence[tuple[str, BundleEntry]]
    checked: bool = True
    mapped: bool = False
    views: Sequence[np.ndarray[Any, Any]] = ()


def encoded(name: str, entry: BundleEntry) -> Extent:
    """Memory for a tensor's bytes as they are stored: strings, above all, which are decoded later."""
    return Extent(entry.shard, entry.offset, memoryview(bytearray(entry.size)), [(name, entry)], checked=False)


def alone(name: str, entry: BundleEntry, maps: Mapping[int, memoryview] = _NONE) -> tuple[Extent, np.ndarray[Any, Any]]:
    """Memory for a tensor of numbers, or a piece of one, and the array that is filled then.

    Args:
        name: The tensor's name.
        entry: Its entry, whose size has been checked.
        maps: The bytes of data files that are mapped into memory, by number; they need not be read, and the array is
            read-only. A tensor that is out of line for its type gets memory of its own all the same.

    Raises:
        UnsupportedError: numpy has no arrays of that shape.
    """
    if entry.size and entry.shard in maps and _in_line(entry):
        data = maps[entry.shard][entry.offset : entry.offset + entry.size]
        array = _view(entry.shape, entry.dtype.numpy, data, 0)
        return Extent(entry.shard, entry.offset, data, [(name, entry)], mapped=True), array
    array, data = tensor.empty(entry.dtype, entry.shape)
    return Extent(entry.shard, entry.offset, data, [(name, entry)]), array


def lay_out(
    entries: Entries, maps: Mapping[int, memoryview] = _NONE
) -> tuple[list[Extent], dict[str, np.ndarray[Any, Any]]]:
    """Takes memory for tensors of numbers, whose sizes have been checked.

    Small tensors that lie next to each other become views of one array: to take memory, to read and to check costs
    less for one than for hundreds. All are aligned as numpy aligns them.

    Args:
        entries: The tensors.
        maps: See `alone`.

    Returns:
        What to fetch, and by name, in the order of the entries, the arrays that are filled then.

    Raises:
        UnsupportedError: numpy has no arrays of that shape.
    """
    order, placed = entries.in_place()
    extents: list[Extent] = []
    arrays: list[np.ndarray[Any, Any]] = []
    arena = _Arena(placed)
    for first, last in _groups(placed, maps):
        if last - first > 1:
            extent = _shared(placed[first:last], maps, arena)
            arrays += extent.views
        else:
            extent, array = alone(*placed[first], maps)
            arrays.append(array)
        extents.append(extent)
    if placed is not entries:
        arrays = [arrays[rank] for rank in np.argsort(order).tolist()]
    return extents, dict(zip(entries.names, arrays, strict=True))


def _groups(entries: Entries, maps: Mapping[int, memoryview]) -> Iterator[tuple[int, int]]:
    """Which entries, from one number up to another, are read together: small neighbours, in line for their types."""
    columns = entries.columns
    if len(entries) <= 1:
        yield from [(0, 1)] * len(entries)
        return
    items = columns.by_kind([dtype.itemsize for dtype, _ in columns.types])
    ends = columns.offsets + columns.sizes
    # What is large, or of no bytes, or out of line in its map, has no neighbours.
    social = (columns.sizes > 0) & (columns.sizes <= _SMALL)
    social &= ~(np.isin(columns.shards, [*maps]) & (columns.offsets % items != 0))
    next_to = social[1:] & social[:-1] & (columns.offsets[1:] == ends[:-1]) & (np.diff(columns.shards) == 0)
    cuts = [0, *(np.flatnonzero(~next_to) + 1).tolist(), len(entries)]
    for first, last in pairwise(cuts):
        if last - first == 1:  # as all are, where every other tensor is wanted
            yield first, last
            continue
        begin = first
        mixed = bool((items[first:last] != items[first]).any())
        while begin < last:
            start = columns.offsets[begin]
            stop = max(begin + int(np.searchsorted(ends[begin:last], start + _SHARED, side="right")), begin + 1)
            if mixed:
                stop = _in_line_up_to(columns.offsets, items, begin, stop)
            yield begin, stop
            begin = stop


def _in_line_up_to(offsets: Integers, items: Integers, begin: int, stop: int) -> int:
    """The first entry that is out of line in memory that begins with the one at `begin`; `stop` if there is none."""
    first, step = begin, 16
    while first < stop:  # in ever longer looks: there may be many that end soon
        look = slice(first, min(first + step, stop))
        wrong = np.flatnonzero((offsets[look] - offsets[begin]) % items[look])
        if len(wrong):
            return first + int(wrong[0])
        first, step = first + step, 4 * step
    return stop


def _in_line(entry: BundleEntry) -> bool:
    """Whether a tensor's place in its file is aligned as numpy aligns its type."""
    return entry.offset % entry.dtype.itemsize == 0


class _Arena:
    """Memory for small tensors, taken in large pieces.

    Fresh memory is most of what a restore of small tensors takes. From 4 MiB on numpy asks for huge pages, which halves
    it. A piece stays as long as one of the tensors in it.

    Args:
        entries: The tensors, among them all those that memory will be taken for.
    """

    def __init__(self, entries: Entries) -> None:
        sizes = entries.columns.sizes
        self._wanted = int(sizes[sizes <= _SMALL].sum())
        self._free = np.empty(0, np.uint8)

    def take(self, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Memory of so many bytes, aligned for every type."""
        if size > len(self._free):
            self._free = np.empty(max(size, min(self._wanted, _ARENA)), np.uint8)
        taken, self._free = self._free[:size], self._free[-(-size // _LINE) * _LINE :]
        self._wanted -= size
        return taken


def _shared(entries: Entries, maps: Mapping[int, memoryview], arena: _Arena) -> Extent:
    """One piece of memory for neighbours, and its views."""
    columns = entries.columns
    shard, base = int(columns.shards[0]), int(columns.offsets[0])
    size = int(columns.offsets[-1] + columns.sizes[-1]) - base
    mapped = shard in maps
    # The array of the memory is made even so: a view of it takes less time than one of a memoryview.
    memory = np.frombuffer(maps[shard], np.uint8, size, base) if mapped else arena.take(size)
    dtype, shape = columns.types[columns.kinds[0]]
    if 0 < len(shape) < _MOST_AXES and (columns.kinds == columns.kinds[0]).all():  # then numpy makes the views
        views = [*memory.view(dtype.numpy).reshape(-1, *shape)]
    else:
        kinds, offsets = columns.kinds.tolist(), (columns.offsets - base).tolist()
        dtypes, shapes = [dtype.numpy for dtype, _ in columns.types], [shape for _, shape in columns.types]
        places = zip(kinds, offsets, strict=True)
        views = [_view(shapes[kind], dtypes[kind], memory, offset) for kind, offset in places]
    return Extent(shard, base, memoryview(memory), entries, mapped=mapped, views=views)  # type: ignore[arg-type]  # as in tensor.empty


def _view(shape: tuple[int, ...], dtype: Any, memory: Any, offset: int) -> np.ndarray[Any, Any]:
    try:
        view: np.ndarray[Any, Any] = np.ndarray(shape, dtype, memory, offset)
    except ValueError as error:
        raise UnsupportedError(f"numpy cannot hold an array of the shape {list(shape)[:8]}... ({error})") from error
    return view


def fetch(
    extents: Sequence[Extent],
    read: Read | None,
    path: Callable[[int], str],
    *,
    verify: bool,
    concurrency: int = 0,
) -> None:
    """Fills extents from their files, and holds every tensor in them against its checksum.

    Args:
        extents: What to fill; of no particular order.
        read: Reads; called from several threads. None: everything is in memory already.
        path: The full name of a data file, for messages.
        verify: Whether to check.
        concurrency: How many reads to have under way at once. 0: no more than there are processors.

    Raises:
        DataLossError: A tensor is damaged; the message names file, tensor and offset.
    """
    if read is None and not verify:
        return
    total = sum(extent.data.nbytes for extent in extents)
    pieces = [*_pieces(extents, PIECE if concurrency else min(PIECE, max(total // (4 * _AT_ONCE), _SHARED)))]
    done: list[list[tuple[int, int, int]]] | None = [[] for _ in extents] if verify else None
    work = [partial(_do, extents, piece, read, path, done) for piece in pieces]
    threads = min(len(work), concurrency if concurrency and read is not None else _AT_ONCE)
    if threads <= 1:
        run_all(None, work, window=1)
    else:
        executor = make_executor(threads, "ckptstore-read")
        try:
            run_all(executor, work, window=threads)
        finally:
            executor.shutdown(wait=True)
    if done is not None:
        for extent, parts in zip(extents, done, strict=True):
            if parts:
                _check_joined(extent, parts, path)


@dataclass(slots=True)
class _Piece:
    """What one thread reads and checks: parts of extents of one file, by their number and limits."""

    shard: int
    size: int = 0
    cuts: list[tuple[int, int, int]] = field(default_factory=list)


def _pieces(extents: Sequence[Extent], most: int) -> Iterator[_Piece]:
    """What to read in one go each, of up to `most` bytes. What several tensors share is not cut."""
    piece: _Piece | None = None
    for number in sorted(range(len(extents)), key=lambda n: (extents[n].shard, extents[n].offset)):
        extent = extents[number]
        size = extent.data.nbytes
        step = most if len(extent.parts) == 1 else max(size, 1)
        for start in range(0, size, step) if size else (0,):
            stop = min(start + step, size)
            if piece is not None and (piece.shard != extent.shard or piece.size + stop - start > most):
                yield piece
                piece = None
            if piece is None:
                piece = _Piece(extent.shard)
            piece.cuts.append((number, start, stop))
            piece.size += stop - start
    if piece is not None:
        yield piece


def _do(
    extents: Sequence[Extent],
    piece: _Piece,
    read: Read | None,
    path: Callable[[int], str],
    done: list[list[tuple[int, int, int]]] | None,
) -> None:
    """Reads a piece, and checks the tensors in it; `done` gets limits and checksum of what is but a part of one."""
    if read is not None:
        targets = [
            (extents[number].offset + start, extents[number].data[start:stop])
            for number, start, stop in piece.cuts
            if stop > start and not extents[number].mapped
        ]
        if targets:
            read(piece.shard, targets)
    if done is None:
        return
    for number, start, stop in piece.cuts:
        extent = extents[number]
        if not extent.checked:
            continue
        if stop - start < extent.data.nbytes:
            done[number].append((start, stop, crc32c(extent.data[start:stop])))
        elif isinstance(extent.parts, Entries):
            damaged = extent.parts.first_damaged(extent.views)
            if damaged is not None:
                row, found = damaged
                _raise(found, *extent.parts[row], path)
        else:
            _check(extent.data, *extent.parts[0], path)


def _check(data: memoryview, name: str, entry: BundleEntry, path: Callable[[int], str]) -> None:
    found = mask(crc32c(data))
    if found != entry.crc:
        _raise(found, name, entry, path)


def _check_joined(extent: Extent, parts: list[tuple[int, int, int]], path: Callable[[int], str]) -> None:
    """Checks a tensor of which several threads had a part."""
    crc = 0
    for start, stop, found in sorted(parts):
        crc = combine(crc, found, stop - start)
    name, entry = extent.parts[0]
    if mask(crc) != entry.crc:
        _raise(mask(crc), name, entry, path)


def _raise(found: int, name: str, entry: BundleEntry, path: Callable[[int], str]) -> None:
    with located(path(entry.shard), name):
        raise DataLossError(
            f"checksum does not match: stored {entry.crc:08x}, of the {entry.size} bytes read {found:08x}; "
            "the file is damaged, restore another checkpoint",
            offset=entry.offset,
        )


def whole_files(files: Mapping[int, bytes], read: Read) -> Read:
    """`read`, but for files that are in memory already."""

    def from_memory(shard: int, targets: list[tuple[int, memoryview]]) -> None:
        data = files.get(shard)
        if data is None:
            read(shard, targets)
            return
        view = memoryview(data)
        for offset, buffer in targets:
            buffer[:] = view[offset : offset + buffer.nbytes]

    return from_memory
