"""Pins: what holds a checkpoint's files back, for how long, and what a reader is told that comes too late."""

from __future__ import annotations

from typing import Any

import pytest

import ckptstore as ck
from ckptstore.checkpoint.editing import set_pinned
from ckptstore.checkpoint.pins import LIFETIME, PINS, Pins
from ckptstore.checkpoint.state_file import StateFile
from ckptstore.errors import PermissionDeniedError
from ckptstore.format.ledger import Entry
from ckptstore.format.state import CheckpointState
from ckptstore.storage import MemoryStore, ObjectMeta, Payload, WrapperStore
from ckptstore.testing import Fault, FaultyStore
from tests.support.run_directory import RunDirectory, arrays

OURS = Pins(StateFile(MemoryStore()))


@pytest.fixture
def run() -> RunDirectory:
    """A directory with the steps 1 and 2."""
    directory = RunDirectory()
    directory.save(1, 2)
    return directory


def pins(run: RunDirectory) -> list[str]:
    return [key for key in run.everything if key.startswith(PINS)]


# -- their names


def test_a_pin_is_of_one_save_of_one_name() -> None:
    entries = [Entry("a-1"), Entry("a-1", "0" * 32), Entry("a-1", "1" * 32), Entry("a-11"), Entry("b-1", "0" * 32)]
    where = [OURS.of(entry) for entry in entries]
    assert len(set(where)) == len(entries)
    for index, entry in enumerate(entries):
        pin = ObjectMeta(f"{where[index]}{'a' * 32}", 0, "1", 0.0)
        assert OURS.is_pin(pin.key)
        assert [OURS.hold(other, [pin], 0.0) for other in entries] == [other is entry for other in entries]


def test_a_pin_outlives_what_becomes_of_the_entry() -> None:
    listed = Entry("a-1", "0" * 32, time=5.0, pinned=True)
    assert OURS.of(listed) == OURS.of(Entry("a-1", "0" * 32, seq=7))


@pytest.mark.parametrize("key", [PINS, f"{PINS}x", f"{PINS}{'0' * 49}", f"{PINS}{'0' * 16}-{'0' * 33}", f"x{PINS}"])
def test_what_is_no_pin(key: str) -> None:
    assert not OURS.is_pin(key)
    assert OURS.expired([ObjectMeta(key, 0, "1", 0.0)], 1e9) == []


def test_a_name_that_is_not_utf8_has_pins_too() -> None:
    assert OURS.is_pin(f"{OURS.of(Entry(chr(0xDC80)))}{'0' * 32}")


def test_a_pin_counts_for_an_hour_by_the_stores_clock() -> None:
    entry = Entry("a-1")
    pin = ObjectMeta(f"{OURS.of(entry)}{'0' * 32}", 0, "1", 1000.0)
    for now, counts in ((0.0, True), (1000.0, True), (1000.0 + LIFETIME, True), (1001.0 + LIFETIME, False)):
        assert OURS.hold(entry, [pin], now) is counts
        assert OURS.expired([pin], now) == ([] if counts else [pin.key])
    # Where the store does not tell the time, no pin is ever taken for a dead reader's.
    assert OURS.hold(entry, [pin], None)
    assert OURS.hold(entry, [ObjectMeta(pin.key, 0, "1", None)], 1e9)


# -- readers


def test_a_reader_pins_and_takes_its_pin_back(run: RunDirectory) -> None:
    manager = run.manager()
    with manager.reader(1), manager.reader(1), manager.reader(2):
        assert len(pins(run)) == 3
        assert sum(OURS.hold(run.ledger.listed[0], list(run.store.list(PINS)), run.clock.time()) for _ in "x") == 1
    assert pins(run) == []
    manager.restore(1)
    assert pins(run) == []


def test_a_pin_is_put_anew_every_ten_minutes_by_reading(run: RunDirectory) -> None:
    with run.manager().reader(1) as reader:
        first = run.store.head(pins(run)[0])
        run.clock.advance(599)
        reader.restore()
        assert run.store.head(first.key).version == first.version
        run.clock.advance(1)
        reader.restore()
        assert run.store.head(first.key).version != first.version
        for _ in range(20):  # more than three hours: the pin has counted all the time
            run.clock.advance(601)
            reader.restore()
            assert [entry.prefix for entry in run.prune(1).collected.pinned] == ["ckpt-1"]
        assert len(pins(run)) == 1


def test_a_reader_that_was_suspended_for_too_long_is_told(run: RunDirectory) -> None:
    reader = run.manager().reader(1)
    run.clock.advance(LIFETIME + 1)
    assert [entry.prefix for entry in run.prune(1).collected.done] == ["ckpt-1"]
    with pytest.raises(ck.CheckpointPrunedError, match="removed while it was being read"):
        reader.restore()
    reader.close()


def test_the_pins_of_dead_readers_are_tidied_up(run: RunDirectory) -> None:
    run.manager().reader(1)
    run.manager().reader(2)
    run.clock.advance(LIFETIME + 1)
    run.prune(1)
    assert pins(run) == []


def test_a_checkpoint_that_leaves_the_list_before_the_pin_is_there_is_not_read(run: RunDirectory) -> None:
    """The pin is put, and only then is the state file looked at again."""

    class Interrupted(WrapperStore):
        def put(self, key: str, payload: Payload) -> Any:
            if key.startswith(PINS) and "ckpt-2" in run.listed:
                run.save(3)
                run.prune(1)
            return self.inner.put(key, payload)

    manager = run.manager(Interrupted(run.store))
    assert manager.restore()["w"][0] == 3  # not the latest of before: that of now
    assert pins(run) == []
    run.save(4)
    with pytest.raises(ck.CheckpointNotFoundError, match="no step 2"):
        manager.restore(2)


def test_without_the_right_to_write_one_reads_unpinned(run: RunDirectory) -> None:
    class ReadOnly(WrapperStore):
        def put(self, key: str, payload: Payload) -> Any:
            raise PermissionDeniedError("You may not write here.")

    with run.manager(ReadOnly(run.store)).reader(1) as reader:
        assert pins(run) == []
        assert reader.restore()["w"][0] == 1
        run.prune(1)
        with pytest.raises(ck.CheckpointPrunedError):
            reader.restore()


def test_beside_tensorflow_alone_nothing_is_pinned(run: RunDirectory) -> None:
    """No pruner of ours has been there, so there is nobody to tell."""
    run.store.delete([key for key in run.everything if key.startswith(".ckptstore/")])
    run.write(CheckpointState("ckpt-2", ("ckpt-1", "ckpt-2")).to_bytes())
    watched = FaultyStore(run.store)
    run.manager(watched).restore()
    assert {call.verb for call in watched.calls} <= {"get", "head", "list", "read_into"}


def test_a_pin_that_cannot_be_taken_back_does_not_spoil_what_was_read(run: RunDirectory) -> None:
    manager = run.manager(FaultyStore(run.store, [Fault("delete", times=99)]))
    assert manager.restore(1)["w"][0] == 1
    assert len(pins(run)) == 1


def test_a_pin_that_cannot_be_put_anew_still_counts(run: RunDirectory) -> None:
    with run.manager(FaultyStore(run.store, [Fault("put", first=2, times=99)])).reader(1) as reader:
        run.clock.advance(700)
        assert reader.restore()["w"][0] == 1
        assert [entry.prefix for entry in run.prune(1).collected.pinned] == ["ckpt-1"]


def test_a_failure_to_open_leaves_no_pin_behind(run: RunDirectory) -> None:
    run.damage("ckpt-2.index", b"damaged")
    run.damage("ckpt-1.index", None)
    manager = run.manager()
    with pytest.raises(ck.DataLossError):
        manager.reader(2)
    with pytest.raises(ck.CheckpointNotFoundError, match="names it"):
        manager.reader(1)
    assert pins(run) == []


# -- those of users


def test_a_user_pins_once_and_unpins_once(run: RunDirectory) -> None:
    directory = run.directory()
    assert [set_pinned(directory, "ckpt-1", pinned=value) for value in (True, True, False, False)] == [
        True,
        False,
        True,
        False,
    ]


def test_pinning_what_is_pinned_writes_nothing(run: RunDirectory) -> None:
    set_pinned(run.directory(), "ckpt-1", pinned=True)
    before = run.files["checkpoint"]
    set_pinned(run.directory(), "ckpt-1", pinned=True)
    assert run.files["checkpoint"] == before


def test_a_users_pin_outlives_saves_rewrites_and_restarts(run: RunDirectory) -> None:
    manager = run.manager(max_to_keep=1)
    set_pinned(run.directory(), "ckpt-1", pinned=True)
    manager.save(3, arrays(3))
    assert run.listed == ["ckpt-1", "ckpt-3"]
    run.write(CheckpointState("ckpt-3", ("ckpt-1", "ckpt-3")).to_bytes())
    run.save(4, max_to_keep=1)
    assert run.listed == ["ckpt-1", "ckpt-4"]
    set_pinned(run.directory(), "ckpt-1", pinned=False)
    run.save(5, max_to_keep=1)
    assert run.listed == ["ckpt-5"]


def test_a_trainer_goes_on_beside_a_pin(run: RunDirectory) -> None:
    manager = run.manager()
    manager.save(3, arrays(3))
    set_pinned(run.directory(), "ckpt-3", pinned=True)
    manager.save(4, arrays(4))
    assert [entry.pinned for entry in run.ledger.listed] == [False, False, True, False]


@pytest.mark.parametrize("name", ["ckpt-9", "ckpt", "", "../ckpt-1", "ckpt-1.index"])
def test_what_is_not_listed_cannot_be_pinned(run: RunDirectory, name: str) -> None:
    before = run.files
    with pytest.raises(ck.CheckpointError):
        set_pinned(run.directory(), name, pinned=True)
    assert run.files == before


def test_an_empty_directory_has_nothing_to_pin() -> None:
    with pytest.raises(ck.CheckpointNotFoundError, match="neither listed nor kept"):
        set_pinned(RunDirectory().directory(), "ckpt-1", pinned=True)


def test_what_is_preserved_for_ever_can_be_pinned() -> None:
    run = RunDirectory()
    run.save(1, 2, every=4000.0, max_to_keep=1, keep_checkpoint_every_n_hours=1)
    assert [entry.prefix for entry in run.ledger.kept] == ["ckpt-1"]
    assert set_pinned(run.directory(), "ckpt-1", pinned=True)
    assert run.ledger.kept[0].pinned
