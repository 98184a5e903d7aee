"""What tf.train.Saver asks of the protocol: names used again, V1 files, other endings, several state files."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import ckptstore as ck
from ckptstore.bundle import BundleWriter, TensorSink, V1BundleWriter
from ckptstore.checkpoint import CheckpointDirectory, CheckpointReader, open_source
from ckptstore.checkpoint.attempt import file_tag
from ckptstore.checkpoint.orphans import OrphanCollector
from ckptstore.checkpoint.policies import Decision
from ckptstore.checkpoint.pruning import Pruner
from ckptstore.checkpoint.retention import Sweep
from ckptstore.checkpoint.writer import CheckpointWriter
from ckptstore.errors import NotFoundError
from ckptstore.format.ledger import Entry, Ledger
from ckptstore.format.naming import expand_v1_pattern, meta_name, plain
from ckptstore.storage import MemoryStore, RetryingStore, Store
from ckptstore.testing import CrashError, ManualClock
from tests.protocol.nth_fault import NthFaultStore, Plan
from tests.protocol.operations import FLAVOURS

KEEP = 2


@dataclass(frozen=True)
class Way:
    """How a Saver saves.

    Attributes:
        names: What it saves, in order; a name may come again.
        version: "V1", "V1 sharded", or "V2".
        suffix: The ending of its .meta files.
        state: Its state file.
        beside: A state file that another Saver has in the directory, with checkpoints of the same names.
    """

    names: tuple[str, ...]
    version: str = "V2"
    suffix: str = "meta"
    state: str = "checkpoint"
    beside: str | None = None


WAYS: dict[str, Way] = {
    "a name again": Way(("m", "m")),
    "a name again, V1": Way(("m", "m"), "V1", "mg"),
    "V1 in shards": Way(("m-1", "m-2", "m-3"), "V1 sharded"),
    "another ending": Way(("m-1", "m-2", "m-3"), suffix="graph"),
    "another state file": Way(("m-1", "m-2", "m-1"), "V1", state="latest", beside="checkpoint"),
    "beside another state file": Way(("m", "m-1", "m-2"), beside="latest"),
}


def values(author: str) -> dict[str, np.ndarray[Any, Any]]:
    seed = sum(author.encode()) + len(author) * 1000
    return {"w": np.full(3, seed, np.float32), "b": np.arange(seed, seed + 2, dtype=np.int32)}


@dataclass
class SaverWorld:
    """One directory, and everything that was ever saved there: by whom is all that a save holds."""

    store: Store
    clock: ManualClock
    way: Way
    saved: dict[str, list[str]] = field(default_factory=dict)  # authors by state file
    acknowledged: dict[str, str] = field(default_factory=dict)  # the newest author by state file

    def directory(self, state: str, store: Store | None = None) -> CheckpointDirectory:
        return CheckpointDirectory(store or self.store, state, unlisted_allowed=True)

    def faulty(self, plans: Sequence[Plan] = ()) -> NthFaultStore:
        return NthFaultStore(self.store, self.clock, plans)

    def save(self, writer: CheckpointWriter, store: Store, name: str, author: str, state: str) -> str:
        sink = self._sink(store, author)
        wanted = sink.name(name)

        def plan(ledger: Ledger, new: Entry) -> Sweep:
            again = [entry for entry in ledger.listed if plain(entry.prefix) == wanted]
            rest = [entry for entry in ledger.listed if entry not in again]
            gone = rest[: max(0, len(rest) + 1 - KEEP)]
            return Sweep((*rest[len(gone) :], new), (), (*again, *gone), 0.0)

        self.saved.setdefault(state, []).append(author)
        self.clock.advance(60)
        found, sweep = writer.save(
            name, sink, author.encode(), self.clock.time(), plan, meta_suffix=self.way.suffix, settle=True
        )
        assert sweep.listed[-1].prefix == found
        assert plain(found) == wanted
        self.acknowledged[state] = author
        return found

    def _sink(self, store: Store, author: str) -> TensorSink:
        if self.way.version == "V2":
            bundle = BundleWriter(store, "")
            bundle.add_all(values(author))
            return bundle
        sink = V1BundleWriter(store, "", sharded=self.way.version == "V1 sharded")
        for number, (name, value) in enumerate(values(author).items()):
            if number and self.way.version == "V1 sharded":
                sink.begin_shard()
            sink.add(name, value)
        return sink

    def run(self, store: NthFaultStore, names: Sequence[str], author: str, state: str) -> list[str]:
        stack = RetryingStore(store, clock=self.clock)
        writer = CheckpointWriter(self.directory(state, stack))
        return [self.save(writer, stack, name, f"{author}{n}", state) for n, name in enumerate(names)]

    def gc(self, state: str) -> None:
        store = RetryingStore(self.faulty(), clock=self.clock)
        OrphanCollector(self.directory(state, store), self.clock).collect(
            abort_open=True, complete_orphans=True, unfinished_older_than=0.0
        )

    def prune(self, state: str) -> None:
        """A pruner's run that unlists nothing: it goes on with what others have left in the trash."""
        store = RetryingStore(self.faulty(), clock=self.clock)
        Pruner(self.directory(state, store), self.clock).prune(
            lambda listed, _: [Decision(entry.prefix, None, True, ()) for entry in listed], grace=0.0
        )

    # -- what must hold

    def listed(self, state: str) -> tuple[Entry, ...]:
        try:
            data, _ = self.store.get(state)
        except NotFoundError:
            assert state not in self.acknowledged, "acknowledged saves, and no state file"
            return ()
        return Ledger.from_bytes(data).listed

    def check(self) -> None:
        """What any state file lists is whole and of one author, and the newest that was acknowledged is in the list."""
        for state, authors in self.saved.items():
            contents = []
            for entry in self.listed(state):
                reader = CheckpointReader(open_source(self.store, entry.prefix))
                author = self.store.get(meta_name(entry.prefix, self.way.suffix))[0].decode()
                found = reader.restore()
                assert author in authors, f"{entry.prefix} of {state} is {author}'s"
                wanted = values(author)
                assert found.keys() == wanted.keys(), entry
                assert all(np.array_equal(found[name], wanted[name]) for name in wanted), f"{entry.prefix} is mixed"
                for name in self.files(entry.prefix):
                    assert self.store.head(name).tag in (None, file_tag(entry.attempt or "", self._id(state), name))
                contents.append(author)
            acknowledged = self.acknowledged.get(state)
            if acknowledged is not None:
                newest = max(authors.index(author) for author in contents)
                assert newest >= authors.index(acknowledged), f"{acknowledged} is lost: {contents}"

    def _id(self, state: str) -> str:
        return Ledger.from_bytes(self.store.get(state)[0]).id

    def files(self, prefix: str) -> list[str]:
        """The names of the files of a checkpoint that was saved this way."""
        tables = expand_v1_pattern(prefix) or [prefix]
        ours = [f"{prefix}.index", f"{prefix}.data-00000-of-00001"] if self.way.version == "V2" else tables
        return [*ours, meta_name(prefix, self.way.suffix)]

    def litter(self) -> set[str]:
        """What belongs to nothing that is listed."""
        known = {name for state in self.saved for entry in self.listed(state) for name in self.files(entry.prefix)}
        keys = {meta.key for meta in self.store.list() if not meta.key.startswith(".ckptstore/")}
        return keys - known - self.saved.keys()


def make(flavour: str, directory: Path, way: str) -> SaverWorld:
    """A directory in which a Saver has saved already, and perhaps another one by a state file of its own."""
    clock = ManualClock()
    world = SaverWorld(FLAVOURS[flavour](directory, clock), clock, WAYS[way])
    if world.way.beside is not None:
        world.run(world.faulty(), world.way.names[:2], "o", world.way.beside)
    world.run(world.faulty(), world.way.names[:1], "p", world.way.state)
    return world


def operate(world: SaverWorld, plans: Sequence[Plan] = ()) -> NthFaultStore:
    """A Saver that was started again saves, and things go wrong; it returns, or raises one of our own errors."""
    store = world.faulty(plans)
    with contextlib.suppress(CrashError, ck.CheckpointError), warnings.catch_warnings():
        warnings.simplefilter("ignore", ck.RetentionWarning)
        world.run(store, world.way.names, "q", world.way.state)
    return store


def aftermath(world: SaverWorld, store: NthFaultStore, *, settles: bool) -> None:
    """What must hold at once, after everything has landed, and after everybody came back."""
    world.check()
    store.land()
    world.check()
    world.clock.advance(7200)
    states = [world.way.state, *([world.way.beside] if world.way.beside else [])]
    for number, state in enumerate(states):
        found = world.run(world.faulty(), ["z", "z", "z"], f"z{number}", state)
        world.check()
        assert not settles or number or plain(found[-1]) == found[-1]
    for state in states * 2:
        world.prune(state)
        world.gc(state)
        world.check()
    assert world.litter() == set()


def memory_world(way: Way) -> SaverWorld:
    """An empty directory in memory."""
    clock = ManualClock()
    return SaverWorld(MemoryStore(clock=clock), clock, way)
