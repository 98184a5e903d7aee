"""Garbage collection: what dead processes left behind goes, and nothing that anybody may still want."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ckptstore as ck
from ckptstore._clock import SystemClock
from ckptstore.checkpoint.attempt import Attempt, AttemptStore, file_tag
from ckptstore.checkpoint.orphans import GcReport, OrphanCollector
from ckptstore.checkpoint.session import Session
from ckptstore.format.ledger import Ledger
from ckptstore.format.state import CheckpointState
from ckptstore.storage import (
    Capabilities,
    LocalStore,
    ObjectMeta,
    ObjectRange,
    Payload,
    Store,
    UploadNote,
    WrapperStore,
)
from ckptstore.testing import CrashError, Fault, FaultyStore
from tests.support.golden import GOLDEN
from tests.support.run_directory import RunDirectory, arrays

DAY = 86400.0
LOST = "9" * 32  # an attempt that no list knows


@pytest.fixture
def run() -> RunDirectory:
    """A directory with the steps 1 and 2."""
    directory = RunDirectory()
    directory.save(1, 2)
    return directory


def gc(run: RunDirectory, store: Store | None = None, **options: Any) -> GcReport:
    clock = SystemClock() if isinstance(run.store, LocalStore) else run.clock
    return OrphanCollector(run.directory(store), clock).collect(**options)


def leave(run: RunDirectory, prefix: str, *parts: str, attempt: str = LOST) -> list[str]:
    """Files of a save that died, and that everybody has forgotten."""
    store = AttemptStore(run.store, Attempt(prefix, attempt, run.ledger.id))
    for part in parts:
        store.put(f"{prefix}.{part}", Payload.of(b"half"))
    return sorted(store.written)


def test_what_an_attempt_copies_is_its_own(run: RunDirectory) -> None:
    store = AttemptStore(run.store, Attempt("ckpt-3", LOST, run.ledger.id))
    source = ObjectRange.whole(run.store.head("ckpt-1.data-00000-of-00001"))
    meta = store.copy("ckpt-3.data-00000-of-00001", [source], tag="another's")
    assert store.written == {meta.key: meta}
    assert store.shows_all(run.store.list())
    assert run.store.head(meta.key).tag == file_tag(LOST, run.ledger.id, meta.key)
    assert [found.key for found in gc(run).deleted] == [meta.key]


DATA = ("data-00000-of-00002", "data-00001-of-00002", "meta")


def test_a_directory_in_order_has_no_orphans(run: RunDirectory) -> None:
    before = run.files
    report = gc(run)
    assert report == GcReport()
    assert run.files == before


def test_parts_of_a_save_that_nobody_knows_go_whatever_their_age(run: RunDirectory) -> None:
    before = run.files
    left = leave(run, "ckpt-3", *DATA) + leave(run, "r-9999999999999999/ckpt-4", *DATA)
    report = gc(run)
    assert [meta.key for meta in report.deleted] == left
    assert report.nbytes == 4 * len(left)
    assert run.files == before


def test_a_dry_run_changes_nothing_and_says_the_same(run: RunDirectory) -> None:
    left = leave(run, "ckpt-3", *DATA)
    run.save(4)
    before = run.everything
    watched = FaultyStore(run.store)
    report = gc(run, watched, dry_run=True, complete_orphans=True, foreign_older_than=0.0, abort_open=True)
    assert [meta.key for meta in report.deleted] == left
    assert report.dry_run
    assert {call.verb for call in watched.calls} <= {"get", "head", "list", "unfinished"}
    assert run.everything == before


# -- what is somebody's


def test_a_copy_from_another_directory_stays(run: RunDirectory) -> None:
    """Copies keep their tag: a collector that went by the tag alone would delete them."""
    other = RunDirectory()
    other.save(7)
    for key in other.files:
        if key != "checkpoint" and not key.endswith(".index"):
            data, meta = other.store.get(key)
            run.store.create(key, Payload.of(data), tag=meta.tag)
    before = run.files
    report = gc(run)
    assert report.deleted == []
    assert [meta.key for meta in report.foreign] == ["ckpt-7.data-00000-of-00001", "ckpt-7.meta"]
    assert run.files == before


def test_a_copy_under_another_name_stays(run: RunDirectory) -> None:
    data, meta = run.store.get("ckpt-1.data-00000-of-00001")
    run.store.create("best-1.data-00000-of-00001", Payload.of(data), tag=meta.tag)
    lost = leave(run, "ckpt-3", "data-00000-of-00001")
    data, meta = run.store.get(lost[0])
    run.store.create("mine-3.data-00000-of-00001", Payload.of(data), tag=meta.tag)
    report = gc(run)
    assert [meta.key for meta in report.deleted] == lost
    assert {meta.key for meta in report.foreign} == {"best-1.data-00000-of-00001", "mine-3.data-00000-of-00001"}
    assert run.has("mine-3.data-00000-of-00001")


@pytest.mark.parametrize("tag", [None, "", ".", LOST, f"{LOST}.000000000000", "x" * 45])
def test_what_bears_no_tag_of_ours_stays_and_is_told(run: RunDirectory, tag: str | None) -> None:
    if tag == "":
        run.store.put("ckpt-3.data-00000-of-00001", Payload.of(b"theirs"))
    else:
        run.store.create("ckpt-3.data-00000-of-00001", Payload.of(b"theirs"), tag=tag)
    report = gc(run, complete_orphans=True)
    assert [meta.key for meta in report.foreign] == ["ckpt-3.data-00000-of-00001"]
    assert run.has("ckpt-3.data-00000-of-00001")


def test_foreign_parts_go_when_asked_for_and_old_enough(run: RunDirectory) -> None:
    run.store.put("model.ckpt-9.data-00000-of-00001", Payload.of(b"TensorFlow died here"))
    run.clock.advance(7 * DAY)
    run.store.put("model.ckpt-10.data-00000-of-00001", Payload.of(b"TensorFlow writes here"))
    report = gc(run, foreign_older_than=7 * DAY)
    assert [meta.key for meta in report.deleted] == ["model.ckpt-9.data-00000-of-00001"]
    assert [meta.key for meta in report.foreign] == ["model.ckpt-10.data-00000-of-00001"]


def test_whole_checkpoints_that_are_not_listed_stay_unless_asked_for(run: RunDirectory) -> None:
    left = leave(run, "ckpt-3", "data-00000-of-00001", "index")
    for _ in range(2):
        assert gc(run).complete == ["ckpt-3"]
    report = gc(run, complete_orphans=True)
    assert [meta.key for meta in report.deleted] == left
    assert report.complete == []
    assert run.stored == {"ckpt-1", "ckpt-2"}


def test_whole_checkpoints_of_others_stay_whatever_is_asked_for(run: RunDirectory) -> None:
    """TensorFlow lists no more what it keeps for ever."""
    for key, data in run.files.items():
        if key.startswith("ckpt-1."):
            run.store.put(key.replace("ckpt-1", "model.ckpt-9"), Payload.of(data))
    leave(run, "ckpt-3", "data-00000-of-00001")
    run.store.put("ckpt-3.index", Payload.of(b"put there by hand"))
    run.clock.advance(365 * DAY)
    before = run.files
    report = gc(run, complete_orphans=True, foreign_older_than=0.0)
    assert report.complete == ["ckpt-3", "model.ckpt-9"]
    assert report.deleted == []
    assert run.files == before


def test_other_runs_below_this_directory_are_not_looked_at(run: RunDirectory) -> None:
    run.store.put("sub/ckpt-3.data-00000-of-00001", Payload.of(b"another run's"))
    run.store.create("sub/ckpt-4.meta", Payload.of(b"x"), tag=file_tag(LOST, run.ledger.id, "sub/ckpt-4.meta"))
    run.store.put("notes.txt", Payload.of(b"mine"))
    report = gc(run, complete_orphans=True, foreign_older_than=0.0)
    assert (report.deleted, report.foreign, report.complete) == ([], [], [])


# -- saves under way


def begun(run: RunDirectory) -> tuple[Session, Attempt]:
    """A save whose first file is there."""
    session = Session(run.directory())
    attempt = session.open("ckpt-3")
    AttemptStore(run.store, attempt).put("ckpt-3.data-00000-of-00001", Payload.of(b"half"))
    return session, attempt


def committed(session: Session, attempt: Attempt) -> Ledger:
    entry = replace(attempt.entry, time=1.0)
    return session.commit(attempt, lambda old: replace(old, listed=(*old.listed, entry), latest=attempt.prefix))


def test_a_save_under_way_is_no_orphan_however_long_it_takes(run: RunDirectory) -> None:
    session, attempt = begun(run)
    run.clock.advance(365 * DAY)
    report = gc(run, complete_orphans=True, foreign_older_than=0.0, unfinished_older_than=0.0)
    assert report.open == ["ckpt-3"]
    assert run.has("ckpt-3.data-00000-of-00001")
    committed(session, attempt)
    assert run.listed == ["ckpt-1", "ckpt-2", "ckpt-3"]


def test_a_save_that_is_given_up_fails_and_nothing_else(run: RunDirectory) -> None:
    session, attempt = begun(run)
    report = gc(run, abort_open=True)
    assert report.open == []
    assert [entry.prefix for entry in run.ledger.dead] == ["ckpt-3"]
    with pytest.raises(ck.SaveAbortedError):
        committed(session, attempt)
    assert run.listed == ["ckpt-1", "ckpt-2"]
    run.prune(2)
    assert not run.has("ckpt-3.data-00000-of-00001")
    assert not run.ledger.dead


def test_a_file_that_lands_after_its_save_was_forgotten_is_an_orphan(run: RunDirectory) -> None:
    _, attempt = begun(run)
    gc(run, abort_open=True)
    run.prune(2)
    AttemptStore(run.store, attempt).put("ckpt-3.meta", Payload.of(b"late"))
    assert [meta.key for meta in gc(run).deleted] == ["ckpt-3.meta"]


def test_a_save_that_begins_between_the_listing_and_the_state_file_is_no_orphan(run: RunDirectory) -> None:
    """First what is there, then who knows of it: the other way round, this save would lose its first file."""

    class Interrupted(WrapperStore):
        def list(self, prefix: str = "") -> Iterator[ObjectMeta]:
            if prefix == "" and not run.has("ckpt-3.data-00000-of-00001"):
                saves.append(begun(run))
            return self.inner.list(prefix)

    saves: list[tuple[Session, Attempt]] = []
    assert gc(run, Interrupted(run.store)).open == ["ckpt-3"]
    committed(*saves[0])
    assert run.has("ckpt-3.data-00000-of-00001")


def test_a_file_that_is_replaced_meanwhile_is_spared(run: RunDirectory) -> None:
    leave(run, "ckpt-3", "meta")

    class Interrupted(WrapperStore):
        def delete_versions(self, objects: Any) -> Any:
            run.store.put("ckpt-3.meta", Payload.of(b"somebody's"))
            return self.inner.delete_versions(objects)

    assert gc(run, Interrupted(run.store)).deleted == []
    assert run.files["ckpt-3.meta"] == b"somebody's"


class NoConditionalDelete(WrapperStore):
    @property
    def capabilities(self) -> Capabilities:
        return replace(self.inner.capabilities, conditional_delete=False)


def test_where_no_delete_is_conditional_only_names_that_nobody_takes_again_go(run: RunDirectory) -> None:
    leave(run, "ckpt-3", "meta")
    unique = leave(run, "r-9999999999999999/ckpt-3", "meta")
    report = gc(run, NoConditionalDelete(run.store))
    assert [meta.key for meta in report.deleted] == unique
    assert report.problems == ["ckpt-3.meta stays: this store cannot delete by version"]


def test_a_collector_that_dies_leaves_the_rest_to_the_next(run: RunDirectory) -> None:
    left = leave(run, "ckpt-3", *DATA)
    with pytest.raises(CrashError):
        gc(run, FaultyStore(run.store, [Fault("delete_versions", when="crash")]))
    assert {meta.key for meta in gc(run).deleted} == set(left)
    assert run.listed == ["ckpt-1", "ckpt-2"]


# -- where nothing can be told


def test_without_a_state_file_nothing_is_an_orphan(run: RunDirectory) -> None:
    run.store.delete(["checkpoint"])
    before = run.files
    with pytest.raises(ck.StateMissingError):
        gc(run)
    assert run.files == before
    with pytest.raises(ck.StateMissingError, match="no state file yet"):
        gc(RunDirectory())


@pytest.mark.parametrize("abort_open", [True, False])
def test_beside_a_state_file_of_tensorflows_nothing_is_an_orphan(run: RunDirectory, abort_open: bool) -> None:
    _ = begun(run)
    run.write(CheckpointState("ckpt-2", ("ckpt-1", "ckpt-2")).to_bytes())
    before = run.files
    with pytest.raises(ck.UnsupportedError, match="is TensorFlow's"):
        gc(run, abort_open=abort_open)
    assert run.files == before


def test_clocks_that_disagree_are_refused(run: RunDirectory) -> None:
    leave(run, "ckpt-3", "meta")
    run.store.put(".ckptstore/clock/" + "0" * 32, Payload.of(b""))
    from ckptstore.testing import ManualClock

    with pytest.raises(ck.ClockSkewError):
        OrphanCollector(run.directory(), ManualClock(run.clock.time() + 400)).collect()
    assert run.has("ckpt-3.meta")


# -- V1 files, and .meta files with an ending of their own


def lost(run: RunDirectory, *keys: str, attempt: str = LOST) -> list[str]:
    """Files of a save that everybody has forgotten; those named as tables are tables."""
    table = (GOLDEN / "09a_v1_basic" / "model.ckpt").read_bytes()
    store = AttemptStore(run.store, Attempt("", attempt, run.ledger.id))
    for key in keys:
        store.put(key, Payload.of(b"graph" if "meta" in key or "mg" in key else table))
    return sorted(keys)


def test_shards_of_a_v1_save_that_nobody_knows_go(run: RunDirectory) -> None:
    before = run.files
    left = lost(run, "m-00000-of-00003", "m-00002-of-00003", "m.meta", "m.mg")
    assert [meta.key for meta in gc(run).deleted] == left
    assert run.files == before


@pytest.mark.parametrize("keys", [("m", "m.mg"), ("m-00000-of-00001", "m.meta"), ("n.index", "n.mg")])
def test_a_whole_one_is_told_and_goes_on_request_with_all_that_is_its(run: RunDirectory, keys: tuple[str, ...]) -> None:
    before = run.files
    left = lost(run, *keys)
    alone = lost(run, "z.mg", attempt="7" * 32)
    report = gc(run)
    assert len(report.complete) == 1
    assert [meta.key for meta in report.deleted] == alone
    assert run.has(left[0])
    report = gc(run, complete_orphans=True)
    assert ([meta.key for meta in report.deleted], report.complete) == (left, [])
    assert run.files == before


def test_files_of_others_stay_whatever_they_are_called(run: RunDirectory) -> None:
    for key in ("m", "m-00000-of-00002", "ckpt-1.mg", "notes.txt"):
        run.store.put(key, Payload.of(b"somebody's"))
    copied = "copy"
    data, meta = run.store.get("ckpt-1.index")
    run.store.create(copied, Payload.of(data), tag=meta.tag)
    report = gc(run, complete_orphans=True, foreign_older_than=0.0)
    assert (report.deleted, report.foreign) == ([], [])


# -- uploads


def upload(run: RunDirectory, attempt: str, *, note: bool) -> str:
    """An upload of which parts are there."""
    key = "ckpt-3.data-00000-of-00001"
    started = run.store.create_upload(key, tag=file_tag(attempt, run.ledger.id, key), create_only=True)
    run.store.put_part(started, 1, Payload.of(b"part"))
    if note:
        run.store.put(f".ckptstore/uploads/{started.upload_id}", UploadNote.of(started).payload())
    return started.upload_id


def test_only_stale_uploads_of_our_own_are_aborted(run: RunDirectory) -> None:
    session = Session(run.directory())
    live = upload(run, session.open("ckpt-3").id, note=True)
    stale = upload(run, LOST, note=True)
    others = upload(run, LOST, note=False)
    run.clock.advance(DAY)
    young = upload(run, "8" * 32, note=True)
    assert gc(run, dry_run=True).aborted == ["ckpt-3.data-00000-of-00001"]
    assert gc(run).aborted == ["ckpt-3.data-00000-of-00001"]
    assert {item.upload_id for item in run.store.pending_uploads} == {live, others, young}  # type: ignore[attr-defined]
    assert not run.has(f".ckptstore/uploads/{stale}")
    assert run.has(f".ckptstore/uploads/{live}")
    assert gc(run).aborted == []


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 10_000, b'{"key": "../x", "upload_id": "u", "tag": "t"}', b"\xff"])
def test_a_damaged_note_aborts_nothing_and_is_told(run: RunDirectory, data: bytes) -> None:
    upload(run, LOST, note=False)
    run.store.put(".ckptstore/uploads/note", Payload.of(data))
    run.clock.advance(DAY)
    report = gc(run)
    assert report.aborted == []
    assert report.problems == [".ckptstore/uploads/note is no note of an upload, and was left alone"]
    assert len(run.store.pending_uploads) == 1  # type: ignore[attr-defined]


def test_an_upload_that_cannot_be_aborted_is_told_and_tried_again(run: RunDirectory) -> None:
    upload(run, LOST, note=True)
    run.clock.advance(DAY)
    report = gc(run, FaultyStore(run.store, [Fault("abort_upload")]))
    assert (report.aborted, len(report.problems)) == ([], 1)
    assert gc(run).aborted == ["ckpt-3.data-00000-of-00001"]


# -- left-overs of the housekeeping


def test_what_is_of_no_use_any_more_in_the_private_directory(run: RunDirectory) -> None:
    old = [
        ".ckptstore/pins/" + "0" * 16 + "-" + "1" * 32,
        ".ckptstore/pins/garbage",
        ".ckptstore/clock/" + "0" * 32,
        f".ckptstore/open/{'1' * 32}.{'2' * 16}/ckpt-1",
    ]
    for key in old:
        run.store.put(key, Payload.of(b""))
    run.clock.advance(DAY)
    run.save(*range(3, 22), every=1.0)
    reader = run.manager().reader(1)
    stays = [".ckptstore/pins/young", ".ckptstore/clock/" + "1" * 32, ".ckptstore/mine"]
    for key in stays:
        run.store.put(key, Payload.of(b""))
    report = gc(run)
    deleted = {meta.key for meta in report.deleted}
    assert set(old) <= deleted
    assert all(key.startswith((".ckptstore/history/", *old)) for key in deleted)
    assert all(run.has(key) for key in stays)
    assert len([key for key in run.everything if key.startswith(".ckptstore/history/")]) == 16
    assert reader.restore()["w"][0] == 1
    run.prune(1)
    assert "ckpt-1" in run.stored  # its pin was not taken for a left-over


def test_temporary_files_go_a_day_after_their_process(tmp_path: Path) -> None:
    run = RunDirectory(LocalStore(tmp_path, durable=False))
    run.save(1)
    old, young, mine = (
        tmp_path / name for name in (".ckptstore-tmp-" + "0" * 32, ".ckptstore-tmp-" + "1" * 32, "x.tmp")
    )
    for file in (old, young, mine):
        file.write_bytes(b"half")
    for file in (old, mine):
        when = SystemClock().time() - DAY - 10
        os.utime(file, (when, when))
    assert [meta.key for meta in gc(run).deleted] == [old.name]
    assert (old.exists(), young.exists(), mine.exists()) == (False, True, True)
    when = SystemClock().time() + 0.9  # by a server whose listings know the time better than its replies
    os.utime(young, (when, when))
    assert [meta.key for meta in gc(run, unfinished_older_than=0.0).deleted] == [young.name]


def test_a_save_that_a_crash_cut_short_on_a_local_disk(tmp_path: Path) -> None:
    run = RunDirectory(LocalStore(tmp_path, durable=False))
    run.save(1)
    manager = run.manager(FaultyStore(run.store, [Fault("create", first=4, when="crash")]))
    with pytest.raises(CrashError):
        manager.save(2, arrays(2))
    assert run.ledger.open
    report = gc(run)
    assert report.open == ["ckpt-2"]
    run.save(3)  # the next trainer gives it up, and tidies up after it
    assert run.stored == {"ckpt-1", "ckpt-3"}
    assert gc(run).deleted == []
