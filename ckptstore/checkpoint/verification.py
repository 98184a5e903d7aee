"""Reads every byte of a checkpoint and says what is damaged, and where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from ckptstore._proto.meta_graph_pb2 import MetaGraphDef
from ckptstore.bundle import BundleReader
from ckptstore.checkpoint.directory import CheckpointDirectory
from ckptstore.checkpoint.reader import open_source
from ckptstore.errors import CheckpointError, CheckpointNotFoundError, DataLossError, NotFoundError
from ckptstore.format.checksum import crc32c, mask
from ckptstore.format.entry import BundleEntry
from ckptstore.format.naming import index_name, meta_name
from ckptstore.storage import Store

_PIECE = 64 << 20

Progress = Callable[[int, int], None]
"""Called now and then with the bytes read so far, and all that there are to read."""


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

    def note(self, error: CheckpointError, file: str, size: int | None = None) -> None:
        """Takes in an error as a damage."""
        message = error.message.removeprefix(f"{error.path}: ")
        self.damages.append(Damage(error.path or file, error.name, getattr(error, "offset", None), size, message))


def verify_checkpoint(store: Store, prefix: str, progress: Progress | None = None) -> VerifyReport:
    """Reads a checkpoint's index, every tensor and its `.meta` file, in pieces of bounded size.

    Args:
        store: The directory.
        prefix: The checkpoint's key.
        progress: See `Progress`.

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
        names = source.names()
        for done, name in enumerate(names):
            report.tensors += 1
            try:
                report.nbytes += source.read([name])[name].nbytes
            except DataLossError as error:
                report.note(error, source.path)
            if progress is not None:
                progress(done + 1, len(names))
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
    state = directory.load_state()
    if state is None:
        raise CheckpointNotFoundError(f"{directory.url} holds no checkpoints.", path=directory.url)
    for key in directory.listed(state):
        try:
            report.add(verify_checkpoint(directory.store, key, progress))
        except CheckpointNotFoundError as error:
            report.checkpoints += 1
            report.damages.append(
                Damage(error.path or key, None, None, None, f"it is listed in {directory.state_path} and is not there")
            )
    return report


def _verify_bundle(store: Store, source: BundleReader, report: VerifyReport, progress: Progress | None) -> None:
    entries: list[tuple[bytes, BundleEntry]] = []
    try:
        for item in source.entries():
            entries.append(item)  # noqa: PERF402 - what came before the damage is verified all the same
    except DataLossError as error:
        report.note(error, source.path)
    stored = [(key, entry) for key, entry in entries if not entry.slices]
    total = sum(entry.size for _, entry in stored)
    done = 0
    covered: dict[int, list[tuple[int, int]]] = {shard: [] for shard in range(source.header.num_shards)}
    # In file order, so that a disk is read forward.
    for key, entry in sorted(stored, key=lambda item: (item[1].shard, item[1].offset)):
        report.tensors += 1
        report.nbytes += entry.size
        name = key.decode("utf-8", "surrogateescape")
        try:
            _verify_entry(store, source, key, entry, lambda n, base=done: progress and progress(base + n, total))  # type: ignore[misc]
        except (DataLossError, CheckpointNotFoundError) as error:
            if isinstance(error, DataLossError) and error.offset is None:
                error.offset = entry.offset
            error.name = error.name or name
            report.note(error, store.path(source.data_key(entry.shard)), entry.size)
        done += entry.size
        covered.setdefault(entry.shard, []).append((entry.offset, entry.offset + entry.size))
    for shard, ranges in covered.items():
        try:
            report.unreferenced += _outside(ranges, source.shard_meta(shard).size)
        except CheckpointNotFoundError as error:
            if not any(damage.file == error.path for damage in report.damages):
                report.note(error, store.path(source.data_key(shard)))
    # A partitioned tensor is whole only if its pieces cover it.
    for name in source.names() if len(stored) < len(entries) else ():
        info = source.info(name)
        if info is not None and info.slices:
            try:
                source.read_box(name, tuple((0, size) for size in info.shape))
            except (DataLossError, CheckpointNotFoundError) as error:
                report.note(error, source.path)


def _verify_entry(
    store: Store, source: BundleReader, key: bytes, entry: BundleEntry, progress: Callable[[int], object]
) -> None:
    if not entry.dtype.itemsize or entry.size <= _PIECE:
        source.stored_bytes(key, entry)
        progress(entry.size)
        return
    entry.check_size()
    meta = source.shard_meta(entry.shard)
    buffer = memoryview(bytearray(_PIECE))
    crc = 0
    for start in range(0, entry.size, _PIECE):
        piece = buffer[: min(_PIECE, entry.size - start)]
        store.read_into(meta.key, [(entry.offset + start, piece)], version=meta.version)
        crc = crc32c(piece, crc)
        progress(start + piece.nbytes)
    if mask(crc) != entry.crc:
        raise DataLossError(
            f"checksum does not match: stored {entry.crc:08x}, of the {entry.size} bytes read {mask(crc):08x}",
            path=store.path(meta.key),
            name=key.decode("utf-8", "surrogateescape"),
            offset=entry.offset,
        )


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
