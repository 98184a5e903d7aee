"""Trainers, pruners, collectors and readers at once; and that this finds out if a rule of the protocol is gone."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import ckptstore as ck
from ckptstore.checkpoint import CheckpointDirectory, collector, orphans, pins, session, writer
from ckptstore.checkpoint.attempt import AttemptStore
from ckptstore.checkpoint.editing import set_pinned
from ckptstore.storage import MemoryStore, Payload
from ckptstore.testing import ManualClock
from tests.protocol.nth_fault import NthFaultStore, Plan
from tests.protocol.simulation import Process, ViolationError, simulate
from tests.protocol.world import World, arrays

pytestmark = pytest.mark.filterwarnings("ignore::ckptstore.RetentionWarning")


def trainer(author: str, *steps: int) -> Process:
    def run(world: World, store: NthFaultStore) -> None:
        with world.trainer(store) as manager:
            for step in steps:
                world.save(manager, step, author)

    return run


def pruner(world: World, store: NthFaultStore) -> None:
    for _ in range(2):
        world.prune(store, keep=1)


def gc(world: World, store: NthFaultStore) -> None:
    world.gc(store)


def reader(world: World, store: NthFaultStore) -> None:
    for _ in range(2):
        world.restore(store)


def before(world: World, store: NthFaultStore) -> None:
    trainer("o", 1, 2)(world, store)


EVERYBODY: dict[str, Process] = {
    "A": trainer("a", 3, 4, 5),
    "B": trainer("b", 3, 4, 6),
    "P": pruner,
    "Q": pruner,
    "G": gc,
    "R": reader,
}


@pytest.mark.parametrize("block", range(10))
@pytest.mark.parametrize("deaths", [0.0, 0.01])
def test_everybody_at_once(block: int, deaths: float) -> None:
    for seed in range(block * 8, block * 8 + 8):
        simulate(seed, EVERYBODY, deaths=deaths, prepare=before)


@pytest.mark.parametrize("block", range(5))
def test_two_trainers_in_a_new_directory(block: int) -> None:
    for seed in range(block * 10, block * 10 + 10):
        simulate(seed, {"A": trainer("a", 1, 2), "B": trainer("b", 1, 2), "G": gc, "R": reader}, deaths=0.005)


def no_fencing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(session.Session, "_check_owner", lambda *_: None)


def no_compare_and_swap(patch: pytest.MonkeyPatch) -> None:
    def replace(self: MemoryStore, key: str, payload: Payload, *, version: str, tag: str | None = None) -> Any:
        if not key.startswith("checkpoint"):
            return original(self, key, payload, version=version, tag=tag)
        return self.put(key, payload)

    original = MemoryStore.replace
    patch.setattr(MemoryStore, "replace", replace)


def no_create_only(patch: pytest.MonkeyPatch) -> None:
    def put(self: AttemptStore, key: str, payload: Payload) -> Any:
        self.written[key] = self._inner.put(key, payload)
        return self.written[key]

    patch.setattr(AttemptStore, "put", put)


def no_second_look(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pins, "_is_live", lambda *_: True)


def pins_are_not_looked_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pins.Pins, "hold", lambda *_: False)


def the_open_list_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    def commit(self: session.Session, attempt: Any, change: Callable[[Any], Any]) -> Any:
        return self._commit_first(attempt, change) if self._fresh else self.change(change)

    patch.setattr(session.Session, "commit", commit)


def deletes_what_is_listed(patch: pytest.MonkeyPatch) -> None:
    """Unlists only after it has deleted: in the order in which TensorFlow does not."""

    def swept(ledger: Any, sweep: Any) -> Any:
        new = original(ledger, sweep)
        from dataclasses import replace

        return replace(new, listed=(*sweep.removed, *sweep.listed))

    original = writer.swept
    patch.setattr(writer, "swept", swept)


def unconditional_deletes(patch: pytest.MonkeyPatch) -> None:
    def delete_files(store: Any, files: Any, *, conditional: bool) -> list[str]:
        return original(store, files, conditional=False)

    original = orphans.delete_files
    for module in (orphans, collector, writer):
        patch.setattr(module, "delete_files", delete_files)


MUTANTS = [
    no_fencing,
    no_compare_and_swap,
    no_second_look,
    pins_are_not_looked_for,
    the_open_list_is_not_looked_at,
    deletes_what_is_listed,
]


def many(seeds: range) -> None:
    for seed in seeds:
        simulate(seed, EVERYBODY, deaths=(0.0, 0.005, 0.02)[seed % 3], prepare=before)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_rule_that_is_dropped_is_missed(mutant: Callable[[pytest.MonkeyPatch], None]) -> None:
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", ck.RetentionWarning)
        mutant(patch)
        with pytest.raises(ViolationError):
            many(range(400))


@pytest.mark.nightly
@pytest.mark.parametrize("block", range(100))
def test_everybody_at_once_all_night(block: int) -> None:
    many(range(1_000_000 + block * 200, 1_000_000 + block * 200 + 200))


class InterruptedStore(NthFaultStore):
    """Stands still before one request, while others do something."""

    def __init__(self, world: World, before: str, others: Callable[[], None]) -> None:
        super().__init__(world.store, world.clock)
        self._before, self._others = before, others

    def _send(self, what: str, request: Callable[[], Any], *, write: bool = False) -> Any:
        if self._before in what:
            self._before = "never again"
            self._others()
        return super()._send(what, request, write=write)


@pytest.mark.parametrize("rule", [True, False])
def test_an_old_trainer_that_comes_back_to_a_name_that_was_taken_again(rule: bool) -> None:
    """Given up, collected, forgotten, and saved again by its successor: then it goes on writing (R4)."""
    clock = ManualClock()
    world = World(MemoryStore(clock=clock), clock)
    before(world, world.faulty())

    def others() -> None:
        trainer("b", 9)(world, world.faulty())
        pruner(world, world.faulty())
        trainer("c", 3)(world, world.faulty())

    with pytest.MonkeyPatch.context() as patch:
        if not rule:
            no_create_only(patch)
        store = InterruptedStore(world, "ckpt-3.data", others)
        with world.trainer(store) as manager, pytest.raises(ck.FencedError):
            world.save(manager, 3, "a")
    if rule:
        world.check()
        assert world.restore(world.faulty())["w"][0] == arrays(3, "c")["w"][0]
    else:
        with pytest.raises((AssertionError, ck.CheckpointError)):
            world.check()


@pytest.mark.parametrize("rule", [True, False])
def test_a_deletion_that_lands_when_its_name_was_taken_again(rule: bool) -> None:
    """Its reply was lost, it was tried again and succeeded; then the name was free for another save (R4)."""

    def run(plans: Sequence[Plan]) -> list[str]:
        clock = ManualClock()
        world = World(MemoryStore(clock=clock), clock)
        before(world, world.faulty())
        store = world.faulty(plans)
        world.prune(store, keep=1)
        with world.trainer(world.faulty()) as manager:
            world.save(manager, 1, "a")
        assert world.listed() == ["ckpt-2", "ckpt-1"]
        store.land()
        world.check()
        return store.requests

    deletions = [n for n, what in enumerate(run([]), 1) if what.startswith("delete_versions ckpt-1.")]
    assert len(deletions) == 2  # the index, and the rest
    with pytest.MonkeyPatch.context() as patch:
        if rule:
            for deletion in deletions:
                run([Plan(deletion, "lands late")])
            return
        unconditional_deletes(patch)
        # Without conditions they are other requests of the same number.
        for deletion in deletions:
            with pytest.raises((AssertionError, ck.CheckpointError)):
                run([Plan(deletion, "lands late")])


class UnheardStore(NthFaultStore):
    """Carries out the commit, or the registration, lets others do something, and loses the reply."""

    def __init__(self, world: World, others: Callable[[], None], *, commit: bool = True) -> None:
        super().__init__(world.store, world.clock)
        self._others = others
        self._commit = commit
        self.armed = True

    def _send(self, what: str, request: Callable[[], Any], *, write: bool = False) -> Any:
        answer = super()._send(what, request, write=write)
        written = any(key.startswith("create ckpt-") and key.endswith(".index") for key in self.requests)
        written = written or (not self._commit and self.requests.count("replace checkpoint") == 2)  # 1: the take-over
        if self.armed and written and what in ("replace checkpoint", "create checkpoint"):
            self.armed = False
            self._others()
            raise ck.StorageUnavailableError("the reply is lost")
        return answer


def take_over(world: World) -> None:
    with world.trainer(world.faulty()) as manager:
        manager.acquire()


def pin(world: World) -> None:
    directory = CheckpointDirectory(world.store)
    set_pinned(directory, directory.latest() or "", pinned=True)


@pytest.mark.parametrize("others", [take_over, pin])
@pytest.mark.parametrize("first", [True, False])
def test_a_commit_that_landed_unheard_of_counts(others: Callable[[World], None], first: bool) -> None:
    """Somebody else wrote the state file before the commit was tried again (R7)."""
    clock = ManualClock()
    world = World(MemoryStore(clock=clock), clock)
    if not first:
        before(world, world.faulty())
    store = UnheardStore(world, lambda: others(world))
    with world.trainer(store) as manager:
        world.save(manager, 5, "a")
        assert not store.armed
        world.check()
        assert world.listed()[-1] == "ckpt-5"
        if others is pin:
            world.save(manager, 6, "a")
            world.check()
        else:
            with pytest.raises(ck.FencedError):
                world.save(manager, 6, "a")
    world.check()


def give_up(world: World) -> None:
    world.gc(world.faulty())


@pytest.mark.parametrize("others", [pin, give_up])
@pytest.mark.parametrize("taken", [False, True])
def test_a_registration_that_landed_unheard_of(others: Callable[[World], None], taken: bool) -> None:
    """It is found open, or was given up since; in no case is one attempt both open and dead (R3)."""
    clock = ManualClock()
    world = World(MemoryStore(clock=clock), clock)
    trainer("o", 1, 5 if taken else 2)(world, world.faulty())
    if taken:
        world.prune(world.faulty(), keep=1, grace=1e9)  # 5 is listed, and 1 in the trash
    store = UnheardStore(world, lambda: others(world), commit=False)
    with world.trainer(store) as manager:
        world.save(manager, 1 if taken else 5, "a")
        assert not store.armed
        world.check()
        saved = world.listed()[-1]
        world.save(manager, 6, "a")
    world.gc(world.faulty())
    world.check()
    assert saved in world.listed()


def test_a_first_commit_that_was_given_up_and_lands_late() -> None:
    clock = ManualClock()
    world = World(MemoryStore(clock=clock), clock)
    number = len(_requests_of_a_first_save()) - 2  # the commit; the note's deletion and the history's copy follow
    store = world.faulty([Plan(n, "lands late") for n in range(number, number + 20)])
    with world.trainer(store) as manager:
        with pytest.raises(ck.StorageUnavailableError):
            world.save(manager, 1, "a")
        store.land()
        store._plans.clear()
        with pytest.raises(ck.CommitConflictError):  # the directory is no longer what it was thought to be
            world.save(manager, 2, "a")
        world.save(manager, 3, "a")
    world.check()
    assert world.listed() == ["ckpt-1", "ckpt-3"]


def _requests_of_a_first_save() -> list[str]:
    clock = ManualClock()
    world = World(MemoryStore(clock=clock), clock)
    store = world.faulty()
    trainer("a", 1)(world, store)
    return store.requests
