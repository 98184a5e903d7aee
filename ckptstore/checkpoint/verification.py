"""Reads every byte of a checkpoint and says what is damaged, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from google.protobuf.message import DecodeError

from ckptstore._proto.meta_graph_pb2 import MetaGraphDef
from ckptstore.bundle import BundleReader, Progress
from ckptstore.checkpoint.directory import CheckpointDirectory
from ckptstore.checkpoint.reader import open_source
from ckptstore.errors import CheckpointNotFoundError, DataLossError, NotFoundError, located
from ckptstore.format.checksum import crc32c, mask
from ckptstore.format.entry import BundleEntry
from ckptstore.format.naming import index_name, meta_name
from ckptstore.storage import Store

_PIECE = 64 << 20
_MAX_LISTED = 100  # missing files that are named one by one


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is wrong.

    Attributes:
        file: The file, in full.
        tensor: The tensor that is lost, or None if it is not about one.
        offset: Where the damaged part begins, in bytes, or None where that is not known.
        size: How many bytes it covers, or None.
        problem: What is wrong.
    """

    file: str
    tensor: str | None
    offset: int | None
    size: int | None
    problem: str


@dataclass(slots=True)
class VerifyReport:
    """What a verification found.

    Attributes:
        path: The checkpoint or directory, in full.
        checkpoints: How many checkpoints were read.
        tensors: How many tensors (or pieces of partitioned ones) were read.
        nbytes: How many bytes of tensors were read.
        unreferenced: Bytes of data files that belong to no tensor and so have no checksum.
        damages: What is wrong; empty if nothing is.
    """

    path: str
    checkpoints: int = 0
    tensors: int = 0
    nbytes: int = 0
    unreferenced: int = 0
    damages: list[Damage] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.damages

    def add(self, other: VerifyReport) -> None:
        """Takes in the report of one checkpoint of a directory."""
        self.checkpoints += other.checkpoints
        self.tensors += other.tensors
        self.nbytes += other.nbytes
        self.unreferenced += other.unreferenced
        self.damages += other.damages

    def note(self, error: DataLossError | CheckpointNotFoundError, file: str, size: int | None = None) -> None:
        """Takes in an error as a damage."""
        if isinstance(error, DataLossError):
            self.damages.append(Damage(error.path or file, error.name, error.offset, size, error.problem))
        else:
            self.damages.append(Damage(error.path or file, error.name, None, size, "it is not there"))


def verify_checkpoint(store: Store, prefix: str, progress: Progress | None = None) -> VerifyReport:
    """Reads a checkpoint's index, every tensor and its `.meta` file, in pieces of bounded size.

    Args:
        store: The directory.
        prefix: The checkpoint's key.
        progress: Told the bytes read so far, and all that there are to read.

    Raises:
        CheckpointNotFoundError: There is no such checkpoint at all. (A missing part of one is a damage.)
        StorageError: The store could not be asked.
    """
    report = VerifyReport(store.path(prefix), checkpoints=1)
    try:
        source = open_source(store, prefix)
    except DataLossError as error:
        report.note(error, store.path(index_name(prefix)))
        return report
    if isinstance(source, BundleReader):
        _verify_bundle(store, source, report, progress)
    else:
        sizes = {name: info.nbytes for name in source.names() if (info := source.info(name)) is not None}
        for name, size in sizes.items():
            report.tensors += 1
            report.nbytes += size
            try:
                source.read([name])
            except DataLossError as error:
                report.note(error, source.path)
            if progress is not None:
                progress(report.nbytes, sum(sizes.values()))
    _verify_meta(store, prefix, report)
    return report


def verify_directory(directory: CheckpointDirectory, progress: Progress | None = None) -> VerifyReport:
    """Verifies every checkpoint that the state file lists, and the state file.

    Raises:
        CheckpointNotFoundError: The directory has no checkpoints.
        StateError: The state file is missing or cannot be read.
        StorageError: The store could not be asked.
    """
    report = VerifyReport(directory.url)
    ledger = directory.ledger()
    if ledger is None:
        raise CheckpointNotFoundError(f"{directory.url} holds no checkpoints, or is not there.", path=directory.url)
    for key in (entry.prefix for entry in ledger.listed):
        try:
            report.add(verify_checkpoint(directory.store, key, progress))
        except CheckpointNotFoundError as error:
            report.checkpoints += 1
            report.note(error, directory.store.path(key))
    return report


def _verify_bundle(store: Store, source: BundleReader, report: VerifyReport, progress: Progress | None) -> None:
    entries: list[tuple[bytes, BundleEntry]] = []
    partitioned: list[str] = []
    try:
        for key, entry in source.index.entries():
            if isinstance(entry, DataLossError):
                report.note(entry, source.path)
            elif entry.slices:
                partitioned.append(key.decode("utf-8", "surrogateescape"))
            else:
                entries.append((key, entry))
    except DataLossError as error:
        report.note(error, source.path)
    present = _present_shards(store, source, {entry.shard for _, entry in entries}, report)
    total = sum(entry.size for _, entry in entries)
    done = 0

    def advance(size: int) -> None:
        nonlocal done
        done += size
        if progress is not None:
            progress(done, total)

    covered: dict[int, list[tuple[int, int]]] = {shard: [] for shard in present}
    for batch in _batches([item for item in entries if item[1].shard in present]):
        shard = batch[0][1].shard
        for (_, entry), problem in zip(batch, _verify_batch(store, source, batch, advance), strict=True):
            report.tensors += 1
            report.nbytes += entry.size
            covered[shard].append((entry.offset, entry.offset + entry.size))
            if problem is not None:
                report.note(problem, store.path(source.files.key(shard)), entry.size)
    for shard, ranges in covered.items():
        report.unreferenced += _outside(ranges, source.files.meta(shard).size)
    # The pieces were read above; a partitioned tensor is whole only if they also cover it.
    for name in partitioned:
        try:
            source.index.check_pieces(name)
        except DataLossError as error:
            report.note(error, source.path)


def _present_shards(store: Store, source: BundleReader, needed: set[int], report: VerifyReport) -> set[int]:
    """Which data files are there, by one listing: an index may claim any number of them."""
    there = {meta.key for meta in store.list(source.files.prefix)}
    absent = [shard for shard in range(source.header.num_shards) if source.files.key(shard) not in there]
    for shard in absent:
        if shard in needed and len(report.damages) < _MAX_LISTED:
            report.damages.append(Damage(store.path(source.files.key(shard)), None, None, None, "it is not there"))
    others = [shard for shard in absent if shard not in needed]
    if others:
        first = store.path(source.files.key(others[0]))
        problem = f"it is not there, nor are {len(others) - 1} more data files, in which no tensor lies"
        report.damages.append(Damage(first, None, None, None, problem if len(others) > 1 else "it is not there"))
    return set(range(source.header.num_shards)) - set(absent)


_Entries: TypeAlias = "list[tuple[bytes, BundleEntry]]"


def _batches(entries: _Entries) -> Iterator[_Entries]:
    """The entries in file order, so that a disk is read forward, and small ones together, so that a network store is
    not asked for each.
    """
    batch: _Entries = []
    size = 0
    for item in sorted(entries, key=lambda item: (item[1].shard, item[1].offset)):
        if batch and (item[1].shard != batch[0][1].shard or size + item[1].size > _PIECE):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += item[1].size
    if batch:
        yield batch


def _verify_batch(
    store: Store, source: BundleReader, batch: _Entries, advance: Callable[[int], None]
) -> list[DataLossError | None]:
    """What is wrong with each entry of a batch; `advance` is told how many bytes were read."""
    _, first = batch[0]
    if len(batch) == 1 and first.size > _PIECE and first.dtype.itemsize:
        return [_verify_large(store, source, first, batch[0][0].decode("utf-8", "surrogateescape"), advance)]
    out = [found if isinstance(found, DataLossError) else None for found in source.stored(batch)]
    advance(sum(entry.size for _, entry in batch))
    return out


def _verify_large(
    store: Store, source: BundleReader, entry: BundleEntry, name: str, advance: Callable[[int], None]
) -> DataLossError | None:
    """Checks a tensor of numbers piece by piece, in bounded memory."""
    meta = source.files.meta(entry.shard)
    crc = 0
    try:
        with located(store.path(meta.key), name):
            entry.check_size()
            if entry.offset + entry.size > meta.size:
                raise DataLossError(f"the file ends at {meta.size}: it is truncated", offset=entry.offset)
            buffer = memoryview(bytearray(_PIECE))
            for start in range(0, entry.size, _PIECE):
                piece = buffer[: min(_PIECE, entry.size - start)]
                store.read_into(meta.key, [(entry.offset + start, piece)], version=meta.version)
                crc = crc32c(piece, crc)
                advance(piece.nbytes)
            if mask(crc) != entry.crc:
                raise DataLossError(
                    f"checksum does not match: stored {entry.crc:08x}, of the {entry.size} bytes read {mask(crc):08x}",
                    offset=entry.offset,
                )
    except DataLossError as error:
        return error
    return None


def _verify_meta(store: Store, prefix: str, report: VerifyReport) -> None:
    path = store.path(meta_name(prefix))
    try:
        data, _ = store.get(meta_name(prefix))
        MetaGraphDef.FromString(data)
    except NotFoundError:
        return  # many checkpoints have none
    except DecodeError:
        report.damages.append(Damage(path, None, 0, len(data), "it is no MetaGraphDef"))


def _outside(ranges: list[tuple[int, int]], size: int) -> int:
    """How many of `size` bytes lie in none of the ranges."""
    reached = outside = 0
    for start, stop in sorted(ranges):
        outside += max(0, min(start, size) - reached)
        reached = max(reached, min(stop, size))
    return outside + max(0, size - reached)
