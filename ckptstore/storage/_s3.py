"""A bucket of S3, or of a server that speaks S3, or a prefix in one.

It uses s3fs for what s3fs is good at (credentials, endpoints, one client on one event loop), and calls S3's verbs
through it one to one: no listing cache, no retries but `RetryingStore`'s, no hidden requests, and no copies between
the caller's buffers and the socket.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

from ckptstore.errors import (
    NotFoundError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from ckptstore.storage._aio import PayloadReader, Scatter, crc32c_base64, receive, run
from ckptstore.storage._base import Capabilities, ObjectMeta, Upload, UploadPart, check_key
from ckptstore.storage._bucket import ATTEMPT, check_range, deep_merge, split_bucket
from ckptstore.storage._deletion import deletion_error, key_list
from ckptstore.storage._fsspec import FsspecStore, is_key, too_large
from ckptstore.storage._s3_errors import from_code, reply_of, s3_errors

if TYPE_CHECKING:
    from ckptstore.storage._base import Payload, ReadTarget

T = TypeVar("T")

_CAPABILITIES = Capabilities(multipart=True, min_part_size=5 << 20, max_parts=10_000, max_put_size=5 << 30)

_DELETE_AT_ONCE = 1000  # S3's limit for DeleteObjects
_READ_SIZE = 256 << 10  # where the client has no way to hand out what has arrived

# How an s3fs of our own is set up. The user's options win wherever they set the same thing.
_OPTIONS: dict[str, Any] = {
    "use_listings_cache": False,
    "config_kwargs": {
        # RetryingStore retries, and it alone: botocore's five attempts under s3fs' five would be 25 requests each.
        "retries": {"mode": "standard", "total_max_attempts": 1},
        # We send a CRC-32C with every byte; a SHA-256 over the payload on top is half the CPU time of an upload.
        "s3": {"payload_signing_enabled": False},
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        "connect_timeout": 5,
        "read_timeout": 60,
        "max_pool_connections": 64,  # the default of 10 would queue a parallel transfer
        "tcp_keepalive": True,
    },
}


class S3Store(FsspecStore):
    """A bucket or a prefix in it.

    Args:
        url: `s3://bucket` or `s3://bucket/prefix`; the bucket may be an access point's ARN.
        storage_options: What `s3fs.S3FileSystem` takes.
        filesystem: An `s3fs.S3FileSystem` to use as it is, retries and caches included.
    """

    def __init__(
        self, url: str, storage_options: Mapping[str, Any] | None = None, *, filesystem: Any | None = None
    ) -> None:
        super().__init__(url, storage_options, filesystem=filesystem)
        self._bucket, self._prefix = split_bucket(self._url)

    @property
    def capabilities(self) -> Capabilities:
        """See `Store.capabilities`. They are S3's own; no request is sent."""
        return _CAPABILITIES

    def get(self, key: str, *, limit: int | None = None) -> tuple[bytes, ObjectMeta]:
        """See `Store.get`. One request, whose reply has bytes, ETag and time stamp together."""
        path = self.path(check_key(key))

        async def get(fs: Any) -> tuple[bytes, ObjectMeta]:
            reply = await fs._call_s3("get_object", Bucket=self._bucket, Key=self._prefix + key)  # noqa: SLF001
            try:
                meta = _meta(key, reply, reply.get("ContentLength"), path)
                if limit is not None and meta.size > limit:
                    raise too_large(path, meta.size, limit)
                chunks: list[bytes] = []
                await receive(_reader(reply), chunks.append, meta.size, path)
                return b"".join(chunks), meta
            finally:
                reply["Body"].close()

        return self._run(get, key)

    def read_into(self, key: str, targets: Sequence[ReadTarget], *, version: str | None = None) -> None:
        """See `Store.read_into`. One ranged request, straight into the targets."""
        path = self.path(check_key(key))
        scatter = Scatter(targets)
        if scatter.start == scatter.stop:
            return
        condition = {"IfMatch": version} if version is not None else {}
        span = f"bytes={scatter.start}-{scatter.stop - 1}"

        async def read(fs: Any) -> None:
            reply = await fs._call_s3(  # noqa: SLF001
                "get_object", Bucket=self._bucket, Key=self._prefix + key, Range=span, **condition
            )
            try:
                status = reply["ResponseMetadata"]["HTTPStatusCode"]
                check_range(
                    status, reply.get("ContentRange"), reply.get("ContentLength"), scatter.start, scatter.stop, path
                )
                await receive(_reader(reply), scatter.write, scatter.stop - scatter.start, path)
            finally:
                reply["Body"].close()  # a body that was not read to its end must not stay in the pool

        self._run(read, key)

    def head(self, key: str) -> ObjectMeta:
        """See `Store.head`. A missing bucket shows as a missing object: a reply to HEAD has no room for more."""
        path = self.path(check_key(key))
        reply = self._call("head_object", key)
        return _meta(key, reply, reply.get("ContentLength"), path)

    def put(self, key: str, payload: Payload) -> ObjectMeta:
        """See `Store.put`. S3 checks the CRC-32C before it shows the object."""
        path = self.path(check_key(key))
        limit = _CAPABILITIES.max_put_size
        if limit is not None and payload.nbytes > limit:
            raise StorageFullError(f"{path} has {payload.nbytes} bytes; S3 takes {limit} in one request.", path=path)
        reply = self._call("put_object", key, body=payload)
        return ObjectMeta(key, payload.nbytes, reply.get("ETag") or None)

    def list(self, prefix: str = "") -> Iterator[ObjectMeta]:
        """See `Store.list`. The whole listing is read before the first object is handed out."""
        found = []

        async def pages(fs: Any) -> None:
            more: dict[str, str] = {}
            while True:
                page = await fs._call_s3(  # noqa: SLF001
                    "list_objects_v2", Bucket=self._bucket, Prefix=self._prefix + prefix, **more
                )
                for item in page.get("Contents", ()):
                    key = item["Key"][len(self._prefix) :]
                    if is_key(key):
                        found.append(ObjectMeta(key, item["Size"], item.get("ETag"), item["LastModified"].timestamp()))
                token = page.get("NextContinuationToken")
                if not page.get("IsTruncated") or not token:
                    return
                more = {"ContinuationToken": token}

        self._run(pages)
        # S3 Express and some other servers list in an order of their own; sorting what is sorted costs nothing.
        found.sort(key=lambda meta: meta.key.encode("utf-8", "surrogateescape"))
        return iter(found)

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store.delete`. One request for 1,000 keys; where the server has no such verb, one for each."""
        names = [check_key(key) for key in key_list(keys)]
        failures: dict[str, StorageError] = {}
        for start in range(0, len(names), _DELETE_AT_ONCE):
            failures.update(self._run(functools.partial(self._delete, names=names[start : start + _DELETE_AT_ONCE])))
        if failures:
            raise deletion_error(failures) from next(iter(failures.values()))

    async def _delete(self, fs: Any, names: Sequence[str]) -> dict[str, StorageError]:
        """Deletes up to 1,000 keys, and tells which could not be deleted."""
        objects = [{"Key": self._prefix + name} for name in names]
        try:
            reply = await fs._call_s3(  # noqa: SLF001
                "delete_objects", Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True}
            )
        except Exception as error:
            refusal = reply_of(error)
            if refusal is None or refusal[0] not in (400, 501) or "SlowDown" in refusal[1]:
                raise
            return await self._delete_singly(fs, names)
        failures: dict[str, StorageError] = {}
        for item in reply.get("Errors", ()):
            name = item["Key"][len(self._prefix) :]
            code = item.get("Code", "")
            failure = from_code(0, code, item.get("Message", ""), self.path(name), self._bucket)
            if code != "NoSuchKey":
                failures[name] = failure if isinstance(failure, StorageError) else StorageError(failure.message)
        return failures

    async def _delete_singly(self, fs: Any, names: Sequence[str]) -> dict[str, StorageError]:
        failures: dict[str, StorageError] = {}
        for name in names:
            try:
                with self._errors(name):
                    await fs._call_s3("delete_object", Bucket=self._bucket, Key=self._prefix + name)  # noqa: SLF001
            except StorageError as error:
                refusal = reply_of(error)
                if refusal is None or refusal[1] != "NoSuchKey":
                    failures[name] = error
        return failures

    def create_upload(self, key: str) -> Upload:
        """See `Store.create_upload`."""
        check_key(key)
        attempt = uuid.uuid4().hex
        reply = self._call("create_multipart_upload", key, Metadata={ATTEMPT: attempt}, ChecksumAlgorithm="CRC32C")
        return Upload(key, reply["UploadId"], attempt)

    def put_part(self, upload: Upload, number: int, payload: Payload) -> UploadPart:
        """See `Store.put_part`. S3 checks the CRC-32C before it takes the part."""
        reply = self._call("upload_part", upload.key, body=payload, UploadId=upload.upload_id, PartNumber=number)
        # Sent back on completion only if the server keeps it: one that does not would not know what it is.
        return UploadPart(number, reply["ETag"], payload.nbytes, reply.get("ChecksumCRC32C"))

    def complete_upload(self, upload: Upload, parts: Sequence[UploadPart]) -> ObjectMeta:
        """See `Store.complete_upload`. When the reply is lost, the object itself tells whether it was published."""
        listed = [
            {"PartNumber": part.number, "ETag": part.tag}
            | ({"ChecksumCRC32C": part.checksum} if part.checksum is not None else {})
            for part in sorted(parts, key=lambda part: part.number)
        ]
        size = sum(part.size for part in parts)
        try:
            reply = self._call(
                "complete_multipart_upload",
                upload.key,
                UploadId=upload.upload_id,
                MultipartUpload={"Parts": listed},
            )
        except (NotFoundError, StorageUnavailableError):
            published = self._published(upload, size)
            if published is None:
                raise
            return published
        etag = reply.get("ETag")
        return ObjectMeta(upload.key, size, etag) if etag else self.head(upload.key)  # Ceph's reply has none

    def _published(self, upload: Upload, size: int) -> ObjectMeta | None:
        """The object that an upload became, if it did."""
        try:
            reply = self._call("head_object", upload.key)
        except StorageError:
            return None  # the error of the completion is the one to raise
        if reply.get("Metadata", {}).get(ATTEMPT) != upload.attempt or reply.get("ContentLength") != size:
            return None
        return _meta(upload.key, reply, size, self.path(upload.key))

    def abort_upload(self, upload: Upload) -> None:
        """See `Store.abort_upload`."""
        try:
            self._call("abort_multipart_upload", upload.key, UploadId=upload.upload_id)
        except NotFoundError as error:
            refusal = reply_of(error)
            if refusal is not None and refusal[1] == "NoSuchBucket":
                raise

    def _call(self, verb: str, key: str, body: Payload | None = None, **arguments: Any) -> Mapping[str, Any]:
        """One request about one key, whose reply has no body to read."""
        if body is not None:  # on this thread, as the loop's has the traffic of all requests to carry
            arguments |= {"Body": PayloadReader(body), "ChecksumCRC32C": crc32c_base64(body)}

        async def call(fs: Any) -> Mapping[str, Any]:
            reply: Mapping[str, Any] = await fs._call_s3(  # noqa: SLF001
                verb, Bucket=self._bucket, Key=self._prefix + key, **arguments
            )
            return reply

        return self._run(call, key)

    def _run(self, request: Callable[[Any], Coroutine[Any, Any, T]], key: str = "") -> T:
        with self._errors(key):
            fs = self._fs()
            return run(fs.loop, request(fs))

    def _errors(self, key: str = "") -> AbstractContextManager[None]:
        return s3_errors(self.path(key), self._bucket, self._secrets)

    def _make(self) -> tuple[Any, str]:
        if self._given is not None:
            return self._given, ""
        import fsspec.config  # noqa: PLC0415 - nobody else needs it
        import s3fs  # noqa: PLC0415 - an optional dependency

        configured = [fsspec.config.conf.get(protocol, {}) for protocol in ("s3", "s3a")]  # FSSPEC_S3_... variables
        options = functools.reduce(deep_merge, [*configured, self._options], _OPTIONS)
        fs = s3fs.S3FileSystem(**options, skip_instance_cache=True)
        fs.retries = 1
        return fs, ""


def _meta(key: str, reply: Mapping[str, Any], size: int | None, path: str) -> ObjectMeta:
    if size is None:
        raise StorageError(f"The server does not tell the size of {path}; look for a proxy in between.", path=path)
    modified = reply.get("LastModified")
    return ObjectMeta(key, size, reply.get("ETag") or None, modified.timestamp() if modified else None)


def _reader(reply: Mapping[str, Any]) -> Callable[[], Awaitable[bytes]]:
    """What gives the next bytes of a reply's body, as they came from the socket if that can be had."""
    import aiohttp  # noqa: PLC0415 - s3fs brings it

    body = reply["Body"]
    response = getattr(body, "raw_stream", None) or getattr(body, "__wrapped__", None)
    if isinstance(response, aiohttp.ClientResponse):
        return response.content.readany  # no join of a whole part
    return functools.partial(body.read, _READ_SIZE)
