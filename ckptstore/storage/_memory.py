"""A dictionary: for tests, for trying things out, and as the plainest reading of the contract."""

from __future__ import annotations

import errno
import itertools
import secrets
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ckptstore._clock import SystemClock
from ckptstore.errors import DataLossError, NotFoundError, StorageError, UnsupportedError
from ckptstore.storage._base import Capabilities, ObjectMeta, Payload, Store, Upload, UploadPart, check_key, check_tag
from ckptstore.storage._coalesce import sort_targets
from ckptstore.storage._conditions import not_new, not_that_version
from ckptstore.storage._deletion import key_list

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ckptstore._clock import Clock
    from ckptstore.storage._base import ObjectRange, ReadTarget


@dataclass(frozen=True, slots=True)
class _Object:
    data: bytes
    meta: ObjectMeta


@dataclass(slots=True)
class _Parts:
    upload: Upload
    data: dict[int, tuple[str, bytes]] = field(default_factory=dict)  # by number: tag and bytes


class MemoryStore(Store):
    """Objects in this process, for as long as it lasts. Every put is copied once; versions are counted.

    Args:
        multipart: Whether the upload verbs work.
        min_part_size: The least bytes of every part but the last, as cloud stores have it.
        max_parts: The most parts in one upload.
        max_put_size: The most bytes in one `put` or part, or None.
        clock: Where `ObjectMeta.modified` comes from.
    """

    def __init__(
        self,
        *,
        multipart: bool = True,
        min_part_size: int = 0,
        max_parts: int = 10_000,
        max_put_size: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._capabilities = Capabilities(
            durable=False,
            create_only=True,
            compare_and_swap=True,
            conditional_delete=True,
            tags=True,
            multipart=multipart,
            min_part_size=min_part_size if multipart else 0,
            max_parts=max_parts if multipart else 0,
            max_put_size=max_put_size,
            maps=True,
            copies=True,
            range_copies=True,
            part_copies=multipart,
        )
        self._clock: Clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._versions = itertools.count(1)
        self._objects: dict[str, _Object] = {}
        self._uploads: dict[str, _Parts] = {}

    @property
    def url(self) -> str:
        """See `Store.url`."""
        return "memory"

    @property
    def capabilities(self) -> Capabilities:
        """See `Store.capabilities`."""
        return self._capabilities

    @property
    def pending_uploads(self) -> list[Upload]:
        """The uploads that were neither completed nor aborted."""
        with self._lock:
            return [parts.upload for parts in self._uploads.values()]

    def get(self, key: str, *, limit: int | None = None) -> tuple[bytes, ObjectMeta]:
        """See `Store.get`."""
        found = self._find(key)
        if limit is not None and found.meta.size > limit:
            raise StorageError(
                f"{self.path(key)} has {found.meta.size} bytes, and at most {limit} are accepted here; "
                "check that it is the object it should be.",
                path=self.path(key),
                errno=errno.EFBIG,
            )
        return found.data, found.meta

    def read_into(self, key: str, targets: Sequence[ReadTarget], *, version: str | None = None) -> None:
        """See `Store.read_into`."""
        check_key(key)
        wanted = sort_targets(targets)
        if not wanted:
            return
        found = self._find(key)
        if version is not None and version != found.meta.version:
            raise not_that_version(self.path(key))
        source = memoryview(found.data)
        for offset, view in wanted:
            stop = offset + view.nbytes
            if stop > len(source):
                raise DataLossError(
                    f"{self.path(key)} ends at byte {len(source)}, but bytes up to {stop} were asked for; "
                    "it is truncated: restore it from a copy.",
                    path=self.path(key),
                    offset=len(source),
                )
            view[:] = source[offset:stop]

    def map(self, key: str, *, version: str | None = None) -> memoryview | None:
        """See `Store.map`: it is in memory already."""
        found = self._find(check_key(key))
        if version is not None and version != found.meta.version:
            raise not_that_version(self.path(key))
        return memoryview(found.data)

    def head(self, key: str) -> ObjectMeta:
        """See `Store.head`."""
        return self._find(key).meta

    def put(self, key: str, payload: Payload) -> ObjectMeta:
        """See `Store.put`."""
        check_key(key)
        self._check_size(key, payload)
        data = payload.tobytes()
        with self._lock:
            return self._store_locked(key, data, None)

    def create(self, key: str, payload: Payload, *, tag: str | None = None) -> ObjectMeta:
        """See `Store.create`."""
        return self._write_if(key, payload, None, tag)

    def replace(self, key: str, payload: Payload, *, version: str, tag: str | None = None) -> ObjectMeta:
        """See `Store.replace`."""
        return self._write_if(key, payload, version, tag)

    def _write_if(self, key: str, payload: Payload, version: str | None, tag: str | None) -> ObjectMeta:
        check_key(key)
        if tag is not None:
            check_tag(tag)
        self._check_size(key, payload)
        data = payload.tobytes()
        with self._lock:
            there = self._objects.get(key)
            if (there.meta.version if there is not None else None) == version:
                return self._store_locked(key, data, tag)
            if there is not None and tag is not None and there.meta.tag == tag:
                return there.meta
        raise not_new(self.path(key)) if version is None else not_that_version(self.path(key))

    def copy(self, key: str, ranges: Sequence[ObjectRange], *, tag: str | None = None) -> ObjectMeta:
        """See `Store.copy`."""
        if any(source.stop - source.start < self._capabilities.min_part_size for source in ranges[:-1]):
            raise UnsupportedError(f"{self.path(key)}: ranges that small are not copied.", path=self.path(key))
        return self.create(key, Payload([self._range(source) for source in ranges]), tag=tag)

    def _range(self, source: ObjectRange) -> memoryview:
        found = self._find(source.meta.key)
        if source.meta.version is None or source.meta.version != found.meta.version:
            raise not_that_version(self.path(source.meta.key))
        return memoryview(found.data)[source.start : source.stop]

    def delete_versions(self, objects: Iterable[ObjectMeta]) -> Sequence[str]:
        """See `Store.delete_versions`."""
        spared = []
        for meta in [*objects]:
            with self._lock:
                there = self._objects.get(check_key(meta.key))
                if there is not None and there.meta.version == meta.version:
                    del self._objects[meta.key]
                elif there is not None:
                    spared.append(meta.key)
        return spared

    def list(self, prefix: str = "") -> Iterator[ObjectMeta]:
        """See `Store.list`. It is of the moment of the call."""
        with self._lock:
            found = [replace(item.meta, tag=None) for key, item in self._objects.items() if key.startswith(prefix)]
        return iter(sorted(found, key=lambda meta: meta.key.encode("utf-8", "surrogateescape")))

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store.delete`. If one of the keys is no key, nothing is deleted."""
        for key in [check_key(key) for key in key_list(keys)]:
            with self._lock:
                self._objects.pop(key, None)

    def create_upload(self, key: str, *, tag: str | None = None, create_only: bool = False) -> Upload:
        """See `Store.create_upload`."""
        if not self._capabilities.multipart:
            return super().create_upload(key)
        tag = secrets.token_hex(16) if tag is None else check_tag(tag)
        upload = Upload(check_key(key), f"upload-{next(self._versions)}", tag, create_only)
        with self._lock:
            self._uploads[upload.upload_id] = _Parts(upload)
        return upload

    def put_part(self, upload: Upload, number: int, payload: Payload) -> UploadPart:
        """See `Store.put_part`."""
        if not self._capabilities.multipart:
            return super().put_part(upload, number, payload)
        if not 1 <= number <= self._capabilities.max_parts:
            raise self._refuse(upload, f"part number {number} is not in 1..{self._capabilities.max_parts}")
        self._check_size(upload.key, payload)
        data = payload.tobytes()
        tag = f"part-{next(self._versions)}"
        with self._lock:
            self._parts(upload).data[number] = (tag, data)
        return UploadPart(number, tag, len(data))

    def copy_part(self, upload: Upload, number: int, source: ObjectRange) -> UploadPart:
        """See `Store.copy_part`."""
        if not self._capabilities.multipart:
            return super().copy_part(upload, number, source)
        return self.put_part(upload, number, Payload([self._range(source)]))

    def complete_upload(self, upload: Upload, parts: Sequence[UploadPart]) -> ObjectMeta:
        """See `Store.complete_upload`. Parts are joined by ascending number."""
        if not self._capabilities.multipart:
            return super().complete_upload(upload, parts)
        with self._lock:
            there = self._objects.get(upload.key)
            if upload.upload_id not in self._uploads and there is not None and there.meta.tag == upload.tag:
                return there.meta
            have = self._parts(upload).data
            ordered = sorted(parts, key=lambda part: part.number)
            if not ordered or len({part.number for part in ordered}) != len(ordered):
                raise self._refuse(upload, "no parts were named, or one of them twice")
            for part in ordered:
                tag, data = have.get(part.number, (None, b""))
                if tag != part.tag:
                    raise self._refuse(upload, f"part {part.number} was not sent, or sent again since")
                if part is not ordered[-1] and len(data) < self._capabilities.min_part_size:
                    raise self._refuse(upload, f"part {part.number} has only {len(data)} bytes")
            if upload.create_only and there is not None:
                if there.meta.tag == upload.tag:
                    return there.meta
                raise not_new(self.path(upload.key))
            joined = b"".join(have[part.number][1] for part in ordered)
            meta = self._store_locked(upload.key, joined, upload.tag)
            del self._uploads[upload.upload_id]
            return meta

    def abort_upload(self, upload: Upload) -> None:
        """See `Store.abort_upload`."""
        if not self._capabilities.multipart:
            super().abort_upload(upload)
        with self._lock:
            self._uploads.pop(upload.upload_id, None)

    def _find(self, key: str) -> _Object:
        check_key(key)
        with self._lock:
            found = self._objects.get(key)
        if found is None:
            raise NotFoundError(f"There is no object {self.path(key)}; check the name.", path=self.path(key))
        return found

    def _store_locked(self, key: str, data: bytes, tag: str | None) -> ObjectMeta:
        meta = ObjectMeta(key, len(data), f"v{next(self._versions)}", self._clock.time(), tag)
        self._objects[key] = _Object(data, meta)
        return meta

    def _parts(self, upload: Upload) -> _Parts:
        parts = self._uploads.get(upload.upload_id)
        if parts is None:
            raise NotFoundError(
                f"The upload of {self.path(upload.key)} is gone: completed or aborted. Begin a new one.",
                path=self.path(upload.key),
            )
        return parts

    def _check_size(self, key: str, payload: Payload) -> None:
        most = self._capabilities.max_put_size
        if most is not None and payload.nbytes > most:
            raise StorageError(
                f"{self.path(key)} cannot be sent at once: {payload.nbytes} bytes, and {most} are the most; "
                "send it in smaller parts.",
                path=self.path(key),
                errno=errno.EFBIG,
            )

    def _refuse(self, upload: Upload, why: str) -> StorageError:
        return StorageError(
            f"The upload of {self.path(upload.key)} was refused: {why}. Abort it and begin a new one.",
            path=self.path(upload.key),
            errno=errno.EINVAL,
        )
