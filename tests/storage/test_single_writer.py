"""SingleWriterStore before stores with versions and without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from ckptstore.errors import AlreadyExistsError, PreconditionFailedError
from ckptstore.storage import Capabilities, MemoryStore, ObjectMeta, Payload, RetryingStore, Store, WrapperStore
from ckptstore.storage._single_writer import _SMALL, SingleWriterStore
from ckptstore.testing import Fault, FaultyStore, ManualClock
from tests.storage.test_memory import MemoryTests


class Plain(WrapperStore):
    """A store without conditional verbs or tags, and, if so wished, without versions."""

    def __init__(self, inner: Store, *, versions: bool) -> None:
        super().__init__(inner)
        self._versions = versions

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(pinned_reads=self._versions)

    def get(self, key: str, *, limit: int | None = None) -> tuple[bytes, ObjectMeta]:
        data, meta = super().get(key, limit=limit)
        return data, self._bare(meta)

    def head(self, key: str) -> ObjectMeta:
        return self._bare(super().head(key))

    def put(self, key: str, payload: Payload) -> ObjectMeta:
        return self._bare(super().put(key, payload))

    def list(self, prefix: str = "") -> Iterator[ObjectMeta]:
        return (self._bare(meta) for meta in super().list(prefix))

    def create(self, *args: Any, **kwargs: Any) -> ObjectMeta:
        return Store.create(self, *args, **kwargs)

    def replace(self, *args: Any, **kwargs: Any) -> ObjectMeta:
        return Store.replace(self, *args, **kwargs)

    def delete_versions(self, *args: Any) -> Sequence[str]:
        return Store.delete_versions(self, *args)

    def create_upload(self, *args: Any, **kwargs: Any) -> Any:
        return Store.create_upload(self, *args, **kwargs)

    def put_part(self, *args: Any) -> Any:
        return Store.put_part(self, *args)

    def complete_upload(self, *args: Any) -> Any:
        return Store.complete_upload(self, *args)

    def abort_upload(self, *args: Any) -> None:
        Store.abort_upload(self, *args)

    def _bare(self, meta: ObjectMeta) -> ObjectMeta:
        return meta if self._versions else replace(meta, version=None)


class TestWithVersions(MemoryTests):
    single_writer = True

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        self.memory = MemoryStore()
        with SingleWriterStore(Plain(self.memory, versions=True)) as store:
            yield store


class TestWithoutVersions(MemoryTests):
    single_writer = True

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        self.memory = MemoryStore()
        with SingleWriterStore(Plain(self.memory, versions=False)) as store:
            yield store


class TestWithLostReplies(MemoryTests):
    """As `from_url` stacks it, over a store whose puts and deletions succeed and seem not to."""

    single_writer = True

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        self.memory = MemoryStore()
        plan = [Fault(verb, first=first, when="after") for verb in ("put", "delete") for first in (1, 3, 5)]
        inner = FaultyStore(Plain(self.memory, versions=False), plan)
        with RetryingStore(SingleWriterStore(inner), clock=ManualClock()) as store:
            yield store


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def store(memory: MemoryStore) -> SingleWriterStore:
    return SingleWriterStore(Plain(memory, versions=False))


def test_it_promises_nothing_whatever_is_behind_it(memory: MemoryStore) -> None:
    conditions = {"create_only": False, "compare_and_swap": False, "conditional_delete": False, "tags": False}
    others = {"maps": False, "copies": False, "range_copies": False, "part_copies": False}
    expected = replace(memory.capabilities, **conditions, **others)
    assert SingleWriterStore(memory).capabilities == expected != memory.capabilities


def test_versions_are_of_the_bytes_alone(store: SingleWriterStore) -> None:
    first = store.put("a", Payload([b"da", b"ta"]))
    assert first.version == store.get("a")[1].version == store.head("a").version
    assert store.put("b", Payload.of(b"data")).version == first.version
    assert store.put("a", Payload.of(b"datA")).version != first.version
    assert [meta.version for meta in store.list()] == [None, None]


def test_head_does_not_read_what_is_large(store: SingleWriterStore) -> None:
    store.put("small", Payload.of(bytes(_SMALL)))
    store.put("large", Payload.of(bytes(_SMALL + 1)))
    assert store.head("small").version is not None
    assert store.head("large").version is None


def test_reads_of_a_digest_are_not_pinned(store: SingleWriterStore) -> None:
    meta = store.put("a", Payload.of(b"data"))
    target = bytearray(4)
    store.read_into("a", [(0, memoryview(target))], version=meta.version)
    assert target == b"data"


def test_what_holds_the_bytes_of_a_tagged_write_is_its_own(store: SingleWriterStore) -> None:
    old = store.create("a", Payload.of(b"data"), tag="t1")
    assert store.create("a", Payload.of(b"data"), tag="t1").version == old.version
    with pytest.raises(AlreadyExistsError):
        store.create("a", Payload.of(b"data"))
    with pytest.raises(AlreadyExistsError):
        store.create("a", Payload.of(b"DATA"), tag="t1")
    assert old.version is not None
    new = store.replace("a", Payload.of(b"new"), version=old.version, tag="t2")
    assert store.replace("a", Payload.of(b"new"), version=old.version, tag="t2").version == new.version
    with pytest.raises(PreconditionFailedError):
        store.replace("a", Payload.of(b"new"), version=old.version)


def test_deletion_by_a_listing_without_versions(store: SingleWriterStore, memory: MemoryStore) -> None:
    for key in "abc":
        store.put(key, Payload.of(b"old"))
    listed = [*store.list()]
    memory.put("b", Payload.of(b"longer"))
    store.delete(["c"])
    assert store.delete_versions(listed) == ["b"]
    assert [meta.key for meta in memory.list()] == ["b"]
