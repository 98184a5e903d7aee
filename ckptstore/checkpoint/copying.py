"""Copies checkpoints from store to store: whole ones byte for byte, or some of their tensors under other names.

Every tensor is held against its checksum on the way. Data files go first and the index last, nothing is replaced, and
what was written is deleted after a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from ckptstore._proto.meta_graph_pb2 import MetaGraphDef
from ckptstore.bundle import Progress
from ckptstore.bundle.index import BundleIndex, text
from ckptstore.bundle.relayout import lay_out
from ckptstore.bundle.stream import Passing, Run, check_extents, checked_payload
from ckptstore.checkpoint.publication import Publication
from ckptstore.checkpoint.v1_files import read_v1, v1_bytes, v1_tables
from ckptstore.errors import CheckpointNotFoundError, DataLossError, InvalidArgumentError, NotFoundError, located
from ckptstore.format.entry import BundleEntry
from ckptstore.format.naming import (
    data_name,
    expand_v1_pattern,
    index_name,
    meta_name,
)
from ckptstore.format.v1 import V1Reader
from ckptstore.storage import ObjectMeta, Payload, Store

Choose = Callable[[list[str]], Mapping[str, str]]
"""Takes the names of all tensors; returns the new name of each that is wanted."""


@dataclass(frozen=True, slots=True)
class CopiedCheckpoint:
    """A checkpoint that was copied or converted.

    Attributes:
        source: The one that was read, in full.
        path: The new one, in full: what to restore from.
        files: Its files, in the order in which they were written.
        tensors: How many tensors it holds.
        nbytes: Bytes of all its files.
    """

    source: str
    path: str
    files: tuple[str, ...]
    tensors: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint to be copied.

    Attributes:
        store: Where it is.
        key: Its name there.
        index: The bytes of its index, or None if it is a V1 checkpoint.
    """

    store: Store
    key: str
    index: bytes | None

    @classmethod
    def open(cls, store: Store, key: str) -> Source:
        """Finds out of which format a checkpoint is: V2 if it has an index (TensorFlow's rule).

        Raises:
            CheckpointNotFoundError: There is none.
        """
        try:
            return cls(store, key, store.get(index_name(key))[0])
        except NotFoundError:
            pass
        try:
            for name in expand_v1_pattern(key) or [key]:
                store.head(name)
        except NotFoundError as error:
            raise CheckpointNotFoundError(f"There is no checkpoint {store.path(key)}.", path=store.path(key)) from error
        return cls(store, key, None)

    @property
    def path(self) -> str:
        """The checkpoint in full."""
        return self.store.path(self.key)

    @property
    def bundle_index(self) -> BundleIndex:
        """The index, taken apart."""
        return BundleIndex(self.index or b"", self.store.path(index_name(self.key)))

    def shards(self, index: BundleIndex, wanted: Iterable[int] | None = None) -> dict[int, ObjectMeta]:
        """What the store tells of the data files, or of those that are wanted, by number.

        Raises:
            DataLossError: One is gone.
        """
        count = index.header.num_shards
        numbers = range(count) if wanted is None else sorted(set(wanted))
        return {number: _head(self.store, data_name(self.key, number, count)) for number in numbers}

    def meta(self) -> bytes | None:
        """The bytes of its `.meta` file, or None if it has none.

        Raises:
            DataLossError: They are no MetaGraphDef.
        """
        try:
            data, _ = self.store.get(meta_name(self.key))
            MetaGraphDef.FromString(data)
        except NotFoundError:
            return None
        except DecodeError as error:
            path = self.store.path(meta_name(self.key))
            raise DataLossError(f"{path}: it is no MetaGraphDef", path=path) from error
        return data


def copy_files(source: Source, target: Publication, progress: Progress | None = None) -> CopiedCheckpoint:
    """Copies all files of a checkpoint, byte for byte.

    Raises:
        DataLossError: The source is damaged, or one of its files is gone.
        CheckpointExistsError: Files of the target are there already.
        StorageError: A store refused.
    """
    if source.index is None:
        return _copy_v1(source, target, progress)
    index = source.bundle_index
    count = index.header.num_shards
    entries = _entries(index)
    metas = source.shards(index)
    by_shard = _checked(source, metas, entries)
    graph = source.meta()
    advance = _Counter(sum(meta.size for meta in metas.values()), progress)
    with target:
        for shard, meta in metas.items():
            payload = checked_payload(
                source.store,
                [Run(meta, 0, meta.size)],
                [Passing(entry.offset, name, entry) for name, entry in by_shard[shard]],
                big_endian=index.header.big_endian,
                advance=advance,
            )
            target.put(data_name(target.key, shard, count), payload)
        put_meta(target, graph)
        target.put(index_name(target.key), Payload.of(source.index))
    return finished(source, target, len(index.names()))


def copy_tensors(
    source: Source, target: Publication, choose: Choose, progress: Progress | None = None
) -> CopiedCheckpoint:
    """Writes a checkpoint of some tensors of another, in the same format, as TensorFlow's Saver would.

    It gets one data file (or V1 file) and no `.meta` file: that of the source tells of the old names.

    Raises:
        DataLossError, CheckpointExistsError, StorageError: As in `copy_files`.
        InvalidArgumentError: Two tensors would have the same name, or a name cannot be one.
    """
    if source.index is None:
        reader = read_v1(source.store, source.key)
        names = choose([text(name) for name in sorted(reader.tensors)])
        with target:
            with located(source.path):
                data = v1_bytes(reader, names)
            target.put(target.key, Payload.of(data))
        return finished(source, target, len(names))
    index = source.bundle_index
    names = choose(index.names())
    layout = lay_out(index, names)
    metas = source.shards(index, (item.entry.shard for item in layout.placed))
    _checked(source, metas, [(item.name, item.entry) for item in layout.placed])
    payload = checked_payload(
        source.store,
        [Run(metas[item.entry.shard], item.entry.offset, item.entry.size) for item in layout.placed],
        [Passing(item.offset, item.name, item.entry) for item in layout.placed],
        big_endian=index.header.big_endian,
        advance=_Counter(sum(item.entry.size for item in layout.placed), progress),
    )
    with target:
        target.put(data_name(target.key, 0, 1), payload)
        target.put(index_name(target.key), Payload.of(layout.index))
    return finished(source, target, len(names))


def put_meta(target: Publication, data: bytes | None) -> None:
    """Puts the `.meta` file, if there is to be one."""
    if data is not None:
        target.put(meta_name(target.key), Payload.of(data))


def finished(source: Source, target: Publication, tensors: int) -> CopiedCheckpoint:
    """What was copied, once it was."""
    files = tuple(target.store.path(meta.key) for meta in target.written)
    nbytes = sum(meta.size for meta in target.written)
    return CopiedCheckpoint(source.path, target.store.path(target.key), files, tensors, nbytes)


def _copy_v1(source: Source, target: Publication, progress: Progress | None) -> CopiedCheckpoint:
    """V1 files are read whole, one at a time: each of their blocks has a checksum of its own."""
    names = expand_v1_pattern(source.key)
    new_names = expand_v1_pattern(target.key)
    if (names is None) != (new_names is None) or len(names or ()) != len(new_names or ()):
        raise InvalidArgumentError(
            f"{source.path} and {target.store.path(target.key)} must both be one file, or patterns of as many.",
            path=target.store.path(target.key),
        )
    pairs = list(zip(names or [source.key], new_names or [target.key], strict=True))
    advance = _Counter(sum(_head(source.store, old).size for old, _ in pairs), progress)
    graph = source.meta()
    tensors: set[bytes] = set()
    with target:
        for old, new in pairs:
            ((data, table),) = v1_tables(source.store, [old])
            with located(source.store.path(old)):
                for _ in table:  # reads, and so checks, every block
                    pass
                tensors |= V1Reader([table]).tensors.keys()
            advance(len(data))
            if new == pairs[-1][1]:  # readers know the checkpoint by its last file
                put_meta(target, graph)
            target.put(new, Payload.of(data))
    return finished(source, target, len(tensors))


def _entries(index: BundleIndex) -> list[tuple[str, BundleEntry]]:
    """Every entry that has bytes, pieces of partitioned tensors among them, each looked at; with its tensor's name."""
    out: list[tuple[str, BundleEntry]] = []
    for name in index.names():
        entry = index.get(name)
        if entry is None:
            continue  # the name comes from the same index
        index.check_pieces(name)
        out += [(name, index.piece(name, entry, piece)) for piece in entry.slices] or [(name, entry)]
    for name, entry in out:
        if entry.shard >= index.header.num_shards:
            with located(index.path, name):
                raise DataLossError(f"it lies in shard {entry.shard} of {index.header.num_shards}")
    return out


def _checked(
    source: Source, metas: Mapping[int, ObjectMeta], entries: Iterable[tuple[str, BundleEntry]]
) -> dict[int, list[tuple[str, BundleEntry]]]:
    """The entries of each data file, which is large enough for them."""
    out: dict[int, list[tuple[str, BundleEntry]]] = {shard: [] for shard in metas}
    for name, entry in entries:
        out[entry.shard].append((name, entry))
    for shard, found in out.items():
        check_extents(source.store.path(metas[shard].key), metas[shard].size, found)
    return out


def _head(store: Store, key: str) -> ObjectMeta:
    try:
        return store.head(key)
    except NotFoundError as error:
        path = store.path(key)
        raise DataLossError(f"{path} is gone, so the checkpoint cannot be copied; copy another one.", path=path) from (
            error
        )


class _Counter:
    """Adds up what was read, for a progress bar."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._done = 0
        self._total = total
        self._progress = progress

    def __call__(self, size: int) -> None:
        self._done = min(self._done + size, self._total)  # a write that is tried again reads again
        if self._progress is not None:
            self._progress(self._done, self._total)
