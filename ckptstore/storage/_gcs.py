"""A bucket of Google Cloud Storage, or a prefix in it.

It uses gcsfs for what gcsfs is good at (options, credentials, endpoints), and speaks HTTP itself, on the calling
thread: gcsfs sends one stream for each object, retries six times by itself, and has no time-out.

    JSON interface   get, read_into, head, put, create, replace, list, delete
    XML interface    the multipart verbs, which the JSON one does not have

A version is an object's generation, a number that never comes back.
"""

from __future__ import annotations

import email.utils
import functools
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from ckptstore.errors import NotFoundError, PreconditionFailedError, StorageError, StorageUnavailableError
from ckptstore.storage._base import Capabilities, ObjectMeta, Payload, check_key, check_tag
from ckptstore.storage._bodies import Scatter, crc32c_base64, receive, receive_all
from ckptstore.storage._bucket import ATTEMPT, check_range, delete_singly, versions_of
from ckptstore.storage._conditions import not_new, not_that_version
from ckptstore.storage._deletion import deletion_error, key_list
from ckptstore.storage._fsspec import is_key, too_large
from ckptstore.storage._gcs_client import (
    CACHE_CONTROL,
    CONTENT_TYPE,
    DESCRIBED,
    LISTED,
    json_of,
    object_meta,
    only_if,
)
from ckptstore.storage._gcs_uploads import GcsUploads
from ckptstore.storage._temporary_file import is_temporary

if TYPE_CHECKING:
    from ckptstore.storage._base import ReadTarget

_CAPABILITIES = Capabilities(
    create_only=True,
    compare_and_swap=True,
    conditional_delete=True,
    tags=True,
    multipart=True,
    min_part_size=5 << 20,
    max_parts=10_000,
    max_put_size=5 << 40,
    copies=True,
)


class GcsStore(GcsUploads):
    """A bucket or a prefix in it.

    Args:
        url: `gs://bucket` or `gs://bucket/prefix`.
        storage_options: What `gcsfs.GCSFileSystem` takes.
        filesystem: A `gcsfs.GCSFileSystem` to take options and credentials from.
        pool_connections: The most connections that are kept open.
    """

    @property
    def capabilities(self) -> Capabilities:
        """See `Store.capabilities`. They are GCS' own; no request is sent."""
        return _CAPABILITIES

    def get(self, key: str, *, limit: int | None = None) -> tuple[bytes, ObjectMeta]:
        """See `Store.get`. One request, whose reply has bytes, generation and time stamp together."""
        path = self.path(check_key(key))
        with self._download(key, {}, {}) as reply:
            if reply.length is None:
                raise StorageError(f"The server does not tell the size of {path}.", path=path)
            stamp = reply.headers.get("Last-Modified")
            modified = email.utils.parsedate_to_datetime(stamp).timestamp() if stamp else None
            tag = reply.headers.get(f"X-Goog-Meta-{ATTEMPT}")
            meta = ObjectMeta(key, reply.length, reply.headers.get("X-Goog-Generation"), modified, tag)
            if limit is not None and meta.size > limit:
                raise too_large(path, meta.size, limit)
            return receive_all(reply.body, meta.size, path), meta

    def read_into(self, key: str, targets: Sequence[ReadTarget], *, version: str | None = None) -> None:
        """See `Store.read_into`. One ranged request, straight into the targets."""
        path = self.path(check_key(key))
        scatter = Scatter(targets)
        if scatter.start == scatter.stop:
            return
        query = only_if(version) if version is not None else {}

        with self._download(key, query, {"Range": f"bytes={scatter.start}-{scatter.stop - 1}"}) as reply:
            found = reply.headers.get("X-Goog-Generation")
            if version is not None and found is not None and found != version:
                # Some servers take the condition and do not look at it.
                raise not_that_version(path)
            content_range = reply.headers.get("Content-Range")
            check_range(reply.status, content_range, reply.length, scatter.start, scatter.stop, path)
            receive(reply.body, scatter, path)

    def put(self, key: str, payload: Payload) -> ObjectMeta:
        """See `Store.put`. GCS checks the CRC-32C before it shows the object."""
        return self._insert(key, payload, crc32c_base64(payload), None, {})

    def create(self, key: str, payload: Payload, *, tag: str | None = None) -> ObjectMeta:
        """See `Store.create`. One request; a second one when there is an object and a tag to look for."""
        checksum = crc32c_base64(payload)
        try:
            return self._insert(key, payload, checksum, tag, {"ifGenerationMatch": "0"})
        except PreconditionFailedError as error:
            ours = self._find(key, tag, checksum)
            if ours is None:
                raise not_new(self.path(key)) from error
            return ours

    def replace(self, key: str, payload: Payload, *, version: str, tag: str | None = None) -> ObjectMeta:
        """See `Store.replace`. Requests as for `create`. GCS takes about one write a second of one object."""
        checksum = crc32c_base64(payload)
        try:
            return self._insert(key, payload, checksum, tag, only_if(version))
        except PreconditionFailedError as error:
            ours = self._find(key, tag, checksum)
            if ours is None:
                raise not_that_version(self.path(key)) from error
            return ours

    def _insert(
        self, key: str, payload: Payload, checksum: str, tag: str | None, condition: Mapping[str, str]
    ) -> ObjectMeta:
        path = self._writable(key)
        description = {
            "name": self._prefix + key,
            "crc32c": checksum,
            "cacheControl": CACHE_CONTROL,
            "contentType": CONTENT_TYPE,
            "metadata": {} if tag is None else {ATTEMPT: check_tag(tag)},
        }
        boundary = uuid.uuid4().hex  # 122 random bits do not occur in the payload
        head = (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(description)}\r\n"
            f"--{boundary}\r\nContent-Type: {CONTENT_TYPE}\r\n\r\n"
        )
        tail = f"\r\n--{boundary}--\r\n"
        reply = self._request(
            "POST",
            f"/upload/storage/v1/b/{quote(self._bucket, safe='')}/o",
            {"uploadType": "multipart", "fields": DESCRIBED, **condition},
            {"Content-Type": f"multipart/related; boundary={boundary}"},
            Payload([head.encode(), *payload.buffers, tail.encode()]),
            key=key,
        )
        resource = json_of(reply, path)
        meta = object_meta(key, resource)
        if meta.size != payload.nbytes or resource.get("crc32c", checksum) != checksum:
            raise StorageUnavailableError(f"{path} arrived damaged, and must be written again.", path=path)
        return meta

    def _find(self, key: str, tag: str | None, checksum: str) -> ObjectMeta | None:
        """The object that we wrote, if it is there: the reply was lost. Nothing is asked when there is no tag."""
        if tag is None:
            return None
        try:
            resource = self._describe(key)
        except NotFoundError:
            return None
        there = object_meta(key, resource)
        return there if there.tag == tag and resource.get("crc32c", checksum) == checksum else None

    def list(self, prefix: str = "") -> Iterator[ObjectMeta]:
        """See `Store.list`. The whole listing is read before the first object is handed out."""
        return (meta for meta in self._listing(prefix) if not is_temporary(meta.key))

    def unfinished(self, prefix: str = "") -> Iterator[ObjectMeta]:
        """See `Store.unfinished`: the temporary names of create-only uploads."""
        return (meta for meta in self._listing(prefix) if is_temporary(meta.key))

    def _listing(self, prefix: str) -> Sequence[ObjectMeta]:
        query = {"prefix": self._prefix + prefix, "fields": f"items({LISTED}),nextPageToken"}
        found = []
        while True:
            page = json_of(self._request("GET", self._objects(), query), self._url)
            for item in page.get("items", ()):
                key = item["name"][len(self._prefix) :]
                if is_key(key):
                    found.append(replace(object_meta(key, item), tag=None))  # some servers send more than was asked
            token = page.get("nextPageToken")
            if not token:
                break
            query["pageToken"] = token
        found.sort(key=lambda meta: meta.key.encode("utf-8", "surrogateescape"))
        return found

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store.delete`. Single requests, several at a time."""
        self._delete_all([(check_key(key), {}) for key in key_list(keys)])

    def delete_versions(self, objects: Iterable[ObjectMeta]) -> Sequence[str]:
        """See `Store.delete_versions`. Single requests, several at a time."""
        return self._delete_all([(key, only_if(version)) for key, version in versions_of(objects)])

    def _delete_all(self, victims: Sequence[tuple[str, Mapping[str, str]]]) -> Sequence[str]:
        """Deletes keys, each if its condition holds, and hands back the others."""
        spared, failures = delete_singly((key, functools.partial(self._remove, key, only)) for key, only in victims)
        if failures:
            raise deletion_error(failures) from next(iter(failures.values()))
        return spared
