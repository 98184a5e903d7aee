"""What the parts of `StoreTests` share: the store to be tested, the raw side of it, and small helpers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ckptstore.storage import Store


class PayloadError(Exception):
    """What a failing payload raises in these tests."""


class StoreSuite:
    """What a backend says of itself; see `StoreTests`.

    Attributes:
        single_writer: The conditional verbs work although the store's capabilities do not promise them: as long as
            nobody else writes.
    """

    single_writer = False

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        """An empty store, closed after the test."""
        raise NotImplementedError

    def raw_get(self, key: str) -> bytes:
        """An object's bytes, read without the store."""
        raise NotImplementedError

    def raw_put(self, key: str, data: bytes) -> None:
        """Writes an object without the store."""
        raise NotImplementedError

    def raw_keys(self) -> set[str]:
        """All there is, also what `list` hides: temporary files and the like. A lock's file, which stays, is not."""
        raise NotImplementedError

    def _need(self, promised: bool) -> None:
        if not promised:
            pytest.skip("the store does not promise this")


def keys_of(store: Store, prefix: str = "") -> list[str]:
    """The keys below a prefix, in the order of the listing."""
    return [meta.key for meta in store.list(prefix)]


def read(store: Store, key: str, ranges: list[tuple[int, int]], version: str | None = None) -> list[bytes]:
    """The bytes of each range, an offset and a size, by one `read_into`."""
    buffers = [bytearray(size) for _, size in ranges]
    targets = [(start, memoryview(buffer)) for (start, _), buffer in zip(ranges, buffers, strict=True)]
    store.read_into(key, targets, version=version)
    return [bytes(buffer) for buffer in buffers]
