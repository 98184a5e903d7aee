"""The base of stores that stand before another store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptstore.storage._base import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ckptstore.storage._base import Capabilities, ObjectMeta, ObjectRange, Payload, ReadTarget, Upload, UploadPart


class WrapperStore(Store):
    """Hands every verb on to `inner`; subclasses override those they have something to add to.

    A wrapper keeps the whole contract of `Store`. Its repr shows what it stands before, as in
    `RetryingStore(LocalStore(/data))`.
    """

    def __init__(self, inner: Store) -> None:
        self._inner = inner

    @property
    def inner(self) -> Store:
        """The store behind this one."""
        return self._inner

    @property
    def url(self) -> str:
        """See `Store.url`: that of the inner store."""
        return self._inner.url

    @property
    def capabilities(self) -> Capabilities:
        """See `Store.capabilities`: those of the inner store."""
        return self._inner.capabilities

    def get(self, key: str, *, limit: int | None = None) -> tuple[bytes, ObjectMeta]:
        """See `Store.get`."""
        return self._inner.get(key, limit=limit)

    def read_into(self, key: str, targets: Sequence[ReadTarget], *, version: str | None = None) -> None:
        """See `Store.read_into`."""
        self._inner.read_into(key, targets, version=version)

    def map(self, key: str, *, version: str | None = None) -> memoryview | None:
        """See `Store.map`."""
        return self._inner.map(key, version=version)

    def head(self, key: str) -> ObjectMeta:
        """See `Store.head`."""
        return self._inner.head(key)

    def put(self, key: str, payload: Payload) -> ObjectMeta:
        """See `Store.put`."""
        return self._inner.put(key, payload)

    def create(self, key: str, payload: Payload, *, tag: str | None = None) -> ObjectMeta:
        """See `Store.create`."""
        return self._inner.create(key, payload, tag=tag)

    def replace(self, key: str, payload: Payload, *, version: str, tag: str | None = None) -> ObjectMeta:
        """See `Store.replace`."""
        return self._inner.replace(key, payload, version=version, tag=tag)

    def delete_versions(self, objects: Iterable[ObjectMeta]) -> Sequence[str]:
        """See `Store.delete_versions`."""
        return self._inner.delete_versions(objects)

    def unfinished(self, prefix: str = "") -> Iterator[ObjectMeta]:
        """See `Store.unfinished`."""
        return self._inner.unfinished(prefix)

    def copy(self, key: str, ranges: Sequence[ObjectRange], *, tag: str | None = None) -> ObjectMeta:
        """See `Store.copy`."""
        return self._inner.copy(key, ranges, tag=tag)

    def list(self, prefix: str = "") -> Iterator[ObjectMeta]:
        """See `Store.list`."""
        return self._inner.list(prefix)

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store.delete`."""
        self._inner.delete(keys)

    def remove_directory(self, name: str) -> None:
        """See `Store.remove_directory`."""
        self._inner.remove_directory(name)

    def create_upload(self, key: str, *, tag: str | None = None, create_only: bool = False) -> Upload:
        """See `Store.create_upload`."""
        return self._inner.create_upload(key, tag=tag, create_only=create_only)

    def put_part(self, upload: Upload, number: int, payload: Payload) -> UploadPart:
        """See `Store.put_part`."""
        return self._inner.put_part(upload, number, payload)

    def copy_part(self, upload: Upload, number: int, source: ObjectRange) -> UploadPart:
        """See `Store.copy_part`."""
        return self._inner.copy_part(upload, number, source)

    def complete_upload(self, upload: Upload, parts: Sequence[UploadPart]) -> ObjectMeta:
        """See `Store.complete_upload`."""
        return self._inner.complete_upload(upload, parts)

    def abort_upload(self, upload: Upload) -> None:
        """See `Store.abort_upload`."""
        self._inner.abort_upload(upload)

    def close(self) -> None:
        """See `Store.close`: closes the inner store."""
        self._inner.close()

    def path(self, key: str) -> str:
        """See `Store.path`."""
        return self._inner.path(key)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._inner!r})"


def innermost(store: Store) -> Store:
    """The store behind all wrappers."""
    while isinstance(store, WrapperStore):
        store = store.inner
    return store
