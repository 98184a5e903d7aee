"""What each process makes for itself, and who must not wait for a thread that a fork left behind."""

from __future__ import annotations

import os
import threading

import numpy as np

import ckptstore as ck
from ckptstore._per_process import PerProcess
from ckptstore.bundle import mapped
from ckptstore.bundle.data_files import DataFiles
from ckptstore.storage import MemoryStore, Payload, TransferStore
from tests.support.forks import exit_code_of_a_child


def test_a_fork_while_another_thread_is_making_one():
    begun, go_on = threading.Event(), threading.Event()
    parent = os.getpid()

    def make() -> int:
        if os.getpid() == parent:
            begun.set()
            go_on.wait(10)
        return os.getpid()

    def child() -> None:
        assert made.get() == os.getpid()

    made = PerProcess(make)
    thread = threading.Thread(target=made.get)
    thread.start()
    begun.wait(10)
    code = exit_code_of_a_child(child)
    go_on.set()
    thread.join()
    assert code == 0
    assert made.get() == parent


def test_a_store_may_be_collected_while_a_client_is_made():
    """And closed by that, on the thread that makes it."""
    made = PerProcess(TransferStore(MemoryStore()).close)
    thread = threading.Thread(target=made.get, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def test_one_that_was_made_elsewhere():
    made = PerProcess(lambda: 1)
    made.put(2)
    assert made.get() == 2
    assert made.pop() == 2
    assert made.pop() is None
    assert made.get() == 1


class Gate(MemoryStore):
    """Lets nobody look at an object in this process until it is opened."""

    def __init__(self):
        super().__init__()
        self.begun, self.opened, self.parent = threading.Event(), threading.Event(), os.getpid()

    def head(self, key):
        if os.getpid() == self.parent:
            self.begun.set()
            self.opened.wait(20)
        return super().head(key)


def test_a_fork_while_another_thread_asks_about_a_data_file():
    store = Gate()
    store.put("m.data-00000-of-00002", Payload.of(b"x"))
    store.put("m.data-00001-of-00002", Payload.of(b"xy"))
    files = DataFiles(store, "m", 2, "m.index")
    thread = threading.Thread(target=files.meta, args=(0,))
    thread.start()
    store.begun.wait(10)
    code = exit_code_of_a_child(lambda: files.meta(1))
    store.opened.set()
    thread.join()
    assert code == 0
    assert (files.meta(0).size, files.meta(1).size) == (1, 2)


def test_a_fork_while_another_thread_checks_a_tensor(tmp_path, monkeypatch):
    ck.save(tmp_path / "m", {"v": np.ones(3), "w": np.ones(4)})
    found = ck.restore(tmp_path / "m", verify="lazy")
    begun, go_on, parent, fetch = threading.Event(), threading.Event(), os.getpid(), mapped.fetch

    def slow(*args, **kwargs):
        if os.getpid() == parent:
            begun.set()
            go_on.wait(20)
        fetch(*args, **kwargs)

    monkeypatch.setattr(mapped, "fetch", slow)
    thread = threading.Thread(target=lambda: np.asarray(found["w"]))
    thread.start()
    begun.wait(10)
    code = exit_code_of_a_child(lambda: np.asarray(found["v"]))
    go_on.set()
    thread.join()
    assert code == 0
    assert np.array_equal(found["w"], np.ones(4))
    assert np.asarray(found["w"]) is np.asarray(found["w"])


def test_a_fork_while_another_thread_makes_the_threads_of_a_transfer():
    store = TransferStore(MemoryStore(), part_size=10)
    held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with store._lock.get():
            held.set()
            go_on.wait(20)

    thread = threading.Thread(target=hold)  # not this one, which a child would be taken for
    thread.start()
    held.wait(10)
    code = exit_code_of_a_child(store.close)
    go_on.set()
    thread.join()
    assert code == 0
