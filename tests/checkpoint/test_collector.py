"""The collector: which files of what is listed no more are deleted, in which order, and which are not."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ckptstore.checkpoint.attempt import file_tag
from ckptstore.checkpoint.collector import Collected, Collector
from ckptstore.checkpoint.directory import CheckpointDirectory
from ckptstore.errors import StorageUnavailableError
from ckptstore.format.ledger import Entry, Ledger
from ckptstore.format.naming import isolated
from ckptstore.storage import LocalStore, MemoryStore, ObjectMeta, Payload, Store
from ckptstore.testing import Fault, FaultyStore
from tests.support.golden import GOLDEN
from tests.support.run_directory import RunDirectory

ID, ATTEMPT = "b" * 16, "a" * 32
PARTS = ("data-00000-of-00001", "index", "meta")


def ledger(*, trash: Sequence[Entry] = (), dead: Sequence[Entry] = (), listed: Sequence[Entry] = ()) -> Ledger:
    listed = (*listed, Entry("newest-1", "f" * 32))
    return Ledger(listed, "newest-1", trash=tuple(trash), dead=tuple(dead), seq=9, epoch=1, session="c" * 32, id=ID)


def put(store: Store, prefix: str, attempt: str | None = ATTEMPT, parts: Sequence[str] = PARTS) -> None:
    for part in parts:
        key = f"{prefix}.{part}"
        store.create(key, Payload.of(b"x"), tag=None if attempt is None else file_tag(attempt, ID, key))


def collect(
    store: Store,
    what: Ledger,
    *,
    now: float | None = None,
    grace: float = 0.0,
    conditional: bool = True,
    swap: bool = True,
    listing: Sequence[ObjectMeta] | None = None,
    reread: Ledger | None = None,
) -> Collected:
    capabilities = replace(store.capabilities, conditional_delete=conditional, compare_and_swap=swap)
    directory = RunDirectory(store).directory()
    collector = Collector(directory, capabilities, lambda: reread or what)
    private = directory.private()
    return collector.collect(what, private=private, now=now, grace=lambda _: grace, listing=listing)


def keys(store: Store) -> set[str]:
    return {meta.key for meta in store.list()}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def test_every_index_goes_before_anything_else(store: MemoryStore) -> None:
    """So whoever dies in between leaves nothing that looks like a checkpoint."""
    for step in (1, 2):
        put(store, f"ckpt-{step}")
    watched = FaultyStore(store)
    collected = collect(watched, ledger(trash=[Entry("ckpt-1", ATTEMPT), Entry("ckpt-2", ATTEMPT)]))
    first, second = (call.key for call in watched.calls if call.verb == "delete_versions")
    assert first == "ckpt-1.index,ckpt-2.index"
    assert "index" not in second
    assert len(collected.deleted) == 6
    assert collected.nbytes == 6
    assert keys(store) == set()


def test_what_has_no_files_any_more_is_done(store: MemoryStore) -> None:
    entry = Entry("ckpt-1", ATTEMPT)
    assert collect(store, ledger(trash=[entry])) == Collected(done=[entry])


def test_a_file_that_was_replaced_since_it_was_seen_blocks(store: MemoryStore) -> None:
    put(store, "ckpt-1")
    listing = list(store.list())
    store.put("ckpt-1.meta", Payload.of(b"somebody's"))
    collected = collect(store, ledger(trash=[Entry("ckpt-1", ATTEMPT)]), listing=listing)
    assert list(collected.blocked.values()) == ["a file of it was replaced meanwhile"]
    assert (collected.done, keys(store)) == ([], {"ckpt-1.meta"})


def test_what_another_collector_has_finished_meanwhile_is_not_touched(store: MemoryStore) -> None:
    """Its name is free again, so what is there may be the next save's."""
    put(store, "ckpt-1", "d" * 32)
    collected = collect(store, ledger(trash=[Entry("ckpt-1", ATTEMPT)]), reread=ledger())
    assert (collected.done, collected.deleted) == ([], [])
    assert len(keys(store)) == 3


def test_of_a_dead_save_only_its_own_files_go(store: MemoryStore) -> None:
    put(store, "ckpt-1", ATTEMPT, PARTS[:1])
    put(store, "ckpt-1", "d" * 32, PARTS[1:2])
    put(store, "ckpt-1", None, PARTS[2:])
    collected = collect(store, ledger(dead=[Entry("ckpt-1", ATTEMPT)]))
    assert [meta.key for meta in collected.deleted] == ["ckpt-1.data-00000-of-00001"]
    assert len(collected.done) == 1


def test_the_dead_and_the_listed_may_have_the_same_name(store: MemoryStore) -> None:
    """Two trainers began with the same step in a new directory; one was first."""
    put(store, "ckpt-1", "d" * 32)
    collected = collect(store, ledger(dead=[Entry("ckpt-1", ATTEMPT)], listed=[Entry("ckpt-1", "d" * 32)]))
    assert (len(collected.done), collected.deleted) == (1, [])


def test_what_counts_is_not_deleted_as_trash_of_the_same_name(store: MemoryStore) -> None:
    put(store, "ckpt-1")
    collected = collect(store, ledger(trash=[Entry("ckpt-1", None)], listed=[Entry("ckpt-1", ATTEMPT)]))
    assert list(collected.blocked.values()) == ["a checkpoint that counts has the same name"]
    assert len(keys(store)) == 3


def test_without_conditional_deletes_only_unique_names_go(store: MemoryStore) -> None:
    name = isolated("ckpt-2", ATTEMPT)
    for prefix in ("ckpt-1", name):
        put(store, prefix)
    put(store, "tf-3", None)
    trash = [Entry("ckpt-1", ATTEMPT), Entry(name, ATTEMPT), Entry("tf-3")]
    collected = collect(store, ledger(trash=trash), conditional=False)
    assert [entry.prefix for entry in collected.done] == [name, "tf-3"]
    assert list(collected.blocked) == trash[:1]
    # Where nobody else can commit at all, nobody takes the name again either.
    assert [entry.prefix for entry in collect(store, ledger(trash=trash[:1]), conditional=False, swap=False).done] == [
        "ckpt-1"
    ]


def test_a_name_of_another_attempts_directory_is_not_unique(store: MemoryStore) -> None:
    name = isolated("ckpt-2", "e" * 32)
    put(store, name)
    assert collect(store, ledger(trash=[Entry(name, ATTEMPT)]), conditional=False).blocked


@pytest.mark.parametrize(
    ("written", "now", "waits"),
    [
        (1000.0, 1059.0, True),
        (1000.0, 1060.0, False),
        (1000.0, None, True),
        (None, 2000.0, True),
        (1000.0, 500.0, True),
    ],
)
def test_the_grace_period_counts_from_the_copy_of_the_unlisting(
    store: MemoryStore, written: float | None, now: float | None, waits: bool
) -> None:
    from ckptstore.testing import ManualClock

    store = MemoryStore(clock=ManualClock(written or 0.0))
    put(store, "ckpt-1")
    if written is not None:
        store.put(CheckpointDirectory(store).history.copy_name(7), Payload.of(b""))
    collected = collect(store, ledger(trash=[Entry("ckpt-1", ATTEMPT, seq=7)]), now=now, grace=60.0)
    assert (len(collected.waiting), len(collected.done)) == ((1, 0) if waits else (0, 1))


def test_a_dead_save_has_no_grace(store: MemoryStore) -> None:
    put(store, "ckpt-1", parts=PARTS[:1])
    assert len(collect(store, ledger(dead=[Entry("ckpt-1", ATTEMPT)]), now=0.0, grace=1e9).deleted) == 1


def test_a_failure_to_delete_is_an_error_and_the_rest_can_be_tried_again(store: MemoryStore) -> None:
    put(store, "ckpt-1")
    what = ledger(trash=[Entry("ckpt-1", ATTEMPT)])
    with pytest.raises(StorageUnavailableError):
        collect(FaultyStore(store, [Fault("delete_versions", first=2)]), what)
    assert keys(store) == {"ckpt-1.data-00000-of-00001", "ckpt-1.meta"}
    assert len(collect(store, what).done) == 1
    assert keys(store) == set()


# -- the old format


@pytest.fixture
def old(tmp_path: Path) -> LocalStore:
    for name in ("model.ckpt", "model.ckpt.meta"):
        shutil.copy(GOLDEN / "09a_v1_basic" / name, tmp_path)
    for file in (GOLDEN / "09d_v1_sharded").glob("sh.ckpt-3*"):
        shutil.copy(file, tmp_path)
    (tmp_path / "sh.ckpt-3.meta.as_text.pbtxt").unlink(missing_ok=True)
    return LocalStore(tmp_path, durable=False)


def test_v1_checkpoints_go_with_their_meta_files(old: LocalStore) -> None:
    trash = [Entry("model.ckpt"), Entry("sh.ckpt-3-?????-of-00004")]
    assert collect(old, ledger(trash=trash)).done == trash
    assert {key for key in keys(old) if not key.startswith(".ckptstore/")} == set()


def test_what_is_left_of_a_v1_checkpoint_goes_too(old: LocalStore) -> None:
    old.delete(["sh.ckpt-3-00000-of-00004", "sh.ckpt-3-00003-of-00004", "model.ckpt"])
    trash = [Entry("model.ckpt"), Entry("sh.ckpt-3-?????-of-00004")]
    assert collect(old, ledger(trash=trash)).done == trash
    assert {key for key in keys(old) if not key.startswith(".ckptstore/")} == set()


@pytest.mark.parametrize("data", [b"", b"import this", b"\x57\xfb\x80\x8b\x24\x75\x47\xdb", b"x" * 5000])
def test_a_file_that_is_no_v1_checkpoint_stays(store: MemoryStore, data: bytes) -> None:
    store.put("train.py", Payload.of(data))
    store.put("train.py.meta", Payload.of(b""))
    collected = collect(store, ledger(trash=[Entry("train.py")]))
    assert "no checkpoint" in next(iter(collected.blocked.values()))
    assert keys(store) == {"train.py", "train.py.meta"}


def test_the_index_of_another_checkpoint_is_no_v1_checkpoint(tmp_path: Path) -> None:
    """It is a table as well."""
    for file in (GOLDEN / "07_keep_5_of_7").glob("model.ckpt-300.*"):
        shutil.copy(file, tmp_path)
    store = LocalStore(tmp_path, durable=False)
    before = keys(store)
    assert collect(store, ledger(trash=[Entry("model.ckpt-300.index")])).blocked
    assert keys(store) - {".ckptstore/lock"} == before


def test_the_files_of_many_cost_no_request_more_than_those_of_one(store: MemoryStore) -> None:
    counts = []
    for count in (2, 200):
        fresh = MemoryStore()
        entries = [Entry(f"ckpt-{i}", ATTEMPT) for i in range(count)]
        for entry in entries:
            put(fresh, entry.prefix)
        watched = FaultyStore(fresh)
        assert len(collect(watched, ledger(trash=entries)).deleted) == 3 * count
        counts.append(len(watched.calls))
    assert counts[0] == counts[1]
