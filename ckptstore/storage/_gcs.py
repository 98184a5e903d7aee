"""A bucket of Google Cloud Storage, or a prefix in it.

It uses gcsfs for what gcsfs is good at (credentials, endpoints, one session on one event loop), and speaks HTTP
itself over that session: gcsfs sends one stream for each object, retries six times by itself, and has no time-out.

    JSON interface   get, read_into, head, put, list, delete
    XML interface    the multipart verbs, which the JSON one does not have

A version is an object's generation, a number that never comes back.
"""

from __future__ import annotations

import asyncio
import datetime
import email.utils
import functools
import json
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from ckptstore.errors import (
    NotFoundError,
    PreconditionFailedError,
    StorageError,
    StorageUnavailableError,
    UnsupportedError,
)
from ckptstore.storage._aio import PayloadReader, Scatter, crc32c_base64, receive, run
from ckptstore.storage._base import Capabilities, ObjectMeta, Payload, Upload, UploadPart, check_key
from ckptstore.storage._bucket import ATTEMPT, check_range, deep_merge, split_bucket
from ckptstore.storage._deletion import deletion_error, key_list
from ckptstore.storage._fsspec import FsspecStore, is_key, too_large
from ckptstore.storage._gcs_errors import from_reply, gcs_errors, is_missing_bucket, xml_text
from ckptstore.storage._gcs_http import Reply, gather, request_headers, send

if TYPE_CHECKING:
    from ckptstore.storage._base import ReadTarget

T = TypeVar("T")

_CAPABILITIES = Capabilities(multipart=True, min_part_size=5 << 20, max_parts=10_000, max_put_size=5 << 40)

_DELETES_AT_ONCE = 32  # single requests in flight; the batch interface is no faster and has replies inside replies
_FIELDS = "name,size,generation,updated"

# A public object would be cached for an hour by default, and the state file must never be an old one.
_CACHE_CONTROL = "no-store"
_CONTENT_TYPE = "application/octet-stream"


class GcsStore(FsspecStore):
    """A bucket or a prefix in it.

    Args:
        url: `gs://bucket` or `gs://bucket/prefix`.
        storage_options: What `gcsfs.GCSFileSystem` takes.
        filesystem: A `gcsfs.GCSFileSystem` to use as it is.
    """

    def __init__(
        self, url: str, storage_options: Mapping[str, Any] | None = None, *, filesystem: Any | None = None
    ) -> None:
        super().__init__(url, storage_options, filesystem=filesystem)
        self._bucket, self._prefix = split_bucket(self._url)

    @property
    def capabilities(self) -> Capabilities:
        """See `Store.capabilities`. They are GCS' own; no request is sent."""
        return _CAPABILITIES

    def get(self, key: str, *, limit: int | None = None) -> tuple[bytes, ObjectMeta]:
        """See `Store.get`. One request, whose reply has bytes, generation and time stamp together."""
        path = self.path(check_key(key))

        async def get(response: Any) -> tuple[bytes, ObjectMeta]:
            length = response.content_length
            if length is None:
                raise StorageError(f"The server does not tell the size of {path}.", path=path)
            stamp = response.headers.get("Last-Modified")
            modified = email.utils.parsedate_to_datetime(stamp).timestamp() if stamp else None
            meta = ObjectMeta(key, length, response.headers.get("X-Goog-Generation"), modified)
            if limit is not None and meta.size > limit:
                raise too_large(path, meta.size, limit)
            chunks: list[bytes] = []
            await receive(response.content.readany, chunks.append, meta.size, path)
            return b"".join(chunks), meta

        return self._download(key, {}, {}, get)

    def read_into(self, key: str, targets: Sequence[ReadTarget], *, version: str | None = None) -> None:
        """See `Store.read_into`. One ranged request, straight into the targets."""
        path = self.path(check_key(key))
        scatter = Scatter(targets)
        if scatter.start == scatter.stop:
            return
        query = {"ifGenerationMatch": version} if version is not None else {}

        async def read(response: Any) -> None:
            found = response.headers.get("X-Goog-Generation")
            if version is not None and found is not None and found != version:
                # Some servers take the condition and do not look at it.
                raise PreconditionFailedError(
                    f"{path} was replaced: it is not the version that was asked for.", path=path
                )
            content_range = response.headers.get("Content-Range")
            check_range(response.status, content_range, response.content_length, scatter.start, scatter.stop, path)
            await receive(response.content.readany, scatter.write, scatter.stop - scatter.start, path)

        self._download(key, query, {"Range": f"bytes={scatter.start}-{scatter.stop - 1}"}, read)

    def head(self, key: str) -> ObjectMeta:
        """See `Store.head`."""
        return _meta(key, self._resource(check_key(key), _FIELDS))

    def put(self, key: str, payload: Payload) -> ObjectMeta:
        """See `Store.put`. GCS checks the CRC-32C before it shows the object."""
        path = self.path(check_key(key))
        checksum = crc32c_base64(payload)
        description = {
            "name": self._prefix + key,
            "crc32c": checksum,
            "cacheControl": _CACHE_CONTROL,
            "contentType": _CONTENT_TYPE,
            "metadata": {ATTEMPT: uuid.uuid4().hex},
        }
        boundary = uuid.uuid4().hex  # 122 random bits do not occur in the payload
        head = (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(description)}\r\n"
            f"--{boundary}\r\nContent-Type: {_CONTENT_TYPE}\r\n\r\n"
        )
        tail = f"\r\n--{boundary}--\r\n"
        reply = self._request(
            "POST",
            f"/upload/storage/v1/b/{quote(self._bucket, safe='')}/o",
            {"uploadType": "multipart"},
            {"Content-Type": f"multipart/related; boundary={boundary}"},
            Payload([head.encode(), *payload.buffers, tail.encode()]),
            key=key,
        )
        resource = _json(reply, path)
        meta = _meta(key, resource)
        if meta.size != payload.nbytes or resource.get("crc32c", checksum) != checksum:
            raise StorageUnavailableError(f"{path} arrived damaged, and must be written again.", path=path)
        return meta

    def list(self, prefix: str = "") -> Iterator[ObjectMeta]:
        """See `Store.list`. The whole listing is read before the first object is handed out."""
        query = {"prefix": self._prefix + prefix, "fields": f"items({_FIELDS}),nextPageToken"}
        found = []
        while True:
            page = _json(self._request("GET", self._objects(), query), self._url)
            for item in page.get("items", ()):
                key = item["name"][len(self._prefix) :]
                if is_key(key):
                    found.append(_meta(key, item))
            token = page.get("nextPageToken")
            if not token:
                break
            query["pageToken"] = token
        found.sort(key=lambda meta: meta.key.encode("utf-8", "surrogateescape"))
        return iter(found)

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store.delete`. Single requests, several at a time."""
        names = [check_key(key) for key in key_list(keys)]
        with self._errors():
            fs = self._fs()
            headers = request_headers(fs, {})
            failures = run(fs.loop, self._delete(fs, names, headers))
        if failures:
            raise deletion_error(failures) from next(iter(failures.values()))

    async def _delete(self, fs: Any, names: Sequence[str], headers: Mapping[str, str]) -> dict[str, StorageError]:
        """Deletes keys, and tells which could not be deleted."""
        gate = asyncio.Semaphore(_DELETES_AT_ONCE)
        failures: dict[str, StorageError] = {}

        async def delete(name: str) -> None:
            async with gate:
                try:
                    with self._errors(name):
                        await self._send(
                            fs, "DELETE", self._objects(name), {}, headers, None, name, may_be_missing=True
                        )
                except NotFoundError:
                    raise  # the bucket is
                except StorageError as error:
                    failures[name] = error

        await gather(delete(name) for name in names)
        return failures

    def create_upload(self, key: str) -> Upload:
        """See `Store.create_upload`."""
        path = self.path(check_key(key))
        attempt = uuid.uuid4().hex
        headers = {
            "Content-Type": _CONTENT_TYPE,
            "Cache-Control": _CACHE_CONTROL,
            f"x-goog-meta-{ATTEMPT}": attempt,
        }
        reply = self._request("POST", self._xml(key), {"uploads": ""}, headers, key=key)
        upload_id = xml_text(reply.body.decode("utf-8", "replace"), "UploadId")
        if not upload_id:
            raise StorageError(f"The server began no upload of {path}; it may not have GCS' XML interface.", path=path)
        return Upload(key, upload_id, attempt)

    def put_part(self, upload: Upload, number: int, payload: Payload) -> UploadPart:
        """See `Store.put_part`. GCS checks the CRC-32C before it takes the part."""
        reply = self._request(
            "PUT",
            self._xml(upload.key),
            {"partNumber": str(number), "uploadId": upload.upload_id},
            {"Content-Type": _CONTENT_TYPE, "x-goog-hash": f"crc32c={crc32c_base64(payload)}"},
            payload,
            key=upload.key,
        )
        tag = reply.headers.get("ETag")
        if not tag:
            path = self.path(upload.key)
            raise StorageError(f"The server did not name part {number} of {path}.", path=path)
        return UploadPart(number, tag, payload.nbytes)

    def complete_upload(self, upload: Upload, parts: Sequence[UploadPart]) -> ObjectMeta:
        """See `Store.complete_upload`. When the reply is lost, the object itself tells whether it was published."""
        path = self.path(upload.key)
        listed = "".join(
            f"<Part><PartNumber>{part.number}</PartNumber><ETag>{_escaped(part.tag)}</ETag></Part>"
            for part in sorted(parts, key=lambda part: part.number)
        )
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        try:
            reply = self._request(
                "POST",
                self._xml(upload.key),
                {"uploadId": upload.upload_id},
                {"Content-Type": "application/xml"},
                Payload.of(body),
                key=upload.key,
            )
            if b"<Error>" in reply.body:  # as S3 does when it learns too late that it cannot
                raise StorageUnavailableError(f"The server could not complete the upload of {path}.", path=path)
        except (NotFoundError, StorageUnavailableError):
            published = self._published(upload, sum(part.size for part in parts))
            if published is None:
                raise
            return published
        # The reply need not tell the generation. Whatever is there now is there after our own completion.
        return self._published(upload, sum(part.size for part in parts)) or self.head(upload.key)

    def _published(self, upload: Upload, size: int) -> ObjectMeta | None:
        """The object that an upload became, if it did."""
        try:
            resource = self._resource(upload.key, f"{_FIELDS},metadata")
        except StorageError:
            return None  # the error of the completion is the one to raise
        meta = _meta(upload.key, resource)
        ours = (resource.get("metadata") or {}).get(ATTEMPT) == upload.attempt and meta.size == size
        return meta if ours else None

    def abort_upload(self, upload: Upload) -> None:
        """See `Store.abort_upload`."""
        query = {"uploadId": upload.upload_id}
        self._request("DELETE", self._xml(upload.key), query, key=upload.key, may_be_missing=True)

    def _resource(self, key: str, fields: str) -> Mapping[str, Any]:
        """GCS' description of an object."""
        return _json(self._request("GET", self._objects(key), {"fields": fields}, key=key), self.path(key))

    def _objects(self, key: str = "") -> str:
        base = f"/storage/v1/b/{quote(self._bucket, safe='')}/o"
        return f"{base}/{quote(self._prefix + key, safe='')}" if key else base

    def _xml(self, key: str) -> str:
        return f"/{quote(self._bucket, safe='')}/{quote(self._prefix + key, safe='/')}"

    def _request(
        self,
        method: str,
        where: str,
        query: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        payload: Payload | None = None,
        *,
        key: str = "",
        may_be_missing: bool = False,
    ) -> Reply:
        """One request, and its whole reply; with `may_be_missing`, also a 404 that is not about the bucket."""
        with self._errors(key):
            fs = self._fs()
            full = request_headers(fs, headers or {})
            return run(
                fs.loop,
                self._send(fs, method, where, query, full, payload, key, may_be_missing=may_be_missing),
            )

    async def _send(
        self,
        fs: Any,
        method: str,
        where: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        payload: Payload | None,
        key: str,
        *,
        may_be_missing: bool,
    ) -> Reply:
        body = PayloadReader(payload) if payload is not None else None
        async with await send(fs, method, where, query, headers, body) as response:
            reply = Reply(response.status, response.headers, await response.read())
        missing = may_be_missing and reply.status == 404 and not is_missing_bucket(reply.body)
        if not 200 <= reply.status < 300 and not missing:
            raise from_reply(reply.status, reply.body, self.path(key), self._bucket, self._secrets)
        return reply

    def _download(
        self, key: str, query: Mapping[str, str], headers: Mapping[str, str], use: Callable[[Any], Awaitable[T]]
    ) -> T:
        """Asks for an object's bytes, and hands the good response to `use`."""
        where = f"/download{self._objects(key)}"

        async def download(fs: Any, full: Mapping[str, str]) -> T:
            response = await send(fs, "GET", where, {"alt": "media", **query}, full, None)
            try:
                if response.status not in (200, 206):
                    body = await response.content.read(10_000)
                    raise from_reply(response.status, body, self.path(key), self._bucket, self._secrets)
                self._check_encoding(response.headers, key)
                return await use(response)
            finally:
                response.release() if response.content.at_eof() else response.close()

        with self._errors(key):
            fs = self._fs()
            return run(fs.loop, download(fs, request_headers(fs, headers)))

    def _check_encoding(self, headers: Mapping[str, str], key: str) -> None:
        """Refuses an object that GCS would decompress on the way, which makes ranges and sizes meaningless."""
        for name in ("Content-Encoding", "X-Goog-Stored-Content-Encoding"):
            encoding = headers.get(name, "identity")
            if encoding not in ("", "identity"):
                raise UnsupportedError(
                    f"{self.path(key)} is stored with the content encoding {encoding!r}; upload it again without.",
                    path=self.path(key),
                )

    def _errors(self, key: str = "") -> AbstractContextManager[None]:
        return gcs_errors(self.path(key), self._bucket, self._secrets)

    def _make(self) -> tuple[Any, str]:
        if self._given is not None:
            return self._given, ""
        import fsspec.config  # noqa: PLC0415 - nobody else needs it

        # Not gcsfs.GCSFileSystem: unless an environment variable says otherwise, that one looks every bucket up by
        # gRPC first, which takes most of a minute where it cannot be reached.
        from gcsfs.core import GCSFileSystem  # noqa: PLC0415 - an optional dependency

        configured = [fsspec.config.conf.get(protocol, {}) for protocol in ("gs", "gcs")]  # FSSPEC_GS_... variables
        options = functools.reduce(deep_merge, [*configured, self._options], {"use_listings_cache": False})
        return GCSFileSystem(**options, skip_instance_cache=True), ""


def _json(reply: Reply, path: str) -> Mapping[str, Any]:
    try:
        value = json.loads(reply.body)
    except ValueError:
        value = None
    if not isinstance(value, dict):  # a proxy's error page under a good status
        raise StorageUnavailableError(f"The reply about {path} is not GCS'.", path=path)
    return value


def _meta(key: str, resource: Mapping[str, Any]) -> ObjectMeta:
    updated = resource.get("updated")
    modified = datetime.datetime.fromisoformat(updated.replace("Z", "+00:00")).timestamp() if updated else None
    generation = resource.get("generation")
    return ObjectMeta(key, int(resource["size"]), str(generation) if generation is not None else None, modified)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
