"""What is done to a directory, on which things go wrong; and what must hold afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from unittest import mock

import ckptstore as ck
from ckptstore.bundle import reusing
from ckptstore.storage import Capabilities, LocalStore, MemoryStore, ObjectMeta, Store, WrapperStore
from ckptstore.testing import CrashError, ManualClock
from tests.protocol.nth_fault import DatedStore, NthFaultStore, Plan
from tests.protocol.world import World, arrays

Operation = Callable[[World, NthFaultStore], None]


def first_save(world: World, store: NthFaultStore) -> None:
    with world.trainer(store) as manager:
        world.save(manager, 1, "a")


def save(world: World, store: NthFaultStore) -> None:
    """Takes over from a trainer that died, saves twice, and deletes what is too old."""
    with world.trainer(store) as manager:
        world.save(manager, 30, "b")
        world.save(manager, 40, "b")


def reuse(world: World, store: NthFaultStore) -> None:
    """As `save`; what did not change is copied from the checkpoint before, which the second save deletes."""
    with mock.patch.object(reusing, "_LEAST_COPY", 1), world.trainer(store) as manager:
        world.save(manager, 30, "b", reuse=True)
        world.save(manager, 40, "b", reuse=True)


def overwrite(world: World, store: NthFaultStore) -> None:
    with world.trainer(store) as manager:
        world.saved.append((20, "c"))
        world.clock.advance(60)
        world.acknowledged = [item for item in world.acknowledged if item[0] != 20]
        manager.save(20, arrays(20, "c"), overwrite=True)
        world.acknowledged.append((20, "c"))


def prune(world: World, store: NthFaultStore) -> None:
    world.prune(store, keep=1)


def gc(world: World, store: NthFaultStore) -> None:
    world.gc(store)


def restore(world: World, store: NthFaultStore) -> None:
    world.restore(store)


def repair(world: World, store: NthFaultStore) -> None:
    world.store.delete(["checkpoint"])
    try:
        world.repair(store)
    finally:
        if "checkpoint" not in {meta.key for meta in world.store.list()}:
            store.land()
            world.repair(world.faulty())


OPERATIONS: dict[str, Operation] = {
    "first save": first_save,
    "save": save,
    "reuse": reuse,
    "overwrite": overwrite,
    "prune": prune,
    "gc": gc,
    "restore": restore,
    "repair": repair,
}


class NoConditionalDeletes(WrapperStore):
    """As the servers of S3's interface that do not know If-Match on DELETE."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(self._inner.capabilities, conditional_delete=False)

    def delete_versions(self, objects: Iterable[ObjectMeta]) -> Sequence[str]:
        raise ck.UnsupportedError("no conditional deletes here")


class EtagStore(MemoryStore):
    """Versions as S3's: by the bytes, so that they come back when the bytes do. Nothing is mapped."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, maps=False)

    def map(self, key: str, *, version: str | None = None) -> None:
        return None

    def _store_locked(self, key: str, data: bytes, tag: str | None) -> ObjectMeta:
        meta = replace(super()._store_locked(key, data, tag), version=f'"{hashlib.md5(data).hexdigest()}"')
        self._objects[key] = replace(self._objects[key], meta=meta)
        return meta


def s3(directory: Path, clock: ManualClock) -> Store:
    return EtagStore(clock=clock)


def gcs(directory: Path, clock: ManualClock) -> Store:
    return MemoryStore(clock=clock)  # a version is a number that never comes back, as a generation is


def local(directory: Path, clock: ManualClock) -> Store:
    return DatedStore(LocalStore(directory, durable=False, clock=clock), clock)


def isolated(directory: Path, clock: ManualClock) -> Store:
    return NoConditionalDeletes(MemoryStore(clock=clock))


FLAVOURS: dict[str, Callable[[Path, ManualClock], Store]] = {"local": local, "s3": s3, "gcs": gcs, "isolated": isolated}


def make_world(flavour: str, directory: Path) -> World:
    clock = ManualClock()
    return World(FLAVOURS[flavour](directory, clock), clock)


def prepare(world: World, name: str) -> None:
    """Two saves by a trainer that is gone, and a third that died half-way; nothing before a first save."""
    if name == "first save":
        return
    with world.trainer(world.faulty()) as manager:
        world.save(manager, 10, "a")
        world.save(manager, 20, "a")
    dying = world.faulty([Plan(10, "crash before")])
    with contextlib.suppress(CrashError), world.trainer(dying) as manager:
        world.save(manager, 25, "a")


def run(world: World, name: str, plans: list[Plan]) -> NthFaultStore:
    """Runs an operation on which things go wrong. It returns, or raises one of our own errors."""
    store = world.faulty(plans)
    with contextlib.suppress(CrashError, ck.CheckpointError), warnings.catch_warnings():
        warnings.simplefilter("ignore", ck.RetentionWarning)
        OPERATIONS[name](world, store)
    return store


def aftermath(world: World, store: NthFaultStore) -> None:
    """What must hold at once, after everything has landed that was on its way, and after everybody came back."""
    world.check()
    store.land()
    world.check()
    if world.acknowledged:
        world.restore(world.faulty())
    world.clock.advance(7200)  # pins of the dead run out
    with world.trainer(world.faulty()) as manager:
        world.save(manager, 90, "z")
        world.check()
        world.save(manager, 91, "z")
    world.check()
    for _ in range(2):
        world.prune(world.faulty(), keep=2)
        world.gc(world.faulty())
        world.check()
    assert world.litter() == set()
    assert list(world.store.unfinished()) == []


def requests(flavour: str, name: str) -> int:
    """How many requests an operation takes when nothing goes wrong."""
    with tempfile.TemporaryDirectory() as directory:
        world = make_world(flavour, Path(directory))
        prepare(world, name)
        return len(run(world, name, []).requests)


def cases(flavour: str) -> list[tuple[str, int]]:
    """Every request of every operation."""
    return [(name, number) for name in OPERATIONS for number in range(1, requests(flavour, name) + 1)]


def without_faults(flavour: str, directory: Path, name: str) -> None:
    """An operation that goes well."""
    world = make_world(flavour, directory)
    prepare(world, name)
    before = len(world.acknowledged)
    store = world.faulty()
    OPERATIONS[name](world, store)
    assert name not in ("first save", "save") or len(world.acknowledged) > before
    aftermath(world, store)


def with_faults(flavour: str, directory: Path, name: str, *plans: Plan) -> None:
    """An operation on which something goes wrong, and everything after it."""
    world = make_world(flavour, directory)
    prepare(world, name)
    store = run(world, name, list(plans))
    assert len(store.requests) >= plans[0].number, plans
    aftermath(world, store)
