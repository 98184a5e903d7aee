import pytest

from ckptstore.errors import InvalidArgumentError, NotFoundError, StorageError
from ckptstore.storage import MemoryStore, Payload
from ckptstore.testing import ManualClock, StoreTests


class MemoryTests(StoreTests):
    """The raw side of a MemoryStore, for this and for what stands before one."""

    memory: MemoryStore

    def raw_get(self, key):
        return self.memory._objects[key].data

    def raw_put(self, key, data):
        self.memory.put(key, Payload.of(data))

    def raw_keys(self):
        return set(self.memory._objects)


class TestMemoryStore(MemoryTests):
    @pytest.fixture
    def store(self):
        self.memory = MemoryStore()
        with self.memory:
            yield self.memory


class TestMemoryStoreWithLimits(MemoryTests):
    @pytest.fixture
    def store(self):
        self.memory = MemoryStore(min_part_size=100, max_parts=5)
        with self.memory:
            yield self.memory


class TestMemoryStoreWithoutUploads(MemoryTests):
    @pytest.fixture
    def store(self):
        self.memory = MemoryStore(multipart=False)
        with self.memory:
            yield self.memory


def test_it_does_not_claim_to_be_durable():
    assert not MemoryStore().capabilities.durable
    assert repr(MemoryStore()) == "MemoryStore(memory)"


def test_modified_is_the_clocks():
    clock = ManualClock(1000.0)
    store = MemoryStore(clock=clock)
    assert store.put("a", Payload.of(b"")).modified == 1000.0
    clock.advance(5)
    assert store.put("b", Payload.of(b"")).modified == 1005.0


def test_limits_of_parts():
    store = MemoryStore(min_part_size=10, max_parts=2, max_put_size=20)
    upload = store.create_upload("a")
    with pytest.raises(StorageError, match="part number 3"):
        store.put_part(upload, 3, Payload.of(b"x"))
    with pytest.raises(StorageError, match="21 bytes"):
        store.put_part(upload, 1, Payload.of(b"x" * 21))
    parts = [store.put_part(upload, 1, Payload.of(b"short")), store.put_part(upload, 2, Payload.of(b"last"))]
    with pytest.raises(StorageError, match="only 5 bytes"):
        store.complete_upload(upload, parts)
    with pytest.raises(StorageError, match="no parts"):
        store.complete_upload(upload, [])
    with pytest.raises(StorageError, match="21 bytes"):
        store.put("a", Payload.of(b"x" * 21))
    assert store.pending_uploads == [upload]
    store.abort_upload(upload)
    assert store.pending_uploads == []
    with pytest.raises(NotFoundError, match="is gone"):
        store.put_part(upload, 1, Payload.of(b"x"))


def test_a_part_that_was_replaced_does_not_pass_for_the_first():
    store = MemoryStore()
    upload = store.create_upload("a")
    stale = store.put_part(upload, 1, Payload.of(b"one"))
    store.put_part(upload, 1, Payload.of(b"two"))
    with pytest.raises(StorageError, match="sent again"):
        store.complete_upload(upload, [stale])


def test_delete_of_a_str_is_refused():
    store = MemoryStore()
    store.put("a", Payload.of(b""))
    with pytest.raises(InvalidArgumentError):
        store.delete("a")
    assert [meta.key for meta in store.list()] == ["a"]
