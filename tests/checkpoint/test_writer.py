"""The writer of checkpoints by itself: names used again, V1 files, endings of one's own, what is kept."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import pytest

import ckptstore as ck
from ckptstore.checkpoint.editing import set_pinned
from ckptstore.checkpoint.pruning import Pruner
from ckptstore.checkpoint.repair import repair
from ckptstore.checkpoint.retention import Sweep
from ckptstore.checkpoint.writer import MOST_KEPT, CheckpointWriter, RetentionWarning, swept
from ckptstore.errors import InvalidArgumentError
from ckptstore.format.ledger import Entry, Ledger
from ckptstore.format.naming import plain
from ckptstore.storage import MemoryStore, Payload
from ckptstore.testing import CrashError, Fault, FaultyStore, ManualClock
from tests.checkpoint.saves import Saves, bundle, keep, v1
from tests.protocol.operations import NoConditionalDeletes


@pytest.fixture
def saves() -> Saves:
    return Saves()


PARTS = ["m.data-00000-of-00001", "m.index", "m.meta"]


# -- a name again


def test_a_name_that_is_used_again_ends_up_plain(saves: Saves) -> None:
    for value in range(5):
        assert saves.save("m", value, settle=True) == "m"
        assert (saves.listed, saves.value("m")) == (["m"], value)
        assert saves.files == PARTS
    assert saves.ledger.listed[0].time == 4


def test_without_settle_it_keeps_its_own_directory(saves: Saves) -> None:
    saves.save("m", 1)
    name = saves.save("m", 2)
    assert (plain(name), saves.listed) == ("m", [name])
    assert name != "m"


def test_what_the_plan_said_comes_back_with_the_name_that_it_got(saves: Saves) -> None:
    saves.save("a", 1)
    saves.save("m", 2)
    name, sweep = saves.writer.save("m", bundle(3), None, 3.0, keep(9), settle=True)
    assert name == "m"
    assert [entry.prefix for entry in sweep.listed] == ["a", "m"]
    assert sweep.listed == (*saves.ledger.listed[:1], replace(saves.ledger.listed[1], time=3.0))
    assert [entry.prefix for entry in sweep.removed] == ["m"]


def test_the_plan_is_asked_once_for_a_save(saves: Saves) -> None:
    """The second commit changes one name and nothing else."""
    asked = []

    def plan(ledger: Ledger, new: Entry) -> Sweep:
        asked.append(new.prefix)
        return keep(2)(ledger, new)

    for value in range(3):
        saves.writer.save("m", bundle(value), None, value, plan, settle=True)
    assert [plain(name) for name in asked] == ["m"] * 3


def test_a_restarted_writer_settles_too_and_what_a_dead_one_left_is_settled_next(saves: Saves) -> None:
    saves.save("m", 1, settle=True)
    name = saves.save("m", 2)
    saves.restart()
    assert saves.save("m", 3, settle=True) == "m"
    assert (saves.listed, saves.value("m")) == (["m"], 3)
    saves.run.clock.advance(7200)
    saves.restart()
    saves.save("m", 4, settle=True)
    assert saves.files == PARTS
    assert not saves.run.has(f"{name}.index")


def test_what_a_reader_pins_keeps_its_name(saves: Saves) -> None:
    saves.save("m", 1)
    from ckptstore.checkpoint.pins import pin_entry

    pin = pin_entry(saves.directory(), saves.ledger, saves.ledger.listed[0], ManualClock())
    name = saves.save("m", 2, settle=True)
    assert name.startswith("r-")
    assert (saves.value("m"), saves.value(name)) == (1, 2)
    assert (saves.ledger.open, saves.ledger.dead) == ((), ())  # it was not even tried
    pin.unpin()
    assert saves.save("m", 3, settle=True) == "m"
    assert (saves.files, saves.value("m")) == (PARTS, 3)


def test_a_stranger_s_file_keeps_its_name(saves: Saves) -> None:
    saves.store.put("m.index", Payload.of(b"somebody's"))
    watched = FaultyStore(saves.store)
    saves.restart(watched)
    for value in (1, 2):
        assert saves.save("m", value, settle=True).startswith("r-")
    # Each met the file once, and did not try again.
    assert [call.key for call in watched.calls if call.verb == "create"].count("m.data-00000-of-00001") == 2
    assert saves.store.get("m.index")[0] == b"somebody's"
    assert len(saves.listed) == 1


def test_the_grace_keeps_its_name(saves: Saves) -> None:
    saves.restart(grace=3600.0)
    saves.save("m", 1, settle=True)
    assert saves.save("m", 2, settle=True).startswith("r-")
    assert saves.value("m") == 1


def test_a_store_that_cannot_delete_by_version_gives_every_save_its_own_directory() -> None:
    saves = Saves(NoConditionalDeletes(MemoryStore()))
    for value in range(3):
        name = saves.save("m", value, settle=True)
        assert (name[:2], saves.listed, saves.value(name)) == ("r-", [name], value)
        assert (saves.ledger.open, saves.ledger.dead) == ((), ())  # no other name was tried


@pytest.mark.parametrize(
    ("verb", "nth"), [*((verb, n) for verb in ("create", "list") for n in (1, 2, 3)), ("replace", 1), ("replace", 2)]
)
def test_a_failure_of_the_second_step_is_a_warning(saves: Saves, verb: Any, nth: int) -> None:
    """Whatever it is: the save counts."""
    saves.save("m", 1, settle=True)
    watched = FaultyStore(saves.store)
    saves.restart(watched)
    saves.save("m", 2, settle=True)
    calls = [call.key for call in watched.calls if call.verb == verb]
    first = calls.index({"create": "m.data-00000-of-00001", "list": "m", "replace": "checkpoint"}[verb])
    first += 3 if verb == "replace" else 0  # take-over, registration, commit; those of the second step follow
    saves.restart(
        FaultyStore(saves.store, [Fault(verb, first=first + nth, error=ck.StorageFullError("full", path="x"))])
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        name = saves.save("m", 3, settle=True)
    assert (saves.listed, saves.value(name)) == ([name], 3)
    if name != "m":
        assert [w.category for w in caught] == [RetentionWarning]
    assert saves.save("m", 4, settle=True) == "m"


def test_who_is_taken_over_during_the_second_step_has_saved_and_hears_of_it_next_time(saves: Saves) -> None:
    saves.save("m", 1, settle=True)
    other = CheckpointWriter(saves.directory())

    class Slow(FaultyStore):
        taken = False

        def create(self, key: str, payload: Payload, *, tag: str | None = None) -> Any:
            if key == "m.index" and not self.taken:
                self.taken = True
                other.session.begin()
            return super().create(key, payload, tag=tag)

    saves.restart(Slow(saves.store))
    with pytest.warns(RetentionWarning, match="listing it as m .* taken over"):
        name = saves.save("m", 2, settle=True)
    assert (saves.listed, saves.value(name)) == ([name], 2)
    with pytest.raises(ck.FencedError):
        saves.save("m", 3, settle=True)


def test_one_that_a_pruner_removed_before_it_was_settled_is_not_listed_again(saves: Saves) -> None:
    saves.save("m", 1, settle=True)
    saves.save("n", 1)

    class Slow(FaultyStore):
        done = False

        def create(self, key: str, payload: Payload, *, tag: str | None = None) -> Any:
            if key == "m.index" and not self.done:
                self.done = True
                Pruner(saves.directory(), saves.run.clock).remove([saves.listed[-1]])
            return super().create(key, payload, tag=tag)

    saves.restart(Slow(saves.store))
    with pytest.warns(RetentionWarning, match="removed meanwhile"):
        saves.save("m", 2, settle=True)
    assert saves.listed == ["n"]
    assert not saves.run.has("m.index")


def test_a_pin_of_a_user_goes_with_it(saves: Saves) -> None:
    saves.save("m", 1)

    class Slow(FaultyStore):
        done = False

        def create(self, key: str, payload: Payload, *, tag: str | None = None) -> Any:
            if key == "m.index" and not self.done:
                self.done = True
                set_pinned(saves.directory(), saves.listed[-1], pinned=True)
            return super().create(key, payload, tag=tag)

    saves.restart(Slow(saves.store))
    assert saves.save("m", 2, settle=True) == "m"
    assert [(entry.prefix, entry.pinned) for entry in saves.ledger.listed] == [("m", True)]


def test_a_crash_between_the_steps_leaves_the_one_that_counts(saves: Saves) -> None:
    saves.save("m", 1, settle=True)

    class Dying(FaultyStore):
        def create(self, key: str, payload: Payload, *, tag: str | None = None) -> Any:
            if key == "m.index":
                raise CrashError(key)
            return super().create(key, payload, tag=tag)

    saves.restart(Dying(saves.store))
    with pytest.raises(CrashError):
        saves.save("m", 2, settle=True)
    (name,) = saves.listed
    assert (name[:2], saves.value(name)) == ("r-", 2)


# -- V1 files


def test_v1_files_are_saved_listed_and_deleted(saves: Saves) -> None:
    assert saves.save("m-1", 1, v1(1), count=1) == "m-1"
    assert saves.save("m-2", 2, v1(2), count=1) == "m-2"
    assert (saves.files, saves.value("m-2")) == (["m-2", "m-2.meta"], 2)
    assert saves.save("m-3", 3, v1(3, shards=2), count=1) == "m-3-?????-of-00002"
    assert saves.files == ["m-3-00000-of-00002", "m-3-00001-of-00002", "m-3.meta"]
    assert saves.value("m-3-?????-of-00002") == 3


@pytest.mark.parametrize("shards", [0, 3])
@pytest.mark.parametrize("restart", [False, True])
def test_v1_names_can_be_used_again(saves: Saves, shards: int, restart: bool) -> None:
    wanted = "m" if not shards else "m-?????-of-00003"
    for value in range(3):
        assert saves.save("m", value, v1(value, shards), settle=True, meta_suffix="mg") == wanted
        assert (saves.listed, saves.value(wanted)) == ([wanted], value)
        assert len(saves.files) == max(shards, 1) + 1
        if restart:
            saves.run.clock.advance(7200)
            saves.restart()


def test_what_another_process_saved_as_v1_is_found_by_its_tags(saves: Saves) -> None:
    for step in (1, 2, 3):
        saves.save(f"m-{step}", step, v1(step, shards=step - 1), meta_suffix="mg")
    mine = "m-1.notes"
    saves.store.put(mine, Payload.of(b"a user's"))
    assert [entry.prefix for entry in saves.run.prune(1).collected.done] == ["m-1", "m-2-?????-of-00001"]
    assert saves.files == [mine, "m-3-00000-of-00002", "m-3-00001-of-00002", "m-3.mg"]


def test_a_dead_v1_save_goes_by_its_tags(saves: Saves) -> None:
    saves.save("a", 1)

    class Dying(FaultyStore):
        def create(self, key: str, payload: Payload, *, tag: str | None = None) -> Any:
            if key == "m-00001-of-00002":
                raise CrashError(key)
            return super().create(key, payload, tag=tag)

    saves.restart(Dying(saves.store))
    with pytest.raises(CrashError):
        saves.save("m", 2, v1(2, shards=2), meta_suffix="mg")
    saves.store.put("m-00001-of-00002", Payload.of(b"somebody's"))
    assert {"m-00000-of-00002", "m.mg"} <= set(saves.files)
    saves.restart()
    saves.save("b", 3)
    assert {key for key in saves.files if key.startswith("m")} == {"m-00001-of-00002"}


def test_a_v1_file_of_tensorflow_with_the_name_of_one_of_ours_stays(saves: Saves) -> None:
    """Its name was never the other one's."""
    writer = v1(7)
    writer.move(saves.store, "m")
    writer.finish()
    saves.save("m", 1)
    saves.save("n", 2)
    saves.run.prune(1)
    assert [key for key in saves.files if not key.startswith("n")] == ["m"]


def test_repair_pins_and_rm_take_v1_for_what_it_is(saves: Saves) -> None:
    saves.save("m-1", 1, v1(1, shards=2))
    saves.save("m-2", 2, v1(2))
    saves.store.delete(["checkpoint"])
    assert repair(saves.directory()).listed == ["m-1-?????-of-00002", "m-2"]
    set_pinned(saves.directory(), "m-1-?????-of-00002", pinned=True)
    assert [entry.prefix for entry in saves.ledger.listed if entry.pinned] == ["m-1-?????-of-00002"]
    Pruner(saves.directory(), saves.run.clock).remove(["m-1-?????-of-00002"])
    assert saves.files == ["m-2", "m-2.meta"]


# -- endings


def test_a_meta_file_has_the_ending_that_one_gives_it(saves: Saves) -> None:
    for step in (1, 2):
        saves.save(f"m-{step}", step, count=1, meta_suffix=f"graph{step}")
    assert saves.files == ["m-2.data-00000-of-00001", "m-2.graph2", "m-2.index"]


@pytest.mark.parametrize("suffix", ["", "a/b", "index", "x.index", "x.meta", "data-00000-of-00001", 3])
def test_endings_of_other_files_are_refused(saves: Saves, suffix: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="ending"):
        saves.save("m", 1, meta_suffix=suffix)
    assert saves.files == []


def test_a_name_that_looks_like_a_shards(saves: Saves) -> None:
    """TensorFlow drops what it takes for a pattern from the name of the .meta file."""
    for value in (1, 2):
        saves.save("m-1-of-2", value, settle=True)
    assert saves.files == ["m-1-of-2.data-00000-of-00001", "m-1-of-2.index", "m.meta"]


# -- what is kept


def test_of_what_is_kept_the_oldest_is_named_no_more() -> None:
    """Its files stay."""
    kept = tuple(Entry(f"m-{n}", "0" * 32, pinned=n == 1) for n in range(MOST_KEPT))
    ledger = Ledger((Entry("n"),), "n", kept=kept)
    new = swept(ledger, Sweep((Entry("n"),), (Entry("x"), Entry("y")), (), 0.0))
    assert len(new.kept) == MOST_KEPT + 1
    assert [entry.prefix for entry in new.kept[:2]] == ["m-1", "m-2"]
    assert [entry.prefix for entry in new.kept[-2:]] == ["x", "y"]
    assert new.trash == ()
