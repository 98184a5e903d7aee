"""save(progress=) tells how much is written, never less than before, and can call a save off."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import ckptstore as ck
from ckptstore.bundle import BundleReader, BundleWriter
from ckptstore.storage import MemoryStore, WrapperStore

ITEMS = {"a": np.zeros(12 << 20, np.float32), "b": np.zeros(3, np.float32), "c": np.ones(5 << 20, np.float32)}
TOTAL = sum(array.nbytes for array in ITEMS.values())


@pytest.mark.parametrize("how", ["save", "save_async"])
@pytest.mark.parametrize("shard", [None, 30 << 20])
def test_it_rises_to_the_total(tmp_path, how, shard):
    told = []
    with ck.CheckpointManager(tmp_path, max_shard_bytes=shard) as manager:
        getattr(manager, how)(1, ITEMS, progress=lambda done, total: told.append((done, total)))
        manager.wait_until_finished()
        found = manager.restore()
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert {total for _, total in told} == {TOTAL}
    assert told[-1][0] == TOTAL
    assert len(told) >= 4
    np.testing.assert_array_equal(found["c"], ITEMS["c"])


def test_nothing_is_told_when_the_data_are_not_taken_yet(tmp_path):
    told = []

    class Refuses(WrapperStore):
        def put(self, key, payload):
            assert not told
            raise OSError("full")

    writer = BundleWriter(Refuses(MemoryStore()), "m", progress=lambda *_: told.append(_))
    writer.add_all(ITEMS)
    with pytest.raises(OSError, match="full"):
        writer.write_data()
    assert not told


def test_what_is_tried_again_does_not_count_twice():
    told = []
    store = MemoryStore()

    class Twice(WrapperStore):
        def put(self, key, payload):
            for _ in payload.buffers:
                pass
            return super().put(key, payload)

    writer = BundleWriter(Twice(store), "m", progress=lambda *numbers: told.append(numbers))
    writer.add_all(ITEMS)
    writer.finish()
    assert told[-1] == (TOTAL, TOTAL)
    assert len(set(told)) == len(told)
    np.testing.assert_array_equal(BundleReader(store, "m").read(["a"])["a"], ITEMS["a"])


def test_one_thread_at_a_time(tmp_path):
    inside = threading.Lock()

    def progress(done, total):
        assert inside.acquire(blocking=False)
        inside.release()

    with ck.CheckpointManager(tmp_path, max_shard_bytes=1 << 20) as manager:
        manager.save(1, {f"t{i}": np.zeros(1 << 18, np.float32) for i in range(20)}, progress=progress)


def test_what_it_raises_calls_the_save_off(tmp_path):
    def progress(done, total):
        raise RuntimeError("stop")

    with ck.CheckpointManager(tmp_path) as manager:
        with pytest.raises(RuntimeError, match="stop"):
            manager.save(1, ITEMS, progress=progress)
        assert manager.latest_checkpoint is None
        assert not [*tmp_path.glob("*.data*")]
        manager.save(1, ITEMS)
        assert manager.latest_step() == 1


def test_a_bundle_of_no_bytes_tells_once():
    told = []
    writer = BundleWriter(MemoryStore(), "m", progress=lambda *numbers: told.append(numbers))
    writer.add("e", np.zeros(0))
    writer.finish()
    assert told == [(0, 0)]
