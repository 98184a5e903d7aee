"""Requests to S3, as an s3fs file system of our own sends them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

from ckptstore.errors import StorageError, UnsupportedError
from ckptstore.storage._aio import PayloadReader, crc32c_base64, run
from ckptstore.storage._base import ObjectMeta, check_key
from ckptstore.storage._bucket import ATTEMPT, deep_merge, split_bucket
from ckptstore.storage._fsspec import FsspecStore
from ckptstore.storage._s3_errors import s3_errors

if TYPE_CHECKING:
    from ckptstore.storage._base import Payload

T = TypeVar("T")

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
        "tcp_keepalive": True,
    },
}


class S3Client(FsspecStore):
    """What all verbs of `S3Store` go through, and the one verb that the others look with.

    Args:
        url: See `S3Store`.
        storage_options: See `S3Store`.
        filesystem: See `S3Store`.
        pool_connections: The most connections that are kept open, unless the options say otherwise.
    """

    def __init__(
        self,
        url: str,
        storage_options: Mapping[str, Any] | None = None,
        *,
        filesystem: Any | None = None,
        pool_connections: int = 64,
    ) -> None:
        super().__init__(url, storage_options, filesystem=filesystem)
        self._pool_connections = pool_connections
        self._bucket, self._prefix = split_bucket(self._url)

    def head(self, key: str) -> ObjectMeta:
        """See `Store.head`. A missing bucket shows as a missing object: a reply to HEAD has no room for more."""
        path = self.path(check_key(key))
        return object_meta(key, self._call("head_object", key), path)

    def _call(
        self,
        verb: str,
        key: str,
        body: Payload | None = None,
        *,
        conditions: Mapping[str, str] | None = None,
        **arguments: Any,
    ) -> Mapping[str, Any]:
        """One request about one key, whose reply has no body to read."""
        if body is not None:  # on this thread, as the loop's has the traffic of all requests to carry
            arguments |= {"Body": PayloadReader(body), "ChecksumCRC32C": crc32c_base64(body)}
        return self._run(lambda fs: self._send(fs, verb, key, conditions or {}, **arguments), key)

    async def _send(
        self, fs: Any, verb: str, key: str, conditions: Mapping[str, str], **arguments: Any
    ) -> Mapping[str, Any]:
        """As `_call`, on the loop.

        Raises:
            UnsupportedError: botocore is too old for the conditions.
        """
        if conditions:
            await self._check_known(fs, verb, conditions)
        reply: Mapping[str, Any] = await fs._call_s3(  # noqa: SLF001
            verb, Bucket=self._bucket, Key=self._prefix + key, **arguments, **conditions
        )
        return reply

    async def _check_known(self, fs: Any, verb: str, conditions: Mapping[str, str]) -> None:
        """Refuses conditions that would not be sent: s3fs leaves out in silence what botocore does not know."""
        await fs.set_session()
        meta = (await fs.get_s3(self._bucket)).meta
        operation = meta.method_to_api_mapping[verb]
        unknown = set(conditions) - set(meta.service_model.operation_model(operation).input_shape.members)
        if unknown:
            raise UnsupportedError(
                f"The botocore that is installed does not know {', '.join(sorted(unknown))} of {operation}, and would "
                "send the request without it. Install a newer one: pip install 'aiobotocore>=2.16'.",
                path=self._url,
            )

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
        # The default of 10 would queue a parallel transfer.
        pool = {"config_kwargs": {"max_pool_connections": self._pool_connections}}
        options = functools.reduce(deep_merge, [pool, *configured, self._options], _OPTIONS)
        fs = s3fs.S3FileSystem(**options, skip_instance_cache=True)
        fs.retries = 1
        return fs, ""


def object_meta(key: str, reply: Mapping[str, Any], path: str) -> ObjectMeta:
    """What a reply to HeadObject or GetObject tells of the object.

    Raises:
        StorageError: It does not tell the size.
    """
    size = reply.get("ContentLength")
    if size is None:
        raise StorageError(f"The server does not tell the size of {path}; look for a proxy in between.", path=path)
    modified = reply.get("LastModified")
    return ObjectMeta(
        key,
        size,
        reply.get("ETag") or None,
        modified.timestamp() if modified else None,
        reply.get("Metadata", {}).get(ATTEMPT),
    )
