"""A bucket of S3, or of a server that speaks S3, or a prefix in one.

It uses s3fs for what s3fs is good at (credentials, endpoints, one client on one event loop), and calls S3's verbs
through it one to one: no listing cache, no retries but `RetryingStore`'s, no hidden requests, and no copies between
the caller's buffers and the socket.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ckptstore.errors import StorageError
from ckptstore.storage._aio import Scatter, receive
from ckptstore.storage._base import Capabilities, ObjectMeta, check_key
from ckptstore.storage._bucket import check_range
from ckptstore.storage._deletion import deletion_error, key_list
from ckptstore.storage._fsspec import is_key, too_large
from ckptstore.storage._s3_client import object_meta
from ckptstore.storage._s3_conditions import S3Conditions
from ckptstore.storage._s3_errors import from_code, reply_of
from ckptstore.storage._s3_uploads import S3Uploads

if TYPE_CHECKING:
    from ckptstore.storage._base import Payload, ReadTarget

_CAPABILITIES = Capabilities(
    create_only=True,
    compare_and_swap=True,
    conditional_delete=True,
    tags=True,
    multipart=True,
    min_part_size=5 << 20,
    max_parts=10_000,
    max_put_size=5 << 30,
    part_copies=True,
)

_DELETE_AT_ONCE = 1000  # S3's limit for DeleteObjects
_READ_SIZE = 256 << 10  # where the client has no way to hand out what has arrived


class S3Store(S3Conditions, S3Uploads):
    """A bucket or a prefix in it.

    Args:
        url: `s3://bucket` or `s3://bucket/prefix`; the bucket may be an access point's ARN.
        storage_options: What `s3fs.S3FileSystem` takes.
        filesystem: An `s3fs.S3FileSystem` to use as it is, retries and caches included.
        pool_connections: The most connections that are kept open, unless `config_kwargs` in the options say otherwise.
    """

    @property
    def capabilities(self) -> Capabilities:
        """See `Store.capabilities`. They are S3's own; `probe` finds out what a server does. No request is sent."""
        return _CAPABILITIES

    def get(self, key: str, *, limit: int | None = None) -> tuple[bytes, ObjectMeta]:
        """See `Store.get`. One request, whose reply has bytes, ETag and time stamp together."""
        path = self.path(check_key(key))

        async def get(fs: Any) -> tuple[bytes, ObjectMeta]:
            reply = await fs._call_s3("get_object", Bucket=self._bucket, Key=self._prefix + key)  # noqa: SLF001
            try:
                meta = object_meta(key, reply, path)
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

    def put(self, key: str, payload: Payload) -> ObjectMeta:
        """See `Store.put`. S3 checks the CRC-32C before it shows the object."""
        return self._put(key, payload, None, {})

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


def _reader(reply: Mapping[str, Any]) -> Callable[[], Awaitable[bytes]]:
    """What gives the next bytes of a reply's body, as they came from the socket if that can be had."""
    import aiohttp  # noqa: PLC0415 - s3fs brings it

    body = reply["Body"]
    response = getattr(body, "raw_stream", None) or getattr(body, "__wrapped__", None)
    if isinstance(response, aiohttp.ClientResponse):
        return response.content.readany  # no join of a whole part
    return functools.partial(body.read, _READ_SIZE)
