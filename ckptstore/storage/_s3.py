"""A bucket of S3, or of a server that speaks S3, or a prefix in one.

It uses s3fs for what s3fs is good at (to understand options), and calls S3's verbs one to one through a client of
botocore's, on the calling thread: no event loop, no listing cache, no retries but `RetryingStore`'s, no hidden
requests, and no copies between the caller's buffers and the socket. Who wants several at once has several threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ckptstore.errors import StorageError
from ckptstore.storage._base import Capabilities, ObjectMeta, check_key
from ckptstore.storage._bodies import Scatter, open_body, receive, receive_all
from ckptstore.storage._bucket import check_range
from ckptstore.storage._deletion import deletion_error, key_list
from ckptstore.storage._fsspec import is_key, too_large
from ckptstore.storage._s3_client import body_of, object_meta
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


class S3Store(S3Conditions, S3Uploads):
    """A bucket or a prefix in it.

    Args:
        url: `s3://bucket` or `s3://bucket/prefix`; the bucket may be an access point's ARN.
        storage_options: What `s3fs.S3FileSystem` takes.
        filesystem: An `s3fs.S3FileSystem` to take all options from; its own client is not used.
        pool_connections: The most connections that are kept open, unless `config_kwargs` in the options say otherwise.
    """

    @property
    def capabilities(self) -> Capabilities:
        """See `Store.capabilities`. They are S3's own; `probe` finds out what a server does. No request is sent."""
        return _CAPABILITIES

    def get(self, key: str, *, limit: int | None = None) -> tuple[bytes, ObjectMeta]:
        """See `Store.get`. One request, whose reply has bytes, ETag and time stamp together."""
        path = self.path(check_key(key))
        with self._errors(key):
            reply = self._send("get_object", Key=self._prefix + key)
            with open_body(body_of(reply)) as body:
                meta = object_meta(key, reply, path)
                if limit is not None and meta.size > limit:
                    raise too_large(path, meta.size, limit)
                return receive_all(body, meta.size, path), meta

    def read_into(self, key: str, targets: Sequence[ReadTarget], *, version: str | None = None) -> None:
        """See `Store.read_into`. One ranged request, straight into the targets."""
        path = self.path(check_key(key))
        scatter = Scatter(targets)
        if scatter.start == scatter.stop:
            return
        condition = {"IfMatch": version} if version is not None else {}
        span = f"bytes={scatter.start}-{scatter.stop - 1}"

        with self._errors(key):
            reply = self._send("get_object", Key=self._prefix + key, Range=span, **condition)
            with open_body(body_of(reply)) as body:
                status = reply["ResponseMetadata"]["HTTPStatusCode"]
                check_range(
                    status, reply.get("ContentRange"), reply.get("ContentLength"), scatter.start, scatter.stop, path
                )
                receive(body, scatter, path)

    def put(self, key: str, payload: Payload) -> ObjectMeta:
        """See `Store.put`. S3 checks the CRC-32C before it shows the object."""
        return self._put(key, payload, None, {})

    def list(self, prefix: str = "") -> Iterator[ObjectMeta]:
        """See `Store.list`. The whole listing is read before the first object is handed out."""
        found = []
        more: dict[str, str] = {}
        while True:
            with self._errors():
                page = self._send("list_objects_v2", Prefix=self._prefix + prefix, **more)
            for item in page.get("Contents", ()):
                key = item["Key"][len(self._prefix) :]
                if is_key(key):
                    found.append(ObjectMeta(key, item["Size"], item.get("ETag"), item["LastModified"].timestamp()))
            token = page.get("NextContinuationToken")
            if not page.get("IsTruncated") or not token:
                break
            more = {"ContinuationToken": token}
        # S3 Express and some other servers list in an order of their own; sorting what is sorted costs nothing.
        found.sort(key=lambda meta: meta.key.encode("utf-8", "surrogateescape"))
        return iter(found)

    def unfinished(self, prefix: str = "") -> Iterator[ObjectMeta]:
        """See `Store.unfinished`: nothing. S3 shows an object when it is whole, and has uploads of its own."""
        del prefix
        return iter(())

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store.delete`. One request for 1,000 keys; where the server has no such verb, one for each."""
        names = [check_key(key) for key in key_list(keys)]
        failures: dict[str, StorageError] = {}
        for start in range(0, len(names), _DELETE_AT_ONCE):
            with self._errors():
                failures.update(self._delete(names[start : start + _DELETE_AT_ONCE]))
        if failures:
            raise deletion_error(failures) from next(iter(failures.values()))

    def _delete(self, names: Sequence[str]) -> dict[str, StorageError]:
        """Deletes up to 1,000 keys, and tells which could not be deleted."""
        objects = [{"Key": self._prefix + name} for name in names]
        try:
            reply = self._send("delete_objects", Delete={"Objects": objects, "Quiet": True})
        except Exception as error:
            refusal = reply_of(error)
            if refusal is None or refusal[0] not in (400, 501) or "SlowDown" in refusal[1]:
                raise
            return self._delete_singly(names)
        failures: dict[str, StorageError] = {}
        for item in reply.get("Errors", ()):
            name = item["Key"][len(self._prefix) :]
            code = item.get("Code", "")
            failure = from_code(0, code, item.get("Message", ""), self.path(name), self._bucket)
            if code != "NoSuchKey":
                failures[name] = failure if isinstance(failure, StorageError) else StorageError(failure.message)
        return failures

    def _delete_singly(self, names: Sequence[str]) -> dict[str, StorageError]:
        failures: dict[str, StorageError] = {}
        for name in names:
            try:
                self._call("delete_object", name)
            except StorageError as error:
                refusal = reply_of(error)
                if refusal is None or refusal[1] != "NoSuchKey":
                    failures[name] = error
        return failures
