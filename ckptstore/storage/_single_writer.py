"""The conditional verbs on a store that has none: right for as long as one process alone writes."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

from ckptstore.errors import NotFoundError
from ckptstore.storage._conditions import not_new, not_that_version
from ckptstore.storage._wrapper import WrapperStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ckptstore.storage._base import ObjectMeta, Payload


class SingleWriterStore(WrapperStore):
    """Looks first, and then acts. Somebody else's change in between is lost, so the capabilities promise nothing.

    Tags are not kept. A version is the inner store's, or, where that has none, the size and checksum of the bytes,
    which `get` alone tells.
    """

    def get(self, key: str, *, limit: int | None = None) -> tuple[bytes, ObjectMeta]:
        """See `Store.get`. The meta data always have a version."""
        data, meta = self._inner.get(key, limit=limit)
        return data, meta if meta.version is not None else replace(meta, version=_version(data))

    def create(self, key: str, payload: Payload, *, tag: str | None = None) -> ObjectMeta:
        """See `Store.create`; best effort."""
        try:
            self._inner.head(key)
        except NotFoundError:
            return self._versioned(self._inner.put(key, payload), payload)
        raise not_new(self.path(key))

    def replace(self, key: str, payload: Payload, *, version: str, tag: str | None = None) -> ObjectMeta:
        """See `Store.replace`; best effort."""
        if self._version_of(key) != version:
            raise not_that_version(self.path(key))
        return self._versioned(self._inner.put(key, payload), payload)

    def delete_versions(self, objects: Iterable[ObjectMeta]) -> Sequence[str]:
        """See `Store.delete_versions`; best effort. What has no version is deleted whatever it is."""
        same, spared = [], []
        for meta in [*objects]:
            now = None if meta.version is None else self._version_of(meta.key)
            if now is None or now == meta.version:
                same.append(meta.key)
            else:
                spared.append(meta.key)
        self._inner.delete(same)
        return spared

    def _version_of(self, key: str) -> str | None:
        try:
            meta = self._inner.head(key)
            return meta.version if meta.version is not None else self.get(key)[1].version
        except NotFoundError:
            return None

    def _versioned(self, meta: ObjectMeta, payload: Payload) -> ObjectMeta:
        return meta if meta.version is not None else replace(meta, version=_version(payload.tobytes()))


def _version(data: bytes) -> str:
    return f"{len(data):x}-{zlib.crc32(data):08x}"
