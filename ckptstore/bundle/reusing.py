"""Writes a bundle, and has the store copy what an earlier bundle in it holds already."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from ckptstore._concurrency import make_executor, run_all
from ckptstore.bundle.buffers import Buffers
from ckptstore.bundle.digests import Digests, choose_algorithm, digest
from ckptstore.bundle.progress import Progress
from ckptstore.bundle.reader import BundleReader
from ckptstore.bundle.writer import BundleWriter
from ckptstore.errors import NotFoundError, PreconditionFailedError, UnsupportedError
from ckptstore.format.checksum import crc32c, mask
from ckptstore.format.columns import TensorType
from ckptstore.format.entry import BundleEntry
from ckptstore.format.rows import Bytes
from ckptstore.format.slices import slice_key
from ckptstore.format.tensor import EncodedTensor
from ckptstore.storage import Capabilities, ObjectMeta, ObjectRange, Store

T = TypeVar("T")

_AT_ONCE = min(4, os.cpu_count() or 1)
_LEAST_SHARE = 0.75  # of a file that is copied whole; the rest of it nothing refers to any more
_LEAST_COPY = 1 << 20  # bytes of a file; fewer are sooner written than copied
_LEAST_RANGE = 8 << 20  # bytes of one of several ranges, for the same reason
_MOST_COPIES = 64  # files, so that a bundle does not fall into ever more of them
_CUT = 1 << 20
_ZEROS = memoryview(bytes(_CUT))


@dataclass(frozen=True, slots=True)
class _Copy:
    """A data file made of bytes that the store has: where they are, and where in it tensors begin, ascending."""

    ranges: Sequence[ObjectRange]
    tensors: Sequence[tuple[int, bytes]]


class ReusingWriter(BundleWriter):
    """A `BundleWriter` that sends only what an earlier bundle does not have.

    What is the same is found tensor by tensor: by its bytes where the store can map files, else by digests that are
    kept with the checkpoint. A data file of the earlier bundle of which three quarters are still of use is copied as
    it is, within the store (`Store.copy`); of others the store copies the longer runs, if it can do that; the rest is
    written, into files of its own. Where a copy fails, since the earlier bundle is deleted meanwhile, say, the same
    bytes are written. So the bundle is complete by itself, whatever becomes of the earlier one.

    Args:
        store: Where to; the earlier bundle is there, too.
        prefix: See `BundleWriter`.
        max_shard_bytes: See `BundleBuilder`; for the files that are written.
        progress: See `BundleWriter`; bytes that are copied count as well.

    Attributes:
        checked: The checksums, by key, of tensors that are copied and whose bytes have been held against them.
    """

    def __init__(
        self, store: Store, prefix: str, *, max_shard_bytes: int | None = None, progress: Progress | None = None
    ) -> None:
        super().__init__(store, prefix, max_shard_bytes=max_shard_bytes, progress=progress)
        self._collected: dict[bytes, EncodedTensor] = {}
        self._copies: dict[int, Sequence[ObjectRange]] = {}
        self.checked: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._collected) + len(self._partitioned)

    def compare(
        self,
        previous: BundleReader | None,
        digests: Digests | None = None,
        checked: Mapping[bytes, int] | None = None,
    ) -> Digests | None:
        """Finds out what an earlier bundle has, and lays the files out. Called once all tensors were added.

        Args:
            previous: The earlier bundle; None if there is none.
            digests: Its digests, if it has some.
            checked: The `checked` of its writer, if that is known.

        Returns:
            The digests to be kept with this bundle; None where the store maps files, and so needs none.

        Raises:
            DataLossError, CheckpointNotFoundError, StorageError: The earlier bundle cannot be read. Nothing is laid
                out then: call this again, with None.
        """
        capabilities = self._store.capabilities
        candidates = {} if previous is None else self._candidates(previous)
        found: Digests | None = None
        if capabilities.maps:
            same = self._equal(candidates, previous, checked or {})
        else:
            algorithm = choose_algorithm(None if digests is None else digests.algorithm)
            keys = [*self._collected]
            found = Digests(algorithm, dict(zip(keys, self._digests(algorithm, keys), strict=True)))
            old = digests.by_key if digests is not None and digests.algorithm == algorithm else {}
            same = [key for key in candidates if old.get(key) == found.by_key[key]]
        copies = [] if previous is None else self._plan(previous, {key: candidates[key] for key in same}, capabilities)
        self._lay_out(copies, candidates)
        if capabilities.maps:
            self.checked = {key: candidates[key].crc for copy in copies for _, key in copy.tensors}
        return found

    def _place(self, key: bytes, encoded: EncodedTensor, name: str) -> None:
        """Takes a tensor in; where it goes is decided by `compare`."""
        self._claim(key, name)
        self._collected[key] = encoded

    def _add_plain(self, names: Sequence[str], arrays: Sequence[np.ndarray[Any, Any]]) -> None:
        for name, array in zip(names, arrays, strict=True):
            self.add(name, array)

    def _type_of(self, key: bytes) -> TensorType | None:
        found = self._collected.get(key)
        return None if found is None else (found.dtype, found.shape)

    def _holds(self, key: bytes) -> bool:
        return key in self._collected or key in self._partitioned

    def _put(self, number: int, name: str) -> ObjectMeta:
        ranges = self._copies.get(number)
        if ranges is not None:
            try:
                return self._store.copy(name, ranges)
            except (NotFoundError, PreconditionFailedError, UnsupportedError):
                self.checked = {}  # whatever is in the way, the bytes are here, too
        return super()._put(number, name)

    # -- what is the same

    def _candidates(self, previous: BundleReader) -> dict[bytes, BundleEntry]:
        """The entries of the earlier bundle that may be of the same bytes as ours."""
        out: dict[bytes, BundleEntry] = {}
        if previous.header.big_endian:
            return out
        for key, entry in previous.index.entries():
            if isinstance(entry, BundleEntry) and entry.size and not entry.slices and key in self._collected:
                ours = self._collected[key]
                alike = (ours.dtype, ours.shape, ours.size) == (entry.dtype, entry.shape, entry.size)
                if alike and ours.crc in (None, entry.crc):
                    out[key] = entry
        return out

    def _equal(
        self, candidates: Mapping[bytes, BundleEntry], previous: BundleReader | None, checked: Mapping[bytes, int]
    ) -> list[bytes]:
        maps = {} if previous is None else {n: previous.files.map(n) for n in {e.shard for e in candidates.values()}}

        def is_equal(key: bytes) -> bool:
            entry = candidates[key]
            data = maps[entry.shard]
            if data is None or entry.offset + entry.size > data.nbytes:
                return False
            ours = self._collected[key]
            # A checksum that does not fit would be handed on, from one checkpoint to all that come after it.
            known = ours.crc is not None or checked.get(key) == entry.crc
            crc = None if known else entry.crc
            return same_bytes(ours.buffers, data[entry.offset : entry.offset + entry.size], crc)

        keys = [*candidates]
        return [key for key, equal in zip(keys, _each(is_equal, keys, self._sizes(keys)), strict=True) if equal]

    def _digests(self, algorithm: str, keys: Sequence[bytes]) -> list[bytes]:
        return _each(lambda key: digest(algorithm, self._collected[key].buffers), keys, self._sizes(keys))

    def _sizes(self, keys: Iterable[bytes]) -> list[int]:
        return [self._collected[key].size for key in keys]

    # -- where it goes

    def _plan(
        self, previous: BundleReader, same: Mapping[bytes, BundleEntry], capabilities: Capabilities
    ) -> list[_Copy]:
        by_shard: dict[int, list[tuple[int, int, bytes]]] = defaultdict(list)
        for key, entry in same.items():
            by_shard[entry.shard].append((entry.offset, entry.size, key))
        copies: list[_Copy] = []
        largest = sorted(by_shard, key=lambda shard: -sum(size for _, size, _ in by_shard[shard]))
        for shard in largest[:_MOST_COPIES] if capabilities.copies else ():
            tensors, meta = _apart(by_shard[shard]), previous.files.meta(shard)
            live = sum(size for _, size, _ in tensors)
            if live < _LEAST_COPY:
                continue
            if live >= _LEAST_SHARE * meta.size:
                copies.append(_Copy([ObjectRange.whole(meta)], [(offset, key) for offset, _, key in tensors]))
            elif capabilities.range_copies:
                longer = _runs(tensors, max(_LEAST_RANGE, capabilities.min_part_size))
                if longer:
                    copies.append(_joined(longer, meta))
        return copies

    def _lay_out(self, copies: Sequence[_Copy], entries: Mapping[bytes, BundleEntry]) -> None:
        copied = {key for copy in copies for _, key in copy.tensors}
        self._shards.clear()
        for copy in copies:
            number, position = len(self._shards), 0
            buffers = Buffers()
            for offset, key in copy.tensors:
                buffers.extend(_zeros(offset - position))
                buffers.extend(self._collected[key].buffers)
                position = offset + entries[key].size
                entry = entries[key]
                self._layout.add(key, (entry.dtype, entry.shape), number, offset, entry.size, entry.crc)
            buffers.extend(_zeros(sum(source.stop - source.start for source in copy.ranges) - position))
            self._shards.append(buffers)
            self._copies[number] = copy.ranges
        rest = [key for key in self._collected if key not in copied]
        if rest or not copies:
            self._shards.append(Buffers())
        for key in rest:
            self._lay(key, self._collected[key])
        for key, entry in self._partitioned.items():
            shard = self._layout.shard_of(slice_key(key, entry.slices[0]))
            self._partitioned[key] = entry._replace(shard=shard)


def same_bytes(buffers: Iterable[memoryview], data: memoryview, crc: int | None = None) -> bool:
    """Whether buffers, one after the other, are these bytes, and have this masked checksum, if one is given."""
    position = running = 0
    for buffer in buffers:
        for start in range(0, buffer.nbytes, _CUT):  # so that what numpy makes of it stays in the processor's cache
            piece = buffer[start : start + _CUT]
            other = data[position : position + piece.nbytes]
            if not _equal(np.frombuffer(piece, np.uint8), np.frombuffer(other, np.uint8)):
                return False
            if crc is not None:
                running = crc32c(piece, running)
            position += piece.nbytes
    return position == data.nbytes and crc in (None, mask(running))


def _equal(a: Bytes, b: Bytes) -> bool:
    if len(a) == len(b) and len(a) % 8 == 0:
        words = a.view(np.uint64), b.view(np.uint64)
        if words[0].flags.aligned and words[1].flags.aligned:  # then it takes a fifth less time
            a, b = words  # type: ignore[assignment]
    return np.array_equal(a, b)


def _each(call: Callable[[bytes], T], keys: Sequence[bytes], sizes: Sequence[int]) -> list[T]:
    """The results of a function that lets other threads run, for many keys: of small ones many in one go."""
    groups: list[list[bytes]] = [[]]
    fill = 0
    for key, size in zip(keys, sizes, strict=True):
        if fill >= _CUT:
            groups.append([])
            fill = 0
        groups[-1].append(key)
        fill += size
    work = [partial(lambda group: [call(key) for key in group], group) for group in groups]
    if len(work) == 1 or _AT_ONCE == 1:
        done = run_all(None, work, window=1)
    else:
        executor = make_executor(_AT_ONCE, "ckptstore-compare")
        try:
            done = run_all(executor, work, window=2 * _AT_ONCE)
        finally:
            executor.shutdown(wait=True)
    return [result for results in done for result in results]


def _apart(tensors: Iterable[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    """Tensors in the order of their places, without those that share bytes with one before."""
    out: list[tuple[int, int, bytes]] = []
    end = 0
    for offset, size, key in sorted(tensors):
        if offset >= end:
            out.append((offset, size, key))
            end = offset + size
    return out


def _runs(tensors: Sequence[tuple[int, int, bytes]], least: int) -> list[list[tuple[int, int, bytes]]]:
    """The longest stretches of tensors that lie next to each other, as far as they are long enough."""
    runs: list[list[tuple[int, int, bytes]]] = []
    end = -1
    for offset, size, key in tensors:
        if offset != end:
            runs.append([])
        runs[-1].append((offset, size, key))
        end = offset + size
    return [run for run in runs if sum(size for _, size, _ in run) >= least]


def _joined(runs: Sequence[Sequence[tuple[int, int, bytes]]], meta: ObjectMeta) -> _Copy:
    """The file that consists of these runs of another one."""
    ranges: list[ObjectRange] = []
    tensors: list[tuple[int, bytes]] = []
    position = 0
    for run in runs:
        ranges.append(ObjectRange(meta, run[0][0], run[-1][0] + run[-1][1]))
        for _, size, key in run:
            tensors.append((position, key))
            position += size
    return _Copy(ranges, tensors)


def _zeros(count: int) -> list[memoryview]:
    """In place of bytes that nothing refers to."""
    return [_ZEROS[: min(_CUT, count - start)] for start in range(0, count, _CUT)]
