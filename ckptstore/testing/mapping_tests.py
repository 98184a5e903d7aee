"""What `Store.map` must do, on every store: most cannot, and say so with None."""

# ruff: noqa: D102 - the names of the tests are sentences

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ckptstore.errors import NotFoundError, PreconditionFailedError
from ckptstore.storage import Payload
from ckptstore.testing.store_suite import StoreSuite

if TYPE_CHECKING:
    from ckptstore.storage import Store


class MappingTests(StoreSuite):
    """The part of `StoreTests` about objects as memory."""

    def test_map_gives_the_bytes_or_none(self, store: Store) -> None:
        meta = store.put("d/a", Payload([b"hel", b"lo"]))
        found = store.map("d/a", version=meta.version)
        assert found is None or (bytes(found), found.readonly, found.format) == (b"hello", True, "B")

    def test_map_of_an_empty_object(self, store: Store) -> None:
        store.put("a", Payload(()))
        assert store.map("a") in (None, b"")

    def test_map_outlives_replacement_and_deletion(self, store: Store) -> None:
        data = bytes(range(256)) * 100
        store.put("a", Payload.of(data))
        store.put("b", Payload.of(data))
        first, second = store.map("a"), store.map("b")
        store.put("a", Payload.of(b"x" * len(data)))
        store.delete(["b"])
        assert first in (None, data)
        assert second in (None, data)
        now = store.map("a")
        assert now is None or bytes(now[:2]) == b"xx"

    def test_map_is_of_the_version_asked_for(self, store: Store) -> None:
        before = store.put("a", Payload.of(b"before"))
        if before.version is None or store.map("a") is None:
            return  # it cannot, and says nothing
        store.put("a", Payload.of(b"behind"))
        with pytest.raises(PreconditionFailedError, match="a"):
            store.map("a", version=before.version)

    def test_map_of_nothing(self, store: Store) -> None:
        store.put("a", Payload.of(b"there"))
        if store.map("a") is None:
            assert store.map("b") is None
        else:
            with pytest.raises(NotFoundError, match="b"):
                store.map("b")
