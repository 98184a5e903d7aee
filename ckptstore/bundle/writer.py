"""Writes a bundle to a store: data shards first, the index last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

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
        self.require_tensors()  # an impossible bundle is found out before anything is written
        shards = self.shards
        names = [data_name(self._prefix, number, len(shards)) for number in range(len(shards))]
        meanwhile = None if self.checked else self.compute_checksums
        if self._progress is None:
            return put_all(self._store, names, lambda number: Payload(shards[number]), meanwhile=meanwhile)
        told = WriteProgress([sum(buffer.nbytes for buffer in shard) for shard in shards], self._progress)
        return put_all(
            self._store,
            names,
            lambda number: told.payload(number, shards[number]),
            meanwhile=meanwhile,
            done=told.done,
        )

    def write_index(self) -> ObjectMeta:
        """Puts the index; `write_data` has been called before."""
        return self._store.put(index_name(self._prefix), Payload.of(self.index()))

    def finish(self) -> None:
        """Puts everything."""
        self.write_data()
        self.write_index()


def put_all(
    store: Store,
    names: Sequence[str],
    payload: Callable[[int], Payload],
    *,
    meanwhile: Callable[[], None] | None = None,
    done: Callable[[int], None] | None = None,
) -> list[ObjectMeta]:
    """Puts several files, a few side by side.

    Args:
        store: Where to.
        names: Their keys.
        payload: What goes into each, by its place in `names`.
        meanwhile: What else is to be done by then, in a thread of its own.
        done: Told which of them is there.
    """

    def put(number: int) -> ObjectMeta:
        meta = store.put(names[number], payload(number))
        if done is not None:
            done(number)
        return meta

    calls: list[Callable[[], ObjectMeta | None]] = [partial(put, number) for number in range(len(names))]
    if meanwhile is not None:
        calls.insert(0, meanwhile)
    at_once = min(len(calls), _FILES_AT_ONCE + (meanwhile is not None))
    executor = make_executor(at_once, "ckptstore-save") if at_once > 1 else None
    try:
        metas = run_all(executor, calls, window=max(at_once, 1))
    finally:
        if executor is not None:
            executor.shutdown(wait=True)
    return [meta for meta in metas if meta is not None]
