"""A power cut at every moment of every verb of a LocalStore; and that every single sync is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ckptstore.storage import LocalStore, Payload
from tests.support.lost_page_cache import CrashState, Order, Recording, crash_states, record

OLD, NEW = b"the old bytes", b"the new and longer bytes"

Files = dict[str, bytes]


def put(store: LocalStore) -> None:
    store.put("d/a", Payload.of(NEW))


def put_again(store: LocalStore) -> None:
    store.put("old", Payload.of(NEW))


def create(store: LocalStore) -> None:
    store.create("d/e/a", Payload.of(NEW), tag="t")


def replace(store: LocalStore) -> None:
    store.replace("old", Payload.of(NEW), version=store.head("old").version or "", tag="t")


def delete(store: LocalStore) -> None:
    store.delete(["old"])


def delete_versions(store: LocalStore) -> None:
    store.delete_versions([store.head("old")])


def new_at(name: str) -> Callable[[Files, bool], bool]:
    """Afterwards the new bytes are there; before, they are not, or already."""
    return lambda files, done: files.get(name) == NEW or (not done and files.get(name) is None)


def old_or_new(files: Files, done: bool) -> bool:
    return files.get("old") == NEW or (not done and files.get("old") == OLD)


def gone(files: Files, done: bool) -> bool:
    return "old" not in files if done else files.get("old") in (OLD, None)


VERBS = {
    "put": (put, new_at("d/a")),
    "put again": (put_again, old_or_new),
    "create": (create, new_at("d/e/a")),
    "replace": (replace, old_or_new),
    "delete": (delete, gone),
    "delete_versions": (delete_versions, gone),
}


def run(directory: Path, name: str) -> Recording:
    """The recording of one verb, in a directory that holds "old" safely and has seen no other call."""
    root = directory / "root"
    root.mkdir()
    with record(root) as recording:
        LocalStore(root).put("old", Payload.of(OLD))
        recording.mark("begun")
        VERBS[name][0](LocalStore(root))
        recording.mark("done")
    return recording


def violations(recording: Recording, order: Order, holds: Callable[[Files, bool], bool]) -> list[CrashState]:
    return [
        state
        for state in crash_states(recording, order)
        if "begun" in state.marks and not holds(dict(state.files), "done" in state.marks)
    ]


@pytest.mark.parametrize("order", ["any", "journal"])
@pytest.mark.parametrize("name", VERBS)
def test_a_power_cut_at_any_moment(tmp_path: Path, name: str, order: Order) -> None:
    recording = run(tmp_path, name)
    assert len(list(crash_states(recording, order))) > 5
    assert violations(recording, order, VERBS[name][1]) == []


@pytest.mark.parametrize("name", VERBS)
def test_every_sync_is_needed(tmp_path: Path, name: str) -> None:
    recording = run(tmp_path, name)
    begun = next(i for i, call in enumerate(recording.calls) if call.label == "begun")
    mine = [index for index in recording.syncs if index > begun]
    needless = []
    for index in mine:
        call = recording.calls[index]
        again = any(  # a directory that somebody else may have made is synced although it was already
            other.what == call.what and other.directory == call.directory and other.inode == call.inode
            for i, other in enumerate(recording.calls)
            if i != index and i > begun
        )
        if not violations(recording.without(index), "any", VERBS[name][1]) and not again:
            needless.append((index, call))
    assert len(mine) >= 1
    # The root's own entry, in its parent, is beyond this disk.
    assert [call for _, call in needless if call.directory.startswith(recording.root)] == []
