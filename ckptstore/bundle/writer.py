"""Writes a bundle to a store: data shards first, the index last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ckptstore._concurrency import make_executor, run_all
from ckptstore.bundle.builder import BundleBuilder
from ckptstore.bundle.progress import Progress, WriteProgress
from ckptstore.format.naming import data_name, index_name
from ckptstore.storage import ObjectMeta, Payload, Store

_FILES_AT_ONCE = 4


class BundleWriter(BundleBuilder):
    """Collects tensors, then puts the files of the bundle. A `TensorSink`.

    Nothing is written before `write_data`, and nothing counts before `write_index`: the index names a checkpoint.

    Args:
        store: Where to.
        prefix: The bundle's name, a key of the store without the files' endings.
        max_shard_bytes: See `BundleBuilder`.
        progress: Told how much of the data files is written.
    """

    def __init__(
        self, store: Store, prefix: str, *, max_shard_bytes: int | None = None, progress: Progress | None = None
    ) -> None:
        super().__init__(max_shard_bytes=max_shard_bytes)
        self._progress = progress
        self._told: WriteProgress | None = None
        self._store = store
        self._prefix = prefix

    def name(self, prefix: str) -> str:
        """The name by which a state file lists the bundle: the prefix."""
        return prefix

    def move(self, store: Store, prefix: str) -> None:
        """Writes to another place from now on; the tensors stay."""
        self._store = store
        self._prefix = prefix

    def write_data(self) -> list[ObjectMeta]:
        """Puts the data shards, several side by side, and puts the index together beside."""
        self.require_tensors()  # an impossible bundle is found out before anything is written
        shards = self.shards
        names = [data_name(self._prefix, number, len(shards)) for number in range(len(shards))]
        self._told = None
        if self._progress is not None:
            self._told = WriteProgress([shard.nbytes for shard in shards], self._progress)
        return put_all(
            [partial(self._put_shard, number, name) for number, name in enumerate(names)],
            self.prepare_index if self.busy else None,
        )

    def _put_shard(self, number: int, name: str) -> ObjectMeta:
        meta = self._put(number, name)
        if self._told is not None:
            self._told.done(number)
        return meta

    def _put(self, number: int, name: str) -> ObjectMeta:
        """Puts a data shard."""
        shard = self.shards[number]
        return self._store.put(name, shard.payload() if self._told is None else self._told.payload(number, shard))

    def write_index(self) -> ObjectMeta:
        """Puts the index; `write_data` has been called before."""
        return self._store.put(index_name(self._prefix), Payload.of(self.index()))

    def finish(self) -> None:
        """Puts everything."""
        self.write_data()
        self.write_index()


def put_all(puts: Sequence[Callable[[], ObjectMeta]], meanwhile: Callable[[], None] | None = None) -> list[ObjectMeta]:
    """Puts several files, a few side by side.

    Args:
        puts: Puts one of them, each.
        meanwhile: What else is to be done by then, in this thread.
    """
    at_once = max(min(len(puts), _FILES_AT_ONCE), 1)
    if at_once == 1 and meanwhile is None:
        return run_all(None, puts, window=1)
    with make_executor(at_once, "ckptstore-save") as executor:
        return run_all(executor, puts, window=at_once, meanwhile=meanwhile)
