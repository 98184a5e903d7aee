"""What `copy` and `copy_part` must do, on every store that has them."""

# ruff: noqa: D102 - the names of the tests are sentences

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ckptstore.errors import AlreadyExistsError, NotFoundError, PreconditionFailedError, UnsupportedError
from ckptstore.storage import ObjectRange, Payload
from ckptstore.testing.store_suite import StoreSuite, keys_of

if TYPE_CHECKING:
    from ckptstore.storage import ObjectMeta, Store


class CopyTests(StoreSuite):
    """The part of `StoreTests` about bytes that do not pass through the process.

    What is expected to succeed bears a tag, so that it also does where replies are lost.
    """

    def test_copy_of_a_whole_object(self, store: Store) -> None:
        source = self._source(store)
        meta = store.copy("e/b", [ObjectRange.whole(source)], tag="t2")
        assert (meta.key, meta.size) == ("e/b", source.size)
        assert self.raw_get("e/b") == self.raw_get("d/a")
        assert store.head("e/b").version == meta.version
        assert keys_of(store) == ["d/a", "e/b"]
        assert self.raw_keys() == {"d/a", "e/b"}

    def test_copy_has_its_own_tag(self, store: Store) -> None:
        self._need(store.capabilities.tags)
        source = self._source(store)
        store.copy("b", [ObjectRange.whole(source)], tag="t2")
        store.copy("c", [ObjectRange.whole(source)], tag="t3")
        assert [store.head(key).tag for key in ("d/a", "b", "c")] == ["t1", "t2", "t3"]
        assert store.get("b")[1].tag == "t2"

    def test_copy_without_a_tag(self, store: Store) -> None:
        self._need(store.capabilities.create_only)
        source = self._source(store)
        store.copy("b", [ObjectRange.whole(source)], tag="t2")
        with pytest.raises(AlreadyExistsError):
            store.copy("b", [ObjectRange.whole(source)])
        if store.capabilities.tags:
            assert store.head("b").tag == "t2"

    def test_copy_of_a_small_object(self, store: Store) -> None:
        self._need(store.capabilities.copies)
        source = store.create("a", Payload.of(b"small"), tag="t1")
        assert store.copy("b", [ObjectRange.whole(source)], tag="t2").size == 5
        assert self.raw_get("b") == b"small"

    def test_copy_to_and_from_names_that_need_quoting(self, store: Store) -> None:
        self._need(store.capabilities.copies)
        for number, key in enumerate(("d d/x.a", "ü+?#&=.b", "'/\".c")):
            source = store.create(f"from/{key}", Payload.of(key.encode()), tag=f"s{number}")
            store.copy(f"to/{number} {key}2", [ObjectRange.whole(source)], tag=f"t{number}")
            assert self.raw_get(f"to/{number} {key}2") == key.encode()

    def test_copy_under_the_same_name_in_another_directory(self, store: Store) -> None:
        """A store may not be able to; but no object's tag becomes another's."""
        self._need(store.capabilities.tags)
        source = self._source(store)
        try:
            store.copy("e/a", [ObjectRange.whole(source)], tag="t2")
        except UnsupportedError:
            assert keys_of(store) == ["d/a"]
        else:
            assert store.head("e/a").tag == "t2"
        assert store.head("d/a").tag == "t1"

    def test_copy_of_a_copy(self, store: Store) -> None:
        first = store.copy("b", [ObjectRange.whole(self._source(store))], tag="t2")
        store.copy("c", [ObjectRange.whole(first)], tag="t3")
        store.delete(["d/a", "b"])
        assert self.raw_get("c") == self._data

    def test_copies_are_independent_of_deletions(self, store: Store) -> None:
        source = self._source(store)
        meta = store.copy("b", [ObjectRange.whole(source)], tag="t2")
        store.copy("c", [ObjectRange.whole(source)], tag="t3")
        store.delete(["d/a"])
        assert self.raw_get("b") == self._data
        assert store.head("b").version == meta.version
        if store.capabilities.conditional_delete:
            assert list(store.delete_versions([meta])) == []
            assert keys_of(store) == ["c"]
        if store.capabilities.tags:
            assert store.head("c").tag == "t3"

    def test_copies_are_independent_of_replacements(self, store: Store) -> None:
        source = self._source(store)
        store.copy("b", [ObjectRange.whole(source)], tag="t2")
        store.put("d/a", Payload.of(b"new"))
        assert self.raw_get("b") == self._data
        store.put("b", Payload.of(b"newer"))
        assert self.raw_get("d/a") == b"new"

    def test_copy_never_replaces(self, store: Store) -> None:
        self._need(store.capabilities.create_only)
        source = self._source(store)
        store.put("b", Payload.of(b"there"))
        with pytest.raises(AlreadyExistsError, match="b"):
            store.copy("b", [ObjectRange.whole(source)], tag="t2")
        assert self.raw_get("b") == b"there"
        with pytest.raises(AlreadyExistsError):
            store.copy("d/a", [ObjectRange.whole(source)], tag="t2")
        assert self.raw_get("d/a") == self._data

    def test_copy_recognises_its_own_earlier_try(self, store: Store) -> None:
        self._need(store.capabilities.create_only and store.capabilities.tags)
        source = self._source(store)
        first = store.copy("b", [ObjectRange.whole(source)], tag="t2")
        again = store.copy("b", [ObjectRange.whole(source)], tag="t2")
        assert again.version == first.version
        with pytest.raises(AlreadyExistsError):
            store.copy("b", [ObjectRange.whole(source)], tag="t3")
        assert store.head("b").tag == "t2"

    def test_copy_of_what_was_replaced(self, store: Store) -> None:
        source = self._source(store)
        store.put("d/a", Payload.of(bytes(reversed(self._data))))
        for stale in (source, replace(source, version=None)):
            with pytest.raises(PreconditionFailedError, match="d/a"):
                store.copy("b", [ObjectRange.whole(stale)], tag="t2")
        assert keys_of(store) == ["d/a"]

    def test_copy_of_what_is_gone(self, store: Store) -> None:
        source = self._source(store)
        store.delete(["d/a"])
        with pytest.raises((NotFoundError, PreconditionFailedError), match="d/a"):
            store.copy("b", [ObjectRange.whole(source)], tag="t2")
        assert keys_of(store) == []

    def test_copy_of_ranges(self, store: Store) -> None:
        source = self._source(store)
        least = max(store.capabilities.min_part_size, 1)
        other = store.put("o", Payload.of(bytes(range(256)) * 20))
        ranges = [ObjectRange(source, 1000, 1000 + least), ObjectRange(other, 0, other.size), ObjectRange(source, 3, 9)]
        if least > 1:
            ranges = [ranges[0], ranges[2]]
        if not store.capabilities.range_copies:
            with pytest.raises(UnsupportedError):
                store.copy("b", ranges, tag="t2")
            assert keys_of(store) == ["d/a", "o"]
            return
        meta = store.copy("b", ranges, tag="t2")
        expected = b"".join(self.raw_get(r.meta.key)[r.start : r.stop] for r in ranges)
        assert self.raw_get("b") == expected
        assert meta.size == len(expected)

    def test_copy_of_ranges_that_are_too_small(self, store: Store) -> None:
        source = self._source(store)
        self._need(store.capabilities.range_copies and store.capabilities.min_part_size > 1)
        with pytest.raises(UnsupportedError):
            store.copy("b", [ObjectRange(source, 0, 5), ObjectRange(source, 7, 9)], tag="t2")
        assert keys_of(store) == ["d/a"]

    def test_parts_that_are_copied_and_parts_that_are_sent(self, store: Store) -> None:
        source = self._source(store, parts=True)
        least = max(store.capabilities.min_part_size, 1)
        upload = store.create_upload("up", tag="t2", create_only=True)
        parts = [
            store.copy_part(upload, 1, ObjectRange(source, 10, 10 + least)),
            store.put_part(upload, 2, Payload.of(b"n" * least)),
            store.copy_part(upload, 3, ObjectRange(source, 0, 7)),
        ]
        assert [(part.number, part.size) for part in parts] == [(1, least), (2, least), (3, 7)]
        store.complete_upload(upload, parts)
        assert self.raw_get("up") == self._data[10 : 10 + least] + b"n" * least + self._data[:7]

    def test_part_of_what_was_replaced(self, store: Store) -> None:
        source = self._source(store, parts=True)
        store.put("d/a", Payload.of(b"new"))
        upload = store.create_upload("up", tag="t2")
        for stale in (source, replace(source, version=None)):
            with pytest.raises(PreconditionFailedError, match="d/a"):
                store.copy_part(upload, 1, ObjectRange(stale, 0, 3))
        store.delete(["d/a"])
        with pytest.raises((NotFoundError, PreconditionFailedError), match="d/a"):
            store.copy_part(upload, 1, ObjectRange(source, 0, 3))
        store.abort_upload(upload)

    def test_a_store_without_copies_says_so(self, store: Store) -> None:
        if store.capabilities.copies:
            return
        meta = store.put("a", Payload.of(b"x"))
        with pytest.raises(UnsupportedError):
            store.copy("b", [ObjectRange.whole(meta)], tag="t2")

    def _source(self, store: Store, *, parts: bool = False) -> ObjectMeta:
        self._need(store.capabilities.part_copies if parts else store.capabilities.copies)
        self._data = bytes(range(251)) * (max(store.capabilities.min_part_size, 10_000) // 251 + 10)
        return store.create("d/a", Payload.of(self._data), tag="t1")
