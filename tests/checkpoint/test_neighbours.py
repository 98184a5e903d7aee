"""Several state files in one directory: each has what is its own, and none touches what another names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

import ckptstore as ck
from ckptstore.bundle import V1BundleWriter
from ckptstore.checkpoint import CheckpointDirectory
from ckptstore.checkpoint.attempt import AttemptStore
from ckptstore.checkpoint.orphans import GcReport, OrphanCollector
from ckptstore.checkpoint.pins import Pins, pin_entry
from ckptstore.checkpoint.policies import Decision
from ckptstore.checkpoint.pruning import Pruner
from ckptstore.checkpoint.repair import repair
from ckptstore.checkpoint.session import Session
from ckptstore.checkpoint.state_file import StateFile
from ckptstore.errors import StateCorruptError, StateMissingError, UnsafePathError
from ckptstore.format.ledger import Entry
from ckptstore.storage import MemoryStore, Payload, UploadNote
from ckptstore.testing import Fault, FaultyStore, ManualClock
from tests.checkpoint.saves import Saves, bundle


def keep_all(listed: Sequence[Entry], now: float) -> list[Decision]:
    return [Decision(entry.prefix, None, True, ()) for entry in listed]


class Two:
    """A directory with two state files, and a writer by each. Both names are used by either."""

    def __init__(self) -> None:
        self.one = Saves()
        self.other = Saves(self.one.store, "latest")
        self.store = self.one.store
        for saves in (self.one, self.other):
            for step in (1, 2):
                saves.save(f"m-{step}", step)

    @property
    def private(self) -> set[str]:
        return {key.rpartition("/")[0] for key in self.one.run.everything if key.startswith(".ckptstore/")}

    def gc(self, saves: Saves, **options: Any) -> GcReport:
        return OrphanCollector(saves.directory(), self.one.run.clock).collect(**options)


@pytest.fixture
def two() -> Two:
    return Two()


@pytest.mark.parametrize("name", ["", "a/b", "/x", "..", None])
def test_names_that_a_state_file_cannot_have(name: Any) -> None:
    with pytest.raises(UnsafePathError):
        StateFile(MemoryStore(), name)


def test_what_is_private_is_private(two: Two) -> None:
    assert two.private == {".ckptstore", ".ckptstore/history", ".ckptstore/latest.state/history"}
    pins = {Pins(saves.directory().file).of(Entry("m-1")) for saves in (two.one, two.other)}
    assert {pin.rpartition("/")[0] for pin in pins} == {".ckptstore/pins", ".ckptstore/latest.state/pins"}


def test_a_name_that_the_other_lists_is_taken(two: Two) -> None:
    assert two.one.listed == ["m-1", "m-2"]
    assert [name[:2] for name in two.other.listed] == ["r-", "r-"]
    assert [two.other.value(name) for name in two.other.listed] == [1, 2]


def test_a_name_that_the_other_lists_as_v1_is_taken_though_no_file_has_it() -> None:
    """A reader of `m` prefers the V2 files."""
    one = Saves()
    tensors = V1BundleWriter(one.store, "")
    tensors.add("v", 1.0)
    one.save("m", 1, tensors, meta=None)
    other = Saves(one.store, "latest")
    assert other.save("m", 2, settle=True).startswith("r-")
    assert float(one.value("m")) == 1


def test_neither_fences_the_other(two: Two) -> None:
    assert two.one.save("n", 3) == "n"
    assert two.other.save("o", 3) == "o"
    assert len(two.one.listed) == len(two.other.listed) == 3


def test_retention_touches_only_its_own(two: Two) -> None:
    before = [(name, two.other.value(name)) for name in two.other.listed]
    two.one.save("m-3", 3, count=1)
    assert two.one.listed == ["m-3"]
    assert [(name, two.other.value(name)) for name in two.other.listed] == before


@pytest.mark.parametrize("options", [{}, {"complete_orphans": True, "foreign_older_than": 0.0, "abort_open": True}])
def test_gc_of_one_leaves_what_the_other_names_and_its_private_files(two: Two, options: dict[str, Any]) -> None:
    attempt = Session(two.other.directory()).open("m-9")  # under way
    two.store.create("m-9.data-00000-of-00001", Payload.of(b"half"), tag=attempt.tag("m-9.data-00000-of-00001"))
    pin_entry(two.other.directory(), two.other.ledger, two.other.ledger.listed[0], ManualClock())
    before = two.one.run.everything
    report = two.gc(two.one, **options)
    assert (report.deleted, report.foreign, report.complete) == ([], [], [])
    after = two.one.run.everything
    assert {key for key in before if before[key] != after.get(key)} <= {"checkpoint", ".ckptstore/probe"}
    two.gc(two.other, abort_open=True)


@pytest.mark.parametrize("options", [{}, {"complete_orphans": True, "foreign_older_than": 0.0}])
def test_gc_leaves_a_first_save_by_another_state_file_that_does_not_exist_yet(options: dict[str, Any]) -> None:
    one = Saves()
    one.save("m-1", 1)
    attempt = Session(CheckpointDirectory(one.store, "latest")).open("n-1")
    for part in ("data-00000-of-00001", "meta"):
        one.store.create(f"n-1.{part}", Payload.of(b"half"), tag=attempt.tag(f"n-1.{part}"))
    report = OrphanCollector(one.directory(), one.run.clock).collect(**options)
    assert (report.deleted, report.foreign) == ([], [])
    assert one.run.has("n-1.meta")


def test_gc_stops_if_it_is_not_known_what_the_other_names(two: Two) -> None:
    two.store.put("latest", Payload.of(b"# ckptstore 1 damaged"))
    two.gc(two.one)  # its history tells
    for key in two.one.run.everything:
        if key.startswith(".ckptstore/latest.state/history/"):
            two.store.put(key, Payload.of(b"damaged, too"))
    with pytest.raises(StateCorruptError):
        two.gc(two.one)
    two.one.restart()
    assert two.one.save("n", 3).startswith("r-")  # saving goes on, under a name that nobody can have


@pytest.mark.parametrize("options", [{}, {"complete_orphans": True, "foreign_older_than": 0.0}])
def test_what_a_lost_state_file_listed_last_is_left_alone(two: Two, options: dict[str, Any]) -> None:
    two.store.delete(["latest"])
    names = two.one.files
    assert two.gc(two.one, **options).deleted == []
    assert two.one.files == names
    with pytest.raises(StateMissingError):
        two.other.directory().load()
    assert len(repair(two.other.directory()).listed) == 2


def test_a_trashed_name_that_the_other_has_by_now_is_not_deleted() -> None:
    """One's files are gone and its entry waits to be forgotten; another saves the name; then a pruner goes on."""
    one = Saves()
    one.save("m-1", 1)
    one.save("m-2", 2, count=1)
    assert [entry.prefix for entry in one.ledger.trash] == ["m-1"]
    writer = bundle(7)
    other = CheckpointDirectory(one.store, "latest")
    session = Session(other)
    session.begin()
    session._shared = False  # it looked before the name was taken
    attempt = session.open("m-1")
    assert attempt.prefix == "m-1"
    writer.move(AttemptStore(one.store, attempt), attempt.prefix)
    writer.finish()
    Pruner(one.directory(), one.run.clock).prune(keep_all, grace=0.0)
    assert one.value("m-1") == 7


def test_a_name_that_both_have_in_the_trash_is_the_ones_whose_files_are_there() -> None:
    """One's files are gone; those of the other wait, for a reader reads them."""
    one = Saves()
    one.save("m-1", 1)
    one.save("m-2", 2, count=1)
    assert [entry.prefix for entry in one.ledger.trash] == ["m-1"]
    other = Saves(one.store, "latest")
    other.writer.session.begin()
    other.writer.session._shared = False  # it looked before the name was taken
    other.save("m-1", 7)
    pin = pin_entry(other.directory(), other.ledger, other.ledger.listed[0], ManualClock())
    other.save("n-2", 8, count=1)
    assert [entry.prefix for entry in other.ledger.trash] == ["m-1"]
    Pruner(one.directory(), one.run.clock).prune(keep_all, grace=0.0)
    assert one.value("m-1") == 7
    pin.unpin()
    Pruner(other.directory(), one.run.clock).prune(keep_all, grace=0.0)
    assert not one.run.has("m-1.index")


def test_gc_leaves_the_uploads_of_a_save_by_the_other(two: Two) -> None:
    attempt = Session(two.other.directory()).open("m-9")
    key = f"{attempt.prefix}.index"
    started = two.store.create_upload(key, tag=attempt.tag(key), create_only=True)
    two.store.put(f".ckptstore/uploads/{started.upload_id}", UploadNote.of(started).payload())
    two.one.run.clock.advance(1e6)
    assert two.gc(two.one).aborted == []
    two.one.run.clock.advance(1e6)
    assert two.gc(two.other, abort_open=True).aborted == [key]


def test_what_tensorflow_wrote_and_both_list_goes_when_neither_does() -> None:
    one = Saves()
    for step in (1, 2):
        writer = bundle(step)
        writer.move(one.store, f"m-{step}")
        writer.finish()
    text = b'model_checkpoint_path: "m-2"\nall_model_checkpoint_paths: "m-1"\nall_model_checkpoint_paths: "m-2"\n'
    for name in ("checkpoint", "latest"):
        one.store.put(name, Payload.of(text))
    pruners = {name: Pruner(CheckpointDirectory(one.store, name), one.run.clock) for name in ("checkpoint", "latest")}
    blocked = pruners["latest"].remove(["m-1"]).blocked
    assert list(blocked.values()) == ["another state file of the directory names it"]
    assert one.value("m-1") == 1
    assert [entry.prefix for entry in pruners["checkpoint"].remove(["m-1"]).done] == ["m-1"]
    assert not one.run.has("m-1.index")
    assert [e.prefix for e in pruners["latest"].prune(keep_all, grace=0.0).collected.done] == ["m-1"]


# -- the first look


def test_checkpoints_that_another_state_file_accounts_for_are_no_error() -> None:
    other = Saves(state="latest")
    other.save("m-1", 1)
    directory = CheckpointDirectory(other.store)
    assert directory.load() is None
    other.store.delete(["latest"])
    assert directory.load() is None  # its history still tells
    stray = bundle(3)
    stray.move(other.store, "m-3")
    stray.finish()
    with pytest.raises(StateMissingError, match="m-3"):
        directory.load()
    assert CheckpointDirectory(other.store, unlisted_allowed=True).load() is None
    with pytest.raises(StateMissingError, match="history"):
        CheckpointDirectory(other.store, "latest", unlisted_allowed=True).load()


def test_a_rebuilding_leaves_out_what_the_other_lists() -> None:
    other = Saves(state="latest")
    other.save("m-1", 1, meta=None)
    stray = bundle(3)
    stray.move(other.store, "m-3")
    stray.finish()
    assert repair(CheckpointDirectory(other.store), from_listing=True).listed == ["m-3"]


def test_the_first_commit_is_known_to_others_at_every_moment() -> None:
    """Its note goes only after its history has begun."""
    store = MemoryStore(clock=ManualClock())
    saves = Saves(store, "latest")
    saves.restart(FaultyStore(store, [Fault("put", first=2, times=9)]))  # the note is written, and no copy
    with pytest.warns(ck.RetentionWarning):
        saves.save("m-1", 1)
    assert [entry.prefix for entry in CheckpointDirectory(store).neighbours.entries(store.list())] == ["m-1", "m-1"]
