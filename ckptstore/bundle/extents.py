"""Memory for tensors' bytes: their own, or that of many small ones that lie next to each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ckptstore._memory import HUGE_PAGE, LARGE, allocate
from ckptstore.bundle.entries import Entries
from ckptstore.errors import UnsupportedError
from ckptstore.format import tensor
from ckptstore.format.entry import BundleEntry
from ckptstore.format.rows import Integers

SHARED = 2 << 20
"""Bytes of small neighbours that are read together, at most."""

_SMALL = 64 << 10  # bytes of a tensor, beyond which it has no neighbours
_ARENA = 32 << 20  # bytes of memory that small tensors share
_LINE = 64  # bytes; a multiple of every element's
_MOST_AXES = 16  # of tensors that are the rows of one array; numpy has a limit, which older ones have at 32
_NONE: Mapping[int, memoryview] = {}


@dataclass(slots=True)
class Extent:
    """Consecutive bytes of a data file, and memory for them.

    Attributes:
        shard: Number of the data file.
        offset: Where in it they begin.
        data: Memory of their size: writable, unless it is mapped.
        parts: The tensors (or pieces of them) that they are made of, each with its name, in ascending order.
        array: The tensor that they are, or all bytes of several; None where they are to be decoded.
        checked: Whether their checksums are those of their bytes as they are; those of strings are not.
        mapped: Whether the memory is the file's own, so that nothing is to be read.
    """

    shard: int
    offset: int
    data: memoryview
    parts: Sequence[tuple[str, BundleEntry]]
    array: np.ndarray[Any, Any] | None = None
    checked: bool = True
    mapped: bool = False

    def arrays(self) -> Sequence[np.ndarray[Any, Any]]:
        """The array of each of the tensors. To make those of thousands takes a part of the time that reading does.

        Raises:
            UnsupportedError: numpy has no arrays of that shape.
        """
        if self.array is None:
            return []
        return _views(self.array, self.parts) if isinstance(self.parts, Entries) else [self.array]


def encoded(name: str, entry: BundleEntry) -> Extent:
    """Memory for a tensor's bytes as they are stored: strings, above all, which are decoded later."""
    return Extent(entry.shard, entry.offset, memoryview(bytearray(entry.size)), [(name, entry)], checked=False)


def alone(name: str, entry: BundleEntry, maps: Mapping[int, memoryview] = _NONE) -> Extent:
    """Memory for a tensor of numbers, or a piece of one: its array.

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
        return Extent(entry.shard, entry.offset, data, [(name, entry)], array, mapped=True)
    array, data = tensor.empty(entry.dtype, entry.shape)
    return Extent(entry.shard, entry.offset, data, [(name, entry)], array)


def lay_out(entries: Entries, maps: Mapping[int, memoryview] = _NONE) -> list[Extent]:
    """Takes memory for tensors of numbers, whose sizes have been checked.

    Small tensors that lie next to each other become views of one array: to take memory, to read and to check costs
    less for one than for hundreds. All are aligned as numpy aligns them.

    Args:
        entries: The tensors, in the order of their places.
        maps: See `alone`.

    Returns:
        What to fetch, in the same order.

    Raises:
        UnsupportedError: numpy has no arrays of that shape.
    """
    arena = _Arena(entries)
    return [
        _shared(entries[first:last], maps, arena) if last - first > 1 else alone(*entries[first], maps)
        for first, last in _groups(entries, maps)
    ]


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
            stop = max(begin + int(np.searchsorted(ends[begin:last], start + SHARED, side="right")), begin + 1)
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

    Fresh memory is most of what a restore of small tensors takes, and in large pieces it costs half of that. A piece
    stays as long as one of the tensors in it.

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
            wanted = -(-self._wanted // HUGE_PAGE) * HUGE_PAGE if self._wanted >= LARGE else self._wanted
            self._free = allocate(max(size, min(wanted, _ARENA)))
        taken, self._free = self._free[:size], self._free[-(-size // _LINE) * _LINE :]
        self._wanted -= size
        return taken


def _shared(entries: Entries, maps: Mapping[int, memoryview], arena: _Arena) -> Extent:
    """Memory for tensors that lie next to each other, in line for their types."""
    columns = entries.columns
    shard, base = int(columns.shards[0]), int(columns.offsets[0])
    size = int(columns.offsets[-1] + columns.sizes[-1]) - base
    mapped = shard in maps
    memory = np.frombuffer(maps[shard], np.uint8, size, base) if mapped else arena.take(size)
    return Extent(shard, base, memoryview(memory), entries, memory, mapped=mapped)  # type: ignore[arg-type]  # as in tensor.empty


def _views(memory: np.ndarray[Any, Any], entries: Entries) -> Sequence[np.ndarray[Any, Any]]:
    """The array of each tensor. They are views of an array: one of a memoryview takes more time."""
    columns = entries.columns
    dtype, shape = columns.types[columns.kinds[0]]
    if 0 < len(shape) < _MOST_AXES and (columns.kinds == columns.kinds[0]).all():  # then numpy makes the views
        return [*memory.view(dtype.numpy).reshape(-1, *shape)]
    dtypes, shapes = [dtype.numpy for dtype, _ in columns.types], [shape for _, shape in columns.types]
    places = zip(columns.kinds.tolist(), (columns.offsets - columns.offsets[0]).tolist(), strict=True)
    return [_view(shapes[kind], dtypes[kind], memory, offset) for kind, offset in places]


def _view(shape: tuple[int, ...], dtype: Any, memory: Any, offset: int) -> np.ndarray[Any, Any]:
    try:
        view: np.ndarray[Any, Any] = np.ndarray(shape, dtype, memory, offset)
    except ValueError as error:
        raise UnsupportedError(f"numpy cannot hold an array of the shape {list(shape)[:8]}... ({error})") from error
    return view
