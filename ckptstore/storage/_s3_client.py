"""Requests to S3, by a client of botocore's on the calling thread, set up as an s3fs file system describes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from ckptstore.errors import StorageError, UnsupportedError
from ckptstore.storage._base import ObjectMeta, check_key
from ckptstore.storage._bodies import Body, PayloadReader, crc32c_base64
from ckptstore.storage._bucket import ATTEMPT, deep_merge
from ckptstore.storage._bucket_client import BucketClient
from ckptstore.storage._s3_errors import s3_errors

if TYPE_CHECKING:
    from ckptstore.storage._base import Payload

# How an s3fs of our own is set up. The user's options win wherever they set the same thing.
_OPTIONS: dict[str, Any] = {
    "use_listings_cache": False,
    "asynchronous": True,  # it makes no requests, so it needs no thread to make them on
    "config_kwargs": {
        # RetryingStore retries, and it alone: botocore's five attempts under its six would be 30 requests each.
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


class S3Client(BucketClient):
    """What all verbs of `S3Store` go through, and the one verb that the others look with."""

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
        """One request about one key.

        Raises:
            UnsupportedError: botocore is too old for the conditions.
        """
        if body is not None:
            arguments |= {"Body": PayloadReader(body), "ChecksumCRC32C": crc32c_base64(body)}
        with self._errors(key):
            if conditions:
                self._check_known(verb, conditions)
                arguments |= conditions
            return self._send(verb, Key=self._prefix + key, **arguments)

    def _send(self, verb: str, **arguments: Any) -> Mapping[str, Any]:
        """One request about the bucket, with what the options have sent along (who pays, how to encrypt).

        As in s3fs, what an operation does not know is left out.
        """
        fs, known = self._fs(), self._known(verb)
        sent = {**fs.s3_additional_kwargs, **fs.req_kw, "Bucket": self._bucket, **arguments}
        if sent.get("RequestPayer", "") is None:  # so written to take back what was said for all
            del sent["RequestPayer"]
        call = getattr(self._client.get(), verb)
        reply: Mapping[str, Any] = call(**{name: value for name, value in sent.items() if name in known})
        return reply

    def _known(self, verb: str) -> Mapping[str, Any]:
        """The parameters that botocore knows of an operation."""
        meta = self._client.get().meta
        members: Mapping[str, Any] = meta.service_model.operation_model(
            meta.method_to_api_mapping[verb]
        ).input_shape.members
        return members

    def _check_known(self, verb: str, conditions: Mapping[str, str]) -> None:
        """Refuses conditions that would not be sent."""
        unknown = set(conditions) - set(self._known(verb))
        if unknown:
            raise UnsupportedError(
                f"The botocore that is installed does not know {', '.join(sorted(unknown))} of {verb}, and would "
                "send the request without it. Install a newer one: pip install 'aiobotocore>=2.16'.",
                path=self._url,
            )

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
        return s3fs.S3FileSystem(**options, skip_instance_cache=True), ""

    def _make_client(self) -> Any:
        from ckptstore.storage._s3_session import make_client  # noqa: PLC0415 - loads botocore

        return make_client(self._fs())


def body_of(reply: Mapping[str, Any]) -> Body:
    """The body of a reply to GetObject, not yet read."""
    from botocore.response import StreamingBody  # noqa: PLC0415 - loaded with the client

    stream = reply["Body"]
    if type(stream) is StreamingBody:
        return Body(stream._raw_stream)  # noqa: SLF001 - what it adds is a look at the length, and a copy
    return Body(stream, stream.read)  # the user wants it checked on the way


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
