"""A power cut at every moment of every verb of a LocalStore; and that every single sync is needed."""

from __future__ import annotations

import os
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


SYNCS = {
    "put": ["fsyncdir .", "fsync", "fsyncdir d"],
    "put again": ["fsync", "fsyncdir ."],
    "create": ["fsyncdir .", "fsyncdir d", "fsync", "fsyncdir d/e"],
    "replace": ["fsync", "fsyncdir ."],
    "delete": ["fsyncdir ."],
    "delete_versions": ["fsyncdir ."],
}


@pytest.mark.parametrize("name", VERBS)
def test_every_sync_is_needed(tmp_path: Path, name: str) -> None:
    recording = run(tmp_path, name)
    begun = next(i for i, call in enumerate(recording.calls) if call.label == "begun")
    # The root's own entry, in its parent, is beyond this disk.
    mine = [i for i in recording.syncs if i > begun and recording.calls[i].directory != str(tmp_path)]
    kinds = [
        call.what + (f" {os.path.relpath(call.directory, recording.root)}" if call.directory else "")
        for call in (recording.calls[index] for index in mine)
    ]
    assert kinds == SYNCS[name]
    assert [kind for kind, i in zip(kinds, mine, strict=True) if not harms(recording.without(i), name)] == []


def harms(recording: Recording, name: str) -> bool:
    return bool(violations(recording, "any", VERBS[name][1]))


def test_what_is_recorded_is_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(AssertionError), record(tmp_path):
        (tmp_path / "a").write_bytes(b"by other means")


def test_a_state_can_be_written_to_a_directory(tmp_path: Path) -> None:
    recording = run(tmp_path, "create")
    states = list(crash_states(recording, "any"))
    assert len(set(states)) == len(states)
    assert {b"", NEW[: len(NEW) // 2], NEW} <= {data for state in states for _, data in state.files}
    last = [state for state in states if "done" in state.marks]
    assert last
    for number, state in enumerate(last):
        directory = tmp_path / str(number)
        state.materialise(directory)
        store = LocalStore(directory)
        assert store.get("d/e/a")[0] == NEW
        assert store.head("d/e/a").tag == ("t" if store.capabilities.tags else None)
        assert {meta.key for meta in store.list()} == {"d/e/a", "old"}
