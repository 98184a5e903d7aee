"""A directory into which writers of checkpoints save, one after the other, as tf.train.Saver does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ckptstore.bundle import BundleWriter, TensorSink, V1BundleWriter
from ckptstore.checkpoint import CheckpointDirectory, CheckpointReader, open_source
from ckptstore.checkpoint.retention import Sweep
from ckptstore.checkpoint.writer import CheckpointWriter
from ckptstore.format.ledger import Entry, Ledger
from ckptstore.format.naming import plain
from ckptstore.storage import MemoryStore, Store
from tests.support.run_directory import RunDirectory

F = np.float32


def keep(count: int) -> Callable[[Ledger, Entry], Sweep]:
    """Replaces what has the name, and keeps so many."""

    def plan(ledger: Ledger, new: Entry) -> Sweep:
        again = [entry for entry in ledger.listed if plain(entry.prefix) == plain(new.prefix)]
        rest = [entry for entry in ledger.listed if entry not in again]
        gone = rest[: max(0, len(rest) + 1 - count)]
        return Sweep((*rest[len(gone) :], new), (), (*again, *gone), 0.0)

    return plan


class Saves:
    """A directory, and one writer after the other."""

    def __init__(self, store: Store | None = None, state: str = "checkpoint") -> None:
        self.run = RunDirectory() if store is None else RunDirectory(store)
        self.store = self.run.store
        self.state = state
        self.writer = self.restart()

    def directory(self, store: Store | None = None) -> CheckpointDirectory:
        return CheckpointDirectory(store or self.store, self.state)

    def restart(self, store: Store | None = None, **options: Any) -> CheckpointWriter:
        self.writer = CheckpointWriter(self.directory(store), **options)
        return self.writer

    def save(
        self,
        name: str,
        value: float,
        sink: TensorSink | None = None,
        count: int = 9,
        meta: bytes | None = b"graph",
        **options: Any,
    ) -> str:
        if sink is None:
            sink = bundle(value)
        return self.writer.save(name, sink, meta, value, keep(count), **options)[0]

    @property
    def ledger(self) -> Ledger:
        return Ledger.from_bytes(self.store.get(self.state)[0])

    @property
    def listed(self) -> list[str]:
        return [entry.prefix for entry in self.ledger.listed]

    def value(self, name: str) -> float:
        return float(CheckpointReader(open_source(self.store, name))["v"][...])

    @property
    def files(self) -> list[str]:
        return sorted(key for key in self.run.files if key != self.state)


def bundle(value: float) -> BundleWriter:
    out = BundleWriter(MemoryStore(), "")
    out.add("v", F(value))
    return out


def v1(value: float, shards: int = 0) -> V1BundleWriter:
    out = V1BundleWriter(MemoryStore(), "", sharded=shards > 0)
    out.add("v", F(value))
    for number in range(1, shards):
        out.begin_shard()
        out.add(f"w{number}", F(value))
    return out
