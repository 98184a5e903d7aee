"""Writes a bundle to a store: data shards first, the index last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ckptstore._concurrency import make_executor, run_all
from ckptstore.bundle.builder import BundleBuilder
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
    """

    def __init__(self, store: Store, prefix: str, *, max_shard_bytes: int | None = None) -> None:
        super().__init__(max_shard_bytes=max_shard_bytes)
        self._store = store
        self._prefix = prefix

    def add_all(self, items: Mapping[str, Any]) -> None:
        """Adds several tensors, in ascending order of their names: the order of TensorFlow's Saver."""
        for name in sorted(items):
            self.add(name, items[name])

    def name(self, prefix: str) -> str:
        """The name by which a state file lists the bundle: the prefix."""
        return prefix

    def move(self, store: Store, prefix: str) -> None:
        """Writes to another place from now on; the tensors stay."""
        self._store = store
        self._prefix = prefix

    def write_data(self) -> list[ObjectMeta]:
        """Puts the data shards, several side by side."""
        self._index_bytes = self.index()  # an impossible bundle is found out before anything is written
        shards = self.shards
        names = [data_name(self._prefix, number, len(shards)) for number in range(len(shards))]
        return put_all(self._store, names, lambda number: Payload(shards[number]))

    def write_index(self) -> ObjectMeta:
        """Puts the index; `write_data` has been called before."""
        return self._store.put(index_name(self._prefix), Payload.of(self._index_bytes))

    def finish(self) -> None:
        """Puts everything."""
        self.write_data()
        self.write_index()


def put_all(store: Store, names: Sequence[str], payload: Callable[[int], Payload]) -> list[ObjectMeta]:
    """Puts several files, a few side by side.

    Args:
        store: Where to.
        names: Their keys.
        payload: What goes into each, by its place in `names`.
    """

    def put(number: int) -> Callable[[], ObjectMeta]:
        return lambda: store.put(names[number], payload(number))

    calls = map(put, range(len(names)))
    if len(names) <= 1:
        return run_all(None, calls, window=1)
    executor = make_executor(_FILES_AT_ONCE, "ckptstore-save")
    try:
        return run_all(executor, calls, window=_FILES_AT_ONCE)
    finally:
        executor.shutdown(wait=True)
