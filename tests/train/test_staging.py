"""What save_async copies, and what it need not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import ckptstore as ck
from ckptstore.train import staging
from ckptstore.train.staging import Staging


def test_copies_hold_what_was_there(monkeypatch):
    monkeypatch.setattr(staging, "_CUT", 100)
    monkeypatch.setattr(staging, "_AT_ONCE", 2)
    items = {
        "large": np.arange(1000.0),
        "view": np.arange(24).reshape(4, 6)[::2, 1:],
        "order": np.asfortranarray(np.arange(12).reshape(3, 4)),
        "scalar": 3.5,
        "text": "words",
        "strings": np.array([b"a", "b"], dtype=object),
        "empty": np.zeros((0, 3)),
    }
    wanted = {name: np.array(value, copy=True) for name, value in items.items()}
    copies = Staging().copies(items)
    for name in ("large", "view", "order"):
        items[name][:] = -1
    for name in ("large", "view", "order", "scalar", "empty"):
        np.testing.assert_array_equal(copies[name], wanted[name])
        assert copies[name].flags.c_contiguous
    assert copies["text"][()] == b"words"
    assert copies["strings"].tolist() == [b"a", b"b"]


def test_the_next_copy_uses_the_same_memory():
    stage, state = Staging(), {"a": np.zeros(1000), "b": np.zeros(10)}
    first = stage.copies(state)
    state["a"][:] = 1
    second = stage.copies(state)
    assert second["a"] is first["a"]
    assert second["a"][0] == 1
    other = stage.copies({"a": np.zeros(999), "b": np.zeros(10, np.float32)})
    assert not np.shares_memory(other["a"], second["a"])
    assert not np.shares_memory(other["b"], second["b"])


def test_what_the_state_has_no_more_is_let_go():
    stage = Staging()
    stage.copies({"a": np.zeros(1000), "b": np.zeros(10)})
    stage.copies({"b": np.zeros(10)})
    assert list(stage._kept) == [("b", 0)]
    stage.forget()
    assert not stage._kept


def frozen(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "value",
    [frozen(np.arange(5)), np.frombuffer(b"\x00" * 40, np.int64), frozen(np.arange(6))[1:4]],
    ids=["owner", "bytes", "view of a frozen one"],
)
def test_what_cannot_change_is_not_copied(value):
    assert np.shares_memory(Staging().copies({"a": value})["a"], value)


@pytest.mark.parametrize(
    "value",
    [np.arange(5), frozen(np.arange(6)[1:4]), np.frombuffer(bytearray(40), np.int64)],
    ids=["writable", "read-only view of a writable one", "bytearray"],
)
def test_what_can_change_is_copied(value):
    assert not np.shares_memory(Staging().copies({"a": value})["a"], value)


class Wrapped:
    """As frameworks' arrays and labelled ones: hands out the memory that it goes on to write to."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array.copy() if copy else self.array


class WrappedList(Wrapped, list):
    """Of which numpy asks `__array__`, too."""


@pytest.mark.parametrize("kind", [Wrapped, WrappedList])
def test_memory_that_somebody_else_hands_out_is_copied(kind):
    value = kind(np.zeros(5))
    copy = Staging().copies({"a": value})["a"]
    value.array[:] = 7
    np.testing.assert_array_equal(copy, np.zeros(5))


@pytest.mark.parametrize("value", [[1, 2], 3, 4.0, "text", np.float32(5), np.zeros(3, ">f4"), np.zeros((4, 4)).T[1:]])
def test_what_is_converted_is_not_copied_again(value):
    stage = Staging()
    stage.copies({"a": value})
    assert not stage._kept


def test_pieces_are_copied_one_by_one():
    array = np.arange(12.0).reshape(6, 2)
    stage = Staging()
    copy = stage.copies({"p": ck.Partitioned.split(array, 3)})["p"]
    wanted = array.copy()
    array[:] = 0
    np.testing.assert_array_equal(np.asarray(copy), wanted)
    again = stage.copies({"p": ck.Partitioned.split(array, 3)})["p"]
    assert again.pieces[0][1] is copy.pieces[0][1]


def test_training_goes_on_while_the_state_that_was_is_saved(tmp_path):
    state = {"w": np.zeros(1000)}
    with ck.CheckpointManager(tmp_path) as manager:
        futures = []
        for step in range(5):
            state["w"][:] = step
            futures.append(manager.save_async(step, state))
            state["w"][:] = -1
        for step, future in enumerate(futures):
            future.result()
            assert (manager.restore(step)["w"] == step).all()


def test_several_threads_may_save_at_once(tmp_path):
    with ck.CheckpointManager(tmp_path, max_to_keep=None) as manager, ThreadPoolExecutor(4) as pool:
        states = [{"w": np.full(200_000, step)} for step in range(16)]
        calls = [pool.submit(manager.save_async, step, state) for step, state in enumerate(states)]
        for call in calls:
            call.result().result()
        for step in range(16):
            assert (manager.restore(step)["w"] == step).all()
