"""What `create`, `replace` and `delete_versions` must do, on every store that has them."""

# ruff: noqa: D102 - the names of the tests are sentences

from __future__ import annotations

import random
import string
import threading
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from ckptstore._concurrency import make_executor, run_all
from ckptstore.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    PreconditionFailedError,
    StorageError,
    StorageUnavailableError,
    UnsafePathError,
    UnsupportedError,
)
from ckptstore.storage import ObjectMeta, Payload, Store
from ckptstore.testing.faults import TornPayload
from ckptstore.testing.store_suite import PayloadError, StoreSuite, keys_of

if TYPE_CHECKING:
    from collections.abc import Callable

BAD_TAGS = ["", "sp ace", "a/b", "a=b", "größe", "line\nfeed", "t" * 201]
LONGEST_TAG = (string.ascii_letters + string.digits + "._:-").ljust(200, "x")

_FAILURES = pytest.mark.parametrize("error", [PayloadError(), KeyboardInterrupt()], ids=["error", "ctrl-c"])


class ConditionalTests(StoreSuite):
    """The part of `StoreTests` about the verbs that look before they act.

    What is expected to succeed bears a tag, so that it also does where replies are lost.
    """

    # ---- create ----

    def test_create_writes_what_is_new(self, store: Store) -> None:
        self._need_create(store)
        meta = store.create("d/a", Payload([b"hel", b"lo"]), tag="t1")
        assert (meta.key, meta.size) == ("d/a", 5)
        assert self.raw_get("d/a") == b"hello"
        assert self.raw_keys() == {"d/a"}
        assert store.get("d/a")[1].version == meta.version

    def test_create_of_nothing_makes_an_empty_object(self, store: Store) -> None:
        self._need_create(store)
        store.create("empty", Payload([]), tag="t1")
        assert self.raw_get("empty") == b""
        with pytest.raises(AlreadyExistsError):
            store.create("empty", Payload.of(b"x"), tag="t2")
        assert self.raw_get("empty") == b""

    def test_create_refuses_what_is_there(self, store: Store) -> None:
        self._need_create(store)
        old = store.put("a", Payload.of(b"old"))
        for tag in ("t1", None):
            with pytest.raises(AlreadyExistsError) as caught:
                store.create("a", Payload.of(b"new"), tag=tag)
            assert isinstance(caught.value, FileExistsError)
            assert caught.value.path == store.path("a")
        assert self.raw_get("a") == b"old"
        assert self.raw_keys() == {"a"}
        assert store.get("a")[1].version == old.version

    def test_create_refuses_what_others_wrote(self, store: Store) -> None:
        self._need_create(store)
        self.raw_put("a", b"theirs")
        with pytest.raises(AlreadyExistsError):
            store.create("a", Payload.of(b"ours"), tag="t1")
        assert self.raw_get("a") == b"theirs"

    def test_create_again_by_its_tag_is_its_own(self, store: Store) -> None:
        self._need_create(store, tags=True)
        first = store.create("a", Payload.of(b"data"), tag="t1")
        again = store.create("a", Payload.of(b"data"), tag="t1")
        assert (again.key, again.size, again.version) == (first.key, first.size, first.version)
        assert store.head("a").version == first.version
        assert self.raw_keys() == {"a"}

    def test_create_by_another_tag_or_by_none_is_anothers(self, store: Store) -> None:
        self._need_create(store)
        first = store.create("a", Payload.of(b"data"), tag="t1")
        for tag in ("t2", "t", None):
            with pytest.raises(AlreadyExistsError):
                store.create("a", Payload.of(b"other"), tag=tag)
        assert store.get("a")[1].version == first.version
        assert self.raw_get("a") == b"data"

    def test_create_after_delete(self, store: Store) -> None:
        self._need_create(store)
        store.create("a", Payload.of(b"one"), tag="t1")
        store.delete(["a"])
        store.create("a", Payload.of(b"two"), tag="t2")
        assert self.raw_get("a") == b"two"

    @_FAILURES
    def test_create_that_fails_leaves_nothing(self, store: Store, error: BaseException) -> None:
        self._need_create(store)
        with pytest.raises((type(error), StorageError)):
            store.create("a", TornPayload(Payload([b"x" * 50_000] * 10), error), tag="t1")
        assert self.raw_keys() == set()
        store.create("a", Payload.of(b"new"), tag="t2")
        assert self.raw_get("a") == b"new"

    def test_create_by_many_threads_succeeds_once(self, store: Store) -> None:
        self._need(store.capabilities.create_only)
        together = threading.Barrier(6)

        def work(number: int) -> bool:
            together.wait(30)
            try:
                store.create("d/a", Payload([b"%03d" % number] * 100), tag=f"t{number}")
            except AlreadyExistsError:
                return False
            return True

        with make_executor(6, "store-tests") as executor:
            won = run_all(executor, [partial(work, number) for number in range(6)], window=6)
        assert won.count(True) == 1
        assert self.raw_get("d/a") == b"%03d" % won.index(True) * 100
        assert self.raw_keys() == {"d/a"}

    # ---- replace ----

    @pytest.mark.parametrize("source", ["put", "get", "head", "list", "create", "replace"])
    def test_replace_of_the_version_that_is_there(self, store: Store, source: str) -> None:
        self._need_replace(store)
        old = self._version_by(store, source)
        meta = store.replace("d/a", Payload([b"new", b"er"]), version=old, tag="t2")
        assert (meta.key, meta.size) == ("d/a", 5)
        assert meta.version not in (None, old)
        assert self.raw_get("d/a") == b"newer"
        assert self.raw_keys() == {"d/a"}
        assert store.get("d/a")[1].version == meta.version

    def test_replace_of_another_version(self, store: Store) -> None:
        self._need_replace(store)
        old = _version(store.put("a", Payload.of(b"first")))
        new = store.put("a", Payload.of(b"second"))
        for tag in ("t1", None):
            with pytest.raises(PreconditionFailedError) as caught:
                store.replace("a", Payload.of(b"third"), version=old, tag=tag)
            assert caught.value.path == store.path("a")
        assert self.raw_get("a") == b"second"
        assert self.raw_keys() == {"a"}
        assert store.get("a")[1].version == new.version

    def test_replace_of_what_others_wrote(self, store: Store) -> None:
        self._need_replace(store)
        old = _version(store.put("a", Payload.of(b"first")))
        self.raw_put("a", b"other")
        with pytest.raises(PreconditionFailedError):
            store.replace("a", Payload.of(b"third"), version=old, tag="t1")
        assert self.raw_get("a") == b"other"

    def test_replace_of_what_is_gone(self, store: Store) -> None:
        self._need_replace(store)
        old = _version(store.put("a", Payload.of(b"first")))
        store.delete(["a"])
        for key in ("a", "never/there"):
            with pytest.raises(PreconditionFailedError):
                store.replace(key, Payload.of(b"second"), version=old, tag="t1")
        assert self.raw_keys() == set()

    def test_replace_again_by_its_tag_is_its_own(self, store: Store) -> None:
        self._need_replace(store, tags=True)
        old = _version(store.put("a", Payload.of(b"first")))
        first = store.replace("a", Payload.of(b"second"), version=old, tag="t1")
        again = store.replace("a", Payload.of(b"second"), version=old, tag="t1")
        assert (again.key, again.size, again.version) == (first.key, first.size, first.version)
        assert store.head("a").version == first.version
        with pytest.raises(PreconditionFailedError):
            store.replace("a", Payload.of(b"third"), version=old, tag="t2")

    def test_replace_again_after_somebody_else(self, store: Store) -> None:
        self._need_replace(store)
        old = _version(store.put("a", Payload.of(b"first")))
        ours = _version(store.replace("a", Payload.of(b"second"), version=old, tag="t1"))
        store.replace("a", Payload.of(b"third"), version=ours, tag="t2")
        with pytest.raises(PreconditionFailedError):
            store.replace("a", Payload.of(b"second"), version=old, tag="t1")
        assert self.raw_get("a") == b"third"

    @_FAILURES
    def test_replace_that_fails_leaves_the_old_object(self, store: Store, error: BaseException) -> None:
        self._need_replace(store)
        old = _version(store.put("a", Payload.of(b"old")))
        with pytest.raises((type(error), StorageError)):
            store.replace("a", TornPayload(Payload([b"x" * 50_000] * 10), error), version=old, tag="t1")
        assert self.raw_get("a") == b"old"
        assert self.raw_keys() == {"a"}
        store.replace("a", Payload.of(b"new"), version=old, tag="t2")
        assert self.raw_get("a") == b"new"

    def test_replace_by_many_threads_loses_nothing(self, store: Store) -> None:
        self._need(store.capabilities.compare_and_swap)
        store.put("a", Payload.of(b""))

        def add(name: str) -> None:
            for attempt in range(2000):
                try:
                    data, meta = store.get("a")
                    if name.encode() in data.split():
                        return  # it was us, and the reply was lost
                    new = Payload([data, b" ", name.encode()])
                    store.replace("a", new, version=_version(meta), tag=f"{name}.{attempt}")
                except (PreconditionFailedError, StorageUnavailableError):
                    continue
                return
            raise AssertionError(f"{name} came never through")

        names = [f"{thread}.{number}" for number in range(5) for thread in range(4)]
        with make_executor(4, "store-tests") as executor:
            run_all(executor, [partial(add, name) for name in names], window=4)
        assert sorted(self.raw_get("a").decode().split()) == sorted(names)
        assert self.raw_keys() == {"a"}

    # ---- delete_versions ----

    @pytest.mark.parametrize("source", ["put", "get", "head", "list", "create", "replace"])
    def test_delete_versions_of_what_is_there(self, store: Store, source: str) -> None:
        self._need_delete(store)
        version = self._version_by(store, source)
        assert list(store.delete_versions([replace(store.get("d/a")[1], version=version)])) == []
        assert self.raw_keys() == set()

    def test_delete_versions_by_a_listing(self, store: Store) -> None:
        self._need_delete(store)
        for number in range(5):
            store.put(f"d/{number}", Payload.of(b"x"))
        store.put("e", Payload.of(b"x"))
        assert list(store.delete_versions(store.list("d/"))) == []
        assert self.raw_keys() == {"e"}

    def test_delete_versions_spares_what_was_replaced(self, store: Store) -> None:
        self._need_delete(store)
        metas = [store.put(key, Payload.of(b"old")) for key in ("a", "d/b", "d/c", "e", "f")]
        store.put("a", Payload.of(b"new"))
        self.raw_put("d/c", b"other")
        store.delete(["e"])
        assert sorted(store.delete_versions(iter(metas))) == ["a", "d/c"]
        assert self.raw_keys() == {"a", "d/c"}
        assert (self.raw_get("a"), self.raw_get("d/c")) == (b"new", b"other")

    def test_delete_versions_of_what_is_gone(self, store: Store) -> None:
        self._need_delete(store)
        meta = store.put("a", Payload.of(b"x"))
        assert list(store.delete_versions([meta])) == []
        assert list(store.delete_versions([meta, replace(meta, key="never/there")])) == []
        assert list(store.delete_versions([])) == []
        assert self.raw_keys() == set()

    def test_delete_versions_spares_the_same_bytes_made_anew(self, store: Store) -> None:
        self._need_delete(store)
        old = store.put("a", Payload.of(b"same"))
        store.delete(["a"])
        new = store.put("a", Payload.of(b"same"))
        self._need(old.version != new.version)
        assert list(store.delete_versions([old])) == ["a"]
        assert self.raw_get("a") == b"same"

    def test_delete_versions_or_replace_but_never_both(self, store: Store) -> None:
        self._need(store.capabilities.compare_and_swap and store.capabilities.conditional_delete)

        def write(meta: ObjectMeta) -> bool:
            try:
                store.replace(meta.key, Payload.of(b"new"), version=_version(meta), tag="t2")
            except PreconditionFailedError:
                return False
            return True

        def remove(meta: ObjectMeta) -> bool:
            return not store.delete_versions([meta])

        with make_executor(2, "store-tests") as executor:
            for number in range(15):
                meta = store.put(f"{number}", Payload.of(b"old"))
                written, removed = run_all(executor, [partial(write, meta), partial(remove, meta)], window=2)
                assert written != removed
                assert (meta.key in self.raw_keys()) == written

    # ---- tags ----

    def test_tags_are_told_by_get_and_head_alone(self, store: Store) -> None:
        self._need_create(store, tags=True)
        assert store.create("a", Payload.of(b"x"), tag=LONGEST_TAG).tag == LONGEST_TAG
        assert store.head("a").tag == LONGEST_TAG
        assert store.get("a")[1].tag == LONGEST_TAG
        assert [meta.tag for meta in store.list()] == [None]

    def test_tags_go_with_what_bore_them(self, store: Store) -> None:
        self._need_replace(store, tags=True)
        old = store.put("a", Payload.of(b"1"))
        assert (old.tag, store.head("a").tag) == (None, None)
        new = store.replace("a", Payload.of(b"2"), version=_version(old), tag="t1")
        assert (new.tag, store.head("a").tag, store.get("a")[1].tag) == ("t1", "t1", "t1")
        store.put("a", Payload.of(b"3"))
        assert (store.head("a").tag, store.get("a")[1].tag) == (None, None)

    @pytest.mark.parametrize("tag", BAD_TAGS)
    def test_bad_tags_are_refused(self, store: Store, tag: str) -> None:
        old = store.put("a", Payload.of(b"old"))
        calls: list[Callable[[], object]] = []
        if self._creates(store):
            calls.append(lambda: store.create("new", Payload.of(b"x"), tag=tag))
        if self._replaces(store):
            calls.append(lambda: store.replace("a", Payload.of(b"x"), version=_version(old), tag=tag))
        if store.capabilities.multipart:
            calls.append(lambda: store.create_upload("new", tag=tag))
        self._need(bool(calls))
        for call in calls:
            with pytest.raises(InvalidArgumentError):
                call()
        assert self.raw_keys() == {"a"}
        assert self.raw_get("a") == b"old"

    # ---- the rest ----

    @pytest.mark.parametrize("key", ["", "/absolute", "../a", "a//b", "nul\0"])
    def test_conditional_verbs_refuse_bad_keys(self, store: Store, key: str) -> None:
        old = store.put("a", Payload.of(b"kept"))
        calls: list[Callable[[], object]] = []
        if self._creates(store):
            calls.append(lambda: store.create(key, Payload.of(b"x"), tag="t1"))
        if self._replaces(store):
            calls.append(lambda: store.replace(key, Payload.of(b"x"), version=_version(old), tag="t1"))
        if self._deletes(store):
            calls.append(lambda: store.delete_versions([replace(old, key=key)]))
        self._need(bool(calls))
        for call in calls:
            with pytest.raises(UnsafePathError):
                call()
        assert self.raw_keys() == {"a"}

    def test_conditional_verbs_are_refused_where_there_are_none(self, store: Store) -> None:
        meta = store.put("a", Payload.of(b"kept"))
        calls: list[Callable[[], object]] = []
        if not self._creates(store):
            calls.append(lambda: store.create("new", Payload.of(b"x")))
        if not self._replaces(store):
            calls.append(lambda: store.replace("a", Payload.of(b"x"), version="1"))
        if not self._deletes(store):
            calls.append(lambda: store.delete_versions([meta]))
        self._need(bool(calls))
        for call in calls:
            with pytest.raises(UnsupportedError):
                call()
        assert self.raw_keys() == {"a"}

    def test_unfinished_shows_nothing_that_is_finished(self, store: Store) -> None:
        metas = [store.put("a", Payload.of(b"x")), store.put("d/a", Payload.of(b"x"))]
        if self._creates(store):
            store.create("d/b", Payload.of(b"x"), tag="t1")
        if self._replaces(store):
            store.replace("a", Payload.of(b"y"), version=_version(metas[0]), tag="t2")
        if self._deletes(store):
            store.delete_versions([metas[1]])
        assert [*store.unfinished(), *store.unfinished("d/")] == []
        assert set(keys_of(store)) == self.raw_keys()

    # ---- helpers ----

    def _creates(self, store: Store) -> bool:
        return self.single_writer or store.capabilities.create_only

    def _replaces(self, store: Store) -> bool:
        return self.single_writer or store.capabilities.compare_and_swap

    def _deletes(self, store: Store) -> bool:
        return self.single_writer or store.capabilities.conditional_delete

    def _need_create(self, store: Store, *, tags: bool = False) -> None:
        self._need(self._creates(store) and (store.capabilities.tags or not tags))

    def _need_replace(self, store: Store, *, tags: bool = False) -> None:
        self._need(self._replaces(store) and (store.capabilities.tags or not tags))

    def _need_delete(self, store: Store) -> None:
        self._need(self._deletes(store))

    def _version_by(self, store: Store, source: str) -> str:
        """The version of a new object "d/a", as one of the verbs tells it."""
        data = random.Random(source).randbytes(100)
        if source == "create":
            self._need_create(store)
            return _version(store.create("d/a", Payload.of(data), tag="t0"))
        meta = store.put("d/a", Payload.of(b"old"))
        if source == "replace":
            self._need_replace(store)
            return _version(store.replace("d/a", Payload.of(data), version=_version(meta), tag="t0"))
        if source == "list":
            [meta] = store.list()
        elif source != "put":
            meta = store.get("d/a")[1] if source == "get" else store.head("d/a")
        self._need(meta.version is not None or not self.single_writer)  # where not every verb can tell
        return _version(meta)


def _version(meta: ObjectMeta) -> str:
    assert meta.version is not None
    return meta.version
