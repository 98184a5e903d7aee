"""The reading of tensors' bytes into memory: in pieces, several at once, each checked as it arrives."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from ckptstore._concurrency import make_executor, run_all
from ckptstore.bundle.entries import Entries
from ckptstore.bundle.extents import SHARED, Extent
from ckptstore.errors import DataLossError, located
from ckptstore.format.checksum import combine, combine_all, crc32c, mask, unmask_all
from ckptstore.format.entry import BundleEntry

PIECE = 16 << 20
"""Bytes that are read, and checked while they are still in the processor's cache, by one thread at a time."""

_AT_ONCE = min(4, os.cpu_count() or 1)

Read = Callable[[int, list[tuple[int, memoryview]]], None]
"""Fills buffers from offsets on of a data file, which is told by its number."""


def fetch(
    extents: Sequence[Extent],
    read: Read | None,
    path: Callable[[int], str],
    *,
    verify: bool,
    concurrency: int = 0,
    meanwhile: Callable[[], object] | None = None,
) -> None:
    """Fills extents from their files, and holds every tensor in them against its checksum.

    Args:
        extents: What to fill; of no particular order.
        read: Reads; called from several threads. None: everything is in memory already.
        path: The full name of a data file, for messages.
        verify: Whether to check.
        concurrency: How many reads to have under way at once. 0: no more than there are processors.
        meanwhile: Something to do in this thread while others read.

    Raises:
        DataLossError: A tensor is damaged; the message names file, tensor and offset.
    """
    fetching = _Fetching(extents, read, path, [[] for _ in extents] if verify else None)
    total = sum(extent.data.nbytes for extent in extents)
    most = PIECE if concurrency else min(PIECE, max(total // (4 * _AT_ONCE), SHARED))
    work = [partial(fetching.do, piece) for piece in _pieces(extents, most)] if read is not None or verify else []
    waits = bool(concurrency and read is not None)
    threads = min(len(work), concurrency if waits else _AT_ONCE)

    def beside() -> None:
        if meanwhile is not None:
            meanwhile()
        fetching.expect()

    if threads <= 1:
        run_all(None, work, window=1, meanwhile=beside)
    elif waits:
        with make_executor(threads, "ckptstore-read") as executor:
            run_all(executor, work, window=threads, meanwhile=beside)
    else:  # one of the threads is this one: where processors are few, each that is woken may have to wait for one
        with make_executor(threads - 1, "ckptstore-read") as executor:
            run_all(executor, work, window=2 * (threads - 1), meanwhile=beside, share=True)
    fetching.check()


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


@dataclass(slots=True)
class _Fetching:
    """The filling of extents, piece by piece.

    Attributes:
        extents: See `fetch`, as for the others.
        read: Reads.
        path: For messages.
        found: The checksums of what was read of each extent, with its limits; None: nothing is checked.
        expected: By number, what the checksums of several tensors' bytes come to, taken together.
    """

    extents: Sequence[Extent]
    read: Read | None
    path: Callable[[int], str]
    found: list[list[tuple[int, int, int]]] | None
    expected: dict[int, int] = field(default_factory=dict)

    def do(self, piece: _Piece) -> None:
        """Reads a piece, and checks the tensors that are whole in it; of others their checksums are noted."""
        extents = self.extents
        if self.read is not None:
            targets = [
                (extents[number].offset + start, extents[number].data[start:stop])
                for number, start, stop in piece.cuts
                if stop > start and not extents[number].mapped
            ]
            if targets:
                self.read(piece.shard, targets)
        if self.found is None:
            return
        for number, start, stop in piece.cuts:
            extent = extents[number]
            if not extent.checked:
                continue
            crc = crc32c(extent.data[start:stop])
            if len(extent.parts) == 1 and stop - start == extent.data.nbytes:
                self._compare(crc, extent)
            else:
                self.found[number].append((start, stop, crc))

    def expect(self) -> None:
        """Puts the stored checksums of tensors that share memory together: to check all their bytes costs one call."""
        if self.found is None:
            return
        shared = {n: e.parts for n, e in enumerate(self.extents) if isinstance(e.parts, Entries)}
        if shared:
            columns = [entries.columns for entries in shared.values()]
            crcs = unmask_all(np.concatenate([part.crcs for part in columns]))
            firsts = np.cumsum([0, *map(len, columns[:-1])])
            expected = combine_all(crcs, np.concatenate([part.sizes for part in columns]), firsts)
            self.expected = dict(zip(shared, expected.tolist(), strict=True))

    def check(self) -> None:
        """Checks what `do` did not."""
        for number, parts in enumerate(self.found or ()):
            extent = self.extents[number]
            crc = 0
            for start, stop, found in sorted(parts):
                crc = combine(crc, found, stop - start)
            if number in self.expected:
                if crc != self.expected[number]:
                    self._find_damage(extent)
            elif parts:
                self._compare(crc, extent)

    def _find_damage(self, extent: Extent) -> None:
        """Raises for the first tensor that is damaged among several."""
        for name, entry in extent.parts:
            start = entry.offset - extent.offset
            self._compare_entry(crc32c(extent.data[start : start + entry.size]), name, entry)
        with located(self.path(extent.shard), extent.parts[0][0]):
            raise DataLossError(
                f"the bytes of it and its neighbours, {len(extent.parts)} tensors, did not match their checksums, and "
                "do now: somebody writes to the file, or this machine's memory is failing",
                offset=extent.offset,
            )

    def _compare(self, crc: int, extent: Extent) -> None:
        self._compare_entry(crc, *extent.parts[0])

    def _compare_entry(self, crc: int, name: str, entry: BundleEntry) -> None:
        if mask(crc) != entry.crc:
            with located(self.path(entry.shard), name):
                raise DataLossError(
                    f"checksum does not match: stored {entry.crc:08x}, of the {entry.size} bytes read {mask(crc):08x}; "
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
