"""Asynchronous saves: copied at once, in order, and never forgotten."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptstore as ck
from ckptstore.storage import LocalStore, MemoryStore, ObjectMeta, Payload, WrapperStore
from ckptstore.testing import Fault, FaultyStore
from ckptstore.train import checkpoint_manager


class GateStore(WrapperStore):
    """Lets nothing be created until it is opened."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.gate = threading.Event()

    def create(self, key: str, payload: Payload, *, tag: str | None = None) -> ObjectMeta:
        assert self.gate.wait(30)
        return super().create(key, payload, tag=tag)


def test_what_is_saved_is_what_was_there_at_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    store = GateStore(MemoryStore())
    monkeypatch.setattr(checkpoint_manager, "from_url", lambda *_: store)
    weights = np.arange(4.0)
    pieces = ck.Partitioned((4,), [("0,2", weights[:2]), ("2,2", weights[2:])])
    with ck.CheckpointManager("run") as manager:
        future = manager.save_async(1, {"w": weights, "view": weights[::2], "p": pieces, "n": 3, "s": ["a"]})
        assert not future.done()
        weights[:] = -1
        store.gate.set()
        assert future.result(30) == "run/ckpt-1"
        found = manager.restore()
    assert found["w"].tolist() == found["p"].tolist() == [0, 1, 2, 3]
    assert found["view"].tolist() == [0, 2]
    assert (found["n"], found["s"].tolist()) == (3, [b"a"])


def test_saves_come_in_the_order_of_their_calls(tmp_path: Path) -> None:
    with ck.CheckpointManager(tmp_path, max_to_keep=None) as manager:
        futures = [manager.save_async(step, {"v": step}) for step in range(5)]
        manager.save(5, {"v": 5})
        assert all(future.done() for future in futures)
        manager.save_async(6, {"v": 6})
        manager.wait_until_finished()
        assert manager.all_steps() == list(range(7))
        manager.save_async(7, {"v": 7})
    assert ck.latest_checkpoint(tmp_path) == str(tmp_path / "ckpt-7")


@pytest.mark.parametrize("told_by", ["save", "save_async", "wait_until_finished", "close", "acquire"])
def test_a_failure_nobody_asked_for_is_told_by_the_next_call(monkeypatch: Any, told_by: str) -> None:
    fault = Fault("create", first=1, error=ck.StorageFullError("full", path="x"))
    monkeypatch.setattr(checkpoint_manager, "from_url", lambda *_: FaultyStore(MemoryStore(), [fault]))
    manager = ck.CheckpointManager("run")
    manager.save_async(1, {"v": 1})
    arguments = (2, {"v": 2}) if told_by.startswith("save") else ()
    with pytest.raises(ck.StorageFullError, match="full"):
        getattr(manager, told_by)(*arguments)
    manager.save(2, {"v": 2})  # told once
    manager.close()


@pytest.mark.parametrize("ask", ["exception", "result"])
def test_a_failure_that_was_asked_for_is_not_told_again(monkeypatch: Any, ask: str) -> None:
    fault = Fault("create", first=1, error=ck.StorageFullError("full", path="x"))
    monkeypatch.setattr(checkpoint_manager, "from_url", lambda *_: FaultyStore(MemoryStore(), [fault]))
    with ck.CheckpointManager("run") as manager:
        future = manager.save_async(1, {"v": 1})
        if ask == "exception":
            assert isinstance(future.exception(30), ck.StorageFullError)
        else:
            with pytest.raises(ck.StorageFullError):
                future.result(30)
        manager.save(2, {"v": 2})


def test_what_cannot_be_saved_is_told_at_the_call(tmp_path: Path) -> None:
    with ck.CheckpointManager(tmp_path) as manager:
        with pytest.raises(ck.IncompatibleTensorError):
            manager.save_async(1, {"v": object()})
        with pytest.raises(ck.InvalidArgumentError):
            manager.save_async(-1, {"v": 1})
        manager.save(3, {"v": 3})
        future = manager.save_async(3, {"v": 3})
        assert isinstance(future.exception(30), ck.CheckpointExistsError)


EXIT = """
import sys, numpy as np, ckptstore as ck
manager = ck.CheckpointManager(sys.argv[1])
manager.save(1, {"v": np.ones(3)})
{between}
future = manager.save_async(2, {"v": np.zeros(3)})
{after}
"""
BREAK = "import os; os.rename(sys.argv[1] + '/checkpoint', sys.argv[1] + '/gone')"


@pytest.mark.parametrize(
    ("between", "after", "code", "said"),
    [
        ("", "", 0, ""),
        (BREAK, "", 1, "the last save failed, and nobody asked: The state file"),
        (BREAK, "future.exception()", 0, ""),
    ],
)
def test_the_end_of_the_process(tmp_path: Path, between: str, after: str, code: int, said: str) -> None:
    script = EXIT.replace("{between}", between).replace("{after}", after)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    if not between:
        assert ck.latest_checkpoint(tmp_path) == str(tmp_path / "ckpt-2")
    assert isinstance(LocalStore(tmp_path).head("ckpt-1.index"), ObjectMeta)
