"""The data files of a bundle, each in one version; nothing that an index says of them is trusted."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from errno import EFBIG

import numpy as np

from ckptstore._per_process import ProcessLock
from ckptstore.bundle.entries import Entries
from ckptstore.errors import CheckpointNotFoundError, DataLossError, NotFoundError, StorageError, located
from ckptstore.format.naming import data_name
from ckptstore.storage import ObjectMeta, Store

# TensorFlow lets entries share bytes. A file that claims many times its size is an attack on memory, not a checkpoint.
_MAX_OVERLAP = 4
_SLACK = 1 << 20
_SMALL = 1 << 20  # bytes that are sooner read than asked about


class DataFiles:
    """The data files of a bundle, by number.

    Args:
        store: Where they are.
        prefix: The bundle's name, a key of the store.
        count: How many there are.
        index_path: The bundle's index, for messages.
    """

    def __init__(self, store: Store, prefix: str, count: int, index_path: str) -> None:
        self._store = store
        self._prefix = prefix
        self._count = count
        self._index_path = index_path
        self._lock = ProcessLock()
        self._metas: dict[int, ObjectMeta] = {}

    @property
    def prefix(self) -> str:
        """What the keys of all of them begin with."""
        return f"{self._prefix}.data-"

    def key(self, shard: int) -> str:
        """The key of one."""
        return data_name(self._prefix, shard, self._count)

    def path(self, shard: int) -> str:
        """The full name of one."""
        return self._store.path(self.key(shard))

    def meta(self, shard: int) -> ObjectMeta:
        """Size and version of a data file; asked for once, so that all reads are of the same version.

        Raises:
            CheckpointNotFoundError: It is not there.
        """
        found = self._metas.get(shard)
        if found is not None:
            return found
        with self._lock.get():
            if shard not in self._metas:
                key = self.key(shard)
                try:
                    self._metas[shard] = self._store.head(key)
                except NotFoundError as error:
                    raise CheckpointNotFoundError(
                        f"{self._store.path(key)} is gone, so the checkpoint cannot be read; restore another one.",
                        path=self._store.path(key),
                    ) from error
            return self._metas[shard]

    def map(self, shard: int) -> memoryview | None:
        """The bytes of a data file as memory, or None if the store cannot do that. Nothing of it is checked.

        Raises:
            CheckpointNotFoundError: It is not there.
        """
        meta = self.meta(shard)
        with self._still_there(meta):
            return self._store.map(meta.key, version=meta.version)

    def load_small(self, *parts: Entries) -> dict[int, bytes]:
        """The data files of which little is wanted, and little more is there: one request each, and not two."""
        ends: dict[int, int] = {}
        for part in filter(None, parts):
            for shard, rows in part.by_shard():
                if shard in self._metas:  # asked about before
                    continue
                columns = part.columns.take(rows)
                # Claims that are not checked yet: a sum of two can have 64 bits.
                end = (columns.offsets.astype(np.uint64) + columns.sizes.astype(np.uint64)).max()
                ends[shard] = max(ends.get(shard, 0), int(end))
        out: dict[int, bytes] = {}
        for shard, end in ends.items():
            if not 0 < end <= _SMALL:
                continue
            try:
                data, meta = self._store.get(self.key(shard), limit=_SMALL)
            except NotFoundError:
                continue  # `meta` has the words for it
            except StorageError as error:
                if error.errno != EFBIG:
                    raise
                continue
            out[shard] = data
            self._metas[shard] = meta
        return out

    def maps(self, entries: Entries) -> dict[int, memoryview]:
        """The data files that entries are in, as memory, as far as the store can map them."""
        shards = np.unique(entries.columns.shards[entries.columns.sizes > 0]).tolist()
        return {shard: data for shard in shards if (data := self.map(shard)) is not None}

    def check(self, *parts: Entries) -> None:
        """Holds what entries claim against each other and against the files, before memory is taken for them.

        Raises:
            DataLossError: It cannot be true.
            CheckpointNotFoundError: A file is not there.
        """
        claimed: defaultdict[int, float] = defaultdict(float)
        for part in filter(None, parts):
            for row in np.flatnonzero(part.wrong_sizes())[:1].tolist():
                name, entry = part[row]
                with located(self._index_path, name):
                    entry.check_size()
            for shard, rows in part.by_shard():
                size = self.meta(shard).size  # TensorFlow wants it there for empty tensors, too
                columns = part.columns.take(rows)
                beyond = (columns.sizes > 0) & (columns.offsets > size - columns.sizes)
                for row in rows[beyond][:1].tolist():
                    name, entry = part[row]
                    with located(self.path(shard), name):
                        raise DataLossError(
                            f"the file ends at {size}, before the tensor's {entry.size} bytes do: it is truncated; "
                            "restore another checkpoint",
                            offset=entry.offset,
                        )
                claimed[shard] += float(columns.sizes.sum(dtype=np.float64))  # which does not wrap around
        for shard, total in claimed.items():
            meta = self.meta(shard)
            if total > _MAX_OVERLAP * meta.size + _SLACK:
                path = self._store.path(meta.key)
                raise DataLossError(
                    f"{path}: the index claims {total:.0f} bytes of the file's {meta.size}; it is damaged or forged",
                    path=path,
                )

    def read_into(self, shard: int, targets: list[tuple[int, memoryview]]) -> None:
        """Fills buffers from offsets on of one of them.

        Raises:
            CheckpointNotFoundError: It is gone.
            DataLossError, StorageError: As in `Store.read_into`.
        """
        meta = self.meta(shard)
        with self._still_there(meta):
            self._store.read_into(meta.key, targets, version=meta.version)

    @contextlib.contextmanager
    def _still_there(self, meta: ObjectMeta) -> Iterator[None]:
        try:
            yield
        except NotFoundError as error:
            path = self._store.path(meta.key)
            raise CheckpointNotFoundError(
                f"{path} was deleted while it was read; restore another checkpoint.", path=path
            ) from error
