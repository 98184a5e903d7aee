"""A large index is sought in, not read: what is asked of the store for one tensor among many."""

from __future__ import annotations

import numpy as np
import pytest

from ckptstore.bundle import BundleReader, BundleWriter, index_file
from ckptstore.errors import CheckpointNotFoundError, DataLossError
from ckptstore.storage import MemoryStore, Payload, WrapperStore

COUNT = 30_000  # an index of five blocks


class Counting(WrapperStore):
    def __init__(self, inner):
        super().__init__(inner)
        self.requests = []

    def get(self, key, *, limit=None):
        self.requests.append(("get", key))
        return self._inner.get(key, limit=limit)

    def head(self, key):
        self.requests.append(("head", key))
        return self._inner.head(key)

    def read_into(self, key, targets, *, version=None):
        self.requests.append(("read", sum(view.nbytes for _, view in targets)))
        self._inner.read_into(key, targets, version=version)


@pytest.fixture(scope="module")
def bundle():
    store = MemoryStore()
    writer = BundleWriter(store, "m")
    writer.add_all({f"layer_{i:06d}/kernel": np.int32(i) for i in range(COUNT)})
    writer.finish()
    return store


@pytest.fixture
def store(bundle, monkeypatch):
    monkeypatch.setattr(index_file, "WHOLE", 10_000)
    return Counting(bundle)


def test_one_tensor_takes_a_handful_of_requests_and_few_bytes(store):
    reader = BundleReader(store, "m")
    assert reader.read(["layer_020000/kernel"])["layer_020000/kernel"] == 20_000
    size = store.head("m.index").size
    assert len(store.requests) <= 8
    assert sum(n for verb, n in store.requests if verb == "read") < size * 0.75


def test_all_tensors_take_no_request_for_each_block(store):
    reader = BundleReader(store, "m")
    names = reader.names()
    assert len(names) == COUNT
    values = reader.read(names)
    assert all(values[name] == i for i, name in enumerate(names))
    assert len(store.requests) <= 8


def test_a_small_index_is_one_request(bundle, monkeypatch):
    monkeypatch.setattr(index_file, "WHOLE", 10 << 20)
    store = Counting(bundle)
    BundleReader(store, "m").names()
    assert store.requests == [("get", "m.index")]


def test_a_name_that_is_not_there_is_not_found_by_seeking_either(store):
    reader = BundleReader(store, "m")
    assert reader.info("layer_020000") is None
    assert reader.info("zzz") is None
    assert reader.info("") is None


def test_an_index_that_is_replaced_meanwhile_is_not_mixed_with_the_new_one(monkeypatch):
    monkeypatch.setattr(index_file, "WHOLE", 10_000)
    store, reader = MemoryStore(), None
    for offset in (0, 5):
        writer = BundleWriter(store, "m")
        writer.add_all({f"t{i:06d}": np.int32(i + offset) for i in range(COUNT)})
        writer.finish()
        reader = reader if offset else BundleReader(store, "m")
    with pytest.raises(CheckpointNotFoundError, match=r"m\.index was deleted or replaced"):
        reader.info("t020000")


def test_damage_in_a_block_is_found_where_it_is_looked_at(bundle, monkeypatch):
    monkeypatch.setattr(index_file, "WHOLE", 10_000)
    data = bytearray(bundle.get("m.index")[0])
    data[300_000] ^= 1
    store = MemoryStore()
    store.put("m.index", Payload.of(bytes(data)))
    store.put("m.data-00000-of-00001", Payload.of(bundle.get("m.data-00000-of-00001")[0]))
    reader = BundleReader(store, "m")
    assert reader.read(["layer_000001/kernel"])["layer_000001/kernel"] == 1
    with pytest.raises(DataLossError, match=r"m\.index.*checksum"):
        reader.names()
