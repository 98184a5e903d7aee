"""Repair: what a state file said last is brought back, or the reason why not is told; nobody saves on as before."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import ckptstore as ck
from ckptstore.checkpoint.editing import set_pinned
from ckptstore.checkpoint.history import COPIES
from ckptstore.checkpoint.repair import RepairReport, repair
from ckptstore.format.ledger import Entry, Ledger
from ckptstore.format.state import CheckpointState
from ckptstore.storage import LocalStore, Payload, WrapperStore
from ckptstore.testing import FaultyStore
from tests.support.golden import GOLDEN
from tests.support.run_directory import RunDirectory, arrays


@pytest.fixture
def run() -> RunDirectory:
    """A directory with the steps 1 to 3, of which the first is pinned and a fourth was removed."""
    directory = RunDirectory()
    directory.save(0, 1, 2, 3)
    set_pinned(directory.directory(), "ckpt-1", pinned=True)
    directory.prune(2, grace=3600.0)
    return directory


DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "missing": lambda data: None,
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "flipped": lambda data: data[:300] + bytes([data[300] ^ 1]) + data[301:],
    "flipped in TensorFlow's part": lambda data: data.replace(b'path: "ckpt-', b'path: "ckpu-', 1),
    "edited by hand": lambda data: data.replace(b'all_model_checkpoint_paths: "ckpt-2"\n', b""),
    "made unsafe": lambda data: CheckpointState("ckpt-3", ("../x", "ckpt-3")).to_bytes(),
    "nonsense": lambda data: b"\x00\xff nonsense",
}


def damage(run: RunDirectory, kind: str) -> None:
    run.damage("checkpoint", DAMAGE[kind](run.files["checkpoint"]))


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_it_said_last_is_brought_back(run: RunDirectory, kind: str) -> None:
    old = run.ledger
    damage(run, kind)
    report = repair(run.directory())
    assert (report.source, report.listed) == ("history", ["ckpt-1", "ckpt-2", "ckpt-3"])
    assert report.problem is not None
    new = run.ledger
    assert (new.listed, new.latest, new.trash, new.kept) == (old.listed, old.latest, old.trash, old.kept)
    assert new.listed[0].pinned
    assert (new.id, new.epoch) == (old.id, old.epoch + 1)
    assert new.seq > old.seq
    assert new.session != old.session
    assert run.manager().restore()["w"][0] == 3


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_dry_run_changes_nothing_and_says_the_same(run: RunDirectory, kind: str) -> None:
    damage(run, kind)
    before = run.everything
    watched = FaultyStore(run.store)
    report = repair(run.directory(watched), dry_run=True)
    assert (report.source, report.listed, report.dry_run) == ("history", ["ckpt-1", "ckpt-2", "ckpt-3"], True)
    assert {call.verb for call in watched.calls} <= {"get", "head", "list"}
    assert run.everything == before


def test_a_state_file_in_order_is_left_alone(run: RunDirectory) -> None:
    before = run.everything
    report = repair(run.directory(), from_listing=True, skip_damaged=True)
    assert (report.problem, report.source) == (None, None)
    assert run.everything == before


def test_a_state_file_that_tensorflow_rewrote_is_in_order_and_nothing_is_forgotten(run: RunDirectory) -> None:
    """Its next writer of ours takes the rest from the history: pins, and what is in the trash."""
    old = run.ledger
    run.write(CheckpointState("ckpt-2", ("ckpt-1", "ckpt-2")).to_bytes())
    assert repair(run.directory()).problem is None
    run.clock.advance(3600)
    report = run.prune(1, grace=3600.0)
    assert report.decisions[0].reasons == ("pinned",)
    assert [entry.prefix for entry in report.collected.done] == ["ckpt-0"]
    assert run.ledger.id == old.id
    assert "ckpt-3" in run.stored  # TensorFlow's list does not name it; nobody deletes it


def test_an_empty_directory_has_nothing_to_bring_back() -> None:
    for options in ({}, {"from_listing": True}):
        with pytest.raises(ck.CheckpointNotFoundError):
            repair(RunDirectory().directory(), **options)


def test_a_second_repair_finds_nothing_to_do(run: RunDirectory) -> None:
    damage(run, "cut")
    repair(run.directory())
    before = run.everything
    assert repair(run.directory()).problem is None
    assert run.everything == before


def test_checkpoints_that_no_list_names_are_told(run: RunDirectory) -> None:
    run.store.put("other-9.index", Payload.of(b"?"))
    damage(run, "missing")
    assert repair(run.directory()).unlisted == ["other-9"]


# -- who was saving


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_trainer_that_goes_on_is_fenced(run: RunDirectory, kind: str) -> None:
    manager = run.manager()
    manager.save(4, arrays(4))
    damage(run, kind)
    repair(run.directory())
    for _ in range(2):
        with pytest.raises(ck.FencedError):
            manager.save(5, arrays(5))
    assert run.listed == ["ckpt-1", "ckpt-2", "ckpt-3", "ckpt-4"]
    run.save(6)  # its restart goes on
    assert run.listed[-1] == "ckpt-6"


def test_a_save_under_way_does_not_count_and_its_files_go(run: RunDirectory) -> None:
    class Interrupted(WrapperStore):
        def create(self, key: str, payload: Payload, *, tag: str | None = None) -> object:
            if key == "ckpt-4.index":
                damage(run, "missing")
                repair(run.directory())
            return self.inner.create(key, payload, tag=tag)

    with pytest.raises(ck.FencedError):
        run.manager(Interrupted(run.store)).save(4, arrays(4))
    assert run.listed == ["ckpt-1", "ckpt-2", "ckpt-3"]
    run.save(5)
    assert "ckpt-4" not in run.stored


def test_a_repair_that_comes_second_changes_nothing(run: RunDirectory) -> None:
    damage(run, "cut")

    class Interrupted(WrapperStore):
        def replace(self, key: str, payload: Payload, *, version: str, tag: str | None = None) -> object:
            if key == "checkpoint" and not done:
                done.append(repair(run.directory()))
            return self.inner.replace(key, payload, version=version, tag=tag)

    done: list[RepairReport] = []
    with pytest.raises(ck.CommitConflictError):
        repair(run.directory(Interrupted(run.store)))
    assert run.ledger.epoch == 2
    run.save(4)


# -- a history that is damaged, or behind


def newest_copy(run: RunDirectory) -> str:
    return max(key for key in run.everything if key.startswith(run.directory().history.prefix))


@pytest.mark.parametrize("how", ["empty", "flipped", "another seq", "TensorFlow's", "unsafe"])
def test_a_damaged_newest_copy_is_not_skipped_without_leave(run: RunDirectory, how: str) -> None:
    run.save(4)
    key = newest_copy(run)
    data = run.everything[key]
    ledger = Ledger.from_bytes(data)
    run.store.put(
        key,
        Payload.of(
            {
                "empty": b"",
                "flipped": data[:-20] + b"?" + data[-19:],
                "another seq": replace(ledger, seq=ledger.seq - 1).to_bytes(),
                "TensorFlow's": ledger.state.to_bytes(),
                "unsafe": replace(ledger, kept=(Entry("../x"),)).to_bytes(),
            }[how]
        ),
    )
    damage(run, "missing")
    before = run.everything
    with pytest.raises(ck.StateCorruptError, match="--skip-damaged"):
        repair(run.directory())
    assert run.everything == before
    report = repair(run.directory(), skip_damaged=True)
    assert report.listed == ["ckpt-1", "ckpt-2", "ckpt-3"]
    assert report.unlisted == ["ckpt-4"]


def test_a_copy_that_is_damaged_on_the_way_is_read_again(run: RunDirectory) -> None:
    class Flaky(WrapperStore):
        def get(self, key: str, *, limit: int | None = None) -> object:
            data, meta = self.inner.get(key, limit=limit)
            if key.startswith(run.directory().history.prefix) and not flipped:
                flipped.append(key)
                return b"?" + data[1:], meta
            return data, meta

    flipped: list[str] = []
    damage(run, "missing")
    assert repair(run.directory(Flaky(run.store))).listed == ["ckpt-1", "ckpt-2", "ckpt-3"]
    assert flipped


def test_the_history_holds_the_last_copies_and_goes_on_after_a_repair(run: RunDirectory) -> None:
    run.save(*range(4, 44), every=1.0)
    damage(run, "missing")
    repair(run.directory())
    assert run.has(run.directory().history.copy_name(run.ledger.seq))
    run.prune(1)
    copies = [key for key in run.everything if key.startswith(run.directory().history.prefix)]
    assert COPIES <= len(copies) <= COPIES + 2
    damage(run, "missing")
    assert repair(run.directory()).listed == ["ckpt-1", "ckpt-43"]


# -- without a history


def without_history(run: RunDirectory) -> None:
    run.store.delete(
        [key for key in run.everything if key.startswith(run.directory().history.prefix) or key == "checkpoint"]
    )


def test_a_listing_is_not_gone_by_without_leave(run: RunDirectory) -> None:
    without_history(run)
    before = run.everything
    with pytest.raises(ck.StateMissingError, match="--from-listing --no-pruner-is-running"):
        repair(run.directory())
    assert run.everything == before


def test_only_what_is_whole_to_the_last_byte_is_listed_by_their_steps(run: RunDirectory) -> None:
    run.prune(100)
    run.save(10, 9)
    without_history(run)
    data = run.files["ckpt-2.data-00000-of-00001"]
    run.damage("ckpt-2.data-00000-of-00001", bytes([data[0] ^ 1]) + data[1:])
    run.damage("ckpt-3.data-00000-of-00001", None)
    run.store.put("sub/ckpt-7.index", Payload.of(b"another run's"))
    run.store.put("ckpt-8.data-00000-of-00001", Payload.of(b"without an index"))
    seen: list[str] = []
    report = repair(run.directory(), from_listing=True, progress=seen.append)
    assert (report.source, report.listed) == ("listing", ["ckpt-1", "ckpt-9", "ckpt-10"])
    assert report.damaged == ["ckpt-2", "ckpt-3"]
    assert set(seen) == {"ckpt-1", "ckpt-2", "ckpt-3", "ckpt-9", "ckpt-10"}
    manager = run.manager()
    assert manager.restore()["w"][0] == 10
    manager.save(11, arrays(11))
    assert run.prune(1).removed == ["ckpt-1", "ckpt-9", "ckpt-10"]


def test_where_nothing_is_whole_nothing_is_written(run: RunDirectory) -> None:
    without_history(run)
    for step in (0, 1, 2, 3):
        if run.has(f"ckpt-{step}.index"):
            run.damage(f"ckpt-{step}.index", b"damaged")
    before = run.everything
    with pytest.raises(ck.CheckpointNotFoundError, match="nothing to bring back"):
        repair(run.directory(), from_listing=True)
    assert run.everything == before


def test_a_directory_of_tensorflows_without_its_state_file(tmp_path: Path) -> None:
    path = Path(shutil.copytree(GOLDEN / "07_keep_5_of_7", tmp_path / "run"))
    (path / "checkpoint").unlink()
    run = RunDirectory(LocalStore(path))
    with pytest.raises(ck.StateMissingError, match="no history"):
        repair(run.directory())
    assert repair(run.directory(), from_listing=True).listed == [f"model.ckpt-{n}00" for n in (3, 4, 5, 6, 7)]
    assert ck.latest_checkpoint(path) == str(path / "model.ckpt-700")


# -- stores


def test_a_store_that_cannot_swap_is_refused() -> None:
    with ck.CheckpointManager("memory://repair-refused/run") as manager:
        manager.save(1, arrays(1))
    from ckptstore.storage import from_url

    with from_url("memory://repair-refused/run") as store:
        run = RunDirectory(store)
        store.delete(["checkpoint"])
        before = run.everything
        with pytest.raises(ck.UnsupportedError):
            repair(run.directory())
        assert run.everything == before
        assert repair(run.directory(), dry_run=True).listed == ["ckpt-1"]


def test_a_state_file_of_a_newer_version_is_not_repaired(run: RunDirectory) -> None:
    run.write(b"# ckptstore 2 whatever\n" + run.files["checkpoint"])
    before = run.everything
    with pytest.raises(ck.UnsupportedError, match="newer ckptstore"):
        repair(run.directory())
    assert run.everything == before
