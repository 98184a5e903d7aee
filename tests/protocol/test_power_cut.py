"""The power is cut at any moment of three saves and a removal on a local disk: what is left is right."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import ckptstore as ck
from ckptstore.checkpoint import CheckpointDirectory
from ckptstore.checkpoint.repair import repair
from ckptstore.storage import LocalStore
from tests.support.lost_page_cache import CrashState, Order, Recording, crash_states, record
from tests.support.managers import manager_on


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    root = tmp_path_factory.mktemp("disk") / "run"
    root.mkdir()
    with record(root) as recording, ck.CheckpointManager(root, max_to_keep=2) as manager:
        for step in (1, 2, 3):
            manager.save(step, {"v": np.full(3, step)})
            recording.mark(str(step))
    return recording


def problem(state: CrashState, directory: Path) -> str | None:
    """What is wrong with a state, if anything."""
    state.materialise(directory)
    store = LocalStore(directory, durable=False)  # what is lost is decided by now
    acknowledged = max((int(mark) for mark in state.marks), default=0)
    try:
        with manager_on(store, max_to_keep=2) as manager:
            steps = manager.all_steps()
            if acknowledged and (manager.latest_step() or 0) < acknowledged:
                return f"I3: {acknowledged} was acknowledged, and there is {steps}"
            if len(steps) < min(2, acknowledged):
                return f"I3: only {steps} after {acknowledged}"
            for step in steps:
                if manager.restore(step)["v"].tolist() != [step] * 3:
                    return f"I1: {step}"
        for found in CheckpointDirectory(store).stored():
            if found.indexed and not (found.complete and ck.verify(directory / found.prefix).ok):
                return f"{found.prefix} has an index, and is not whole: {found.files}"
        if any(store.list(".ckptstore/history/")):
            (directory / "checkpoint").unlink(missing_ok=True)
            repair(CheckpointDirectory(store))
            with manager_on(store) as manager:
                for step in manager.all_steps():
                    if manager.restore(step)["v"].tolist() != [step] * 3:
                        return f"I1: {step}, after a repair"
        with manager_on(store, max_to_keep=2) as manager:
            manager.save(9, {"v": np.full(3, 9)})
            if manager.restore()["v"].tolist() != [9] * 3:
                return "what was saved afterwards is something else"
    except ck.CheckpointError as error:
        return repr(error)
    return None


def problems(recording: Recording, order: Order, directory: Path) -> Iterator[str]:
    for number, state in enumerate(crash_states(recording, order)):
        here = directory / str(number)
        here.mkdir()
        found = problem(state, here)
        shutil.rmtree(here)
        if found is not None:
            yield found


@pytest.mark.parametrize("order", ["any", "journal"])
def test_what_is_left_is_right(recording: Recording, tmp_path: Path, order: Order) -> None:
    states = list(crash_states(recording, order))
    assert len(states) > 80
    assert list(problems(recording, order, tmp_path)) == []


def after(*what: tuple[str, str]) -> Callable[[Recording], list[int]]:
    """The first sync of a directory after each call of a kind on a name."""

    def syncs(recording: Recording) -> list[int]:
        out = []
        for kind, part in what:
            for position, call in enumerate(recording.calls):
                if call.what == kind and part in call.name:
                    out.append(
                        next(
                            i
                            for i, other in enumerate(recording.calls)
                            if i > position and other.what == "fsyncdir" and other.directory == call.directory
                        )
                    )
        return out

    return syncs


GROUPS: dict[str, Callable[[Recording], list[int]]] = {
    "the directory, before the index": after(("link", ".data-"), ("link", ".meta")),
    "the directory, after the index": after(("link", ".index")),
    "the directory, after the state file": after(("rename", "checkpoint")),
    "the directory, after the history's copy": after(("rename", "0")),
    "the directory, after an index is gone": after(("unlink", ".index")),
}


def bytes_of(kind: Callable[[str], bool]) -> Callable[[Recording], list[int]]:
    """The syncs of the bytes of files that get a name of some kind."""

    def syncs(recording: Recording) -> list[int]:
        names = {call.inode: call.name for call in recording.calls if call.what in ("link", "rename")}
        return [i for i, call in enumerate(recording.calls) if call.what == "fsync" and kind(names.get(call.inode, ""))]

    return syncs


GROUPS |= {
    "the bytes of data files": bytes_of(lambda name: ".data-" in name),
    "the bytes of index files": bytes_of(lambda name: name.endswith(".index")),
    "the bytes of state files": bytes_of(lambda name: name == "checkpoint"),
    "the bytes of the history's copies": bytes_of(str.isdecimal),
}


@pytest.mark.parametrize("group", GROUPS)
def test_no_sync_can_be_left_out(recording: Recording, tmp_path: Path, group: str) -> None:
    positions = GROUPS[group](recording)
    assert positions
    cut = recording
    for position in sorted(set(positions), reverse=True):
        cut = cut.without(position)
    assert next(problems(cut, "any", tmp_path), None) is not None
