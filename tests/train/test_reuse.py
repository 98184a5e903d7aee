"""save(reuse=True): what the latest checkpoint holds already is not sent again, and nothing else changes."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

import ckptstore as ck
from ckptstore._proto.meta_graph_pb2 import MetaGraphDef
from ckptstore.bundle import builder, digests, reusing
from ckptstore.errors import DataLossError
from ckptstore.format.checksum import crc32c
from ckptstore.storage import LocalStore, MemoryStore, Payload, Store, TransferStore, WrapperStore
from tests.support.managers import manager_on

MIB = 1 << 20


class Counting(WrapperStore):
    """Counts the bytes that are sent; `maps` and `copies` can be taken away."""

    def __init__(self, inner, **without):
        super().__init__(inner)
        self._without = without
        self.sent = self.copied = 0
        self.fail = None

    @property
    def capabilities(self):
        return replace(self._inner.capabilities, **self._without)

    def map(self, key, *, version=None):
        return self._inner.map(key, version=version) if self.capabilities.maps else None

    def create(self, key, payload, *, tag=None):
        self.sent += payload.nbytes
        return super().create(key, payload, tag=tag)

    def put_part(self, upload, number, payload):
        self.sent += payload.nbytes
        return super().put_part(upload, number, payload)

    def copy(self, key, ranges, *, tag=None):
        if self.fail is not None:
            raise self.fail
        meta = super().copy(key, ranges, tag=tag)
        self.copied += meta.size
        return meta


KINDS = ["disk", "maps", "digests", "parts"]


@pytest.fixture(params=KINDS)
def store(request, tmp_path):
    if request.param == "disk":
        return Counting(LocalStore(tmp_path / "run"))
    if request.param == "maps":
        return Counting(MemoryStore())
    if request.param == "digests":
        return Counting(MemoryStore(), maps=False, range_copies=False)
    return Counting(TransferStore(MemoryStore(min_part_size=5 * MIB), part_size=5 * MIB), maps=False)


def model(step=0, changed=()):
    rng = np.random.default_rng(7)
    out = {f"layer{i}/w": rng.standard_normal(MIB // 4).astype(np.float32) for i in range(20)}
    out["name"] = np.array([b"model"], dtype=object)
    out["none"] = np.zeros((0, 2))
    out["step"] = np.int64(step)
    for name in changed:
        out[name] = out[name] + np.float32(step)
    return out


def same(found, items):
    assert set(found) == set(items)
    for name, value in items.items():
        np.testing.assert_array_equal(found[name], value)


def test_only_what_changed_is_sent(store):
    with manager_on(store, max_to_keep=2) as manager:
        manager.save(1, model(1), reuse=True)
        full = store.sent
        assert full > 20 * MIB
        for step in range(2, 7):
            store.sent = 0
            items = model(step, ["layer3/w"])
            manager.save(step, items, reuse=True)
            assert store.sent < full / 10, step
            same(manager.restore(), items)
            if step > 2:
                same(manager.restore(step - 1), model(step - 1, ["layer3/w"]))


def test_each_checkpoint_is_complete_by_itself(store):
    with manager_on(store, max_to_keep=1) as manager:
        manager.save(1, model(1), reuse=True)
        manager.save(2, model(2, ["layer0/w"]), reuse=True)
        assert not [meta.key for meta in store.list() if meta.key.startswith("ckpt-1.")]
        same(manager.restore(), model(2, ["layer0/w"]))
        assert manager.all_steps() == [2]


def test_without_it_everything_is_sent(store):
    with manager_on(store) as manager:
        manager.save(1, model(1), reuse=True)
        full, store.sent = store.sent, 0
        manager.save(2, model(1))
        assert store.sent > 20 * MIB
        assert store.copied == 0
        assert full < store.sent + 4096


def test_a_bundle_does_not_fall_into_ever_more_files(store):
    rng = np.random.default_rng(1)
    with manager_on(store, max_to_keep=2) as manager:
        items = model()
        for step in range(1, 15):
            for name in rng.choice([n for n in items if n.endswith("/w")], 3, replace=False):
                items[name] = items[name] + 1
            manager.save(step, items, reuse=True)
        same(manager.restore(), items)
        data = [meta for meta in store.list() if meta.key.startswith("ckpt-14.data")]
        assert len(data) <= 8
        assert sum(meta.size for meta in data) < 20 * MIB / 0.74


def test_a_resumed_job_reuses_too(store):
    with manager_on(store) as manager:
        manager.save(1, model(1), reuse=True)
    store.sent = 0
    with manager_on(store) as manager:
        manager.save(2, model(2), reuse=True)
        assert store.sent < 2 * MIB
        same(manager.restore(), model(2))


def test_async_saves_reuse_too(store):
    with manager_on(store) as manager:
        manager.save_async(1, model(1), reuse=True)
        manager.wait_until_finished()
        store.sent = 0
        manager.save_async(2, model(2), reuse=True).result()
        assert store.sent < 2 * MIB


def test_checkpoints_without_digests_or_of_others_are_sent_anew(store):
    with manager_on(store) as manager:
        manager.save(1, model(1))
        store.sent = 0
        manager.save(2, model(1), reuse=True)
        assert store.sent < 2 * MIB if store.capabilities.maps else store.sent > 20 * MIB
        same(manager.restore(), model(1))


@pytest.mark.parametrize("error", [ck.NotFoundError, ck.PreconditionFailedError, ck.UnsupportedError])
def test_what_cannot_be_copied_is_written(store, error):
    with manager_on(store) as manager:
        manager.save(1, model(1), reuse=True)
        store.sent, store.fail = 0, error("not now", path="x")
        manager.save(2, model(2, ["layer5/w"]), reuse=True)
        assert store.sent > 20 * MIB
        same(manager.restore(), model(2, ["layer5/w"]))


def test_partitioned_and_nested_values(store):
    items = {"p": ck.Partitioned.split(np.arange(2 * MIB, dtype=np.float32), 4), "deep": {"er": np.ones(MIB)}}
    with manager_on(store) as manager:
        manager.save(1, items, reuse=True)
        store.sent = 0
        manager.save(2, {**items, "new": np.zeros(5)}, reuse=True)
        assert store.sent < MIB
        found = manager.restore()
        np.testing.assert_array_equal(found["p"], np.arange(2 * MIB, dtype=np.float32))
        np.testing.assert_array_equal(found["deep/er"], np.ones(MIB))


def test_other_types_of_the_same_bytes_are_other_tensors(store):
    with manager_on(store) as manager:
        manager.save(1, {"a": np.zeros(MIB, np.float32)}, reuse=True)
        manager.save(2, {"a": np.zeros(MIB, np.int32)}, reuse=True)
        assert manager.restore()["a"].dtype == np.int32


def test_a_collision_of_checksums_is_not_taken_for_the_same(store):
    """Two arrays of one CRC-32C: the polynomial itself, added at some place, does not change it."""
    first = np.frombuffer(np.random.default_rng(0).bytes(2 * MIB), np.uint8).copy()
    second = first.copy()
    # Castagnoli's polynomial itself, added at some place, bit by bit in the order of transmission:
    bits = [32, 28, 27, 26, 25, 23, 22, 20, 19, 18, 14, 13, 11, 10, 9, 8, 6, 0]
    for bit in bits:
        position = 8000 + (32 - bit)
        second[position // 8] ^= 1 << (position % 8)
    assert crc32c(first.data) == crc32c(second.data)
    assert not np.array_equal(first, second)
    with manager_on(store) as manager:
        manager.save(1, {"a": first}, reuse=True)
        manager.save(2, {"a": second}, reuse=True)
        np.testing.assert_array_equal(manager.restore()["a"], second)


def test_bytes_that_were_damaged_on_the_disk_are_written_anew(tmp_path):
    with ck.CheckpointManager(tmp_path) as manager:
        manager.save(1, model(1), reuse=True)
        (file,) = tmp_path.glob("ckpt-1.data-*")
        with open(file, "r+b") as data:
            status = os.fstat(data.fileno())
            data.seek(5 * MIB)
            data.write(b"\xff\x00" * 8)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        with pytest.raises(DataLossError):
            manager.restore(1)
        manager.save(2, model(1), reuse=True)
        same(manager.restore(2), model(1))


def test_a_checksum_that_is_wrong_is_not_handed_on(tmp_path, monkeypatch):
    """Somebody changed the array between its checksum and its write; the next save has both right."""
    with ck.CheckpointManager(tmp_path) as manager:
        with monkeypatch.context() as patch:
            patch.setattr(builder, "crc32c", lambda data: crc32c(data) ^ 1)
            manager.save(1, model(1), reuse=True)
        with pytest.raises(DataLossError):
            manager.restore(1)
        manager.save(2, model(1), reuse=True)
        same(manager.restore(2), model(1))


def test_a_checksum_is_held_against_the_bytes_once(tmp_path, monkeypatch):
    sizes = []
    monkeypatch.setattr(reusing, "crc32c", lambda data, crc: sizes.append(data.nbytes) or crc32c(data, crc))
    with ck.CheckpointManager(tmp_path) as manager:
        for step, expected in [(1, 0), (2, 20 * MIB), (3, 0), (4, 0)]:
            sizes.clear()
            manager.save(step, model(step), reuse=True)
            assert sum(sizes) == expected
        manager.save(5, model(5))  # of which nothing is known
        manager.save(6, model(6), reuse=True)
        assert sum(sizes) == 20 * MIB
        sizes.clear()
        manager.save(7, model(7, ["layer3/w"]), reuse=True)
        assert sum(sizes) == 0
        manager.save(8, model(7, ["layer3/w"]) | {"step": 8}, reuse=True)
        assert sum(sizes) == MIB  # what was written in between
        same(manager.restore(8), model(7, ["layer3/w"]) | {"step": np.int64(8)})


def test_a_copy_that_fails_leaves_nothing_checked(tmp_path, monkeypatch):
    sizes = []
    monkeypatch.setattr(reusing, "crc32c", lambda data, crc: sizes.append(data.nbytes) or crc32c(data, crc))
    with ck.CheckpointManager(tmp_path) as manager:
        manager.save(1, model(1), reuse=True)
        with monkeypatch.context() as patch:
            patch.setattr(LocalStore, "copy", Store.copy)  # refuses
            manager.save(2, model(2), reuse=True)
        sizes.clear()
        manager.save(3, model(3), reuse=True)
        assert sum(sizes) == 20 * MIB
        same(manager.restore(3), model(3))


@pytest.mark.parametrize("which", ["algorithm", "digests"])
def test_digests_that_are_damaged_or_of_an_unknown_kind_are_not_used(which):
    store = Counting(MemoryStore(), maps=False)
    with manager_on(store) as manager:
        manager.save(1, model(1), reuse=True)
        meta = MetaGraphDef.FromString(store.get("ckpt-1.meta")[0])
        meta.collection_def["ckptstore_digests"].bytes_list.value[which == "digests"] = b"md17"
        store.put("ckpt-1.meta", Payload.of(meta.SerializeToString()))
        store.sent = 0
        manager.save(2, model(1), reuse=True)
        assert store.sent > 20 * MIB
        same(manager.restore(), model(1))


def test_both_algorithms(monkeypatch):
    algorithms = [name for name in ("blake3", "sha256") if digests.choose_algorithm(name) == name]
    assert "sha256" in algorithms
    buffers = [memoryview(b"abc"), memoryview(b"def")]
    for name in algorithms:
        assert digests.digest(name, buffers) == digests.digest(name, [memoryview(b"abcdef")])
        assert len(digests.digest(name, buffers)) == digests.SIZE
    assert digests.digest("sha256", [memoryview(b"abc")]).hex().startswith("ba7816bf8f01cfea")
    with pytest.raises(ValueError, match="md17"):
        digests.digest("md17", [])


def test_files_stay_tensorflows(tmp_path):
    """Whatever is out of use in a file, nothing refers to it, and the verification is content."""
    with ck.CheckpointManager(tmp_path) as manager:
        manager.save(1, model(1), reuse=True)
        path = manager.save(2, model(2, ["layer3/w"]), reuse=True)
    assert ck.verify(path).ok
    with ck.load_checkpoint(path) as reader:
        assert len(reader) == 23
