"""Tensors' bytes on their way from data files into another file, each held against its checksum as it passes.

A store asks a payload for one buffer after the other. This one reads each when it is asked for it, so a data file of
any size passes through bounded memory; and since the error comes before the last buffer does, a store never shows a
file that was made of damaged bytes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from ckptstore.errors import CheckpointNotFoundError, DataLossError, NotFoundError, located
from ckptstore.format import tensor
from ckptstore.format.checksum import crc32c, mask
from ckptstore.format.entry import BundleEntry
from ckptstore.storage import ObjectMeta, Payload, Store

PIECE = 32 << 20
"""Bytes that are read at a time; a buffer of a payload has no more."""

_MAX_OVERLAP = 4  # see reader.py: entries may share bytes, but not claim many times the file's size
_SLACK = 1 << 20


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive bytes of a file.

    Attributes:
        meta: The file, and which version of it.
        offset: Where they begin in it.
        size: How many.
    """

    meta: ObjectMeta
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Passing:
    """A tensor, or a piece of one, whose bytes are among those of some runs.

    Attributes:
        position: Where it begins in the bytes of all the runs, put one after the other.
        name: The tensor's name, for messages.
        entry: Its entry in the index that the runs' files belong to.
    """

    position: int
    name: str
    entry: BundleEntry


def check_extents(path: str, size: int, entries: Iterable[tuple[str, BundleEntry]]) -> None:
    """Holds what entries claim of a data file against each other and its size, before any of it is read.

    Args:
        path: The file, for messages.
        size: Its size, in bytes.
        entries: The entries of the tensors that lie in it, each with the tensor's name.

    Raises:
        DataLossError: It cannot be true.
    """
    claimed = 0
    for name, entry in entries:
        with located(path, name):
            entry.check_size()
            if entry.offset + entry.size > size:
                raise DataLossError(
                    f"the file ends at {size}, before the tensor's {entry.size} bytes do: it is truncated; "
                    "copy another checkpoint",
                    offset=entry.offset,
                )
        claimed += entry.size
    if claimed > _MAX_OVERLAP * size + _SLACK:
        raise DataLossError(
            f"{path}: the index claims {claimed} bytes of the file's {size}; it is damaged or forged", path=path
        )


def checked_payload(
    store: Store,
    runs: Sequence[Run],
    tensors: Sequence[Passing],
    *,
    big_endian: bool = False,
    advance: Callable[[int], None] | None = None,
) -> Payload:
    """The bytes of runs as a payload that is read when it is written. Up to `PIECE` bytes are read here and now.

    It is for stores that take buffers one after the other, as all from `from_url` do with one of this size. A store
    that takes an object in one piece of memory (`memory://`, and others of fsspec's) holds all of it.

    Strings and variants are held in memory one tensor at a time, since nothing less can be checked.

    Args:
        store: Where the runs' files are.
        runs: What to read, in the order in which it is to be written.
        tensors: Which tensors are in it; `check_extents` has looked at them.
        big_endian: The byte order of the files.
        advance: Told how many bytes were read; more often than once for the same bytes if a write is tried again.

    Raises:
        DataLossError: A tensor is damaged: here, or wherever the payload's buffers are read.
        CheckpointNotFoundError: A file is gone; also in both places.
    """
    total = sum(run.size for run in runs)
    for item in tensors:
        if not item.entry.size:
            with located(store.url, item.name):
                tensor.verify(item.entry.dtype, item.entry.shape, memoryview(b""), item.entry.crc)
    solid = sorted((item for item in tensors if item.entry.size), key=lambda item: item.position)
    source = _Source(store, tuple(run for run in runs if run.size), tuple(solid), big_endian, advance)
    return Payload(list(source)) if total <= PIECE else Payload.lazy(source, total)


@dataclass(frozen=True, slots=True)
class _Source:
    """Buffers that are read when they are iterated over."""

    store: Store
    runs: tuple[Run, ...]
    tensors: tuple[Passing, ...]
    big_endian: bool
    advance: Callable[[int], None] | None

    def __iter__(self) -> Iterator[memoryview]:
        ends = list(accumulate(run.size for run in self.runs))
        total = ends[-1] if ends else 0
        under_way: list[_Check] = []
        begun = 0
        for start in range(0, total, PIECE):
            stop = min(start + PIECE, total)
            piece = self._read(ends, start, stop)
            while begun < len(self.tensors) and self.tensors[begun].position < stop:
                item = self.tensors[begun]
                run = self.runs[bisect_right(ends, item.position)]
                under_way.append(_Check(item, self.store.path(run.meta.key), self.big_endian))
                begun += 1
            under_way = [check for check in under_way if not check.feed(start, piece)]
            if self.advance is not None:
                self.advance(piece.nbytes)
            yield piece

    def _read(self, ends: Sequence[int], start: int, stop: int) -> memoryview:
        """The bytes from `start` up to `stop` of all the runs."""
        piece = memoryview(bytearray(stop - start))
        targets: dict[str, tuple[ObjectMeta, list[tuple[int, memoryview]]]] = {}
        number, position = bisect_right(ends, start), start
        while position < stop:
            run = self.runs[number]
            begin, end = ends[number] - run.size, min(ends[number], stop)
            _, wanted = targets.setdefault(run.meta.key, (run.meta, []))
            wanted.append((run.offset + position - begin, piece[position - start : end - start]))
            number, position = number + 1, end
        for meta, wanted in targets.values():
            try:
                self.store.read_into(meta.key, wanted, version=meta.version)
            except NotFoundError as error:
                path = self.store.path(meta.key)
                raise CheckpointNotFoundError(
                    f"{path} was deleted while it was read; copy another checkpoint.", path=path
                ) from error
        return piece


@dataclass(slots=True)
class _Check:
    """A tensor of which a part has passed."""

    item: Passing
    path: str
    big_endian: bool
    crc: int = 0
    data: bytearray = field(default_factory=bytearray)

    def feed(self, start: int, piece: memoryview) -> bool:
        """Takes in what a piece has of it, the piece beginning at `start`; tells whether that was the last.

        Raises:
            DataLossError: It is complete, and damaged.
        """
        entry = self.item.entry
        end = self.item.position + entry.size
        part = piece[max(self.item.position - start, 0) : end - start]
        if entry.dtype.itemsize:
            self.crc = crc32c(part, self.crc)
        else:
            self.data += part
        if end > start + piece.nbytes:
            return False
        with located(self.path, self.item.name):
            if not entry.dtype.itemsize:
                tensor.verify(entry.dtype, entry.shape, memoryview(self.data), entry.crc, big_endian=self.big_endian)
            elif mask(self.crc) != entry.crc:
                raise DataLossError(
                    f"checksum does not match: stored {entry.crc:08x}, of the {entry.size} bytes read "
                    f"{mask(self.crc):08x}; the file is damaged, copy another checkpoint",
                    offset=entry.offset,
                )
        return True
