"""The conditional verbs on a store that has none: right for as long as one process alone writes."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING

from ckptstore.errors import NotFoundError
from ckptstore.storage._base import Payload, Store, check_key, check_tag
from ckptstore.storage._conditions import not_new, not_that_version
from ckptstore.storage._wrapper import WrapperStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ckptstore.storage._base import Capabilities, ObjectMeta, ObjectRange, ReadTarget

_SMALL = 4 << 20  # the most bytes that `head` reads to tell a version; state files are far below


class SingleWriterStore(WrapperStore):
    """Looks first, and then acts. Somebody else's change in between is lost, so the capabilities promise nothing.

    A version is the inner store's. Where that has none, it is a digest of the bytes, told by `get` and `put`, by `head`
    of a small object, and by no listing; the same bytes written again are then the same version.

    Tags are not kept. Instead an object that holds the very bytes of a tagged write counts as written by it: a retry
    after a lost reply finds its own work, and where one process writes there is nobody else to mistake it for.
    """

    @property
    def capabilities(self) -> Capabilities:
        """See `Store.capabilities`: without any promise that needs more than one process to break."""
        return dataclasses.replace(
            self._inner.capabilities,
            create_only=False,
            compare_and_swap=False,
            conditional_delete=False,
            tags=False,
            maps=False,
            copies=False,
            range_copies=False,
            part_copies=False,
        )

    def get(self, key: str, *, limit: int | None = None) -> tuple[bytes, ObjectMeta]:
        """See `Store.get`. The meta data always have a version."""
        data, meta = self._inner.get(key, limit=limit)
        return data, _versioned(meta, Payload.of(data))

    def read_into(self, key: str, targets: Sequence[ReadTarget], *, version: str | None = None) -> None:
        """See `Store.read_into`. A version is looked at only where the inner store knows of such."""
        self._inner.read_into(key, targets, version=version if self.capabilities.pinned_reads else None)

    def map(self, key: str, *, version: str | None = None) -> memoryview | None:
        """See `Store.map`: not here, where versions may be ours and not the inner store's."""
        return None

    def copy(self, key: str, ranges: Sequence[ObjectRange], *, tag: str | None = None) -> ObjectMeta:
        """See `Store.copy`: likewise."""
        return Store.copy(self, key, ranges, tag=tag)

    def head(self, key: str) -> ObjectMeta:
        """See `Store.head`. Where the inner store has no versions, a small object is read."""
        meta = self._inner.head(key)
        return meta if meta.version is not None or meta.size > _SMALL else self.get(key)[1]

    def put(self, key: str, payload: Payload) -> ObjectMeta:
        """See `Store.put`. The meta data always have a version."""
        return _versioned(self._inner.put(key, payload), payload)

    def create(self, key: str, payload: Payload, *, tag: str | None = None) -> ObjectMeta:
        """See `Store.create`; best effort."""
        check_key(key)
        if tag is not None:
            check_tag(tag)
        try:
            there = self._inner.head(key)
        except NotFoundError:
            return self.put(key, payload)
        own = self._own(there, payload) if tag is not None else None
        if own is None:
            raise not_new(self.path(key))
        return own

    def replace(self, key: str, payload: Payload, *, version: str, tag: str | None = None) -> ObjectMeta:
        """See `Store.replace`; best effort."""
        check_key(key)
        if tag is not None:
            check_tag(tag)
        try:
            there = self._inner.head(key)
            if self._version(there) == version:
                return self.put(key, payload)
            own = self._own(there, payload) if tag is not None else None
        except NotFoundError:
            own = None
        if own is None:
            raise not_that_version(self.path(key))
        return own

    def delete_versions(self, objects: Iterable[ObjectMeta]) -> Sequence[str]:
        """See `Store.delete_versions`; best effort. What has no version is known by its size and time."""
        same: list[str] = []
        spared: list[str] = []
        for meta in [*objects]:
            try:
                (same if self._is(meta) else spared).append(meta.key)
            except NotFoundError:
                continue
        self._inner.delete(same)
        return spared

    def _is(self, meta: ObjectMeta) -> bool:
        there = self._inner.head(meta.key)
        if meta.version is None:
            return (there.size, there.modified) == (meta.size, meta.modified)
        return self._version(there) == meta.version

    def _version(self, there: ObjectMeta) -> str | None:
        return there.version if there.version is not None else self.get(there.key)[1].version

    def _own(self, there: ObjectMeta, payload: Payload) -> ObjectMeta | None:
        """The object's meta data if it holds these very bytes."""
        if there.size != payload.nbytes:
            return None
        data, meta = self.get(there.key)
        return meta if _digest(Payload.of(data)) == _digest(payload) else None


def _versioned(meta: ObjectMeta, payload: Payload) -> ObjectMeta:
    return meta if meta.version is not None else dataclasses.replace(meta, version=_digest(payload))


def _digest(payload: Payload) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for view in payload.buffers:
        digest.update(view)
    return digest.hexdigest()
